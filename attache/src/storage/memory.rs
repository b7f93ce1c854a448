//! Objects in memory, for tests and demonstrations. They end with the process.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use super::multipart::{
    Multipart, Part, PartLimits, PartReceipt, UploadRef, no_upload, receipt, receipt_of, whole,
};
use super::{
    Blocks, Content, ListedObject, Object, ObjectInfo, Probe, Storage, Stored, absent, conflict,
    resolve_range,
};
use crate::attachment::{ByteRange, ObjectKey};
use crate::error::{Error, ErrorKind, Result};
use crate::transfer::body::{Body, Digests};

/// Largest object that is kept in memory. Larger ones are refused, not truncated.
pub const MAX_OBJECT_BYTES: u64 = 256 * 1024 * 1024;

/// How much a reader is handed at once, so that a reader in a test sees several chunks.
const CHUNK: usize = 64 * 1024;

/// Keeps objects in memory.
#[derive(Default)]
pub struct MemoryStorage {
    objects: Mutex<BTreeMap<ObjectKey, Arc<Kept>>>,
    uploads: Mutex<HashMap<UploadRef, Parts>>,
}

/// Parts of an upload by their numbers, with the receipts that they were given.
type Parts = BTreeMap<u32, (PartReceipt, Bytes)>;

struct Kept {
    info: ObjectInfo,
    bytes: Bytes,
    /// Of which upload it was made.
    upload: Option<UploadRef>,
}

impl MemoryStorage {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Arc<Kept>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn uploads(&self) -> MutexGuard<'_, HashMap<UploadRef, Parts>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// An object of `bytes`, by what was found out about them.
    fn new(key: &ObjectKey, content: &Content, stored: &Stored, bytes: Bytes) -> Self {
        Self {
            info: ObjectInfo {
                key: key.clone(),
                size: stored.size,
                facts: Some(content.settled(stored.utf8).facts),
                sha256: stored.sha256,
                md5: stored.md5,
                crc64: stored.crc64,
                facts_size: Some(stored.size),
                store_tag: None,
                archived: false,
            },
            bytes,
            upload: None,
        }
    }
}

/// Reads all of `body`, up to [`MAX_OBJECT_BYTES`].
async fn read(body: &mut Body) -> Result<(Bytes, Digests)> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        if (bytes.len() + chunk.len()) as u64 > MAX_OBJECT_BYTES {
            return Err(crate::transfer::body::too_large(MAX_OBJECT_BYTES));
        }
        bytes.extend_from_slice(&chunk);
    }
    let digests = body
        .digests()
        .ok_or_else(|| Error::internal("the body ended without digests"))?;
    Ok((bytes.into(), digests))
}

#[async_trait]
impl Storage for MemoryStorage {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn put(&self, key: &ObjectKey, content: &Content, mut body: Body) -> Result<Stored> {
        let (bytes, digests) = read(&mut body).await?;
        let stored = Stored::from(digests);
        let kept = Kept::new(key, content, &stored, bytes);
        match self.objects().entry(key.clone()) {
            std::collections::btree_map::Entry::Occupied(_) => Err(conflict(key)),
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(Arc::new(kept));
                Ok(stored)
            }
        }
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object> {
        let kept = self
            .objects()
            .get(key)
            .cloned()
            .ok_or_else(|| absent(key))?;
        let range = resolve_range(range, kept.info.size)?;
        let place = |offset: u64| {
            usize::try_from(offset)
                .map_err(|_| Error::new(ErrorKind::Internal, "offset beyond memory"))
        };
        let bytes = kept.bytes.slice(place(range.start)?..place(range.end)?);
        let chunks = stream::unfold(bytes, |mut rest| async move {
            let chunk = rest.split_to(rest.len().min(CHUNK));
            (!chunk.is_empty()).then_some((Ok(chunk), rest))
        });
        Ok(Object {
            info: kept.info.clone(),
            range,
            body: Body::new(chunks),
        })
    }

    async fn write_facts(
        &self,
        key: &ObjectKey,
        content: &Content,
        stored: &Stored,
    ) -> Result<Option<String>> {
        let mut objects = self.objects();
        let kept = objects.get_mut(key).ok_or_else(|| absent(key))?;
        let info = ObjectInfo {
            facts: Some(content.facts.clone()),
            sha256: stored.sha256,
            md5: stored.md5,
            crc64: stored.crc64,
            facts_size: Some(stored.size),
            ..kept.info.clone()
        };
        let bytes = kept.bytes.clone();
        let upload = kept.upload.clone();
        *kept = Arc::new(Kept {
            info,
            bytes,
            upload,
        });
        Ok(None)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.objects().remove(key);
        Ok(())
    }

