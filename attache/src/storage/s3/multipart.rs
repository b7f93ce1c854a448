//! Uploads in parts. A part is one to a few pieces, named by the try that wrote it, so that a part which is put again, or half, is mixed
//! with nothing; the store knows nothing of an upload before its first piece, and forgets none before they are removed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::compose::MAX_PARTS;
use super::inner::{Inner, Whose};
use super::put::{MAX_PUT_BYTES, NewObject};
use super::staging::{Piece, folder_of};
use crate::attachment::ObjectKey;
use crate::error::{ErrorKind, Result};
use crate::storage::multipart::{
    Multipart, Part, PartLimits, PartReceipt, UploadRef, no_upload, receipt, receipt_of, whole,
};
use crate::storage::{Blocks, Content, Stored, conflict};
use crate::transfer::blocks::{self, BlockLimits, BlockTarget};
use crate::transfer::body::{Body, Digests};

/// Most pieces of one part, where memory allows pieces of that size.
const PIECES_PER_PART: u64 = 4;

/// Takes uploads in parts for one bucket.
#[derive(Clone)]
pub(super) struct Uploads(pub(super) Arc<Inner>);

#[async_trait]
impl Multipart for Uploads {
    fn limits(&self) -> PartLimits {
        PartLimits {
            min_bytes: 0,
            max_bytes: MAX_PUT_BYTES,
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
            bytes: blocks.bytes.max(part.size.div_ceil(PIECES_PER_PART)),
            ..blocks.clone()
        };
        let staging = Staging {
            inner: &self.0,
            upload,
            write: rand::random(),
            sizes: Mutex::new(Vec::new()),
        };
        let digests = blocks::upload(&staging, body.with_crc64(), Some(part.size), &blocks).await?;
        receipt(part, &digests, staging.tag())
    }

    async fn put_bytes(&self, upload: &UploadRef, part: Part, bytes: Bytes) -> Result<PartReceipt> {
        self.limits().check(part)?;
        let staging = Staging {
            inner: &self.0,
            upload,
            write: rand::random(),
            sizes: Mutex::new(Vec::new()),
        };
        // What is not as long as was said is not sent.
        receipt_of(part, &bytes, String::new())?;
        staging
            .put_whole(bytes.clone(), &Digests::default())
            .await?;
        receipt_of(part, &bytes, staging.tag())
    }

    async fn complete(
        &self,
        upload: &UploadRef,
        content: &Content,
        parts: &[PartReceipt],
        known: &Digests,
    ) -> Result<Stored> {
        let stored = whole(parts, known)?;
        let (inner, key) = (&*self.0, upload.key());
        // It may have been completed before, and its pieces are gone then.
        let there = inner.whose(key.as_str(), upload.token()).await;
        match there.map_err(|fault| inner.fail(fault, "complete", key.as_str()))? {
            Whose::Ours(store_tag) => {
                inner.remove_pieces(&folder_of(upload)).await;
                return Ok(Stored {
                    store_tag,
                    ..stored
                });
            }
            Whose::Theirs => return Err(conflict(key)),
            Whose::Nobodys => {}
        }
        let mut pieces = Vec::new();
        for part in parts {
            pieces.extend(pieces_of(upload, part).ok_or_else(|| no_upload(upload))?);
        }
        let object = NewObject {
            key,
            content,
            stored: &stored,
            attempt: upload.token(),
        };
        let folder = folder_of(upload);
        let store_tag = match stored.size {
            0 => inner.put_object(&object, Bytes::new()).await,
            _ => inner.make_object(&object, pieces, &folder).await,
        };
        let store_tag = store_tag.map_err(|error| match error.kind() {
            ErrorKind::NotFound => no_upload(upload),
            _ => error,
        })?;
        inner.remove_pieces(&folder).await;
        Ok(Stored {
            store_tag,
            ..stored
        })
    }

    async fn abort(&self, upload: &UploadRef) -> Result<()> {
        let (inner, key) = (&*self.0, upload.key().as_str());
        inner
            .delete_all(&folder_of(upload))
            .await
            .map_err(|fault| inner.fail(fault, "abort", key))
    }
}

/// One try at one part.
struct Staging<'a> {
    inner: &'a Inner,
    upload: &'a UploadRef,
    /// A random number, part of the name of each piece.
    write: u64,
    /// Of its pieces, in their order.
    sizes: Mutex<Vec<u64>>,
}

impl Staging<'_> {
    /// The word for what was written: the pieces, by the try and their sizes.
    fn tag(&self) -> String {
        let sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        let sizes: Vec<String> = sizes.iter().map(u64::to_string).collect();
        format!("{:016x}.{}", self.write, sizes.join("."))
    }

    fn note(&self, sizes: Vec<u64>) {
        *self.sizes.lock().unwrap_or_else(PoisonError::into_inner) = sizes;
    }
}

#[async_trait]
impl BlockTarget for Staging<'_> {
    type Receipt = u64;

    fn limits(&self) -> BlockLimits {
        self.inner.block_limits()
    }

    async fn put_whole(&self, bytes: Bytes, _: &Digests) -> Result<()> {
        // There are no empty pieces.
        if !bytes.is_empty() {
            let size = self.put_block(0, bytes).await?;
            self.note(vec![size]);
        }
        Ok(())
    }

    async fn put_block(&self, number: u32, bytes: Bytes) -> Result<u64> {
        let name = name_of(self.upload, self.write, number as usize);
        Ok(self.inner.put_piece(name, bytes).await?.size())
    }

    async fn commit(&self, sizes: &[u64], _: &Digests) -> Result<()> {
        self.note(sizes.to_vec());
        Ok(())
    }

    async fn abort(&self) {
        // Nobody names them, so they go with the upload.
    }
}

fn name_of(upload: &UploadRef, write: u64, number: usize) -> String {
    format!("{}{write:016x}-{number:03}", folder_of(upload))
}

/// The pieces that a receipt is for; `None` if it is none of ours.
fn pieces_of(upload: &UploadRef, part: &PartReceipt) -> Option<Vec<Piece>> {
    let (write, sizes) = part.tag.split_once('.')?;
    let write = u64::from_str_radix(write, 16).ok()?;
    let mut pieces = Vec::new();
    for (number, size) in sizes.split('.').filter(|size| !size.is_empty()).enumerate() {
        pieces.push(Piece::whole(
            name_of(upload, write, number),
            size.parse().ok()?,
        ));
    }
    let total: u64 = pieces.iter().map(Piece::size).sum();
    (total == part.size).then_some(pieces)
}

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uploads").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_names_its_pieces_and_no_others() {
        let key: ObjectKey = "user/a".parse().expect("a key");
        let upload = UploadRef::generate(&key);
        let part = |tag: &str, size| PartReceipt {
            number: 1,
            size,
            crc64: 0,
            tag: tag.to_owned(),
        };
        let pieces = pieces_of(&upload, &part("00000000000000ff.5.2", 7)).expect("two pieces");
        assert_eq!(pieces.iter().map(Piece::size).collect::<Vec<_>>(), [5, 2]);
        assert!(
            pieces[1].key.ends_with("/00000000000000ff-001"),
            "{}",
            pieces[1].key
        );
        assert_eq!(
            pieces_of(&upload, &part("00000000000000ff.", 0)),
            Some(Vec::new())
        );
        for (wrong, size) in [("", 0), ("x.1", 1), ("00ff.1", 2), ("00ff.x", 1)] {
            assert_eq!(pieces_of(&upload, &part(wrong, size)), None, "{wrong}");
        }
    }
}
