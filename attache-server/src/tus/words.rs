//! For clients that cannot send a method, and for those that draw the wrong conclusion from a status.

use attache::Error;
use attache::ErrorKind;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method, StatusCode};

use super::protocol::UPLOADS;
use super::response::resumable;
use crate::respond::ErrorResponse;

/// Whether a path is that of an upload, or of all of them.
fn is_of_uploads(path: &str) -> bool {
    path.strip_prefix(UPLOADS)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The method that a POST means: where a proxy or an old browser lets no PATCH through. The word may be in any case (tus_client sends
/// `Patch`).
pub(crate) fn meant(headers: &HeaderMap) -> Option<Method> {
    let meant = headers.get("x-http-method-override")?.to_str().ok()?;
    Some(match meant.trim().to_ascii_uppercase().as_str() {
        "PATCH" => Method::PATCH,
        "HEAD" => Method::HEAD,
        "DELETE" => Method::DELETE,
        "OPTIONS" => Method::OPTIONS,
        _ => return None,
    })
}

/// What an answer has to do with uploads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum About {
    /// How far an upload is.
    Progress,
    /// Another request about uploads.
    Uploads,
    Other,
}

impl About {
    pub(crate) fn of(request: &Request) -> Self {
        match is_of_uploads(request.uri().path()) {
            false => Self::Other,
            true if request.method() == Method::HEAD => Self::Progress,
            true if request.method() == Method::POST
                && meant(request.headers()) == Some(Method::HEAD) =>
            {
                Self::Progress
            }
            true => Self::Uploads,
        }
    }
}

/// An answer in words that clients of tus draw the right conclusion from.
///
/// - How far an upload is cannot be told now: 423, whatever the trouble is. On any other error tus-js-client forgets the upload, and
///   begins again at the first byte.
/// - Too many requests: 503. To tus-js-client 429 is final.
pub(crate) fn in_its_words(about: About, mut response: Response) -> Response {
    if about == About::Other {
        return response;
    }
    let status = response.status();
    let passes = status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        );
    if about == About::Progress && passes {
        response = StatusCode::LOCKED.into_response();
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        let no_store = HeaderValue::from_static("no-store");
        headers.insert(http::header::CACHE_CONTROL, no_store);
    } else if status == StatusCode::TOO_MANY_REQUESTS {
        let wait = response.headers().get(RETRY_AFTER).cloned();
        let error = Error::new(ErrorKind::Busy, "too many requests; go on in a moment");
        response = ErrorResponse(error).into_response();
        let wait = wait.unwrap_or(HeaderValue::from_static("1"));
        response.headers_mut().insert(RETRY_AFTER, wait);
    }
    resumable(response.headers_mut());
    response
}
