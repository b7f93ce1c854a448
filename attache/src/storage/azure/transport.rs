//! The house's client below Microsoft's crates: their requests and answers, and nothing of their own client.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::{Error as AzureError, ErrorKind as AzureErrorKind};
use azure_core::http::headers::{HeaderName, HeaderValue, Headers};
use azure_core::http::{AsyncRawResponse, Body as AzureBody, HttpClient, Request};
use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::Full;

use super::config::CA_FILE;
use crate::error::Result;
use crate::http::network::Proxy;
use crate::http::{Answer, Broken, Client, ClientConfig, Counts, NoAnswer, Trust};

/// How long Put Block List may take, which Azure gives 60 s; other requests have the client's 30 s
/// (<https://learn.microsoft.com/rest/api/storageservices/setting-timeouts-for-blob-service-operations>).
const COMMIT_TIMEOUT: Duration = Duration::from_secs(60);

/// What is read of an answer that refuses a request, in bytes. Azure's have a few hundred.
const LONGEST_REFUSAL: usize = 16 * 1024;

/// The client of one configuration. Everything that talks to one store shares it.
#[derive(Debug)]
pub(super) struct Transport(Client);

impl Transport {
    /// Connects to nothing yet. `ca_pem`: certificates that are trusted besides those of the system.
    ///
    /// # Errors
    ///
    /// [`Misconfigured`](crate::ErrorKind::Misconfigured) if the extra certificates cannot be read.
    pub(super) fn new(ca_pem: Option<&str>, client: &ClientConfig) -> Result<Arc<Self>> {
        let trust = match ca_pem {
            Some(pem) => Trust::roots_and(pem, CA_FILE)?,
            None => Trust::roots()?,
        };
        Ok(Arc::new(Self(Client::new(client, trust))))
    }

    /// The proxy on the way to `url`.
    pub(super) fn proxy_for(&self, url: &str) -> Option<&Proxy> {
        self.0.proxy_for(url)
    }

    /// What happened so far.
    pub(super) fn counts(&self) -> &Arc<Counts> {
        self.0.counts()
    }

    /// See [`Client::send_repeatable`].
    pub(super) async fn ask<F>(
        &self,
        request: hyper::Request<Full<Bytes>>,
        again: impl FnOnce() -> F,
    ) -> azure_core::Result<hyper::Response<Answer>>
    where
        F: Future<Output = azure_core::Result<hyper::Request<Full<Bytes>>>>,
    {
        self.0.send_repeatable(request, again).await
    }

    /// See [`Client::send`].
    pub(super) async fn tell(
        &self,
        request: hyper::Request<Full<Bytes>>,
    ) -> azure_core::Result<hyper::Response<Answer>> {
        Ok(self.0.send(request, Duration::ZERO).await?)
    }
}

#[async_trait]
impl HttpClient for Transport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let first = to_http(request)?;
        let answer = match *first.method() {
            http::Method::GET | http::Method::HEAD => {
                let again = || std::future::ready(to_http(request));
                self.0.send_repeatable(first, again).await?
            }
            _ => {
                let is_commit = request
                    .url()
                    .query()
                    .is_some_and(|query| query.contains("comp=blocklist"));
                let at_least = match is_commit {
                    true => COMMIT_TIMEOUT,
                    false => Duration::ZERO,
                };
                self.0.send(first, at_least).await?
            }
        };
        let (head, body) = answer.into_parts();
        Ok(azure_answer(&head, body))
    }
}

fn to_http(request: &Request) -> azure_core::Result<hyper::Request<Full<Bytes>>> {
    let AzureBody::Bytes(body) = request.body() else {
        // Nothing in attache sends one: blocks are cut by us.
        return Err(AzureError::with_message(
            AzureErrorKind::Other,
            "streamed request bodies are not supported",
        ));
    };
    let mut outgoing = hyper::Request::builder()
        .method(request.method().as_str())
        .uri(request.url().as_str());
    for (name, value) in request.headers().iter() {
        outgoing = outgoing.header(name.as_str(), value.as_str());
    }
    outgoing
        .body(Full::new(body.clone()))
        .map_err(|error| AzureError::new(AzureErrorKind::Other, error))
}

/// An answer as Microsoft's crates have it. They keep all of what refuses a request, so it ends at [`LONGEST_REFUSAL`].
pub(super) fn azure_answer(head: &http::response::Parts, body: Answer) -> AsyncRawResponse {
    let mut headers = Headers::new();
    for (name, value) in &head.headers {
        if let Ok(value) = value.to_str() {
            headers.insert(
                HeaderName::from(name.as_str().to_owned()),
                HeaderValue::from(value.to_owned()),
            );
        }
    }
    let status = head.status.as_u16().into();
    let body = body.map(|chunk| chunk.map_err(broken));
    if head.status.is_success() {
        return AsyncRawResponse::new(status, headers, Box::pin(body));
    }
    let beginning = body.scan(LONGEST_REFUSAL, |left, chunk| {
        let chunk = chunk.map(|mut chunk| {
            chunk.truncate(*left);
            *left -= chunk.len();
            chunk
        });
        let over = chunk.as_ref().is_ok_and(Bytes::is_empty);
        futures::future::ready((!over).then_some(chunk))
    });
    AsyncRawResponse::new(status, headers, Box::pin(beginning))
}

impl From<NoAnswer> for AzureError {
    fn from(why: NoAnswer) -> Self {
        match why {
            NoAnswer::Unreachable(_) => Self::new(AzureErrorKind::Connection, why),
            NoAnswer::Broken(_) => Self::new(AzureErrorKind::Io, why),
            NoAnswer::TimedOut => late("timed out waiting for the store"),
        }
    }
}

/// Why the body of an answer has no end.
pub(super) fn broken(why: Broken) -> AzureError {
    match why {
        Broken::Failed(error) => AzureError::new(AzureErrorKind::Io, error),
        Broken::Stalled | Broken::TooLong => late("timed out: the store stopped sending"),
    }
}

/// What stalls is worth another try; the error inside tells it from a failure.
fn late(what: &'static str) -> AzureError {
    let late = std::io::Error::new(std::io::ErrorKind::TimedOut, what);
    AzureError::new(AzureErrorKind::Io, late)
}
