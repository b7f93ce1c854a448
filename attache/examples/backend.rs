//! A store of your own: objects in a map. Short, and whole: it keeps every promise of [`Storage`], as the end of this file shows.
//!
//! ```sh
//! cargo run  -p attache --example backend   # an attachment in it
//! cargo test -p attache --example backend   # every promise
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use attache::attachment::NewAttachment;
use attache::attachment::{ByteRange, ObjectKey};
use attache::catalog::config::CatalogUrl;
use attache::catalog::sqlite::SqliteCatalog;
use attache::storage::{Content, Object, ObjectInfo, Probe, Storage, Stored, resolve_range};
use attache::transfer::body::Body;
use attache::{Attache, Config, Error, ErrorKind, Result};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};

/// What each object is, and its bytes.
#[derive(Debug, Default)]
struct Shelf(Mutex<BTreeMap<ObjectKey, (ObjectInfo, Bytes)>>);

impl Shelf {
    fn objects(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, (ObjectInfo, Bytes)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `during` says what was done, and to what.
fn absent(key: &ObjectKey) -> Error {
    Error::new(ErrorKind::NotFound, "no such object").during("shelf", key.as_str())
}

#[async_trait]
impl Storage for Shelf {
    fn name(&self) -> &'static str {
        "shelf"
    }

    async fn put(&self, key: &ObjectKey, content: &Content, mut body: Body) -> Result<Stored> {
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await {
            // The error of the body is returned as it is. Nothing was kept yet, so nothing stays behind.
            bytes.extend_from_slice(&chunk?);
        }
        // Known when all bytes have passed: their count, their digests, whether they are UTF-8.
        let digests = body.digests();
        let stored = Stored::from(digests.ok_or_else(|| Error::internal("no digests"))?);
        let info = ObjectInfo {
            key: key.clone(),
            size: stored.size,
            facts: Some(content.settled(stored.utf8).facts),
            sha256: stored.sha256,
            md5: stored.md5,
            crc64: stored.crc64,
            facts_size: Some(stored.size),
            store_tag: None,
            archived: false,
        };
        match self.objects().entry(key.clone()) {
            Entry::Occupied(_) => Err(Error::new(ErrorKind::Conflict, "it exists")),
            Entry::Vacant(place) => {
                place.insert((info, bytes.into()));
                Ok(stored)
            }
        }
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object> {
        let objects = self.objects();
        let (info, bytes) = objects.get(key).ok_or_else(|| absent(key))?;
        let range = resolve_range(range, info.size)?;
        let bytes = bytes.slice(range.start as usize..range.end as usize);
        Ok(Object {
            info: info.clone(),
            range,
            body: Body::from_bytes(bytes),
        })
    }

    async fn write_facts(
        &self,
        key: &ObjectKey,
        content: &Content,
        _: &Stored,
    ) -> Result<Option<String>> {
        let mut objects = self.objects();
        let (info, _) = objects.get_mut(key).ok_or_else(|| absent(key))?;
        info.facts = Some(content.facts.clone());
        Ok(None)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.objects().remove(key);
        Ok(())
    }

    fn list(&self, after: Option<ObjectKey>) -> BoxStream<'_, Result<ObjectInfo>> {
        // One at a time: a listing is as small as what it holds, however much there is.
        stream::unfold(after, |after| async {
            let start = after.map_or(Bound::Unbounded, Bound::Excluded);
            let objects = self.objects();
            let (key, (info, _)) = objects.range((start, Bound::Unbounded)).next()?;
            Some((Ok(info.clone()), Some(key.clone())))
        })
        .boxed()
    }

    async fn probe(&self) -> Result<Probe> {
        Ok(Probe {
            summary: format!("shelf: {} objects", self.objects().len()),
            clock_skew_s: None,
        })
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let mut config = Config::default();
    config.catalog.url = CatalogUrl::Sqlite(folder.path().join("attache.db"));
    let catalog = SqliteCatalog::open(&folder.path().join("attache.db"))?;
    let shelf = Arc::new(Shelf::default());
    let attache = Attache::with(config, shelf.clone(), Arc::new(catalog)).await?;
    let body = stream::iter([Ok(Bytes::from_static(b"Dear diary"))]);
    let stored = attache.upload(NewAttachment::default(), body).await?;
    println!("{}", stored.attachment.key);
    println!("{}", shelf.probe().await?.summary);
    attache.close(std::time::Duration::from_secs(10)).await;
    Ok(())
}

/// Needs `attache` with its feature `testing` among your dev-dependencies.
#[cfg(test)]
mod promises {
    use attache::testing::{Fresh, storage_suite};

    use super::*;

    storage_suite!(shelf: async || Fresh::storage(Shelf::default()));
}
