//! Connections that are kept for the next request, and what one of them does.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};
use hyper::body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use tokio::time::Instant;
use tower::Service as _;

use super::connection::{Connector, Pulse};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// hyper's read buffer of one connection; the default is adaptive, up to about 400 KiB. One TLS record holds no more
/// (RFC 8446 section 5.1), so a larger one is never filled by one read; and where it is always the same, a record fits as
/// a whole, instead of leaving its other half in the TLS library, as it did for seven of ten slow readers.
const READ_BUFFER: usize = 16 * 1024;

/// Idle connections that are kept. More than that are closed as soon as they are idle.
const MAX_IDLE: usize = 128;

/// How long a connection whose response has ended may take to be ready for the next request: it has its request to finish.
const SETTLES_WITHIN: Duration = Duration::from_secs(1);

/// Groups of threads that keep their connections apart. More threads than that share.
const GROUPS: usize = 64;

thread_local! {
    static GROUP: Cell<usize> = const { Cell::new(0) };
}

/// Keeps the connections that requests on this thread make apart from those of other threads; for a thread that has a
/// runtime of its own, with a `number` of its own. A connection is driven by the runtime that made it, so a request of another
/// one would wake a second thread for everything that it waits for: that took a quarter of the CPU of a small relay.
///
/// Threads of one runtime, whose requests move between them, share their connections, and need not say anything.
pub fn keep_connections_apart(number: usize) {
    GROUP.set(number % GROUPS);
}

/// Idle connections, and the way to new ones. Dropping it closes them.
pub(super) struct Pool<B> {
    connector: Connector,
    idle_after: Duration,
    /// Of each group, the one that was used last at the end.
    idle: [Mutex<Vec<Idle<B>>>; GROUPS],
    idle_count: AtomicUsize,
    /// Whether somebody closes those that were idle for too long.
    swept: AtomicBool,
}

struct Idle<B> {
    link: Box<Link<B>>,
    since: Instant,
}

/// A connection: for one request at a time.
pub(super) struct Link<B> {
    pub(super) sender: SendRequest<B>,
    pub(super) pulse: Arc<Pulse>,
    host: Host,
    group: usize,
    /// Where it goes when it is idle; nowhere if that is gone.
    pool: Weak<Pool<B>>,
}

/// Whom a connection reaches.
#[derive(Clone, PartialEq, Eq)]
struct Host(Scheme, Authority);

impl Host {
    fn of(uri: &Uri) -> Option<Self> {
        Some(Self(uri.scheme()?.clone(), uri.authority()?.clone()))
    }

    fn is_of(&self, uri: &Uri) -> bool {
        uri.scheme() == Some(&self.0) && uri.authority() == Some(&self.1)
    }
}

