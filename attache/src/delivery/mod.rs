//! How an attachment reaches a client: what a request asks for, and what the store offers, decide between
//! relay, redirect, delegate and "you have it already".

mod conditions;
pub mod config;
pub mod embedding;
pub mod lifetime;
pub(crate) mod plan;
mod representation;
mod request;

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use time::OffsetDateTime;

use plan::{Elsewhere, Sending};

use crate::error::{Error, Result};
use crate::secret::SignedUrl;
use crate::storage::Offer;
use crate::transfer::body::Body;
use crate::transfer::ranges::Part;

pub use conditions::Validators;
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

impl Delivery {
    /// What `offer` of the store makes of a plan that goes elsewhere; `None` if it is not of the kind that is needed, and
    /// the bytes have to pass through us.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if the store signs what is not a URL.
    pub(crate) fn elsewhere(
        elsewhere: &Elsewhere,
        sending: &Sending,
        offer: Offer,
        now: OffsetDateTime,
    ) -> Result<Option<Self>> {
        Ok(match (elsewhere, offer) {
            (Elsewhere::Redirect(lifetime), Offer::SignedUrl { url, expires_at }) => {
                let max_age = redirect_max_age(expires_at, now, lifetime.need);
                Some(Self::Redirect { url, max_age })
            }
            (Elsewhere::Redirect(_), Offer::InternalPath(_)) => None,
            (Elsewhere::Delegate { prefix, .. }, offer) => Some(Self::Delegate {
                representation: sending.representation.clone(),
                part: sending.part.clone(),
                internal: internal_path(prefix, offer)?,
            }),
        })
    }
}

/// Where the web server in front finds what the store offers, below its internal location: the path of a file, or
/// `azure` and then path and query of a signed URL, whose host the web server knows.
///
/// # Errors
///
/// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if the store signs what is not a URL.
pub fn internal_path(prefix: &str, offer: Offer) -> Result<SignedUrl> {
    Ok(SignedUrl::new(match offer {
        // Names of other programs may hold anything. nginx decodes the path once, and reads what follows a "?" as a query.
        Offer::InternalPath(path) => format!("{prefix}{}", utf8_percent_encode(&path, IN_PATH)),
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

/// What stands in a path as it is.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// How long a redirect to a URL that expires at `expires_at` may be kept, by a client that needs the URL for `need` when it
/// follows it.
fn redirect_max_age(expires_at: OffsetDateTime, now: OffsetDateTime, need: Duration) -> Duration {
    let left: Duration = (expires_at - now).try_into().unwrap_or(Duration::ZERO);
    left.saturating_sub(need)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

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
    fn a_signed_url_keeps_its_query_below_the_internal_location() {
        let offer = Offer::SignedUrl {
            url: SignedUrl::new("https://acme.example/files/attachment/a.png?sig=a%2Bb%3D"),
            expires_at: OffsetDateTime::UNIX_EPOCH,
        };
        let internal = internal_path("/internal/", offer).expect("a URL");
        assert_eq!(
            internal.expose(),
            "/internal/azure/files/attachment/a.png?sig=a%2Bb%3D"
        );
    }
}
