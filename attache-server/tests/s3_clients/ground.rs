//! What S3 clients are sent to: attache on one of its stores, or moto.

use std::net::SocketAddr;
use std::path::PathBuf;

use fake_azure::FakeAzure;
use fake_s3::{Dialect, FakeS3};
use test_support::{Azurite, Moto};

use crate::support::{self, Server};

/// The bucket that all scripts use.
pub(crate) const BUCKET: &str = "files";

/// An S3 endpoint, and what a client needs to know of it.
pub(crate) struct Ground {
    pub(crate) endpoint: String,
    pub(crate) key: String,
    pub(crate) secret: String,
    /// A file with what it must trust.
    pub(crate) certificate: Option<PathBuf>,
    /// Whether it is sent more than a thousand objects, too: steps that are named "many: …".
    pub(crate) many: bool,
    server: Option<Server>,
    _moto: Option<Moto>,
    _azure: Option<FakeAzure>,
    _store: Option<FakeS3>,
}

/// Where attache keeps its buckets, and how it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In a folder, over http.
    Http,
    /// In a folder, over https: newer clients frame bodies otherwise then.
    Https,
    /// On the stand-in for Azure, by a delegation key; presigned reads are redirected.
    FakeAzure,
    /// On Microsoft's emulator, by the account's key; presigned reads are redirected.
    Azurite,
    /// On the stand-in for S3; presigned reads are redirected.
    FakeS3,
    /// On the stand-in for Google Cloud Storage; presigned reads are redirected.
    FakeGcs,
}

impl Ground {
    pub(crate) async fn moto() -> Option<Self> {
        let moto = Moto::start().await?;
        let address: SocketAddr = moto.address().parse().expect("an address");
        let bytes = support::request(
            moto.address(),
            "PUT",
            &format!("/{BUCKET}"),
            &[(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=moto/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0",
            )],
            b"",
        );
        let mut stream = support::connect(address);
        std::io::Write::write_all(&mut stream, &bytes).expect("sent");
        let made = support::read_answer(&mut stream);
        assert_eq!(made.status, 200, "{}", made.text());
        Some(Self {
            endpoint: moto.endpoint(),
            key: "AKIDTEST".to_owned(),
            secret: "a-secret".to_owned(),
            certificate: None,
            many: true,
            server: None,
            _moto: Some(moto),
            _azure: None,
            _store: None,
        })
    }

    /// `None` where something is not installed.
    pub(crate) async fn attache(kind: Kind) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut variables: Vec<(&str, String)> = vec![
            ("ATTACHE_S3__LISTEN", "127.0.0.1:0".to_owned()),
            ("ATTACHE_S3__SIGV2", "true".to_owned()),
            // A table with no key of its own: the rest is as by default.
            ("ATTACHE_S3__BUCKETS__FILES__CONTAINER", BUCKET.to_owned()),
        ];
        let mut certificate = None;
        let (mut azure, mut store) = (None, None);
        match kind {
            Kind::Http => {}
            Kind::Https => {
                let key = rcgen::KeyPair::generate().expect("a key");
                let names = ["127.0.0.1".to_owned()];
                let mut params = rcgen::CertificateParams::new(names).expect("names");
                params.is_ca = rcgen::IsCa::ExplicitNoCa;
                let pem = params.self_signed(&key).expect("a certificate").pem();
                let file = folder.path().join("certificate.pem");
                std::fs::write(&file, pem).expect("written");
                std::fs::write(folder.path().join("key.pem"), key.serialize_pem())
                    .expect("written");
                variables.push((
                    "ATTACHE_SERVER__TLS__CERTIFICATE_FILE",
                    "certificate.pem".to_owned(),
                ));
                variables.push(("ATTACHE_SERVER__TLS__KEY_FILE", "key.pem".to_owned()));
                certificate = Some(file);
            }
            Kind::FakeAzure => {
                let fake = FakeAzure::builder()
                    .account("acme")
                    .container(BUCKET)
                    .secret("a-secret")
                    .start()
                    .await
                    .expect("a stand-in");
                variables.extend(support::on_azure(&fake, folder.path()));
                // Redirects lead to it.
                certificate = Some(folder.path().join("ca.pem"));
                azure = Some(fake);
            }
            Kind::FakeS3 | Kind::FakeGcs => {
                let (dialect, on): (_, fn(&_, &_) -> _) = match kind {
                    Kind::FakeS3 => (Dialect::S3, support::on_s3),
                    _ => (Dialect::Gcs, support::on_gcs),
                };
                let builder = FakeS3::builder().dialect(dialect).bucket(BUCKET);
                let fake = builder.start().await.expect("a stand-in");
                variables.extend(on(&fake, folder.path()));
                // Redirects lead to it.
                certificate = Some(folder.path().join("ca.pem"));
                store = Some(fake);
            }
            Kind::Azurite => {
                let azurite = Azurite::shared_plain().await?;
                // One for each server: they share an Azurite.
                static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
                let n = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let container = format!("s3-{n}");
                azurite.create_container(&container).await;
                variables.extend([
                    ("ATTACHE_STORAGE__BACKEND", "azure".to_owned()),
                    ("ATTACHE_STORAGE__AZURE__CONTAINER", container.clone()),
                    (
                        "ATTACHE_STORAGE__AZURE__CREDENTIAL",
                        "connection_string".to_owned(),
                    ),
                    (
                        "ATTACHE_STORAGE__AZURE__CONNECTION_STRING",
                        azurite.connection_string(),
                    ),
                    ("ATTACHE_S3__BUCKETS__FILES__CONTAINER", container),
                ]);
            }
        }
        let variables = support::borrowed(&variables);
        // Before the server starts, which looks for new ones every second only.
        let key = access_key(folder.path(), &variables);
        let server = Server::start_in(folder, &variables, &[]);
        let address = server.s3_address();
        let scheme = match kind {
            Kind::Https => "https",
            _ => "http",
        };
        Some(Self {
            endpoint: format!("{scheme}://{}", address),
            key: key.0,
            secret: key.1,
            certificate,
            // Azurite takes a minute for them; over https they are no others.
            many: matches!(kind, Kind::Http | Kind::FakeAzure),
            server: Some(server),
            _moto: None,
            _azure: azure,
            _store: store,
        })
    }

    /// The end of what the server wrote.
    pub(crate) fn log(&self) -> String {
        self.server
            .as_ref()
            .map(Server::log_end)
            .unwrap_or_default()
    }
}

/// One for everything in the bucket.
fn access_key(folder: &std::path::Path, variables: &[(&str, &str)]) -> (String, String) {
    let made = support::command(folder, variables)
        .args(["key", "create", "--json", "--name", "client", "--bucket"])
        .arg(BUCKET)
        .output()
        .expect("the binary starts");
    let json: serde_json::Value = serde_json::from_slice(&made.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&made.stderr)));
    let text = |name: &str| json[name].as_str().expect("text").to_owned();
    (text("access_key_id"), text("secret_access_key"))
}
