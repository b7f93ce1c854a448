//! A container as a bucket: objects under the keys that clients gave them, by the credential, connections and keys of
//! [`AzureStorage`](super::AzureStorage).
//!
//! Nothing is known of an object but what its blob says, so that any process serves it, and other programs may have put it there.
//! `name`: keys as names of blobs; `kept`: what is kept beside the bytes; `put`, `get`, `list` with `page`; `parts`,
//! `complete`: uploads in parts, with `block`: what ids of blocks say; `shed`: blocks that nobody wants any more.

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

mod block;
mod complete;
mod get;
mod kept;
mod list;
mod name;
mod page;
mod parts;
mod put;
mod shed;

use list::Ends;
use name::name_of;

/// Keeps objects in a container of Azure Blob Storage.
pub(super) struct AzureBucket {
    inner: Arc<Inner>,
    ends: Ends,
}

impl AzureBucket {
    pub(super) fn new(inner: Inner) -> Self {
        let inner = Arc::new(inner);
        let ends = Ends::new();
        Self { inner, ends }
    }
}

#[async_trait]
impl Bucket for AzureBucket {
    fn name(&self) -> &'static str {
        "azure"
    }

    async fn put(&self, key: &Key, new: &NewObject, body: Body) -> Result<Entry> {
        put::put(&self.inner, key, new, body).await
    }

    async fn get(
        &self,
        key: &Key,
        range: Option<ByteRange>,
        version: Option<&Version>,
    ) -> Result<Opened> {
        get::get(&self.inner, key, range, version).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        let seen = kept::look(&self.inner, key, "head").await?;
        Ok(seen.map(|seen| seen.entry(key)))
    }

    async fn set_properties(
        &self,
        key: &Key,
        version: &Version,
        properties: &Properties,
    ) -> Result<Entry> {
        get::set_properties(&self.inner, key, version, properties).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let deleted = self.inner.delete_blob(&name_of(key)?).await;
        deleted
            .map(drop)
            .map_err(|error| self.inner.fail(error, "delete", key.as_str()))
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        request.check()?;
        list::list(&self.inner, &self.ends, request).await
    }

    async fn offer(&self, key: &Key, grant: &Grant) -> Result<Option<Offer>> {
        self.inner.offer(&name_of(key)?, grant).await.map(Some)
    }

    async fn probe(&self) -> Result<Probe> {
        self.inner.probe().await
    }

    async fn begin(
        &self,
        key: &Key,
        properties: &Properties,
        _: Option<ChecksumPlan>,
    ) -> Result<String> {
        name_of(key)?;
        Ticket::new(properties).checked(&kept::FORM)?.to_text()
    }

    async fn put_part(&self, upload: &PartOf<'_>, part: NewPart, body: Body) -> Result<Part> {
        parts::put_part(&self.inner, upload, part, body).await
    }

    async fn parts(&self, upload: &PartOf<'_>, after: u16, limit: usize) -> Result<Vec<Part>> {
        parts::parts(&self.inner, upload, after, limit).await
    }

    async fn uploads(&self, _: &str, _: Option<(&str, &str)>, _: usize) -> Result<Vec<Upload>> {
        // The service knows blocks, by the name that they are staged under, and no uploads.
        Ok(Vec::new())
    }

    async fn complete(
        &self,
        upload: &PartOf<'_>,
        parts: &[NamedPart],
        checksum: Option<WholeChecksum>,
        condition: &Condition,
        _: &Budget,
    ) -> Result<Entry> {
        complete::complete(&self.inner, upload, parts, checksum, condition).await
    }

    async fn abort(&self, upload: &PartOf<'_>) -> Result<()> {
        parts::abort(&self.inner, upload).await
    }
}

impl fmt::Debug for AzureBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureBucket")
            .field("account", &self.inner.target.account)
            .field("container", &self.inner.target.container)
            .finish_non_exhaustive()
    }
}
