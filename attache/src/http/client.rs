//! hyper with bounded buffers, limits on every wait, and counts.
//!
//! A usual default (reqwest) lets hyper's read buffer grow to 500 KiB a connection, with no setting for it: 2,000 slow
//! readers held about 1 GB; with 32 KiB they hold 184 MB (http) and 267 MB (https) at the same throughput.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use tokio::time::Instant;

use super::answer::Answer;
use super::connection::{CONNECT_TIMEOUT, Connector, connector};
use super::counts::{Counts, Flight};
use super::pool::{Link, Pool};
use super::roots::Trust;
use crate::http::network::{Proxy, Route};

/// From the last byte of a request that could be handed to the network to the first of its response. Azure ends most
/// operations at 30 s by itself
/// (<https://learn.microsoft.com/rest/api/storageservices/setting-timeouts-for-blob-service-operations>).
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// The same for a request without a body on a connection that served others before: after a fail-over of a firewall, a NAT
/// or a private endpoint such a connection is dead, and nobody says so. A new one is tried then.
const REUSED_TIMEOUT: Duration = Duration::from_secs(12);

/// The slowest rate at which a request's body may leave.
const MIN_SEND_RATE: u64 = 64 * 1024;

/// How connections behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
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

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            idle_after: Duration::from_secs(10 * 60),
            body_idle: Duration::from_secs(30),
            route: Route::default(),
            response_timeout: RESPONSE_TIMEOUT,
            reused_timeout: REUSED_TIMEOUT,
        }
    }
}

/// A connection pool for one configuration; `B` is the body of its requests. Follows no redirect. Dropping it closes the
/// connections that are idle.
pub struct Client<B = Full<Bytes>> {
    /// The pool that is used now: another takes its place when its connections cannot be trusted.
    pool: ArcSwap<Pool<B>>,
    connector: Connector,
    counts: Arc<Counts>,
    route: Arc<Route>,
    idle_after: Duration,
    body_idle: Duration,
    response_timeout: Duration,
    reused_timeout: Duration,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// Nobody could be reached.
    Unreachable(BoxError),
    /// The connection broke.
    Broken(BoxError),
    /// Nothing came in time.
    TimedOut,
}

impl<B> Client<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    /// Makes the pool; connects to nothing yet.
    pub fn new(config: &ClientConfig, trust: Trust) -> Self {
        let route = Arc::new(config.route.clone());
        let counts = Arc::new(Counts::default());
        let connector = connector(trust, route.clone(), counts.clone());
        Self {
            pool: ArcSwap::new(Pool::new(connector.clone(), config.idle_after)),
            connector,
            counts,
            route,
            idle_after: config.idle_after,
            body_idle: config.body_idle,
            response_timeout: config.response_timeout,
            reused_timeout: config.reused_timeout,
        }
    }

    /// The proxy on the way to `url`.
    pub fn proxy_for(&self, url: &str) -> Option<&Proxy> {
        let uri: http::Uri = url.parse().ok()?;
        self.route.proxy_for(&uri)
    }

    /// What happened so far.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Sends a request once, and returns once the head of its answer is here: within the response timeout, or `at_least`,
    /// after the last byte that left. Dropped before its end, it closes the connection that it used.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub async fn send(
        &self,
        request: Request<B>,
        at_least: Duration,
    ) -> Result<Response<Answer>, NoAnswer> {
        let sent = Sent::now(&self.counts);
        let patience = self.response_timeout.max(at_least);
        match self.exchange(request, patience, false).await {
            Ok(answer) => Ok(self.answered(answer, sent)),
            Err(silence) => Err(silence.into()),
        }
    }

    /// As [`send`](Self::send), for a request that may arrive twice: where a pooled connection stays silent for 12 s, `again`
    /// makes the request once more, for a new connection. Nothing is copied for a case that mostly never comes.
    ///
    /// # Errors
    ///
    /// Why there is no answer, or why there is no second request.
    pub async fn send_repeatable<E: From<NoAnswer>, F: Future<Output = Result<Request<B>, E>>>(
        &self,
        request: Request<B>,
        again: impl FnOnce() -> F,
    ) -> Result<Response<Answer>, E> {
        let sent = Sent::now(&self.counts);
        let patience = self.response_timeout;
        let answer = match self.exchange(request, patience, true).await {
            Err(Silence::OfReused) => {
                tracing::debug!("a pooled connection does not respond; trying a new one");
                // Apart, so that what mostly never comes takes no room in every request's future.
                Box::pin(self.exchange(again().await?, patience, false)).await
            }
            outcome => outcome,
        };
        match answer {
            Ok(answer) => Ok(self.answered(answer, sent)),
            Err(silence) => Err(NoAnswer::from(silence).into()),
        }
    }

    /// Sends a request whose waits the caller limits: one whose body comes from somebody else, or a short question.
    ///
    /// # Errors
    ///
    /// Why there is no answer; never [`NoAnswer::TimedOut`].
    pub async fn send_untimed(&self, request: Request<B>) -> Result<Response<Answer>, NoAnswer> {
        let sent = Sent::now(&self.counts);
        match Box::pin(self.exchange_untimed(request)).await {
            Ok(answer) => Ok(self.answered(answer, sent)),
            Err(silence) => Err(silence.into()),
        }
    }

    fn answered(&self, (answer, link): Exchanged<B>, sent: Sent) -> Response<Answer> {
        self.counts.first_byte.note(sent.at.elapsed());
        if let Some(date) = answer.headers().get(http::header::DATE) {
            self.counts.note_date(date);
        }
        answer.map(|incoming| Answer::new(incoming, self.body_idle, sent.flight, link))
    }

    /// Gives up the pool of which a connection turned out to be dead: where one is, the others mostly are, too. What runs on
    /// them goes on; the idle ones are closed.
    fn distrust(&self, pool_of_it: &Arc<Pool<B>>) {
        // Several requests may find out at the same time; the first makes the new pool for all.
        let fresh = Pool::new(self.connector.clone(), self.idle_after);
        self.pool.compare_and_swap(pool_of_it, fresh);
    }

    async fn exchange_untimed(&self, request: Request<B>) -> Result<Exchanged<B>, Silence> {
        let (uri, mut request) = prepare(request)?;
        loop {
            let pool = self.pool.load_full();
            let (mut link, reused) = link(&pool, &uri).await?;
            match link.sender.try_send_request(request).await {
                Ok(answer) => return Ok((answer, link)),
                Err(failed) => request = unsent(failed, reused)?,
            }
        }
    }

    /// Sends a request once. `impatient`: gives up sooner on a connection that served others before.
    async fn exchange(
        &self,
        request: Request<B>,
        patience: Duration,
        impatient: bool,
    ) -> Result<Exchanged<B>, Silence> {
        let length = request.body().size_hint().exact().unwrap_or_default();
        let started = Instant::now();
        let latest =
            started + CONNECT_TIMEOUT + patience + Duration::from_secs(length / MIN_SEND_RATE);
        let (uri, mut request) = prepare(request)?;
        loop {
            let pool = self.pool.load_full();
            let (mut link, reused) = link(&pool, &uri).await?;
            let patience = match reused && impatient {
                true => self.reused_timeout.min(patience),
                false => patience,
            };
            let pulse = link.pulse.clone();
            let mut response = std::pin::pin!(link.sender.try_send_request(request));
            let deadline = tokio::time::sleep_until((Instant::now() + patience).min(latest));
            let mut deadline = std::pin::pin!(deadline);
            let outcome = loop {
                tokio::select! {
                    biased;
                    outcome = &mut response => break outcome,
                    () = &mut deadline => {}
                }
                let due = (pulse.last_sent().max(started) + patience).min(latest);
                if due <= Instant::now() {
                    // The others of its age are no better; those that it leaves are new.
                    if reused {
                        self.distrust(&pool);
                    }
                    return Err(match reused && impatient {
                        true => Silence::OfReused,
                        false => Silence::TooLong,
                    });
                }
                deadline.as_mut().reset(due);
            };
            match outcome {
                Ok(answer) => return Ok((answer, link)),
                Err(failed) => request = unsent(failed, reused)?,
            }
        }
    }
}

