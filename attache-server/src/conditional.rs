//! The conditions of a request as headers bring them (RFC 9110 section 13).

use std::borrow::Cow;

use attache::delivery::DeliveryRequest;
use http::HeaderMap;

/// The conditions of a request, from the headers whose names have `prefix` in front.
pub(crate) fn read(headers: &HeaderMap, prefix: &str) -> DeliveryRequest {
    let named = |name: &'static str| match prefix {
        "" => Cow::Borrowed(name),
        prefix => Cow::Owned(format!("{prefix}{name}")),
    };
    let text = |name| text(headers, &named(name));
    let list = |name| list(headers, &named(name));
    DeliveryRequest {
        if_match: list("if-match"),
        if_none_match: list("if-none-match"),
        if_modified_since: text("if-modified-since"),
        if_unmodified_since: text("if-unmodified-since"),
        if_range: text("if-range"),
        ..DeliveryRequest::default()
    }
}

/// A value that is not text is not missing: a condition that cannot be read does not hold, instead of not being there.
pub(crate) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// A header that may come in several lines, which together are one list (RFC 9110 section 5.3).
fn list(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}
