//! The life of the server: it opens, listens, accepts, and stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::auth::AuthMode;
use attache::storage::config::Backend;
use attache::{Attache, Error, ErrorKind, Result};
use futures::FutureExt as _;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::allocator;
use crate::auth::tokens::Tokens;
use crate::config::Settings;
use crate::jobs;
use crate::net::connection::{Accepted, Respond};
use crate::net::refusal;
use crate::reload::{Loaded, Reloader, Source};
use crate::router::Api;
use crate::s3;
use crate::s3::keys::Keys;
use crate::state::App;
use crate::threads::Threads;

/// Connections beyond the limit whose request is read before they are refused, at a time.
const REFUSALS: usize = 64;

/// Serves until SIGTERM or SIGINT. `source` is read again on reload.
pub(crate) async fn serve(loaded: Loaded, source: Source) -> Result<()> {
    // In boxes, so that what opening takes is given back before anything is served.
    let Opened {
        listener,
        s3,
        app,
        mut jobs,
    } = Box::pin(open(loaded, source)).await?;
    allocator::collect_after_start();
    let outcome = Box::pin(run(listener, s3, &app)).await;
    jobs.shutdown().await;
    outcome
}

/// What serves.
struct Opened {
    listener: TcpListener,
    s3: Option<TcpListener>,
    app: App,
    jobs: JoinSet<()>,
}

async fn open(loaded: Loaded, source: Source) -> Result<Opened> {
    let config = loaded.settings.clone();
    for remark in config.remarks() {
        tracing::warn!("{remark}");
    }
    raise_descriptors();
    let listener = listen(config.server.listen, "server.listen")?;
    let s3 = match config.s3.listen {
        Some(address) => Some(listen(address, "s3.listen")?),
        None => None,
    };
    let address = address_of(&listener)?;
    let s3_address = s3.as_ref().map(address_of).transpose()?;
    let reloader = Reloader::new(source, loaded, address)?;
    let attache = Attache::open(config.store.clone()).await?;
    let tokens = open_tokens(&attache, &config).await?;
    let keys = match s3 {
        Some(_) => Some(open_keys(&attache, &config).await?),
        None => None,
    };
    let app = App::new(attache, reloader, tokens, keys)?;
    // Before anybody learns that it runs: an early SIGHUP would end the process.
    let hangup = signal_stream(SignalKind::hangup())?;
    announce(address, s3_address, app.reloader.tls.current().is_some());
    app.attache.count_heap_with(allocator::allocated_bytes);
    let jobs = jobs::start(&app, hangup);
    Ok(Opened {
        listener,
        s3,
        app,
        jobs,
    })
}

fn address_of(listener: &TcpListener) -> Result<SocketAddr> {
    listener
        .local_addr()
        .map_err(|error| Error::internal("the listener has no address").with_source(error))
}

/// The access keys of the S3 endpoint; and makes its buckets where they are folders.
async fn open_keys(attache: &Attache, config: &Settings) -> Result<Arc<Keys>> {
    let store = attache
        .access_keys()
        .ok_or_else(|| Error::internal("this catalog keeps no access keys"))?;
    let keys = Keys::open(store.clone()).await?;
    if config.store.storage.backend == Backend::Local {
        for (name, bucket) in &config.s3.buckets {
            let bucket = attache.bucket(&bucket.place(name), &bucket.prefix)?;
            bucket.create().await?;
        }
    }
    Ok(Arc::new(keys))
}

async fn open_tokens(attache: &Attache, config: &Settings) -> Result<Arc<Tokens>> {
    let store = attache
        .tokens()
        .ok_or_else(|| Error::internal("this catalog keeps no tokens"))?;
    let tokens = Tokens::open(store.clone()).await?;
    if tokens.is_empty() && config.auth.mode == [AuthMode::Token] {
        tracing::warn!(
            "there are no tokens yet, so every request is refused; `attache token create --help` shows how to create one"
        );
    }
    Ok(Arc::new(tokens))
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
fn announce(address: SocketAddr, s3: Option<SocketAddr>, secure: bool) {
    use std::io::Write as _;
    tracing::info!(%address, secure, "listening");
    if let Some(address) = s3 {
        tracing::info!(%address, secure, "serving S3");
    }
    let scheme = if secure { "https" } else { "http" };
    let mut lines = format!("attache is listening on {scheme}://{address}\n");
    if let Some(address) = s3 {
        lines.push_str(&format!("attache serves S3 on {scheme}://{address}\n"));
    }
    // A closed stdout is no reason not to serve.
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
}

fn listen(address: SocketAddr, key: &str) -> Result<TcpListener> {
    bind(address).map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => "; something else listens there: stop it, or set ",
            std::io::ErrorKind::PermissionDenied => "; ports below 1024 need privileges: set ",
            _ => "; set ",
        };
        Error::new(
            ErrorKind::Misconfigured,
            format!("cannot listen on {address}: {error}{hint}{key}"),
        )
    })
}

