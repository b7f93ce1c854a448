//! Objects as blobs in one container of Azure Blob Storage.
//!
//! One [`AzureStorage`] is one credential, one connection pool, one token and one signing key, for all requests; the
//! service builds a new one when, and only when, this section of the configuration changes.
//!
//! The REST protocol is Microsoft's own crates'; six parts are ours, because their defaults were measured to spin, stall,
//! grow or cost: the transport, the bearer policy, the request for a blob, one true stream per download with resumption,
//! the block upload, and the delegation key.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::http::policies::Policy;
use azure_core::http::{ClientOptions, Transport as AzureTransport};
use azure_storage_blob::{BlobServiceClient, BlobServiceClientOptions};
use futures::stream::BoxStream;
use http::HeaderValue;

use super::bucket::{Bucket, BucketPlace};
use super::multipart::Multipart;
use super::{
    Content, Grant, ListedObject, Object, ObjectInfo, Offer, Opened, Probe, PutGrant, PutOffer,
    Remark, Storage, Stored, Vitals,
};
use crate::attachment::{ByteRange, ObjectKey};
use crate::error::{Error, ErrorKind, Result};
use crate::http::ClientConfig;
use crate::http::Counts;
use crate::lease::Lease;
use crate::secret::Secret;
use crate::storage::vitals::Retries;
use crate::transfer::body::Body;

mod account;
mod ask;
mod attempt;
mod authority;
mod bucket;
mod config;
mod connection_string;
mod credential;
mod discard;
mod download;
mod error;
mod get;
mod inner;
mod list;
mod metadata;
mod multipart;
mod offer;
mod open;
mod path;
mod probe;
mod put;
mod reach;
mod refusal;
mod retention;
mod shared_key;
mod sign;
mod signed_url;
mod token_error;
mod transport;
mod vitals;
mod whole;

use attempt::{Impatience, Watch};
use authority::Authority;
use bucket::AzureBucket;
use config::Target;
pub use config::{AzureConfig, CredentialKind};
use error::service_error;
use inner::{Inner, Shared};
use multipart::Uploads;
pub use put::MAX_BLOCK_BYTES;
use shared_key::AccountKey;
use sign::{DelegationKey, Signer, SigningKey};
pub use signed_url::open_signed_url;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub use token_error::words_for;
use transport::Transport;

/// Keeps objects in one container of Azure Blob Storage.
#[derive(Clone)]
pub struct AzureStorage(Arc<Inner>, Uploads);

/// Tokens for a PostgreSQL database in Azure, for the identity of this configuration: the password of each new connection. Talks to
/// nobody yet.
///
/// # Errors
///
/// [`ErrorKind::Misconfigured`] if the configuration has no identity, but the key of an account.
pub fn database_token(config: &AzureConfig, client: &ClientConfig) -> Result<Lease<Secret>> {
    let kind = config.credential_in_use();
    if matches!(
        kind,
        CredentialKind::AccountKey | CredentialKind::ConnectionString
    ) {
        return Err(Error::new(
            ErrorKind::Misconfigured,
            format!(
                "catalog.credential is \"entra\", but storage.azure.credential is \"{kind}\", which is no identity: set it to \
                 \"managed_identity\", \"workload_identity\", \"client_secret\" or another one that has tokens"
            ),
        ));
    }
    let transport = Transport::new(config.ca_pem.as_deref(), client)?;
    Ok(credential::token_lease(
        config,
        kind,
        credential::DATABASE,
        &transport,
    ))
}

