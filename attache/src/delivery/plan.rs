//! The choice itself: from the configuration, the attachment and the request, without a look at store or clock.

use super::conditions::Evaluated;
use super::config::{DeliveryConfig, DeliveryMode};
use super::lifetime::{Lifetime, UrlLifetime};
use super::representation::Representation;
use super::request::DeliveryRequest;
use crate::attachment::Attachment;
use crate::attachment::filename::Disposition;
use crate::attachment::media::{self, Guarded};
use crate::config::Config;
use crate::error::Result;
use crate::transfer::ranges::Part;

/// What is to be done for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// The client has it already.
    NotModified(Representation),
    /// It gets it.
    Send(Sending),
}

/// What is sent, and whether somebody else can send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sending {
    /// What it is.
    pub(crate) representation: Representation,
    /// How much of it.
    pub(crate) part: Part,
    /// The ways to try before a relay, the best one first. Another one is for a store that cannot sign for as long.
    pub(crate) elsewhere: Vec<Elsewhere>,
}

/// A way in which the bytes do not pass through us, if the store offers what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// The client opens a signed URL.
    Redirect(Lifetime),
    /// The web server in front opens it.
    Delegate {
        /// `delivery.internal_prefix`
        prefix: String,
        /// Of a signed URL, where the store has such.
        lifetime: Lifetime,
    },
}

impl Elsewhere {
    /// How long what the store signs is needed.
    pub(crate) fn lifetime(&self) -> Lifetime {
        match self {
            Self::Redirect(lifetime) | Self::Delegate { lifetime, .. } => *lifetime,
        }
    }

    /// In `mode`, the ways to try; none for a relay.
    fn of(mode: DeliveryMode, config: &DeliveryConfig, attachment: &Attachment) -> Vec<Self> {
        let short = Lifetime::fixed(config.url_lifetime.or_default());
        match mode {
            DeliveryMode::Relay => Vec::new(),
            // The web server in front opens it at once, and shows it to nobody.
            DeliveryMode::Delegate => vec![Self::Delegate {
                prefix: config.internal_prefix.clone(),
                lifetime: short,
            }],
            DeliveryMode::Redirect => {
                let (content_type, size) = (&attachment.content_type, attachment.size);
                let lifetime = Lifetime::for_redirect(config.url_lifetime, content_type, size);
                let mut ways = vec![Self::Redirect(lifetime)];
                // What signs may be shorter than that, in the last hours of an outage: a short URL is better than none.
                if config.url_lifetime == UrlLifetime::Auto {
                    ways.push(Self::Redirect(short));
                }
                ways
            }
        }
    }
}

impl Plan {
    /// The plan for a request of `attachment`.
    ///
    /// # Errors
    ///
    /// [`PreconditionFailed`](crate::ErrorKind::PreconditionFailed), [`BadRange`](crate::ErrorKind::BadRange).
    pub(crate) fn of(
        config: &Config,
        attachment: &Attachment,
        request: &DeliveryRequest,
    ) -> Result<Self> {
        let inline_types = &config.delivery.inline_types;
        let mode = mode_for(mode(config, request), request, attachment, inline_types);
        let guarded = guarded(mode);
        let representation =
            Representation::new(attachment, request.disposition, inline_types, guarded);
        let part = match representation.evaluate(request)? {
            Evaluated::NotModified => return Ok(Self::NotModified(representation)),
            Evaluated::Send(part) => part,
        };
        let elsewhere = match mode {
            DeliveryMode::Delegate if !may_delegate(request, &part) => Vec::new(),
            mode => Elsewhere::of(mode, &config.delivery, attachment),
        };
        Ok(Self::Send(Sending {
            representation,
            part,
            elsewhere,
        }))
    }
}

/// How to deliver: what the request asks for, as far as the operator lets it, or the configured way.
pub(crate) fn mode(config: &Config, request: &DeliveryRequest) -> DeliveryMode {
    let configured = config.delivery_mode();
    let wanted = match (request.via, configured) {
        // A signed URL works without us for as long as it lives; where the operator chose that every byte passes through
        // attache, or through the web server in front, no reader can choose otherwise.
        (Some(DeliveryMode::Redirect), configured) => configured,
        (Some(via), _) => via,
        (None, DeliveryMode::Redirect) if request.authorization => DeliveryMode::Relay,
        (None, configured) => configured,
    };
    match wanted {
        // Whoever is not the web server in front would be shown the path, and get no bytes.
        DeliveryMode::Delegate if !request.through_proxy => DeliveryMode::Relay,
        mode => mode,
    }
}

