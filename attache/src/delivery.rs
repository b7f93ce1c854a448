//! How an attachment reaches a client: what a request asks for, and what the store offers, decide between
//! relay, redirect, delegate and "you have it already".

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

use crate::attachment::{Attachment, ByteRange};
use crate::body::Body;
use crate::config::{Config, DeliveryMode};
use crate::error::{Error, ErrorKind, Result};
use crate::filename::Disposition;
use crate::media;
use crate::secret::SignedUrl;
use crate::storage::Grant;

/// What a request asks for. The values of headers as they came.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// Shown or saved.
    pub disposition: Disposition,
    /// Only the head is wanted.
    pub head: bool,
    /// `Range`
    pub range: Option<String>,
    /// `If-Match`
    pub if_match: Option<String>,
    /// `If-None-Match`
    pub if_none_match: Option<String>,
    /// `If-Modified-Since`
    pub if_modified_since: Option<String>,
    /// `If-Unmodified-Since`
    pub if_unmodified_since: Option<String>,
    /// `If-Range`
    pub if_range: Option<String>,
    /// Another way than the configured one.
    pub via: Option<DeliveryMode>,
}

/// How a client gets an attachment.
#[derive(Debug)]
pub enum Delivery {
    /// The client has it already: 304.
    NotModified(Representation),
    /// The bytes, or for a request of the head alone none.
    Relay {
        /// What they are.
        representation: Representation,
        /// Which part, if a part was asked for: 206.
        range: Option<ByteRange>,
        /// The bytes.
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
        /// A path within the internal location.
        internal_path: String,
    },
}

/// What is sent of an attachment besides its bytes; the same in all ways of delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Representation {
    /// Length of the whole.
    pub size: u64,
    /// `Content-Type`
    pub content_type: String,
    /// `Content-Disposition`
    pub disposition: String,
    /// `ETag`
    pub entity_tag: String,
    /// `Last-Modified`
    pub last_modified: OffsetDateTime,
}

/// What remains to do once the request is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    NotModified,
    Send(Option<ByteRange>),
}

impl Representation {
    /// How `attachment` is presented to somebody who asks for `asked`.
    pub fn new(attachment: &Attachment, asked: Disposition, inline_types: &[String]) -> Self {
        let served = media::serve(&attachment.content_type, asked, inline_types);
        Self {
            size: attachment.size,
            content_type: served.content_type,
            disposition: served.disposition.header(&attachment.filename),
            entity_tag: attachment.entity_tag(),
            last_modified: attachment.created_at,
        }
    }

    /// A grant for reading it elsewhere.
    pub(crate) fn grant(&self, lifetime: Duration) -> Grant {
        Grant {
            lifetime,
            disposition: self.disposition.clone(),
            content_type: self.content_type.clone(),
        }
    }

    /// Evaluates the conditions of a request, in the order of RFC 9110 section 13.2.2, and its range.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::PreconditionFailed`]; [`ErrorKind::BadRange`].
    pub(crate) fn plan(&self, ask: &Ask) -> Result<Plan> {
        let failed = |what: &str| Err(Error::new(ErrorKind::PreconditionFailed, what));
        match (&ask.if_match, &ask.if_unmodified_since) {
            // Strong comparison: a weak tag never matches (section 13.1.1).
            (Some(tags), _) if !self.is_listed(tags, false) => {
                return failed("If-Match does not hold: the attachment has another entity tag");
            }
            (None, Some(date)) if parse_date(date).is_some_and(|date| self.modified() > date) => {
                return failed("If-Unmodified-Since does not hold");
            }
            _ => {}
        }
        match (&ask.if_none_match, &ask.if_modified_since) {
            (Some(tags), _) => {
                if self.is_listed(tags, true) {
                    return Ok(Plan::NotModified);
                }
            }
            (None, Some(date)) => {
                if parse_date(date).is_some_and(|date| self.modified() <= date) {
                    return Ok(Plan::NotModified);
                }
            }
            (None, None) => {}
        }
        let Some(range) = &ask.range else {
            return Ok(Plan::Send(None));
        };
        // Range is defined for GET alone (section 14.2).
        if ask.head
            || ask
                .if_range
                .as_deref()
                .is_some_and(|value| !self.is_same(value))
        {
            return Ok(Plan::Send(None));
        }
        Ok(Plan::Send(ByteRange::parse(range, self.size)?))
    }

    /// Whether `tags` (`*`, or a list of entity tags) name this one.
    fn is_listed(&self, tags: &str, weak_counts: bool) -> bool {
        tags.trim() == "*"
            || tags.split(',').any(|tag| {
                let tag = tag.trim();
                match tag.strip_prefix("W/") {
                    Some(tag) => weak_counts && tag == self.entity_tag,
                    None => tag == self.entity_tag,
                }
            })
    }

    /// `If-Range`: a strong tag, or exactly our date (section 13.1.5).
    fn is_same(&self, value: &str) -> bool {
        let value = value.trim();
        if value.starts_with('"') || value.starts_with("W/") {
            return value == self.entity_tag;
        }
        parse_date(value).is_some_and(|date| date == self.modified())
    }

