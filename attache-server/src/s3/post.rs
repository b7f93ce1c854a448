//! PostObject: a form that a browser sends, with a policy that says what it may hold
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html>).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use attache::access::Scope;
use attache::service::PutObject;
use attache::{Error, ErrorKind};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::address::parse_key;
use super::authenticate::{Caller, authenticate_form, old_version};
use super::body;
use super::error::{S3Error, S3Result};
use super::multipart::location;
use super::request::S3Request;
use super::signature::{encode, v2, v4};
use super::values::{quoted, value};
use super::xml::{Xml, document};
use crate::upload::Incoming;

/// Most bytes of all fields before the file
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html>: 20 KB).
const MAX_FIELDS: usize = 20 * 1024;

/// The fields of a form, in the order in which they came; their names in lower case.
#[derive(Debug, Default)]
struct Fields(Vec<(String, String)>);

impl Fields {
    fn get(&self, name: &str) -> Option<&str> {
        let mut fields = self.0.iter();
        fields
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

pub(super) async fn post(request: &mut S3Request, incoming: Incoming) -> S3Result<Response> {
    let malformed =
        |what: &str| S3Error::new(StatusCode::BAD_REQUEST, "MalformedPOSTRequest", what);
    let kind = body::text(&request.head.headers, CONTENT_TYPE.as_str()).unwrap_or_default();
    let boundary = multer::parse_boundary(&kind)
        .map_err(|_| malformed("the body of a POST to a bucket must be multipart/form-data"))?;
    let (bounded, allowance) = crate::upload::bounded(incoming);
    let mut form = multer::Multipart::new(bounded, boundary);
    let head = tokio::time::timeout(FIELDS_TIME, read_fields(&mut form));
    let (fields, file) = head.await.map_err(|_| {
        Error::new(
            ErrorKind::ClientTimeout,
            "timed out: the fields of the form did not come",
        )
    })??;
    // From here on the file has limits of its own.
    allowance.store(u64::MAX, Ordering::Relaxed);
    let filename = file.file_name().unwrap_or_default();
    // Some browsers sent a whole path.
    let filename = filename
        .rsplit(['/', '\\'])
        .next()
        .unwrap_or_default()
        .to_owned();
    let key = fields
        .get("key")
        .ok_or_else(|| S3Error::invalid("the form has no field \"key\""))?;
    let key = parse_key(key.replace("${filename}", &filename))?;
    request.caller = signer(request, &fields)?;
    let range = check(request, &fields)?;
    request.need(Scope::Write, key.as_str())?;
    let _in_progress = request.begin_upload()?;
    let names = fields.0.iter().map(|(name, _)| name.as_str());
    let field = |name: &str| fields.get(name).map(str::to_owned);
    let mut properties = body::properties(names, field)?;
    if properties.content_type.is_none() {
        properties.content_type = file.content_type().map(ToString::to_string);
    }
    let too_small = Arc::new(AtomicBool::new(false));
    let bytes = limited(
        file.map(|chunk| chunk.map_err(broken)),
        range,
        too_small.clone(),
    );
    let put = PutObject {
        properties,
        ..PutObject::default()
    };
    let entry = match request.bucket.put(&key, put, bytes).await {
        Err(_) if too_small.load(Ordering::Relaxed) => {
            return Err(S3Error::new(
                StatusCode::BAD_REQUEST,
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
            ));
        }
        outcome => outcome?,
    };
    let place = location(request, &key);
    let mut headers = HeaderMap::new();
    headers.insert(ETAG, quoted(&entry.etag));
    headers.insert(LOCATION, value(&place));
    if let Some(target) = redirect(&fields, &request.name, key.as_str(), &entry.etag) {
        headers.insert(LOCATION, value(&target));
        return Ok((StatusCode::SEE_OTHER, headers).into_response());
    }
    Ok(match fields.get("success_action_status") {
        Some("200") => (StatusCode::OK, headers).into_response(),
        Some("201") => {
            let mut xml = Xml::new();
            xml.open("PostResponse")
                .text("Location", &place)
                .text("Bucket", &request.name)
                .text("Key", key.as_str())
                .text("ETag", &format!("\"{}\"", entry.etag))
                .close("PostResponse");
            let mut response = document(xml);
            *response.status_mut() = StatusCode::CREATED;
            response.headers_mut().extend(headers);
            response
        }
        _ => (StatusCode::NO_CONTENT, headers).into_response(),
    })
}

/// How long the fields before the file may take to come.
const FIELDS_TIME: std::time::Duration = std::time::Duration::from_secs(60);

/// Reads the fields of a form up to its file.
async fn read_fields(
    form: &mut multer::Multipart<'static>,
) -> S3Result<(Fields, multer::Field<'static>)> {
    let (mut fields, mut size) = (Fields::default(), 0);
    loop {
        let next = form
            .next_field()
            .await
            .map_err(|error| broken(error).into());
        let next: S3Result<_> = next;
        let Some(mut field) = next? else {
            return Err(S3Error::invalid(
                "POST requires exactly one file upload per request, and it must be the last field",
            ));
        };
        let name = field.name().unwrap_or_default().to_ascii_lowercase();
        if name == "file" {
            return Ok((fields, field));
        }
        let mut text = Vec::new();
        while let Some(chunk) = field.chunk().await.map_err(broken)? {
            size += chunk.len();
            if size > MAX_FIELDS {
                return Err(S3Error::new(
                    StatusCode::BAD_REQUEST,
                    "MaxPostPreDataLengthExceeded",
                    "the fields before the file are larger than 20480 bytes",
                ));
            }
            text.extend_from_slice(&chunk);
        }
        let text = String::from_utf8(text).map_err(|_| {
            S3Error::new(
                StatusCode::BAD_REQUEST,
                "MalformedPOSTRequest",
                "a field of the form is not UTF-8",
            )
        })?;
        fields.0.push((name, text));
    }
}

fn broken(error: multer::Error) -> Error {
    let kind = match error {
        multer::Error::StreamReadFailed(inner) => {
            return match inner.downcast::<Error>() {
                // Our own error, passed through.
                Ok(ours) => *ours,
                Err(_) => Error::new(ErrorKind::ClientGone, "the form broke off"),
            };
        }
        multer::Error::IncompleteStream => ErrorKind::ClientGone,
        _ => ErrorKind::BadRequest,
    };
    Error::new(kind, "the form broke off, or is not multipart/form-data").with_source(error)
}

fn redirect(fields: &Fields, bucket: &str, key: &str, etag: &str) -> Option<String> {
    let target = fields
        .get("success_action_redirect")
        .or(fields.get("redirect"))?;
    let parsed: http::Uri = target.parse().ok()?;
    matches!(parsed.scheme_str(), Some("http" | "https")).then_some(())?;
    let mark = if parsed.query().is_some() { '&' } else { '?' };
    let tag = encode(&format!("\"{etag}\""));
    Some(format!(
        "{target}{mark}bucket={bucket}&key={}&etag={tag}",
        encode(key)
    ))
}

/// Whose policy it is.
fn signer(request: &S3Request, fields: &Fields) -> S3Result<Caller> {
    let Some(policy) = fields.get("policy") else {
        return Err(S3Error::denied(
            "the form has no policy, and this bucket is not for anybody to write",
        ));
    };
    let keys = request.app.s3_keys()?;
    if let Some(claim) = v4::Claim::of_form(|name| fields.get(name))? {
        return authenticate_form(&keys, &claim, policy);
    }
    match (fields.get("awsaccesskeyid"), fields.get("signature")) {
        (Some(_), Some(_)) if !request.settings.s3.sigv2 => Err(old_version()),
        (Some(id), Some(signature)) => {
            super::authenticate::authenticate_old_form(&keys, id, |secret| {
                v2::verify_policy(secret, policy, signature)
            })
        }
        _ => Err(S3Error::denied("the form is not signed")),
    }
}

/// Whether a form is one that its policy allows; how many bytes the file may have.
fn check(request: &S3Request, fields: &Fields) -> S3Result<(u64, u64)> {
    let policy = fields.get("policy").unwrap_or_default();
    check_policy(policy, fields, &request.name, OffsetDateTime::now_utc())
}

fn check_policy(
    policy: &str,
    fields: &Fields,
    bucket: &str,
    now: OffsetDateTime,
) -> S3Result<(u64, u64)> {
    let wrong = |what: &str| {
        S3Error::new(
            StatusCode::BAD_REQUEST,
            "InvalidPolicyDocument",
            format!("Invalid Policy: {what}"),
        )
    };
    let failed = |what: &str| {
        S3Error::denied(format!(
            "Invalid according to Policy: Policy Condition failed: {what}"
        ))
    };
    let text = STANDARD
        .decode(policy.trim())
        .map_err(|_| wrong("it is not base64"))?;
    let policy: Value = serde_json::from_slice(&text).map_err(|_| wrong("it is not JSON"))?;
    let expiration = policy["expiration"]
        .as_str()
        .ok_or_else(|| wrong("it has no expiration"))?;
    let expiration = OffsetDateTime::parse(expiration, &Rfc3339)
        .map_err(|_| wrong("its expiration is not a time"))?;
    if now >= expiration {
        return Err(S3Error::denied(
            "Invalid according to Policy: Policy expired.",
        ));
    }
    let conditions = policy["conditions"]
        .as_array()
        .ok_or_else(|| wrong("it has no conditions"))?;
    let mut range = (0, u64::MAX);
    let mut covered = Vec::new();
    for condition in conditions {
        let one: (String, String, bool) = match condition {
            Value::Object(pairs) if pairs.len() == 1 => {
                let pair = pairs.iter().next();
                let pair = pair
                    .and_then(|(name, value)| Some((name.to_ascii_lowercase(), text_of(value)?)));
                let (name, value) = pair.ok_or_else(|| wrong("a condition has no text"))?;
                (name, value, false)
            }
            Value::Array(parts) => match parts.as_slice() {
                [Value::String(word), min, max]
                    if word.eq_ignore_ascii_case("content-length-range") =>
                {
                    let (min, max) = (number_of(min), number_of(max));
                    let (least, most) = min
                        .zip(max)
                        .ok_or_else(|| wrong("content-length-range has no numbers"))?;
                    // Of several all hold.
                    range = (range.0.max(least), range.1.min(most));
                    continue;
                }
                [
                    Value::String(word),
                    Value::String(name),
                    Value::String(value),
                ] => {
                    let starts = match word.to_ascii_lowercase().as_str() {
                        "eq" => false,
                        "starts-with" => true,
                        _ => return Err(wrong("a condition is none that is known")),
                    };
                    let name = name
                        .strip_prefix('$')
                        .ok_or_else(|| wrong("a condition names no field"))?;
                    (name.to_ascii_lowercase(), value.clone(), starts)
                }
                _ => return Err(wrong("a condition is none that is known")),
            },
            _ => return Err(wrong("a condition is none that is known")),
        };
        let (name, want, starts) = one;
        let got = match name.as_str() {
            "bucket" => Some(bucket),
            name => fields.get(name),
        };
        let holds = match (got, starts) {
            // A prefix of nothing allows a field that is not there.
            (None, true) => want.is_empty(),
            (None, false) => false,
            (Some(got), true) => got.starts_with(&want),
            (Some(got), false) => got == want,
        };
        if !holds {
            return Err(failed(&condition.to_string()));
        }
        covered.push(name);
    }
    let free = [
        "policy",
        "x-amz-signature",
        "signature",
        "awsaccesskeyid",
        "file",
        "submit",
    ];
    let extra = fields.0.iter().find(|(name, _)| {
        !free.contains(&name.as_str()) && !name.starts_with("x-ignore-") && !covered.contains(name)
    });
    match extra {
        Some((name, _)) => Err(S3Error::denied(format!(
            "Invalid according to Policy: Extra input fields: {name}"
        ))),
        None => Ok(range),
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn number_of(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64(),
    }
}

/// Ends a file that has fewer bytes than it must, or more than it may, with an error.
fn limited(
    file: impl futures::Stream<Item = attache::Result<Bytes>> + Send + Unpin + 'static,
    (min, max): (u64, u64),
    too_small: Arc<AtomicBool>,
) -> impl futures::Stream<Item = attache::Result<Bytes>> + Send + 'static {
    stream::unfold(Some((file, 0_u64)), move |state| {
        let too_small = too_small.clone();
        async move {
            let (mut file, mut size) = state?;
            match file.next().await {
                Some(Ok(chunk)) => {
                    size += chunk.len() as u64;
                    match size > max {
                        true => {
                            let what = format!(
                                "the file is larger than the {max} bytes that its policy allows"
                            );
                            Some((Err(Error::new(ErrorKind::TooLarge, what)), None))
                        }
                        false => Some((Ok(chunk), Some((file, size)))),
                    }
                }
                Some(Err(error)) => Some((Err(error), None)),
                None if size < min => {
                    too_small.store(true, Ordering::Relaxed);
                    Some((Err(Error::bad_request("the file is too small")), None))
                }
                None => None,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-27 12:00 UTC);

    fn policy(conditions: &str) -> String {
        STANDARD.encode(format!(
            "{{\"expiration\":\"2026-11-27T12:00:01Z\",\"conditions\":[{conditions}]}}"
        ))
    }

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        Fields(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    const GOOD: &str = r#"{"bucket":"files"},["starts-with","$key","up/"],{"acl":"private"},["eq","$Content-Type","image/png"],
        ["content-length-range",1,"1000"],["starts-with","$Cache-Control",""],{"x-amz-date":"20261127T120000Z"}"#;

    fn form() -> Vec<(&'static str, &'static str)> {
        vec![
            ("key", "up/${filename}"),
            ("acl", "private"),
            ("content-type", "image/png"),
            ("x-amz-date", "20261127T120000Z"),
            ("policy", "…"),
            ("x-amz-signature", "…"),
            ("x-ignore-me", "1"),
        ]
    }

    #[test]
    fn a_form_that_its_policy_allows_is_good() {
        let range = check_policy(&policy(GOOD), &fields(&form()), "files", NOW);
        assert_eq!(range.expect("allowed"), (1, 1000));
    }

    #[test]
    fn each_condition_that_does_not_hold_is_enough() {
        let deny = |policy: &str, pairs: &[(&str, &str)], bucket: &str, now| {
            let error = check_policy(policy, &fields(pairs), bucket, now).expect_err("denied");
            error.code()
        };
        let good = policy(GOOD);
        for (name, other) in [
            ("key", "down/x"),
            ("acl", "public-read"),
            ("content-type", "text/html"),
            ("x-amz-date", "20261127T120001Z"),
        ] {
            let mut pairs = form();
            for pair in &mut pairs {
                if pair.0 == name {
                    pair.1 = other;
                }
            }
            assert_eq!(deny(&good, &pairs, "files", NOW), "AccessDenied", "{name}");
            pairs.retain(|pair| pair.0 != name);
            assert_eq!(
                deny(&good, &pairs, "files", NOW),
                "AccessDenied",
                "no {name}"
            );
        }
        assert_eq!(deny(&good, &form(), "other", NOW), "AccessDenied");
        let late = NOW + time::Duration::seconds(1);
        assert_eq!(deny(&good, &form(), "files", late), "AccessDenied");
        let mut more = form();
        more.push(("x-amz-meta-a", "b"));
        assert_eq!(deny(&good, &more, "files", NOW), "AccessDenied");
    }

    #[test]
    fn a_policy_that_is_none_is_refused() {
        let json = |text: &str| STANDARD.encode(text);
        for bad in [
            "%".to_owned(),
            json("{"),
            json("{}"),
            json("{\"expiration\":\"soon\",\"conditions\":[]}"),
            json("{\"expiration\":\"2027-01-01T00:00:00Z\"}"),
            policy("[\"ends-with\",\"$key\",\"x\"]"),
            policy("[\"eq\",\"key\",\"x\"]"),
            policy("[\"content-length-range\",\"a\",1]"),
            policy("{\"a\":[1]}"),
            policy("1"),
        ] {
            let error = check_policy(&bad, &fields(&[]), "files", NOW).expect_err("no policy");
            assert_eq!(error.code(), "InvalidPolicyDocument", "{bad}");
        }
    }
}
