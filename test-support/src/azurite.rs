//! Azurite, Microsoft's emulator of Blob Storage.

use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use sha2::Sha256;
use tempfile::TempDir;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use crate::certificate::Certificate;
use crate::child::Guarded;
use crate::tool;

/// A running Azurite on a free port of 127.0.0.1. Its data lies in memory and goes with it.
#[derive(Debug)]
pub struct Azurite {
    address: String,
    endpoint: String,
    certificate: Option<Certificate>,
    // Dropped in this order: the process first, then the folder that it runs in.
    _process: Guarded,
    _folder: TempDir,
}

impl Azurite {
    /// The one account that Azurite knows, unless told otherwise.
    pub const ACCOUNT: &str = "devstoreaccount1";

    /// That account's key. It is printed in Azurite's own README and is no secret.
    pub const KEY: &str =
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

    /// Starts Azurite over HTTPS. It takes bearer tokens (see [`azurite_token`]), and the account's key too.
    ///
    /// Its certificate is its own root: hand [`ca_file`](Self::ca_file) to whoever connects.
    pub async fn start_oauth() -> Option<Self> {
        Self::start(true).await
    }

    /// Starts Azurite over plain HTTP. It takes the account's key.
    pub async fn start_plain() -> Option<Self> {
        Self::start(false).await
    }