    /// To the second, as in headers.
    fn modified(&self) -> i64 {
        self.last_modified.unix_timestamp()
    }
}

/// How to deliver: what the request asks for, or the configured way.
pub(crate) fn mode(config: &Config, ask: &Ask) -> DeliveryMode {
    ask.via.unwrap_or_else(|| config.delivery_mode())
}

/// How long a redirect to a URL that expires at `expires_at` may be kept: always less than the URL lives.
pub(crate) fn redirect_max_age(expires_at: OffsetDateTime, now: OffsetDateTime) -> Duration {
    let left: Duration = (expires_at - now).try_into().unwrap_or(Duration::ZERO);
    left.saturating_sub(REDIRECT_MARGIN)
}

/// A redirect is forgotten this long before its URL dies, so that following it takes its time.
const REDIRECT_MARGIN: Duration = Duration::from_secs(15);

fn parse_date(text: &str) -> Option<i64> {
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    let since = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn representation() -> Representation {
        Representation {
            size: 100,
            content_type: "image/png".to_owned(),
            disposition: "inline".to_owned(),
            entity_tag: "\"tag\"".to_owned(),
            last_modified: datetime!(2026-11-23 20:00:00.5 UTC),
        }
    }

    fn plan(change: impl FnOnce(&mut Ask)) -> std::result::Result<Plan, ErrorKind> {
        let mut ask = Ask::default();
        change(&mut ask);
        representation().plan(&ask).map_err(|error| error.kind())
    }

    const SAME: &str = "Mon, 23 Nov 2026 20:00:00 GMT";
    const EARLIER: &str = "Mon, 23 Nov 2026 19:59:59 GMT";
    const WHOLE: std::result::Result<Plan, ErrorKind> = Ok(Plan::Send(None));

    #[test]
    fn conditions_follow_rfc_9110() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            plan(|ask| ask.if_none_match = some("\"tag\"")),
            Ok(Plan::NotModified)
        );
        assert_eq!(
            plan(|ask| ask.if_none_match = some("\"x\", W/\"tag\"")),
            Ok(Plan::NotModified)
        );
        assert_eq!(
            plan(|ask| ask.if_none_match = some("*")),
            Ok(Plan::NotModified)
        );
        assert_eq!(plan(|ask| ask.if_none_match = some("\"x\"")), WHOLE);
        assert_eq!(
            plan(|ask| ask.if_modified_since = some(SAME)),
            Ok(Plan::NotModified)
        );
        assert_eq!(plan(|ask| ask.if_modified_since = some(EARLIER)), WHOLE);
        assert_eq!(plan(|ask| ask.if_modified_since = some("yesterday")), WHOLE);
        // If-None-Match outranks If-Modified-Since.
        assert_eq!(
            plan(|ask| {
                ask.if_none_match = some("\"x\"");
                ask.if_modified_since = some(SAME);
            }),
            WHOLE
        );
        assert_eq!(plan(|ask| ask.if_match = some("\"tag\"")), WHOLE);
        assert_eq!(
            plan(|ask| ask.if_match = some("W/\"tag\"")),
            Err(ErrorKind::PreconditionFailed)
        );
        assert_eq!(plan(|ask| ask.if_unmodified_since = some(SAME)), WHOLE);
        assert_eq!(
            plan(|ask| ask.if_unmodified_since = some(EARLIER)),
            Err(ErrorKind::PreconditionFailed)
        );
    }

    #[test]
    fn ranges_need_their_condition_and_a_get() {
        let some = |text: &str| Some(text.to_owned());
        let part = Ok(Plan::Send(Some(ByteRange { start: 0, end: 10 })));
        let ranged = |if_range: Option<&str>, head: bool| {
            plan(|ask| {
                ask.range = some("bytes=0-9");
                ask.if_range = if_range.map(str::to_owned);
                ask.head = head;
            })
        };
        assert_eq!(ranged(None, false), part);
        assert_eq!(ranged(Some("\"tag\""), false), part);
        assert_eq!(ranged(Some(SAME), false), part);
        assert_eq!(ranged(Some("W/\"tag\""), false), WHOLE);
        assert_eq!(ranged(Some("\"x\""), false), WHOLE);
        assert_eq!(ranged(Some(EARLIER), false), WHOLE);
        assert_eq!(ranged(None, true), WHOLE);
        assert_eq!(
            plan(|ask| ask.range = some("bytes=100-")),
            Err(ErrorKind::BadRange)
        );
    }

    #[test]
    fn a_redirect_is_forgotten_before_its_url_dies() {
        let now = datetime!(2026-11-23 20:00:00 UTC);
        assert_eq!(
            redirect_max_age(now + Duration::from_secs(61), now),
            Duration::from_secs(46)
        );
        assert_eq!(redirect_max_age(now, now), Duration::ZERO);
    }
}
