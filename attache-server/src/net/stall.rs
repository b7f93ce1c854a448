//! A socket whose writes do not wait for ever: a client that takes nothing for too long is cut, so that nobody can hold a
//! connection or a download open.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::socket::Socket;
use super::valve::{PARTS, Valve, end_of};

/// A connection whose writes fail once the client has taken no byte for `stall`.
///
/// Reads need no limit here: heads have hyper's, bodies have their own, and an idle connection between requests is cut by
/// hyper's limit for heads.
pub(crate) struct StallTimeout {
    socket: Socket,
    stall: Duration,
    standing: Option<Standing>,
    valve: Arc<Valve>,
}

/// A client that takes nothing now.
struct Standing {
    since: Instant,
    /// Ends with each of the [`PARTS`] of the time after which it is cut,
    timer: Pin<Box<Sleep>>,
    /// so many of which have ended.
    parts: u32,
}

impl Standing {
    fn new(stall: Duration) -> Self {
        let since = Instant::now();
        Self {
            since,
            timer: Box::pin(tokio::time::sleep_until(end_of(1, since, stall))),
            parts: 0,
        }
    }
}

impl StallTimeout {
    /// `valve` is closed while the client takes no bytes.
    pub(crate) fn new(socket: Socket, stall: Duration, valve: Arc<Valve>) -> Self {
        Self {
            socket,
            stall,
            standing: None,
            valve,
        }
    }

    /// Passes on the outcome of a write. A socket that takes nothing starts the timer, and any byte stops it. Meanwhile what is fetched for it
    /// learns how long it stands still.
    fn after_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        wrote: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.standing = None;
            self.valve.open();
            return wrote;
        }
        self.valve.close();
        let stall = self.stall;
        let standing = self.standing.get_or_insert_with(|| Standing::new(stall));
        loop {
            ready!(std::future::Future::poll(standing.timer.as_mut(), cx));
            standing.parts += 1;
            if standing.parts == PARTS {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "timed out: the client stopped reading",
                )));
            }
            self.valve.stands_still(standing.parts);
            let next = end_of(standing.parts + 1, standing.since, stall);
            standing.timer.as_mut().reset(next);
        }
    }
}

impl AsyncRead for StallTimeout {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for StallTimeout {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = self.socket.poll_write(cx, buf);
        self.after_write(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = self.socket.poll_write_vectored(cx, bufs);
        self.after_write(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, Weak};
    use std::task::Waker;

    use futures::poll;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::valve::Source;
    use super::*;

    /// A client, and the server's end with its valve.
    async fn pair() -> (TcpStream, StallTimeout, Arc<Valve>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (stream, _) = accepted.expect("a connection");
        let valve = Arc::<Valve>::default();
        let stream = StallTimeout::new(
            Socket::new(stream, None),
            Duration::from_secs(60),
            valve.clone(),
        );
        (client.expect("a connection"), stream, valve)
    }

    #[tokio::test]
    async fn what_is_fetched_for_a_client_that_takes_nothing_is_told_before_the_client_is_cut() {
        struct Watched(Mutex<Vec<u32>>);
        impl Source for Watched {
            fn stands_still(&self, parts: u32) {
                self.0.lock().expect("its own").push(parts);
            }
        }
        let (_client, mut server, valve) = pair().await;
        let watched = Arc::new(Watched(Mutex::default()));
        let source: Weak<Watched> = Arc::downgrade(&watched);
        valve.attach(source);
        let chunk = vec![0; 64 * 1024];
        // The kernel takes what it takes by the clock of the machine.
        let brief = Duration::from_millis(200);
        while tokio::time::timeout(brief, server.write(&chunk))
            .await
            .is_ok()
        {}
        tokio::time::pause();
        let before = Instant::now();
        let error = server.write(&chunk).await.expect_err("it takes nothing");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let after = before.elapsed();
        assert!(
            after > Duration::from_secs(59) && after < Duration::from_secs(61),
            "{after:?}"
        );
        assert_eq!(*watched.0.lock().expect("its own"), [1, 2, 3, 4, 5]);
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
