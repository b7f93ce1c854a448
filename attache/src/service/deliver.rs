//! How an attachment leaves: the choice is `delivery`'s, what it takes is opened here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::{Attache, Parts};
use crate::access::links::LinkProof;
use crate::attachment::filename::Disposition;
use crate::attachment::media;
use crate::attachment::{Attachment, AttachmentId, ObjectKey};
use crate::delivery::config::{MAX_URL_LIFETIME, MIN_URL_LIFETIME};
use crate::delivery::lifetime::Lifetime;
use crate::delivery::plan::{Plan, Sending};
use crate::delivery::{self, Delivery, DeliveryRequest, Representation};
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
    /// As [`find`](Self::find), for a delivery that begins with it: what ends here counts as a delivery that failed.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound).
    pub async fn find_for(
        &self,
        id: &AttachmentId,
        request: &DeliveryRequest,
    ) -> Result<Attachment> {
        let started = Instant::now();
        let found = self.find(id).await;
        if found.is_err() {
            let parts = self.parts();
            let mode = delivery::plan::mode(&parts.config, request);
            self.count(mode.as_str(), &parts, started, &found);
        }
        found
    }

    /// Decides how a client gets an attachment that was [found](Self::find), and opens it if the bytes pass through us. The
    /// catalog is not asked again, unless the bytes are not there.
    ///
    /// # Errors
    ///
    /// [`PreconditionFailed`](crate::ErrorKind::PreconditionFailed), [`BadRange`](crate::ErrorKind::BadRange),
    /// [`Busy`](crate::ErrorKind::Busy), [`NotFound`](crate::ErrorKind::NotFound) if it was deleted since, and the errors of
    /// the store.
    pub async fn deliver(
        &self,
        attachment: &Attachment,
        request: &DeliveryRequest,
    ) -> Result<Delivery> {
        let (parts, started) = (self.parts(), self.start("deliver"));
        let outcome = match Plan::of(&parts.config, attachment, request) {
            Ok(plan) => {
                self.carry_out(&parts, plan, attachment, request, started)
                    .await
            }
            Err(error) => Err(error),
        };
        // A relay that streams is counted when its last byte has passed.
        if !matches!(outcome, Ok(Delivery::Relay { body: Some(_), .. })) {
            let mode = delivery::plan::mode(&parts.config, request);
            self.count(mode.as_str(), &parts, started, &outcome);
        }
        outcome
    }

    async fn carry_out(
        &self,
        parts: &Arc<Parts>,
        plan: Plan,
        attachment: &Attachment,
        request: &DeliveryRequest,
        started: Instant,
    ) -> Result<Delivery> {
        let sending = match plan {
            Plan::NotModified(representation) => return Ok(Delivery::NotModified(representation)),
            Plan::Send(sending) => sending,
        };
        // Neither reads anything; what is known to be out of reach is looked at again, in case it is back.
        if (request.head || !sending.elsewhere.is_empty())
            && self.unreadable().get(&attachment.id).is_some()
        {
            Box::pin(self.read(parts, attachment, None)).await?;
        }
        if !sending.elsewhere.is_empty()
            && let Some(delivery) = self.send_elsewhere(parts, &sending, attachment).await?
        {
            return Ok(delivery);
        }
        let part = sending.part;
        let body = if request.head {
            None
        } else {
            let handover = request.handover.as_ref();
            let body = self.relay(parts, attachment, part.clone(), handover, started);
            Some(Box::new(body.await?))
        };
        Ok(Delivery::Relay {
            representation: sending.representation,
            part,
            body,
        })
    }

    /// The first of the plan's ways for which the store has an offer; `None` if it has nothing of that kind. The error is
    /// the last way's.
    async fn send_elsewhere(
        &self,
        parts: &Parts,
        sending: &Sending,
        attachment: &Attachment,
    ) -> Result<Option<Delivery>> {
        let mut failed = None;
        for elsewhere in &sending.elsewhere {
            let (key, lifetime) = (&attachment.key, elsewhere.lifetime());
            match self
                .offer(parts, key, &sending.representation, lifetime)
                .await
            {
                Ok(Some(offer)) => {
                    let now = OffsetDateTime::now_utc();
                    return Delivery::elsewhere(elsewhere, sending, offer, now);
                }
                Ok(None) => return Ok(None),
                Err(error) => {
                    tracing::debug!(id = %attachment.id, error = error.report(), "the store signs nothing");
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(None), Err)
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
    /// [`NotFound`](crate::ErrorKind::NotFound); [`BadRequest`](crate::ErrorKind::BadRequest) if the lifetime is out of bounds.
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
    /// [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden).
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
