//! Objects in one bucket of Amazon S3, of a store that is compatible with it, or of Google Cloud Storage by its XML API.
//!
//! One [`S3Storage`] is one credential and one connection pool, for all requests; the service builds a new one when, and only when, this
//! section of the configuration changes. `dialect` has what the two protocols differ in; `storage/gcs` who we are at Google.
//!
//! Requests are our own, over the house's client: those of a library for S3 lose what attache needs of an answer (`request`), sign for the
//! clock of this machine alone, and do not say when a credential ends.
//!
//! What fits into a block is one PUT. Longer bytes are stored as pieces, of which the store makes the object when everything is known
//! (`staging`).

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;

use super::bucket::{Bucket, BucketPlace};
use super::multipart::Multipart;
use super::{
    Content, Grant, ListedObject, Object, ObjectInfo, Offer, Opened, Probe, PutGrant, PutOffer,
    Remark, Storage, Stored, Vitals,
};
use crate::attachment::{ByteRange, ObjectKey};
use crate::error::Result;
use crate::http::{Client, ClientConfig, Trust};
use crate::storage::vitals::Retries;
use crate::transfer::body::Body;

mod account;
mod ask;
pub(super) mod authority;
mod bucket;
mod compose;
mod config;
mod credential;
pub(super) mod dialect;
mod echo;
mod error;
mod facts;
mod get;
mod inner;
mod list;
mod list_all;
mod look;
mod metadata;
mod multipart;
mod offer;
mod open;
mod page;
pub(super) mod place;
mod plan;
mod probe;
mod put;
mod refusal;
mod request;
mod settled;
mod sign;
mod signature;
mod signed_url;
pub(super) mod signer;
mod staging;
mod versioning;
mod versions;
mod vitals;
mod xml;

pub use account::IGNORES_CONDITIONS;
use authority::{AccessKey, Authority};
use bucket::S3Bucket;
pub use config::{S3CredentialKind, S3StoreConfig};
use inner::{Inner, Shared};
use multipart::Uploads;
use place::Place;
pub(super) use signed_url::open_signed_url;
use signer::{SignedBy, Signer};

/// Fewest bytes of every part of a multipart upload but the last
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
pub const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;

/// Keeps objects in one bucket.
#[derive(Clone)]
pub struct S3Storage(Arc<Inner>, Uploads);

impl S3Storage {
    /// Builds the client, whose connections behave as `client` says; talks to nobody yet.
    ///
    /// # Errors
    ///
    /// [`Misconfigured`](crate::ErrorKind::Misconfigured), naming every key that is missing or wrong.
    pub fn new(config: &S3StoreConfig, client: &ClientConfig) -> Result<Self> {
        Self::with_parts_from(config, client, MIN_PART_BYTES)
    }

    /// As [`new`](Self::new), of a store that takes parts of fewer than [`MIN_PART_BYTES`], so that an upload needs less memory.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_parts_from(
        config: &S3StoreConfig,
        client: &ClientConfig,
        min_part_bytes: u64,
    ) -> Result<Self> {
        let place = config.checked_place()?;
        let authority = match config.credential_in_use() {
            S3CredentialKind::AccessKey => Authority::Key(Arc::new(AccessKey::new(
                config.access_key_id.clone().unwrap_or_default(),
                config
                    .secret_access_key
                    .clone()
                    .unwrap_or_else(|| crate::secret::Secret::new("")),
                config.session_token.clone(),
            ))),
            _ => Authority::Keys(credential::lease(config, client)?),
        };
        let built = Built {
            place,
            authority,
            signed_by: SignedBy::Requests,
            min_part_bytes,
        };
        built.open(config.ca_pem.as_deref(), client)
    }
}

/// What a storage is made of, whichever protocol it speaks.
pub(super) struct Built {
    pub(super) place: Place,
    pub(super) authority: Authority,
    pub(super) signed_by: SignedBy,
    /// See [`MIN_PART_BYTES`].
    pub(super) min_part_bytes: u64,
}

impl Built {
    /// The storage, which trusts whom the system trusts, and `ca_pem`.
    pub(super) fn open(self, ca_pem: Option<&str>, client: &ClientConfig) -> Result<S3Storage> {
        let trust = match ca_pem {
            Some(pem) => Trust::roots_and(pem, &self.place.key("ca_file"))?,
            None => Trust::roots()?,
        };
        let shared = Shared {
            client: Client::new(client, trust),
            authority: self.authority,
            signer: Signer::new(self.signed_by),
            retries: Retries::default(),
        };
        let inner = Inner::new(Arc::new(shared), self.place, self.min_part_bytes);
        let inner = Arc::new(inner);
        Ok(S3Storage(inner.clone(), Uploads(inner)))
    }
}

#[async_trait]
impl Storage for S3Storage {
    fn name(&self) -> &'static str {
        self.0.place.dialect.name()
    }

    async fn put(&self, key: &ObjectKey, content: &Content, body: Body) -> Result<Stored> {
        put::put(&self.0, key, content, body).await
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object> {
        get::get(&self.0, key, range).await
    }

    async fn open(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Opened> {
        get::open(&self.0, key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>> {
        list::info(&self.0, key).await
    }

    async fn write_facts(
        &self,
        key: &ObjectKey,
        content: &Content,
        stored: &Stored,
    ) -> Result<Option<String>> {
        facts::write_facts(&self.0, key, content, stored).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.0
            .delete(key.as_str())
            .await
            .map_err(|fault| self.0.fail(fault, "delete", key.as_str()))
    }

    async fn discard(&self, key: &ObjectKey) -> Result<()> {
        self.0
            .discard(key.as_str())
            .await
            .map_err(|fault| self.0.fail(fault, "discard", key.as_str()))
    }

    async fn tidy_up(&self, key: &ObjectKey) -> Result<()> {
        self.0
            .tidy_up(key.as_str())
            .await
            .map_err(|fault| self.0.fail(fault, "discard", key.as_str()))
    }

    fn list(&self, after: Option<ObjectKey>) -> BoxStream<'_, Result<ObjectInfo>> {
        list::list(&self.0, after)
    }

    fn list_all(&self, prefix: &str) -> Option<BoxStream<'_, Result<ListedObject>>> {
        Some(list_all::list_all(&self.0, prefix))
    }

    async fn offer(&self, key: &ObjectKey, grant: &Grant) -> Result<Option<Offer>> {
        self.0.offer(key.as_str(), grant).await
    }

    async fn offer_put(&self, key: &ObjectKey, grant: &PutGrant) -> Result<Option<PutOffer>> {
        self.0.offer_put(key.as_str(), grant).await
    }

    fn multipart(&self) -> Option<&dyn Multipart> {
        Some(&self.1)
    }

    fn bucket(&self, place: &BucketPlace) -> Result<Option<Arc<dyn Bucket>>> {
        let inner = self.0.beside(&place.container)?;
        Ok(Some(Arc::new(S3Bucket::new(inner))))
    }

    async fn probe(&self) -> Result<Probe> {
        self.0.probe().await
    }

    async fn remarks(&self, _: &ObjectKey) -> Vec<Remark> {
        account::remarks(&self.0).await
    }

    fn vitals(&self) -> Vitals {
        vitals::vitals(&self.0)
    }
}

impl fmt::Debug for S3Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Storage")
            .field("store", &self.0.place.dialect.name())
            .field("bucket", &self.0.place.bucket)
            .finish_non_exhaustive()
    }
}
