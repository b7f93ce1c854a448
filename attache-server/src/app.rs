//! The server: routes, middleware in their order, and a graceful stop.

use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use attache::config::AuthMode;
use attache::observe::history::SAMPLE_EVERY;
use attache::{Attache, Error, ErrorKind, Result};
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri, Version};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use tracing::level_filters::LevelFilter;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::allocator::allocated_bytes;
use crate::auth::session::Ended;
use crate::auth::tokens::Tokens;
use crate::auth::{Auth, Caller};
use crate::net::connection::Connection;
use crate::net::limits::{self, LimitExceeded, Limits, Uploading};
use crate::net::peer::{self, Peer};
use crate::net::refusal;
use crate::readiness::Readiness;
use crate::reload::{Loaded, Reloader, Source};
use crate::respond::{Failure, plain_problem};
use crate::{audit, cors, deliver, framing, otlp, v1, web};

/// How often what was interrupted is looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);

/// Connections beyond the limit whose request is read before they are told so, at a time.
const REFUSALS: usize = 64;

/// What handlers share.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) attache: Attache,
    pub(crate) reloader: Reloader,
    auth: ArcSwap<Auth>,
    tokens: Arc<Tokens>,
    limits: Arc<Limits>,
    pub(crate) readiness: Arc<Readiness>,
    stopping: CancellationToken,
}

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Shared {
    /// Counts a request beyond a limit; the response to it.
    fn limited(&self, exceeded: LimitExceeded, wait: Option<Duration>) -> Failure {
        self.attache.metrics().limited(exceeded.as_str());
        Failure(limits::refusal(exceeded, wait))
    }

    /// Counts an upload of this caller in, until what it returns is dropped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Busy`].
    pub(crate) fn begin_upload(&self, caller: &Caller) -> Result<Uploading> {
        let parts = self.attache.parts();
        self.limits
            .upload(&parts.config.limits, &caller.name)
            .map_err(|exceeded| self.limited(exceeded, None).0)
    }

    /// Whether this caller may send a request now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooManyRequests`].
    pub(crate) fn pace(&self, caller: &Caller) -> Result<()> {
        let parts = self.attache.parts();
        self.limits
            .caller(&parts.config.limits, &caller.name)
            .map_err(|wait| self.limited(LimitExceeded::CallerRate, Some(wait)).0)
    }

    /// Who may do what, by the configuration that serves now.
    pub(crate) fn auth(&self) -> Result<Arc<Auth>> {
        let parts = self.attache.parts();
        let auth = self.auth.load_full();
        if auth.generation >= parts.generation {
            return Ok(auth);
        }
        // Whoever notices first builds; that costs no I/O, so two who notice at once may both do it.
        let fresh = Auth::build(
            &parts.config.auth,
            parts.generation,
            self.tokens.clone(),
            Some(&auth),
        )?;
        let fresh = Arc::new(fresh);
        self.auth
            .rcu(|current| match current.generation >= fresh.generation {
                true => current.clone(),
                false => fresh.clone(),
            });
        Ok(fresh)
    }

    /// Ends the sessions that a request carries, everywhere where these tokens are good.
    pub(crate) async fn sign_out(&self, sessions: Vec<Ended>) -> Result<()> {
        if sessions.is_empty() {
            return Ok(());
        }
        let tokens = self.tokens.clone();
        tokio::task::spawn_blocking(move || tokens.end_sessions(&sessions))
            .await
            .map_err(|error| Error::internal("signing out failed").with_source(error))?
    }

    /// The server is about to end; it takes no new work.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }
}

