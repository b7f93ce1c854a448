//! How values are written and read in headers and documents of S3.

use http::HeaderValue;
use time::OffsetDateTime;

/// What S3 says of an object that nobody gave a type.
pub(super) const DEFAULT_TYPE: &str = "binary/octet-stream";

/// Any text without control characters, as UTF-8.
pub(super) fn value(text: &str) -> HeaderValue {
    HeaderValue::from_bytes(text.as_bytes()).unwrap_or(HeaderValue::from_static(""))
}

pub(super) fn quoted(etag: &str) -> HeaderValue {
    value(&format!("\"{etag}\""))
}

pub(super) fn unquoted(etag: &str) -> &str {
    let etag = etag.trim();
    let inner = etag
        .strip_prefix('"')
        .and_then(|etag| etag.strip_suffix('"'));
    inner.unwrap_or(etag)
}

/// `2026-11-27T10:00:00.000Z`: milliseconds and Z, which is what all clients read.
pub(super) fn iso_date(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.millisecond()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_milliseconds() {
        let at = time::macros::datetime!(2026-11-27 10:00:00.1234567 +1);
        assert_eq!(iso_date(at), "2026-11-27T09:00:00.123Z");
    }
}
