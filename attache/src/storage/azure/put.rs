//! Put Blob, or Put Block and Put Block List: one attempt at one upload, which nobody sees before its end.

use std::collections::HashMap;
use std::sync::OnceLock;

use async_trait::async_trait;
use azure_core::http::{Etag, RequestContent};
use azure_storage_blob::models::{
    BlockBlobClientCommitBlockListOptions, BlockBlobClientStageBlockOptions, BlockLookupList,
};
use bytes::Bytes;

use super::inner::{ETAG, Inner, bare};
use super::metadata::{md5_of, to_metadata};
use super::refusal::is_taken;
use super::whole::{Verified, Whole};
use crate::attachment::{Hex, ObjectKey};
use crate::error::Result;
use crate::storage::{Content, Stored, conflict};
use crate::transfer::blocks::{self, BlockLimits, BlockTarget};
use crate::transfer::body::{Body, Digests, crc64};

pub(super) async fn put(
    inner: &Inner,
    key: &ObjectKey,
    content: &Content,
    body: Body,
) -> Result<Stored> {
    let put = Put {
        inner,
        key,
        content,
        attempt: uuid::Uuid::now_v7().simple().to_string(),
        prefix: rand::random(),
        tag: OnceLock::new(),
        md5: OnceLock::new(),
    };
    let digests = blocks::upload(&put, body, content.size, &content.blocks).await?;
    Ok(Stored {
        store_tag: put.tag.into_inner(),
        md5: digests.md5.or(put.md5.into_inner()),
        ..digests.into()
    })
}

/// Most bytes of one block (<https://learn.microsoft.com/rest/api/storageservices/put-block#remarks>).
pub const MAX_BLOCK_BYTES: u64 = 4_000 * 1024 * 1024;

/// See [`MAX_BLOCK_BYTES`].
pub(super) const BLOCK_LIMITS: BlockLimits = BlockLimits {
    min_bytes: 1,
    max_bytes: MAX_BLOCK_BYTES,
    max_blocks: 50_000,
    alike: false,
};

/// Names one block; on the wire it is base64. All ids that are staged under one name must be equally long, whoever staged
/// them, or the service refuses the block.
pub(super) type BlockId = [u8; 12];

/// The id of block `number` of one attempt, which a random number keeps apart from all others.
pub(super) fn block_id(attempt: u64, number: u32) -> BlockId {
    let mut id = [0; 12];
    id[..8].copy_from_slice(&attempt.to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    id
}

/// Put Block (<https://learn.microsoft.com/rest/api/storageservices/put-block>); the service verifies the bytes.
pub(super) async fn stage(
    inner: &Inner,
    name: &str,
    id: &[u8],
    bytes: Bytes,
) -> azure_core::Result<()> {
    let options = BlockBlobClientStageBlockOptions {
        transactional_content_crc64: Some(crc64(&bytes).to_le_bytes().to_vec()),
        ..BlockBlobClientStageBlockOptions::default()
    };
    inner
        .blob(name)
        .block_blob_client()
        .stage_block(id, bytes.len() as u64, bytes.into(), Some(options))
        .await
        .map(|_| ())
}

/// One attempt at one upload.
struct Put<'a> {
    inner: &'a Inner,
    key: &'a ObjectKey,
    content: &'a Content,
    /// Stored with the object, so that a repeated call that finds it there can tell its own work from somebody else's.
    attempt: String,
    /// Keeps the blocks of two attempts at one blob apart.
    prefix: u64,
    /// The entity tag of what was put.
    tag: OnceLock<String>,
    /// What the service computed by itself.
    md5: OnceLock<Hex<16>>,
}

impl Put<'_> {
    async fn settle(&self, outcome: azure_core::Result<Option<String>>) -> Result<()> {
        if let Some(tag) = settle(self.inner, self.key, &self.attempt, outcome).await? {
            let _ = self.tag.set(tag);
        }
        Ok(())
    }
}

