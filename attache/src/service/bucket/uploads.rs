//! Uploads in parts: what a client gets to name one is sealed, and holds all that any process needs to go on with it.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::Stream;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::BucketHandle;
use super::put::{Incoming, ObjectDigests, facts};
use crate::access::keys::UPLOADS;
use crate::access::seal::Sealer;
use crate::attachment::ByteRange;
use crate::error::{Error, ErrorKind, Result};
use crate::service::Attache;
use crate::storage::bucket::{
    ChecksumPlan, Condition, Entry, Key, NamedPart, NewPart, Part, PartOf, Properties,
    WholeChecksum, no_upload,
};
use crate::transfer::body;
use crate::transfer::checksum::Checksum;

/// An upload in parts that a client named.
#[derive(Clone, Debug)]
pub struct BucketUpload {
    /// The key that the object will have.
    key: Key,
    state: String,
    /// The checksum that it was begun with.
    pub checksum: Option<ChecksumPlan>,
}

/// How an upload is completed.
#[derive(Clone, Debug, Default)]
pub struct CompleteUpload {
    /// Its parts, with ascending numbers.
    pub parts: Vec<NamedPart>,
    /// What the checksum of the whole must be, if the client says so.
    pub checksum: Option<Checksum>,
    /// What must hold of what is there.
    pub condition: Condition,
}

/// An upload in parts that runs.
#[derive(Clone, Debug)]
pub struct RunningUpload {
    /// The key that the object will have.
    pub key: Key,
    /// What names it for clients: other text each time, and as good as what it was begun with.
    pub name: String,
    /// When it was begun.
    pub begun: OffsetDateTime,
    /// The checksum that it was begun with.
    pub checksum: Option<ChecksumPlan>,
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
struct Sealed {
    state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<ChecksumPlan>,
}

impl Attache {
    /// What seals the names of uploads, for all processes of a catalog.
    async fn upload_sealer(&self) -> Result<Arc<Sealer>> {
        let sealer = self.0.upload_sealer.get_or_try_init(|| async {
            let key = self.0.keys.key(UPLOADS).await?;
            Ok::<_, Error>(Arc::new(Sealer::new(key, "secrets.key_file".into())))
        });
        sealer.await.cloned()
    }
}

impl BucketHandle {
    /// Begins an upload in parts; what names it.
    ///
    /// # Errors
    ///
    /// Those of store and catalog.
    pub async fn begin(
        &self,
        key: &Key,
        properties: &Properties,
        checksum: Option<ChecksumPlan>,
    ) -> Result<String> {
        let inner = self.inner(key)?;
        let state = self.store.begin(&inner, properties, checksum).await?;
        self.seal(&inner, state, checksum).await
    }

    /// The upload that a client names.
    ///
    /// # Errors
    ///
    /// [`UploadNotFound`](ErrorKind::UploadNotFound) if that is no name of an upload of this key.
    pub async fn upload(&self, key: &Key, name: &str) -> Result<BucketUpload> {
        let inner = self.inner(key)?;
        let sealer = self.service.upload_sealer().await?;
        let opened = || {
            let sealed = crate::base64::decode_url(name)?;
            let plain = sealer.open(&self.about(&inner), &sealed).ok()?;
            serde_json::from_slice::<Sealed>(&plain).ok()
        };
        let sealed = opened().ok_or_else(|| no_upload(key))?;
        Ok(BucketUpload {
            key: inner,
            state: sealed.state,
            checksum: sealed.checksum,
        })
    }

    async fn seal(
        &self,
        inner: &Key,
        state: String,
        checksum: Option<ChecksumPlan>,
    ) -> Result<String> {
        let sealed = Sealed { state, checksum };
        let plain = serde_json::to_vec(&sealed).map_err(|error| {
            Error::internal("cannot write an upload as JSON").with_source(error)
        })?;
        let sealer = self.service.upload_sealer().await?;
        Ok(crate::base64::encode_url(
            sealer.seal(&self.about(inner), &plain),
        ))
    }

    /// What a name of an upload is about: it opens for this key of this place alone.
    fn about(&self, inner: &Key) -> String {
        format!("bucket_upload:{}:{inner}", self.place.container)
    }

    /// Stores a part. Runs to its end in a task of its own, as [`put`](Self::put) does.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put), and [`Bucket::put_part`](crate::storage::bucket::Bucket::put_part).
    pub async fn put_part(
        &self,
        upload: &BucketUpload,
        number: u16,
        size: Option<u64>,
        digests: ObjectDigests,
        body: impl Stream<Item = Result<Bytes>> + Send + 'static,
    ) -> Result<Part> {
        let upload = upload.clone();
        self.received(move |this, passed| async move {
            let incoming = Incoming {
                size,
                digests,
                inspected: None,
            };
            let body = this.incoming(body, incoming, passed)?;
            let part = NewPart {
                number,
                size,
                blocks: this.parts.blocks(),
            };
            this.store.put_part(&upload.as_part(), part, body).await
        })
        .await
    }

