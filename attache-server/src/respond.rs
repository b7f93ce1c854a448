//! Errors and deliveries as HTTP: the one status table, and the one place that logs failures.

use std::pin::Pin;
use std::task::{Context, Poll};

use attache::delivery::Representation;
use attache::{Delivery, Error, ErrorKind};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::Stream;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LAST_MODIFIED, LOCATION,
    REFERRER_POLICY, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, StatusCode};
use http_body::{Frame, SizeHint};
use serde::Serialize;

tokio::task_local! {
    /// The id of the request that is being answered.
    pub(crate) static REQUEST_ID: String;
}

/// The id of the request that is being answered.
pub(crate) fn request_id() -> String {
    REQUEST_ID.try_with(Clone::clone).unwrap_or_default()
}

/// An error on its way to a client.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

/// The body of every error (RFC 9457).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Problem {
    /// Always `about:blank`: `code` tells errors apart.
    #[schema(example = "about:blank")]
    r#type: &'static str,
    /// The status in words.
    #[schema(example = "Not Found")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// A stable word for what went wrong.
    #[schema(example = "not_found")]
    code: &'static str,
    /// What was wrong with this request, and what to do.
    detail: String,
    /// What the log line of this request carries.
    request_id: String,
}

/// The status of every kind of error.
pub(crate) fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::BadRequest | ErrorKind::DigestMismatch | ErrorKind::ClientGone => {
            StatusCode::BAD_REQUEST
        }
        ErrorKind::BadRange => StatusCode::RANGE_NOT_SATISFIABLE,
        ErrorKind::TooLarge | ErrorKind::QuotaExceeded => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::ClientTimeout => StatusCode::REQUEST_TIMEOUT,
        ErrorKind::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorKind::Busy | ErrorKind::UpstreamUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::UpstreamRefused => StatusCode::BAD_GATEWAY,
        ErrorKind::Misconfigured => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self(error) = self;
        let kind = error.kind();
        let status = status(kind);
        let request_id = request_id();
        if kind.is_expected() {
            tracing::debug!(
                request_id,
                code = kind.code(),
                error = error.report(),
                "refused"
            );
        } else {
            tracing::error!(
                request_id,
                code = kind.code(),
                error = error.report(),
                "failed"
            );
        }
        let detail = match kind {
            // Its details are for the log.
            ErrorKind::Internal => {
                "attache failed; its log has the details under this request_id".to_owned()
            }
            _ => error.detail().to_owned(),
        };
        let mut response = problem(status, kind.code(), detail, request_id, error.retry_hint());
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110 section 11.6.1 wants it, RFC 6750 section 3 says what.
            let challenge = HeaderValue::from_static("Bearer realm=\"attache\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// An error that has no [`ErrorKind`]: wrong method, unknown path.
pub(crate) fn plain_problem(status: StatusCode, code: &'static str, detail: String) -> Response {
    problem(status, code, detail, request_id(), None)
}

fn problem(
    status: StatusCode,
    code: &'static str,
    detail: String,
    request_id: String,
    retry_after: Option<std::time::Duration>,
) -> Response {
    let problem = Problem {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        code,
        detail,
        request_id,
    };
    let mut response = (status, axum::Json(problem)).into_response();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(wait) = retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    }
    response
}

/// A delivery as an answer. `head` answers carry the headers of a GET and no body.
pub(crate) fn deliver(delivery: Delivery) -> Response {
    match delivery {
        Delivery::NotModified(representation) => {
            let mut headers = HeaderMap::new();
            validators(&mut headers, &representation);
            headers.insert(CACHE_CONTROL, IMMUTABLE);
            (StatusCode::NOT_MODIFIED, headers).into_response()
        }
        Delivery::Relay {
            representation,
            range,
            body,
        } => {
            let mut headers = describe(&representation);
            let (status, length) = match range {
                Some(range) => {
                    let text = format!(
                        "bytes {}-{}/{}",
                        range.start,
                        range.end - 1,
                        representation.size
                    );
                    headers.insert(CONTENT_RANGE, value(&text));
                    (StatusCode::PARTIAL_CONTENT, range.len())
                }
                None => (StatusCode::OK, representation.size),
            };
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            let body = match body {
                Some(chunks) => Body::new(Sized {
                    chunks,
                    left: length,
                }),
                None => Body::empty(),
            };
            (status, headers, body).into_response()
        }
        Delivery::Redirect { url, max_age } => {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, value(url.expose()));
            headers.insert(
                CACHE_CONTROL,
                value(&format!("private, max-age={}", max_age.as_secs())),
            );
            headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            (StatusCode::FOUND, headers).into_response()
        }
        Delivery::Delegate {
            representation,
            internal_path,
        } => {
            // The web server adds length and ranges of the file that it sends instead of this empty body.
            let mut headers = describe(&representation);
            headers.remove(ACCEPT_RANGES);
            headers.insert(
                HeaderName::from_static("x-accel-redirect"),
                value(&internal_path),
            );
            (StatusCode::OK, headers).into_response()
        }
    }
}

/// `Content-Range` of a 416 (RFC 9110 section 14.4).
pub(crate) fn unsatisfied(size: u64) -> HeaderValue {
    value(&format!("bytes */{size}"))
}

/// An attachment never changes under its id, so it need never be asked for again (RFC 8246).
const IMMUTABLE: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

fn describe(representation: &Representation) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(12);
    validators(&mut headers, representation);
    headers.insert(CONTENT_TYPE, value(&representation.content_type));
    headers.insert(CONTENT_DISPOSITION, value(&representation.disposition));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CACHE_CONTROL, IMMUTABLE);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        policy(&representation.content_type),
    );
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-site"),
    );
    headers
}

/// What a file may do when it is opened on its own: nothing. The viewer of PDF files does not start in a sandbox.
fn policy(content_type: &str) -> HeaderValue {
    HeaderValue::from_static(match content_type {
        "application/pdf" => "default-src 'none'; style-src 'unsafe-inline'; object-src 'self'",
        _ => {
            "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"
        }
    })
}

fn validators(headers: &mut HeaderMap, representation: &Representation) {
    headers.insert(ETAG, value(&representation.entity_tag));
    let modified = httpdate::fmt_http_date(representation.last_modified.into());
    headers.insert(LAST_MODIFIED, value(&modified));
}

/// Everything that reaches this was made of visible ASCII by its own formatter.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// A body whose length is known. An error in it aborts the connection: a truncated answer never looks complete.
struct Sized {
    chunks: Box<attache::body::Body>,
    left: u64,
}

impl http_body::Body for Sized {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        Pin::new(&mut this.chunks).poll_next(cx).map(|chunk| {
            chunk.map(|chunk| {
                chunk
                    .inspect(|chunk| this.left = this.left.saturating_sub(chunk.len() as u64))
                    .inspect_err(|error| {
                        tracing::warn!(
                            error = error.report(),
                            "a download broke; its connection is aborted"
                        );
                    })
                    .map(Frame::data)
            })
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
