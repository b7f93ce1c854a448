//! The socket of a client: what stands for parts of files is sent by the kernel (sendfile(2)), everything else as it is.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use attache::transfer::handover::{FilePart, Handover, stands_in};
use rustix::net::SendFlags;
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;

/// A connection, and what is handed over to it.
pub(crate) struct Socket {
    pub(super) stream: TcpStream,
    handover: Option<Arc<Handover>>,
}

impl Socket {
    /// Without a `handover`, nothing stands for anything.
    pub(crate) fn new(stream: TcpStream, handover: Option<Arc<Handover>>) -> Self {
        Self { stream, handover }
    }

    /// As [`AsyncWrite::poll_write`].
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &self.handover {
            Some(handover) if !handover.is_empty() => {
                self.poll_hand_over(handover, cx, &[IoSlice::new(buf)])
            }
            _ => Pin::new(&mut self.stream).poll_write(cx, buf),
        }
    }

    /// As [`AsyncWrite::poll_write_vectored`].
    pub(super) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &self.handover {
            Some(handover) if !handover.is_empty() => self.poll_hand_over(handover, cx, bufs),
            _ => Pin::new(&mut self.stream).poll_write_vectored(cx, bufs),
        }
    }

    /// Writes some of `slices`, the first of which may stand for a part of a file.
    fn poll_hand_over(
        &self,
        handover: &Handover,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(first) = slices.iter().find(|slice| !slice.is_empty()) else {
            return Poll::Ready(Ok(0));
        };
        if !stands_in(first) {
            // A head, which travels with what comes after it.
            let more = SendFlags::MORE | SendFlags::NOSIGNAL;
            return self.poll_io(cx, || Ok(rustix::net::send(&self.stream, first, more)?));
        }
        let part = handover.next();
        let Some(part) = part.filter(|part| first.len() <= part.len) else {
            return Poll::Ready(Err(io::Error::other(
                "nobody said what these bytes stand for",
            )));
        };
        let sent = ready!(self.poll_io(cx, || send_file(&self.stream, &part, first.len())))?;
        handover.sent(sent);
        Poll::Ready(Ok(sent))
    }

    fn poll_io(
        &self,
        cx: &mut Context<'_>,
        io: impl Fn() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_io(Interest::WRITABLE, &io) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }
}

/// Has the kernel send the first bytes of a part.
#[cfg(target_os = "linux")]
fn send_file(stream: &TcpStream, part: &FilePart, bytes: usize) -> io::Result<usize> {
    let mut at = part.at;
    match rustix::fs::sendfile(stream, &*part.file, Some(&mut at), bytes)? {
        0 => Err(shorter()),
        sent => Ok(sent),
    }
}

/// Other systems' have other arguments; a piece at a time does everywhere.
#[cfg(not(target_os = "linux"))]
fn send_file(stream: &TcpStream, part: &FilePart, bytes: usize) -> io::Result<usize> {
    use std::os::unix::fs::FileExt as _;
    let mut piece = vec![0; bytes.min(16 * 1024)];
    match part.file.read_at(&mut piece, part.at)? {
        0 => Err(shorter()),
        got => stream.try_write(&piece[..got]),
    }
}

fn shorter() -> io::Error {
    io::Error::other("the file became shorter while it was sent")
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use std::future::poll_fn;

    use super::*;

    /// A client, and the server's end.
    fn pair(handover: &Arc<Handover>) -> (std::net::TcpStream, Socket) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let client = std::net::TcpStream::connect(address).expect("a connection");
        let (server, _) = listener.accept().expect("a connection");
        server.set_nonblocking(true).expect("set");
        let server = TcpStream::from_std(server).expect("a socket");
        (client, Socket::new(server, Some(handover.clone())))
    }

    fn part(bytes: &[u8], at: u64, len: usize) -> FilePart {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        let file = Arc::new(file);
        FilePart { file, at, len }
    }

    async fn write_all(socket: &mut Socket, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let wrote = poll_fn(|cx| socket.poll_write(cx, bytes)).await?;
            bytes = &bytes[wrote..];
        }
        Ok(())
    }

    #[tokio::test]
    async fn what_stands_for_a_file_leaves_as_its_bytes_between_what_does_not() {
        let handover = Arc::<Handover>::default();
        let (mut client, mut socket) = pair(&handover);
        // More than a socket takes at once.
        let bytes: Vec<u8> = (0..5_000_000_u32).map(|i| (i / 3) as u8).collect();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            client.read_to_end(&mut all).map(|_| all)
        });
        let mut wanted = Vec::new();
        for (head, at, len) in [
            ("head", 7, 200_000),
            ("", 0, 1),
            ("next", 4_900_000, 100_000),
        ] {
            let chunk = handover.chunk(part(&bytes, at, len));
            let mut both = [IoSlice::new(head.as_bytes()), IoSlice::new(&chunk)];
            let mut slices = &mut both[..];
            while !slices.is_empty() {
                let wrote = poll_fn(|cx| socket.poll_write_vectored(cx, slices))
                    .await
                    .expect("sent");
                IoSlice::advance_slices(&mut slices, wrote);
                while slices.first().is_some_and(|slice| slice.is_empty()) {
                    slices = &mut slices[1..];
                }
            }
            wanted.extend_from_slice(head.as_bytes());
            wanted.extend_from_slice(&bytes[at as usize..at as usize + len]);
        }
        assert!(handover.is_empty());
        write_all(&mut socket, b"the end").await.expect("sent");
        wanted.extend_from_slice(b"the end");
        drop(socket);
        let all = reader.join().expect("it ends").expect("read");
        assert!(all == wanted);
    }

    #[tokio::test]
    async fn what_nobody_said_a_meaning_of_and_what_became_shorter_ends_the_connection() {
        let handover = Arc::<Handover>::default();
        let (_client, mut socket) = pair(&handover);
        let first = handover.chunk(part(b"0123456789", 0, 10));
        write_all(&mut socket, &first).await.expect("sent");
        let second = handover.chunk(part(b"0123456789", 8, 4));
        let error = write_all(&mut socket, &first)
            .await
            .expect_err("longer than is known");
        assert!(error.to_string().contains("nobody said"), "{error}");
        let error = write_all(&mut socket, &second)
            .await
            .expect_err("two bytes, and no more");
        assert!(error.to_string().contains("shorter"), "{error}");
    }
}