impl AzureStorage {
    /// Builds the client, whose connections behave as `client` says; talks to nobody yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`], naming every key that is missing or wrong.
    pub fn new(config: &AzureConfig, client: &ClientConfig) -> Result<Self> {
        let target = config.checked_target()?;
        if target.container == config::WEB {
            tracing::warn!("storage.azure.container {}", account::PUBLIC);
        }
        let transport = Transport::new(config.ca_pem.as_deref(), client)?;
        let retries = Arc::new(Retries::default());
        let mut per_try: Vec<Arc<dyn Policy>> =
            vec![Arc::new(Impatience), Arc::new(Watch(retries.clone()))];
        let key = target
            .account_key
            .as_ref()
            .and_then(|key| AccountKey::new(&target.account, key.expose()));
        let authority = match &key {
            Some(key) => {
                per_try.push(Arc::new(key.clone()));
                Authority::Key(key.clone())
            }
            None => {
                let token = credential::token_lease(
                    config,
                    target.credential,
                    credential::STORAGE,
                    &transport,
                );
                let bearer = credential::Bearer::new(token);
                per_try.push(Arc::new(bearer.clone()));
                Authority::Token(bearer)
            }
        };
        let client = || {
            let client_options = ClientOptions {
                transport: Some(AzureTransport::new(transport.clone())),
                per_try_policies: per_try.clone(),
                retry: attempt::retry_options(),
                ..ClientOptions::default()
            };
            let options = BlobServiceClientOptions {
                client_options,
                ..BlobServiceClientOptions::default()
            };
            BlobServiceClient::new(target.endpoint.clone(), None, Some(options)).map_err(|error| {
                Error::new(
                    ErrorKind::Misconfigured,
                    "cannot use storage.azure.endpoint",
                )
                .with_source(error)
            })
        };
        let signer = Signer::new(match key {
            Some(key) => SigningKey::Account(key),
            None => SigningKey::Delegation(delegation_lease(
                client()?,
                target.clone(),
                transport.counts().clone(),
            )),
        });
        let protocol =
            HeaderValue::try_from(BlobServiceClientOptions::default().version).map_err(|_| {
                Error::internal("azure: the version of the protocol is not a valid header")
            })?;
        let client = client()?;
        let shared = Shared {
            client,
            transport,
            retries,
            authority,
            protocol,
            signer,
        };
        let inner = Arc::new(Inner::new(Arc::new(shared), target));
        Ok(Self(inner.clone(), Uploads(inner)))
    }
}

fn delegation_lease(
    client: BlobServiceClient,
    target: Target,
    counts: Arc<Counts>,
) -> Lease<DelegationKey> {
    let shared = Arc::new((client, target, counts));
    Lease::new("delegation_key", move || {
        let shared = shared.clone();
        async move {
            let (client, target, counts) = &*shared;
            let skew = || counts.skew().unwrap_or_default();
            sign::fetch_delegation_key(client, skew)
                .await
                .map_err(|error| {
                    service_error(error, target, counts.skew()).during("sign", "a delegation key")
                })
        }
    })
}

#[async_trait]
impl Storage for AzureStorage {
    fn name(&self) -> &'static str {
        "azure"
    }

    async fn put(&self, key: &ObjectKey, content: &Content, body: Body) -> Result<Stored> {
        put::put(&self.0, key, content, body).await
    }

    /// Of Put Blob, since version 2012-02-12 (<https://learn.microsoft.com/rest/api/storageservices/put-blob#response-headers>).
    fn computes_md5(&self) -> bool {
        true
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object> {
        get::get(&self.0, key, range).await
    }

    async fn open(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Opened> {
        get::open(&self.0, key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>> {
        metadata::head(&self.0, key).await
    }

    async fn write_facts(
        &self,
        key: &ObjectKey,
        content: &Content,
        stored: &Stored,
    ) -> Result<Option<String>> {
        metadata::write_facts(&self.0, key, content, stored).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.0
            .delete_blob(key.as_str())
            .await
            .map(|_| ())
            .map_err(|error| self.0.fail(error, "delete", key.as_str()))
    }

    async fn discard(&self, key: &ObjectKey) -> Result<()> {
        self.0
            .discard(key.as_str())
            .await
            .map_err(|error| self.0.fail(error, "discard", key.as_str()))
    }

    fn list(&self, after: Option<ObjectKey>) -> BoxStream<'_, Result<ObjectInfo>> {
        list::list(&self.0, after)
    }

    fn list_all(&self, prefix: &str) -> Option<BoxStream<'_, Result<ListedObject>>> {
        Some(list::list_all(&self.0, prefix))
    }

    async fn offer(&self, key: &ObjectKey, grant: &Grant) -> Result<Option<Offer>> {
        self.0.offer(key.as_str(), grant).await.map(Some)
    }

    async fn offer_put(&self, key: &ObjectKey, grant: &PutGrant) -> Result<Option<PutOffer>> {
        self.0.offer_put(key.as_str(), grant).await.map(Some)
    }

    fn multipart(&self) -> Option<&dyn Multipart> {
        Some(&self.1)
    }

    fn bucket(&self, place: &BucketPlace) -> Result<Option<Arc<dyn Bucket>>> {
        config::check_container(&place.container)?;
        let container = self.0.beside(&place.container);
        Ok(Some(Arc::new(AzureBucket::new(container))))
    }

    async fn probe(&self) -> Result<Probe> {
        self.0.probe().await
    }

    async fn remarks(&self, sample: &ObjectKey) -> Vec<Remark> {
        account::remarks(&self.0, sample).await
    }

    fn vitals(&self) -> Vitals {
        vitals::vitals(&self.0)
    }
}

impl fmt::Debug for AzureStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureStorage")
            .field("account", &self.0.target.account)
            .field("container", &self.0.target.container)
            .finish_non_exhaustive()
    }
}
