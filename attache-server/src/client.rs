//! Short questions to other servers: the application of `auth.forward`, the keys of `auth.jwt`.
//!
//! The store has a client of its own, in the library, with what streams need; here everything is small and whole.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use attache::{Error, ErrorKind, Result};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::builderstates::WantsProtocols1;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

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
    /// [`ErrorKind::Misconfigured`] if there are no root certificates to trust.
    pub(crate) fn new() -> Result<Self> {
        let https = HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(|error| {
                Error::new(
                    ErrorKind::Misconfigured,
                    "no root certificates found; install ca-certificates or set SSL_CERT_FILE",
                )
                .with_source(error)
            })?;
        Ok(Self::over(https.https_or_http()))
    }

    /// For this machine's own addresses, of which no certificate tells, and for what needs no secret.
    ///
    /// # Errors
    ///
    /// None that can be acted on.
    pub(crate) fn believing_any_certificate() -> Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::internal("cannot set up TLS").with_source(error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Credulous(provider)))
            .with_no_client_auth();
        let https = HttpsConnectorBuilder::new().with_tls_config(tls);
        Ok(Self::over(https.https_or_http()))
    }

    fn over(https: HttpsConnectorBuilder<WantsProtocols1>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let https = https.enable_http1().wrap_connector(tcp);
        let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .build(https);
        Self(client)
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

/// Takes every certificate.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
