//! TLS from files: what `[server.tls]` names, for connections that come from now on. Those that stand keep what they
//! began with.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::config::server::TlsConfig;
use arc_swap::ArcSwapOption;
use attache::{Error, ErrorKind, Result};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A handshake takes two round trips; a client that takes longer than this has something else in mind.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a connection speaks TLS with.
pub(crate) type Certificate = Arc<ServerConfig>;

/// The certificate in use, if there is one.
#[derive(Debug)]
pub(crate) struct Tls(ArcSwapOption<ServerConfig>);

impl Tls {
    /// # Errors
    ///
    /// As [`load`].
    pub(crate) fn new(config: &TlsConfig) -> Result<Self> {
        load(config).map(|loaded| Self(ArcSwapOption::new(loaded)))
    }

    /// What the next connection speaks: plain HTTP without.
    pub(crate) fn current(&self) -> Option<Certificate> {
        self.0.load_full()
    }

    /// Puts another certificate, or none, into use.
    pub(crate) fn replace(&self, loaded: Option<Certificate>) {
        self.0.store(loaded);
    }
}

/// Reads what the configuration holds; `None` if it has no certificate.
///
/// # Errors
///
/// [`ErrorKind::Misconfigured`], naming the key whose file is wrong.
pub(crate) fn load(config: &TlsConfig) -> Result<Option<Certificate>> {
    let (Some(certificate), Some(key)) = (&config.certificate_pem, &config.key_pem) else {
        return Ok(None);
    };
    let wrong = |what: &str| Error::new(ErrorKind::Misconfigured, what);
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| wrong("server.tls.certificate_file is not PEM").with_source(error))?;
    if chain.is_empty() {
        return Err(wrong("server.tls.certificate_file holds no certificate"));
    }
    // Its error may quote the file, and the file is a secret.
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
        .map_err(|_| wrong("server.tls.key_file holds no private key in PEM"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal("no version of TLS").with_source(error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| {
            let what = format!("server.tls.certificate_file and server.tls.key_file: {error}");
            wrong(&what).with_source(error)
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(Arc::new(config)))
}

/// Negotiates TLS with a client, within [`HANDSHAKE_TIMEOUT`].
///
/// # Errors
///
/// Those of the client, and [`io::ErrorKind::TimedOut`].
pub(super) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    certificate: Certificate,
    stream: S,
) -> io::Result<TlsStream<S>> {
    let accepting = TlsAcceptor::from(certificate).accept(stream);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, accepting).await {
        Ok(outcome) => outcome,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
