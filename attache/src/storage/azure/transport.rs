//! The HTTP client below Microsoft's crates: hyper with bounded buffers, limits on every wait, and counts.
//!
//! The crates' own default (reqwest) lets hyper's read buffer grow to 500 KiB a connection, with no setting for it:
//! 2,000 slow readers held about 1 GB; with 32 KiB they hold 184 MB (http) and 267 MB (https) at the same throughput.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use azure_core::error::{Error as AzureError, ErrorKind as AzureErrorKind};
use azure_core::http::headers::{HeaderName, HeaderValue, Headers};
use azure_core::http::{AsyncRawResponse, Body as AzureBody, HttpClient, Request};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt as _, TryFutureExt as _};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{
    CaptureConnection, Connected, Connection, HttpConnector, capture_connection,
};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tower::Service;

use crate::error::{Error, ErrorKind, Result};
use crate::network::{Proxy, Route};
use crate::observe::latency::Latency;

/// hyper's read buffer of one connection; the default is adaptive, up to about 400 KiB. One TLS record holds no more
/// (RFC 8446 section 5.1), so a larger one is never filled by one read; and where it is always the same, a record fits as
/// a whole, instead of leaving its other half in the TLS library, as it did for seven of ten slow readers.
const READ_BUFFER: usize = 16 * 1024;

/// Until a connection stands, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// From the last byte of a request that could be handed to the network to the first of its response. Azure ends most
/// operations at 30 s by itself
/// (<https://learn.microsoft.com/rest/api/storageservices/setting-timeouts-for-blob-service-operations>).
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// The same for Put Block List, which Azure gives 60 s.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(60);

/// The same for a request without a body on a connection that served others before: after a fail-over of a firewall, a NAT
/// or a private endpoint such a connection is dead, and nobody says so. A new one is tried then.
const REUSED_TIMEOUT: Duration = Duration::from_secs(12);

/// The slowest rate at which a request's body may leave.
const MIN_SEND_RATE: u64 = 64 * 1024;

/// Idle connections that are kept. More than that are closed as soon as they are idle.
const MAX_IDLE: usize = 128;

/// What is read of an answer that refuses a request, in bytes. Azure's have a few hundred.
const LONGEST_REFUSAL: usize = 16 * 1024;

/// Probes of a quiet connection, so that a dead peer is noticed: the first after this time,
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// and this many more at this distance. The system's own (9 at 75 s) outlast `clients.idle_after`.
const TCP_PROBES: (u32, Duration) = (3, Duration::from_secs(10));

/// What was sent and not acknowledged for so long was sent into the void (TCP_USER_TIMEOUT, RFC 5482).
#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
const TCP_UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// How connections behave; a part of what is compared when the configuration is loaded again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportConfig {
    /// PEM certificates that are trusted besides those of the system.
    pub ca_pem: Option<String>,
    /// Idle connections are closed after this time.
    pub idle_after: Duration,
    /// An answer whose body stalls this long is given up.
    pub body_idle: Duration,
    /// Which way to a host.
    pub route: Route,
    /// How long the service may take from the last byte of a request to the first of its response; 30 s.
    pub response_timeout: Duration,
    /// How long a connection that served others before may take to answer a request without a body, until a new connection
    /// is tried; 12 s.
    pub reused_timeout: Duration,
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            ca_pem: None,
            idle_after: Duration::from_secs(10 * 60),
            body_idle: Duration::from_secs(30),
            route: Route::default(),
            response_timeout: RESPONSE_TIMEOUT,
            reused_timeout: REUSED_TIMEOUT,
        }
    }
}

/// Counts of one transport.
#[derive(Debug, Default)]
pub(super) struct TransportCounts {
    /// Connections that are open.
    pub(super) open: AtomicU64,
    /// Connections that were made.
    pub(super) made: AtomicU64,
    /// Requests between their start and the end of their answer's body.
    pub(super) in_flight: AtomicU64,
    /// From the start of a request to the head of its answer.
    pub(super) first_byte: Latency,
    /// How far the service's clock is ahead, in milliseconds, from its last `Date` header; `i64::MIN` before the first.
    skew_ms: std::sync::atomic::AtomicI64,
}

impl TransportCounts {
    /// How far the service's clock is ahead of ours, to the second. `None` before the first answer.
    pub(super) fn skew(&self) -> Option<time::Duration> {
        match self.skew_ms.load(Ordering::Relaxed) {
            i64::MIN => None,
            ms => Some(time::Duration::milliseconds(ms)),
        }
    }
}

