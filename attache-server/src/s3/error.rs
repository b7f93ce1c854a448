//! Errors as S3 clients know them: XML with a code that they act on
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList>).

use std::time::Duration;

use attache::{Error, ErrorKind};
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Method, StatusCode};

use super::signature::BadSignature;
use super::xml::Xml;
use crate::request_id::request_id;
use crate::respond;

/// What a handler of the endpoint gives back.
pub(crate) type S3Result<T> = Result<T, S3Error>;

/// An error on its way to an S3 client.
#[derive(Debug)]
pub(crate) struct S3Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after: Option<Duration>,
    /// Of an object that a range lies behind.
    size: Option<u64>,
    /// The error that it was, for the log.
    cause: Option<Error>,
}

impl S3Error {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            status,
            code,
            message: message.into(),
            retry_after: None,
            size: None,
            cause: None,
        }))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidArgument", message)
    }

    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "AccessDenied", message)
    }

    pub(crate) fn not_implemented(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "NotImplemented",
            format!("attache does not support {what}"),
        )
    }

    pub(crate) fn malformed_xml(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MalformedXML", message)
    }

    pub(crate) fn no_such_bucket() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NoSuchBucket",
            "there is no bucket of this name in attache's configuration",
        )
    }

    pub(crate) fn no_such_key() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NoSuchKey",
            "there is no object with this key",
        )
    }

    pub(crate) fn slow_down(wait: Option<Duration>) -> Self {
        let mut error = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "SlowDown",
            "attache is busy; try again",
        );
        error.0.retry_after = Some(wait.unwrap_or(Duration::from_secs(1)));
        error
    }

    /// For a range behind the end of an object of so many bytes.
    pub(crate) fn of_size(mut self, size: u64) -> Self {
        self.0.size = Some(size);
        self
    }

    pub(crate) fn code(&self) -> &'static str {
        self.0.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// The word for it in metrics.
    pub(crate) fn outcome(&self) -> &'static str {
        match (&self.0.cause, self.0.status.as_u16()) {
            (Some(cause), _) => cause.kind().code(),
            (None, 403) => "forbidden",
            (None, 404) => "not_found",
            (None, 412) => "precondition_failed",
            (None, 501) => "not_implemented",
            (None, 503) => "busy",
            _ => "bad_request",
        }
    }

    /// As a response; to `HEAD` without a body.
    pub(crate) fn respond(self, method: &Method, resource: &str) -> Response {
        let request_id = request_id();
        let inner = *self.0;
        match &inner.cause {
            Some(cause) if !cause.kind().is_expected() => {
                tracing::error!(
                    request_id,
                    code = inner.code,
                    error = cause.report(),
                    "failed"
                );
            }
            cause => {
                let error = cause.as_ref().map(Error::report);
                tracing::debug!(request_id, code = inner.code, error, "refused");
            }
        }
        let mut xml = Xml::new();
        xml.open("Error")
            .text("Code", inner.code)
            .text("Message", &inner.message)
            .text("Resource", resource)
            .text("RequestId", &request_id)
            .close("Error");
        let body = match *method {
            Method::HEAD => Body::empty(),
            _ => Body::from(xml.finish()),
        };
        let mut response = (inner.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        if let Some(wait) = inner.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if let Some(size) = inner.size {
            headers.insert(CONTENT_RANGE, respond::unsatisfied(size));
        }
        response
    }
}

impl From<Error> for S3Error {
    fn from(error: Error) -> Self {
        let (status, code) = match error.kind() {
            ErrorKind::BadRequest | ErrorKind::Refused => {
                (StatusCode::BAD_REQUEST, "InvalidRequest")
            }
            ErrorKind::DigestMismatch => (StatusCode::BAD_REQUEST, "BadDigest"),
            ErrorKind::BadRange => (StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange"),
            ErrorKind::TooLarge | ErrorKind::QuotaExceeded => {
                (StatusCode::BAD_REQUEST, "EntityTooLarge")
            }
            ErrorKind::NotFound => (StatusCode::NOT_FOUND, "NoSuchKey"),
            ErrorKind::UploadNotFound => (StatusCode::NOT_FOUND, "NoSuchUpload"),
            ErrorKind::BadPart => (StatusCode::BAD_REQUEST, "InvalidPart"),
            ErrorKind::PreconditionFailed => {
                (StatusCode::PRECONDITION_FAILED, "PreconditionFailed")
            }
            ErrorKind::Conflict => (StatusCode::CONFLICT, "OperationAborted"),
            ErrorKind::Unauthorized | ErrorKind::Forbidden | ErrorKind::Retained => {
                (StatusCode::FORBIDDEN, "AccessDenied")
            }
            ErrorKind::Archived | ErrorKind::CustomerKey => {
                (StatusCode::FORBIDDEN, "InvalidObjectState")
            }
            ErrorKind::ClientGone => (StatusCode::BAD_REQUEST, "IncompleteBody"),
            ErrorKind::ClientTimeout => (StatusCode::BAD_REQUEST, "RequestTimeout"),
            ErrorKind::Busy | ErrorKind::TooManyRequests => {
                (StatusCode::SERVICE_UNAVAILABLE, "SlowDown")
            }
            ErrorKind::UpstreamUnavailable | ErrorKind::UpstreamTimeout => {
                (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")
            }
            ErrorKind::StorageFull => (StatusCode::INSUFFICIENT_STORAGE, "InsufficientStorage"),
            ErrorKind::ContainerNotFound => (StatusCode::NOT_FOUND, "NoSuchBucket"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        };
        let message = match error.kind() {
            // Its details are for the log.
            ErrorKind::Internal => {
                "attache failed; its log has the details under this request id".to_owned()
            }
            ErrorKind::BadRange => "the range is outside the object".to_owned(),
            _ => error.public_detail().to_owned(),
        };
        let mut this = Self::new(status, code, message);
        this.0.retry_after = error.retry_hint().or_else(|| {
            (status == StatusCode::SERVICE_UNAVAILABLE).then_some(Duration::from_secs(1))
        });
        this.0.cause = Some(error);
        this
    }
}

impl From<BadSignature> for S3Error {
    fn from(bad: BadSignature) -> Self {
        match bad {
            BadSignature::Malformed(what) => Self::new(
                StatusCode::BAD_REQUEST,
                "AuthorizationHeaderMalformed",
                what,
            ),
            BadSignature::Missing(what) => Self::new(
                StatusCode::BAD_REQUEST,
                "InvalidRequest",
                format!("the request has no {what}, and must have"),
            ),
            BadSignature::NotSent(name) => Self::new(
                StatusCode::BAD_REQUEST,
                "InvalidRequest",
                format!("the signature covers the header {name}, which the request does not have"),
            ),
            BadSignature::Unsigned => {
                Self::denied("There were headers present in the request which were not signed")
            }
            BadSignature::Skewed => Self::new(
                StatusCode::FORBIDDEN,
                "RequestTimeTooSkewed",
                "the time of the request differs from attache's by more than 15 minutes; set the clock right",
            ),
            BadSignature::Expired => Self::denied("Request has expired"),
            BadSignature::Differs => Self::new(
                StatusCode::FORBIDDEN,
                "SignatureDoesNotMatch",
                "the signature is not that of this request; check the secret access key, and whether a proxy changes Host or the path",
            ),
        }
    }
}
