//! Short questions to other servers: the application of `auth.forward`, the keys of `auth.jwt`.
//!
//! The store has a client of its own, in the library, with what streams need; here everything is small and whole.

use std::fmt;
use std::time::Duration;

use attache::{Error, ErrorKind, Result};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// Idle connections that are kept to one server, and for how long.
const MAX_IDLE: usize = 32;
const IDLE: Duration = Duration::from_secs(60);

/// Until a connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection pool. Cheap to clone. Follows no redirect: only addresses of the configuration are ever asked.
#[derive(Clone)]
pub(crate) struct Client(
    hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
);

/// Why there is no answer. Tells no address: it may hold a password.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    Timeout,
    TooLong,
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("it did not answer in time"),
            Self::TooLong => f.write_str("its answer is too long"),
            Self::Failed(error) => write!(f, "{error}"),
        }
    }
}

impl Client {
    /// Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] if there are no root certificates to trust.
    pub(crate) fn new() -> Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(|error| {
                Error::new(
                    ErrorKind::Misconfigured,
                    "no root certificates are found; install ca-certificates or set SSL_CERT_FILE",
                )
                .with_source(error)
            })?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .build(https);
        Ok(Self(client))
    }

    /// Sends a request without a body; the whole answer, of at most `limit` bytes.
    pub(crate) async fn send(
        &self,
        request: http::request::Builder,
        timeout: Duration,
        limit: usize,
    ) -> Result<Response<Bytes>, NoAnswer> {
        let request = request
            .body(Bytes::new())
            .map_err(|error| NoAnswer::Failed(error.into()))?;
        self.exchange(request, timeout, limit).await
    }

    /// Sends a whole request; the whole answer, of at most `limit` bytes.
    pub(crate) async fn exchange(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
        limit: usize,
    ) -> Result<Response<Bytes>, NoAnswer> {
        let exchange = async {
            let answer = self.0.request(request.map(Full::new)).await;
            let (head, body) = answer
                .map_err(|error| NoAnswer::Failed(error.into()))?
                .into_parts();
            let body = Limited::new(body, limit).collect().await.map_err(|error| {
                match error.is::<http_body_util::LengthLimitError>() {
                    true => NoAnswer::TooLong,
                    false => NoAnswer::Failed(error),
                }
            })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or(Err(NoAnswer::Timeout))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