impl<B> Pool<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(connector: Connector, idle_after: Duration) -> Arc<Self> {
        Arc::new(Self {
            connector,
            idle_after,
            idle: [const { Mutex::new(Vec::new()) }; GROUPS],
            idle_count: AtomicUsize::new(0),
            swept: AtomicBool::new(false),
        })
    }

    /// A connection that is idle, to the host of `uri`.
    pub(super) fn take(&self, uri: &Uri) -> Option<Box<Link<B>>> {
        let mut idle = self.idle(GROUP.get());
        while let Some(at) = idle.iter().rposition(|idle| idle.link.host.is_of(uri)) {
            let Idle { link, since } = idle.remove(at);
            self.idle_count.fetch_sub(1, Ordering::Relaxed);
            if link.sender.is_ready() && since.elapsed() < self.idle_after {
                return Some(link);
            }
        }
        None
    }

    /// A new connection to the host of `uri`. Dropped before it stands, it is given up.
    pub(super) async fn connect(self: &Arc<Self>, uri: &Uri) -> Result<Box<Link<B>>, BoxError> {
        let host = Host::of(uri).ok_or("an address without a host")?;
        let stream = self.connector.clone().call(uri.clone()).await?;
        let pulse = stream.pulse.clone();
        let (sender, connection) = http1::Builder::new()
            .read_buf_exact_size(Some(READ_BUFFER))
            // Blocks go out as they are; flattening would copy each into a second buffer.
            .writev(true)
            .handshake(stream)
            .await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a server ended");
            }
        });
        Ok(Box::new(Link {
            sender,
            pulse,
            host,
            group: GROUP.get(),
            pool: Arc::downgrade(self),
        }))
    }

    /// Keeps a connection that is ready for another request.
    fn keep(self: &Arc<Self>, link: Box<Link<B>>) {
        if self.idle_count.fetch_add(1, Ordering::Relaxed) >= MAX_IDLE {
            self.make_room();
        }
        let since = Instant::now();
        self.idle(link.group).push(Idle { link, since });
        if !self.swept.swap(true, Ordering::AcqRel) {
            tokio::spawn(close_idle(Arc::downgrade(self)));
        }
    }

    /// Lets go of what the other side has closed, or else of the connection that nobody has used for longest, whichever thread made it:
    /// the one that was used last is needed most, and a thread must not have to do without because others had many.
    fn make_room(&self) {
        let mut gone = Vec::new();
        let mut oldest: Option<(Instant, usize)> = None;
        for group in 0..GROUPS {
            let mut idle = self.idle(group);
            gone.extend(idle.extract_if(.., |idle| idle.link.sender.is_closed()));
            let first = idle.first().map(|idle| (idle.since, group));
            oldest = oldest.into_iter().chain(first).min();
        }
        if gone.is_empty()
            && let Some((_, group)) = oldest
        {
            let mut idle = self.idle(group);
            let first = (!idle.is_empty()).then(|| idle.remove(0));
            gone.extend(first);
        }
        self.idle_count.fetch_sub(gone.len(), Ordering::Relaxed);
    }

    fn idle(&self, group: usize) -> MutexGuard<'_, Vec<Idle<B>>> {
        let idle = &self.idle[group];
        idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes what is idle for too long. When the next one will be; `None` if there is none, and nobody looks any more.
    fn sweep(&self) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for group in 0..GROUPS {
            let mut idle = self.idle(group);
            let before = idle.len();
            idle.retain(|idle| {
                !idle.link.sender.is_closed() && idle.since.elapsed() < self.idle_after
            });
            self.idle_count
                .fetch_sub(before - idle.len(), Ordering::Relaxed);
            let oldest = idle.iter().map(|idle| idle.since + self.idle_after).min();
            next = next.into_iter().chain(oldest).min();
        }
        if next.is_none() {
            self.swept.store(false, Ordering::Release);
            // Somebody may have kept one since, and believed that we look.
            if self.idle_count.load(Ordering::Acquire) > 0
                && !self.swept.swap(true, Ordering::AcqRel)
            {
                next = Some(Instant::now() + self.idle_after);
            }
        }
        next
    }
}

/// Until there is none, or the pool is gone.
async fn close_idle<B>(pool: Weak<Pool<B>>)
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    while let Some(next) = pool.upgrade().and_then(|pool| pool.sweep()) {
        tokio::time::sleep_until(next).await;
    }
}

/// A connection whose response is being read, whatever the body of its request was.
pub(super) trait Lent: Send {
    /// The response has ended: the connection serves the next request.
    fn give_back(self: Box<Self>);
}

