//! Listeners: accept, count, encrypt, and hand to the service.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::core::Core;
use crate::counts::Gauge;
use crate::respond::Stop;
use crate::{admin, blob, entra};

/// Which service a listener belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Blob,
    Entra,
    Admin,
}

/// The certificate of the listeners, made anew at each start.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
    acceptor_config: Arc<ServerConfig>,
}

impl Identity {
    /// For loopback and `names`, valid from and to so many days from now.
    pub(crate) fn new(names: &[String], (from, to): (i64, i64)) -> io::Result<Self> {
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
            .push(rcgen::DnType::CommonName, "fake-azure");
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

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.acceptor_config))
    }
}

/// Accepts until it is dropped; its connections go with it.
pub(crate) async fn listen(
    core: Arc<Core>,
    listener: TcpListener,
    service: Service,
    tls: Option<TlsAcceptor>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, peer)) = accepted else { continue };
                let counted = Connected::new(Arc::clone(&core), service);
                if service == Service::Blob && core.faults(|f| f.refuse_connections) {
                    continue;
                }
                let mut hang_up = core.hang_up.subscribe();
                let tls = tls.clone();
                connections.spawn(async move {
                    tokio::select! {
                        () = connection(counted, stream, peer, tls) => {}
                        _ = hang_up.changed() => {}
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(
    counted: Connected,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
) {
    // Small answers are written at once, so waiting for more would only add delay.
    let _ = stream.set_nodelay(true);
    match tls {
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                talk(&counted, stream, peer, true).await;
            }
        }
        None => talk(&counted, stream, peer, false).await,
    }
}

async fn talk<S>(counted: &Connected, stream: S, peer: SocketAddr, secure: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        let core = Arc::clone(&counted.core);
        let service = counted.service;
        async move {
            let answer = match service {
                Service::Blob => blob::serve(core, request, secure, peer.ip()).await,
                Service::Entra => entra::serve(core, request).await,
                Service::Admin => admin::serve(core, request).await,
            };
            answer.map_err(|_: Stop| io::Error::other("ended on order"))
        }
    });
    // Errors here are a client that left, or a connection that was to break.
    let _ = http1::Builder::new()
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// A connection in the books, until it is dropped.
struct Connected {
    core: Arc<Core>,
    service: Service,
}

impl Connected {
    fn new(core: Arc<Core>, service: Service) -> Self {
        let connected = Self { core, service };
        if let Some(gauge) = connected.gauge() {
            gauge.open();
        }
        connected
    }

    fn gauge(&self) -> Option<&Gauge> {
        match self.service {
            Service::Blob => Some(&self.core.tally.blob_connections),
            Service::Entra => Some(&self.core.tally.entra_connections),
            Service::Admin => None,
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        if let Some(gauge) = self.gauge() {
            gauge.close();
        }
    }
}
