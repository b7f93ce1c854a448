//! How an attachment leaves: the choice is `delivery`'s, what it takes is opened here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::{Attache, Parts};
use crate::access::links::LinkProof;
use crate::attachment::filename::Disposition;
use crate::attachment::media;
use crate::attachment::{AttachmentId, ObjectKey};
use crate::delivery::config::{DeliveryMode, MAX_URL_LIFETIME, MIN_URL_LIFETIME};
use crate::delivery::lifetime::{Lifetime, UrlLifetime};
use crate::delivery::{self, Delivery, DeliveryRequest, Plan, Representation};
use crate::error::{Error, Result};
use crate::secret::SignedUrl;
use crate::storage::Offer;

/// A temporary URL.
#[derive(Clone, Debug)]
pub struct TemporaryUrl {
    /// The URL.
    pub url: SignedUrl,
    /// When it stops working.
    pub expires_at: OffsetDateTime,
}

impl Attache {
    /// Decides how a client gets an attachment, and opens it if the bytes pass through us.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound), [`PreconditionFailed`](ErrorKind::PreconditionFailed),
    /// [`BadRange`](ErrorKind::BadRange), [`Busy`](ErrorKind::Busy), and the errors of the store.
    pub async fn deliver(&self, id: &AttachmentId, request: &DeliveryRequest) -> Result<Delivery> {
        let (parts, started) = (self.parts(), self.start("deliver"));
        let mode = delivery::mode(&parts.config, request);
        let outcome = self.plan_delivery(&parts, mode, id, request, started).await;
        // A relay that streams is counted when its last byte has passed.
        if !matches!(outcome, Ok(Delivery::Relay { body: Some(_), .. })) {
            self.count(mode.as_str(), &parts, started, &outcome);
        }
        outcome
    }

    async fn plan_delivery(
        &self,
        parts: &Arc<Parts>,
        mode: DeliveryMode,
        id: &AttachmentId,
        request: &DeliveryRequest,
        started: Instant,
    ) -> Result<Delivery> {
        let attachment = self.0.catalog.find(id).await?;
        let inline_types = &parts.config.delivery.inline_types;
        let mode = delivery::mode_for(mode, request, &attachment, inline_types);
        let guarded = delivery::guarded(mode);
        let representation =
            Representation::new(&attachment, request.disposition, inline_types, guarded);
        let part = match representation.plan(request)? {
            Plan::NotModified => return Ok(Delivery::NotModified(representation)),
            Plan::Send(part) => part,
        };
        let elsewhere = match mode {
            DeliveryMode::Relay => false,
            DeliveryMode::Redirect => true,
            DeliveryMode::Delegate => delivery::may_delegate(request, &part),
        };
        // Neither reads anything; what is known to be out of reach is looked at again, in case it is back.
        if (elsewhere || request.head) && self.unreadable().get(id).is_some() {
            self.read(parts, &attachment, None).await?;
        }
        if elsewhere {
            let config = &parts.config.delivery;
            let lifetime = match mode {
                // The web server in front opens it at once, and shows it to nobody.
                DeliveryMode::Delegate => Lifetime::fixed(config.url_lifetime.or_default()),
                _ => {
                    let (content_type, size) = (&attachment.content_type, attachment.size);
                    Lifetime::for_redirect(config.url_lifetime, content_type, size)
                }
            };
            let wished = self
                .offer(parts, &attachment.key, &representation, lifetime)
                .await;
            let (offer, lifetime) = match wished {
                // What signs may be shorter than that, in the last hours of an outage: a short URL is better than none.
                Err(error) if config.url_lifetime == UrlLifetime::Auto => {
                    tracing::debug!(%id, error = error.report(), "signing for a shorter time");
                    let short = Lifetime::fixed(config.url_lifetime.or_default());
                    let offer = self
                        .offer(parts, &attachment.key, &representation, short)
                        .await;
                    (offer?, short)
                }
                wished => (wished?, lifetime),
            };
            match (mode, offer) {
                (DeliveryMode::Redirect, Some(Offer::SignedUrl { url, expires_at })) => {
                    let now = OffsetDateTime::now_utc();
                    let max_age = delivery::redirect_max_age(expires_at, now, lifetime.need);
                    return Ok(Delivery::Redirect { url, max_age });
                }
                (DeliveryMode::Delegate, Some(offer)) => {
                    return Ok(Delivery::Delegate {
                        representation,
                        part,
                        internal: delivery::internal(&config.internal_prefix, offer)?,
                    });
                }
                // The store has nothing of that kind to offer.
                _ => {}
            }
        }
        let body = if request.head {
            None
        } else {
            let body = self.relay(parts, &attachment, part.clone(), started);
            Some(Box::new(body.await?))
        };
        Ok(Delivery::Relay {
            representation,
            part,
            body,
        })
    }

