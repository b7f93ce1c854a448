//! Signature Version 4, checked as Amazon's documentation describes it.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>,
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>. The same canonical request, with
//! other words and another last step, is Google's
//! (<https://cloud.google.com/storage/docs/authentication/canonical-requests>), so both are made of these pieces.

mod canonical;
mod scope;

use http::HeaderMap;
use stand_in::answer::Fail;
use stand_in::xml;
use time::macros::format_description;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

use self::scope::{Scope, compare};

pub(crate) use self::canonical::{canonical_query, canonical_request, query_value};

/// The head of a request, as it was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub(crate) method: &'a str,
    pub(crate) raw_path: &'a str,
    pub(crate) raw_query: &'a str,
    pub(crate) headers: &'a HeaderMap,
}

/// What must have signed it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signer<'a> {
    pub(crate) access_key_id: &'a str,
    pub(crate) secret_access_key: &'a str,
    pub(crate) region: &'a str,
    pub(crate) now: OffsetDateTime,
}

/// What the signature says of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// Its SHA-256, lower-case hexadecimal.
    Digest(String),
    /// Nothing.
    Unsigned,
    /// It comes in chunks with checksums behind them, which are not signed.
    UnsignedTrailer,
}

/// Checks a signature in `Authorization`.
pub(crate) fn check_header(head: Head<'_>, signer: Signer<'_>) -> Result<Payload, Fail> {
    let text = value(head.headers, "authorization");
    let rest = text.strip_prefix(ALGORITHM).ok_or_else(|| {
        Fail::new(
            400,
            "InvalidRequest",
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        )
    })?;
    let field = |name: &str| {
        let mut fields = rest.split(',').map(str::trim);
        fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    };
    let (Some(credential), Some(signed), Some(signature)) = (
        field("Credential"),
        field("SignedHeaders"),
        field("Signature"),
    ) else {
        return Err(malformed("The authorization header is malformed."));
    };
    let date = value(head.headers, "x-amz-date");
    let at = parse_date(&date)
        .ok_or_else(|| denied("AWS authentication requires a valid Date or x-amz-date header"))?;
    let scope = Scope::parse(credential).ok_or_else(|| {
        malformed("The authorization header is malformed; the Credential is mal-formed.")
    })?;
    scope
        .check(signer, &date)
        .map_err(|problem| problem.into_fail("AuthorizationHeaderMalformed", signer.region))?;
    if (signer.now - at).abs() > SKEW {
        return Err(skewed(&date, signer.now));
    }
    let payload = value(head.headers, "x-amz-content-sha256");
    if payload.is_empty() {
        return Err(Fail::new(
            400,
            "InvalidRequest",
            "Missing required header for this request: x-amz-content-sha256",
        ));
    }
    all_are_signed(head.headers, signed)?;
    let canonical = canonical_request(
        head,
        canonical_query(head.raw_query, None),
        signed,
        &payload,
    );
    compare(&scope, signer, &date, &canonical, signature)?;
    payload_of(&payload)
}

