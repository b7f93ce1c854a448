//! What clients are told.

use attache::catalog::partial::Upload;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_LOCATION, HeaderName, HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};

use super::protocol::{BYTES, EXTENSIONS, UPLOADS, VERSION};
use crate::respond::plain_problem;

/// A header that this module alone makes.
fn name(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

/// Everything that reaches this is ASCII.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// Says which version it is of: on every answer.
pub(crate) fn resumable(headers: &mut HeaderMap) {
    headers.insert(name("tus-resumable"), HeaderValue::from_static(VERSION));
}

/// Where an upload is, in absolute terms: aiotus can use no other ones, and behind a proxy that ends TLS a browser none but those of
/// `https`.
fn location(base: &str, upload: &Upload) -> HeaderValue {
    value(&format!("{base}{UPLOADS}/{}", upload.id))
}

/// Until when it may lie, and where the attachment is once it is one.
fn state(headers: &mut HeaderMap, base: &str, upload: &Upload) {
    headers.insert(name("upload-offset"), HeaderValue::from(upload.offset));
    if upload.is_complete {
        let place = format!("{base}/v1/attachments/{}", upload.id);
        headers.insert(CONTENT_LOCATION, value(&place));
    } else {
        let expires = httpdate::fmt_http_date(upload.expires_at.into());
        headers.insert(name("upload-expires"), value(&expires));
    }
}

/// The answer to a creation.
pub(crate) fn created(base: &str, upload: &Upload) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(LOCATION, location(base, upload));
    state(&mut headers, base, upload);
    (StatusCode::CREATED, headers).into_response()
}

/// The answer to bytes that are all stored: 204 and nothing else (tus_client takes no other), with the offset (tuspy and aiotus end
/// without it).
pub(crate) fn stored(base: &str, upload: &Upload) -> Response {
    let mut headers = HeaderMap::new();
    state(&mut headers, base, upload);
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// The answer to a question. Nobody may keep it: a browser would answer the next one with it.
pub(crate) fn progress(base: &str, upload: &Upload) -> Response {
    let mut headers = HeaderMap::new();
    state(&mut headers, base, upload);
    match upload.length {
        Some(length) => headers.insert(name("upload-length"), HeaderValue::from(length)),
        None => headers.insert(name("upload-defer-length"), HeaderValue::from_static("1")),
    };
    if !upload.metadata.is_empty() {
        headers.insert(name("upload-metadata"), value(&upload.metadata));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    (StatusCode::OK, headers).into_response()
}

/// The upload ends elsewhere.
pub(crate) fn wrong_offset(upload: &Upload) -> Response {
    let detail = format!(
        "Upload-Offset must be {}, which is how many bytes of this upload are stored",
        upload.offset
    );
    let mut response = plain_problem(StatusCode::CONFLICT, "conflict", detail);
    let headers = response.headers_mut();
    headers.insert(name("upload-offset"), HeaderValue::from(upload.offset));
    response
}

/// What is supported.
pub(crate) fn capabilities(max_size: Option<u64>) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(name("tus-version"), HeaderValue::from_static(VERSION));
    headers.insert(name("tus-extension"), HeaderValue::from_static(EXTENSIONS));
    limit(&mut headers, max_size);
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// How large an upload may be.
pub(crate) fn limit(headers: &mut HeaderMap, max_size: Option<u64>) {
    if let Some(max) = max_size {
        headers.insert(name("tus-max-size"), HeaderValue::from(max));
    }
}

/// The request is of a version that is not supported, or of no version.
pub(crate) fn unsupported_version() -> Response {
    let detail = format!("this needs \"Tus-Resumable: {VERSION}\"");
    let mut response = plain_problem(
        StatusCode::PRECONDITION_FAILED,
        "precondition_failed",
        detail,
    );
    let headers = response.headers_mut();
    headers.insert(name("tus-version"), HeaderValue::from_static(VERSION));
    response
}

/// The body is something else than bytes of a file.
pub(crate) fn unsupported_media_type() -> Response {
    let detail = format!("bytes of an upload come with \"Content-Type: {BYTES}\"");
    plain_problem(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        detail,
    )
}
