//! Pages of other origins that use presigned URLs by scripts: `s3.buckets.NAME.cors_origins`
//! (<https://fetch.spec.whatwg.org/#http-cors-protocol>).

use axum::response::{IntoResponse as _, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN, VARY,
};
use http::{HeaderMap, Method, StatusCode};

use super::error::S3Error;
use crate::config::s3::BucketConfig;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, PUT, POST, DELETE");

/// What a page may read of a response: the entity tag of a part, which it names to complete an upload, first of all.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "ETag, Content-Range, Content-Length, Content-Disposition, Accept-Ranges, Last-Modified, Location, x-amz-request-id, \
     x-amz-checksum-crc32, x-amz-checksum-crc32c, x-amz-checksum-crc64nvme, x-amz-checksum-sha1, x-amz-checksum-sha256",
);

/// As long as for attachments.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The origin that asks, if pages of it may.
pub(super) fn origin<'h>(
    bucket: Option<&BucketConfig>,
    headers: &'h HeaderMap,
) -> Option<&'h HeaderValue> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let (origin, more) = (origins.next()?, origins.next());
    let known = bucket?
        .cors_origins
        .iter()
        .any(|known| known.is(origin.as_bytes()));
    (known && more.is_none()).then_some(origin)
}

pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The response to a preflight, which is never signed.
///
/// # Errors
///
/// `AccessForbidden`.
pub(super) fn preflight(allowed: bool, asked: &HeaderMap) -> Result<Response, S3Error> {
    if !allowed {
        return Err(S3Error::new(
            StatusCode::FORBIDDEN,
            "AccessForbidden",
            "CORSResponse: the origin is not in s3.buckets.NAME.cors_origins of this bucket",
        ));
    }
    let mut headers = HeaderMap::new();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    headers.append(
        VARY,
        HeaderValue::from_static("Access-Control-Request-Method, Access-Control-Request-Headers"),
    );
    Ok((StatusCode::OK, headers).into_response())
}

/// Says of a response which page may read it.
pub(super) fn share(
    bucket: Option<&BucketConfig>,
    origin: Option<HeaderValue>,
    response: &mut Response,
) {
    if bucket.is_none_or(|bucket| bucket.cors_origins.is_empty()) {
        return;
    }
    let headers = response.headers_mut();
    // Also of what nobody asked for from elsewhere: the browser keeps one response for all.
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}
