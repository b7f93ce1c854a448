//! PostObject: a form that a browser sends, with a policy that says what it may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use attache::access::Scope;
use attache::service::PutObject;
use attache::{Error, ErrorKind};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, StatusCode};
use time::OffsetDateTime;

use super::address::parse_key;
use super::authenticate::{Caller, authenticate_form, old_version};
use super::body;
use super::error::{S3Error, S3Result};
use super::multipart::location;
use super::policy::{self, Fields};
use super::request::S3Request;
use super::signature::{encode, v2, v4};
use super::values::{quoted, value};
use super::xml::{Xml, document};
use crate::upload::Incoming;

/// Most bytes of all fields before the file
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html>: 20 KB).
const MAX_FIELDS: usize = 20 * 1024;

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
    let policy = fields.get("policy").unwrap_or_default();
    let range = policy::check(policy, &fields, &request.name, OffsetDateTime::now_utc())?;
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
