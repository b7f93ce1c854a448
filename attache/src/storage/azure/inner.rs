//! What every request needs: the container, the way to it, and who we are.

use std::ops::Deref;
use std::sync::Arc;

use azure_core::http::headers::HeaderName;
use azure_storage_blob::models::{BlobClientDeleteOptions, DeleteSnapshotsOptionType};
use azure_storage_blob::{BlobClient, BlobServiceClient};
use http::HeaderValue;

use super::authority::Authority;
use super::config::Target;
use super::error::service_error;
use super::refusal::is_absent;
use super::retention::Retention;
use super::sign::Signer;
use super::transport::Transport;
use crate::error::Error;
use crate::storage::vitals::Retries;

/// One credential, one connection pool, one token and one signing key, for all containers of the account that are used.
pub(super) struct Shared {
    pub(super) client: BlobServiceClient,
    pub(super) transport: Arc<Transport>,
    pub(super) retries: Arc<Retries>,
    pub(super) authority: Authority,
    /// The version of the REST protocol, as Microsoft's client has it.
    pub(super) protocol: HeaderValue,
    pub(super) signer: Signer,
}

/// A container, and the way to it.
pub(super) struct Inner {
    shared: Arc<Shared>,
    pub(super) target: Target,
    /// Where blobs are, without a `/` at its end.
    pub(super) container_url: String,
    pub(super) retention: Retention,
}

impl Deref for Inner {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

/// What a deletion found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deleted {
    /// A blob, which is gone.
    It,
    /// No blob.
    Nothing,
}

impl Inner {
    /// The container that `target` names.
    pub(super) fn new(shared: Arc<Shared>, target: Target) -> Self {
        let container = shared.client.blob_container_client(&target.container);
        Self {
            container_url: container.url().as_str().trim_end_matches('/').to_owned(),
            shared,
            target,
            retention: Retention::default(),
        }
    }

    /// Another container of the same account, by the same credential, connections and keys.
    pub(super) fn beside(&self, container: &str) -> Self {
        let target = Target {
            container: container.to_owned(),
            ..self.target.clone()
        };
        Self::new(self.shared.clone(), target)
    }

    pub(super) fn blob(&self, name: &str) -> BlobClient {
        self.client.blob_client(&self.target.container, name)
    }

    pub(super) fn fail(
        &self,
        error: azure_core::Error,
        operation: &'static str,
        subject: &str,
    ) -> Error {
        service_error(error, &self.target, self.transport.counts().skew())
            .during(operation, subject)
    }

    /// The entity tag of the blob `name` if it was written by `attempt`: an answer was lost, and the retry found our
    /// own work.
    pub(super) async fn own_tag(
        &self,
        name: &str,
        attempt: &str,
    ) -> azure_core::Result<Option<String>> {
        let properties = self.blob(name).get_properties(None).await?;
        let headers = properties.headers();
        let ours = headers.get_optional_str(&HeaderName::from_static("x-ms-meta-attempt"))
            == Some(attempt);
        Ok(ours.then(|| {
            headers
                .get_optional_str(&ETAG)
                .map_or_else(String::new, bare)
        }))
    }

    pub(super) async fn delete_blob(&self, name: &str) -> azure_core::Result<Deleted> {
        let options = BlobClientDeleteOptions {
            delete_snapshots: Some(DeleteSnapshotsOptionType::Include),
            ..BlobClientDeleteOptions::default()
        };
        match self.blob(name).delete(Some(options)).await {
            Ok(_) => Ok(Deleted::It),
            Err(error) if is_absent(&error) => Ok(Deleted::Nothing),
            Err(error) => Err(error),
        }
    }
}

pub(super) const ETAG: HeaderName = HeaderName::from_static("etag");

/// An entity tag as listings have it, which leave out the quotes of headers.
pub(super) fn bare(tag: &str) -> String {
    tag.trim_start_matches("W/").trim_matches('"').to_owned()
}
