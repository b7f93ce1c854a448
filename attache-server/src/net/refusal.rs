//! A connection for which there is no room: it gets a response of a few bytes, without a handler.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// How long we wait for the request of a connection that is refused.
const PATIENCE: Duration = Duration::from_secs(1);

/// Responds to a connection that there is no room for it. Reads its request first: a client that gets a response before it
/// has asked takes that for a fault. One that speaks TLS sees the connection end.
pub(crate) async fn refuse(mut stream: TcpStream) {
    let mut head = [0; 4096];
    let _ = tokio::time::timeout(PATIENCE, stream.read(&mut head)).await;
    refuse_unheard(&stream);
}

/// The same at once, when as many are being refused as may be.
pub(crate) fn refuse_unheard(stream: &TcpStream) {
    // A fresh socket takes as much without waiting.
    let _ = stream.try_write(NO_ROOM);
}

/// What a connection gets for which there is no room.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
content-length: 120\r\nretry-after: 1\r\nconnection: close\r\n\r\n\
{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\"code\":\"busy\",\"detail\":\"too many connections are open\"}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_of_a_connection_is_a_whole_answer() {
        let text = std::str::from_utf8(NO_ROOM).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
        let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(problem["code"], "busy");
    }
}