type Connector = Counting<HttpsConnector<Dial>>;

/// A connection pool for one configuration. Everything that talks to one store shares it; dropping the last
/// clone closes its connections.
pub(super) struct Transport {
    /// The pool that is used now: another takes its place when its connections cannot be trusted.
    pool: ArcSwap<Pool>,
    connector: Connector,
    idle_after: Duration,
    counts: Arc<TransportCounts>,
    body_idle: Duration,
    route: Arc<Route>,
    response_timeout: Duration,
    reused_timeout: Duration,
}

type Pool = Client<Connector, Full<Bytes>>;

impl Transport {
    /// Makes the pool; connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] if the extra certificates cannot be read.
    pub(super) fn new(config: &TransportConfig) -> Result<Arc<Self>> {
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
        let route = Arc::new(config.route.clone());
        let tls = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls_config(config.ca_pem.as_deref())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Dial {
                tcp,
                route: route.clone(),
            });
        let counts = Arc::new(TransportCounts {
            skew_ms: i64::MIN.into(),
            ..TransportCounts::default()
        });
        let connector = Counting {
            inner: tls,
            counts: counts.clone(),
        };
        Ok(Arc::new(Self {
            pool: ArcSwap::from_pointee(pool(connector.clone(), config.idle_after)),
            connector,
            idle_after: config.idle_after,
            counts,
            body_idle: config.body_idle,
            route,
            response_timeout: config.response_timeout,
            reused_timeout: config.reused_timeout,
        }))
    }

    /// The proxy on the way to `url`.
    pub(super) fn proxy_for(&self, url: &str) -> Option<&Proxy> {
        let uri: http::Uri = url.parse().ok()?;
        self.route.proxy_for(&uri)
    }

    /// Gives up the pool of which a connection turned out to be dead: where one is, the others mostly are, too. What runs on
    /// them goes on; the idle ones are closed.
    fn distrust(&self, pool_of_it: &Arc<Pool>) {
        // Several requests may find out at the same time; the first makes the new pool for all.
        let fresh = Arc::new(pool(self.connector.clone(), self.idle_after));
        self.pool.compare_and_swap(pool_of_it, fresh);
    }

    /// What happened so far.
    pub(super) fn counts(&self) -> &Arc<TransportCounts> {
        &self.counts
    }
}

fn pool(connector: Connector, idle_after: Duration) -> Pool {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(idle_after)
        .pool_max_idle_per_host(MAX_IDLE)
        .http1_read_buf_exact_size(READ_BUFFER)
        // Blocks go out as they are; flattening would copy each into a second buffer.
        .http1_writev(true)
        .build(connector)
}

fn tls_config(ca_pem: Option<&str>) -> Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        // A container from scratch has no certificates of its own; Mozilla's come with us.
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(pem) = ca_pem {
        let unreadable = |what: String| {
            Error::new(
                ErrorKind::Misconfigured,
                format!("storage.azure.ca_file {what}"),
            )
        };
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
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal("cannot set up TLS").with_source(error))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

impl Transport {
    /// Sends a request, and returns once the head of its answer is here.
    ///
    /// # Errors
    ///
    /// `Connection` if nobody could be reached, `Io` if the connection broke or no answer came in time: within 30 s of the
    /// last byte that left (60 s for Put Block List). A request without a body that finds a pooled connection silent for 12 s
    /// is sent once more on a new one. Dropped before its end, it closes the connection that it used.
    pub(super) async fn send(
        &self,
        request: hyper::Request<Full<Bytes>>,
    ) -> azure_core::Result<hyper::Response<Answer>> {
        let flight = Flight::start(&self.counts);
        let started = std::time::Instant::now();
        let repeatable = matches!(*request.method(), http::Method::GET | http::Method::HEAD);
        let again = repeatable.then(|| request.clone());
        let answer = match (self.exchange(request, repeatable).await, again) {
            (Err(Silence::OfReused), Some(again)) => {
                tracing::debug!("a pooled connection does not respond; trying a new one");
                self.exchange(again, false).await
            }
            (outcome, _) => outcome,
        };
        let answer = answer.map_err(|silence| match silence {
            Silence::Failed(error) => send_error(error),
            Silence::OfReused | Silence::TooLong => late("timed out waiting for the store"),
        })?;
        self.counts.first_byte.note(started.elapsed());
        if let Some(skew) = answer
            .headers()
            .get(http::header::DATE)
            .and_then(measure_skew)
        {
            self.counts.skew_ms.store(skew, Ordering::Relaxed);
        }
        Ok(answer.map(|incoming| Answer {
            incoming,
            idle: self.body_idle,
            timer: None,
            _flight: flight,
        }))
    }
}

