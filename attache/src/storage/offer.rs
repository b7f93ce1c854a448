//! What a client is granted at the store itself, and how it gets there.

use std::time::Duration;

use time::OffsetDateTime;

use crate::secret::SignedUrl;

/// What a client is granted: to read one object, for a while, under a name and a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// At most this long, and more than `lifetime - step`.
    pub lifetime: Duration,
    /// Expiries are multiples of this: within one step everybody gets the same URL, so that browsers can cache what it
    /// names.
    pub step: Duration,
    /// `Content-Disposition` of the answer.
    pub disposition: String,
    /// `Content-Type` of the answer.
    pub content_type: String,
    /// `Cache-Control` of the answer.
    pub cache_control: Option<String>,
}

/// Another way to hand an object to a client.
#[derive(Clone, Debug)]
pub enum Offer {
    /// A URL that opens this object alone, read-only, until it expires.
    SignedUrl {
        /// The URL.
        url: SignedUrl,
        /// When it stops working.
        expires_at: OffsetDateTime,
    },
    /// A path below the internal location of the web server in front, which can read the store's folder.
    InternalPath(String),
}

/// What a client is granted: to create one object, for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutGrant {
    /// At most this long. A PUT that has begun by then may take longer.
    pub lifetime: Duration,
    /// How many bytes it will bring.
    pub size: u64,
    /// The media type under which the store itself may serve it until it is an attachment.
    pub content_type: String,
    /// Their MD5, if the client promises one; the store then refuses other bytes.
    pub md5: Option<[u8; 16]>,
}

/// How a client brings an object to the store by itself.
#[derive(Clone, Debug)]
pub struct PutOffer {
    /// Where to.
    pub url: SignedUrl,
    /// What the PUT must say, so that the store takes it.
    pub headers: Vec<(&'static str, String)>,
    /// When it stops working.
    pub expires_at: OffsetDateTime,
}
