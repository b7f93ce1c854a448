//! The certificate of a server on loopback.

use std::path::{Path, PathBuf};

/// A certificate for `127.0.0.1` and `localhost` that is its own root, and its key.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) pem: String,
    /// A file with `pem`.
    pub(crate) file: PathBuf,
    /// A file with the key, as PEM.
    pub(crate) key: PathBuf,
}

impl Certificate {
    /// Writes `cert.pem` and `key.pem` into `folder`.
    pub(crate) fn make(folder: &Path) -> Self {
        let pair = rcgen::KeyPair::generate().expect("key generation needs only randomness");
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = rcgen::CertificateParams::new(names).expect("both names are valid");
        // rustls refuses a CA as a server's certificate.
        params.is_ca = rcgen::IsCa::ExplicitNoCa;
        let pem = params
            .self_signed(&pair)
            .expect("the key fits the certificate")
            .pem();
        let file = folder.join("cert.pem");
        let key = folder.join("key.pem");
        std::fs::write(&file, &pem).expect("the temporary folder is writable");
        std::fs::write(&key, pair.serialize_pem()).expect("the temporary folder is writable");
        Self { pem, file, key }
    }
}