/// Checks a signature in the query.
pub(crate) fn check_query(head: Head<'_>, signer: Signer<'_>) -> Result<Payload, Fail> {
    let field = |name: &str| query_value(head.raw_query, name);
    let missing = || {
        query_error(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
        )
    };
    let algorithm = field("X-Amz-Algorithm").ok_or_else(missing)?;
    let credential = field("X-Amz-Credential").ok_or_else(missing)?;
    let date = field("X-Amz-Date").ok_or_else(missing)?;
    let expires = field("X-Amz-Expires").ok_or_else(missing)?;
    let signed = field("X-Amz-SignedHeaders").ok_or_else(missing)?;
    let signature = field("X-Amz-Signature").ok_or_else(missing)?;
    if algorithm != ALGORITHM {
        return Err(query_error(
            "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"",
        ));
    }
    let at = parse_date(&date).ok_or_else(|| {
        query_error("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    })?;
    let seconds: i64 = expires
        .parse()
        .ok()
        .filter(|seconds| *seconds >= 0)
        .ok_or_else(|| query_error("X-Amz-Expires should be a number"))?;
    if seconds > LONGEST_LIFE {
        return Err(query_error(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds",
        ));
    }
    let scope = Scope::parse(&credential)
        .ok_or_else(|| query_error("Error parsing the X-Amz-Credential parameter"))?;
    scope
        .check(signer, &date)
        .map_err(|problem| problem.into_fail("AuthorizationQueryParametersError", signer.region))?;
    if at - signer.now > SKEW {
        return Err(denied("Request is not valid yet"));
    }
    let end = at + Duration::seconds(seconds);
    if signer.now > end {
        return Err(denied("Request has expired").detail(
            xml::element("X-Amz-Expires", &expires)
                + &xml::element("Expires", &iso(end))
                + &xml::element("ServerTime", &iso(signer.now)),
        ));
    }
    all_are_signed(head.headers, &signed)?;
    let payload = field("X-Amz-Content-Sha256")
        .or_else(|| {
            Some(value(head.headers, "x-amz-content-sha256")).filter(|text| !text.is_empty())
        })
        .unwrap_or_else(|| UNSIGNED.to_owned());
    let query = canonical_query(head.raw_query, Some("X-Amz-Signature"));
    let canonical = canonical_request(head, query, &signed, &payload);
    compare(&scope, signer, &date, &canonical, &signature)?;
    payload_of(&payload)
}

/// `host`, and every header with a meaning of the service's own, must be among the signed ones.
fn all_are_signed(headers: &HeaderMap, signed: &str) -> Result<(), Fail> {
    let is_signed = |name: &str| signed.split(';').any(|signed| signed == name);
    let own = headers
        .keys()
        .map(http::HeaderName::as_str)
        .filter(|name| name.starts_with("x-amz-"));
    let missing: Vec<&str> = own
        .chain(["host"])
        .filter(|name| !is_signed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(
        denied("There were headers present in the request which were not signed")
            .detail(xml::element("HeadersNotSigned", &missing.join(", "))),
    )
}

fn payload_of(text: &str) -> Result<Payload, Fail> {
    match text {
        UNSIGNED => Ok(Payload::Unsigned),
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(Payload::UnsignedTrailer),
        digest if digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Ok(Payload::Digest(digest.to_ascii_lowercase()))
        }
        // Chunks with signatures of their own: their check is not written.
        streaming if streaming.starts_with("STREAMING-") => Err(Fail::new(
            501,
            "NotImplemented",
            "A header you provided implies functionality that is not implemented",
        )),
        _ => Err(Fail::new(
            400,
            "InvalidArgument",
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, or a valid sha256 value.",
        )),
    }
}

fn value(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).map(http::HeaderValue::as_bytes);
    String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
}

/// Reads `20130524T000000Z`.
pub(crate) fn parse_date(text: &str) -> Option<OffsetDateTime> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    PrimitiveDateTime::parse(text, format)
        .ok()
        .map(PrimitiveDateTime::assume_utc)
}

fn iso(at: OffsetDateTime) -> String {
    stand_in::wire::iso_seconds(at)
}

fn malformed(message: &str) -> Fail {
    Fail::new(400, "AuthorizationHeaderMalformed", message)
}

fn query_error(message: &str) -> Fail {
    Fail::new(400, "AuthorizationQueryParametersError", message)
}

fn denied(message: &str) -> Fail {
    Fail::new(403, "AccessDenied", message)
}

fn skewed(date: &str, now: OffsetDateTime) -> Fail {
    Fail::new(
        403,
        "RequestTimeTooSkewed",
        "The difference between the request time and the current time is too large.",
    )
    .detail(
        xml::element("RequestTime", date)
            + &xml::element("ServerTime", &iso(now))
            + &xml::element("MaxAllowedSkewMilliseconds", "900000"),
    )
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// How far the clocks may be apart (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>).
const SKEW: Duration = Duration::minutes(15);

/// Seven days in seconds
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>, `X-Amz-Expires`).
const LONGEST_LIFE: i64 = 604_800;

#[cfg(test)]
mod tests {
    //! The examples of the two pages that the module names.
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use http::{HeaderName, HeaderValue};
    use time::macros::datetime;

    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn signer() -> Signer<'static> {
        Signer {
            access_key_id: "AKIAIOSFODNN7EXAMPLE",
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            region: "us-east-1",
            now: datetime!(2013-05-24 00:00:00 UTC),
        }
    }

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let list = list
            .iter()
            .chain(&[("host", "examplebucket.s3.amazonaws.com")]);
        list.map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect()
    }

    fn signed(
        method: &str,
        raw_path: &str,
        raw_query: &str,
        more: &[(&'static str, &'static str)],
        signed: &str,
        signature: &str,
    ) -> Result<Payload, Fail> {
        let mut headers = headers(more);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders={signed},Signature={signature}"
        );
        headers.insert("authorization", authorization.parse().unwrap());
        let head = Head {
            method,
            raw_path,
            raw_query,
            headers: &headers,
        };
        check_header(head, signer())
    }

    #[test]
    fn the_documented_requests_are_signed_right() {
        let now = ("x-amz-date", "20130524T000000Z");
        let empty = ("x-amz-content-sha256", EMPTY);
        signed(
            "GET",
            "/test.txt",
            "",
            &[("range", "bytes=0-9"), empty, now],
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        )
        .unwrap();
        let put = signed(
            "PUT",
            "/test%24file.text",
            "",
            &[
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
                (
                    "x-amz-content-sha256",
                    "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
                ),
                now,
            ],
            "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        );
        assert!(matches!(put.unwrap(), Payload::Digest(digest) if digest.starts_with("44ce7dd6")));
        signed(
            "GET",
            "/",
            "lifecycle",
            &[empty, now],
            "host;x-amz-content-sha256;x-amz-date",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        )
        .unwrap();
        signed(
            "GET",
            "/",
            "max-keys=2&prefix=J",
            &[empty, now],
            "host;x-amz-content-sha256;x-amz-date",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        )
        .unwrap();
    }

    const PRESIGNED: &str = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

    fn presigned(raw_path: &str, raw_query: &str, signer: Signer<'_>) -> Result<Payload, String> {
        let headers = headers(&[]);
        let head = Head {
            method: "GET",
            raw_path,
            raw_query,
            headers: &headers,
        };
        check_query(head, signer).map_err(|fail| fail.code + ": " + &fail.message)
    }

    #[test]
    fn the_documented_url_is_signed_right_and_nothing_else_is() {
        assert_eq!(
            presigned("/test.txt", PRESIGNED, signer()),
            Ok(Payload::Unsigned)
        );
        let code = |result: Result<Payload, String>| {
            result.unwrap_err().split(':').next().unwrap().to_owned()
        };
        assert_eq!(
            code(presigned("/test2.txt", PRESIGNED, signer())),
            "SignatureDoesNotMatch"
        );
        let more = format!("{PRESIGNED}&response-content-type=text%2Fhtml");
        assert_eq!(
            code(presigned("/test.txt", &more, signer())),
            "SignatureDoesNotMatch"
        );
        let longer = PRESIGNED.replace("86400", "604801");
        assert_eq!(
            code(presigned("/test.txt", &longer, signer())),
            "AuthorizationQueryParametersError"
        );
        let at = |now| Signer { now, ..signer() };
        let day_after = datetime!(2013-05-25 00:00:01 UTC);
        assert!(
            presigned("/test.txt", PRESIGNED, at(day_after))
                .unwrap_err()
                .contains("Request has expired")
        );
        let before = datetime!(2013-05-23 23:44:59 UTC);
        assert!(
            presigned("/test.txt", PRESIGNED, at(before))
                .unwrap_err()
                .contains("not valid yet")
        );
    }

    #[test]
    fn a_header_that_is_changed_missing_or_unsigned_is_refused() {
        let now = ("x-amz-date", "20130524T000000Z");
        let empty = ("x-amz-content-sha256", EMPTY);
        let names = "host;range;x-amz-content-sha256;x-amz-date";
        let signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        let ask = |more: &[(&'static str, &'static str)]| {
            signed("GET", "/test.txt", "", more, names, signature)
                .unwrap_err()
                .code
        };
        assert_eq!(
            ask(&[("range", "bytes=0-8"), empty, now]),
            "SignatureDoesNotMatch"
        );
        assert_eq!(ask(&[empty, now]), "SignatureDoesNotMatch");
        assert_eq!(
            ask(&[("range", "bytes=0-9"), ("x-amz-acl", "private"), empty, now]),
            "AccessDenied"
        );
        assert_eq!(ask(&[("range", "bytes=0-9"), now]), "InvalidRequest");
        assert_eq!(
            ask(&[
                ("range", "bytes=0-9"),
                empty,
                ("x-amz-date", "20130524T001501Z")
            ]),
            "RequestTimeTooSkewed"
        );
    }
}
