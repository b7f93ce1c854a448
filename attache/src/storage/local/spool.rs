//! A body on its way into a file that nobody sees yet: what comes is gathered, and written a large piece at a time.
//!
//! Every write is a hop to a thread that may block and back, which costs more than the write of what a connection gives at once. So a
//! piece is filled while the one before it is written, and a body of one piece is written by whoever gives the file its place.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};
use tokio::task::JoinHandle;

use super::place::{locked_temp, write_error};
use crate::error::{Error, Result};
use crate::transfer::body::{Body, Digests};
use crate::transfer::budget::{Budget, Permit};

/// How much is written to a file at once.
const PIECE: usize = 64 * 1024;

/// What one body holds in memory: a piece that fills, and one that is being written.
pub(super) const WRITE_BYTES: usize = 2 * PIECE;

/// A body that has come to its end.
pub(super) struct Spooled {
    pub(super) digests: Digests,
    spool: Spool,
    rest: Vec<u8>,
    _memory: Permit,
}

/// Reads `body` to its end, into a new file in `temp`, which `make` makes if it is not there. If this is dropped, or fails, the file is
/// gone; a write that is under way ends first. `budget`: what it holds in memory is a part of it.
pub(super) async fn spool_into(
    temp: PathBuf,
    make: impl FnOnce() -> io::Result<()> + Send + 'static,
    budget: &Budget,
    body: &mut Body,
) -> Result<Spooled> {
    let memory = budget.acquire(WRITE_BYTES as u64).await?;
    let mut writer = Writer {
        spool: Some(Spool::Nothing(temp, Box::new(make))),
        writing: None,
        spare: Vec::new(),
    };
    let mut filling = Vec::new();
    let outcome = writer.read(body, &mut filling).await;
    // After an error, too: nothing is left of the file when this returns.
    let spool = writer.settled().await;
    Ok(Spooled {
        digests: outcome?,
        spool: spool?,
        rest: filling,
        _memory: memory,
    })
}

/// A new file for writing; `make` makes the folder if it is not there.
pub(super) fn temp_in(
    temp: &Path,
    make: impl FnOnce() -> io::Result<()>,
) -> io::Result<NamedTempFile> {
    match locked_temp(temp, "put-") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make()?;
            locked_temp(temp, "put-")
        }
        outcome => outcome,
    }
}

impl Spooled {
    /// Writes what is left of it. Blocks. The file is locked until it is closed, and all but the last [`WRITE_BYTES`] of it are on disk:
    /// those are, once the caller has synced it.
    pub(super) fn written(self) -> io::Result<(File, TempPath)> {
        let is_large = matches!(self.spool, Spool::File(..));
        let (file, path) = self.spool.write(&self.rest)?;
        if is_large {
            file.sync_all()?;
        }
        Ok((file, path))
    }

    /// As [`written`](Self::written), and all of it is on disk.
    pub(super) fn on_disk(self) -> io::Result<(File, TempPath)> {
        let is_large = matches!(self.spool, Spool::File(..));
        let (file, path) = self.written()?;
        if !is_large {
            file.sync_all()?;
        }
        Ok((file, path))
    }
}

type Make = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// The file, once there is something to write.
enum Spool {
    Nothing(PathBuf, Make),
    File(File, TempPath),
}

impl Spool {
    fn write(self, piece: &[u8]) -> io::Result<(File, TempPath)> {
        let (mut file, path) = match self {
            Self::File(file, path) => (file, path),
            Self::Nothing(temp, make) => temp_in(&temp, make)?.into_parts(),
        };
        file.write_all(piece)?;
        Ok((file, path))
    }
}

/// The file, and a buffer that is empty again.
type Wrote = (Spool, Vec<u8>);

/// Writes pieces, one after the other.
struct Writer {
    /// `None` while somebody writes to it, and after an error.
    spool: Option<Spool>,
    writing: Option<JoinHandle<io::Result<Wrote>>>,
    /// An empty buffer with room for a piece, once there is one.
    spare: Vec<u8>,
}

impl Writer {
    /// Leaves the last piece in `filling`.
    async fn read(&mut self, body: &mut Body, filling: &mut Vec<u8>) -> Result<Digests> {
        while let Some(chunk) = body.next().await {
            let chunk = chunk?;
            let mut chunk = &chunk[..];
            while !chunk.is_empty() {
                if filling.len() == PIECE {
                    let spool = self.settled().await?;
                    let full = std::mem::replace(filling, std::mem::take(&mut self.spare));
                    self.begin(spool, full);
                }
                let (now, later) = chunk.split_at(chunk.len().min(PIECE - filling.len()));
                filling.extend_from_slice(now);
                chunk = later;
            }
        }
        body.digests()
            .ok_or_else(|| Error::internal("the body ended without digests"))
    }

    fn begin(&mut self, spool: Spool, mut piece: Vec<u8>) {
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let (file, path) = spool.write(&piece)?;
            piece.clear();
            Ok((Spool::File(file, path), piece))
        }));
    }

    /// The file, when nobody writes to it.
    async fn settled(&mut self) -> Result<Spool> {
        if let Some(task) = self.writing.take() {
            let wrote = task
                .await
                .unwrap_or_else(|error| Err(io::Error::other(error)));
            let (spool, spare) = wrote.map_err(|error| write_error(error, "put"))?;
            (self.spool, self.spare) = (Some(spool), spare);
        }
        self.spool
            .take()
            .ok_or_else(|| Error::internal("the file of a body is gone after an error"))
    }
}
