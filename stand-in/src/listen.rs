//! Listeners: accept, count, encrypt, and hand to the service.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::answer::{Answer, Stop};
use crate::scene::Gauge;

/// What listens at an address.
pub trait Listening: Send + Sync + 'static {
    /// Answers one request; `Err` ends the connection.
    fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        secure: bool,
        peer: SocketAddr,
    ) -> impl Future<Output = Result<Answer, Stop>> + Send;

    /// Where its connections are counted, if they are.
    fn gauge(&self) -> Option<&Gauge>;

    /// Whether new connections are closed at once.
    fn refuses(&self) -> bool;

    /// Changes when every connection is to be closed.
    fn hung_up(&self) -> watch::Receiver<()>;
}

/// Accepts until it is dropped; its connections go with it.
pub async fn listen<L: Listening>(
    service: Arc<L>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, peer)) = accepted else { continue };
                let counted = Connected::new(Arc::clone(&service));
                if service.refuses() {
                    continue;
                }
                let mut hang_up = service.hung_up();
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

async fn connection<L: Listening>(
    counted: Connected<L>,
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

async fn talk<L, S>(counted: &Connected<L>, stream: S, peer: SocketAddr, secure: bool)
where
    L: Listening,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        let service = Arc::clone(&counted.0);
        async move {
            let answer = service.serve(request, secure, peer).await;
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
struct Connected<L: Listening>(Arc<L>);

impl<L: Listening> Connected<L> {
    fn new(service: Arc<L>) -> Self {
        if let Some(gauge) = service.gauge() {
            gauge.open();
        }
        Self(service)
    }
}

impl<L: Listening> Drop for Connected<L> {
    fn drop(&mut self) {
        if let Some(gauge) = self.0.gauge() {
            gauge.close();
        }
    }
}
