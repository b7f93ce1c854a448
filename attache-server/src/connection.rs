//! Connections of clients: a client that takes nothing for too long is cut, so that nobody can hold a download open.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

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
                "the client took nothing for too long",
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
