//! A small raw client: one connection per call, every header in the caller's hand, signatures of its own.

#![allow(dead_code, reason = "each test file uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "a test that cannot speak has failed")]

use std::sync::Arc;

use bytes::Bytes;
use fake_s3::FakeS3;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use sha2::{Digest as _, Sha256};
use stand_in::wire::{hex, hmac_sha256};
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

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

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// What stands between the first `<name>` and its end.
    pub(crate) fn element(&self, name: &str) -> &str {
        let text = self.text();
        let start = text
            .find(&format!("<{name}>"))
            .map_or(0, |at| at + name.len() + 2);
        &text[start..start + text[start..].find("</").unwrap_or(0)]
    }

    pub(crate) fn code(&self) -> &str {
        self.element("Code")
    }
}

/// A request under construction; over TLS, signed as the dialect of the stand-in wants it.
pub(crate) struct Ask<'a> {
    fake: &'a FakeS3,
    method: &'static str,
    path: String,
    host: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    at: OffsetDateTime,
    region: String,
    payload: Option<String>,
    signed: bool,
}

impl<'a> Ask<'a> {
    /// `path` follows the endpoint: `/files/key?query`, already encoded, parameters in order.
    pub(crate) fn new(fake: &'a FakeS3, method: &'static str, path: &str) -> Self {
        Self {
            fake,
            method,
            path: path.to_owned(),
            host: fake.endpoint().trim_start_matches("https://").to_owned(),
            headers: Vec::new(),
            body: Bytes::new(),
            at: OffsetDateTime::now_utc(),
            region: fake.region().to_owned(),
            payload: None,
            signed: true,
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

    pub(crate) fn at(mut self, at: OffsetDateTime) -> Self {
        self.at = at;
        self
    }

    pub(crate) fn region(mut self, region: &str) -> Self {
        self.region = region.to_owned();
        self
    }

    /// What the signature says of the body, whatever the body is.
    pub(crate) fn payload(mut self, text: &str) -> Self {
        self.payload = Some(text.to_owned());
        self
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    pub(crate) fn anonymous(mut self) -> Self {
        self.signed = false;
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.anonymous()
            .header("authorization", format!("Bearer {token}"))
    }

    fn sign(mut self) -> Self {
        let date = self
            .at
            .format(format_description!(
                "[year][month][day]T[hour][minute][second]Z"
            ))
            .unwrap();
        let digest = self
            .payload
            .clone()
            .unwrap_or_else(|| hex(Sha256::digest(&self.body)));
        self = self
            .header("x-amz-date", date.clone())
            .header("x-amz-content-sha256", digest.clone());
        let mut all: Vec<_> = self
            .headers
            .iter()
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect();
        all.push(("host".to_owned(), self.host.clone()));
        all.sort();
        let names: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let lines: String = all
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let (path, query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let canonical = format!(
            "{}\n{path}\n{query}\n{lines}\n{names}\n{digest}",
            self.method
        );
        let scope = format!("{}/{}/s3/aws4_request", &date[..8], self.region);
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
            hex(Sha256::digest(&canonical))
        );
        let secret = format!("AWS4{}", self.fake.secret_access_key());
        let key = scope
            .split('/')
            .fold(secret.into_bytes(), |key, part| hmac_sha256(&key, part));
        let signature = hex(hmac_sha256(&key, &to_sign));
        let id = self.fake.access_key_id();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"
        );
        self.header("authorization", authorization)
    }

    /// Sends and reads to the end; `Err` if the connection broke on the way.
    pub(crate) async fn try_send(mut self) -> Result<Reply, hyper::Error> {
        if self.signed {
            self = self.sign();
        }
        let mut request = Request::builder()
            .method(self.method)
            .uri(&self.path)
            .header("host", &self.host);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(self.body)).unwrap();
        let address = self.fake.endpoint();
        let stream = TcpStream::connect(address.trim_start_matches("https://"))
            .await
            .unwrap();
        let name = self.host.split(':').next().unwrap().to_owned();
        let stream = connector(self.fake.ca_pem())
            .connect(ServerName::try_from(name).unwrap(), stream)
            .await
            .unwrap();
        exchange(stream, request).await
    }

    pub(crate) async fn send(self) -> Reply {
        self.try_send().await.unwrap()
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Reply, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await;
    connection.abort();
    Ok(Reply {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body?.to_bytes(),
    })
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
