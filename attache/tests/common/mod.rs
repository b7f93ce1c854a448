//! What the suites share: objects to store, stores to put them in, and a plain HTTP client.

#![allow(dead_code, reason = "each suite uses its own part of this")]

pub(crate) mod child;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use attache::attachment::filename::Disposition;
use attache::attachment::{AttachmentId, ByteRange, ObjectKey};
use attache::secret::Secret;
use attache::storage::azure::{AzureConfig, AzureStorage, CredentialKind, TransportConfig};
use attache::storage::{Blocks, Content, Facts, ObjectInfo, Storage, Stored};
use attache::transfer::body::Body;
use attache::transfer::budget::{Budget, MIN_BUDGET};
use attache::{Error, Result};
use bytes::Bytes;
use fake_azure::FakeAzure;
use futures::{StreamExt as _, TryStreamExt as _};
use test_support::Azurite;
use time::OffsetDateTime;
use tokio::sync::oneshot;

/// Small, so that small objects have many blocks.
pub(crate) const BLOCK: u64 = 64 * 1024;

/// The only secret that a fresh [`FakeAzure`] takes.
pub(crate) const SECRET: &str = "s3cret";

/// The container of stores on a [`FakeAzure`].
pub(crate) const CONTAINER: &str = "files";

pub(crate) type Store = Arc<dyn Storage>;

/// A store that is empty and that nobody else uses, with whatever it stands on.
pub(crate) struct Backend {
    pub(crate) storage: Store,
    _ground: Box<dyn Any + Send>,
}

impl Backend {
    pub(crate) fn new(storage: impl Storage, ground: impl Any + Send) -> Self {
        Self {
            storage: Arc::new(storage),
            _ground: Box::new(ground),
        }
    }
}

// Objects.

pub(crate) fn fresh_key() -> ObjectKey {
    ObjectKey::new(&AttachmentId::generate(), true, Some("bin"))
}

/// Bytes that differ everywhere, so that no piece can stand in another's place unnoticed.
pub(crate) fn pattern(len: u64, seed: u64) -> Bytes {
    let mut bytes = Vec::with_capacity(len as usize + 8);
    let mut word = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    while (bytes.len() as u64) < len {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        bytes.extend_from_slice(&(word >> 16).to_le_bytes());
    }
    bytes.truncate(len as usize);
    bytes.into()
}

/// Bytes as a network brings them: in chunks that fit no block.
pub(crate) fn body(bytes: &Bytes) -> Body {
    Body::new(futures::stream::iter(chunks(bytes))).hashed(true)
}

/// All of `bytes`, then an error instead of the end.
pub(crate) fn failing_body(bytes: &Bytes, error: Error) -> Body {
    let chunks = chunks(bytes).into_iter().chain([Err(error)]);
    Body::new(futures::stream::iter(chunks)).hashed(true)
}

/// All of `bytes`, then nothing for ever; tells when more is asked for.
pub(crate) fn stalling_body(bytes: &Bytes) -> (Body, oneshot::Receiver<()>) {
    let (asked, wait) = oneshot::channel();
    let stall = futures::stream::once(async move {
        let _ = asked.send(());
        std::future::pending().await
    });
    let body = Body::new(futures::stream::iter(chunks(bytes)).chain(stall)).hashed(true);
    (body, wait)
}

fn chunks(bytes: &Bytes) -> Vec<Result<Bytes>> {
    const CHUNK: usize = 10_007;
    (0..bytes.len())
        .step_by(CHUNK)
        .map(|at| Ok(bytes.slice(at..bytes.len().min(at + CHUNK))))
        .collect()
}

pub(crate) fn facts(key: &ObjectKey) -> Facts {
    Facts {
        id: key.id(),
        owner: Some("page:42".parse().expect("an owner")),
        filename: "file.bin".parse().expect("a file name"),
        content_type: "application/octet-stream".to_owned(),
        created_at: OffsetDateTime::now_utc(),
        created_by: None,
    }
}

pub(crate) fn content(facts: Facts) -> Content {
    Content {
        content_type: facts.content_type.clone(),
        disposition: Disposition::Attachment.header(&facts.filename),
        facts,
        size: None,
        blocks: Blocks {
            bytes: BLOCK,
            concurrency: 3,
            budget: Budget::new(MIN_BUDGET),
        },
    }
}

// What one does with a store.

pub(crate) async fn put(store: &dyn Storage, key: &ObjectKey, bytes: &Bytes) -> Result<Stored> {
    let content = Content {
        size: Some(bytes.len() as u64),
        ..content(facts(key))
    };
    let stored = store.put(key, &content, body(bytes)).await;
    assert_eq!(
        content.blocks.budget.held(),
        0,
        "a put gives its memory back"
    );
    stored
}

/// An object, or a part of it, read to its end.
pub(crate) struct Whole {
    pub(crate) info: ObjectInfo,
    pub(crate) range: ByteRange,
    pub(crate) bytes: Bytes,
}

pub(crate) async fn get(
    store: &dyn Storage,
    key: &ObjectKey,
    range: Option<ByteRange>,
) -> Result<Whole> {
    let object = store.get(key, range).await?;
    Ok(Whole {
        bytes: object.body.collect(usize::MAX).await?,
        info: object.info,
        range: object.range,
    })
}

pub(crate) async fn list(
    store: &dyn Storage,
    after: Option<&ObjectKey>,
) -> Result<Vec<ObjectInfo>> {
    store.list(after.cloned()).try_collect().await
}