/// Why there is no response.
enum Silence {
    /// The connection failed.
    Failed(ClientError),
    /// Nothing came on a connection that had served others before.
    OfReused,
    /// Nothing came.
    TooLong,
}

impl Transport {
    /// Sends a request once. `impatient`: gives up sooner on a connection that served others before.
    async fn exchange(
        &self,
        mut request: hyper::Request<Full<Bytes>>,
        impatient: bool,
    ) -> Result<hyper::Response<Incoming>, Silence> {
        let length = request.body().size_hint().exact().unwrap_or_default();
        let is_commit = request
            .uri()
            .query()
            .is_some_and(|query| query.contains("comp=blocklist"));
        let patience = match is_commit {
            true => COMMIT_TIMEOUT.max(self.response_timeout),
            false => self.response_timeout,
        };
        let started = Instant::now();
        let latest =
            started + CONNECT_TIMEOUT + patience + Duration::from_secs(length / MIN_SEND_RATE);
        let mut connection = capture_connection(&mut request);
        let pool = self.pool.load_full();
        let mut response = std::pin::pin!(pool.request(request));
        // The connection is looked at when the shortest of the times is over, which mostly never comes.
        let first_look = match impatient {
            true => self.reused_timeout.min(patience),
            false => patience,
        };
        let deadline = tokio::time::sleep_until((started + first_look).min(latest));
        let mut deadline = std::pin::pin!(deadline);
        loop {
            tokio::select! {
                biased;
                outcome = &mut response => return outcome.map_err(Silence::Failed),
                () = &mut deadline => {}
            }
            if pulse_of(&connection).is_none() {
                tokio::select! {
                    biased;
                    outcome = &mut response => return outcome.map_err(Silence::Failed),
                    _ = connection.wait_for_connection_metadata() => {}
                    () = tokio::time::sleep_until(latest) => return Err(Silence::TooLong),
                }
            }
            let Some(pulse) = pulse_of(&connection) else {
                // Every connection is made by `Counting`, which gives it one.
                return match tokio::time::timeout_at(latest, response).await {
                    Ok(outcome) => outcome.map_err(Silence::Failed),
                    Err(_) => Err(Silence::TooLong),
                };
            };
            let reused = pulse.has_served();
            let patience = match reused && impatient {
                true => self.reused_timeout,
                false => patience,
            };
            let due = (pulse.last_sent().max(started) + patience).min(latest);
            if due <= Instant::now() {
                // The others of its age are no better; those that it leaves are new.
                if reused {
                    self.distrust(&pool);
                }
                return Err(match reused {
                    true => Silence::OfReused,
                    false => Silence::TooLong,
                });
            }
            deadline.as_mut().reset(due);
        }
    }
}

/// What moves on the connection that a request was given; `None` before it has one. `Counting` makes all of them.
fn pulse_of(connection: &CaptureConnection) -> Option<Arc<Pulse>> {
    let mut extras = http::Extensions::new();
    connection
        .connection_metadata()
        .as_ref()?
        .get_extras(&mut extras);
    extras.remove()
}

/// What has moved on a connection.
#[derive(Debug)]
struct Pulse {
    born: Instant,
    /// Milliseconds after `born`.
    sent_ms: AtomicU64,
    served: AtomicBool,
}

impl Pulse {
    fn new() -> Self {
        Self {
            born: Instant::now(),
            sent_ms: AtomicU64::new(0),
            served: AtomicBool::new(false),
        }
    }

    /// Whether anything was ever received.
    fn has_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    /// When the system last took bytes to send.
    fn last_sent(&self) -> Instant {
        self.born + Duration::from_millis(self.sent_ms.load(Ordering::Relaxed))
    }