/// The entity tag of what was put; turns "it exists" into success if it is what `attempt` put.
pub(super) async fn settle(
    inner: &Inner,
    key: &ObjectKey,
    attempt: &str,
    outcome: azure_core::Result<Option<String>>,
) -> Result<Option<String>> {
    match outcome {
        Ok(tag) => Ok(tag),
        Err(error) if is_taken(&error) => {
            // Not to be told is not "somebody else's": our caller would leave our own work behind.
            match inner.own_tag(key.as_str(), attempt).await {
                Ok(Some(tag)) => Ok(Some(tag)),
                Ok(None) => Err(conflict(key)),
                Err(error) => Err(inner.fail(error, "put", key.as_str())),
            }
        }
        Err(error) => Err(inner.fail(error, "put", key.as_str())),
    }
}

/// Put Block List (<https://learn.microsoft.com/rest/api/storageservices/put-block-list>); refuses to overwrite. `attempt` is
/// kept with the object, for [`settle`].
pub(super) async fn commit(
    inner: &Inner,
    key: &ObjectKey,
    content: &Content,
    stored: &Stored,
    attempt: &str,
    ids: &[BlockId],
) -> azure_core::Result<Option<String>> {
    let list = BlockLookupList {
        latest: Some(ids.iter().map(|id| id.to_vec()).collect()),
        ..BlockLookupList::default()
    };
    let options = BlockBlobClientCommitBlockListOptions {
        blob_content_type: Some(content.settled(stored.utf8).content_type),
        blob_content_disposition: Some(content.disposition.clone()),
        blob_content_md5: stored.md5.map(|md5| md5.0.to_vec()),
        if_none_match: Some(Etag::from("*")),
        metadata: Some(metadata(content, stored, attempt)),
        ..BlockBlobClientCommitBlockListOptions::default()
    };
    let made = inner
        .blob(key.as_str())
        .block_blob_client()
        .commit_block_list(RequestContent::try_from(list)?, Some(options))
        .await?;
    Ok(made.headers().get_optional_str(&ETAG).map(bare))
}

fn metadata(content: &Content, stored: &Stored, attempt: &str) -> HashMap<String, String> {
    let facts = content.settled(stored.utf8).facts;
    let mut metadata = to_metadata(&facts, stored);
    metadata.insert("attempt".to_owned(), attempt.to_owned());
    metadata
}

#[async_trait]
impl BlockTarget for Put<'_> {
    type Receipt = BlockId;

    fn limits(&self) -> BlockLimits {
        BLOCK_LIMITS
    }

    async fn put_whole(&self, bytes: Bytes, digests: &Digests) -> Result<()> {
        let verified = match digests.md5 {
            Some(md5) => Verified::Md5(md5),
            None => Verified::Crc64(digests.crc64.unwrap_or_else(|| crc64(&bytes))),
        };
        let whole = Whole {
            name: self.key.as_str(),
            bytes,
            headers: vec![
                ("if-none-match", Some("*".to_owned())),
                (
                    "x-ms-blob-content-type",
                    Some(self.content.settled(digests.utf8).content_type),
                ),
                (
                    "x-ms-blob-content-disposition",
                    Some(self.content.disposition.clone()),
                ),
            ],
            metadata: metadata(self.content, &(*digests).into(), &self.attempt),
            verified,
        };
        let made = whole.put(self.inner).await;
        let tag = made.map(|headers| {
            let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
            if let Some(md5) = text("content-md5").and_then(md5_of) {
                let _ = self.md5.set(md5);
            }
            text("etag").map(bare)
        });
        self.settle(tag).await
    }

    async fn put_block(&self, number: u32, bytes: Bytes) -> Result<BlockId> {
        let id = block_id(self.prefix, number);
        stage(self.inner, self.key.as_str(), &id, bytes)
            .await
            .map_err(|error| self.inner.fail(error, "put", self.key.as_str()))?;
        Ok(id)
    }

    async fn commit(&self, ids: &[BlockId], digests: &Digests) -> Result<()> {
        let stored = (*digests).into();
        let outcome = commit(
            self.inner,
            self.key,
            self.content,
            &stored,
            &self.attempt,
            ids,
        );
        self.settle(outcome.await).await
    }

    async fn abort(&self) {
        if let Err(error) = self.inner.abort(self.key.as_str(), &self.attempt).await {
            tracing::warn!(key = %self.key, %error, "staged blocks are left; sweep removes them");
        }
    }
}
