//! How an attachment reaches a client: what a request asks for, and what the store offers, decide between
//! relay, redirect, delegate and "you have it already".

mod conditions;
pub mod config;
pub mod embedding;
pub mod lifetime;
mod representation;
mod request;

use std::time::Duration;

use time::OffsetDateTime;

use config::DeliveryMode;

use crate::attachment::Attachment;
use crate::attachment::filename::Disposition;
use crate::attachment::media::{self, Guarded};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::secret::SignedUrl;
use crate::storage::Offer;
use crate::transfer::body::Body;
use crate::transfer::ranges::Part;

pub(crate) use conditions::Plan;
pub use representation::{Representation, cache_control};
pub use request::DeliveryRequest;

/// How a client gets an attachment.
#[derive(Debug)]
pub enum Delivery {
    /// The client has it already: 304.
    NotModified(Representation),
    /// The bytes, or for a request of the head alone none.
    Relay {
        /// What they are.
        representation: Representation,
        /// How much of it.
        part: Part,
        /// The bytes, in the framing of `part`.
        body: Option<Box<Body>>,
    },
    /// Go there: 302.
    Redirect {
        /// A temporary URL of the store.
        url: SignedUrl,
        /// How long the redirect itself may be kept.
        max_age: Duration,
    },
    /// The web server in front has it.
    Delegate {
        /// What it is.
        representation: Representation,
        /// How much of it: all, or one range.
        part: Part,
        /// A path within the internal location, with the query of a signed URL where the store has such.
        internal: SignedUrl,
    },
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
pub(crate) fn mode_for(
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
pub(crate) fn guarded(mode: DeliveryMode) -> Guarded {
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
pub(crate) fn may_delegate(request: &DeliveryRequest, part: &Part) -> bool {
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

/// Where the web server in front finds what the store offers, below its internal location: the path of a file, or
/// `azure` and then path and query of a signed URL, whose host the web server knows.
pub(crate) fn internal(prefix: &str, offer: Offer) -> Result<SignedUrl> {
    Ok(SignedUrl::new(match offer {
        Offer::InternalPath(path) => format!("{prefix}{path}"),
        Offer::SignedUrl { url, .. } => {
            let uri: http::Uri = url
                .expose()
                .parse()
                .map_err(|_| Error::internal("the signed URL is not a URL"))?;
            let rest = uri.path_and_query().map_or("/", |rest| rest.as_str());
            format!("{prefix}azure{rest}")
        }
    }))
}

/// How long a redirect to a URL that expires at `expires_at` may be kept, by a client that needs the URL for `need` when it
/// follows it.
pub(crate) fn redirect_max_age(
    expires_at: OffsetDateTime,
    now: OffsetDateTime,
    need: Duration,
) -> Duration {
    let left: Duration = (expires_at - now).try_into().unwrap_or(Duration::ZERO);
    left.saturating_sub(need)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::attachment::ByteRange;
    use crate::transfer::ranges;

    #[test]
    fn a_redirect_is_forgotten_before_its_url_dies() {
        let now = datetime!(2026-11-23 20:00:00 UTC);
        let need = Duration::from_secs(15);
        assert_eq!(
            redirect_max_age(now + Duration::from_secs(61), now, need),
            Duration::from_secs(46)
        );
        assert_eq!(redirect_max_age(now, now, need), Duration::ZERO);
    }

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

    #[test]
    fn a_signed_url_keeps_its_query_below_the_internal_location() {
        let offer = Offer::SignedUrl {
            url: SignedUrl::new("https://acme.example/files/attachment/a.png?sig=a%2Bb%3D"),
            expires_at: OffsetDateTime::UNIX_EPOCH,
        };
        let internal = internal("/internal/", offer).expect("a URL");
        assert_eq!(
            internal.expose(),
            "/internal/azure/files/attachment/a.png?sig=a%2Bb%3D"
        );
    }
}
