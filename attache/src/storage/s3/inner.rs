//! What every request needs: the bucket, the way to it, and who we are.

use std::ops::Deref;
use std::sync::Arc;

use http::{HeaderMap, Method};

use super::ask::{Answered, Ask};
use super::authority::Authority;
use super::error::told;
use super::place::{Base, Place};
use super::refusal::{Fault, Refusal};
use super::signer::Signer;
use super::versioning::Versioning;
use crate::error::{Error, Result};
use crate::http::Client;
use crate::storage::vitals::Retries;

/// One credential and one connection pool, for all buckets that are used.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) authority: Authority,
    pub(super) signer: Signer,
    pub(super) retries: Retries,
}

/// A bucket, and the way to it.
pub(super) struct Inner {
    shared: Arc<Shared>,
    pub(super) place: Place,
    pub(super) base: Base,
    pub(super) versioning: Versioning,
    /// Fewest bytes of every part of a multipart upload but the last.
    pub(super) min_part: u64,
}

impl Deref for Inner {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Inner {
    pub(super) fn new(shared: Arc<Shared>, place: Place, min_part: u64) -> Self {
        Self {
            shared,
            base: place.base(),
            place,
            versioning: Versioning::default(),
            min_part,
        }
    }

    /// Another bucket at the same service, by the same credential and connections.
    ///
    /// # Errors
    ///
    /// [`Misconfigured`](crate::ErrorKind::Misconfigured) if there can be no bucket of this name.
    pub(super) fn beside(&self, bucket: &str) -> Result<Self> {
        let place = self.place.beside(bucket)?;
        Ok(Self::new(self.shared.clone(), place, self.min_part))
    }

    /// What is wrong, in our words.
    pub(super) fn fail(&self, fault: Fault, operation: &'static str, subject: &str) -> Error {
        told(fault, &self.place, self.client.counts().skew()).during(operation, subject)
    }

    /// How far the store's clock is ahead of ours, as far as it is known.
    pub(super) fn skew(&self) -> time::Duration {
        self.client.counts().skew().unwrap_or_default()
    }

    /// The headers of an object; `None` if it is not there. An answer to HEAD has no body, and does not tell a missing bucket from a
    /// missing object; another request does.
    pub(super) async fn head(&self, key: &str) -> Result<Option<HeaderMap>, Fault> {
        let ask = Ask::new(Method::HEAD, key);
        match self.ask(&ask).await {
            Ok(answered) => Ok(Some(answered.headers)),
            Err(fault) if fault.is_not_found() => match self.find_bucket().await {
                Err(Fault::Refused(refusal)) if refusal.status == 404 => {
                    Err(Fault::Refused(Refusal {
                        code: "NoSuchBucket".to_owned(),
                        ..refusal
                    }))
                }
                // Who may not look at the bucket is told of it by the code of other requests.
                _ => Ok(None),
            },
            Err(fault) => Err(fault),
        }
    }

    /// Asks for the bucket alone.
    pub(super) async fn find_bucket(&self) -> Result<Answered, Fault> {
        self.ask(&Ask::new(Method::HEAD, "")).await
    }

    /// Whose the object under `key` is: where an answer was lost, a retry finds the own work of `attempt`.
    pub(super) async fn whose(&self, key: &str, attempt: &str) -> Result<Whose, Fault> {
        let Some(headers) = self.head(key).await? else {
            return Ok(Whose::Nobodys);
        };
        let name = format!("{}attempt", self.place.dialect.metadata_prefix());
        let found = headers.get(&name).and_then(|found| found.to_str().ok());
        Ok(match found == Some(attempt) {
            true => Whose::Ours(self.place.dialect.version(&headers).map(|v| v.tag)),
            false => Whose::Theirs,
        })
    }
}

/// Whose an object is that stands where we wrote.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// There is none.
    Nobodys,
    /// This attempt's, with its tag.
    Ours(Option<String>),
    Theirs,
}