    fn list(&self, after: Option<ObjectKey>) -> BoxStream<'_, Result<ObjectInfo>> {
        stream::unfold(after, |after| async {
            let start = after.map_or(Bound::Unbounded, Bound::Excluded);
            let info = self
                .objects()
                .range((start, Bound::Unbounded))
                .find(|(key, _)| key.is_own())
                .map(|(_, kept)| kept.info.clone())?;
            let key = info.key.clone();
            Some((Ok(info), Some(key)))
        })
        .boxed()
    }

    fn list_all(&self, prefix: &str) -> Option<BoxStream<'_, Result<ListedObject>>> {
        let prefix = prefix.to_owned();
        let all = stream::unfold(None::<ObjectKey>, move |after| {
            let prefix = prefix.clone();
            async move {
                let start = after.map_or(Bound::Unbounded, Bound::Excluded);
                let objects = self.objects();
                let mut rest = objects.range((start, Bound::Unbounded));
                let (key, kept) = rest.find(|(key, _)| key.as_str().starts_with(&prefix))?;
                let listed = ListedObject {
                    name: key.to_string(),
                    size: kept.info.size,
                    modified_at: None,
                    content_type: None,
                    disposition: None,
                    has_facts: kept.info.facts.is_some(),
                    unfit: None,
                };
                Some((Ok(listed), Some(key.clone())))
            }
        });
        Some(all.boxed())
    }

    fn multipart(&self) -> Option<&dyn Multipart> {
        Some(self)
    }

    async fn probe(&self) -> Result<Probe> {
        Ok(Probe {
            summary: format!(
                "memory: {} objects, until the process ends",
                self.objects().len()
            ),
            clock_skew_s: None,
        })
    }
}

#[async_trait]
impl Multipart for MemoryStorage {
    fn limits(&self) -> PartLimits {
        PartLimits {
            min_bytes: 0,
            max_bytes: MAX_OBJECT_BYTES,
            max_parts: 50_000,
        }
    }

    async fn begin(&self, key: &ObjectKey, _: &Content) -> Result<UploadRef> {
        if self.objects().contains_key(key) {
            return Err(conflict(key));
        }
        let upload = UploadRef::generate(key);
        self.uploads().insert(upload.clone(), BTreeMap::new());
        Ok(upload)
    }

    async fn put_part(
        &self,
        upload: &UploadRef,
        part: Part,
        _: &Blocks,
        body: Body,
    ) -> Result<PartReceipt> {
        self.limits().check(part)?;
        let (bytes, digests) = read(&mut body.with_crc64()).await?;
        let receipt = receipt(part, &digests, String::new())?;
        let mut uploads = self.uploads();
        let parts = uploads.get_mut(upload).ok_or_else(|| no_upload(upload))?;
        parts.insert(part.number, (receipt.clone(), bytes));
        Ok(receipt)
    }

    async fn put_bytes(&self, upload: &UploadRef, part: Part, bytes: Bytes) -> Result<PartReceipt> {
        self.limits().check(part)?;
        let receipt = receipt_of(part, &bytes, String::new())?;
        let mut uploads = self.uploads();
        let parts = uploads.get_mut(upload).ok_or_else(|| no_upload(upload))?;
        parts.insert(part.number, (receipt.clone(), bytes));
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
        let (mut objects, mut uploads) = (self.objects(), self.uploads());
        if let Some(kept) = objects.get(upload.key()) {
            return match kept.upload.as_ref() == Some(upload) {
                true => Ok(stored),
                false => Err(conflict(upload.key())),
            };
        }
        let held = uploads.get(upload).ok_or_else(|| no_upload(upload))?;
        let mut bytes = Vec::new();
        for part in parts {
            let (_, piece) = held
                .get(&part.number)
                .filter(|(receipt, _)| receipt == part)
                .ok_or_else(|| no_upload(upload))?;
            bytes.extend_from_slice(piece);
        }
        let kept = Kept {
            upload: Some(upload.clone()),
            ..Kept::new(upload.key(), content, &stored, bytes.into())
        };
        objects.insert(upload.key().clone(), Arc::new(kept));
        uploads.remove(upload);
        Ok(stored)
    }

    async fn abort(&self, upload: &UploadRef) -> Result<()> {
        self.uploads().remove(upload);
        Ok(())
    }
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStorage").finish_non_exhaustive()
    }
}