/// How to deliver this attachment: what may be shown only under our policy does not come from the store, which sends none,
/// unless that was asked for.
fn mode_for(
    mode: DeliveryMode,
    request: &DeliveryRequest,
    attachment: &Attachment,
    inline_types: &[String],
) -> DeliveryMode {
    let elsewhere = mode == DeliveryMode::Redirect && request.via.is_none();
    let shown = request.disposition == Disposition::Inline
        && media::needs_policy(&attachment.content_type, inline_types);
    match elsewhere && shown {
        true => DeliveryMode::Relay,
        false => mode,
    }
}

/// Whether our policy comes with what is delivered in this way.
fn guarded(mode: DeliveryMode) -> Guarded {
    match mode {
        DeliveryMode::Redirect => Guarded::No,
        DeliveryMode::Relay | DeliveryMode::Delegate => Guarded::Yes,
    }
}

/// Whether the web server in front comes to the same answer as we did.
///
/// It reads the request once more and knows nothing of ours: nginx compares `If-Match` and `If-Unmodified-Since` with the
/// file's own tag and time, and ranges that we refuse to serve as such, or that `If-Range` switched off, it would serve.
/// Such requests are rare; we answer them ourselves.
fn may_delegate(request: &DeliveryRequest, part: &Part) -> bool {
    let ranges_agree = match part {
        Part::Whole => request.range.is_none(),
        // It may be what is left of several.
        Part::One(_) => request
            .range
            .as_ref()
            .is_some_and(|range| !range.contains(',')),
        Part::Several(_) => false,
    };
    ranges_agree && request.if_match.is_none() && request.if_unmodified_since.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::ByteRange;
    use crate::transfer::ranges;

    #[test]
    fn nothing_is_delegated_that_the_web_server_would_answer_otherwise() {
        let one = Part::One(ByteRange { start: 0, end: 10 });
        let some = || Some("x".to_owned());
        let plain = DeliveryRequest::default();
        let ranged = DeliveryRequest {
            range: some(),
            ..DeliveryRequest::default()
        };
        assert!(may_delegate(&plain, &Part::Whole));
        assert!(may_delegate(&ranged, &one));
        assert!(!may_delegate(&ranged, &Part::Whole));
        let joined = DeliveryRequest {
            range: Some("bytes=0-4,5-9".to_owned()),
            ..DeliveryRequest::default()
        };
        assert!(!may_delegate(&joined, &one));
        let several = ranges::parse("bytes=0-1,5-6", 100).expect("satisfiable");
        assert!(!may_delegate(&ranged, &Part::of(several, "a/b", 100)));
        for change in [
            |request: &mut DeliveryRequest| request.if_match = Some(String::new()),
            |request: &mut DeliveryRequest| request.if_unmodified_since = Some(String::new()),
        ] {
            let mut request = DeliveryRequest::default();
            change(&mut request);
            assert!(!may_delegate(&request, &Part::Whole));
        }
        let mut config = Config::default();
        config.delivery.mode = Some(DeliveryMode::Delegate);
        assert_eq!(mode(&config, &plain), DeliveryMode::Relay);
        let proxied = DeliveryRequest {
            through_proxy: true,
            ..DeliveryRequest::default()
        };
        assert_eq!(mode(&config, &proxied), DeliveryMode::Delegate);
    }

    #[test]
    fn who_brings_its_own_authorization_is_relayed_and_nobody_redirects_against_the_operator() {
        use DeliveryMode::{Delegate, Redirect, Relay};
        let chosen = |configured, via, authorization| {
            let mut config = Config::default();
            config.delivery.mode = Some(configured);
            let request = DeliveryRequest {
                via,
                authorization,
                through_proxy: true,
                ..DeliveryRequest::default()
            };
            mode(&config, &request)
        };
        for (configured, via, authorization, expected) in [
            (Redirect, None, false, Redirect),
            (Redirect, None, true, Relay),
            (Redirect, Some(Redirect), true, Redirect),
            (Redirect, Some(Relay), false, Relay),
            (Relay, Some(Redirect), false, Relay),
            (Relay, Some(Redirect), true, Relay),
            (Delegate, Some(Redirect), false, Delegate),
            (Delegate, Some(Relay), false, Relay),
            // The web server in front asks the store with a request of its own.
            (Delegate, None, true, Delegate),
        ] {
            let outcome = chosen(configured, via, authorization);
            assert_eq!(
                outcome, expected,
                "{configured:?}, {via:?}, {authorization}"
            );
        }
    }
}
