//! Connections of clients, from their first byte to their last: a client that says nothing, or takes nothing, for too long
//! is cut, so that nobody can hold a connection or a download open.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::task::AtomicWaker;
use http::Version;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::Watcher;
use rustix::net::RecvFlags;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use crate::net::tls;

/// hyper's buffers of one connection, one each way, and so the longest head. Towards the client it is one chunk of a relay;
/// with room for two (20 KiB) neither the memory of slow readers nor the CPU of a large relay was measured to be better.
const BUFFER: usize = 16 * 1024;

/// Requests of one HTTP/2 connection at a time.
const MAX_STREAMS: u32 = 100;

/// What a client may send of one upload before it is read, and of all uploads of one HTTP/2 connection: what a connection
/// can make us hold, and what limits it to 5 MB/s at a round trip of 100 ms.
const STREAM_WINDOW: u32 = 512 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;

/// How HTTP/2 begins, and nothing else does (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that was accepted.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) address: IpAddr,
    /// With what it speaks TLS, if it does.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// How long the client may take nothing.
    pub(crate) stall: Duration,
    /// Within what time a head must have come, and the first request.
    pub(crate) head_timeout: Duration,
    /// Ends those that have not begun yet.
    pub(crate) stopping: CancellationToken,
}

impl Connection {
    /// Serves it to its end.
    pub(crate) async fn serve(self, router: Router, watcher: Watcher) {
        let stopping = self.stopping.clone();
        let head_timeout = self.head_timeout;
        // Boxed where it is needed no more: what lasts as long as the connection is small.
        let greeting = Box::pin(self.greet(router, watcher));
        let Some(Some(Serving {
            asked,
            streams,
            mut ended,
        })) = stopping.run_until_cancelled_owned(greeting).await
        else {
            return;
        };
        let outcome = match tokio::time::timeout(head_timeout, &mut ended).await {
            Ok(outcome) => outcome,
            Err(_) if asked.load(Ordering::Relaxed) => match streams {
                // hyper's limit for heads holds between two requests, too.
                None => ended.await,
                Some(streams) => tokio::select! {
                    outcome = &mut ended => outcome,
                    () = streams.idle_for(head_timeout) => {
                        tracing::debug!("an idle connection is closed");
                        return;
                    }
                },
            },
            Err(_) => {
                tracing::debug!("timed out: a client sent no request");
                return;
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "a connection ended");
        }
    }

    /// Waits until it is known what the client speaks. `None` if it does not say.
    async fn greet(self, router: Router, watcher: Watcher) -> Option<Serving> {
        let valve = Arc::<Valve>::default();
        let peer = Peer {
            address: self.address,
            secure: self.tls.is_some(),
            valve: valve.clone(),
        };
        let stream = Impatient::new(self.stream, self.stall, valve);
        let begin = Begin {
            peer,
            router,
            watcher,
            head_timeout: self.head_timeout,
        };
        let Some(config) = self.tls else {
            let version = tokio::time::timeout(self.head_timeout, stream.version()).await;
            let Ok(Ok(version)) = version else {
                tracing::debug!("timed out: a client sent nothing");
                return None;
            };
            return Some(begin.on(stream, version));
        };
        match tls::handshake(config, stream).await {
            Ok(stream) => {
                // Negotiated, or the one that needs no negotiation (RFC 9113 section 3.2).
                let version = match stream.get_ref().1.alpn_protocol() {
                    Some(b"h2") => Version::HTTP_2,
                    _ => Version::HTTP_11,
                };
                Some(begin.on(stream, version))
            }
            Err(error) => {
                tracing::debug!(%error, "a handshake failed");
                None
            }
        }
    }
}

/// A connection that answers requests.
struct Serving {
    /// Whether a request came.
    asked: Arc<AtomicBool>,
    /// Those of HTTP/2.
    streams: Option<Arc<Streams>>,
    ended: BoxFuture<'static, Result<(), Box<dyn std::error::Error + Send + Sync>>>,
}

/// What it takes to answer.
struct Begin {
    peer: Peer,
    router: Router,
    watcher: Watcher,
    head_timeout: Duration,
}

