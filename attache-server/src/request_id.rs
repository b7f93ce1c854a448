//! The id of a request: in its response, in its log lines, in its span.

use std::time::Instant;

use attache::observe::trace::Context;
use axum::extract::Request;
use axum::response::Response;
use http::header::{HeaderName, HeaderValue};
use tracing::Instrument as _;
use tracing::level_filters::LevelFilter;

use crate::otlp;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives every request an id: the one it brought, if that is short and plain, or a new one.
pub(crate) async fn with_request_id<F: Future<Output = Response>>(
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let brought = request
        .headers()
        .get(X_REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(|id| {
            (1..=64).contains(&id.len())
                && id
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
        .map(str::to_owned);
    let id = brought.unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()));
    let value = HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static(""));
    // Copied for the log alone, which mostly is not that talkative. Not `tracing::enabled!`: where layers have filters of
    // their own it leaves a mark, and the next line of this thread is lost.
    let talkative = LevelFilter::current() >= LevelFilter::DEBUG;
    let logged = talkative.then(|| {
        // The path alone: a query may be a permission.
        let path = request.uri().path().to_owned();
        (id.clone(), request.method().clone(), path, Instant::now())
    });
    let (span, context) = otlp::begin(&request, &id);
    let work = context.scope(next(request)).instrument(span.clone());
    let mut response = work.await;
    span.record("http.response.status_code", response.status().as_u16());
    if let Some((request_id, method, path, started)) = logged {
        tracing::debug!(request_id, %method, path, status = response.status().as_u16(), elapsed = ?started.elapsed(), "answered");
    }
    response.headers_mut().insert(X_REQUEST_ID, value);
    response
}

/// The id of the request that is being served.
pub(crate) fn request_id() -> String {
    Context::current().map_or_else(String::new, |context| context.request_id().to_owned())
}
