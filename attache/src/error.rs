//! The one error type: what kind, during which operation, on what, and why.
//!
//! [`ErrorKind::code`] is the single vocabulary for JSON bodies, metric labels and exit classes.
//! Code matches on [`Error::kind`], never on text.

use std::fmt;
use std::time::Duration;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What went wrong, in the terms a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is malformed or breaks a rule; the message says which and what to send instead.
    BadRequest,
    /// A byte range outside the attachment.
    BadRange,
    /// The bytes do not have the digest or the length that was promised.
    DigestMismatch,
    /// Larger than `upload.max_file_bytes`, or than the store can hold.
    TooLarge,
    /// `upload.total_bytes` would be exceeded.
    QuotaExceeded,
    /// No such attachment.
    NotFound,
    /// Something with this name exists already, or is being made right now.
    Conflict,
    /// A condition of the request (`If-Match`, `If-Unmodified-Since`) does not hold.
    PreconditionFailed,
    /// Who asks is not known.
    Unauthorized,
    /// The caller is authenticated, but not allowed to do this.
    Forbidden,
    /// What inspects uploads refuses this one; the message has its reason.
    Refused,
    /// Who asks does so too often.
    TooManyRequests,
    /// All transfer memory is in use, or too much runs already; worth trying again soon.
    Busy,
    /// The sender stopped in the middle, or was slower than the limits allow.
    ClientGone,
    /// The sender sent nothing for too long.
    ClientTimeout,
    /// The disk of local storage is full.
    StorageFull,
    /// The store cannot be reached or answers with failures.
    UpstreamUnavailable,
    /// The store did not answer, or fell silent, for longer than the limits allow.
    UpstreamTimeout,
    /// The store refuses our credential, account, or container: the configuration must change.
    UpstreamRefused,
    /// The configuration is wrong.
    Misconfigured,
    /// The container that the configuration names does not exist: no statement about anything that was in it.
    ContainerNotFound,
    /// The store keeps the bytes where they cannot be read before somebody moves them (Azure's archive tier).
    Archived,
    /// The bytes are encrypted with a key of somebody else's that reading them takes.
    CustomerKey,
    /// The store keeps the bytes although they are to be deleted: a retention policy, a legal hold, a lease.
    Retained,
    /// The catalog has an attachment whose bytes are not in the store, or not all of them.
    BytesMissing,
    /// No such upload in parts.
    UploadNotFound,
    /// A part of an upload that is named was not stored, or not so.
    BadPart,
    /// A fault of attache itself.
    Internal,
}

impl ErrorKind {
    /// The stable word for this kind: `code` in JSON, `outcome` in metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::BadRange => "bad_range",
            Self::DigestMismatch => "digest_mismatch",
            Self::TooLarge => "too_large",
            Self::QuotaExceeded => "quota_exceeded",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::PreconditionFailed => "precondition_failed",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Refused => "refused",
            Self::TooManyRequests => "too_many_requests",
            Self::Busy => "busy",
            Self::ClientGone => "client_gone",
            Self::ClientTimeout => "client_timeout",
            Self::StorageFull => "storage_full",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamRefused => "upstream_refused",
            Self::Misconfigured => "misconfigured",
            Self::ContainerNotFound => "container_not_found",
            Self::Archived => "archived",
            Self::CustomerKey => "customer_key",
            Self::Retained => "retained",
            Self::BytesMissing => "bytes_missing",
            Self::UploadNotFound => "upload_not_found",
            Self::BadPart => "bad_part",
            Self::Internal => "internal",
        }
    }

    /// Whether this is an answer that a healthy system gives: the caller's mistake, a missing
    /// attachment, a client that left, a policy of the store that does what it is for. Such answers are never counted as failures of the store.
    pub const fn is_expected(self) -> bool {
        !matches!(
            self,
            Self::StorageFull
                | Self::UpstreamUnavailable
                | Self::UpstreamTimeout
                | Self::UpstreamRefused
                | Self::Misconfigured
                | Self::ContainerNotFound
                | Self::BytesMissing
                | Self::Internal
        )
    }
}

/// An error of any operation of this crate.
///
/// [`Display`](fmt::Display) and [`detail`](Self::detail) never hold a secret, a token, the query of a
/// signed URL, or a path on disk; the [source](std::error::Error::source) chain may hold paths and is for
/// logs of the operator only.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: Option<&'static str>,
    subject: Option<String>,
    message: String,
    retry_after: Option<Duration>,
    for_operator: bool,
    source: Option<Source>,
}

