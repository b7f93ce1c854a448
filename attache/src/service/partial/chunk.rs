//! The bytes of one part: collected in memory, since a part is stored whole or not at all and a body may break off anywhere.

use bytes::{Bytes, BytesMut};
use tokio_util::sync::CancellationToken;

use crate::attachment::media::SNIFF_BYTES;
use crate::error::{Error, ErrorKind};
use crate::transfer::body::Body;
use crate::transfer::budget::Permit;
use crate::transfer::running::Running;

/// Why a chunk is as long as it is.
#[derive(Debug)]
pub(super) enum End {
    /// It is full, and there may be more.
    Full,
    /// The body ended.
    Body,
    /// The body failed, or has more bytes than it may have.
    Failed(Error),
    /// Somebody else waits for the upload, or the server ends.
    LetGo,
}

/// What is known of an upload up to the end of a chunk.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Of all bytes up to here.
    pub(super) digests: Running,
    /// The first bytes, until the type was told.
    pub(super) first: Vec<u8>,
}

/// A body that is cut into chunks.
pub(super) struct Source {
    pub(super) body: Body,
    /// Bytes that may still come, besides those that came and did not fit.
    pub(super) left: u64,
    /// What did not fit into the chunk before.
    pub(super) carry: Option<Bytes>,
    pub(super) let_go: CancellationToken,
    pub(super) cut: CancellationToken,
}

/// Bytes for one part, with the permit for them.
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    pub(super) permit: Permit,
}

impl Source {
    /// How many bytes chunks may still have.
    pub(super) fn room(&self) -> u64 {
        let carried = self.carry.as_ref().map_or(0, Bytes::len);
        self.left.saturating_add(carried as u64)
    }

    /// Collects as many bytes as `permit` is for. When no byte may come any more, the end of the body is awaited: a chunk that would
    /// make an upload whole counts only if the body ends there.
    pub(super) async fn chunk(&mut self, permit: Permit, known: &mut Known) -> (Chunk, End) {
        let capacity = usize::try_from(permit.bytes()).unwrap_or(usize::MAX);
        let mut buffer = BytesMut::new();
        let end = loop {
            if let Some(mut piece) = self.carry.take() {
                let fits = piece.len().min(capacity - buffer.len());
                let piece_here = piece.split_to(fits);
                if buffer.capacity() == 0 {
                    // Memory that is not written yet is not resident.
                    buffer.reserve(capacity);
                }
                // Copied: keeping the pieces as they came would keep the whole read buffers that they are parts of.
                buffer.extend_from_slice(&piece_here);
                known.see(&piece_here);
                if !piece.is_empty() {
                    self.carry = Some(piece);
                }
            }
            if buffer.len() == capacity && self.room() > 0 {
                break End::Full;
            }
            let next = tokio::select! {
                biased;
                () = self.let_go.cancelled() => break End::LetGo,
                () = self.cut.cancelled() => break End::LetGo,
                next = self.body.next() => next,
            };
            match next {
                Some(Ok(piece)) => {
                    let Some(left) = self.left.checked_sub(piece.len() as u64) else {
                        // Not even the bytes that would have fitted: the client and we mean different files.
                        buffer.clear();
                        break End::Failed(too_long());
                    };
                    self.left = left;
                    self.carry = Some(piece);
                }
                Some(Err(error)) => break End::Failed(error),
                None => break End::Body,
            }
        };
        let chunk = Chunk {
            bytes: buffer.freeze(),
            permit,
        };
        (chunk, end)
    }
}

impl Known {
    fn see(&mut self, bytes: &[u8]) {
        let seen = self.digests.size();
        if seen < SNIFF_BYTES as u64 {
            let wanted = SNIFF_BYTES.saturating_sub(self.first.len());
            self.first
                .extend_from_slice(&bytes[..bytes.len().min(wanted)]);
        }
        self.digests.update(bytes);
    }
}

pub(super) fn too_long() -> Error {
    Error::new(
        ErrorKind::TooLarge,
        "the body is longer than what is left of the upload; nothing of its last part is kept",
    )
}
