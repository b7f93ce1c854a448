//! What an upload that failed left: a blob, or staged blocks that nobody sees.
//!
//! Blocks that were staged and never committed live for a week, and are billed; a Put Blob over the name removes them
//! (<https://learn.microsoft.com/rest/api/storageservices/put-block#remarks>). That makes an empty blob, to be deleted next.
//! Where a retention policy, a legal hold or a lock lets nobody delete, such a blob would stay for years: there the blocks
//! are left to the service, which forgets them by itself.

use std::collections::HashMap;

use azure_core::http::headers::HeaderName;
use azure_core::http::{Etag, RequestContent};
use azure_storage_blob::models::{
    BlobClientDeleteOptions, BlockBlobClientCommitBlockListOptions, BlockBlobClientUploadOptions,
    BlockLookupList,
};
use bytes::Bytes;

use super::inner::{Deleted, Inner};
use super::refusal::{is_absent, is_retained, is_taken};

impl Inner {
    /// Removes the blob under `name`, or blocks that are staged there. Nothing there is success.
    pub(super) async fn discard(&self, name: &str) -> azure_core::Result<()> {
        match self.delete_blob(name).await {
            Ok(Deleted::It) => return Ok(()),
            Ok(Deleted::Nothing) => {}
            // Where there is no blob, nothing is kept but blocks.
            Err(error) if is_retained(&error) => {
                return match self.blob(name).get_properties(None).await {
                    Ok(_) => Err(error),
                    Err(absent) if is_absent(&absent) => {
                        self.retention.note(true);
                        Ok(())
                    }
                    Err(error) => Err(error),
                };
            }
            Err(error) => return Err(error),
        }
        let attempt = uuid::Uuid::now_v7().simple().to_string();
        if self.keeps_blobs().await? || self.shed_blocks(name, &attempt).await? {
            return Ok(());
        }
        // A commit of a process that was killed arrived in between.
        self.delete_blob(name).await.map(drop)
    }

    /// Removes the blocks that `attempt` staged. A blob that is under `name` stays, unless `attempt` made it.
    pub(super) async fn abort(&self, name: &str, attempt: &str) -> azure_core::Result<()> {
        if self.keeps_blobs().await? || self.would_keep(name).await {
            return Ok(());
        }
        self.shed_blocks(name, attempt).await.map(drop)
    }

    /// Replaces staged blocks by an empty blob, and deletes that. `false` if there is a blob already, which stays.
    pub(super) async fn shed_blocks(&self, name: &str, attempt: &str) -> azure_core::Result<bool> {
        let options = BlockBlobClientUploadOptions {
            if_none_match: Some(Etag::from("*")),
            metadata: Some(HashMap::from([("attempt".to_owned(), attempt.to_owned())])),
            ..BlockBlobClientUploadOptions::default()
        };
        let client = self.blob(name).block_blob_client();
        match client.upload(Bytes::new().into(), Some(options)).await {
            Ok(_) => {}
            Err(error) if is_taken(&error) => {
                if self.own_tag(name, attempt).await?.is_none() {
                    return Ok(false);
                }
            }
            Err(error) => return Err(error),
        }
        let deleted = self.delete_blob(name).await;
        if deleted.as_ref().is_err_and(is_retained) {
            self.retention.note(true);
        }
        deleted.map(|_| true)
    }

    /// Commits none of the blocks under a name that is known to have no blob, and deletes what that makes. Unlike Put Blob it
    /// removes them in Azurite, too.
    pub(super) async fn replace_blocks(&self, name: &str) -> azure_core::Result<()> {
        let client = self.blob(name).block_blob_client();
        let nothing = RequestContent::try_from(BlockLookupList {
            latest: Some(Vec::new()),
            ..BlockLookupList::default()
        })?;
        let options = BlockBlobClientCommitBlockListOptions {
            if_none_match: Some(Etag::from("*")),
            ..BlockBlobClientCommitBlockListOptions::default()
        };
        client.commit_block_list(nothing, Some(options)).await?;
        self.delete_blob(name).await.map(drop)
    }

    /// Whether a policy on the container keeps every blob that is made in it.
    pub(super) async fn keeps_blobs(&self) -> azure_core::Result<bool> {
        if let Some(known) = self.retention.known() {
            return Ok(known);
        }
        let container = self.client.blob_container_client(&self.target.container);
        let properties = container.get_properties(None).await?;
        let is = |name: &'static str| {
            let value = properties
                .headers()
                .get_optional_str(&HeaderName::from_static(name));
            value.is_some_and(|value| value.eq_ignore_ascii_case("true"))
        };
        let keeps = is("x-ms-has-immutability-policy") || is("x-ms-has-legal-hold");
        self.retention.note(keeps);
        Ok(keeps)
    }

    /// Whether a deletion under this name would be refused, asked by one that no blob fulfils the condition of.
    pub(super) async fn would_keep(&self, name: &str) -> bool {
        let options = BlobClientDeleteOptions {
            if_match: Some(Etag::from(NO_TAG)),
            ..BlobClientDeleteOptions::default()
        };
        let asked = self.blob(name).delete(Some(options)).await;
        let keeps = asked.is_err_and(|error| is_retained(&error));
        if keeps {
            self.retention.note(true);
        }
        keeps
    }
}

/// An entity tag that the service gives to nothing.
const NO_TAG: &str = "\"attache-asks\"";
