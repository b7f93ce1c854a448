//! What the suites share: objects as the promises have them, stores to put them in, and a plain HTTP client.

#![allow(dead_code, reason = "each suite uses its own part of this")]

pub(crate) mod child;

use std::sync::Arc;
use std::time::Duration;

use attache::attachment::AttachmentId;
use attache::http::ClientConfig;
use attache::secret::Secret;
use attache::storage::azure::{AzureConfig, AzureStorage, CredentialKind};
use attache::storage::gcs::{self, GcsConfig};
use attache::storage::s3::{S3Storage, S3StoreConfig};
#[allow(unused_imports, reason = "each suite uses its own part of this")]
pub(crate) use attache::testing::objects::{
    BLOCK, Store, Whole, body, content, eventually, facts, failing_body, fresh_key, get,
    interrupt_put, list, pattern, put, stalling_body,
};
use bytes::Bytes;
use fake_azure::FakeAzure;
use fake_s3::{Dialect, FakeS3};
use test_support::{Azurite, Moto};

/// The only secret that a fresh [`FakeAzure`] takes.
pub(crate) const SECRET: &str = "s3cret";

/// The container of stores on a [`FakeAzure`].
pub(crate) const CONTAINER: &str = "files";

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
    let client = ClientConfig {
        idle_after,
        body_idle,
        ..ClientConfig::default()
    };
    AzureStorage::new(config, &client).expect("a complete configuration")
}

// Stores that speak S3.

/// The smallest part but the last of stores that speak S3: as small as a block, so that small objects have many.
pub(crate) const PART: u64 = BLOCK;

/// A bucket of its own on the moto of this test binary.
pub(crate) async fn s3_on_moto() -> Option<S3StoreConfig> {
    let moto = Moto::shared(PART).await?;
    let bucket = format!("b-{}", AttachmentId::generate());
    let made = ask("PUT", &format!("{}/{bucket}", moto.endpoint()), None).await;
    assert_eq!(made.status, 200, "a bucket");
    Some(S3StoreConfig {
        bucket: Some(bucket),
        endpoint: Some(moto.endpoint()),
        access_key_id: Some("AKIAIOSFODNN7EXAMPLE".to_owned()),
        secret_access_key: Some(Secret::new(SECRET)),
        ..S3StoreConfig::default()
    })
}

/// A fake S3 with one bucket, and a configuration for it.
pub(crate) async fn fake_s3() -> FakeS3 {
    started(FakeS3::builder()).await
}

/// The same with a fake Google Cloud Storage.
pub(crate) async fn fake_gcs() -> FakeS3 {
    started(FakeS3::builder().dialect(Dialect::Gcs)).await
}

pub(crate) async fn started(builder: fake_s3::Builder) -> FakeS3 {
    let builder = builder.bucket(CONTAINER).min_part_bytes(PART);
    builder.start().await.expect("a free port")
}

pub(crate) fn on_s3(fake: &FakeS3) -> S3StoreConfig {
    S3StoreConfig {
        bucket: Some(CONTAINER.to_owned()),
        region: Some(fake.region().to_owned()),
        endpoint: Some(fake.endpoint()),
        access_key_id: Some(fake.access_key_id().to_owned()),
        secret_access_key: Some(Secret::new(fake.secret_access_key())),
        ca_pem: Some(fake.ca_pem().to_owned()),
        ..S3StoreConfig::default()
    }
}

pub(crate) fn on_gcs(fake: &FakeS3) -> GcsConfig {
    GcsConfig {
        bucket: Some(CONTAINER.to_owned()),
        endpoint: Some(fake.endpoint()),
        service_account: Some(Secret::new(fake.service_account_json())),
        ca_pem: Some(fake.ca_pem().to_owned()),
        ..GcsConfig::default()
    }
}

pub(crate) fn open_gcs(config: &GcsConfig) -> S3Storage {
    gcs::open_with_parts_from(config, &ClientConfig::default(), PART)
        .expect("a complete configuration")
}

pub(crate) fn open_s3(config: &S3StoreConfig) -> S3Storage {
    S3Storage::with_parts_from(config, &ClientConfig::default(), PART)
        .expect("a complete configuration")
}

// The world outside.

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
    send(
        method,
        url,
        &[("x-ms-blob-type", "BlockBlob".to_owned())],
        Bytes::new(),
        ca_pem,
    )
    .await
}

/// The same with a body and these headers.
pub(crate) async fn send(
    method: &str,
    url: &str,
    headers: &[(&'static str, String)],
    body: Bytes,
    ca_pem: Option<&str>,
) -> Reply {
    use http_body_util::{BodyExt as _, Full};
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
    let mut request = http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.body(Full::new(body)).expect("a request");
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
