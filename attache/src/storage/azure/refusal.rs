//! What a refusal means, by its code: whether something is absent, taken, kept, or worth another try.

use std::time::Duration;

use azure_core::error::ErrorKind as AzureErrorKind;
use azure_core::http::StatusCode;
use azure_core::http::headers::{HeaderName, Headers, RETRY_AFTER};

use crate::http::retry::retry_after;

/// Whether a write was refused because something is there already.
pub(super) fn is_taken(error: &azure_core::Error) -> bool {
    matches!(error.kind(), AzureErrorKind::HttpResponse { status: StatusCode::Conflict, error_code, .. }
        if error_code.as_deref() == Some("BlobAlreadyExists"))
}

/// Whether a condition on the version of a blob does not hold.
pub(super) fn is_unmet(error: &azure_core::Error) -> bool {
    matches!(error.kind(), AzureErrorKind::HttpResponse { status: StatusCode::PreconditionFailed, error_code, .. }
        if error_code.as_deref() == Some("ConditionNotMet"))
}

/// Whether a block was refused because of others under its name, whose ids have another length.
pub(super) fn is_foreign_block(error: &azure_core::Error) -> bool {
    matches!(error.kind(), AzureErrorKind::HttpResponse { error_code: Some(code), .. }
        if code == "InvalidBlobOrBlock")
}

/// Whether a list names a block that is not there.
pub(super) fn is_block_missing(error: &azure_core::Error) -> bool {
    matches!(error.kind(), AzureErrorKind::HttpResponse { error_code: Some(code), .. }
        if code == "InvalidBlockList")
}

/// What a path-style endpoint says of an account that it does not have; objects are `BlobNotFound`.
pub(super) const NO_ACCOUNT: &str = "ResourceNotFound";

/// What the service says of an object that is not there; nothing else proves that it is not. `PathNotFound` is that of
/// accounts with a hierarchical namespace.
pub(super) const ABSENT: [&str; 2] = ["BlobNotFound", "PathNotFound"];

/// Whether an object or snapshot is simply not there.
pub(super) fn is_absent(error: &azure_core::Error) -> bool {
    matches!(error.kind(), AzureErrorKind::HttpResponse { status: StatusCode::NotFound, error_code: Some(code), .. }
        if ABSENT.contains(&code.as_str()))
}

/// Whether another try at the same bytes may succeed.
pub(super) fn is_transient(error: &azure_core::Error) -> bool {
    match error.kind() {
        AzureErrorKind::Io | AzureErrorKind::Connection => true,
        AzureErrorKind::HttpResponse { status, .. } => {
            matches!(u16::from(*status), 408 | 429 | 500..=599)
        }
        _ => false,
    }
}

/// Who keeps a blob as it is, by the code of the refusal
/// (<https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes>).
pub(super) fn keeper(code: &str) -> Option<&'static str> {
    Some(match code {
        "BlobImmutableDueToPolicy" => "a retention policy of the store",
        "BlobImmutableDueToLegalHold" => "a legal hold of the store",
        "ScopeLocked" => "a lock on the account",
        "PendingCopyOperation" => "a copy that runs into it",
        code if code.starts_with("LeaseId")
            || code.starts_with("LeaseLost")
            || code.starts_with("LeaseNotPresent") =>
        {
            "somebody's lease"
        }
        _ => return None,
    })
}

/// Whether a policy or a lease keeps a blob from being changed or deleted.
pub(super) fn is_retained(error: &azure_core::Error) -> bool {
    matches!(error.kind(), AzureErrorKind::HttpResponse { status, error_code: Some(code), .. }
        if matches!(u16::from(*status), 409 | 412) && keeper(code).is_some())
}

/// How long the service asks to be left alone.
pub(super) fn patience(error: &azure_core::Error) -> Option<Duration> {
    let AzureErrorKind::HttpResponse { raw_response, .. } = error.kind() else {
        return None;
    };
    asked_patience(raw_response.as_ref()?.headers())
}

/// `Retry-After`, in seconds or as a date, or what Microsoft's client heeds besides.
pub(super) fn asked_patience(headers: &Headers) -> Option<Duration> {
    let milliseconds = MILLISECONDS
        .iter()
        .find_map(|name| headers.get_optional_str(name)?.parse().ok());
    if let Some(milliseconds) = milliseconds {
        return Some(Duration::from_millis(milliseconds));
    }
    retry_after(headers.get_optional_str(&RETRY_AFTER)?)
}

pub(super) const MILLISECONDS: [HeaderName; 2] = [
    HeaderName::from_static("x-ms-retry-after-ms"),
    HeaderName::from_static("retry-after-ms"),
];