/// Starts a put of `bytes` and drops it when it waits for more.
pub(crate) async fn interrupt_put(store: &dyn Storage, key: &ObjectKey, bytes: &Bytes) {
    let content = content(facts(key));
    let (body, asked) = stalling_body(bytes);
    tokio::select! {
        outcome = store.put(key, &content, body) => panic!("the body never ends, but: {outcome:?}"),
        asked = asked => asked.expect("the body is alive"),
    }
    assert_eq!(
        content.blocks.budget.held(),
        0,
        "a dropped put frees its memory"
    );
}

// Stores on Azure.

/// A fake with one container, and a configuration for it with a client secret.
pub(crate) async fn fake() -> FakeAzure {
    let builder = FakeAzure::builder().container(CONTAINER).secret(SECRET);
    builder.start().await.expect("a free port")
}

pub(crate) fn with_client_secret(fake: &FakeAzure) -> AzureConfig {
    AzureConfig {
        account: Some(fake.account().to_owned()),
        container: Some(CONTAINER.to_owned()),
        endpoint: Some(fake.blob_endpoint()),
        credential: CredentialKind::ClientSecret,
        tenant_id: Some(fake.tenant_id().to_owned()),
        client_id: Some(fake.client_id().to_owned()),
        client_secret: Some(Secret::new(SECRET)),
        authority_host: Some(fake.authority_host()),
        ca_pem: Some(fake.ca_pem().to_owned()),
        ..AzureConfig::default()
    }
}

pub(crate) fn with_account_key(fake: &FakeAzure) -> AzureConfig {
    AzureConfig {
        account: Some(fake.account().to_owned()),
        container: Some(CONTAINER.to_owned()),
        endpoint: Some(fake.blob_endpoint()),
        credential: CredentialKind::AccountKey,
        account_key: Some(Secret::new(fake.account_key())),
        ca_pem: Some(fake.ca_pem().to_owned()),
        ..AzureConfig::default()
    }
}

/// A container of its own on the Azurite of this test binary. Azurite issues no tokens: `entra` does.
pub(crate) async fn azurite_with_client_secret(entra: &FakeAzure) -> Option<AzureConfig> {
    let azurite = Azurite::shared_oauth().await?;
    let ca = azurite.ca_pem().expect("it speaks https");
    Some(AzureConfig {
        account: Some(Azurite::ACCOUNT.to_owned()),
        container: Some(fresh_container(azurite).await),
        endpoint: Some(azurite.endpoint().to_owned()),
        ca_pem: Some(format!("{}\n{ca}", entra.ca_pem())),
        ..with_client_secret(entra)
    })
}

/// The same over plain HTTP, with the key of the account.
pub(crate) async fn azurite_with_connection_string() -> Option<AzureConfig> {
    let azurite = Azurite::shared_plain().await?;
    Some(AzureConfig {
        container: Some(fresh_container(azurite).await),
        credential: CredentialKind::ConnectionString,
        connection_string: Some(Secret::new(azurite.connection_string())),
        ..AzureConfig::default()
    })
}

async fn fresh_container(azurite: &Azurite) -> String {
    let name = format!("c{}", AttachmentId::generate());
    azurite.create_container(&name).await;
    name
}

pub(crate) fn open(config: &AzureConfig) -> AzureStorage {
    open_with(config, Duration::from_secs(30), Duration::from_secs(30))
}

pub(crate) fn open_with(
    config: &AzureConfig,
    idle_after: Duration,
    body_idle: Duration,
) -> AzureStorage {
    let transport = TransportConfig {
        ca_pem: config.ca_pem.clone(),
        idle_after,
        body_idle,
        ..TransportConfig::default()
    };
    AzureStorage::new(config, &transport).expect("a complete configuration")
}

// The world outside.

/// Waits for what another task or process brings about.
pub(crate) async fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let outcome = tokio::time::timeout(limit, wait).await;
    outcome.unwrap_or_else(|_| panic!("not within {limit:?}: {what}"));
}

/// Whether a test may be left out for want of `what`. Says so, and panics where CI forbids it.
#[expect(clippy::print_stderr, reason = "a test that skips must say so")]
pub(crate) fn skip(what: &str) {
    let required =
        std::env::var_os("ATTACHE_TEST_REQUIRE_ALL").is_some_and(|value| !value.is_empty());
    assert!(
        !required,
        "{what}, and ATTACHE_TEST_REQUIRE_ALL forbids skipping"
    );
    eprintln!("skipped: {what}");
}

/// What a browser would see of one request.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().expect("ASCII"))
    }
}

/// Asks for `url` as anybody could: no credential, no library of ours.
pub(crate) async fn ask(method: &str, url: &str, ca_pem: Option<&str>) -> Reply {
    use http_body_util::{BodyExt as _, Empty};
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};

    let mut roots = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(ca_pem.unwrap_or_default().as_bytes()) {
        roots.add(root.expect("PEM")).expect("a certificate");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .build();
    let request = http::Request::builder()
        .method(method)
        .uri(url)
        .header("x-ms-blob-type", "BlockBlob")
        .body(Empty::<Bytes>::new())
        .expect("a request");
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let (head, body) = client
        .request(request)
        .await
        .expect("an answer")
        .into_parts();
    Reply {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body.collect().await.expect("a whole answer").to_bytes(),
    }
}

/// A small file system, gone when dropped.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    pub(crate) fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path())
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(folder)),
            _ => {
                skip("a small disk can only be mounted by root");
                None
            }
        }
    }

    pub(crate) fn root(&self) -> &std::path::Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, because a failed test may leave a file open.
        let _ = std::process::Command::new("umount")
            .arg("--lazy")
            .arg(self.root())
            .status();
    }
}
