//! What a store says, in the words of our errors: what was tried, on what, and what to change.

use std::time::Duration;

use super::dialect::Dialect;
use super::place::Place;
use super::refusal::{Fault, Refusal};
use crate::error::{Error, ErrorKind};
use crate::http::reach::hint;
use crate::http::{Broken, NoAnswer};

/// What we ask of our callers where the store asks for less, or for nothing.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Why a request to the bucket at `place` failed. `skew`: how far the store's clock is ahead of ours.
pub(super) fn told(fault: Fault, place: &Place, skew: Option<time::Duration>) -> Error {
    let asked = fault.patience();
    let (kind, message) = match &fault {
        Fault::Ours(error) => return error.to_shared(),
        Fault::Refused(refusal) => refused(refusal, place, skew),
        Fault::Silent(NoAnswer::TimedOut) | Fault::Broken(Broken::Stalled) => (
            ErrorKind::UpstreamTimeout,
            format!(
                "{}: timed out waiting for a response from {}",
                name(place),
                place.endpoint.host()
            ),
        ),
        Fault::Silent(why) => (
            ErrorKind::UpstreamUnavailable,
            format!(
                "{}: {} cannot be reached; check the network and {}{}",
                name(place),
                place.endpoint.host(),
                place.key("endpoint"),
                hint(why, &place.key("ca_file"))
            ),
        ),
        Fault::Broken(_) => (
            ErrorKind::UpstreamUnavailable,
            format!(
                "{}: the connection to {} broke",
                name(place),
                place.endpoint.host()
            ),
        ),
    };
    let ours = Error::new(kind, message).with_source(fault);
    match kind {
        ErrorKind::UpstreamUnavailable | ErrorKind::UpstreamTimeout => {
            ours.for_operator().retry_after(asked.max(RETRY_AFTER))
        }
        ErrorKind::UpstreamRefused | ErrorKind::ContainerNotFound => ours.for_operator(),
        _ => ours,
    }
}

fn name(place: &Place) -> &'static str {
    place.dialect.name()
}

fn refused(refusal: &Refusal, place: &Place, skew: Option<time::Duration>) -> (ErrorKind, String) {
    let Refusal { status, code, .. } = refusal;
    let (store, bucket, host) = (name(place), &place.bucket, place.endpoint.host());
    match (*status, code.as_str()) {
        (_, "NoSuchBucket") => (
            ErrorKind::ContainerNotFound,
            format!(
                "{store}: bucket \"{bucket}\" not found at {host}; create it or set {}",
                place.bucket_key()
            ),
        ),
        (404, "NoSuchKey" | "NoSuchVersion") => {
            (ErrorKind::NotFound, "there is no such object".to_owned())
        }
        (404, code) => (
            ErrorKind::UpstreamRefused,
            format!(
                "{store}: {host} responded with 404 {code}, which is not how a store reports a missing object; check {} and what stands \
                 between",
                place.key("endpoint")
            ),
        ),
        (_, "RequestTimeTooSkewed") => (ErrorKind::UpstreamRefused, clock(store, skew)),
        (301 | 307 | 308, _) | (_, "AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect" | "IllegalLocationConstraintException") => {
            (ErrorKind::UpstreamRefused, elsewhere(refusal, place))
        }
        (_, "InvalidObjectState") => (
            ErrorKind::Archived,
            "the store keeps this in an archive class, where it cannot be read; restore it, which takes hours, or keep the bucket out of \
             the rule that archives it"
                .to_owned(),
        ),
        (_, code) if keeper(code, &refusal.message).is_some() => (
            ErrorKind::Retained,
            format!(
                "{} keeps this as it is ({code})",
                keeper(code, &refusal.message).unwrap_or_default()
            ),
        ),
        (400, "ServerSideEncryptionCustomerKeyNotFound" | "ResourceIsEncryptedWithCustomerEncryptionKey") => {
            customer_key()
        }
        (400, "InvalidRequest") if refusal.message.contains("Server Side Encryption") => customer_key(),
        (412, _) => (
            ErrorKind::PreconditionFailed,
            "the object changed meanwhile".to_owned(),
        ),
        (409, "ConditionalRequestConflict" | "OperationAborted") => (
            ErrorKind::UpstreamUnavailable,
            format!("{store}: another write ran at the same time ({code})"),
        ),
        (416, _) => (ErrorKind::BadRange, "the range is outside the object".to_owned()),
        (400, "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch") => (
            ErrorKind::UpstreamUnavailable,
            format!("{store}: bytes were damaged on their way to the store"),
        ),
        (501, "NotImplemented") if !refusal.message.is_empty() => (
            ErrorKind::UpstreamRefused,
            format!(
                "{store}: {host} does not support what attache needs: {}; a store that knows no If-None-Match needs {} = false",
                refusal.message,
                place.key("conditional_writes")
            ),
        ),
        (401 | 403, code) | (400, code @ ("ExpiredToken" | "InvalidToken")) => {
            (ErrorKind::UpstreamRefused, forbidden(code, place, skew))
        }
        (429 | 500..=599, code) => (
            ErrorKind::UpstreamUnavailable,
            format!("{store}: the store responded with {status} {code}"),
        ),
        (status, code) => (
            ErrorKind::Internal,
            format!("{store}: unexpected response {status} {code}"),
        ),
    }
}

