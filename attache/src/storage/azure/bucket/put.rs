//! Put Blob, or Put Block and Put Block List, in place of what is there.

use std::sync::OnceLock;

use async_trait::async_trait;
use azure_core::http::{Etag, RequestContent};
use azure_storage_blob::models::{BlockBlobClientCommitBlockListOptions, BlockLookupList};
use bytes::Bytes;

use super::super::inner::Inner;
use super::super::put::{BLOCK_LIMITS, stage};
use super::super::refusal::{is_block_missing, is_foreign_block, is_taken, is_unmet};
use super::super::whole::{Verified, Whole};
use super::block::{Id, Nonce};
use super::kept::{FORM, Written, look};
use super::name::name_of;
use super::shed::shed;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::bucket::facts::Facts;
use crate::storage::bucket::kept::Headers;
use crate::storage::bucket::{Condition, Entry, Key, NewObject, Properties, absent, unfulfilled};
use crate::transfer::blocks::{self, BlockLimits, BlockTarget};
use crate::transfer::body::{Body, Digests, crc64};

pub(super) async fn put(inner: &Inner, key: &Key, new: &NewObject, body: Body) -> Result<Entry> {
    let guard = Guard::of(inner, key, &new.condition, "put").await?;
    let put = Put {
        inner,
        key,
        name: name_of(key)?,
        properties: &new.properties,
        guard,
        attempt: uuid::Uuid::now_v7().simple().to_string(),
        nonce: rand::random(),
        entry: OnceLock::new(),
    };
    // What cannot be kept is refused before the bytes come.
    Facts::largest().metadata(&FORM, &new.properties, None, &put.attempt)?;
    let body = body.with_md5().with_crc64();
    blocks::upload(&put, body, new.size, &new.blocks).await?;
    let done = put.entry.into_inner();
    done.ok_or_else(|| Error::internal("azure: an upload ended without a blob"))
}

/// What must hold of a blob for a write, in the service's words.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard {
    pub(super) if_match: Option<Etag>,
    pub(super) if_none_match: Option<Etag>,
}

impl Guard {
    /// Looks at the object where the condition is about an entity tag of ours, which the service does not know.
    ///
    /// # Errors
    ///
    /// Those of [`Bucket::put`](crate::storage::bucket::Bucket::put), if it does not hold now.
    pub(super) async fn of(
        inner: &Inner,
        key: &Key,
        condition: &Condition,
        operation: &'static str,
    ) -> Result<Self> {
        Ok(match condition {
            Condition::None => Self::default(),
            Condition::Absent => Self {
                if_none_match: Some(Etag::from("*")),
                ..Self::default()
            },
            Condition::Matches(etag) => {
                let seen = look(inner, key, operation).await?;
                let entry = seen.ok_or_else(|| absent(key))?.entry(key);
                if entry.etag != *etag {
                    return Err(unfulfilled(key));
                }
                Self {
                    if_match: Some(quoted(&entry.version.0)),
                    ..Self::default()
                }
            }
        })
    }

    pub(super) fn is_none(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }
}

/// As headers have it.
pub(super) fn quoted(tag: &str) -> Etag {
    Etag::from(format!("\"{tag}\""))
}

/// One attempt at one object.
struct Put<'a> {
    inner: &'a Inner,
    key: &'a Key,
    name: String,
    properties: &'a Properties,
    guard: Guard,
    attempt: String,
    nonce: Nonce,
    entry: OnceLock<Entry>,
}

impl Put<'_> {
    async fn settle(&self, facts: &Facts, outcome: azure_core::Result<Written>) -> Result<()> {
        let written = match outcome {
            Ok(written) => written,
            Err(error) => self.explain(error).await?,
        };
        let _ = self
            .entry
            .set(written.entry(facts, self.key, self.properties));
        Ok(())
    }

    /// What a refusal of the last request means.
    async fn explain(&self, error: azure_core::Error) -> Result<Written> {
        let conditional = is_taken(&error) || is_unmet(&error);
        if !conditional && !is_block_missing(&error) {
            return Err(self.inner.fail(error, "put", self.key.as_str()));
        }
        let seen = look(self.inner, self.key, "put").await?;
        if let Some(seen) = &seen
            && seen.attempt() == Some(&self.attempt)
        {
            // The answer to what made it was lost.
            return Ok(Written {
                tag: seen.tag.clone(),
                modified: seen.modified,
            });
        }
        match seen {
            Some(seen) if self.guard.is_none() => {
                // Blocks go when something else is put under their name: it came after ours, which nobody will see.
                Ok(Written {
                    tag: self.attempt.clone(),
                    modified: seen.modified,
                })
            }
            None if !conditional => Err(Error::new(
                ErrorKind::UpstreamUnavailable,
                "what was sent is gone, since something else was put under this key and deleted at the same time; send it again",
            )
            .with_source(error)
            .during("put", self.key.as_str())),
            _ => Err(unfulfilled(self.key)),
        }
    }
}

