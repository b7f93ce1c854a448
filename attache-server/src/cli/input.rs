//! What is read on this machine, as the body of an upload.

use std::io;

use attache::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use indicatif::ProgressBar;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

/// 256 KiB amortise the hop to the thread that reads.
pub(super) const READ_BYTES: usize = 256 * 1024;

/// The bytes of `input` to its end; `bar` counts them.
pub(super) fn chunks(
    input: impl AsyncRead + Send + 'static,
    bar: &ProgressBar,
) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    let bar = bar.clone();
    ReaderStream::with_capacity(input, READ_BYTES).map(move |chunk| match chunk {
        Ok(chunk) => {
            bar.inc(chunk.len() as u64);
            Ok(chunk)
        }
        Err(error) => Err(unreadable(&error)),
    })
}

pub(super) fn unreadable(error: &io::Error) -> Error {
    Error::new(ErrorKind::ClientGone, format!("cannot be read: {error}"))
}