/// A response, and the connection that it comes over.
type Exchanged<B> = (Response<Incoming>, Box<Link<B>>);

/// A connection to the host of `uri`, and whether it served others before. A new one stands within [`CONNECT_TIMEOUT`].
async fn link<B>(pool: &Arc<Pool<B>>, uri: &Uri) -> Result<(Box<Link<B>>, bool), Silence>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    if let Some(link) = pool.take(uri) {
        return Ok((link, true));
    }
    // Apart, so that what mostly never comes takes no room in every request's future.
    let link = Box::pin(pool.connect(uri)).await;
    Ok((link.map_err(Silence::Unreachable)?, false))
}

/// The request that did not leave, since its connection was closed meanwhile: another one takes it.
fn unsent<B>(
    mut failed: hyper::client::conn::TrySendError<Request<B>>,
    reused: bool,
) -> Result<Request<B>, Silence> {
    match failed.take_message().filter(|_| reused) {
        Some(request) => Ok(request),
        None => Err(Silence::Broken(failed.into_error().into())),
    }
}

/// Whom a request asks; and the request as it is sent there, which names the host in its head (RFC 9112 section 3.2).
fn prepare<B>(mut request: Request<B>) -> Result<(Uri, Request<B>), Silence> {
    let uri = std::mem::take(request.uri_mut());
    let wrong = |what: &str| Silence::Unreachable(what.into());
    let authority = uri
        .authority()
        .ok_or_else(|| wrong("an address without a host"))?;
    if !request.headers().contains_key(HOST) {
        let host = without_user(authority.as_str());
        // What a browser leaves out, servers compare.
        let usual = match uri.scheme_str() {
            Some("https") => ":443",
            _ => ":80",
        };
        let host = HeaderValue::from_str(host.strip_suffix(usual).unwrap_or(host))
            .map_err(|_| wrong("the host cannot be written into a request"))?;
        request.headers_mut().insert(HOST, host);
    }
    let path = uri.path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    Ok((uri, request))
}

fn without_user(authority: &str) -> &str {
    authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host)
}

/// A request that is on its way.
struct Sent {
    at: std::time::Instant,
    flight: Flight,
}

impl Sent {
    fn now(counts: &Arc<Counts>) -> Self {
        Self {
            at: std::time::Instant::now(),
            flight: Flight::start(counts),
        }
    }
}

/// Why there is no response.
enum Silence {
    /// There is no connection.
    Unreachable(BoxError),
    /// The connection failed.
    Broken(BoxError),
    /// Nothing came on a connection that had served others before.
    OfReused,
    /// Nothing came.
    TooLong,
}

impl From<Silence> for NoAnswer {
    fn from(silence: Silence) -> Self {
        match silence {
            Silence::Unreachable(error) => Self::Unreachable(error),
            Silence::Broken(error) => Self::Broken(error),
            Silence::OfReused | Silence::TooLong => Self::TimedOut,
        }
    }
}

impl<B> fmt::Debug for Client<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(_) => f.write_str("cannot connect"),
            Self::Broken(_) => f.write_str("the connection broke"),
            Self::TimedOut => f.write_str("timed out waiting for a response"),
        }
    }
}

impl std::error::Error for NoAnswer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable(error) | Self::Broken(error) => Some(&**error),
            Self::TimedOut => None,
        }
    }
}