    fn note_sent(&self, outcome: &Poll<std::io::Result<usize>>) {
        if matches!(outcome, Poll::Ready(Ok(1..))) {
            let ms = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.sent_ms.store(ms, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl HttpClient for Transport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let AzureBody::Bytes(body) = request.body() else {
            // Nothing in attache sends one: blocks are cut by us.
            return Err(AzureError::with_message(
                AzureErrorKind::Other,
                "streamed request bodies are not supported",
            ));
        };
        let mut outgoing = hyper::Request::builder()
            .method(request.method().as_str())
            .uri(request.url().as_str());
        for (name, value) in request.headers().iter() {
            outgoing = outgoing.header(name.as_str(), value.as_str());
        }
        let outgoing = outgoing
            .body(Full::new(body.clone()))
            .map_err(|error| AzureError::new(AzureErrorKind::Other, error))?;
        let (head, body) = self.send(outgoing).await?.into_parts();
        Ok(azure_answer(&head, body))
    }
}

/// An answer as Microsoft's crates have it. They keep all of what refuses a request, so it ends at [`LONGEST_REFUSAL`].
pub(super) fn azure_answer(head: &http::response::Parts, body: Answer) -> AsyncRawResponse {
    let mut headers = Headers::new();
    for (name, value) in &head.headers {
        if let Ok(value) = value.to_str() {
            headers.insert(
                HeaderName::from(name.as_str().to_owned()),
                HeaderValue::from(value.to_owned()),
            );
        }
    }
    let status = head.status.as_u16().into();
    if head.status.is_success() {
        return AsyncRawResponse::new(status, headers, Box::pin(body));
    }
    let beginning = body.scan(LONGEST_REFUSAL, |left, chunk| {
        let chunk = chunk.map(|mut chunk| {
            chunk.truncate(*left);
            *left -= chunk.len();
            chunk
        });
        let over = chunk.as_ref().is_ok_and(Bytes::is_empty);
        futures::future::ready((!over).then_some(chunk))
    });
    AsyncRawResponse::new(status, headers, Box::pin(beginning))
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport")
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

fn send_error(error: ClientError) -> AzureError {
    let kind = if error.is_connect() {
        AzureErrorKind::Connection
    } else {
        AzureErrorKind::Io
    };
    AzureError::new(kind, error)
}

/// What stalls is worth another try; the error inside tells it from a failure.
fn late(what: &'static str) -> AzureError {
    let late = std::io::Error::new(std::io::ErrorKind::TimedOut, what);
    AzureError::new(AzureErrorKind::Io, late)
}

/// The difference of clocks in milliseconds. `Date` has whole seconds, so less than one is no difference.
fn measure_skew(date: &http::HeaderValue) -> Option<i64> {
    let theirs = azure_core::time::parse_rfc7231(date.to_str().ok()?).ok()?;
    let ahead = theirs - time::OffsetDateTime::now_utc();
    if ahead.abs() < time::Duration::seconds(2) {
        return Some(0);
    }
    i64::try_from(ahead.whole_milliseconds()).ok()
}

/// A request that counts as in flight until it is dropped.
struct Flight(Arc<TransportCounts>);

impl Flight {
    fn start(counts: &Arc<TransportCounts>) -> Self {
        counts.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(counts.clone())
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer. Dropping it before its end closes the connection at once.
pub(super) struct Answer {
    incoming: Incoming,
    idle: Duration,
    /// Runs while a frame is awaited; time in which nobody asks does not count.
    timer: Option<Pin<Box<Sleep>>>,
    _flight: Flight,
}

impl Stream for Answer {
    type Item = azure_core::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match Pin::new(&mut this.incoming).poll_frame(cx) {
                Poll::Ready(frame) => {
                    this.timer = None;
                    match frame {
                        None => return Poll::Ready(None),
                        Some(Err(error)) => {
                            return Poll::Ready(Some(Err(AzureError::new(
                                AzureErrorKind::Io,
                                error,
                            ))));
                        }
                        Some(Ok(frame)) => match frame.into_data() {
                            Ok(data) => return Poll::Ready(Some(Ok(data))),
                            // Trailers carry nothing that we use.
                            Err(_) => continue,
                        },
                    }
                }
                Poll::Pending => {
                    let idle = this.idle;
                    let timer = this
                        .timer
                        .get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
                    return std::future::Future::poll(timer.as_mut(), cx)
                        .map(|()| Some(Err(late("timed out: the store stopped sending"))));
                }
            }
        }
    }
}

/// Connects to a host, or to it through a proxy.
#[derive(Clone)]
struct Dial {
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
pub(super) struct ProxyFailed {
    /// Host and port of the proxy.
    pub(super) address: String,
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
struct Counting<C> {
    inner: C,
    counts: Arc<TransportCounts>,
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
struct Counted {
    stream: Dialed,
    counts: Arc<TransportCounts>,
    pulse: Arc<Pulse>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection for Counted {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(self.pulse.clone())
    }
}

impl Read for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        // The end of a connection counts too, which makes no difference to anybody.
        if outcome.is_ready() {
            self.pulse.served.store(true, Ordering::Relaxed);
        }
        outcome
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