impl Error {
    /// An error of `kind` whose `message` says what was wrong and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            operation: None,
            subject: None,
            message: message.into(),
            retry_after: None,
            for_operator: false,
            source: None,
        }))
    }

    /// Shorthand for [`ErrorKind::BadRequest`].
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadRequest, message)
    }

    /// Shorthand for [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Shorthand for [`ErrorKind::NotFound`] of the attachment `id`.
    pub fn not_found(id: &str) -> Self {
        Self::new(
            ErrorKind::NotFound,
            format!("there is no attachment \"{id}\""),
        )
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Names the operation and what it worked on, once, where both are known.
    #[must_use]
    pub fn during(mut self, operation: &'static str, subject: impl Into<String>) -> Self {
        if self.0.operation.is_none() {
            self.0.operation = Some(operation);
            self.0.subject = Some(subject.into());
        }
        self
    }

    /// Says of what the message is, in front of it.
    #[must_use]
    pub(crate) fn about(mut self, what: &str) -> Self {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    /// Says when another try may succeed.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Says that the message names accounts, containers or settings, which are nobody's business but the operator's.
    #[must_use]
    pub fn for_operator(mut self) -> Self {
        self.0.for_operator = true;
        self
    }

    /// Shows the whole message: this error is for the operator.
    #[must_use]
    pub fn shown_whole(mut self) -> Self {
        self.0.for_operator = false;
        self
    }

    /// What kind of error this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// When another try may succeed, if that is known.
    pub fn retry_hint(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The message for the client that caused the error: no operation, no sources.
    pub fn detail(&self) -> &str {
        &self.0.message
    }

    /// Whether its message is for whoever can change the configuration, and for no client.
    pub(crate) fn is_for_operator(&self) -> bool {
        self.0.for_operator
    }

    /// The message as a client of the server gets it: [`detail`](Self::detail), or where that is
    /// [for the operator](Self::for_operator), what the kind of error means for somebody who cannot change the
    /// configuration.
    pub fn public_detail(&self) -> &str {
        if !self.0.for_operator {
            return &self.0.message;
        }
        match self.0.kind {
            ErrorKind::UpstreamUnavailable => {
                "the store cannot be reached or is failing; try again later"
            }
            ErrorKind::UpstreamTimeout => "timed out waiting for the store; try again",
            ErrorKind::StorageFull => "there is no space left where this is stored",
            _ => {
                "the store cannot be used as it is configured; the server's log has the details under this request_id"
            }
        }
    }

    /// A copy without its source, for several waiters of one failed fetch.
    pub fn to_shared(&self) -> Self {
        Self(Box::new(Inner {
            kind: self.0.kind,
            operation: self.0.operation,
            subject: self.0.subject.clone(),
            message: self.0.message.clone(),
            retry_after: self.0.retry_after,
            for_operator: self.0.for_operator,
            source: None,
        }))
    }

    /// The whole story on one line: this error and everything that caused it.
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let line = error.to_string();
            if !text.contains(&line) {
                text.push_str(": ");
                text.push_str(&line);
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(operation) = self.0.operation {
            write!(f, "{operation}")?;
            match self.0.subject.as_deref() {
                Some(subject) if !subject.is_empty() => write!(f, " {subject}: ")?,
                _ => write!(f, ": ")?,
            }
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({}, {})", self.0.kind.code(), self.report())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_operation_wins_and_the_report_tells_the_chain() {
        let error = Error::internal("disk says no")
            .with_source(std::io::Error::other("EIO"))
            .during("put", "attachment/1")
            .during("upload", "1");
        assert_eq!(error.to_string(), "put attachment/1: disk says no");
        assert_eq!(error.report(), "put attachment/1: disk says no: EIO");
        assert_eq!(error.detail(), "disk says no");
    }

    #[test]
    fn what_is_for_the_operator_is_not_told_to_clients_and_stays_so_in_copies() {
        let told = "account \"acme\" refused us; check storage.azure.client_id";
        let open = Error::new(ErrorKind::UpstreamRefused, told);
        assert_eq!(open.public_detail(), told);
        let error = open.for_operator().during("get", "x");
        for error in [error.to_shared(), error] {
            assert_eq!(error.detail(), told);
            assert!(!error.public_detail().contains("acme"));
            assert!(!error.public_detail().contains("storage."));
            assert_eq!(error.shown_whole().public_detail(), told);
        }
    }
}