fn customer_key() -> (ErrorKind, String) {
    (
        ErrorKind::CustomerKey,
        "this is encrypted with a key of its writer's own (a customer-provided key), which attache does not have"
            .to_owned(),
    )
}

fn clock(store: &str, skew: Option<time::Duration>) -> String {
    match skew {
        Some(skew) => format!(
            "{store}: refused (RequestTimeTooSkewed), and this machine's clock is {} s {}; set the clock (NTP)",
            skew.whole_seconds().abs(),
            if skew.is_positive() {
                "behind"
            } else {
                "ahead"
            }
        ),
        None => format!("{store}: refused (RequestTimeTooSkewed); set this machine's clock (NTP)"),
    }
}

/// The bucket is in another region, or at another endpoint.
fn elsewhere(refusal: &Refusal, place: &Place) -> String {
    let Place { bucket, region, .. } = place;
    let store = name(place);
    match &refusal.region {
        Some(there) if there != region => format!(
            "{store}: bucket \"{bucket}\" is in region \"{there}\", and not in \"{region}\"; set {} = \"{there}\"",
            place.key("region")
        ),
        _ => format!(
            "{store}: {} sends us elsewhere for bucket \"{bucket}\" ({} {}); set {} and {} to where the bucket is",
            place.endpoint.host(),
            refusal.status,
            refusal.code,
            place.key("endpoint"),
            place.key("region")
        ),
    }
}

/// Who keeps an object as it is. S3 refuses to delete a version that is locked like anything that is not allowed, but for its words
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html>).
fn keeper(code: &str, message: &str) -> Option<&'static str> {
    match code {
        "AccessDenied" | "InvalidRequest"
            if message.to_ascii_lowercase().contains("object lock") =>
        {
            Some("an object lock of the store")
        }
        "AccessDenied" if message.contains("WORM protected") => Some("an object lock of the store"),
        "ObjectLocked" => Some("an object lock of the store"),
        "RetentionPolicyNotMet" => Some("a retention policy of the store"),
        "ObjectUnderActiveHold" => Some("a hold of the store"),
        _ => None,
    }
}

fn forbidden(code: &str, place: &Place, skew: Option<time::Duration>) -> String {
    let (store, bucket) = (name(place), &place.bucket);
    if skew.is_some_and(|skew| skew.abs() >= time::Duration::minutes(15)) {
        return clock(store, skew);
    }
    match (place.dialect, code) {
        (Dialect::S3, "InvalidAccessKeyId") => format!(
            "{store}: the store does not know our access key ({code}); check {}",
            place.key("access_key_id")
        ),
        (Dialect::S3, "SignatureDoesNotMatch") => format!(
            "{store}: the store does not accept our signature ({code}); check {}, {} and {}",
            place.key("secret_access_key"),
            place.key("region"),
            place.key("endpoint")
        ),
        (Dialect::S3, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => format!(
            "{store}: our credential has expired or is not valid ({code}); check {} and what issues it (credential \"{}\")",
            place.key("session_token"),
            place.credential
        ),
        (Dialect::S3, _) => format!(
            "{store}: our identity (credential \"{}\") is not allowed to do this in bucket \"{bucket}\" ({code}); give it s3:GetObject, \
             s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on the objects, and s3:ListBucket and s3:ListBucketMultipartUploads on the bucket, \
             without which even a missing object looks forbidden; check {} too, if the bucket may be somebody else's",
            place.credential,
            place.bucket_key()
        ),
        (Dialect::Gcs, "AuthenticationRequired" | "InvalidAuthentication" | "ExpiredToken") => {
            format!(
                "{store}: the store does not accept our token ({code}); check {}",
                place.key("service_account_file")
            )
        }
        (Dialect::Gcs, _) => format!(
            "{store}: our identity (credential \"{}\") is not allowed to do this in bucket \"{bucket}\" ({code}); give it the role \"Storage Object \
             Admin\" (roles/storage.objectAdmin) on the bucket, and \"Storage Legacy Bucket Reader\" for `attache check`; check {} too, if the \
             bucket may be somebody else's",
            place.credential,
            place.bucket_key()
        ),
    }
}
