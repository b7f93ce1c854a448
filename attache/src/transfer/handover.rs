//! Bytes of files that the kernel sends by itself: what stands for them on the way to the socket, and which bytes those are.
//!
//! A chunk that [stands for](Handover::chunk) a part of a file passes through every layer as any chunk does: it has the length of that
//! part, is counted, and is a slice of one static array of zeros, of which nothing is ever copied. Whoever writes to the socket knows it by
//! its address, and has the kernel send the [part](Handover::next) in its place (sendfile(2)). One queue joins both ends: a body that was
//! asked to hand over, and the socket of the same connection. What the queue does not know is an error there, so zeros never leave.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// The longest part that one chunk stands for: what a socket takes at once is mostly less, since Linux lets its buffer grow to 4 MiB
/// and shares that with what is on its way (`net.ipv4.tcp_wmem`, tcp(7)).
pub const CHUNK: usize = 256 * 1024;

/// Never written and never read, so it takes no memory but addresses.
static STAND_IN: [u8; CHUNK] = [0; CHUNK];

/// Whether `slice` stands for something else.
pub fn stands_in(slice: &[u8]) -> bool {
    let all = STAND_IN.as_ptr_range();
    !slice.is_empty() && all.contains(&slice.as_ptr())
}

/// A part of a file.
#[derive(Clone, Debug)]
pub struct FilePart {
    /// The file.
    pub file: Arc<File>,
    /// Where the part begins.
    pub at: u64,
    /// How long it is.
    pub len: usize,
}

/// What stands for bytes on one connection, in the order in which they go out. For one body at a time.
#[derive(Debug, Default)]
pub struct Handover {
    parts: Mutex<VecDeque<FilePart>>,
    /// How many there are, for whoever only wants to know whether there is one.
    waiting: AtomicUsize,
}

impl Handover {
    /// A chunk that stands for `part`, of at most [`CHUNK`] bytes: who takes it must pass it on, or end the connection.
    pub fn chunk(&self, part: FilePart) -> Bytes {
        let bytes = Bytes::from_static(&STAND_IN[..part.len.min(CHUNK)]);
        let mut parts = self.parts();
        parts.push_back(FilePart {
            len: bytes.len(),
            ..part
        });
        self.waiting.store(parts.len(), Ordering::Release);
        bytes
    }

    /// Whether nothing is handed over now.
    pub fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    /// What is to be sent next.
    pub fn next(&self) -> Option<FilePart> {
        self.parts().front().cloned()
    }

    /// `bytes` of the next part were sent.
    pub fn sent(&self, bytes: usize) {
        let mut parts = self.parts();
        if let Some(part) = parts.front_mut() {
            part.at += bytes as u64;
            part.len = part.len.saturating_sub(bytes);
            if part.len == 0 {
                parts.pop_front();
            }
        }
        self.waiting.store(parts.len(), Ordering::Release);
    }

    fn parts(&self) -> MutexGuard<'_, VecDeque<FilePart>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_known_by_its_address_and_so_is_any_part_of_it() {
        let file = Arc::new(tempfile::tempfile().expect("a file"));
        let handover = Handover::default();
        assert!(handover.is_empty());
        let part = |at, len| FilePart {
            file: file.clone(),
            at,
            len,
        };
        let chunk = handover.chunk(part(5, 100));
        assert_eq!(chunk.len(), 100);
        assert!(stands_in(&chunk) && stands_in(&chunk[99..]) && stands_in(&chunk.slice(7..)));
        assert!(!stands_in(&chunk[100..]) && !stands_in(&[0; 9]));

        let long = handover.chunk(part(0, CHUNK + 1));
        assert_eq!(long.len(), CHUNK, "no more than there is");
        handover.sent(40);
        let next = handover.next().expect("the rest of the first");
        assert_eq!((next.at, next.len), (45, 60));
        handover.sent(60);
        assert_eq!(handover.next().expect("the second").len, CHUNK);
        handover.sent(CHUNK);
        assert!(handover.is_empty() && handover.next().is_none());
    }
}
