//! Objects as blobs in one container of Azure Blob Storage.
//!
//! One [`AzureStorage`] is one credential, one connection pool, one token and one signing key, for all requests; the
//! service builds a new one when, and only when, this section of the configuration changes.
//!
//! The REST protocol is Microsoft's own crates'; six parts are ours, because their defaults were measured to spin, stall,
//! grow or cost: the transport, the bearer policy, the request for a blob, one true stream per download with resumption,
//! the block upload, and the delegation key.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use azure_core::http::headers::HeaderName;
use azure_core::http::policies::Policy;
use azure_core::http::{
    ClientMethodOptions, ClientOptions, Context, Etag, HttpClient as _, Request, RequestContent,
    Transport as AzureTransport,
};
use azure_storage_blob::models::{
    AccessTier, BlobClientDeleteOptions, BlobClientSetPropertiesOptions,
    BlobContainerClientListBlobsOptions, BlockBlobClientCommitBlockListOptions,
    BlockBlobClientStageBlockOptions, BlockBlobClientUploadOptions, BlockLookupList,
    DeleteSnapshotsOptionType, ListBlobsIncludeItem,
};
use azure_storage_blob::{BlobClient, BlobServiceClient, BlobServiceClientOptions};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{
    Content, Facts, Grant, LeaseVitals, Object, ObjectInfo, Offer, Probe, Remark, Storage, Stored,
    Vitals, conflict, resolve_range,
};

use crate::attachment::{ByteRange, Hex, ObjectKey};
use crate::error::{Error, ErrorKind, Result};
use crate::http::Counts;
use crate::lease::Lease;
use crate::secret::SignedUrl;
use crate::transfer::blocks::{self, BlockId, BlockTarget};
use crate::transfer::body::{Body, Digests, crc64};

mod account;
mod attempt;
mod config;
mod credential;
mod discard;
mod download;
mod error;
mod get;
mod shared_key;
mod sign;
mod transport;

use attempt::{Impatience, Retries, Watch, WholeCrc};
use config::Target;
pub use config::{AzureConfig, CredentialKind};
use discard::{Deleted, Retention};
use download::Download;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub use error::words_for;
use error::{is_absent, is_taken, service_error};
use get::Authority;
use shared_key::AccountKey;
use sign::{DelegationKey, Signer, SigningKey, Subject};
use transport::Transport;
pub use transport::TransportConfig;

/// What names of metadata begin with on the wire.
const METADATA: &str = "x-ms-meta-";

/// A "partition" larger than any blob: the crate then makes one request of an upload.
const WHOLE: NonZero<usize> = NonZero::new(1 << 45).expect("not zero");

/// Keeps objects in one container of Azure Blob Storage.
#[derive(Clone)]
pub struct AzureStorage(Arc<Inner>);

struct Inner {
    target: Target,
    client: BlobServiceClient,
    transport: Arc<Transport>,
    retries: Arc<Retries>,
    authority: Authority,
    /// The version of the REST protocol, as Microsoft's client has it.
    protocol: HeaderValue,
    /// Where blobs are, without a `/` at its end.
    container_url: String,
    signer: Signer,
    retention: Retention,
}

impl AzureStorage {
    /// Builds the client; talks to nobody yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`], naming every key that is missing or wrong.
    pub fn new(config: &AzureConfig, transport: &TransportConfig) -> Result<Self> {
        let target = config.checked_target()?;
        if target.container == config::WEB {
            tracing::warn!("storage.azure.container {}", account::PUBLIC);
        }
        let transport = Transport::new(transport)?;
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
                let token = credential::token_lease(config, target.credential, &transport);
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
        let container = client.blob_container_client(&target.container);
        Ok(Self(Arc::new(Inner {
            container_url: container.url().as_str().trim_end_matches('/').to_owned(),
            client,
            target,
            transport,
            retries,
            authority,
            protocol,
            signer,
            retention: Retention::default(),
        })))
    }
}

