//! Connections of clients, from their first byte to their last: what they speak, and how long one may be silent.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use futures::future::{BoxFuture, FutureExt as _, TryFutureExt as _};
use http::Version;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::peer::Peer;
use super::socket::Socket;
use super::stall::StallTimeout;
use super::streams::{Responding, Streams};
use super::tls::Certificate;
use super::valve::Valve;
use super::{tls, version};

/// hyper's buffers of one connection, one each way, and so the longest head. Towards the client it is one chunk of a relay;
/// with room for two (20 KiB) neither the memory of slow readers nor the CPU of a large relay was measured to be better.
const BUFFER: usize = 16 * 1024;

/// Requests of one HTTP/2 connection at a time.
const MAX_STREAMS: u32 = 100;

/// What a client may send of one upload before it is read, and of all uploads of one HTTP/2 connection: what a connection
/// can make us hold, and what limits it to 5 MB/s at a round trip of 100 ms.
const STREAM_WINDOW: u32 = 512 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;

/// What responds to the requests of a connection.
pub(crate) type Respond = Arc<dyn Fn(Peer, Request) -> Responds + Send + Sync>;

/// A response that is being made.
pub(crate) type Responds = BoxFuture<'static, Result<Response, Infallible>>;

/// A connection that was accepted.
pub(crate) struct Accepted {
    /// It does not block, and belongs to the runtime that serves it.
    pub(crate) stream: std::net::TcpStream,
    pub(crate) address: IpAddr,
    /// With what it speaks TLS, if it does.
    pub(crate) tls: Option<Certificate>,
    /// How long the client may take nothing.
    pub(crate) stall: Duration,
    /// Within what time a head must have come, and the first request.
    pub(crate) head_timeout: Duration,
    /// Ends those that have not begun yet.
    pub(crate) stopping: CancellationToken,
}

impl Accepted {
    /// Serves it to its end.
    pub(crate) async fn serve(self, respond: Respond, watcher: Watcher) {
        let stopping = self.stopping.clone();
        let head_timeout = self.head_timeout;
        // Boxed where it is needed no more: what lasts as long as the connection is small.
        let negotiation = Box::pin(self.negotiate(respond, watcher));
        let Some(Some(Serving {
            requested,
            streams,
            mut ended,
        })) = stopping.run_until_cancelled_owned(negotiation).await
        else {
            return;
        };
        let outcome = match tokio::time::timeout(head_timeout, &mut ended).await {
            Ok(outcome) => outcome,
            Err(_) if requested.load(Ordering::Relaxed) => match streams {
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
    async fn negotiate(self, respond: Respond, watcher: Watcher) -> Option<Serving> {
        let stream = TcpStream::from_std(self.stream)
            .inspect_err(|error| tracing::warn!(%error, "cannot serve a connection"))
            .ok()?;
        let valve = Arc::<Valve>::default();
        let mut peer = Peer {
            address: self.address,
            secure: self.tls.is_some(),
            valve: valve.clone(),
            handover: None,
            hang_up: CancellationToken::new(),
        };
        let http = |peer| HttpServer {
            peer,
            respond,
            watcher,
            head_timeout: self.head_timeout,
        };
        let Some(certificate) = self.tls else {
            let version = version::version(&stream);
            let version = tokio::time::timeout(self.head_timeout, version).await;
            let Ok(Ok(version)) = version else {
                tracing::debug!("timed out: a client sent nothing");
                return None;
            };
            if version != Version::HTTP_2 {
                peer.handover = Some(Arc::default());
            }
            let socket = Socket::new(stream, peer.handover.clone());
            let stream = StallTimeout::new(socket, self.stall, valve);
            return Some(http(peer).start(stream, version));
        };
        let socket = Socket::new(stream, None);
        let stream = StallTimeout::new(socket, self.stall, valve);
        match tls::handshake(certificate, stream).await {
            Ok(stream) => {
                // Negotiated, or the one that needs no negotiation (RFC 9113 section 3.2).
                let version = match stream.get_ref().1.alpn_protocol() {
                    Some(b"h2") => Version::HTTP_2,
                    _ => Version::HTTP_11,
                };
                Some(http(peer).start(stream, version))
            }
            Err(error) => {
                tracing::debug!(%error, "a handshake failed");
                None
            }
        }
    }
}

/// A connection whose requests are served.
struct Serving {
    /// Whether a request came.
    requested: Arc<AtomicBool>,
    /// Those of HTTP/2.
    streams: Option<Arc<Streams>>,
    ended: BoxFuture<'static, Result<(), Box<dyn std::error::Error + Send + Sync>>>,
}

/// What serves the requests of a connection, once it is known what it speaks.
struct HttpServer {
    peer: Peer,
    respond: Respond,
    watcher: Watcher,
    head_timeout: Duration,
}

impl HttpServer {
    fn start<S>(self, stream: S, version: Version) -> Serving
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (peer, respond) = (self.peer, self.respond);
        let hang_up = peer.hang_up.clone();
        let requested = Arc::new(AtomicBool::new(false));
        let streams = (version == Version::HTTP_2).then(Arc::<Streams>::default);
        let service = Requests {
            peer,
            respond,
            requested: requested.clone(),
            streams: streams.clone(),
        };
        let builder = builder(version, self.head_timeout);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let served = self.watcher.watch(connection.into_owned());
        let ended = Box::pin(async move {
            let ended = hang_up.run_until_cancelled_owned(served).await;
            ended.unwrap_or(Ok(()))
        });
        Serving {
            requested,
            streams,
            ended,
        }
    }
}

/// The requests of a connection, as hyper hands them over.
struct Requests {
    peer: Peer,
    respond: Respond,
    requested: Arc<AtomicBool>,
    streams: Option<Arc<Streams>>,
}

impl hyper::service::Service<hyper::Request<Incoming>> for Requests {
    type Response = Response;
    type Error = Infallible;
    type Future = Responds;

    fn call(&self, request: hyper::Request<Incoming>) -> Responds {
        self.requested.store(true, Ordering::Relaxed);
        let open = self.streams.as_ref().map(Streams::open);
        let responds = (self.respond)(self.peer.clone(), request.map(Body::new));
        match open {
            None => responds,
            Some(open) => responds
                .map_ok(|response| response.map(|body| Body::new(Responding::new(body, open))))
                .boxed(),
        }
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
        // What stands for a part of a file is known by its address: no chunk is copied on its way to the socket.
        .writev(true)
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
