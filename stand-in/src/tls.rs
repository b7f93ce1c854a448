//! A certificate for loopback.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// The certificate of the listeners, made anew at each start.
#[derive(Debug)]
pub struct Identity {
    /// What clients have to trust.
    pub certificate_pem: String,
    /// Its private key.
    pub key_pem: String,
    acceptor_config: Arc<ServerConfig>,
}

impl Identity {
    /// For loopback and `names`, valid from and to so many days from now.
    ///
    /// # Errors
    ///
    /// If a name is none.
    pub fn new(subject: &str, names: &[String], (from, to): (i64, i64)) -> io::Result<Self> {
        let key = rcgen::KeyPair::generate().map_err(io::Error::other)?;
        let own = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let names: Vec<String> = own.into_iter().chain(names.iter().cloned()).collect();
        let mut params = rcgen::CertificateParams::new(names).map_err(io::Error::other)?;
        let now = time::OffsetDateTime::now_utc();
        params.not_before = now + time::Duration::days(from);
        params.not_after = now + time::Duration::days(to);
        // An explicit CA:FALSE: some clients refuse a CA certificate that is shown by a server.
        params.is_ca = rcgen::IsCa::ExplicitNoCa;
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, subject);
        let certificate = params.self_signed(&key).map_err(io::Error::other)?;
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            acceptor_config: Arc::new(config),
        })
    }

    /// What encrypts the connections of a listener.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.acceptor_config))
    }
}