/// Serves until SIGTERM or SIGINT. `source` is read again on reload.
pub(crate) async fn serve(loaded: Loaded, source: Source) -> Result<()> {
    let config = loaded.config.clone();
    for remark in config.remarks() {
        tracing::warn!("{remark}");
    }
    raise_descriptors();
    let listener = listen(config.server.listen).await?;
    let address = listener
        .local_addr()
        .map_err(|error| Error::internal("the listener has no address").with_source(error))?;
    let reloader = Reloader::new(source, loaded, address)?;
    let attache = Attache::open(config.clone()).await?;
    let folder = config.data_folder();
    let tokens = tokio::task::spawn_blocking(move || Tokens::open(&folder)).await;
    let tokens = tokens.map_err(|error| Error::internal("opening failed").with_source(error))??;
    if tokens.is_empty() && config.auth.mode == [AuthMode::Token] {
        tracing::warn!(
            "there are no tokens yet, so every request is refused; `attache token create --help` shows how to create one"
        );
    }
    let tokens = Arc::new(tokens);
    let auth = Auth::build(
        &config.auth,
        attache.parts().generation,
        tokens.clone(),
        None,
    )?;
    let app = App(Arc::new(Shared {
        attache,
        auth: ArcSwap::from_pointee(auth),
        tokens,
        limits: Arc::default(),
        readiness: Arc::default(),
        reloader,
        stopping: CancellationToken::new(),
    }));
    // Before anybody learns that it runs: an early SIGHUP would end the process.
    let hangup = signal_stream(SignalKind::hangup())?;
    announce(address, app.reloader.tls.current().is_some());
    let mut background = JoinSet::new();
    background.spawn(sweep_regularly(app.clone()));
    background.spawn(watch_configuration(app.clone()));
    background.spawn(reload_on_hangup(app.clone(), hangup));
    background.spawn(app.tokens.clone().watch());
    app.attache.count_heap_with(allocated_bytes);
    background.spawn(observe_regularly(app.clone()));
    let outcome = run(listener, &app).await;
    background.shutdown().await;
    let tokens = app.tokens.clone();
    let _ = tokio::task::spawn_blocking(move || tokens.close()).await;
    outcome
}

/// Lets the process open as many files and connections as it may: shells and systemd grant 1024 until somebody asks
/// (<https://0pointer.net/blog/file-descriptor-limits.html>).
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: now.maximum,
        maximum: now.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, granted = ?now.current, "cannot raise the limit of open files");
    }
}

/// One line on stdout, for people to click and for scripts that listen on port 0 to read.
fn announce(address: SocketAddr, secure: bool) {
    use std::io::Write as _;
    tracing::info!(%address, secure, "listening");
    let scheme = if secure { "https" } else { "http" };
    // A closed stdout is no reason not to serve.
    let mut out = std::io::stdout().lock();
    let _ =
        writeln!(out, "attache is listening on {scheme}://{address}").and_then(|()| out.flush());
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "; something else listens there: stop it, or set server.listen"
            }
            std::io::ErrorKind::PermissionDenied => {
                "; ports below 1024 need privileges: set server.listen"
            }
            _ => "; set server.listen",
        };
        Error::new(
            ErrorKind::Misconfigured,
            format!("cannot listen on {address}: {error}{hint}"),
        )
    })
}

/// Accepts until a signal; then lets running transfers finish within the grace, and cuts them after it, or at a second
/// signal.
async fn run(listener: TcpListener, app: &App) -> Result<()> {
    let mut terminate = signal_stream(SignalKind::terminate())?;
    let mut interrupt = signal_stream(SignalKind::interrupt())?;
    let router = router(app.clone());
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, address)) => {
                let parts = app.attache.parts();
                let config = &parts.config;
                let admitted = app
                    .limits
                    .connect(&config.limits, &config.server, address.ip());
                let admitted = match admitted {
                    Ok(admitted) => admitted,
                    Err(exceeded) => {
                        app.attache.metrics().limited(exceeded.as_str());
                        match refusals.clone().try_acquire_owned() {
                            Ok(place) => {
                                connections.spawn(async move {
                                    refusal::refuse(stream).await;
                                    drop(place);
                                });
                            }
                            Err(_) => refusal::refuse_unheard(&stream),
                        }
                        continue;
                    }
                };
                let _ = stream.set_nodelay(true);
                let connection = Connection {
                    stream,
                    address: address.ip(),
                    tls: app.reloader.tls.current(),
                    stall: config.download.idle_timeout,
                    head_timeout: config.limits.head_timeout,
                    stopping: app.stopping.clone(),
                };
                let serving = connection.serve(router.clone(), graceful.watcher());
                connections.spawn(async move {
                    let _admitted = admitted;
                    serving.await;
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: wait until some are free instead of spinning.
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    app.stopping.cancel();
    drop(listener);
    let grace = app.attache.parts().config.server.shutdown_grace;
    tracing::info!(
        grace_s = grace.as_secs(),
        running = connections.len(),
        "stopping"
    );
    let deadline = Instant::now() + grace;
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(grace) => tracing::warn!("shutdown grace period expired; aborting remaining connections"),
        _ = terminate.recv() => tracing::warn!("second signal; aborting remaining connections"),
        _ = interrupt.recv() => tracing::warn!("second signal; aborting remaining connections"),
    }
    // Uploads end with an error that their senders can still read.
    if !connections.is_empty() {
        app.attache.cut();
        let flushed = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_millis(500), flushed).await;
    }
    connections.shutdown().await;
    app.attache
        .close(deadline.saturating_duration_since(Instant::now()))
        .await;
    tracing::info!("stopped");
    Ok(())
}