/// Opens a signed URL as a client would: over a connection of its own, without our credential. Reads at most `limit`
/// bytes of what it opens.
///
/// # Errors
///
/// [`ErrorKind::UpstreamRefused`] if the URL does not open; [`ErrorKind::UpstreamUnavailable`] if its host cannot be
/// reached.
pub async fn open_signed_url(
    transport: &TransportConfig,
    url: &SignedUrl,
    limit: usize,
) -> Result<Bytes> {
    let parsed = azure_core::http::Url::parse(url.expose())
        .map_err(|_| Error::internal("azure: the signed URL is not a URL"))?;
    let host = parsed.host_str().unwrap_or_default().to_owned();
    let request = Request::new(parsed, azure_core::http::Method::Get);
    let answer = Transport::new(transport)?
        .execute_request(&request)
        .await
        .map_err(|error| {
            let hint = error::reach_hint(&error);
            Error::new(
                ErrorKind::UpstreamUnavailable,
                format!(
                    "azure: {host} cannot be reached; check storage.azure.public_endpoint{hint}"
                ),
            )
            .with_source(error)
        })?;
    let (status, headers, body) = answer.deconstruct();
    if u16::from(status) != 200 {
        let name = azure_core::http::headers::HeaderName::from_static("x-ms-error-code");
        let code = headers.get_optional_str(&name).unwrap_or_default();
        return Err(Error::new(
            ErrorKind::UpstreamRefused,
            format!(
                "azure: the signed URL was refused ({} {code}); check the clock, and that the account's firewall lets \
                 clients in",
                u16::from(status)
            ),
        ));
    }
    let chunks = body.map(|chunk| {
        chunk.map_err(|error| {
            Error::new(
                ErrorKind::UpstreamUnavailable,
                "azure: the signed URL broke off",
            )
            .with_source(error)
        })
    });
    Body::new(chunks).collect(limit).await
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

impl Inner {
    fn blob(&self, key: &ObjectKey) -> BlobClient {
        self.client
            .blob_client(&self.target.container, key.as_str())
    }

    fn fail(&self, error: azure_core::Error, operation: &'static str, subject: &str) -> Error {
        service_error(error, &self.target, self.transport.counts().skew())
            .during(operation, subject)
    }

    /// The entity tag of the object under `key` if it was written by `attempt`: an answer was lost, and the retry found our
    /// own work.
    async fn own_tag(&self, key: &ObjectKey, attempt: &str) -> azure_core::Result<Option<String>> {
        let properties = self.blob(key).get_properties(None).await?;
        let headers = properties.headers();
        let name = azure_core::http::headers::HeaderName::from_static("x-ms-meta-attempt");
        let ours = headers.get_optional_str(&name) == Some(attempt);
        Ok(ours.then(|| {
            headers
                .get_optional_str(&ETAG)
                .map_or_else(String::new, bare)
        }))
    }

    async fn delete_blob(&self, key: &ObjectKey) -> azure_core::Result<Deleted> {
        let options = BlobClientDeleteOptions {
            delete_snapshots: Some(DeleteSnapshotsOptionType::Include),
            ..BlobClientDeleteOptions::default()
        };
        match self.blob(key).delete(Some(options)).await {
            Ok(_) => Ok(Deleted::It),
            Err(error) if is_absent(&error) => Ok(Deleted::Nothing),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Storage for AzureStorage {
    fn name(&self) -> &'static str {
        "azure"
    }

    async fn put(&self, key: &ObjectKey, content: &Content, body: Body) -> Result<Stored> {
        let put = Put {
            inner: &self.0,
            key,
            content,
            attempt: uuid::Uuid::now_v7().simple().to_string(),
            tag: OnceLock::new(),
        };
        let digests = blocks::upload(&put, body, content.size, &content.blocks).await?;
        Ok(Stored {
            store_tag: put.tag.into_inner(),
            ..digests.into()
        })
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object> {
        let inner = self.0.clone();
        let opened = inner
            .open(key, range, None)
            .await
            .map_err(|error| inner.fail(error, "get", key.as_str()))?;
        let size = opened
            .size()
            .ok_or_else(|| Error::internal("azure: the response has no length"))?;
        // Azurite serves nothing, as if it had been asked for, where a part begins at the end ("bytes 0--1/0").
        let wanted =
            resolve_range(range, size).map_err(|error| error.during("get", key.as_str()))?;
        if opened.range() != Some(wanted) {
            return Err(Error::internal("azure: the response has another range"));
        }
        let metadata = |name: &str| opened.metadata(name);
        let version = opened.version();
        let version = version.as_ref().and_then(|tag| tag.to_str().ok()).map(bare);
        let info = ObjectInfo {
            store_tag: version,
            ..object_info(key.clone(), size, metadata, opened.md5())
        };
        let resumed = Arc::new(AtomicBool::new(false));
        let mut download = Download::new(inner, key.clone(), wanted, opened, resumed.clone());
        // The first bytes are at hand when this returns.
        let first = download.next().await.transpose()?;
        Ok(Object {
            info,
            range: wanted,
            body: Body::new(stream::iter(first.map(Ok)).chain(download)).noting_resumes(resumed),
        })
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>> {
        let properties = match self.0.blob(key).get_properties(None).await {
            Ok(properties) => properties,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(self.0.fail(error, "head", key.as_str())),
        };
        let headers = properties.headers();
        let text = |name: &'static str| headers.get_optional_str(&HeaderName::from_static(name));
        let size = text("content-length").and_then(|length| length.parse().ok());
        let size = size.ok_or_else(|| Error::internal("azure: the response has no length"))?;
        let metadata =
            |name: &str| headers.get_optional_str(&HeaderName::from(format!("{METADATA}{name}")));
        let md5 = text("content-md5").and_then(crate::base64::decode);
        Ok(Some(ObjectInfo {
            store_tag: text("etag").map(bare),
            archived: text("x-ms-access-tier") == Some("Archive"),
            ..object_info(
                key.clone(),
                size,
                metadata,
                md5.and_then(|md5| md5.try_into().ok()).map(Hex),
            )
        }))
    }

    async fn write_facts(
        &self,
        key: &ObjectKey,
        content: &Content,
        stored: &Stored,
    ) -> Result<Option<String>> {
        let blob = self.0.blob(key);
        let fail = |error| self.0.fail(error, "facts", key.as_str());
        // Both calls replace all that they are about.
        let properties = BlobClientSetPropertiesOptions {
            blob_content_type: Some(content.content_type.clone()),
            blob_content_disposition: Some(content.disposition.clone()),
            blob_content_md5: stored.md5.map(|md5| md5.0.to_vec()),
            ..BlobClientSetPropertiesOptions::default()
        };
        blob.set_properties(Some(properties)).await.map_err(fail)?;
        let metadata = to_metadata(&content.facts, stored);
        let written = blob.set_metadata(&metadata, None).await.map_err(fail)?;
        Ok(written.headers().get_optional_str(&ETAG).map(bare))
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.0
            .delete_blob(key)
            .await
            .map(|_| ())
            .map_err(|error| self.0.fail(error, "delete", key.as_str()))
    }

    async fn discard(&self, key: &ObjectKey) -> Result<()> {
        self.0
            .discard(key)
            .await
            .map_err(|error| self.0.fail(error, "discard", key.as_str()))
    }

    fn list(&self, after: Option<ObjectKey>) -> BoxStream<'_, Result<ObjectInfo>> {
        let options = BlobContainerClientListBlobsOptions {
            include: Some(vec![ListBlobsIncludeItem::Metadata]),
            ..BlobContainerClientListBlobsOptions::default()
        };
        let container = self
            .0
            .client
            .blob_container_client(&self.0.target.container);
        let pages = match container.list_blobs(Some(options)) {
            Ok(pages) => pages,
            Err(error) => {
                let error = self.0.fail(error, "list", &self.0.target.container);
                return stream::iter([Err(error)]).boxed();
            }
        };
        pages
            .into_stream()
            .map_err(|error| self.0.fail(error, "list", &self.0.target.container))
            .try_filter_map(move |item| {
                let known = item.name.as_deref().and_then(|name| name.parse().ok());
                let known = known.filter(|key| after.as_ref().is_none_or(|after| key > after));
                let info = known.and_then(|key: ObjectKey| {
                    let properties = item.properties?;
                    let metadata = item.metadata.and_then(|m| m.values).unwrap_or_default();
                    // Names are the same in any case, and some tools write them with capitals.
                    let metadata: HashMap<String, String> = metadata
                        .into_iter()
                        .map(|(name, value)| (name.to_ascii_lowercase(), value))
                        .collect();
                    let md5 = properties.content_md5.and_then(|md5| md5.try_into().ok());
                    Some(ObjectInfo {
                        store_tag: properties.etag.map(|tag| bare(tag.as_ref())),
                        archived: properties.access_tier == Some(AccessTier::Archive),
                        ..object_info(
                            key,
                            properties.content_length?,
                            |name| metadata.get(name).map(String::as_str),
                            md5.map(Hex),
                        )
                    })
                });
                futures::future::ready(Ok(info))
            })
            .boxed()
    }

    async fn offer(&self, key: &ObjectKey, grant: &Grant) -> Result<Option<Offer>> {
        let target = &self.0.target;
        let skew = || self.0.transport.counts().skew().unwrap_or_default();
        let subject = Subject {
            account: &target.account,
            container: &target.container,
            public_endpoint: &target.public_endpoint,
            key,
            now: &|| OffsetDateTime::now_utc() + skew(),
        };
        let (url, expires_at) = self.0.signer.sign(&subject, grant).await?;
        Ok(Some(Offer::SignedUrl {
            url,
            // For whoever asked, on their clock.
            expires_at: expires_at - skew(),
        }))
    }

    async fn probe(&self) -> Result<Probe> {
        let target = &self.0.target;
        self.0
            .client
            .blob_container_client(&target.container)
            .get_properties(None)
            .await
            .map_err(|error| self.0.fail(error, "probe", &target.container))?;
        Ok(Probe {
            summary: format!(
                "container \"{}\" in account \"{}\" by credential \"{}\"{}",
                target.container,
                target.account,
                target.credential,
                match self.0.transport.proxy_for(target.endpoint.as_str()) {
                    Some(proxy) => format!(", through the proxy {}", proxy.address()),
                    None => String::new(),
                }
            ),
            clock_skew_s: self
                .0
                .transport
                .counts()
                .skew()
                .map(|skew| skew.as_seconds_f64()),
        })
    }

    async fn remarks(&self, sample: &ObjectKey) -> Vec<Remark> {
        account::remarks(&self.0, sample).await
    }

    fn vitals(&self) -> Vitals {
        let inner = &self.0;
        let counts = inner.transport.counts();
        let open = counts.open.load(Ordering::Relaxed);
        let busy = counts.in_flight.load(Ordering::Relaxed);
        let mut leases = Vec::new();
        if let Authority::Token(bearer) = &inner.authority {
            leases.push(lease_vitals(
                bearer.token(),
                inner.target.credential.to_string(),
            ));
        }
        if let Some(key) = inner.signer.lease() {
            leases.push(lease_vitals(key, inner.target.account.clone()));
        }
        let retries = &inner.retries;
        Vitals {
            leases,
            connections_open: open,
            connections_idle: open.saturating_sub(busy),
            retries: vec![
                ("throttled", retries.throttled.load(Ordering::Relaxed)),
                ("server_error", retries.failed.load(Ordering::Relaxed)),
                ("disconnected", retries.disconnected.load(Ordering::Relaxed)),
                ("resumed", retries.resumed.load(Ordering::Relaxed)),
            ],
            clock_skew_s: counts.skew().map(|skew| skew.as_seconds_f64()),
            first_byte: Some(counts.first_byte.counts()),
        }
    }
}

fn lease_vitals<T: Send + Sync + 'static>(lease: &Lease<T>, source: String) -> LeaseVitals {
    let counts = lease.counts();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    LeaseVitals {
        name: lease.name(),
        source,
        remaining_s: lease.remaining().map(|left| left.as_secs_f64()),
        last_error: lease.last_error(),
        hits: count(&counts.hits),
        waited: count(&counts.waited),
        failed: count(&counts.failed),
        fetches_ok: count(&counts.fetches_ok),
        fetches_failed: count(&counts.fetches_failed),
    }
}

/// One attempt at one upload.
struct Put<'a> {
    inner: &'a Inner,
    key: &'a ObjectKey,
    content: &'a Content,
    /// Stored with the object, so that a repeated call that finds it there can tell its own work from somebody else's.
    attempt: String,
    /// The entity tag of what was put.
    tag: OnceLock<String>,
}

impl Put<'_> {
    fn metadata(&self, digests: &Digests) -> HashMap<String, String> {
        let facts = self.content.settled(digests.utf8).facts;
        let mut metadata = to_metadata(&facts, &(*digests).into());
        metadata.insert("attempt".to_owned(), self.attempt.clone());
        metadata
    }

    /// Keeps the entity tag; turns "it exists" into success if it is what we put.
    async fn settle(&self, outcome: azure_core::Result<Option<String>>) -> Result<()> {
        let tag = match outcome {
            Ok(tag) => tag,
            Err(error) if is_taken(&error) => {
                // Not to be told is not "somebody else's": our caller would leave our own work behind.
                match self.inner.own_tag(self.key, &self.attempt).await {
                    Ok(Some(tag)) => Some(tag),
                    Ok(None) => return Err(conflict(self.key)),
                    Err(error) => return Err(self.inner.fail(error, "put", self.key.as_str())),
                }
            }
            Err(error) => return Err(self.inner.fail(error, "put", self.key.as_str())),
        };
        if let Some(tag) = tag {
            let _ = self.tag.set(tag);
        }
        Ok(())
    }
}

#[async_trait]
impl BlockTarget for Put<'_> {
    async fn put_whole(&self, bytes: Bytes, digests: &Digests) -> Result<()> {
        // The service verifies one checksum and refuses two (400 BothCrc64AndMd5HeaderPresent). Where the MD5 is known it
        // is sent anyway, to be stored, and is verified
        // (<https://learn.microsoft.com/archive/blogs/windowsazurestorage/windows-azure-blob-md5-overview>).
        let context = match digests.md5 {
            Some(_) => Context::new(),
            None => {
                Context::new().with_value(WholeCrc(digests.crc64.unwrap_or_else(|| crc64(&bytes))))
            }
        };
        let options = BlockBlobClientUploadOptions {
            blob_content_type: Some(self.content.settled(digests.utf8).content_type),
            blob_content_disposition: Some(self.content.disposition.clone()),
            blob_content_md5: digests.md5.map(|md5| md5.0.to_vec()),
            if_none_match: Some(Etag::from("*")),
            metadata: Some(self.metadata(digests)),
            partition_size: NonZero::new(WHOLE.get() as u64),
            parallel: NonZero::new(1),
            method_options: ClientMethodOptions { context },
            ..BlockBlobClientUploadOptions::default()
        };
        let outcome = self
            .inner
            .blob(self.key)
            .block_blob_client()
            .upload(bytes.into(), Some(options))
            .await;
        let tag = outcome.map(|made| made.etag.map(|tag| bare(tag.as_ref())));
        self.settle(tag).await
    }

    async fn put_block(&self, id: BlockId, bytes: Bytes) -> Result<()> {
        let options = BlockBlobClientStageBlockOptions {
            transactional_content_crc64: Some(crc64(&bytes).to_le_bytes().to_vec()),
            ..BlockBlobClientStageBlockOptions::default()
        };
        self.inner
            .blob(self.key)
            .block_blob_client()
            .stage_block(
                id.as_bytes(),
                bytes.len() as u64,
                bytes.into(),
                Some(options),
            )
            .await
            .map(|_| ())
            .map_err(|error| self.inner.fail(error, "put", self.key.as_str()))
    }

    async fn commit(&self, ids: &[BlockId], digests: &Digests) -> Result<()> {
        let list = BlockLookupList {
            latest: Some(ids.iter().map(|id| id.as_bytes().to_vec()).collect()),
            ..BlockLookupList::default()
        };
        let list = RequestContent::try_from(list)
            .map_err(|error| self.inner.fail(error, "put", self.key.as_str()))?;
        let options = BlockBlobClientCommitBlockListOptions {
            blob_content_type: Some(self.content.settled(digests.utf8).content_type),
            blob_content_disposition: Some(self.content.disposition.clone()),
            blob_content_md5: digests.md5.map(|md5| md5.0.to_vec()),
            if_none_match: Some(Etag::from("*")),
            metadata: Some(self.metadata(digests)),
            ..BlockBlobClientCommitBlockListOptions::default()
        };
        let outcome = self
            .inner
            .blob(self.key)
            .block_blob_client()
            .commit_block_list(list, Some(options))
            .await;
        let tag = outcome.map(|made| made.headers().get_optional_str(&ETAG).map(bare));
        self.settle(tag).await
    }

    async fn abort(&self) {
        if let Err(error) = self.inner.abort(self.key, &self.attempt).await {
            tracing::warn!(key = %self.key, %error, "staged blocks are left; sweep removes them");
        }
    }
}

