//! The bytes of an object on their way to a client.

use std::time::Instant;

use super::BucketHandle;
use crate::attachment::ByteRange;
use crate::error::{ErrorKind, Result};
use crate::observe::metrics::Direction;
use crate::service::relay::{Relay, Resources};
use crate::storage::bucket::{Entry, Key, Version, unfulfilled};
use crate::transfer::body::{self, Body, Expected};
use crate::transfer::budget::RELAY_BYTES;
use crate::transfer::gather::Gather;

/// An object that is being read.
#[derive(Debug)]
pub struct ObjectBody {
    /// What is known of it.
    pub entry: Entry,
    /// Which part `body` holds.
    pub range: ByteRange,
    /// The bytes: they end with an error if they are not those that were stored. Whoever drops it ends the request to the store.
    pub body: Body,
}

impl BucketHandle {
    /// Opens an object, or a part of it: limited in time, holding a permit, counted, and verified where it is read whole.
    ///
    /// # Errors
    ///
    /// As [`Bucket::get`](crate::storage::bucket::Bucket::get), and [`Busy`](ErrorKind::Busy).
    pub async fn get(
        &self,
        key: &Key,
        range: Option<ByteRange>,
        version: Option<&Version>,
    ) -> Result<ObjectBody> {
        let started = self.service.start("relay");
        let opened = self.open(key, range, version, started).await;
        if opened.is_err() {
            self.service.count("relay", &self.parts, started, &opened);
        }
        opened
    }

    async fn open(
        &self,
        key: &Key,
        range: Option<ByteRange>,
        version: Option<&Version>,
        started: Instant,
    ) -> Result<ObjectBody> {
        let inner = self.inner(key)?;
        let permit = self.parts.budget.acquire(RELAY_BYTES).await?;
        let mut stream = self.service.0.metrics.stream(Direction::Out);
        let opened = self.store.get(&inner, range, version).await;
        let opened = opened.inspect_err(|error| stream.failed(error))?;
        let (entry, range) = (opened.entry, opened.range);
        let whole = range.start == 0 && range.end == entry.size;
        let limits = &self.parts.config.download;
        let size = range.len();
        let body = opened.body.expecting(Expected {
            size: Some(size),
            crc64: entry.crc64.filter(|_| whole && limits.verify),
            ..Expected::default()
        });
        let body = body.paced(
            limits.idle_timeout,
            limits.timeout,
            Some(size),
            body::store_late,
        );
        let held = Resources {
            verifies: None,
            stays: false,
            service: self.service.clone(),
            parts: self.parts.clone(),
            _permit: permit,
        };
        let gather = Gather::new(size, &self.parts.budget);
        let relay = Relay::new(body, size, gather, stream, held, started);
        Ok(ObjectBody {
            entry: self.outer(entry),
            range,
            body: Body::suspending(relay.begun().await?),
        })
    }

    /// The bytes for ourselves, for a copy or a hook: of this version, and what was stored.
    pub(super) async fn source(
        &self,
        key: &Key,
        range: Option<ByteRange>,
        version: &Version,
    ) -> Result<Body> {
        let opened = self
            .store
            .get(&self.inner(key)?, range, Some(version))
            .await;
        let opened = opened.map_err(|error| match error.kind() {
            // Replaced or removed since it was looked at.
            ErrorKind::NotFound => unfulfilled(key),
            _ => error,
        })?;
        let limits = &self.parts.config.download;
        let size = opened.range.len();
        let whole = size == opened.entry.size;
        let body = opened.body.expecting(Expected {
            size: Some(size),
            crc64: opened.entry.crc64.filter(|_| whole),
            ..Expected::default()
        });
        Ok(body.paced(
            limits.idle_timeout,
            limits.timeout,
            Some(size),
            body::store_late,
        ))
    }
}
