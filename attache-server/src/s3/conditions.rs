//! Conditions of reads and copies, as S3 clients write them: entity tags with their quotes or without.

use attache::delivery::{DeliveryRequest, Validators};
use attache::storage::bucket::Entry;
use http::{HeaderMap, StatusCode};

use super::error::{S3Error, S3Result};
use crate::conditional;

/// Whether the reader has this version already.
///
/// # Errors
///
/// `PreconditionFailed`.
pub(super) fn is_not_modified(headers: &HeaderMap, entry: &Entry) -> S3Result<bool> {
    is_met(&asked(headers, ""), entry)
}

/// Whether `If-Range`, if it is there, names this version: who goes on with another one gets all of this one.
pub(super) fn goes_on(headers: &HeaderMap, entry: &Entry) -> bool {
    let asked = asked(headers, "");
    let tag = format!("\"{}\"", entry.etag);
    let value = asked.if_range.as_deref();
    value.is_none_or(|value| validators(&tag, entry).is_same(value))
}

/// Whether this version may be copied.
///
/// # Errors
///
/// `PreconditionFailed`.
pub(super) fn check_source(headers: &HeaderMap, entry: &Entry) -> S3Result<()> {
    match is_met(&asked(headers, "x-amz-copy-source-"), entry)? {
        true => Err(failed()),
        false => Ok(()),
    }
}

fn is_met(asked: &DeliveryRequest, entry: &Entry) -> S3Result<bool> {
    let tag = format!("\"{}\"", entry.etag);
    let outcome = validators(&tag, entry).is_not_modified(asked);
    outcome.map_err(|_| failed())
}

fn validators<'a>(tag: &'a str, entry: &Entry) -> Validators<'a> {
    Validators {
        entity_tag: tag,
        last_modified: entry.modified,
    }
}

fn failed() -> S3Error {
    S3Error::new(
        StatusCode::PRECONDITION_FAILED,
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
    )
}

fn asked(headers: &HeaderMap, prefix: &str) -> DeliveryRequest {
    let mut asked = conditional::read(headers, prefix);
    let lists = [&mut asked.if_match, &mut asked.if_none_match];
    for list in lists.into_iter().flatten() {
        *list = list.split(',').map(quoted).collect::<Vec<_>>().join(",");
    }
    if let Some(value) = &mut asked.if_range
        && httpdate::parse_http_date(value.trim()).is_err()
    {
        *value = quoted(value);
    }
    asked
}

/// An entity tag with its quotes.
fn quoted(tag: &str) -> String {
    let tag = tag.trim();
    let (weak, opaque) = match tag.strip_prefix("W/") {
        Some(opaque) => ("W/", opaque),
        None => ("", tag),
    };
    match opaque == "*" || opaque.starts_with('"') {
        true => tag.to_owned(),
        false => format!("{weak}\"{opaque}\""),
    }
}

#[cfg(test)]
mod tests {
    use attache::storage::bucket::{Properties, Version};
    use http::HeaderName;
    use time::macros::datetime;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            let name: HeaderName = name.parse().expect("a name");
            (name, value.parse().expect("a value"))
        };
        pairs.iter().map(pair).collect()
    }

    fn entry(etag: &str) -> Entry {
        Entry {
            key: "k".parse().expect("a key"),
            size: 1,
            etag: etag.to_owned(),
            modified: datetime!(2026-11-23 20:00:00.5 UTC),
            properties: Properties::default(),
            checksum: None,
            crc64: None,
            version: Version("1".to_owned()),
            archived: false,
        }
    }

    const SAME: &str = "Mon, 23 Nov 2026 20:00:00 GMT";
    const EARLIER: &str = "Mon, 23 Nov 2026 19:59:59 GMT";

    #[test]
    fn entity_tags_are_found_in_lists_with_quotes_or_without() {
        let lists = |list: &str, etag: &str| {
            let headers = headers(&[("if-none-match", list)]);
            is_not_modified(&headers, &entry(etag)).expect("no If-Match")
        };
        assert!(lists("\"a\", W/\"b\"", "b") && lists("*", "x") && lists("a", "a"));
        assert!(lists("x, W/a", "a"));
        assert!(!lists("\"a\"", "b"));
    }

    #[test]
    fn a_weak_tag_does_not_match_where_a_strong_one_must() {
        let matches = |list: &str| {
            let headers = headers(&[("if-match", list)]);
            is_not_modified(&headers, &entry("a"))
        };
        for list in ["a", "\"a\"", "*", "\"x\", a"] {
            assert!(!matches(list).expect(list), "{list}");
        }
        for list in ["W/a", "W/\"a\"", "\"x\""] {
            let error = matches(list).expect_err(list);
            assert_eq!(error.code(), "PreconditionFailed", "{list}");
        }
    }

    #[test]
    fn a_range_goes_on_with_the_version_that_it_names() {
        let goes_on = |value: &str| goes_on(&headers(&[("if-range", value)]), &entry("a"));
        for value in ["a", "\"a\"", SAME] {
            assert!(goes_on(value), "{value}");
        }
        for value in ["b", "W/\"a\"", "*", EARLIER] {
            assert!(!goes_on(value), "{value}");
        }
        assert!(super::goes_on(&headers(&[]), &entry("a")));
    }

    #[test]
    fn a_copy_has_conditions_of_its_own() {
        let check = |name: &str, value: &str| {
            let name = format!("x-amz-copy-source-{name}");
            check_source(&headers(&[(&name, value)]), &entry("a")).is_ok()
        };
        assert!(check("if-match", "a") && !check("if-match", "b"));
        assert!(check("if-none-match", "b") && !check("if-none-match", "a"));
        assert!(check("if-modified-since", EARLIER) && !check("if-modified-since", SAME));
        assert!(check("if-unmodified-since", SAME) && !check("if-unmodified-since", EARLIER));
        let of_the_request = headers(&[("if-none-match", "a")]);
        assert!(check_source(&of_the_request, &entry("a")).is_ok());
    }
}
