//! One request over TLS, to a server whose certificate is known.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{Answer, connect, read_answer, request};

/// A connection that trusts exactly this certificate.
pub fn connect_secure(
    address: SocketAddr,
    certificate_pem: &str,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).expect("PEM");
    roots.add(certificate).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = address.ip().into();
    let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
    StreamOwned::new(connection, connect(address))
}

/// Follows a link to a loopback server.
pub fn follow(url: &str, certificate_pem: &str, method: &str, headers: &[(&str, &str)]) -> Answer {
    send(url, certificate_pem, method, headers, b"")
}

/// Sends bytes to a loopback server.
pub fn send(
    url: &str,
    certificate_pem: &str,
    method: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let rest = url.strip_prefix("https://").expect("https");
    let (host, target) = rest.split_once('/').expect("a path");
    let mut stream = connect_secure(host.parse().expect("an address"), certificate_pem);
    let bytes = request(host, method, &format!("/{target}"), headers, body);
    // A refusal may come, and the connection end, while we still send; the answer is what counts.
    let _ = stream.write_all(&bytes);
    read_answer(&mut stream)
}