fn signal_stream(kind: SignalKind) -> Result<tokio::signal::unix::Signal> {
    signal(kind).map_err(|error| Error::internal("cannot listen for signals").with_source(error))
}

async fn sweep_regularly(app: App) {
    let mut timer = tokio::time::interval(SWEEP_EVERY);
    loop {
        timer.tick().await;
        match app.attache.sweep().await {
            Ok(report) if report == attache::observe::status::SweepReport::default() => {}
            Ok(report) => tracing::info!(?report, "swept"),
            Err(error) => tracing::warn!(error = error.report(), "sweeping failed"),
        }
    }
}

/// Writes the history of the status page.
async fn observe_regularly(app: App) {
    let mut timer = tokio::time::interval(SAMPLE_EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        app.attache.observe().await;
    }
}

async fn watch_configuration(app: App) {
    app.reloader.watch(&app.attache).await;
}

async fn reload_on_hangup(app: App, mut hangup: tokio::signal::unix::Signal) {
    while hangup.recv().await.is_some() {
        // Logged where it is decided.
        let _ = app.reloader.reload(&app.attache).await;
    }
}

#[derive(OpenApi)]
#[openapi(info(
    title = "attache",
    description = "The attachment store: upload, store, deliver. Errors are application/problem+json with a stable `code`.",
    license(name = "MIT OR Apache-2.0")
))]
struct ApiDoc;

fn router(app: App) -> Router {
    let (router, mut openapi) = OpenApiRouter::with_openapi(ApiDoc::openapi())
        .routes(routes!(v1::upload, v1::list))
        .routes(routes!(v1::find, v1::delete))
        .routes(routes!(v1::delete_all))
        .routes(routes!(v1::url))
        .routes(routes!(v1::limits))
        .routes(routes!(v1::status))
        .routes(routes!(v1::history))
        .routes(routes!(v1::reload))
        .routes(routes!(v1::sweep))
        .routes(routes!(v1::session, v1::sign_in, v1::sign_out))
        .routes(routes!(v1::healthz))
        .routes(routes!(v1::readyz))
        .routes(routes!(v1::metrics))
        .routes(routes!(deliver::attachment))
        .routes(routes!(deliver::download))
        .split_for_parts();
    openapi.info.version = env!("CARGO_PKG_VERSION").to_owned();
    // Strangers may ask for it as often as they like, so it is made once.
    let openapi = Bytes::from(serde_json::to_vec(&openapi).unwrap_or_default());
    router
        .route(
            "/openapi.json",
            axum::routing::get(async move || {
                ([(CONTENT_TYPE, "application/json")], openapi.clone())
            }),
        )
        .route("/", axum::routing::get(web::index))
        .route("/status", axum::routing::get(web::status))
        .route("/assets/{name}", axum::routing::get(web::asset))
        .fallback(async |uri: Uri| {
            let detail = format!("there is nothing at {}", uri.path().escape_default());
            plain_problem(StatusCode::NOT_FOUND, "not_found", detail)
        })
        .method_not_allowed_fallback(async |uri: Uri| {
            let detail = format!(
                "{} does not support this method",
                uri.path().escape_default()
            );
            plain_problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        })
        // Bodies have limits of their own: uploads the configured ones, JSON a small one.
        .layer(axum::extract::DefaultBodyLimit::disable())
        // One layer for all that stands before the handlers: each clones those inside of it for every request.
        .layer(middleware::from_fn_with_state(app.clone(), admit))
        .layer(middleware::from_fn(with_request_id))
        .with_state(app)
}

/// Paths that somebody asks to learn whether we are alive: they must not fail because we are busy.
const VITAL: [&str; 2] = ["/healthz", "/readyz"];

/// What an operator looks at, and does, while a server is full. None of it waits for somebody who is not one.
const OPERATORS: [&str; 5] = [
    "/v1/admin/",
    "/v1/status",
    "/metrics",
    "/status",
    "/assets/",
];

/// Where a token is exchanged for a cookie.
const SIGN_IN: &str = "/v1/session";

