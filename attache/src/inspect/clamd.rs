//! ClamAV's daemon, by its `INSTREAM` command (clamd(8), "COMMANDS").
//!
//! clamd's own `StreamMaxLength` (25 MiB in Debian's clamd.conf) must be at least `upload.max_file_bytes`; a longer file is
//! refused, because nobody could look at it.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::inspector::{Inspection, Inspector, Verdict, plain};
use crate::error::{Error, ErrorKind, Result};
use crate::inspect::config::ClamdAddress;
use crate::storage::Facts;

/// Longest reply that is read.
const MAX_REPLY: u64 = 4096;

/// Longest piece that is announced at a time; lengths are 32 bits.
const MAX_PIECE: usize = 1 << 20;

/// How long it takes to say that a piece is too long, where it does.
const ANSWERS_IN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Clamd {
    address: ClamdAddress,
}

impl Clamd {
    pub(super) fn new(address: ClamdAddress) -> Self {
        Self { address }
    }
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

struct Scan(Box<dyn Duplex>);

#[async_trait]
impl Inspector for Clamd {
    fn name(&self) -> &'static str {
        "clamd"
    }

    async fn check(&self, max_file_bytes: Option<u64>) -> Result<()> {
        let mut scan = self.scan().await?;
        let Some(max) = max_file_bytes else {
            return scan.verdict().await.map(|_| ());
        };
        // It answers to the announcement of a piece that is too long, before a byte of it was sent.
        let announced = u32::try_from(max).unwrap_or(u32::MAX);
        scan.send(&announced.to_be_bytes()).await?;
        match tokio::time::timeout(ANSWERS_IN, scan.reply()).await {
            Ok(Err(error)) => Err(error),
            // It waits for the bytes.
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    async fn begin(&self, _: &Facts) -> Result<Box<dyn Inspection>> {
        Ok(Box::new(self.scan().await?))
    }
}

impl Clamd {
    async fn scan(&self) -> Result<Scan> {
        let connected: io::Result<Box<dyn Duplex>> = match &self.address {
            ClamdAddress::Tcp(address) => match TcpStream::connect(address).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(error) => Err(error),
            },
            ClamdAddress::Unix(path) => match UnixStream::connect(path).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(error) => Err(error),
            },
        };
        let mut scan = Scan(connected.map_err(|error| failed("cannot be reached", error))?);
        // "z": what we send and what it replies ends with a zero byte.
        scan.send(b"zINSTREAM\0").await?;
        Ok(scan)
    }
}

#[async_trait]
impl Inspection for Scan {
    async fn chunk(&mut self, bytes: &Bytes) -> Result<()> {
        for piece in bytes.chunks(MAX_PIECE) {
            let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            self.send(&length.to_be_bytes()).await?;
            self.send(piece).await?;
        }
        Ok(())
    }

    async fn verdict(&mut self) -> Result<Verdict> {
        self.send(&0_u32.to_be_bytes()).await?;
        self.reply().await
    }
}

impl Scan {
    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        if let Err(error) = self.0.write_all(bytes).await {
            // It says why before it hangs up.
            return Err(match self.reply().await {
                Err(said) => said,
                Ok(_) => failed("hung up", error),
            });
        }
        Ok(())
    }

    /// `stream: OK`, `stream: Eicar-Test-Signature FOUND`, or `… ERROR`.
    async fn reply(&mut self) -> Result<Verdict> {
        let mut reply = Vec::new();
        let read = (&mut self.0).take(MAX_REPLY).read_to_end(&mut reply).await;
        read.map_err(|error| failed("hung up", error))?;
        let text = String::from_utf8_lossy(&reply);
        let text = text.trim_end_matches(['\0', '\n']);
        let text = text.strip_prefix("stream: ").unwrap_or(text);
        if text == "OK" {
            return Ok(Verdict::Accepted);
        }
        if text.contains("size limit exceeded") {
            return Err(Error::new(
                ErrorKind::TooLarge,
                "the file is longer than the virus scanner accepts (StreamMaxLength of clamd), so it cannot be inspected",
            ));
        }
        match text.strip_suffix(" FOUND") {
            Some(name) => Ok(Verdict::Refused(name.to_owned())),
            None => Err(Error::new(
                ErrorKind::UpstreamUnavailable,
                format!("clamd: {}", plain(text)),
            )),
        }
    }
}

fn failed(what: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::UpstreamUnavailable, format!("clamd {what}")).with_source(error)
}
