//! An HTTP/1.1 client that can also misbehave: leave in the middle, in either direction.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest silence of a server. attache gives the store 2 s of silence here, and answers itself after a few retries.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest body of an answer that is read into memory.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// One connection, made when it is needed and kept while it works.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// What follows a head.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Send<'a> {
    Whole(&'a [u8]),
    /// In chunks of this size, so that the length is not known before the end.
    Chunked(&'a [u8], usize),
    /// A promise of this length, of which only the bytes are kept; then the client is gone.
    Broken(&'a [u8], usize),
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            stream: None,
        }
    }

    /// Ends the connection.
    pub(crate) fn close(&mut self) {
        self.stream = None;
    }

    /// Sends a request and reads the whole answer. `headers`: lines that end in CR LF.
    pub(crate) fn exchange(
        &mut self,
        method: &str,
        target: &str,
        headers: &str,
        body: Send<'_>,
    ) -> io::Result<Answer> {
        let outcome = self.try_exchange(method, target, headers, body);
        if outcome.is_err() {
            self.close();
        }
        outcome
    }

    /// Sends a request, reads this many bytes of the answer, head included, and is gone.
    pub(crate) fn leave_after(&mut self, target: &str, bytes: usize) -> io::Result<()> {
        let mut stream = self.connected()?;
        // An answer that is shorter ends with its connection, instead of being waited for.
        write_head(&mut stream, "GET", target, "connection: close\r\n")?;
        io::copy(&mut stream.take(bytes as u64), &mut io::sink())?;
        Ok(())
    }

    fn connected(&mut self) -> io::Result<BufReader<TcpStream>> {
        if let Some(stream) = self.stream.take() {
            return Ok(stream);
        }
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(BufReader::new(stream))
    }

    fn try_exchange(
        &mut self,
        method: &str,
        target: &str,
        headers: &str,
        body: Send<'_>,
    ) -> io::Result<Answer> {
        let mut stream = self.connected()?;
        let framing = match body {
            Send::Whole([]) if matches!(method, "GET" | "HEAD" | "DELETE") => String::new(),
            Send::Whole(bytes) => format!("content-length: {}\r\n", bytes.len()),
            Send::Chunked(..) => "transfer-encoding: chunked\r\n".to_owned(),
            Send::Broken(_, promised) => format!("content-length: {promised}\r\n"),
        };
        write_head(&mut stream, method, target, &format!("{headers}{framing}"))?;
        // Who refuses an upload answers before its end; that answer counts, not the broken pipe.
        let sent = write_body(stream.get_mut(), body);
        if matches!(body, Send::Broken(..)) {
            return Ok(Answer {
                status: 0,
                body: Vec::new(),
            });
        }
        let answer = read_answer(&mut stream, method)?;
        if sent.is_ok() && !answer.1 {
            self.stream = Some(stream);
        }
        Ok(answer.0)
    }
}

fn write_head(
    stream: &mut BufReader<TcpStream>,
    method: &str,
    target: &str,
    headers: &str,
) -> io::Result<()> {
    let head = format!("{method} {target} HTTP/1.1\r\nhost: attache\r\n{headers}\r\n");
    stream.get_mut().write_all(head.as_bytes())
}

fn write_body(stream: &mut TcpStream, body: Send<'_>) -> io::Result<()> {
    match body {
        Send::Whole(bytes) | Send::Broken(bytes, _) => stream.write_all(bytes),
        Send::Chunked(bytes, size) => {
            for chunk in bytes.chunks(size) {
                write!(stream, "{:x}\r\n", chunk.len())?;
                stream.write_all(chunk)?;
                stream.write_all(b"\r\n")?;
            }
            stream.write_all(b"0\r\n\r\n")
        }
    }
}

/// The answer, and whether the connection ends with it.
fn read_answer(stream: &mut BufReader<TcpStream>, method: &str) -> io::Result<(Answer, bool)> {
    let broken = |what: &str| io::Error::new(ErrorKind::InvalidData, what.to_owned());
    let (mut status, mut length, mut ends) = (None, 0_usize, false);
    loop {
        let mut line = String::new();
        if stream.by_ref().take(64 * 1024).read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        match (status, line.split_once(':')) {
            (None, _) => {
                let code = line.split(' ').nth(1).and_then(|code| code.parse().ok());
                status = Some(code.ok_or_else(|| broken("no status line"))?);
            }
            (Some(100..=199), _) if line.is_empty() => status = None,
            (Some(_), None) if line.is_empty() => break,
            (Some(_), Some((name, value))) => match name.to_ascii_lowercase().as_str() {
                "content-length" => {
                    let told = value.trim().parse();
                    length = told.map_err(|_| broken("no length"))?;
                }
                "transfer-encoding" => return Err(broken("attache tells every length")),
                "connection" => ends = value.trim().eq_ignore_ascii_case("close"),
                _ => {}
            },
            (Some(_), None) => return Err(broken("no header")),
        }
    }
    let status: u16 = status.ok_or_else(|| broken("no status line"))?;
    if method == "HEAD" || matches!(status, 204 | 304) {
        length = 0;
    }
    if length > MAX_BODY {
        return Err(broken("an answer of more than 64 MiB"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((Answer { status, body }, ends))
}