const ETAG: HeaderName = HeaderName::from_static("etag");

/// An entity tag as listings have it, which leave out the quotes of headers.
fn bare(tag: &str) -> String {
    tag.trim_start_matches("W/").trim_matches('"').to_owned()
}

/// Metadata names are C identifiers, values are ASCII
/// (<https://learn.microsoft.com/rest/api/storageservices/setting-and-retrieving-properties-and-metadata-for-blob-resources>).
fn to_metadata(facts: &Facts, stored: &Stored) -> HashMap<String, String> {
    let encode = |text: &str| utf8_percent_encode(text, METADATA_VALUE).to_string();
    let created_at = facts.created_at.format(&Rfc3339).unwrap_or_default();
    let fields = [
        ("id", Some(facts.id.to_string())),
        (
            "owner",
            facts.owner.as_ref().map(|owner| encode(owner.as_str())),
        ),
        ("filename", Some(encode(facts.filename.as_str()))),
        ("content_type", Some(encode(&facts.content_type))),
        ("created_at", Some(created_at)),
        (
            "created_by",
            facts.created_by.as_ref().map(|by| encode(by.as_str())),
        ),
        ("size", Some(stored.size.to_string())),
        ("sha256", stored.sha256.map(|hex| hex.to_string())),
        (
            "crc64",
            stored.crc64.map(|crc| Hex(crc.to_be_bytes()).to_string()),
        ),
    ];
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// What may stand in a header value as it is; `%` and space are encoded.
const METADATA_VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b':')
    .remove(b'/');

fn object_info<'a>(
    key: ObjectKey,
    size: u64,
    metadata: impl Fn(&str) -> Option<&'a str>,
    md5: Option<Hex<16>>,
) -> ObjectInfo {
    let text = |name: &str| {
        percent_decode_str(metadata(name)?)
            .decode_utf8()
            .ok()
            .map(String::from)
    };
    let facts = || {
        Some(Facts {
            id: text("id")?.parse().ok()?,
            owner: text("owner").and_then(|owner| owner.parse().ok()),
            filename: text("filename")?.into(),
            content_type: text("content_type")?,
            created_at: OffsetDateTime::parse(&text("created_at")?, &Rfc3339).ok()?,
            created_by: text("created_by").and_then(|by| by.parse().ok()),
        })
    };
    ObjectInfo {
        facts: facts(),
        key,
        size,
        sha256: text("sha256").and_then(|hex| hex.parse().ok()),
        md5,
        crc64: text("crc64")
            .and_then(|hex| hex.parse::<Hex<8>>().ok())
            .map(|hex| u64::from_be_bytes(hex.0)),
        facts_size: text("size").and_then(|size| size.parse().ok()),
        store_tag: None,
        archived: false,
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