#[async_trait]
impl BlockTarget for Put<'_> {
    type Receipt = Id;

    fn limits(&self) -> BlockLimits {
        BLOCK_LIMITS
    }

    async fn put_whole(&self, bytes: Bytes, digests: &Digests) -> Result<()> {
        let facts = Facts::of_digests(digests)?;
        let headers = Headers::of(self.properties);
        let verified = match digests.md5 {
            Some(md5) => Verified::Md5(md5),
            None => Verified::Crc64(crc64(&bytes)),
        };
        let tag = |tag: &Option<Etag>| tag.as_ref().map(ToString::to_string);
        let whole = Whole {
            name: &self.name,
            bytes,
            headers: vec![
                ("x-ms-blob-content-type", headers.content_type),
                ("x-ms-blob-cache-control", headers.cache_control),
                ("x-ms-blob-content-disposition", headers.content_disposition),
                ("x-ms-blob-content-encoding", headers.content_encoding),
                ("x-ms-blob-content-language", headers.content_language),
                ("if-match", tag(&self.guard.if_match)),
                ("if-none-match", tag(&self.guard.if_none_match)),
            ],
            metadata: facts.metadata(&FORM, self.properties, None, &self.attempt)?,
            verified,
        };
        let made = whole.put(self.inner).await;
        let written = made.map(|headers| Written::of(&headers));
        self.settle(&facts, written).await
    }

    async fn put_block(&self, number: u32, bytes: Bytes) -> Result<Id> {
        let id = Id::of_put(self.nonce, number);
        stage_under(self.inner, self.key, &self.name, id, bytes, "put").await?;
        Ok(id)
    }

    async fn commit(&self, ids: &[Id], digests: &Digests) -> Result<()> {
        let facts = Facts::of_digests(digests)?;
        let metadata = facts.metadata(&FORM, self.properties, None, &self.attempt)?;
        let commit = Commit {
            properties: self.properties,
            metadata,
            md5: digests.md5.map(|md5| md5.0.to_vec()),
            guard: self.guard.clone(),
        };
        let outcome = commit.of(self.inner, &self.name, ids).await;
        self.settle(&facts, outcome).await
    }

    async fn abort(&self) {
        if let Err(error) = shed(self.inner, &self.name, self.nonce).await {
            tracing::warn!(key = %self.key, %error, "staged blocks are left; the service removes them after a week");
        }
    }
}

/// Puts a block under a name that may have blocks of others.
pub(super) async fn stage_under(
    inner: &Inner,
    key: &Key,
    name: &str,
    id: Id,
    bytes: Bytes,
    operation: &'static str,
) -> Result<()> {
    let staged = stage(inner, name, &id.to_bytes(), bytes).await;
    staged.map_err(|error| match is_foreign_block(&error) {
        true => Error::new(
            ErrorKind::Conflict,
            "another program has an upload under this key that it did not end, and Azure takes no other blocks beside it; end it, or \
             wait for a week",
        )
        .with_source(error)
        .during(operation, key.as_str()),
        false => inner.fail(error, operation, key.as_str()),
    })
}

/// Put Block List (<https://learn.microsoft.com/rest/api/storageservices/put-block-list>).
pub(super) struct Commit<'a> {
    pub(super) properties: &'a Properties,
    pub(super) metadata: std::collections::HashMap<String, String>,
    pub(super) md5: Option<Vec<u8>>,
    pub(super) guard: Guard,
}

impl Commit<'_> {
    /// Makes a blob of these blocks.
    pub(super) async fn of(
        self,
        inner: &Inner,
        name: &str,
        ids: &[Id],
    ) -> azure_core::Result<Written> {
        let list = BlockLookupList {
            latest: Some(ids.iter().map(|id| id.to_bytes().to_vec()).collect()),
            ..BlockLookupList::default()
        };
        let headers = Headers::of(self.properties);
        let options = BlockBlobClientCommitBlockListOptions {
            blob_content_type: headers.content_type,
            blob_cache_control: headers.cache_control,
            blob_content_disposition: headers.content_disposition,
            blob_content_encoding: headers.content_encoding,
            blob_content_language: headers.content_language,
            blob_content_md5: self.md5,
            if_match: self.guard.if_match,
            if_none_match: self.guard.if_none_match,
            metadata: Some(self.metadata),
            ..BlockBlobClientCommitBlockListOptions::default()
        };
        let client = inner.blob(name).block_blob_client();
        let made = client
            .commit_block_list(RequestContent::try_from(list)?, Some(options))
            .await?;
        Ok(Written::read(made.headers()))
    }
}
