//! Buckets, with what every transfer gets: memory from the budget, time limits, digests, hooks, metrics.

use std::fmt;
use std::sync::Arc;

use super::{Attache, Parts};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::bucket::{
    After, Bucket, BucketPlace, Entry, Key, ListPage, ListRequest, Properties, Version,
};
use crate::storage::{Grant, Offer, Probe};

pub use put::{ObjectDigests, PutObject};
pub use read::ObjectBody;
pub use uploads::{BucketUpload, CompleteUpload, RunningUpload};

mod copy;
mod put;
mod read;
mod uploads;

/// A bucket as it is by the configuration that serves now. Keep it for one request, and no longer. Cheap to clone.
#[derive(Clone)]
pub struct BucketHandle {
    service: Attache,
    parts: Arc<Parts>,
    store: Arc<dyn Bucket>,
    place: BucketPlace,
    /// Precedes all keys in the store, and no client sees it.
    prefix: String,
}

impl Attache {
    /// A bucket of the store, whose keys all have `prefix` in front there. Talks to nobody yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] if the store has no buckets, or none at this place.
    pub fn bucket(&self, place: &BucketPlace, prefix: &str) -> Result<BucketHandle> {
        let parts = self.parts();
        let store = parts.bucket(place)?;
        Ok(BucketHandle {
            service: self.clone(),
            parts,
            store,
            place: place.clone(),
            prefix: prefix.to_owned(),
        })
    }
}

impl BucketHandle {
    /// What is known of an object; `None` if it is not there.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        let found = self.store.head(&self.inner(key)?).await?;
        Ok(found.map(|entry| self.outer(entry)))
    }

    /// Replaces what is kept beside the bytes of a version.
    ///
    /// # Errors
    ///
    /// As [`Bucket::set_properties`].
    pub async fn set_properties(
        &self,
        key: &Key,
        version: &Version,
        properties: &Properties,
    ) -> Result<Entry> {
        let inner = self.inner(key)?;
        let entry = self.store.set_properties(&inner, version, properties);
        entry.await.map(|entry| self.outer(entry))
    }

    /// Deletes an object; one that is not there is success.
    ///
    /// # Errors
    ///
    /// As [`Bucket::delete`].
    pub async fn delete(&self, key: &Key) -> Result<()> {
        let inner = self.inner(key)?;
        let (store, started) = (self.store.clone(), self.service.start("delete"));
        // To its end, even if whoever asked leaves.
        let deleted = self
            .service
            .0
            .tasks
            .spawn(async move { store.delete(&inner).await });
        let outcome = deleted
            .await
            .map_err(|error| Error::internal("the deletion failed").with_source(error))
            .flatten();
        self.service.count("delete", &self.parts, started, &outcome);
        outcome
    }

    /// A page of a bucket.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        let inner = ListRequest {
            prefix: format!("{}{}", self.prefix, request.prefix),
            after: request.after.as_ref().map(|after| After {
                key: format!("{}{}", self.prefix, after.key),
                token: after.token.clone(),
            }),
            ..request.clone()
        };
        let started = self.service.start("list");
        let page = self.store.list(&inner).await;
        self.service.count("list", &self.parts, started, &page);
        let page = page?;
        let bare = |text: String| match text.strip_prefix(self.prefix.as_str()) {
            Some(bare) => bare.to_owned(),
            None => text,
        };
        Ok(ListPage {
            entries: page
                .entries
                .into_iter()
                .map(|entry| self.outer(entry))
                .collect(),
            prefixes: page.prefixes.into_iter().map(bare).collect(),
            next: page.next.map(|next| After {
                key: bare(next.key),
                token: next.token,
            }),
        })
    }

    /// Another way to hand an object to a client than through us, if there is one. Does not check that it exists.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn offer(&self, key: &Key, grant: &Grant) -> Result<Option<Offer>> {
        let inner = self.inner(key)?;
        let started = self.service.start("redirect");
        let offer = self.store.offer(&inner, grant).await;
        match &offer {
            Ok(Some(Offer::SignedUrl { .. })) => {
                self.service.0.metrics.signed_url(self.store.name(), Ok(()));
                self.service.count("redirect", &self.parts, started, &offer);
            }
            Ok(Some(Offer::InternalPath(_))) => {
                self.service.count("delegate", &self.parts, started, &offer);
            }
            Ok(None) => {}
            Err(error) => {
                self.service
                    .0
                    .metrics
                    .signed_url(self.store.name(), Err(error));
                self.service.count("redirect", &self.parts, started, &offer);
            }
        }
        offer
    }

    /// Whether the bucket can be used.
    ///
    /// # Errors
    ///
    /// As [`Bucket::probe`].
    pub async fn probe(&self) -> Result<Probe> {
        self.store.probe().await
    }

    /// Makes the bucket, where that is for attache to decide.
    ///
    /// # Errors
    ///
    /// As [`Bucket::create`].
    pub async fn create(&self) -> Result<()> {
        self.store.create().await
    }

    /// Removes what clients that gave up and processes that died left; returns the count.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn sweep(&self) -> Result<u64> {
        self.store.sweep().await
    }

    /// The key that the store has.
    fn inner(&self, key: &Key) -> Result<Key> {
        match self.prefix.is_empty() {
            true => Ok(key.clone()),
            false => format!("{}{key}", self.prefix).parse(),
        }
    }

    fn outer(&self, entry: Entry) -> Entry {
        let bare = entry.key.as_str().strip_prefix(self.prefix.as_str());
        match bare.filter(|_| !self.prefix.is_empty()).map(str::parse) {
            Some(Ok(key)) => Entry { key, ..entry },
            // The prefix itself is the name of an object, and nobody outside can name it.
            _ => entry,
        }
    }
}

impl Parts {
    /// A bucket of the storage, opened once for these parts.
    fn bucket(&self, place: &BucketPlace) -> Result<Arc<dyn Bucket>> {
        let mut buckets = self
            .buckets
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(open) = buckets.get(place) {
            return Ok(open.clone());
        }
        let opened = self.storage.bucket(place)?.ok_or_else(|| {
            Error::new(
                ErrorKind::Misconfigured,
                format!("the storage \"{}\" has no buckets", self.storage.name()),
            )
        })?;
        buckets.insert(place.clone(), opened.clone());
        Ok(opened)
    }
}

impl fmt::Debug for BucketHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketHandle")
            .field("place", &self.place)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