impl Begin {
    fn on<S>(self, stream: S, version: Version) -> Serving
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (peer, router) = (self.peer, self.router);
        let asked = Arc::new(AtomicBool::new(false));
        let streams = (version == Version::HTTP_2).then(Arc::<Streams>::default);
        let service = hyper::service::service_fn({
            let (asked, streams) = (asked.clone(), streams.clone());
            move |mut request: hyper::Request<Incoming>| {
                asked.store(true, Ordering::Relaxed);
                request.extensions_mut().insert(peer.clone());
                let open = streams.as_ref().map(Streams::open);
                let response = router.clone().call(request);
                async move {
                    let response = response.await?;
                    Ok::<_, Infallible>(match open {
                        None => response,
                        Some(open) => {
                            response.map(|body| Body::new(Answering { body, _open: open }))
                        }
                    })
                }
            }
        });
        let builder = builder(version, self.head_timeout);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let ended = Box::pin(self.watcher.watch(connection.into_owned()));
        Serving {
            asked,
            streams,
            ended,
        }
    }
}

/// The streams of an HTTP/2 connection. One that answers pings and asks for nothing would otherwise never end: pings tell
/// that a client is there, and not that it wants something.
#[derive(Debug)]
struct Streams {
    open: watch::Sender<usize>,
}

/// A request from its head to the end of its response.
struct Open(Arc<Streams>);

/// A response whose stream is open until its last byte is on its way.
struct Answering {
    body: Body,
    _open: Open,
}

impl http_body::Body for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            open: watch::Sender::new(0),
        }
    }
}

impl Streams {
    fn open(self: &Arc<Self>) -> Open {
        self.open.send_modify(|open| *open += 1);
        Open(self.clone())
    }

    /// Waits until no stream was open for `limit`.
    async fn idle_for(&self, limit: Duration) {
        let mut open = self.open.subscribe();
        loop {
            // The sender is ours, so it is there.
            let _ = open.wait_for(|open| *open == 0).await;
            match tokio::time::timeout(limit, open.changed()).await {
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

/// The version is decided already: where hyper-util finds it out itself it waits without a limit, and puts what it has
/// read in front of a buffer that grows from 8 to 16 KiB for it.
fn builder(version: Version, head_timeout: Duration) -> Builder<TokioExecutor> {
    let builder = Builder::new(TokioExecutor::new());
    let mut builder = match version {
        Version::HTTP_2 => builder.http2_only(),
        _ => builder.http1_only(),
    };
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(16 * 1024)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(BUFFER)
        .keep_alive_interval(Some(head_timeout));
    builder
}

/// Who is at the other end of a connection; every request carries it.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// The address from which it connects.
    pub(crate) address: IpAddr,
    /// It speaks TLS with us.
    pub(crate) secure: bool,
    /// Whether it takes what is written to it.
    pub(crate) valve: Arc<Valve>,
}

impl Peer {
    /// Whether the client asks over https: of us, or, as a proxy that is trusted says, of the proxy.
    pub(crate) fn is_secure(
        &self,
        server: &attache::config::ServerConfig,
        headers: &http::HeaderMap,
    ) -> bool {
        let forwarded = headers
            .get("x-forwarded-proto")
            .filter(|_| server.trusts(self.address));
        match forwarded {
            Some(scheme) => scheme == "https",
            None => self.secure,
        }
    }
}

/// Closed while a client's socket takes nothing: what is on its way to the client then need not be fetched yet.
///
/// A server fills its queue for a connection whether the socket takes bytes or not; with this, a client that stands still
/// costs what was in the queue when it stopped, and not a full queue. For the one body of a connection at a time, which is
/// how HTTP/1 answers.
#[derive(Debug, Default)]
pub(crate) struct Valve {
    closed: AtomicBool,
    waiting: AtomicWaker,
}

impl Valve {
    /// Ready while the socket takes bytes; otherwise the task is woken once it does.
    pub(crate) fn poll_open(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.closed.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        self.waiting.register(cx.waker());
        match self.closed.load(Ordering::Acquire) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn open(&self) {
        if self.closed.load(Ordering::Relaxed) {
            self.closed.store(false, Ordering::Release);
            self.waiting.wake();
        }
    }
}

/// A connection whose writes fail once the client has taken no byte for `stall`.
///
/// Reads need no limit here: heads have hyper's, bodies have their own, and an idle connection between requests is cut by
/// hyper's limit for heads.
pub(crate) struct Impatient {
    stream: TcpStream,
    stall: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    valve: Arc<Valve>,
}

impl Impatient {
    /// `valve` is told whether the client takes bytes.
    pub(crate) fn new(stream: TcpStream, stall: Duration, valve: Arc<Valve>) -> Self {
        Self {
            stream,
            stall,
            timer: None,
            valve,
        }
    }

    /// The version that the client speaks, by its first bytes, which stay to be read. HTTP/2 without TLS is known by its
    /// preface (RFC 9113 section 3.3).
    ///
    /// # Errors
    ///
    /// Those of the socket.
    async fn version(&self) -> io::Result<Version> {
        let peek = || {
            let mut first = [0; PREFACE.len()];
            let (_, length) = rustix::net::recv(&self.stream, &mut first, RecvFlags::PEEK)?;
            match &first[..length] {
                // Closed; hyper says so.
                [] => Ok(Version::HTTP_11),
                PREFACE => Ok(Version::HTTP_2),
                // It may become one: awaits the next bytes.
                first if PREFACE.starts_with(first) => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(Version::HTTP_11),
            }
        };
        self.stream.async_io(Interest::READABLE, peek).await
    }

    /// `wrote` is what the socket said; nothing but silence starts the timer, and any byte stops it.
    fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        wrote: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.timer = None;
            self.valve.open();
            return wrote;
        }
        self.valve.close();
        let stall = self.stall;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        std::future::Future::poll(timer.as_mut(), cx).map(|()| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "timed out: the client stopped reading",
            ))
        })
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use futures::poll;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A client, and the server's end with its valve.
    async fn pair() -> (TcpStream, Impatient, Arc<Valve>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (stream, _) = accepted.expect("a connection");
        let valve = Arc::<Valve>::default();
        let stream = Impatient::new(stream, Duration::from_secs(60), valve.clone());
        (client.expect("a connection"), stream, valve)
    }

