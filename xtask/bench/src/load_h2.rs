//! The load over HTTP/2: the same requests, several at a time on each connection, and every byte compared.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use hyper::Request;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::load::{Load, Took};

/// Requests at a time on each connection: what a page with some pictures asks for.
const STREAMS: usize = 4;

/// Windows that hold any response of these cases whole, so that the load never makes a server wait.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// Sends the whole load, without bodies. Fails at the first answer that is not the wanted one.
pub async fn run(load: &Load) -> Outcome<Took> {
    if load.sends > 0 {
        return Err("the load over HTTP/2 sends no bodies".into());
    }
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut senders = JoinSet::new();
    // Ends with this call: a connection that nobody asks anything of would be kept otherwise.
    let mut connections = JoinSet::new();
    for _ in 0..load.connections {
        let stream = TcpStream::connect(load.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .enable_push(false)
            .handshake::<_, Bytes>(stream)
            .await?;
        connections.spawn(connection);
        for _ in 0..STREAMS {
            let (load, next, sender) = (load.clone(), next.clone(), sender.clone());
            senders.spawn(async move {
                let mut compare = Vec::new();
                loop {
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    if turn >= load.requests {
                        return Outcome::Ok(());
                    }
                    exchange(sender.clone(), &load, turn, &mut compare).await?;
                }
            });
        }
    }
    while let Some(ended) = senders.join_next().await {
        ended??;
    }
    Ok(Took {
        wall: start.elapsed(),
    })
}

async fn exchange(
    sender: SendRequest<Bytes>,
    load: &Load,
    turn: u64,
    compare: &mut Vec<u8>,
) -> Outcome<()> {
    let head = (load.head)(turn);
    // "GET /path HTTP/1.1": the heads are those of HTTP/1.1, and of these cases only the first line says anything.
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or("GET"), words.next().unwrap_or("/"));
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{}{path}", load.address))
        .body(())?;
    let (response, _) = sender.ready().await?.send_request(request, true)?;
    let (head, mut body) = response.await?.into_parts();
    if head.status.as_u16() != load.wants.status() {
        return Err(format!("status {}, wanted {:?}", head.status, load.wants).into());
    }
    let mut at = 0;
    while let Some(piece) = body.data().await {
        let piece = piece?;
        if !load.wants.fits(at, &piece, compare) {
            return Err(format!("wrong bytes after byte {at}").into());
        }
        at += piece.len() as u64;
        body.flow_control().release_capacity(piece.len())?;
    }
    match load.wants.length() {
        Some(length) if length != at => Err(format!("{at} bytes, wanted {:?}", load.wants).into()),
        _ => Ok(()),
    }
}
