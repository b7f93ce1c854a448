//! What a store says when it refuses a request, and what that means: whether something is absent, taken, kept, or worth another try.

use std::fmt;
use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;

use super::xml::Element;
use crate::error::Error;
use crate::http::retry::retry_after;
use crate::http::{Answer, Broken, NoAnswer};

/// What is read of an answer that refuses a request, in bytes. S3's have a few hundred.
pub(super) const LONGEST_REFUSAL: usize = 16 * 1024;

/// Why there is no answer to a request that could be used.
#[derive(Debug)]
pub(super) enum Fault {
    Refused(Refusal),
    /// There is no answer.
    Silent(NoAnswer),
    /// The answer has no end.
    Broken(Broken),
    /// The request could not be made: there is no token, or it cannot be written.
    Ours(Error),
}

/// A refusal (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>).
#[derive(Debug, Default)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// `NoSuchKey`; empty where the answer has no body.
    pub(super) code: String,
    pub(super) message: String,
    /// Where the bucket is, if it is in another region.
    pub(super) region: Option<String>,
    /// How long the store asks to be left alone.
    pub(super) patience: Option<Duration>,
}

impl Refusal {
    /// Reads an answer.
    pub(super) async fn read(status: u16, headers: &HeaderMap, body: Answer) -> Self {
        // What is longer, or breaks off, says no less than an answer without a body.
        let document = body.whole(LONGEST_REFUSAL).await.unwrap_or_default();
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let patience = headers
            .get(RETRY_AFTER)
            .and_then(|wait| retry_after(wait.to_str().ok()?));
        Self {
            region: text("x-amz-bucket-region").map(plain),
            patience,
            ..Self::of_document(status, &document)
        }
    }

    /// Of an error that comes as a document.
    pub(super) fn of_document(status: u16, document: &[u8]) -> Self {
        let error = Element::read(document).filter(|root| root.name == "Error");
        let text = |name: &str| {
            let text = error.as_ref()?.text_of(name)?;
            Some(plain(text))
        };
        Self {
            status,
            code: text("Code").unwrap_or_default(),
            message: text("Message").unwrap_or_default(),
            region: text("Region"),
            patience: None,
        }
    }

    fn is_transient(&self) -> bool {
        // 501 says that the store will never know it.
        matches!(self.status, 408 | 429 | 500 | 502..=599)
            // A body that came too slowly; two writes at once.
            || matches!(self.code.as_str(), "RequestTimeout" | "OperationAborted" | "SlowDown" | "InternalError")
    }
}

/// What somebody else wrote, so that it fits a line of ours.
fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(LONGEST_TEXT)
        .collect()
}

/// Longest text of somebody else's that is shown.
const LONGEST_TEXT: usize = 200;

impl Fault {
    /// Whether another try at the same bytes may succeed.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_transient(),
            Self::Silent(_) | Self::Broken(_) => true,
            Self::Ours(_) => false,
        }
    }

    /// How long the store asks to be left alone.
    pub(super) fn patience(&self) -> Duration {
        match self {
            Self::Refused(refusal) => refusal.patience.unwrap_or_default(),
            _ => Duration::ZERO,
        }
    }

    /// Whether there is simply no such object; nothing but its code proves it.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == 404
            && matches!(refusal.code.as_str(), "NoSuchKey" | "NoSuchVersion"))
    }

    /// Whether the object, or its bucket, is not there: what the answer to a HEAD can say.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == 404)
    }

    /// Whether there is no such upload of parts, or a part of it is not there.
    pub(super) fn is_upload_missing(&self) -> bool {
        matches!(self, Self::Refused(refusal)
            if matches!(refusal.code.as_str(), "NoSuchUpload" | "InvalidPart"))
    }

    /// Whether something may be there already: a condition that does not hold, or another write at the same time, of which only a look
    /// tells how it ended.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == 412
            || refusal.code == "ConditionalRequestConflict")
    }

    /// Whether only a look tells how a write ended.
    pub(super) fn leaves_in_doubt(&self) -> bool {
        self.is_taken() || self.is_upload_missing() || self.is_transient()
    }

    /// Whether a credential was refused that another one may take the place of.
    pub(super) fn is_stale_credential(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == 401
            || matches!(refusal.code.as_str(), "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "{} {}", refusal.status, refusal.code),
            Self::Silent(why) => write!(f, "{why}"),
            Self::Broken(why) => write!(f, "{why}"),
            Self::Ours(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(_) => None,
            Self::Silent(why) => why.source(),
            Self::Broken(why) => why.source(),
            Self::Ours(error) => error.source(),
        }
    }
}

impl From<NoAnswer> for Fault {
    fn from(why: NoAnswer) -> Self {
        Self::Silent(why)
    }
}

impl From<Broken> for Fault {
    fn from(why: Broken) -> Self {
        Self::Broken(why)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str) -> Fault {
        let document = format!("<Error><Code>{code}</Code><Message>m</Message></Error>");
        Fault::Refused(Refusal::of_document(status, document.as_bytes()))
    }

    #[test]
    fn a_missing_bucket_is_no_missing_object() {
        assert!(refused(404, "NoSuchKey").is_absent());
        let bucket = refused(404, "NoSuchBucket");
        assert!(!bucket.is_absent() && bucket.is_not_found());
        assert!(!refused(404, "SomethingElse").is_absent());
        assert!(
            !refused(404, "").is_absent(),
            "whatever stands between says so, too"
        );
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_cannot_is_not() {
        for (status, code) in [
            (503, "SlowDown"),
            (500, "InternalError"),
            (400, "RequestTimeout"),
            (429, ""),
        ] {
            assert!(refused(status, code).is_transient(), "{status} {code}");
        }
        for (status, code) in [
            (403, "AccessDenied"),
            (412, "PreconditionFailed"),
            (400, "BadDigest"),
            (409, "ConditionalRequestConflict"),
            (501, "NotImplemented"),
        ] {
            assert!(!refused(status, code).is_transient(), "{status} {code}");
        }
    }

    #[test]
    fn not_every_conflict_means_that_something_is_there() {
        assert!(refused(412, "PreconditionFailed").is_taken());
        assert!(refused(409, "ConditionalRequestConflict").is_taken());
        assert!(!refused(409, "BucketNotEmpty").is_taken());
    }
}