    #[tokio::test]
    async fn the_version_is_told_by_the_first_bytes_however_they_come() {
        for (before, after, expected) in [
            ("PRI * HT", "TP/2.0\r\n\r\nSM\r\n\r\n", Version::HTTP_2),
            ("P", "OST / HTTP/1.1\r\n", Version::HTTP_11),
            ("PRI * HTTP/", "1.1\r\n\r\n", Version::HTTP_11),
        ] {
            let (mut client, mut server, _) = pair().await;
            let mut version = Box::pin(server.version());
            client.write_all(before.as_bytes()).await.expect("sent");
            server.stream.readable().await.expect("it has come");
            assert!(poll!(&mut version).is_pending(), "{before}");
            client.write_all(after.as_bytes()).await.expect("sent");
            assert_eq!(version.as_mut().await.expect("told"), expected, "{before}");
            drop(version);
            // Nothing was taken away.
            let mut all = vec![0; before.len() + after.len()];
            server.read_exact(&mut all).await.expect("all of it");
            assert_eq!(all, [before, after].concat().as_bytes());
        }
        let (client, server, _) = pair().await;
        drop(client);
        assert_eq!(server.version().await.expect("told"), Version::HTTP_11);
    }

    #[tokio::test]
    async fn the_valve_is_closed_while_the_client_takes_nothing_and_opens_when_it_does() {
        let (mut client, mut server, valve) = pair().await;
        let mut idle = Context::from_waker(Waker::noop());
        let opened = || std::future::poll_fn(|cx| valve.poll_open(cx));
        opened().await;
        let chunk = vec![0; 64 * 1024];
        let mut sent = 0;
        while let Poll::Ready(wrote) = Pin::new(&mut server).poll_write(&mut idle, &chunk) {
            sent += wrote.expect("it is open");
        }
        let mut waiting = std::pin::pin!(opened());
        assert!(poll!(&mut waiting).is_pending());
        // As a connection does: what is left is written as soon as the socket takes it.
        let mut taken = vec![0; sent];
        let (read, wrote, ()) = tokio::join!(
            client.read_exact(&mut taken),
            server.write(&chunk),
            &mut waiting
        );
        read.expect("all of it");
        wrote.expect("it takes again");
    }
}
