//! An object is stored: by one request, or in pieces of which the store makes it. One attempt, which nobody sees before its end.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method};

use super::ask::{Ask, header};
use super::compose::{MAX_PARTS, Whole};
use super::echo::{Echo, echo, md5};
use super::inner::{Inner, Whose};
use super::metadata::to_headers;
use super::refusal::Fault;
use super::settled::{Settled, TRIES};
use super::staging::{Piece, folder_for, name_in};
use crate::attachment::ObjectKey;
use crate::error::Result;
use crate::http::retry::Backoff;
use crate::storage::{Content, Stored, conflict};
use crate::transfer::blocks::{self, BlockLimits, BlockTarget};
use crate::transfer::body::{Body, Digests, crc64};

/// Most bytes of one request (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html>).
pub(super) const MAX_PUT_BYTES: u64 = 5 * 1024 * 1024 * 1024;

/// When the deletion of an object with damaged bytes is tried again, beside the retries that every request gets: its sender waits for it.
const DELETION: Backoff = Backoff {
    retries: TRIES as u32 - 1,
    within: Duration::from_secs(20),
    first: Duration::from_millis(400),
    longest: Duration::from_secs(10),
};

pub(super) async fn put(
    inner: &Inner,
    key: &ObjectKey,
    content: &Content,
    body: Body,
) -> Result<Stored> {
    let attempt = uuid::Uuid::now_v7().simple().to_string();
    let put = Put {
        inner,
        key,
        content,
        folder: folder_for(key, &attempt),
        attempt,
        tag: OnceLock::new(),
    };
    let digests = blocks::upload(&put, body, content.size, &content.blocks).await?;
    Ok(Stored {
        store_tag: put.tag.into_inner(),
        ..digests.into()
    })
}

/// One attempt at one upload.
struct Put<'a> {
    inner: &'a Inner,
    key: &'a ObjectKey,
    content: &'a Content,
    /// Stored with the object, so that a repeated call that finds it there can tell its own work from somebody else's.
    attempt: String,
    /// Where its pieces are.
    folder: String,
    /// The tag of what was put.
    tag: OnceLock<String>,
}

impl Put<'_> {
    fn note(&self, tag: Option<String>) {
        if let Some(tag) = tag {
            let _ = self.tag.set(tag);
        }
    }
}

#[async_trait]
impl BlockTarget for Put<'_> {
    type Receipt = Piece;

    fn limits(&self) -> BlockLimits {
        self.inner.block_limits()
    }

    async fn put_whole(&self, bytes: Bytes, digests: &Digests) -> Result<()> {
        let object = NewObject {
            key: self.key,
            content: self.content,
            stored: &(*digests).into(),
            attempt: &self.attempt,
        };
        self.note(self.inner.put_object(&object, bytes).await?);
        Ok(())
    }

    async fn put_block(&self, number: u32, bytes: Bytes) -> Result<Piece> {
        self.inner
            .put_piece(name_in(&self.folder, number), bytes)
            .await
    }

    async fn commit(&self, pieces: &[Piece], digests: &Digests) -> Result<()> {
        let object = NewObject {
            key: self.key,
            content: self.content,
            stored: &(*digests).into(),
            attempt: &self.attempt,
        };
        let tag = self
            .inner
            .make_object(&object, pieces.to_vec(), &self.folder)
            .await?;
        self.note(tag);
        self.inner.remove_pieces(&self.folder).await;
        Ok(())
    }

    async fn abort(&self) {
        self.inner.remove_pieces(&self.folder).await;
    }
}

/// An object that is to be created, and of which everything is known.
pub(super) struct NewObject<'a> {
    pub(super) key: &'a ObjectKey,
    pub(super) content: &'a Content,
    pub(super) stored: &'a Stored,
    pub(super) attempt: &'a str,
}

impl NewObject<'_> {
    fn headers(&self, inner: &Inner) -> Result<HeaderMap> {
        let settled = self.content.settled(self.stored.utf8);
        to_headers(
            inner.place.dialect,
            &settled,
            self.stored,
            Some(self.attempt),
        )
    }
}

impl Inner {
    /// What pieces may be.
    pub(super) fn block_limits(&self) -> BlockLimits {
        BlockLimits {
            min_bytes: self.min_part,
            max_bytes: MAX_PUT_BYTES,
            max_blocks: MAX_PARTS,
            alike: false,
        }
    }

    /// Creates an object of bytes in memory; its tag.
    pub(super) async fn put_object(
        &self,
        object: &NewObject<'_>,
        bytes: Bytes,
    ) -> Result<Option<String>> {
        let (key, dialect) = (object.key.as_str(), self.place.dialect);
        let crc = object.stored.crc64.unwrap_or_else(|| crc64(&bytes));
        let known_md5 = object.stored.md5;
        let (checksum, value) =
            dialect.checksum(|| crc, || known_md5.unwrap_or_else(|| md5(&bytes)));
        let mut ask = Ask::new(Method::PUT, key).body(bytes.clone());
        ask.headers = object.headers(self)?;
        ask = ask.header(header(checksum, value)?);
        if self.place.conditional_writes {
            ask = ask.header(dialect.create_only());
        }
        self.look_for(object.key).await?;
        let mut tries = 0;
        let outcome = loop {
            tries += 1;
            let outcome = self.ask(&ask).await;
            match self.settle(object, outcome.as_ref().err()).await? {
                Settled::Anew if tries < TRIES => {}
                Settled::Anew => break outcome,
                Settled::Ours(tag) => {
                    self.see_object(object, Echo::Silent, bytes.len() as u64)
                        .await?;
                    return Ok(tag);
                }
                Settled::AsTold => break outcome,
            }
        };
        let answered = outcome.map_err(|fault| self.fail(fault, "put", key))?;
        let heard: Echo = echo(dialect, &answered.headers, &bytes, crc);
        self.see_object(object, heard, bytes.len() as u64).await?;
        self.read_back(object).await?;
        Ok(dialect
            .version(&answered.headers)
            .map(|version| version.tag))
    }