    /// The HTTPS instance that all tests of this binary share. Use a container of your own in it.
    pub async fn shared_oauth() -> Option<&'static Self> {
        static SHARED: OnceCell<Option<Azurite>> = OnceCell::const_new();
        SHARED.get_or_init(Self::start_oauth).await.as_ref()
    }

    /// The HTTP instance that all tests of this binary share. Use a container of your own in it.
    pub async fn shared_plain() -> Option<&'static Self> {
        static SHARED: OnceCell<Option<Azurite>> = OnceCell::const_new();
        SHARED.get_or_init(Self::start_plain).await.as_ref()
    }

    /// `http(s)://127.0.0.1:PORT/devstoreaccount1`, as `storage.azure.endpoint` wants it.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The root certificate to trust, as PEM; `None` over plain HTTP.
    pub fn ca_pem(&self) -> Option<&str> {
        self.certificate
            .as_ref()
            .map(|certificate| certificate.pem.as_str())
    }

    /// A file with [`ca_pem`](Self::ca_pem), there as long as this instance.
    pub fn ca_file(&self) -> Option<&Path> {
        self.certificate
            .as_ref()
            .map(|certificate| certificate.file.as_path())
    }

    /// What `storage.azure.connection_string` wants.
    pub fn connection_string(&self) -> String {
        let scheme = match self.certificate {
            Some(_) => "https",
            None => "http",
        };
        format!(
            "DefaultEndpointsProtocol={scheme};AccountName={};AccountKey={};BlobEndpoint={};",
            Self::ACCOUNT,
            Self::KEY,
            self.endpoint
        )
    }

    /// Creates a container, signed with the account's key. One that is there already is fine.
    ///
    /// Speaks raw HTTP, so that a fault in attache's own signing cannot hide behind itself. Panics on any answer other
    /// than 201 or 409 `ContainerAlreadyExists`.
    pub async fn create_container(&self, name: &str) {
        let answer = self
            .put(&format!("/{name}"), &[("restype", "container")], "")
            .await;
        let created = answer.starts_with("HTTP/1.1 201");
        let present = answer.contains("ContainerAlreadyExists");
        assert!(
            created || present,
            "azurite: create container {name:?}: {answer}"
        );
    }

    /// Lets pages of `origin` send blobs, as an operator does with a CORS rule of the account.
    pub async fn allow_pages(&self, origin: &str) {
        let rules = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><StorageServiceProperties><Cors><CorsRule>\
             <AllowedOrigins>{origin}</AllowedOrigins><AllowedMethods>PUT</AllowedMethods>\
             <AllowedHeaders>content-type,content-md5,x-ms-blob-type</AllowedHeaders><ExposedHeaders>etag</ExposedHeaders>\
             <MaxAgeInSeconds>60</MaxAgeInSeconds></CorsRule></Cors></StorageServiceProperties>"
        );
        let query = [("comp", "properties"), ("restype", "service")];
        let answer = self.put("/", &query, &rules).await;
        assert!(
            answer.starts_with("HTTP/1.1 202"),
            "azurite: CORS: {answer}"
        );
    }

    /// Sends `body` to a resource of the account, signed with its key; `query` in the order of its names.
    async fn put(&self, path: &str, query: &[(&str, &str)], body: &str) -> String {
        let date = OffsetDateTime::now_utc()
            .format(format_description!(
                "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
            ))
            .expect("every time has these parts");
        let headers = format!("x-ms-date:{date}\nx-ms-version:{API_VERSION}\n");
        // The account's name stands twice: once as the account, once as the first segment of a path-style URL.
        let mut resource = format!("/{0}/{0}{path}", Self::ACCOUNT);
        for (name, value) in query {
            resource.push_str(&format!("\n{name}:{value}"));
        }
        let query: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        // Of a body that is empty the line of its length is, too.
        let length = match body.len() {
            0 => String::new(),
            length => length.to_string(),
        };
        // Verb, two headers that are not sent, the length, and eight more of them.
        let signature = sign(&format!(
            "PUT\n\n\n{length}{}{headers}{resource}",
            "\n".repeat(9)
        ));
        self.exchange(&format!(
            "PUT /{account}{path}?{query} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\
             x-ms-date: {date}\r\nx-ms-version: {API_VERSION}\r\n\
             Authorization: SharedKey {account}:{signature}\r\nConnection: close\r\n\r\n{body}",
            account = Self::ACCOUNT,
            query = query.join("&"),
            host = self.address,
            length = body.len(),
        ))
        .await
        .unwrap_or_else(|error| panic!("azurite: PUT {path}: {error}"))
    }

    /// Sends `request` as it is and gives the whole answer, which must end with the connection.
    ///
    /// For what the tests of this crate and a curious debugger want to ask Azurite past any client library.
    pub async fn exchange(&self, request: &str) -> io::Result<String> {
        let talk = async {
            let stream = TcpStream::connect(&self.address).await?;
            match &self.certificate {
                None => converse(stream, request).await,
                Some(certificate) => {
                    let name = ServerName::try_from("localhost").expect("a valid name");
                    let stream = connector(&certificate.pem).connect(name, stream).await?;
                    converse(stream, request).await
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), talk)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn start(oauth: bool) -> Option<Self> {
        let entry = tool::find("Azurite", "ATTACHE_TEST_AZURITE", || {
            tool::in_target("azurite/node_modules/azurite/dist/src/blob/main.js")
        })?;
        let node = tool::find("Node.js", "ATTACHE_TEST_NODE", || tool::on_path(&["node"]))?;
        let folder = TempDir::with_prefix("attache-azurite-").expect("a temporary folder");

        let mut command = Command::new(node);
        command
            .current_dir(&folder)
            .args(["-e", ENDS_WITH_STDIN, "--"])
            .arg(entry)
            .args(["--blobHost", "127.0.0.1", "--blobPort", "0"])
            .args(["--inMemoryPersistence", "--silent", "--disableTelemetry"]);
        let certificate = oauth.then(|| {
            let certificate = Certificate::make(folder.path());
            command.args(["--oauth", "basic", "--cert"]);
            command.arg(&certificate.file);
            command.arg("--key").arg(&certificate.key);
            certificate
        });

        // Port 0 leaves the choice to the system, so two instances cannot fight for one; the port is in this line.
        let (process, url) = Guarded::start(command, |line| {
            line.split_once("successfully listens on ")
                .map(|(_, url)| url.trim().to_owned())
        })
        .await;
        let (_, address) = url.split_once("://").expect("Azurite prints a whole URL");
        Some(Self {
            address: address.to_owned(),
            endpoint: format!("{url}/{}", Self::ACCOUNT),
            certificate,
            _process: process,
            _folder: folder,
        })
    }
}

/// A bearer token that Azurite takes for any operation, a user delegation key included; valid for an hour.
///
/// Azurite checks the claims and never the signature, so there is none to speak of.
pub fn azurite_token() -> String {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let header = serde_json::json!({ "typ": "JWT", "alg": "RS256" });
    let claims = serde_json::json!({
        "aud": "https://storage.azure.com",
        "iss": format!("https://sts.windows.net/{TENANT}/"),
        "iat": now - 60,
        "nbf": now - 60,
        "exp": now + 60 * 60,
        "oid": "22222222-2222-2222-2222-222222222222",
        "tid": TENANT,
    });
    let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
    let header = encode(header.to_string().as_bytes());
    let claims = encode(claims.to_string().as_bytes());
    format!("{header}.{claims}.{}", encode(b"unchecked"))
}

fn sign(text: &str) -> String {
    let key = STANDARD
        .decode(Azurite::KEY)
        .expect("the well-known key is base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

fn connector(ca_pem: &str) -> tokio_rustls::TlsConnector {
    let root = CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("rcgen wrote PEM");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root).expect("rcgen wrote a certificate");
    // The provider is named: with two in the build, rustls refuses to choose.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config).into()
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> io::Result<String> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer).await {
        // Node closes TLS connections without the closing message; the answer is whole all the same.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !answer.is_empty() => {}
        other => {
            other?;
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Runs the script named by the first argument, and ends when stdin does: Azurite itself would run on for ever after a
/// test process that was killed. Takes its folder along, because a shared instance is a static and is never dropped.
const ENDS_WITH_STDIN: &str = "const end = () => {
    require('fs').rmSync(process.cwd(), { recursive: true, force: true });
    process.exit(0);
};
process.stdin.resume().on('end', end).on('error', end);
require(process.argv[1]);";

const TENANT: &str = "11111111-1111-1111-1111-111111111111";

/// Any version that Azurite 3.37.0 knows; this one is what `azure_storage_sas` signs for.
const API_VERSION: &str = "2026-04-06";
