//! Pages of other origins that may use the API and read attachments: `server.cors_origins`
//! (<https://fetch.spec.whatwg.org/#http-cors-protocol>).
//!
//! The response names the origin itself and never `*`, so that a reader's cookies and a page's token may come along. So do
//! errors: a page that cannot read why it was refused cannot show it.

use crate::config::server::ServerConfig;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN, VARY,
};
use http::{HeaderMap, Method, StatusCode};

/// What a page may ask for with; what it may then do is decided as for everybody.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");

/// What a page may read of a response besides what every page may.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Accept-Ranges, Content-Disposition, Content-Length, Content-Location, Content-Range, ETag, Location, Retry-After, \
     Tus-Extension, Tus-Max-Size, Tus-Resumable, Tus-Version, Upload-Defer-Length, Upload-Expires, Upload-Length, Upload-Metadata, \
     Upload-Offset, WWW-Authenticate, X-Request-Id",
);

/// How long a browser remembers a preflight. Chromium allows two hours; a configuration may change sooner.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The origin that asks, if it may.
pub(crate) fn listed<'a>(server: &ServerConfig, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let (origin, more) = (origins.next()?, origins.next());
    let known = server
        .cors_origins
        .iter()
        .any(|known| known.is(origin.as_bytes()));
    (known && more.is_none()).then_some(origin)
}

/// Responds to preflights, and says of every other response which page may read it.
pub(crate) async fn share<F: Future<Output = Response>>(
    server: &ServerConfig,
    request: Request,
    respond: impl FnOnce(Request) -> F,
) -> Response {
    let path = request.uri().path();
    let shared = ["/v1/", "/attachment/", "/download/"]
        .iter()
        .any(|folder| path.starts_with(folder));
    if !shared || server.cors_origins.is_empty() {
        return respond(request).await;
    }
    let origin = listed(server, request.headers()).cloned();
    let is_preflight = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match (&origin, is_preflight) {
        (Some(_), true) => preflight(request.headers()),
        _ => respond(request).await,
    };
    let headers = response.headers_mut();
    // Also of what nobody asked for from elsewhere: the browser keeps one response for all.
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
    response
}

fn preflight(asked: &HeaderMap) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    // Whatever it names: a header opens nothing that its value does not.
    if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    headers.append(
        VARY,
        HeaderValue::from_static("Access-Control-Request-Method, Access-Control-Request-Headers"),
    );
    (StatusCode::NO_CONTENT, headers).into_response()
}
