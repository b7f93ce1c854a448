//! Signature Version 4, for headers and for URLs, and Google's `GOOG4-RSA-SHA256`, which signs the same text in another way
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>,
//! <https://cloud.google.com/storage/docs/authentication/signatures>).
//!
//! The time is an argument: a URL that is the same for everybody within a step is signed for the beginning of the step, and on the clock
//! of the service.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use crate::attachment::Hex;

/// A body that is not in the signature: TLS and a checksum beside it keep it as it is.
pub(super) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// A request as it is signed.
pub(super) struct Signable<'a> {
    pub(super) method: &'a str,
    /// Encoded.
    pub(super) path: &'a str,
    /// See [`Query`].
    pub(super) query: &'a str,
    /// Names in lower case, in their order.
    pub(super) headers: &'a [(&'a str, &'a str)],
}

/// When, where and for whom something is signed.
pub(super) struct Scope<'a> {
    pub(super) at: OffsetDateTime,
    pub(super) region: &'a str,
    /// `s3`, `storage`
    pub(super) service: &'a str,
    /// `aws4_request`, `goog4_request`
    pub(super) end: &'a str,
}

impl Signable<'_> {
    /// The names of the headers that are signed.
    pub(super) fn names(&self) -> String {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| *name).collect();
        names.join(";")
    }

    fn canonical(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.method, self.path, self.query);
        for (name, value) in self.headers {
            let _ = write!(text, "{name}:");
            for (at, word) in value.split_whitespace().enumerate() {
                let blank = if at == 0 { "" } else { " " };
                let _ = write!(text, "{blank}{word}");
            }
            text.push('\n');
        }
        let _ = write!(text, "\n{}\n{UNSIGNED}", self.names());
        text
    }

    /// What is signed.
    pub(super) fn text(&self, algorithm: &str, scope: &Scope<'_>) -> String {
        format!(
            "{algorithm}\n{}\n{}\n{}",
            timestamp(scope.at),
            scope.text(),
            Hex::<32>(Sha256::digest(self.canonical()).into())
        )
    }
}

impl Scope<'_> {
    /// `20130524/us-east-1/s3/aws4_request`
    pub(super) fn text(&self) -> String {
        let day = day(self.at);
        format!("{day}/{}/{}/{}", self.region, self.service, self.end)
    }
}

/// The key of one day, region and service, made of the secret.
pub(super) fn day_key(secret: &str, scope: &Scope<'_>) -> [u8; 32] {
    let first = format!("AWS4{secret}");
    let day = hmac(first.as_bytes(), &day(scope.at));
    let region = hmac(&day, scope.region);
    let service = hmac(&region, scope.service);
    hmac(&service, scope.end)
}

/// HMAC-SHA256.
pub(super) fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

/// `20130524`
pub(super) fn day(at: OffsetDateTime) -> String {
    format!("{:04}{:02}{:02}", at.year(), u8::from(at.month()), at.day())
}

/// `20130524T000000Z`; `at` is in UTC.
pub(super) fn timestamp(at: OffsetDateTime) -> String {
    let (hour, minute, second) = at.to_hms();
    format!("{}T{hour:02}{minute:02}{second:02}Z", day(at))
}

/// The parameters of a URL, written as they are signed: encoded, and in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// With another parameter.
    #[must_use]
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push((encode(name), encode(value)));
        self
    }

    /// As it stands behind the `?`.
    pub(super) fn text(&self) -> String {
        let mut pairs: Vec<&(String, String)> = self.0.iter().collect();
        pairs.sort_unstable();
        let pairs: Vec<String> = pairs.iter().map(|(n, v)| format!("{n}={v}")).collect();
        pairs.join("&")
    }
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// The path of a key: its slashes stay.
pub(super) fn encode_path(key: &str) -> String {
    utf8_percent_encode(key, PATH).to_string()
}

/// RFC 3986 section 2.3: what needs no encoding.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    fn scope() -> Scope<'static> {
        Scope {
            at: datetime!(2013-05-24 00:00:00 UTC),
            region: "us-east-1",
            service: "s3",
            end: "aws4_request",
        }
    }

    /// The example of
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html#query-string-auth-v4-signing-example>.
    #[test]
    fn a_url_is_signed_as_in_the_documentation_of_aws() {
        let query = Query::default()
            .with("X-Amz-SignedHeaders", "host")
            .with("X-Amz-Algorithm", "AWS4-HMAC-SHA256")
            .with(
                "X-Amz-Credential",
                "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request",
            )
            .with("X-Amz-Date", "20130524T000000Z")
            .with("X-Amz-Expires", "86400");
        let signable = Signable {
            method: "GET",
            path: "/test.txt",
            query: &query.text(),
            headers: &[("host", "examplebucket.s3.amazonaws.com")],
        };
        let text = signable.text("AWS4-HMAC-SHA256", &scope());
        assert_eq!(
            text.lines().last(),
            Some("3bfa292879f6447bbcda7001decf97f4a54dc650c8942174ae0a9121cf58ad04")
        );
        let signature = Hex(hmac(&day_key(SECRET, &scope()), &text)).to_string();
        assert_eq!(
            signature,
            "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        );
    }

    /// The key of <https://docs.aws.amazon.com/general/latest/gr/signature-v4-examples.html>.
    #[test]
    fn the_key_of_a_day_is_that_of_the_documentation() {
        let scope = Scope {
            at: datetime!(2012-02-15 12:00:00 UTC),
            service: "iam",
            ..scope()
        };
        assert_eq!(
            Hex(day_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", &scope)).to_string(),
            "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"
        );
    }

    #[test]
    fn blanks_in_headers_count_once_and_times_are_written_in_full() {
        let signable = Signable {
            method: "PUT",
            path: "/",
            query: "",
            headers: &[("a", " b   c "), ("host", "h")],
        };
        assert_eq!(
            signable.canonical(),
            "PUT\n/\n\na:b c\nhost:h\n\na;host\nUNSIGNED-PAYLOAD"
        );
        let early = datetime!(2026-01-02 03:04:05 UTC);
        assert_eq!(timestamp(early), "20260102T030405Z");
    }

    #[test]
    fn keys_and_values_are_encoded_as_they_are_signed() {
        assert_eq!(encode_path("a b/ü+~"), "a%20b/%C3%BC%2B~");
        let query = Query::default().with("uploads", "").with("a", "b/c*'");
        assert_eq!(query.text(), "a=b%2Fc%2A%27&uploads=");
    }
}
