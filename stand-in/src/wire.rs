//! The forms in which values travel: query strings, times, base64, checksums.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::percent_decode_str;
use sha2::Sha256;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// A decoded query string, in the order in which it came.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a URL's query or a form body. A `+` is a space in both, so a signature must travel as `%2B`.
    pub fn parse(raw: &str) -> Self {
        let decode = |text: &str| percent_decode(&text.replace('+', " "));
        Self(
            raw.split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    /// The first value of `name`.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The value of `name`, or nothing: the way an absent field is signed.
    pub fn or_empty(&self, name: &str) -> &str {
        self.value(name).unwrap_or_default()
    }

    /// Every pair.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }
}

/// A path segment or blob name, decoded.
pub fn percent_decode(raw: &str) -> String {
    percent_decode_str(raw).decode_utf8_lossy().into_owned()
}

/// Base64 with padding.
pub fn base64_encode(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// Reads what [`base64_encode`] writes.
pub fn base64_decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Base64 for URLs, without padding.
pub fn base64url_encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads what [`base64url_encode`] writes, padded or not.
pub fn base64url_decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// HMAC-SHA256.
pub fn hmac_sha256(key: &[u8], message: &str) -> Vec<u8> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key).expect("HMAC-SHA256 takes a key of any length");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// A CRC-64 as `x-ms-content-crc64` carries it: little endian, base64.
pub fn crc64_text(crc: u64) -> String {
    base64_encode(crc.to_le_bytes())
}

const HTTP_DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

const SNAPSHOT_TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:7]Z");

const SAS_SECONDS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

const SAS_MINUTES: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]Z");

const SAS_DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn http_date(at: OffsetDateTime) -> String {
    at.format(HTTP_DATE)
        .expect("every UTC time has an HTTP date")
}

/// Reads what [`http_date`] writes.
pub fn parse_http_date(text: &str) -> Option<OffsetDateTime> {
    time::PrimitiveDateTime::parse(text, HTTP_DATE)
        .ok()
        .map(time::PrimitiveDateTime::assume_utc)
}

/// The seven digits after the second that name a snapshot.
pub fn snapshot_time(at: OffsetDateTime) -> String {
    at.format(SNAPSHOT_TIME)
        .expect("every UTC time has a snapshot name")
}

/// `2026-11-24T08:00:00Z`.
pub fn iso_seconds(at: OffsetDateTime) -> String {
    at.format(SAS_SECONDS).expect("every UTC time has seconds")
}

/// A time of a SAS or of a key request: a day, minutes, seconds or fractions of them.
pub fn parse_iso(text: &str) -> Option<OffsetDateTime> {
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(at.to_offset(time::UtcOffset::UTC));
    }
    if let Ok(at) = time::PrimitiveDateTime::parse(text, SAS_MINUTES) {
        return Some(at.assume_utc());
    }
    time::Date::parse(text, SAS_DAY)
        .ok()
        .map(|day| day.midnight().assume_utc())
}

/// A header value as text; what is not visible ASCII is read byte by byte.
pub fn header<'a>(headers: &'a http::HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc64_is_the_nvme_variant_little_endian() {
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, b"123456789");
        assert_eq!(crc, 0xAE8B_1486_0A79_9888);
        assert_eq!(base64_decode(&crc64_text(crc)).map(|b| b[0]), Some(0x88));
    }

    #[test]
    fn times_of_every_precision_are_read() {
        for text in [
            "2026-11-24",
            "2026-11-24T08:00Z",
            "2026-11-24T08:00:00Z",
            "2026-11-24T08:00:00.1234567Z",
        ] {
            assert!(parse_iso(text).is_some(), "{text}");
        }
    }

    #[test]
    fn http_dates_round_trip() {
        let at = time::macros::datetime!(1994-11-06 08:49:37 UTC);
        assert_eq!(http_date(at), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(parse_http_date(&http_date(at)), Some(at));
    }
}
