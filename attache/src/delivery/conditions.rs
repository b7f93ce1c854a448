//! Conditions and ranges of a request (RFC 9110 sections 13 and 14): whether anything is sent, and how much of it.

use std::time::SystemTime;

use time::OffsetDateTime;

use super::representation::Representation;
use super::request::DeliveryRequest;
use crate::error::{Error, ErrorKind, Result};
use crate::transfer::ranges::{self, Part};

/// What the conditions of a request leave to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Evaluated {
    NotModified,
    Send(Part),
}

/// What the conditions of a request are compared with (RFC 9110 section 8.8).
#[derive(Clone, Copy, Debug)]
pub struct Validators<'a> {
    /// `ETag`, with its quotes; strong.
    pub entity_tag: &'a str,
    /// `Last-Modified`; compared to the second, as in headers.
    pub last_modified: OffsetDateTime,
}

impl Validators<'_> {
    /// Whether the client has it already, by the conditions of its request, in the order of RFC 9110 section 13.2.2.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::PreconditionFailed`].
    pub fn is_not_modified(&self, request: &DeliveryRequest) -> Result<bool> {
        let failed = |what: &str| Err(Error::new(ErrorKind::PreconditionFailed, what));
        match (&request.if_match, &request.if_unmodified_since) {
            // Strong comparison: a weak tag never matches (section 13.1.1).
            (Some(tags), _) if !self.is_listed(tags, false) => {
                return failed("If-Match does not hold: the attachment has another entity tag");
            }
            (None, Some(date)) if parse_date(date).is_some_and(|date| self.modified() > date) => {
                return failed("If-Unmodified-Since does not hold");
            }
            _ => {}
        }
        Ok(match (&request.if_none_match, &request.if_modified_since) {
            (Some(tags), _) => self.is_listed(tags, true),
            (None, Some(date)) => parse_date(date).is_some_and(|date| self.modified() <= date),
            (None, None) => false,
        })
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

    /// Whether the value of `If-Range` is of this version: a strong tag, or exactly our date (section 13.1.5).
    pub fn is_same(&self, value: &str) -> bool {
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

impl Representation {
    /// Evaluates the conditions of a request, and its range.
    ///
    /// The same for all ways of delivery: whoever holds our entity tag has the bytes, and a redirect would only make them
    /// fetch the bytes again. (Section 13.2.1 lets a redirect go before conditions, for servers that know nothing of what
    /// lies behind it. We do.)
    ///
    /// # Errors
    ///
    /// [`ErrorKind::PreconditionFailed`]; [`ErrorKind::BadRange`].
    pub(crate) fn evaluate(&self, request: &DeliveryRequest) -> Result<Evaluated> {
        let validators = Validators {
            entity_tag: &self.entity_tag,
            last_modified: self.last_modified,
        };
        if validators.is_not_modified(request)? {
            return Ok(Evaluated::NotModified);
        }
        let Some(range) = &request.range else {
            return Ok(Evaluated::Send(Part::Whole));
        };
        // Range is defined for GET alone (section 14.2).
        if request.head
            || request
                .if_range
                .as_deref()
                .is_some_and(|value| !validators.is_same(value))
        {
            return Ok(Evaluated::Send(Part::Whole));
        }
        let ranges = ranges::parse(range, self.size)?;
        Ok(Evaluated::Send(Part::of(
            ranges,
            &self.content_type,
            self.size,
        )))
    }
}

fn parse_date(text: &str) -> Option<i64> {
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    let since = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::ByteRange;
    use time::macros::datetime;

    fn representation() -> Representation {
        Representation {
            size: 100,
            content_type: "image/png".to_owned(),
            disposition: "inline".to_owned(),
            entity_tag: "\"tag\"".to_owned(),
            last_modified: datetime!(2026-11-23 20:00:00.5 UTC),
            policy: "sandbox",
        }
    }

    fn plan(
        change: impl FnOnce(&mut DeliveryRequest),
    ) -> std::result::Result<Evaluated, ErrorKind> {
        let mut request = DeliveryRequest::default();
        change(&mut request);
        representation()
            .evaluate(&request)
            .map_err(|error| error.kind())
    }

    const SAME: &str = "Mon, 23 Nov 2026 20:00:00 GMT";
    const EARLIER: &str = "Mon, 23 Nov 2026 19:59:59 GMT";
    const WHOLE: std::result::Result<Evaluated, ErrorKind> = Ok(Evaluated::Send(Part::Whole));

    #[test]
    fn conditions_follow_rfc_9110() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            plan(|request| request.if_none_match = some("\"tag\"")),
            Ok(Evaluated::NotModified)
        );
        assert_eq!(
            plan(|request| request.if_none_match = some("\"x\", W/\"tag\"")),
            Ok(Evaluated::NotModified)
        );
        assert_eq!(
            plan(|request| request.if_none_match = some("*")),
            Ok(Evaluated::NotModified)
        );
        assert_eq!(plan(|request| request.if_none_match = some("\"x\"")), WHOLE);
        assert_eq!(
            plan(|request| request.if_modified_since = some(SAME)),
            Ok(Evaluated::NotModified)
        );
        assert_eq!(
            plan(|request| request.if_modified_since = some(EARLIER)),
            WHOLE
        );
        assert_eq!(
            plan(|request| request.if_modified_since = some("yesterday")),
            WHOLE
        );
        // If-None-Match outranks If-Modified-Since.
        assert_eq!(
            plan(|request| {
                request.if_none_match = some("\"x\"");
                request.if_modified_since = some(SAME);
            }),
            WHOLE
        );
        assert_eq!(plan(|request| request.if_match = some("\"tag\"")), WHOLE);
        assert_eq!(
            plan(|request| request.if_match = some("W/\"tag\"")),
            Err(ErrorKind::PreconditionFailed)
        );
        assert_eq!(
            plan(|request| request.if_unmodified_since = some(SAME)),
            WHOLE
        );
        assert_eq!(
            plan(|request| request.if_unmodified_since = some(EARLIER)),
            Err(ErrorKind::PreconditionFailed)
        );
    }

    #[test]
    fn ranges_need_their_condition_and_a_get() {
        let some = |text: &str| Some(text.to_owned());
        let part = Ok(Evaluated::Send(Part::One(ByteRange { start: 0, end: 10 })));
        let ranged = |if_range: Option<&str>, head: bool| {
            plan(|request| {
                request.range = some("bytes=0-9");
                request.if_range = if_range.map(str::to_owned);
                request.head = head;
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
            plan(|request| request.range = some("bytes=100-")),
            Err(ErrorKind::BadRange)
        );
    }
}
