//! Which HTTP a client without TLS speaks, found out without taking any of its bytes.

use std::io;

use http::Version;
use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// How HTTP/2 begins, and nothing else does (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The version that the client speaks, by its first bytes, which stay to be read. HTTP/2 without TLS is known by its
/// preface (RFC 9113 section 3.3).
///
/// # Errors
///
/// Those of the socket.
pub(super) async fn version(stream: &TcpStream) -> io::Result<Version> {
    let peek = || {
        let mut first = [0; PREFACE.len()];
        let (_, length) = rustix::net::recv(stream, &mut first, RecvFlags::PEEK)?;
        match &first[..length] {
            // Closed; hyper says so.
            [] => Ok(Version::HTTP_11),
            PREFACE => Ok(Version::HTTP_2),
            // It may become one: awaits the next bytes.
            first if PREFACE.starts_with(first) => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(Version::HTTP_11),
        }
    };
    stream.async_io(Interest::READABLE, peek).await
}

#[cfg(test)]
mod tests {
    use futures::poll;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A client, and the server's end.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (
            client.expect("a connection"),
            accepted.expect("a connection").0,
        )
    }

    #[tokio::test]
    async fn the_version_is_known_by_the_first_bytes_however_they_come() {
        for (before, after, expected) in [
            ("PRI * HT", "TP/2.0\r\n\r\nSM\r\n\r\n", Version::HTTP_2),
            ("P", "OST / HTTP/1.1\r\n", Version::HTTP_11),
            ("PRI * HTTP/", "1.1\r\n\r\n", Version::HTTP_11),
        ] {
            let (mut client, mut server) = pair().await;
            let mut waiting = Box::pin(version(&server));
            client.write_all(before.as_bytes()).await.expect("sent");
            server.readable().await.expect("it has come");
            assert!(poll!(&mut waiting).is_pending(), "{before}");
            client.write_all(after.as_bytes()).await.expect("sent");
            assert_eq!(waiting.as_mut().await.expect("known"), expected, "{before}");
            drop(waiting);
            // Nothing was taken away.
            let mut all = vec![0; before.len() + after.len()];
            server.read_exact(&mut all).await.expect("all of it");
            assert_eq!(all, [before, after].concat().as_bytes());
        }
        let (client, server) = pair().await;
        drop(client);
        assert_eq!(version(&server).await.expect("known"), Version::HTTP_11);
    }
}
