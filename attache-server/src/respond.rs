//! Errors and deliveries as HTTP: the one status table, and the one place that logs failures.

use std::time::Duration;

use attache::attachment::ByteRange;
use attache::delivery::Delivery;
use attache::delivery::embedding::Embed;
use attache::delivery::{Representation, cache_control};
use attache::secret::SignedUrl;
use attache::transfer::body::Body as BodyStream;
use attache::transfer::ranges::Part;
use attache::{Error, ErrorKind};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONNECTION, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LAST_MODIFIED, LOCATION,
    REFERRER_POLICY, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use time::OffsetDateTime;

use crate::net::outgoing::{Backpressure, Outgoing};
use crate::request_id::request_id;

/// An error on its way to a client.
#[derive(Debug)]
pub(crate) struct ErrorResponse(pub(crate) Error);

impl From<Error> for ErrorResponse {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

/// What a handler gives back.
pub(crate) type HttpResult<T> = Result<T, ErrorResponse>;

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
        ErrorKind::Conflict
        | ErrorKind::Archived
        | ErrorKind::CustomerKey
        | ErrorKind::Retained => StatusCode::CONFLICT,
        ErrorKind::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::ClientTimeout => StatusCode::REQUEST_TIMEOUT,
        ErrorKind::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorKind::Busy | ErrorKind::UpstreamUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::UpstreamRefused | ErrorKind::ContainerNotFound => StatusCode::BAD_GATEWAY,
        ErrorKind::Misconfigured | ErrorKind::Refused => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for ErrorResponse {
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
            _ => error.public_detail().to_owned(),
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

/// Says that the connection ends with this response: there may be bytes on their way that nobody wants. A sender that waited for our
/// leave (boto3 does) keeps its body to itself, and would send its next request where we expect that body.
pub(crate) fn closing(mut response: Response) -> Response {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
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
    retry_after: Option<Duration>,
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

/// What a response to a delivery depends on besides the delivery.
#[derive(Clone, Debug)]
pub(crate) struct ResponseContext {
    /// Time until the temporary link by which the client reads expires, if it reads by one.
    pub(crate) access_expires_in: Option<Duration>,
    /// How we learn that the client stopped reading.
    pub(crate) backpressure: Backpressure,
    /// Pages of which sites may embed it.
    pub(crate) embed: Embed,
}

/// A delivery as a response. Responses to `HEAD` carry the headers of a `GET` and no body.
pub(crate) fn deliver(delivery: Delivery, context: ResponseContext) -> Response {
    match delivery {
        Delivery::NotModified(representation) => not_modified(&representation, &context),
        Delivery::Relay {
            representation,
            part,
            body,
        } => relay(&representation, &part, body, context),
        Delivery::Redirect { url, max_age } => redirect(&url, max_age, &context),
        Delivery::Delegate {
            representation,
            part,
            internal,
        } => delegate(&representation, &part, &internal, &context),
    }
}

fn not_modified(representation: &Representation, context: &ResponseContext) -> Response {
    let mut headers = HeaderMap::new();
    validators(&mut headers, representation);
    headers.insert(CACHE_CONTROL, keep(context));
    // Of no known length: the response to a HEAD would get "Content-Length: 0", which is not that of the whole
    // (RFC 9110 section 8.6).
    let nothing = futures::stream::empty::<Result<bytes::Bytes, Error>>();
    let body = Body::from_stream(nothing);
    (StatusCode::NOT_MODIFIED, headers, body).into_response()
}

fn relay(
    representation: &Representation,
    part: &Part,
    body: Option<Box<BodyStream>>,
    context: ResponseContext,
) -> Response {
    let mut headers = describe(representation, context.embed);
    headers.insert(CACHE_CONTROL, keep(&context));
    let size = representation.size;
    let (status, length) = match part {
        Part::Whole => (StatusCode::OK, size),
        Part::One(range) => {
            headers.insert(CONTENT_RANGE, content_range(*range, size));
            (StatusCode::PARTIAL_CONTENT, range.len())
        }
        // Each part has a Content-Range of its own (RFC 9110 section 15.3.7.2).
        Part::Several(multipart) => {
            headers.insert(CONTENT_TYPE, value(&multipart.content_type()));
            (StatusCode::PARTIAL_CONTENT, multipart.length())
        }
    };
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    let body = match body {
        Some(chunks) => Body::new(Outgoing::new(chunks, length, context.backpressure)),
        None => Body::empty(),
    };
    (status, headers, body).into_response()
}

fn redirect(url: &SignedUrl, max_age: Duration, context: &ResponseContext) -> Response {
    let mut headers = HeaderMap::new();
    guard(&mut headers, REDIRECT_POLICY, context.embed);
    headers.insert(LOCATION, value(url.expose()));
    let expires_in = context.access_expires_in;
    let max_age = expires_in.map_or(max_age, |left| left.min(max_age));
    let keep = format!("private, max-age={}", max_age.as_secs());
    headers.insert(CACHE_CONTROL, value(&keep));
    (StatusCode::FOUND, headers).into_response()
}

/// The web server in front adds length and ranges of the file that it sends instead of this empty body, and takes the rest
/// from here (deploy/nginx/attache.conf).
fn delegate(
    representation: &Representation,
    part: &Part,
    internal: &SignedUrl,
    context: &ResponseContext,
) -> Response {
    let mut headers = describe(representation, context.embed);
    headers.remove(ACCEPT_RANGES);
    // nginx keeps a Cache-Control for whatever comes of it, an error page of its own included.
    headers.insert(
        HeaderName::from_static("x-attache-cache-control"),
        keep(context),
    );
    if let Part::One(range) = part {
        // What to ask a store for that does not know all forms of a range: Azure ignores "the last n bytes".
        let text = format!("bytes={}-{}", range.start, range.end - 1);
        headers.insert(HeaderName::from_static("x-attache-range"), value(&text));
    }
    headers.insert(
        HeaderName::from_static("x-accel-redirect"),
        value(internal.expose()),
    );
    (StatusCode::OK, headers).into_response()
}

/// How long the response may be kept, and by whom.
fn keep(context: &ResponseContext) -> HeaderValue {
    value(&cache_control(context.access_expires_in))
}

/// `Content-Range` of a 206 (RFC 9110 section 14.4).
pub(crate) fn content_range(range: ByteRange, size: u64) -> HeaderValue {
    let last = range.end.saturating_sub(1);
    value(&format!("bytes {}-{last}/{size}", range.start))
}

/// `Content-Range` of a 416 (RFC 9110 section 14.4).
pub(crate) fn unsatisfied(size: u64) -> HeaderValue {
    value(&format!("bytes */{size}"))
}

/// There is nothing to show in a redirect.
const REDIRECT_POLICY: &str = "default-src 'none'; sandbox";

fn describe(representation: &Representation, embed: Embed) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(12);
    validators(&mut headers, representation);
    headers.insert(CONTENT_TYPE, value(&representation.content_type));
    headers.insert(CONTENT_DISPOSITION, value(&representation.disposition));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    guard(&mut headers, representation.policy, embed);
    headers
}

/// What keeps a browser from making more of a file than it is, and pages of others from using it.
fn guard(headers: &mut HeaderMap, policy: &'static str, embed: Embed) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // Never "same-origin": applications show attachments of files.example.org on wiki.example.org.
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static(embed.as_str()),
    );
}

fn validators(headers: &mut HeaderMap, representation: &Representation) {
    headers.insert(ETAG, value(&representation.entity_tag));
    let modified = http_date(representation.last_modified);
    headers.insert(LAST_MODIFIED, value(&modified));
}

/// As a header has it. Such a date begins with 1970, and its formatter panics before that; files, and metadata of somebody else's, may say
/// any year.
pub(crate) fn http_date(at: OffsetDateTime) -> String {
    httpdate::fmt_http_date(at.max(OffsetDateTime::UNIX_EPOCH).into())
}

/// Everything that reaches this was made of visible ASCII by its own formatter.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}
