//! A small raw client: one connection per call, every header in the caller's hand.

#![allow(dead_code, reason = "each test file uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "a test that cannot speak has failed")]

use std::sync::Arc;

use bytes::Bytes;
use fake_azure::FakeAzure;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub(crate) const CONTAINER: &str = "files";
pub(crate) const SECRET: &str = "s3cret";

pub(crate) async fn start() -> FakeAzure {
    FakeAzure::builder()
        .container(CONTAINER)
        .secret(SECRET)
        .plain_http(true)
        .admin(true)
        .start()
        .await
        .unwrap()
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    pub(crate) fn code(&self) -> &str {
        self.header("x-ms-error-code")
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A request under construction, to the blob service with a bearer token unless said otherwise.
pub(crate) struct Ask<'a> {
    fake: &'a FakeAzure,
    method: &'static str,
    url: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    bearer: bool,
}

impl<'a> Ask<'a> {
    /// `path` follows the endpoint: `/files/name?comp=…`.
    pub(crate) fn new(fake: &'a FakeAzure, method: &'static str, path: &str) -> Self {
        Self::url(fake, method, format!("{}{path}", fake.blob_endpoint()))
    }

    pub(crate) fn url(fake: &'a FakeAzure, method: &'static str, url: String) -> Self {
        Self {
            fake,
            method,
            url,
            headers: vec![("x-ms-version".into(), "2026-04-06".into())],
            body: Bytes::new(),
            bearer: true,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn anonymous(mut self) -> Self {
        self.bearer = false;
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.anonymous()
            .header("authorization", format!("Bearer {token}"))
    }

    /// Signs with the account key; the last thing to do.
    pub(crate) fn shared_key(self) -> Self {
        let now = time::OffsetDateTime::now_utc();
        self.shared_key_at(now)
    }

    pub(crate) fn shared_key_at(mut self, at: time::OffsetDateTime) -> Self {
        let format = time::macros::format_description!(
            "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
        );
        self = self
            .anonymous()
            .header("x-ms-date", at.format(format).unwrap());
        let find = |name: &str| {
            let found = self.headers.iter().find(|(n, _)| n == name);
            found.map_or("", |(_, v)| v.as_str()).to_owned()
        };
        let length = match self.body.len() {
            0 => String::new(),
            n => n.to_string(),
        };
        let mut text = format!("{}\n", self.method);
        text += &format!(
            "{}\n{}\n{length}\n{}\n{}\n\n{}\n{}\n{}\n{}\n{}\n",
            find("content-encoding"),
            find("content-language"),
            find("content-md5"),
            find("content-type"),
            find("if-modified-since"),
            find("if-match"),
            find("if-none-match"),
            find("if-unmodified-since"),
            find("range"),
        );
        let mut own: Vec<_> = self
            .headers
            .iter()
            .filter(|(n, _)| n.starts_with("x-ms-"))
            .collect();
        own.sort();
        for (name, value) in own {
            text += &format!("{name}:{value}\n");
        }
        let uri: http::Uri = self.url.parse().unwrap();
        text += &format!("/{}{}", self.fake.account(), uri.path());
        let mut pairs: Vec<_> = uri
            .query()
            .unwrap_or("")
            .split('&')
            .filter(|p| !p.is_empty())
            .collect();
        pairs.sort_unstable();
        for pair in pairs {
            let (name, value) = pair.split_once('=').unwrap();
            text += &format!("\n{name}:{}", value.replace("%3D", "="));
        }
        let signature = sign(&base64_decode(self.fake.account_key()), &text);
        let account = self.fake.account().to_owned();
        self.header("authorization", format!("SharedKey {account}:{signature}"))
    }

    /// Sends and reads to the end; `Err` if the connection broke on the way.
    pub(crate) async fn try_send(self) -> Result<Reply, hyper::Error> {
        let (response, _open) = self.open().await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Reply {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }

    pub(crate) async fn send(self) -> Reply {
        self.try_send().await.unwrap()
    }

    /// Sends and hands over the answer with its body unread; the connection closes with the guard.
    pub(crate) async fn open(mut self) -> Result<(Response<Incoming>, Closing), hyper::Error> {
        if self.bearer {
            let token = self.fake.issue_token();
            self.headers
                .push(("authorization".into(), format!("Bearer {token}")));
        }
        let uri: http::Uri = self.url.parse().unwrap();
        let authority = uri.authority().unwrap().to_string();
        let mut request = Request::builder()
            .method(self.method)
            .uri(uri.path_and_query().unwrap().as_str())
            .header("host", &authority);
        if matches!(self.method, "PUT" | "POST") {
            request = request.header("content-length", self.body.len());
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(self.body)).unwrap();
        let stream = TcpStream::connect(&authority).await.unwrap();
        if uri.scheme_str() == Some("http") {
            return exchange(stream, request).await;
        }
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = connector(self.fake.ca_pem())
            .connect(name, stream)
            .await
            .unwrap();
        exchange(stream, request).await
    }
}

/// Closes its connection when dropped.
#[derive(Debug)]
pub(crate) struct Closing(tokio::task::JoinHandle<()>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, Closing), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let closing = Closing(tokio::spawn(async move {
        let _ = connection.await;
    }));
    let response = sender.send_request(request).await?;
    Ok((response, closing))
}

fn connector(ca_pem: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

pub(crate) fn base64_decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}

pub(crate) fn sign(key: &[u8], text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    base64(mac.finalize().into_bytes())
}

pub(crate) fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// What stands between the first `<name>` and its end.
pub(crate) fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let start = xml.find(&format!("<{name}>")).unwrap() + name.len() + 2;
    &xml[start..start + xml[start..].find("</").unwrap()]
}

pub(crate) fn put<'a>(fake: &'a FakeAzure, name: &str, bytes: impl Into<Bytes>) -> Ask<'a> {
    Ask::new(fake, "PUT", &format!("/{CONTAINER}/{name}"))
        .header("x-ms-blob-type", "BlockBlob")
        .body(bytes)
}

pub(crate) fn get<'a>(fake: &'a FakeAzure, name: &str) -> Ask<'a> {
    Ask::new(fake, "GET", &format!("/{CONTAINER}/{name}"))
}

pub(crate) fn put_block<'a>(
    fake: &'a FakeAzure,
    name: &str,
    id: &str,
    bytes: impl Into<Bytes>,
) -> Ask<'a> {
    let id = encode(&base64(id));
    Ask::new(
        fake,
        "PUT",
        &format!("/{CONTAINER}/{name}?comp=block&blockid={id}"),
    )
    .body(bytes)
}

pub(crate) fn commit<'a>(fake: &'a FakeAzure, name: &str, blocks: &[(&str, &str)]) -> Ask<'a> {
    let list: String = blocks
        .iter()
        .map(|(kind, id)| format!("<{kind}>{}</{kind}>", base64(id)))
        .collect();
    Ask::new(fake, "PUT", &format!("/{CONTAINER}/{name}?comp=blocklist")).body(format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{list}</BlockList>"
    ))
}

/// Waits for something that another task brings about; two seconds are far more than it takes.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..400 {
        if holds() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("never happened: {what}");
}
