//! The load: plain HTTP/1.1 over connections that are kept, every answer counted and every byte compared.
//!
//! It is written by hand so that it costs little beside what is measured, and so that it fails on what it does not expect.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fake_azure::fill_pattern;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::Outcome;
use crate::load_h2;

const PIECE: usize = 256 * 1024;

/// What the kernel may hold of a download that is begun. Its own choice is megabytes; thousands of those use up what all
/// sockets of a machine may hold (`net.ipv4.tcp_mem`), and then it resets connections of whomever it finds.
const RECEIVES: u32 = 16 * 1024;

/// What is sent, how often, and what must come back.
#[derive(Clone)]
pub struct Load {
    pub address: SocketAddr,
    /// Over HTTP/2, which [`load_h2`] does.
    pub h2: bool,
    pub connections: usize,
    pub requests: u64,
    /// Head of the n-th request, without the empty line and `Content-Length`.
    pub head: Arc<dyn Fn(u64) -> String + Send + Sync>,
    /// Bytes of the body that is sent.
    pub sends: u64,
    pub wants: Wants,
}

/// What an answer must be.
#[derive(Clone, Debug)]
pub enum Wants {
    /// A status, and a body of any length.
    Status(u16),
    /// Status 200, and this body.
    Body(Arc<Vec<u8>>),
    /// A status, and these bytes of the pattern.
    Bytes {
        status: u16,
        offset: u64,
        length: u64,
    },
}

/// What a load took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    pub wall: Duration,
}

impl Wants {
    /// Status 200, and the first `length` bytes of the pattern.
    pub fn whole(length: u64) -> Self {
        Self::Bytes {
            status: 200,
            offset: 0,
            length,
        }
    }

    pub fn status(&self) -> u16 {
        match self {
            Self::Status(status) | Self::Bytes { status, .. } => *status,
            Self::Body(_) => 200,
        }
    }

    /// How long the body must be.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Status(_) => None,
            Self::Body(body) => Some(body.len() as u64),
            Self::Bytes { length, .. } => Some(*length),
        }
    }

    /// Whether `piece` is what must come after the first `at` bytes of the body. `room` is where that is written.
    pub fn fits(&self, at: u64, piece: &[u8], room: &mut Vec<u8>) -> bool {
        match self {
            Self::Status(_) => true,
            Self::Body(body) => {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                body.get(at..).is_some_and(|rest| rest.starts_with(piece))
            }
            Self::Bytes { offset, .. } => {
                room.resize(piece.len(), 0);
                fill_pattern(offset + at, room);
                *room == *piece
            }
        }
    }
}

/// Sends the whole load. Fails at the first answer that is not the wanted one.
pub async fn run(load: &Load) -> Outcome<Took> {
    if load.h2 {
        return load_h2::run(load).await;
    }
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..load.connections.min(load.requests.try_into()?) {
        let (load, next) = (load.clone(), next.clone());
        senders.spawn(async move {
            let mut connection = Connection::open(load.address).await?;
            loop {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                if turn >= load.requests {
                    return Outcome::Ok(());
                }
                connection.send(&(load.head)(turn), load.sends).await?;
                connection.receive(&load.wants).await?;
            }
        });
    }
    while let Some(ended) = senders.join_next().await {
        ended??;
    }
    Ok(Took {
        wall: start.elapsed(),
    })
}

/// One connection.
pub struct Connection {
    stream: TcpStream,
    /// Read and not used yet.
    buffer: Vec<u8>,
    want: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
            want: Vec::new(),
        })
    }

    /// Sends a request with `body` bytes of the pattern.
    pub async fn send(&mut self, head: &str, body: u64) -> Outcome<()> {
        let length = match body {
            0 if !head.starts_with("POST") => String::new(),
            _ => format!("content-length: {body}\r\n"),
        };
        let mut piece = format!("{head}{length}\r\n").into_bytes();
        let mut sent = 0;
        loop {
            // The head travels with the first bytes.
            let begin = piece.len();
            let more = (body - sent).min((PIECE - begin.min(PIECE / 2)) as u64);
            piece.resize(begin + usize::try_from(more)?, 0);
            fill_pattern(sent, &mut piece[begin..]);
            sent += more;
            self.stream.write_all(&piece).await?;
            if sent == body {
                return Ok(());
            }
            piece.clear();
        }
    }

    /// Reads an answer to its end.
    pub async fn receive(&mut self, wants: &Wants) -> Outcome<()> {
        let (status, length) = self.head().await?;
        if status != wants.status() || wants.length().is_some_and(|want| want != length) {
            let shown = String::from_utf8_lossy(&self.buffer);
            return Err(
                format!("status {status} and {length} bytes, wanted {wants:?}: {shown}").into(),
            );
        }
        let mut at = 0;
        loop {
            let take = self.buffer.len().min(usize::try_from(length - at)?);
            if !wants.fits(at, &self.buffer[..take], &mut self.want) {
                return Err(format!("wrong bytes after byte {at}").into());
            }
            at += take as u64;
            self.buffer.drain(..take);
            if at == length {
                return Ok(());
            }
            self.read().await?;
        }
    }

    /// Reads a short answer, which must have this status. Its body.
    pub async fn receive_body(&mut self, wants: u16) -> Outcome<Vec<u8>> {
        let (status, length) = self.head().await?;
        let length = usize::try_from(length)?;
        while self.buffer.len() < length {
            self.read().await?;
        }
        let body = self.buffer.drain(..length).collect();
        match status == wants {
            true => Ok(body),
            false => Err(format!("status {status}: {}", String::from_utf8_lossy(&body)).into()),
        }
    }

    /// Reads the head, and no more of the body than comes with it. Status and length.
    pub async fn head(&mut self) -> Outcome<(u16, u64)> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            self.read().await?;
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8(head)?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| format!("no status in {head:?}"))?;
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok());
        let length = length.ok_or_else(|| format!("no length in {head:?}"))?;
        Ok((status, length))
    }

    async fn read(&mut self) -> Outcome<()> {
        self.buffer.reserve(PIECE);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err("the connection ended within an answer".into()),
            _ => Ok(()),
        }
    }
}

/// Begins `count` downloads, at most `pace` at a time, reads a little of each, and keeps them all open.
pub async fn begin_downloads(
    address: SocketAddr,
    head: &str,
    count: usize,
    pace: usize,
) -> Outcome<Vec<TcpStream>> {
    let turns = Arc::new(tokio::sync::Semaphore::new(pace));
    let mut begun = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (turns, request) = (turns.clone(), format!("{head}\r\n"));
        begun.spawn(async move {
            let _turn = turns.acquire_owned().await?;
            let socket = TcpSocket::new_v4()?;
            socket.set_recv_buffer_size(RECEIVES)?;
            let mut stream = socket.connect(address).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut some = [0; 1000];
            stream.read_exact(&mut some).await?;
            match some.starts_with(b"HTTP/1.1 200") {
                true => Outcome::Ok(stream),
                false => Err(String::from_utf8_lossy(&some).into()),
            }
        });
    }
    let mut streams = Vec::with_capacity(count);
    while let Some(stream) = begun.join_next().await {
        streams.push(stream??);
    }
    Ok(streams)
}
