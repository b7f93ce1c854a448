//! Uploads in parts: blocks that are staged over many requests, and committed by one Put Block List.
//!
//! A part is one to a few blocks, named by the try that wrote it, so that a part which is put again, or half, is mixed with
//! nothing. The service knows nothing of an upload before its first block, and forgets blocks a
//! week after the last of them (<https://learn.microsoft.com/rest/api/storageservices/put-block#remarks>).

use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;

use super::inner::Inner;
use super::put::{BLOCK_LIMITS, block_id, commit, settle, stage};
use super::refusal::{is_absent, is_block_missing};
use crate::attachment::ObjectKey;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::multipart::{
    Multipart, Part, PartLimits, PartReceipt, UploadRef, no_upload, receipt, receipt_of, whole,
};
use crate::storage::{Blocks, Content, Stored, conflict};
use crate::transfer::blocks::{self, BlockLimits, BlockTarget};
use crate::transfer::body::{Body, Digests};

/// Most parts: each is a block at least, and clients of some protocols choose how small they are.
const MAX_PARTS: u32 = BLOCK_LIMITS.max_blocks;

/// Most blocks of one part, where memory allows blocks of that size: so 10,000 large parts, which is what S3 has, fit into one blob.
const BLOCKS_PER_PART: u64 = 5;

/// Takes uploads in parts for one container.
#[derive(Clone)]
pub(super) struct Uploads(pub(super) Arc<Inner>);

#[async_trait]
impl Multipart for Uploads {
    fn limits(&self) -> PartLimits {
        PartLimits {
            min_bytes: 0,
            // As S3 has it; 4,000 MiB a block would allow more.
            max_bytes: 5 * 1024 * 1024 * 1024,
            max_parts: MAX_PARTS,
        }
    }

    async fn begin(&self, key: &ObjectKey, _: &Content) -> Result<UploadRef> {
        Ok(UploadRef::generate(key))
    }

    async fn put_part(
        &self,
        upload: &UploadRef,
        part: Part,
        blocks: &Blocks,
        body: Body,
    ) -> Result<PartReceipt> {
        self.limits().check(part)?;
        let blocks = Blocks {
            bytes: blocks.bytes.max(part.size.div_ceil(BLOCKS_PER_PART)),
            ..blocks.clone()
        };
        let staging = Staging {
            inner: &self.0,
            upload,
            write: rand::random(),
            count: OnceLock::new(),
        };
        let digests = blocks::upload(&staging, body.with_crc64(), Some(part.size), &blocks).await?;
        let count = staging.count.get().copied().unwrap_or_default();
        receipt(part, &digests, tag(staging.write, count))
    }

    async fn put_bytes(&self, upload: &UploadRef, part: Part, bytes: Bytes) -> Result<PartReceipt> {
        self.limits().check(part)?;
        let write = rand::random();
        // One block, however large: no block has more bytes than a part may have, but for one that nobody can hold in memory.
        let count = u32::from(!bytes.is_empty());
        let receipt = receipt_of(part, &bytes, tag(write, count))?;
        if count == 1 {
            let key = upload.key().as_str();
            stage(&self.0, key, &block_id(write, 0), bytes)
                .await
                .map_err(|error| self.0.fail(error, "put_part", key))?;
        }
        Ok(receipt)
    }

    async fn complete(
        &self,
        upload: &UploadRef,
        content: &Content,
        parts: &[PartReceipt],
        known: &Digests,
    ) -> Result<Stored> {
        let stored = whole(parts, known)?;
        let mut ids = Vec::new();
        for part in parts {
            let (write, count) = read_tag(&part.tag).ok_or_else(|| no_upload(upload))?;
            if ids.len() + count as usize > BLOCK_LIMITS.max_blocks as usize {
                return Err(Error::new(
                    ErrorKind::TooLarge,
                    "the parts have more blocks than a blob may have; raise memory.transfer_bytes",
                ));
            }
            ids.extend((0..count).map(|index| block_id(write, index)));
        }
        let (inner, key, attempt) = (&*self.0, upload.key(), upload.token());
        let outcome = commit(inner, key, content, &stored, attempt, &ids).await;
        if outcome.as_ref().is_err_and(is_block_missing) {
            // Something else is there, or what this made, and the service looks at the blocks first.
            return match inner.own_tag(key.as_str(), attempt).await {
                Ok(Some(tag)) => Ok(Stored {
                    store_tag: Some(tag),
                    ..stored
                }),
                Ok(None) => Err(conflict(key)),
                Err(error) if is_absent(&error) => Err(no_upload(upload)),
                Err(error) => Err(inner.fail(error, "complete", key.as_str())),
            };
        }
        Ok(Stored {
            store_tag: settle(inner, key, attempt, outcome).await?,
            ..stored
        })
    }

    async fn abort(&self, upload: &UploadRef) -> Result<()> {
        // Not in the name of the upload: what it made stays.
        let attempt = uuid::Uuid::now_v7().simple().to_string();
        let aborted = match self.0.abort(upload.key().as_str(), &attempt).await {
            // Taken, and not there: to Azurite, blocks alone take a name.
            Err(error) if is_absent(&error) => self.0.replace_blocks(upload.key().as_str()).await,
            outcome => outcome,
        };
        aborted.map_err(|error| self.0.fail(error, "abort", upload.key().as_str()))
    }
}

/// One try at one part.
struct Staging<'a> {
    inner: &'a Inner,
    upload: &'a UploadRef,
    /// A random number, part of the name of each block.
    write: u64,
    /// How many blocks it has.
    count: OnceLock<u32>,
}

#[async_trait]
impl BlockTarget for Staging<'_> {
    type Receipt = ();

    fn limits(&self) -> BlockLimits {
        BLOCK_LIMITS
    }

    async fn put_whole(&self, bytes: Bytes, _: &Digests) -> Result<()> {
        // There are no empty blocks.
        let count = u32::from(!bytes.is_empty());
        if count == 1 {
            self.put_block(0, bytes).await?;
        }
        let _ = self.count.set(count);
        Ok(())
    }

    async fn put_block(&self, number: u32, bytes: Bytes) -> Result<()> {
        let key = self.upload.key();
        let id = block_id(self.write, number);
        stage(self.inner, key.as_str(), &id, bytes)
            .await
            .map_err(|error| self.inner.fail(error, "put_part", key.as_str()))
    }

    async fn commit(&self, receipts: &[()], _: &Digests) -> Result<()> {
        let _ = self
            .count
            .set(u32::try_from(receipts.len()).unwrap_or(u32::MAX));
        Ok(())
    }

    async fn abort(&self) {
        // Nobody names them, so they go with the upload.
    }
}

/// The word for the blocks of one try at one part.
fn tag(write: u64, blocks: u32) -> String {
    format!("{write:016x}.{blocks}")
}

fn read_tag(tag: &str) -> Option<(u64, u32)> {
    let (write, blocks) = tag.split_once('.')?;
    Some((u64::from_str_radix(write, 16).ok()?, blocks.parse().ok()?))
}

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uploads").finish_non_exhaustive()
    }
}
