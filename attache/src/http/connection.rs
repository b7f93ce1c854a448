//! One connection: over which way it is made, how long that may take, and what has moved on it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::TryFutureExt as _;
use futures::future::BoxFuture;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower::Service;

use super::counts::Counts;
use super::roots::Trust;
use crate::http::network::Route;

/// Until a connection stands, TLS included.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Probes of a quiet connection, so that a dead peer is noticed: the first after this time,
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// and this many more at this distance. The system's own (9 at 75 s) outlast `clients.idle_after`.
const TCP_PROBES: (u32, Duration) = (3, Duration::from_secs(10));

/// What was sent and not acknowledged for so long was sent into the void (TCP_USER_TIMEOUT, RFC 5482).
#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
const TCP_UNACKNOWLEDGED: Duration = Duration::from_secs(30);

pub(super) type Connector = Counting<HttpsConnector<Dial>>;

/// Connects to whom `trust` trusts, over `route`, and counts it in `counts`.
pub(super) fn connector(trust: Trust, route: Arc<Route>, counts: Arc<Counts>) -> Connector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(TCP_KEEPALIVE));
    let (probes, distance) = TCP_PROBES;
    tcp.set_keepalive_interval(Some(distance));
    tcp.set_keepalive_retries(Some(probes));
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    tcp.set_tcp_user_timeout(Some(TCP_UNACKNOWLEDGED));
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let inner = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(trust.into_tls())
        .https_or_http()
        .enable_http1()
        .wrap_connector(Dial { tcp, route });
    Counting { inner, counts }
}

/// What has moved on a connection.
#[derive(Debug)]
pub(super) struct Pulse {
    born: Instant,
    /// Milliseconds after `born`.
    sent_ms: AtomicU64,
}

impl Pulse {
    fn new() -> Self {
        Self {
            born: Instant::now(),
            sent_ms: AtomicU64::new(0),
        }
    }

    /// When the system last took bytes to send.
    pub(super) fn last_sent(&self) -> Instant {
        self.born + Duration::from_millis(self.sent_ms.load(Ordering::Relaxed))
    }

    fn note_sent(&self, outcome: &Poll<std::io::Result<usize>>) {
        if matches!(outcome, Poll::Ready(Ok(1..))) {
            let ms = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.sent_ms.store(ms, Ordering::Relaxed);
        }
    }
}

/// Connects to a host, or to it through a proxy.
#[derive(Clone)]
pub(super) struct Dial {
    tcp: HttpConnector,
    route: Arc<Route>,
}

impl Service<hyper::Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<TokioIo<TcpStream>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: hyper::Uri) -> Self::Future {
        let Some(proxy) = self.route.proxy_for(&uri) else {
            return Box::pin(self.tcp.call(uri).map_err(Into::into));
        };
        let mut tunnel = Tunnel::new(proxy.uri(), self.tcp.clone());
        if let Some(authorization) = proxy.authorization() {
            tunnel = tunnel.with_auth(authorization);
        }
        let address = proxy.address().to_owned();
        let dial = tunnel.call(uri);
        Box::pin(dial.map_err(move |source| {
            let source = source.into();
            Box::new(ProxyFailed { address, source }) as BoxError
        }))
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The way through the proxy does not work.
#[derive(Debug)]
pub(crate) struct ProxyFailed {
    /// Host and port of the proxy.
    pub(crate) address: String,
    source: BoxError,
}

impl std::fmt::Display for ProxyFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "proxy {}: {}", self.address, self.source)
    }
}

impl std::error::Error for ProxyFailed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.source()
    }
}

/// Counts the connections that a connector makes.
#[derive(Clone)]
pub(super) struct Counting<C> {
    inner: C,
    counts: Arc<Counts>,
}

type Dialed = MaybeHttpsStream<TokioIo<TcpStream>>;

impl<C> Service<hyper::Uri> for Counting<C>
where
    C: Service<hyper::Uri, Response = Dialed, Error = Box<dyn std::error::Error + Send + Sync>>,
    C::Future: Send + 'static,
{
    type Response = Counted;
    type Error = C::Error;
    type Future =
        Pin<Box<dyn std::future::Future<Output = Result<Counted, C::Error>> + Send + 'static>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: hyper::Uri) -> Self::Future {
        let dial = self.inner.call(uri);
        let counts = self.counts.clone();
        Box::pin(async move {
            let stream = tokio::time::timeout(CONNECT_TIMEOUT, dial)
                .await
                .map_err(|_| "timed out connecting")??;
            counts.open.fetch_add(1, Ordering::Relaxed);
            counts.made.fetch_add(1, Ordering::Relaxed);
            let pulse = Arc::new(Pulse::new());
            Ok(Counted {
                stream,
                counts,
                pulse,
            })
        })
    }
}

/// A connection that counts as open until it is dropped.
pub(super) struct Counted {
    stream: Dialed,
    counts: Arc<Counts>,
    pub(super) pulse: Arc<Pulse>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Read for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.pulse.note_sent(&outcome);
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.pulse.note_sent(&outcome);
        outcome
    }
}
