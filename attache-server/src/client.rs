//! Short questions to other servers: the application of `auth.forward`, the keys of `auth.jwt`.
//!
//! The library's client, where everything is small and whole.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use attache::Result;
use attache::http::{Broken, ClientConfig, Trust};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(60);

/// A connection pool. Cheap to clone. Follows no redirect: only addresses of the
/// configuration are ever asked.
#[derive(Clone)]
pub(crate) struct Client(Arc<attache::http::Client>);

/// Why there is no response. Without the address, which may hold a password.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    Timeout,
    TooLong,
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("timed out waiting for its response"),
            Self::TooLong => f.write_str("its response is too long"),
            Self::Failed(error) => write!(f, "{error}"),
        }
    }
}

impl Client {
    /// Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// None that can be acted on.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self::trusting(Trust::roots()?))
    }

    /// For this machine's own addresses, for which no certificate vouches, and for what needs no secret.
    ///
    /// # Errors
    ///
    /// None that can be acted on.
    pub(crate) fn believing_any_certificate() -> Result<Self> {
        Ok(Self::trusting(Trust::anybody()?))
    }

    fn trusting(trust: Trust) -> Self {
        let config = ClientConfig {
            idle_after: IDLE,
            ..ClientConfig::default()
        };
        Self(Arc::new(attache::http::Client::new(&config, trust)))
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
            let answer = self.0.send_untimed(request.map(Full::new)).await;
            let (head, body) = answer
                .map_err(|error| NoAnswer::Failed(error.into()))?
                .into_parts();
            let body = body.whole(limit).await.map_err(|error| match error {
                Broken::TooLong => NoAnswer::TooLong,
                error => NoAnswer::Failed(error.into()),
            })?;
            Ok(Response::from_parts(head, body))
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