    /// Stores a range of an object of `source` as a part.
    ///
    /// # Errors
    ///
    /// As [`copy`](Self::copy) and [`put_part`](Self::put_part).
    pub async fn put_part_of(
        &self,
        upload: &BucketUpload,
        number: u16,
        source: &Self,
        entry: &Entry,
        range: Option<ByteRange>,
    ) -> Result<Part> {
        let digests = ObjectDigests {
            checksum: upload.checksum.map(|plan| (plan.kind, None)),
            ..ObjectDigests::default()
        };
        let target = (upload.key.clone(), upload.state.clone(), number);
        self.copy_part(source, entry, range, target, digests).await
    }

    /// Parts that were stored: those after number `after`, at most `limit`.
    ///
    /// # Errors
    ///
    /// As [`Bucket::parts`](crate::storage::bucket::Bucket::parts).
    pub async fn parts(
        &self,
        upload: &BucketUpload,
        after: u16,
        limit: usize,
    ) -> Result<Vec<Part>> {
        self.store.parts(&upload.as_part(), after, limit).await
    }

    /// The uploads in parts that the store can tell of, in the order of their keys.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn uploads(&self, prefix: &str, limit: usize) -> Result<Vec<RunningUpload>> {
        let inner = format!("{}{prefix}", self.prefix);
        let mut uploads = Vec::new();
        for upload in self.store.uploads(&inner, None, limit).await? {
            let (key, checksum) = (upload.key, upload.checksum);
            let name = self.seal(&key, upload.upload, checksum).await?;
            let bare = key.as_str().strip_prefix(self.prefix.as_str());
            if let Some(Ok(key)) = bare.map(str::parse) {
                uploads.push(RunningUpload {
                    key,
                    name,
                    begun: upload.begun,
                    checksum,
                });
            }
        }
        Ok(uploads)
    }

    /// Makes the object of an upload. Runs to its end in a task of its own.
    ///
    /// Where hooks look at uploads they see the object now, when it is whole: for that moment it is there.
    ///
    /// # Errors
    ///
    /// As [`Bucket::complete`](crate::storage::bucket::Bucket::complete); [`TooLarge`](ErrorKind::TooLarge); [`Refused`](ErrorKind::Refused)
    /// by a hook, and the object is gone.
    pub async fn complete(&self, upload: &BucketUpload, complete: CompleteUpload) -> Result<Entry> {
        let (this, upload) = (self.clone(), upload.clone());
        self.spawned(async move {
            this.refuse_too_large(&upload, &complete.parts).await?;
            let checksum = upload.checksum.map(|plan| WholeChecksum {
                kind: plan.kind,
                full: plan.full,
                expected: complete.checksum.filter(|sum| sum.kind() == plan.kind),
            });
            let (parts, condition) = (&complete.parts, &complete.condition);
            let made = this
                .store
                .complete(
                    &upload.as_part(),
                    parts,
                    checksum,
                    condition,
                    &this.parts.budget,
                )
                .await?;
            this.inspect(&upload.key, &made).await?;
            Ok(this.outer(made))
        })
        .await
    }

    async fn refuse_too_large(&self, upload: &BucketUpload, named: &[NamedPart]) -> Result<()> {
        let Some(max) = self.parts.config.upload.max_file_bytes else {
            return Ok(());
        };
        let upload = upload.as_part();
        let all = match self.store.parts(&upload, 0, usize::from(u16::MAX)).await {
            Ok(all) => all,
            // One that is done: there is nothing to be refused.
            Err(error) if error.kind() == ErrorKind::UploadNotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let is_named = |part: &&Part| named.iter().any(|named| named.number == part.number);
        let size: u64 = all.iter().filter(is_named).map(|part| part.size).sum();
        match size > max {
            true => Err(body::too_large(max)),
            false => Ok(()),
        }
    }

    /// Shows a whole object to the hooks, and removes it if one refuses it.
    async fn inspect(&self, inner: &Key, made: &Entry) -> Result<()> {
        if self.parts.inspectors.is_empty() {
            return Ok(());
        }
        let seen = async {
            let facts = facts(inner, &made.properties);
            let mut inspected = self
                .parts
                .inspectors
                .begin(&facts, &self.service.0.metrics)
                .await?;
            let opened = self.store.get(inner, None, Some(&made.version)).await;
            let mut body = match opened {
                Ok(opened) => opened.body,
                // Somebody else's by now.
                Err(error) if error.kind().is_expected() => return Ok(()),
                Err(error) => return Err(error),
            };
            while let Some(chunk) = body.next().await {
                inspected.chunk(&chunk?).await?;
            }
            inspected.end().await
        };
        let Err(error) = seen.await else {
            return Ok(());
        };
        self.store.delete(inner).await?;
        Err(error)
    }

    /// Gives up an upload and its parts. One that is not there is success.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn abort(&self, upload: &BucketUpload) -> Result<()> {
        let (this, upload) = (self.clone(), upload.clone());
        self.spawned(async move { this.store.abort(&upload.as_part()).await })
            .await
    }
}

impl BucketUpload {
    fn as_part(&self) -> PartOf<'_> {
        PartOf {
            key: &self.key,
            upload: &self.state,
        }
    }
}