    /// As [`see`](Self::see), of an object that was just made. One that has other bytes goes.
    async fn see_object(&self, object: &NewObject<'_>, heard: Echo, size: u64) -> Result<()> {
        let seen = self.see(object.key.as_str(), heard, size).await;
        if seen.is_err() {
            self.take_back(object).await;
        }
        seen
    }

    /// Deletes an object with damaged bytes. The metadata beside them is that of the right ones, for which everybody would take them who
    /// does not read them.
    async fn take_back(&self, object: &NewObject<'_>) {
        let key = object.key.as_str();
        let started = Instant::now();
        let mut retries = 0;
        while let Err(fault) = self.delete(key).await {
            loop {
                let Some(wait) = DELETION.wait(retries, started.elapsed(), fault.patience()) else {
                    tracing::error!(
                        key,
                        %fault,
                        "an object whose bytes may be damaged is left at the store. That of an upload is deleted by a sweep; if `attache move` \
                         brought it, delete it by hand before the next run, which would take it for moved: only `attache verify --deep` finds it"
                    );
                    return;
                };
                tokio::time::sleep(wait).await;
                retries += 1;
                match self.whose(key, object.attempt).await {
                    Ok(Whose::Ours(_)) => break,
                    // What others have put there since is theirs.
                    Ok(Whose::Nobodys | Whose::Theirs) => return,
                    // Not known to be ours is not ours to delete.
                    Err(_) => {}
                }
            }
        }
    }

    /// Creates an object of pieces, which stay; its tag.
    pub(super) async fn make_object(
        &self,
        object: &NewObject<'_>,
        pieces: Vec<Piece>,
        folder: &str,
    ) -> Result<Option<String>> {
        let key = object.key.as_str();
        let headers = object.headers(self)?;
        let condition = self.place.dialect.create_only();
        let whole = Whole {
            key,
            headers: &headers,
            condition: self.place.conditional_writes.then_some(&condition),
            crc64: object.stored.crc64,
            folder,
        };
        self.look_for(object.key).await?;
        let budget = &object.content.blocks.budget;
        let mut tries = 0;
        let outcome = loop {
            tries += 1;
            let outcome = self.compose(&whole, pieces.clone(), budget).await;
            match self.settle(object, outcome.as_ref().err()).await? {
                Settled::Anew if tries < TRIES => {}
                Settled::Anew | Settled::AsTold => break outcome,
                Settled::Ours(tag) => return Ok(tag),
            }
        };
        let tag = outcome.map_err(|fault| self.fail(fault, "put", key))?;
        self.read_back(object).await?;
        Ok(tag)
    }

    /// What the outcome of a write means, where that takes a look: something is there, or nobody knows.
    async fn settle(
        &self,
        object: &NewObject<'_>,
        fault: Option<&Fault>,
    ) -> Result<Settled<Option<String>>> {
        let Some(fault) = fault.filter(|fault| fault.leaves_in_doubt()) else {
            return Ok(Settled::AsTold);
        };
        match self.whose(object.key.as_str(), object.attempt).await {
            Ok(Whose::Ours(tag)) => Ok(Settled::Ours(tag)),
            Ok(Whose::Theirs) => Err(conflict(object.key)),
            // Another write lost, too, or was deleted meanwhile.
            Ok(Whose::Nobodys) if fault.is_taken() => Ok(Settled::Anew),
            Ok(Whose::Nobodys) => Ok(Settled::AsTold),
            // Not to be told is not "somebody else's": our caller would leave our own work behind.
            Err(fault) => Err(self.fail(fault, "put", object.key.as_str())),
        }
    }

    /// Of a store that replaces whatever it is told to: whether the name is free.
    async fn look_for(&self, key: &ObjectKey) -> Result<()> {
        if self.place.conditional_writes {
            return Ok(());
        }
        let found = self.head(key.as_str()).await;
        match found.map_err(|fault| self.fail(fault, "put", key.as_str()))? {
            Some(_) => Err(conflict(key)),
            None => Ok(()),
        }
    }

    /// Of such a store: whether what is there now is ours.
    async fn read_back(&self, object: &NewObject<'_>) -> Result<()> {
        if self.place.conditional_writes {
            return Ok(());
        }
        let whose = self.whose(object.key.as_str(), object.attempt).await;
        match whose.map_err(|fault| self.fail(fault, "put", object.key.as_str()))? {
            Whose::Ours(_) => Ok(()),
            _ => Err(conflict(object.key)),
        }
    }
}
