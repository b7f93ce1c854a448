//! Conditional headers: <https://learn.microsoft.com/rest/api/storageservices/specifying-conditional-headers-for-blob-service-operations>.

use stand_in::answer::Fail;
use stand_in::wire::{http_date, parse_http_date};

use crate::blob::Call;
use crate::state::Blob;

/// Checks the conditions of a call that changes or makes a blob.
pub(crate) fn for_write(call: &Call, existing: Option<&Blob>) -> Result<(), Fail> {
    if let Some(wanted) = call.header("if-none-match") {
        match existing {
            Some(_) if wanted == "*" => {
                return Err(Fail::new(
                    409,
                    "BlobAlreadyExists",
                    "The specified blob already exists.",
                ));
            }
            Some(blob) if same_tag(wanted, &blob.etag) => return Err(not_met()),
            _ => {}
        }
    }
    if if_match_fails(call, existing) || unmodified_since_fails(call, existing) {
        return Err(not_met());
    }
    if not_modified_since(call, existing) {
        return Err(not_met());
    }
    Ok(())
}

/// Checks the conditions of a call that reads a blob.
pub(crate) fn for_read(call: &Call, blob: &Blob) -> Result<(), Fail> {
    if if_match_fails(call, Some(blob)) || unmodified_since_fails(call, Some(blob)) {
        return Err(not_met());
    }
    let unchanged = match call.header("if-none-match") {
        Some(wanted) => wanted == "*" || same_tag(wanted, &blob.etag),
        None => not_modified_since(call, Some(blob)),
    };
    if unchanged {
        return Err(Fail::new(
            304,
            "ConditionNotMet",
            "The condition specified using HTTP conditional header(s) is not met.",
        )
        .header("etag", blob.etag.clone())
        .header("last-modified", http_date(blob.modified)));
    }
    Ok(())
}

fn if_match_fails(call: &Call, existing: Option<&Blob>) -> bool {
    match (call.header("if-match"), existing) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(wanted), Some(blob)) => wanted != "*" && !same_tag(wanted, &blob.etag),
    }
}

fn not_modified_since(call: &Call, existing: Option<&Blob>) -> bool {
    let since = call.header("if-modified-since").and_then(parse_http_date);
    matches!((since, existing), (Some(since), Some(blob)) if whole(blob) <= since)
}

fn unmodified_since_fails(call: &Call, existing: Option<&Blob>) -> bool {
    let since = call.header("if-unmodified-since").and_then(parse_http_date);
    matches!((since, existing), (Some(since), Some(blob)) if whole(blob) > since)
}

/// HTTP dates have whole seconds, so times are compared by them.
fn whole(blob: &Blob) -> time::OffsetDateTime {
    blob.modified
        .replace_nanosecond(0)
        .expect("zero is a nanosecond of every second")
}

fn same_tag(wanted: &str, etag: &str) -> bool {
    wanted.trim_matches('"') == etag.trim_matches('"')
}

fn not_met() -> Fail {
    Fail::new(
        412,
        "ConditionNotMet",
        "The condition specified using HTTP conditional header(s) is not met.",
    )
}