impl<B> Lent for Link<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    fn give_back(mut self: Box<Self>) {
        let Some(pool) = self.pool.upgrade() else {
            return;
        };
        if self.sender.is_ready() {
            return pool.keep(self);
        }
        if self.sender.is_closed() {
            return;
        }
        // Mostly it has yet to see that it is at the end; or it still sends what was refused already.
        tokio::spawn(async move {
            let ready = tokio::time::timeout(SETTLES_WITHIN, self.sender.ready()).await;
            if matches!(ready, Ok(Ok(()))) {
                pool.keep(self);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use bytes::Bytes;
    use futures::StreamExt as _;
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc;

    use super::*;
    use crate::http::{Client, ClientConfig, Trust};

    /// A server that responds "hello" to each request, and says when a connection begins (`true`) and ends.
    async fn server() -> (SocketAddr, mpsc::UnboundedReceiver<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (said, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let said = said.clone();
                let _ = said.send(true);
                tokio::spawn(async move {
                    respond(stream).await;
                    let _ = said.send(false);
                });
            }
        });
        (address, heard)
    }

    /// To "/bye" it responds, and closes the connection without having said so; of "/long" the end never comes.
    async fn respond(mut stream: TcpStream) {
        let mut request = Vec::new();
        while let Ok(1..) = stream.read_buf(&mut request).await {
            if !request.ends_with(b"\r\n\r\n") {
                continue;
            }
            let length = if request.starts_with(b"GET /long") {
                9
            } else {
                5
            };
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\nhello");
            let sent = stream.write_all(answer.as_bytes()).await;
            if sent.is_err() || request.starts_with(b"GET /bye") {
                return;
            }
            request.clear();
        }
    }

    /// What the server says next; `None` if it is silent for too long.
    async fn next(heard: &mut mpsc::UnboundedReceiver<bool>) -> Option<bool> {
        let said = tokio::time::timeout(Duration::from_secs(30), heard.recv()).await;
        said.ok().flatten()
    }

    fn client(idle_after: Duration) -> Client {
        let config = ClientConfig {
            idle_after,
            ..ClientConfig::default()
        };
        Client::new(&config, Trust::anybody().expect("a client"))
    }

    fn request(address: SocketAddr, path: &str) -> http::Request<Full<Bytes>> {
        let request = http::Request::get(format!("http://{address}{path}"));
        request.body(Full::default()).expect("a request")
    }

    async fn ask(client: &Client, address: SocketAddr, path: &str) {
        let answer = client.send(request(address, path), Duration::ZERO).await;
        let body = answer.expect("an answer").into_body().whole(100).await;
        assert_eq!(body.expect("whole"), "hello");
    }

    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn a_connection_serves_one_request_after_the_other_until_it_is_idle_for_too_long() {
        let (address, mut heard) = server().await;
        let brief = client(Duration::from_millis(200));
        for _ in 0..3 {
            ask(&brief, address, "/").await;
        }
        assert_eq!(next(&mut heard).await, Some(true));
        assert_eq!(
            next(&mut heard).await,
            Some(false),
            "no second one, and the first is closed"
        );
        ask(&brief, address, "/").await;
        assert_eq!(next(&mut heard).await, Some(true));
        drop(brief);
        assert_eq!(next(&mut heard).await, Some(false), "with its client");
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_meanwhile_is_no_error_and_one_that_was_not_read_to_its_end_is_closed()
     {
        let (address, mut heard) = server().await;
        let client = client(LONG);
        ask(&client, address, "/bye").await;
        assert_eq!(next(&mut heard).await, Some(true));
        assert_eq!(next(&mut heard).await, Some(false));
        ask(&client, address, "/").await;
        assert_eq!(next(&mut heard).await, Some(true));

        let answer = client.send(request(address, "/long"), Duration::ZERO).await;
        let mut body = answer.expect("an answer").into_body();
        assert_eq!(
            body.next().await.expect("a piece").expect("it came"),
            "hello"
        );
        drop(body);
        assert_eq!(
            next(&mut heard).await,
            Some(false),
            "the bytes that are missing may come"
        );
        ask(&client, address, "/").await;
        assert_eq!(next(&mut heard).await, Some(true));
    }

    #[tokio::test]
    async fn a_thread_keeps_its_connection_when_others_have_as_many_as_are_kept() {
        let (address, mut heard) = server().await;
        let client = client(LONG);
        keep_connections_apart(1);
        let many = (0..MAX_IDLE).map(|_| client.send(request(address, "/"), Duration::ZERO));
        let many = futures::future::join_all(many).await;
        for answer in many {
            let body = answer.expect("an answer").into_body().whole(100).await;
            body.expect("whole");
        }
        for _ in 0..MAX_IDLE {
            assert_eq!(next(&mut heard).await, Some(true));
        }
        keep_connections_apart(2);
        ask(&client, address, "/").await;
        let mut said = [next(&mut heard).await, next(&mut heard).await];
        said.sort_unstable();
        assert_eq!(
            said,
            [Some(false), Some(true)],
            "one of its own, for the oldest of the others"
        );
        ask(&client, address, "/").await;
        ask(&client, address, "/").await;
        assert!(heard.try_recv().is_err(), "the same one");
        keep_connections_apart(0);
    }

    #[tokio::test]
    async fn threads_that_keep_connections_apart_have_their_own() {
        let (address, mut heard) = server().await;
        let client = Arc::new(client(LONG));
        ask(&client, address, "/").await;
        assert_eq!(next(&mut heard).await, Some(true));
        let theirs = client.clone();
        let other = std::thread::spawn(move || {
            keep_connections_apart(1);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                ask(&theirs, address, "/").await;
                ask(&theirs, address, "/").await;
            });
        });
        assert_eq!(next(&mut heard).await, Some(true), "one of its own");
        // It ends with the runtime that drives it.
        assert_eq!(next(&mut heard).await, Some(false));
        other.join().expect("it ends");
        ask(&client, address, "/").await;
        assert!(heard.try_recv().is_err(), "the first is still there");
    }
}