/// What is wrong with the host that a request names: there must be one, and one alone (RFC 9112 section 3.2, RFC 9113 section
/// 8.3.1), because links and the origin of pages are told by it, and whoever is in front of us may read another one.
fn host_fault(version: Version, uri: &Uri, headers: &HeaderMap) -> Option<&'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return Some("the request has more than one Host");
    }
    let target = uri.authority().map(|authority| authority.as_str());
    let host = match host.map(HeaderValue::to_str) {
        Some(Ok(host)) => Some(host),
        Some(Err(_)) => return Some("Host is not a host name"),
        None => None,
    };
    if version == Version::HTTP_2 {
        if let (Some(target), Some(host)) = (target, host)
            && !target.eq_ignore_ascii_case(host)
        {
            return Some("Host and :authority differ");
        }
    } else if version != Version::HTTP_10 && host.is_none() {
        return Some("the request has no Host");
    }
    let named = host.or(target).unwrap_or_default();
    let plain =
        named.is_empty() || (!named.contains('@') && named.parse::<http::uri::Authority>().is_ok());
    (!plain).then_some("Host is not a host name")
}

/// What stands before the handlers, outermost first: which pages may read the response, limits, and how a body may come.
async fn admit(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    cors::share(&app, request, |request| {
        within_limits(&app, peer, request, next)
    })
    .await
}

async fn handle(request: Request, next: Next) -> Response {
    match framing::only_chunked(request.headers()) {
        true => next.run(request).await,
        false => framing::refuse(request),
    }
}

/// Refuses what is more than a client, or all of them, may ask for.
async fn within_limits(app: &App, peer: Peer, request: Request, next: Next) -> Response {
    if let Some(what) = host_fault(request.version(), request.uri(), request.headers()) {
        return Failure(Error::bad_request(what)).into_response();
    }
    let parts = app.attache.parts();
    let config = &parts.config;
    let client = peer::client(&config.server, peer.address, request.headers());
    audit::of_client(client, within_limits_of(app, client, request, next)).await
}

async fn within_limits_of(app: &App, client: IpAddr, request: Request, next: Next) -> Response {
    if VITAL.contains(&request.uri().path()) {
        return handle(request, next).await;
    }
    let parts = app.attache.parts();
    let config = &parts.config;
    if let Err(wait) = app.limits.client(&config.limits, client) {
        return app
            .limited(LimitExceeded::ClientRate, Some(wait))
            .into_response();
    }
    let path = request.uri().path();
    // Before it has a name, a sign-in waits for a body. So it takes no place of the others.
    if path == SIGN_IN && request.method() == Method::POST {
        let place = app.limits.sign_in();
        return tokio::select! {
            response = handle(request, next) => response,
            () = place.given_up() => app.limited(LimitExceeded::SignIns, None).into_response(),
        };
    }
    let operator = OPERATORS.iter().any(|front| path.starts_with(front));
    let begun = app
        .limits
        .begin(&config.limits, &config.server, client, operator);
    match begun {
        Ok(_running) => handle(request, next).await,
        Err(exceeded) => app.limited(exceeded, None).into_response(),
    }
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives every request an id: the one it brought, if that is short and plain, or a new one.
async fn with_request_id(request: Request, next: Next) -> Response {
    let brought = request
        .headers()
        .get(X_REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(|id| {
            (1..=64).contains(&id.len())
                && id
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
        .map(str::to_owned);
    let id = brought.unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()));
    let value = HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static(""));
    // Copied for the log alone, which mostly is not that talkative. Not `tracing::enabled!`: where layers have filters of
    // their own it leaves a mark, and the next line of this thread is lost.
    let talkative = LevelFilter::current() >= LevelFilter::DEBUG;
    let told = talkative.then(|| {
        // The path alone: a query may be a permission.
        let path = request.uri().path().to_owned();
        (id.clone(), request.method().clone(), path, Instant::now())
    });
    let (span, context) = otlp::begin(&request, &id);
    let work = context.scope(next.run(request)).instrument(span.clone());
    let mut response = work.await;
    span.record("http.response.status_code", response.status().as_u16());
    if let Some((request_id, method, path, started)) = told {
        tracing::debug!(request_id, %method, path, status = response.status().as_u16(), elapsed = ?started.elapsed(), "answered");
    }
    response.headers_mut().insert(X_REQUEST_ID, value);
    response
}
