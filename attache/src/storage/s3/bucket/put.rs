//! An object is put: by one request, or in pieces of which the store makes it.

use std::sync::OnceLock;

use async_trait::async_trait;
use bytes::Bytes;

use super::super::inner::Inner;
use super::super::staging::{Piece, name_in};
use super::guard::Guard;
use super::make::Make;
use super::name::folder_of;
use super::seen::form;
use crate::error::{Error, Result};
use crate::storage::bucket::facts::Facts;
use crate::storage::bucket::{Entry, Key, NewObject};
use crate::transfer::blocks::{self, BlockLimits, BlockTarget};
use crate::transfer::body::{Body, Digests};

pub(super) async fn put(inner: &Inner, key: &Key, new: &NewObject, body: Body) -> Result<Entry> {
    let attempt = uuid::Uuid::now_v7().simple().to_string();
    // What cannot be kept is refused before the bytes come.
    let form = form(inner.place.dialect);
    Facts::largest().metadata(&form, &new.properties, None, &attempt)?;
    let put = Put {
        inner,
        key,
        new,
        guard: Guard::of(inner, key, &new.condition, "put").await?,
        folder: folder_of(key, &attempt),
        attempt,
        entry: OnceLock::new(),
    };
    let body = body.with_md5().with_crc64();
    blocks::upload(&put, body, new.size, &new.blocks).await?;
    let done = put.entry.into_inner();
    done.ok_or_else(|| Error::internal("an upload ended without an object"))
}

/// One attempt at one object.
struct Put<'a> {
    inner: &'a Inner,
    key: &'a Key,
    new: &'a NewObject,
    guard: Guard,
    attempt: String,
    /// Where its pieces are.
    folder: String,
    entry: OnceLock<Entry>,
}

impl Put<'_> {
    fn make<'a>(&'a self, facts: &'a Facts) -> Make<'a> {
        Make {
            inner: self.inner,
            key: self.key,
            properties: &self.new.properties,
            facts,
            attempt: &self.attempt,
            guard: &self.guard,
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
        let facts = Facts::of_digests(digests)?;
        let entry = self.make(&facts).of_bytes(bytes).await?;
        let _ = self.entry.set(entry);
        Ok(())
    }

    async fn put_block(&self, number: u32, bytes: Bytes) -> Result<Piece> {
        let name = name_in(&self.folder, number);
        self.inner.put_piece(name, bytes).await
    }

    async fn commit(&self, pieces: &[Piece], digests: &Digests) -> Result<()> {
        let facts = Facts::of_digests(digests)?;
        let budget = &self.new.blocks.budget;
        let make = self.make(&facts);
        let made = make.of_pieces(pieces.to_vec(), &self.folder, budget);
        let _ = self.entry.set(made.await?);
        self.inner.remove_pieces(&self.folder).await;
        Ok(())
    }

    async fn abort(&self) {
        self.inner.remove_pieces(&self.folder).await;
    }
}