/// Connections that wait to be accepted: as many as Linux lets wait (`net.core.somaxconn`, 4096 since 5.4). The 128 of Rust's own listener were
/// too few for 256 clients that come at once: those that find no place try again a second later.
const BACKLOG: u32 = 4096;

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A server that starts again finds its port taken by connections that ended a moment ago.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until a signal, and stops.
async fn run(listener: TcpListener, s3: Option<TcpListener>, app: &App) -> Result<()> {
    let mut signals = Signals {
        terminate: signal_stream(SignalKind::terminate())?,
        interrupt: signal_stream(SignalKind::interrupt())?,
    };
    let mut connections = Connections {
        app,
        http: api(app),
        s3: s3_api(app),
        graceful: GracefulShutdown::new(),
        running: JoinSet::new(),
        threads: Threads::start()?,
        refusals: Arc::new(Semaphore::new(REFUSALS)),
    };
    loop {
        let (accepted, face) = tokio::select! {
            accepted = listener.accept() => (accepted, Face::Http),
            accepted = accept_some(s3.as_ref()) => (accepted, Face::S3),
            () = signals.next() => break,
        };
        while connections.running.try_join_next().is_some() {}
        match accepted {
            Ok((stream, address)) => connections.begin(stream, address, face),
            Err(error) => {
                // Out of descriptors, most likely: wait until some are free instead of spinning.
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    app.stopping.cancel();
    drop((listener, s3));
    connections.stop(signals).await;
    tracing::info!("stopped");
    Ok(())
}

fn api(app: &App) -> Respond {
    let api = Arc::new(Api::new(app.clone()));
    Arc::new(move |peer, request| {
        let api = api.clone();
        async move { Ok(api.respond(&peer, request).await) }.boxed()
    })
}

fn s3_api(app: &App) -> Respond {
    let app = app.clone();
    Arc::new(move |peer, request| {
        let app = app.clone();
        async move { Ok(s3::respond(&app, peer, request).await) }.boxed()
    })
}

/// What a connection is for.
#[derive(Clone, Copy, Debug)]
enum Face {
    /// attache's own API and its page.
    Http,
    S3,
}

/// Accepts from a listener, if there is one.
async fn accept_some(listener: Option<&TcpListener>) -> std::io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

/// The signals that end the server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The connections that run.
struct Connections<'a> {
    app: &'a App,
    http: Respond,
    s3: Respond,
    graceful: GracefulShutdown,
    running: JoinSet<()>,
    threads: Threads,
    refusals: Arc<Semaphore>,
}

impl Connections<'_> {
    /// Serves a connection, or refuses it where there is no room.
    fn begin(&mut self, stream: TcpStream, address: SocketAddr, face: Face) {
        let settings = self.app.settings();
        let limits = &self.app.limits;
        let admitted = match limits.connect(&settings.limits, &settings.server, address.ip()) {
            Ok(admitted) => admitted,
            Err(exceeded) => {
                self.app.attache.metrics().limited(exceeded.as_str());
                return self.refuse(stream);
            }
        };
        let _ = stream.set_nodelay(true);
        // It wakes the thread that it is given to, and no other.
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!(%error, "cannot take a connection"),
        };
        let connection = Accepted {
            stream,
            address: address.ip(),
            tls: self.app.reloader.tls.current(),
            stall: settings.store.download.idle_timeout,
            head_timeout: settings.limits.head_timeout,
            stopping: self.app.stopping.clone(),
        };
        let respond = match face {
            Face::Http => &self.http,
            Face::S3 => &self.s3,
        };
        let serving = connection.serve(respond.clone(), self.graceful.watcher());
        let (thread, seat) = self.threads.seat();
        let serving = async move {
            let _held = (admitted, seat);
            serving.await;
        };
        self.running.spawn_on(serving, &thread);
    }

    fn refuse(&mut self, stream: TcpStream) {
        match self.refusals.clone().try_acquire_owned() {
            Ok(place) => {
                self.running.spawn(async move {
                    refusal::refuse(stream).await;
                    drop(place);
                });
            }
            Err(_) => refusal::refuse_unheard(&stream),
        }
    }

    /// Lets running transfers finish within the grace, and cuts them after it, or at a second signal.
    async fn stop(mut self, mut signals: Signals) {
        let attache = &self.app.attache;
        let grace = self.app.settings().server.shutdown_grace;
        tracing::info!(
            grace_s = grace.as_secs(),
            running = self.running.len(),
            "stopping"
        );
        let deadline = Instant::now() + grace;
        tokio::select! {
            () = self.graceful.shutdown() => {}
            () = tokio::time::sleep(grace) => tracing::warn!("shutdown grace period expired; aborting remaining connections"),
            () = signals.next() => tracing::warn!("second signal; aborting remaining connections"),
        }
        // Uploads end with an error that their senders can still read.
        if !self.running.is_empty() {
            attache.cut();
            let flushed = async { while self.running.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(Duration::from_millis(500), flushed).await;
        }
        self.running.shutdown().await;
        // Before the database is closed that it is noted in.
        if let Err(error) = self.app.tokens.note_used().await {
            tracing::warn!(
                error = error.report(),
                "cannot record when tokens were last used"
            );
        }
        attache
            .close(deadline.saturating_duration_since(Instant::now()))
            .await;
    }
}

fn signal_stream(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|error| Error::internal("cannot listen for signals").with_source(error))
}