    async fn offer(
        &self,
        parts: &Parts,
        key: &ObjectKey,
        representation: &Representation,
        lifetime: Lifetime,
    ) -> Result<Option<Offer>> {
        let offer = parts
            .storage
            .offer(key, &representation.grant(lifetime))
            .await;
        match &offer {
            Ok(Some(Offer::SignedUrl { .. })) => {
                self.0.metrics.signed_url(parts.storage.name(), Ok(()))
            }
            Err(error) => self.0.metrics.signed_url(parts.storage.name(), Err(error)),
            Ok(_) => {}
        }
        offer
    }

    /// A URL that opens one attachment, read-only, for at most `lifetime` (if unset, `delivery.url_lifetime` where that is a
    /// duration, and 120 s where it is `auto`).
    ///
    /// `base` is the front of attache's own links, for stores that cannot sign. Costs no network call while the signing
    /// key is warm.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound); [`BadRequest`](ErrorKind::BadRequest) if the lifetime is out of bounds.
    pub async fn url(
        &self,
        id: &AttachmentId,
        lifetime: Option<Duration>,
        disposition: Disposition,
        base: &str,
    ) -> Result<TemporaryUrl> {
        let (parts, started) = (self.parts(), self.start("url"));
        let outcome = self
            .temporary_url(&parts, id, lifetime, disposition, base)
            .await;
        self.count("url", &parts, started, &outcome);
        outcome
    }

    async fn temporary_url(
        &self,
        parts: &Parts,
        id: &AttachmentId,
        lifetime: Option<Duration>,
        disposition: Disposition,
        base: &str,
    ) -> Result<TemporaryUrl> {
        let setting = parts.config.delivery.url_lifetime;
        let lifetime = lifetime.unwrap_or_else(|| setting.or_default());
        if !(MIN_URL_LIFETIME..=MAX_URL_LIFETIME).contains(&lifetime) {
            return Err(Error::bad_request("lifetime is between 5s and 2h"));
        }
        let attachment = self.0.catalog.find(id).await?;
        let inline_types = &parts.config.delivery.inline_types;
        let representation =
            Representation::new(&attachment, disposition, inline_types, media::Guarded::No);
        match self
            .offer(
                parts,
                &attachment.key,
                &representation,
                Lifetime::fixed(lifetime),
            )
            .await?
        {
            Some(Offer::SignedUrl { url, expires_at }) => Ok(TemporaryUrl { url, expires_at }),
            _ => {
                let now = OffsetDateTime::now_utc();
                let (url, expires_at) = self.0.links.sign(base, id, disposition, now, lifetime);
                self.0.metrics.signed_url(parts.storage.name(), Ok(()));
                Ok(TemporaryUrl { url, expires_at })
            }
        }
    }

    /// Checks one of attache's own links.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Forbidden`].
    pub fn check_link(
        &self,
        id: &AttachmentId,
        disposition: Disposition,
        proof: &LinkProof,
    ) -> Result<()> {
        self.0
            .links
            .check(id, disposition, proof, OffsetDateTime::now_utc())
    }
}
