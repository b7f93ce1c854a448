//! A bucket of the store as a bucket: objects under the keys that clients gave them, by the credential, connections and signer of
//! [`S3Storage`](super::S3Storage).
//!
//! Nothing is known of an object but what it says of itself, so that any process serves it, and other programs may have put it there.
//! `seen`: what is kept beside the bytes; `make`: an object comes to be, with `guard`: under which condition; `put`, `get`, `list` with
//! `page`; `parts`, `complete`: uploads in parts, with `name`: where their pieces are.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::inner::Inner;
use crate::attachment::ByteRange;
use crate::error::Result;
use crate::storage::bucket::ticket::Ticket;
use crate::storage::bucket::{
    Bucket, ChecksumPlan, Condition, Entry, Key, ListPage, ListRequest, NamedPart, NewObject,
    NewPart, Opened, Part, PartOf, Properties, Upload, Version, WholeChecksum,
};
use crate::storage::{Grant, Offer, Probe};
use crate::transfer::body::Body;
use crate::transfer::budget::Budget;

mod complete;
mod get;
mod guard;
mod list;
mod make;
mod name;
mod page;
mod parts;
mod put;
mod seen;

use name::checked;

/// Keeps objects in a bucket of S3 or Google Cloud Storage.
pub(super) struct S3Bucket(Arc<Inner>);

impl S3Bucket {
    pub(super) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }
}

#[async_trait]
impl Bucket for S3Bucket {
    fn name(&self) -> &'static str {
        self.0.place.dialect.name()
    }

    async fn put(&self, key: &Key, new: &NewObject, body: Body) -> Result<Entry> {
        put::put(&self.0, checked(&self.0, key)?, new, body).await
    }

    async fn get(
        &self,
        key: &Key,
        range: Option<ByteRange>,
        version: Option<&Version>,
    ) -> Result<Opened> {
        get::get(&self.0, checked(&self.0, key)?, range, version).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        let seen = seen::look(&self.0, checked(&self.0, key)?, "head").await?;
        Ok(seen.map(|seen| seen.entry(key)))
    }

    async fn set_properties(
        &self,
        key: &Key,
        version: &Version,
        properties: &Properties,
    ) -> Result<Entry> {
        get::set_properties(&self.0, checked(&self.0, key)?, version, properties).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let inner = &self.0;
        // Where the bucket keeps versions, its owner wants them.
        let deleted = inner.delete_one(checked(inner, key)?.as_str(), "").await;
        deleted.map_err(|fault| inner.fail(fault, "delete", key.as_str()))
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        request.check()?;
        list::list(&self.0, request).await
    }

    async fn offer(&self, key: &Key, grant: &Grant) -> Result<Option<Offer>> {
        self.0.offer(checked(&self.0, key)?.as_str(), grant).await
    }

    async fn probe(&self) -> Result<Probe> {
        self.0.probe().await
    }

    async fn begin(
        &self,
        key: &Key,
        properties: &Properties,
        _: Option<ChecksumPlan>,
    ) -> Result<String> {
        checked(&self.0, key)?;
        let form = seen::form(self.0.place.dialect);
        Ticket::new(properties).checked(&form)?.to_text()
    }

    async fn put_part(&self, upload: &PartOf<'_>, part: NewPart, body: Body) -> Result<Part> {
        parts::put_part(&self.0, upload, part, body).await
    }

    async fn parts(&self, upload: &PartOf<'_>, after: u16, limit: usize) -> Result<Vec<Part>> {
        parts::parts(&self.0, upload, after, limit).await
    }

    async fn uploads(&self, _: &str, _: Option<(&str, &str)>, _: usize) -> Result<Vec<Upload>> {
        // The store has pieces, by names of ours, and no uploads.
        Ok(Vec::new())
    }

    async fn complete(
        &self,
        upload: &PartOf<'_>,
        parts: &[NamedPart],
        checksum: Option<WholeChecksum>,
        condition: &Condition,
        budget: &Budget,
    ) -> Result<Entry> {
        complete::complete(&self.0, upload, parts, checksum, condition, budget).await
    }

    async fn abort(&self, upload: &PartOf<'_>) -> Result<()> {
        parts::abort(&self.0, upload).await
    }

    async fn sweep(&self) -> Result<u64> {
        parts::sweep(&self.0).await
    }
}

impl fmt::Debug for S3Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Bucket")
            .field("store", &self.0.place.dialect.name())
            .field("bucket", &self.0.place.bucket)
            .finish_non_exhaustive()
    }
}
