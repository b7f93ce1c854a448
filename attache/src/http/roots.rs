//! Who is trusted: the system's root certificates, Mozilla's where the system has none, and those of an extra file. One
//! answer for every client, so that none refuses what another takes.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::{Error, ErrorKind, Result};

/// Whom a client takes for who they say they are.
#[derive(Clone)]
pub struct Trust(ClientConfig);

impl Trust {
    /// Whoever a root certificate vouches for.
    ///
    /// # Errors
    ///
    /// None that can be acted on: there are always roots.
    pub fn roots() -> Result<Self> {
        Self::of(native_or_mozilla(
            rustls_native_certs::load_native_certs().certs,
        ))
    }

    /// Whoever a root certificate vouches for, or one of `pem`, which the setting `key` names.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`], with `key`, if `pem` holds no certificate that can be read.
    pub fn roots_and(pem: &str, key: &str) -> Result<Self> {
        let mut roots = native_or_mozilla(rustls_native_certs::load_native_certs().certs);
        let unreadable =
            |what: String| Error::new(ErrorKind::Misconfigured, format!("{key} {what}"));
        let mut found = 0;
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate =
                certificate.map_err(|error| unreadable(format!("is not a PEM file: {error}")))?;
            roots
                .add(certificate)
                .map_err(|error| unreadable(format!("holds a bad certificate: {error}")))?;
            found += 1;
        }
        if found == 0 {
            return Err(unreadable("holds no certificate".to_owned()));
        }
        Self::of(roots)
    }

    /// Anybody. For this machine's own addresses, for which no certificate vouches, and for what needs no secret.
    ///
    /// # Errors
    ///
    /// None that can be acted on.
    pub fn anybody() -> Result<Self> {
        let provider = provider();
        let tls = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(no_tls)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Credulous(provider)))
            .with_no_client_auth();
        Ok(Self(tls))
    }

    fn of(roots: RootCertStore) -> Result<Self> {
        let tls = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(no_tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(tls))
    }

    pub(crate) fn into_tls(self) -> ClientConfig {
        self.0
    }
}

/// A container from scratch has no certificates of its own; Mozilla's come with us.
fn native_or_mozilla(native: Vec<CertificateDer<'static>>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(native);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn no_tls(error: rustls::Error) -> Error {
    Error::internal("cannot set up TLS").with_source(error)
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_certificates_trusts_whom_mozilla_trusts() {
        let none = native_or_mozilla(Vec::new());
        assert_eq!(none.len(), webpki_roots::TLS_SERVER_ROOTS.len());
        // What the system has and nobody can read is as good as nothing.
        let unreadable = native_or_mozilla(vec![CertificateDer::from(vec![0; 8])]);
        assert_eq!(unreadable.len(), none.len());
    }

    #[test]
    fn a_file_without_certificates_is_refused_by_the_name_of_its_setting() {
        for pem in [
            "",
            "nonsense",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            let error = Trust::roots_and(pem, "the.key").expect_err("no certificate");
            assert_eq!(error.kind(), ErrorKind::Misconfigured);
            assert!(error.detail().starts_with("the.key "), "{error}");
        }
    }
}
