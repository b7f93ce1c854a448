//! How uploaded bytes are kept, or only their lengths and checksums.

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum_combine};
use sha2::{Digest as _, Sha256};

use crate::desk::mix;

/// What becomes of uploaded bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    /// They stay in memory and are served back.
    #[default]
    Keep,
    /// Only length and CRC-64 stay. Reads are served zeros.
    Discard,
    /// Only length and CRC-64 stay. Reads are served what [`fill_pattern`] writes, so a benchmark that
    /// uploads that pattern reads back the same bytes with the same checksum.
    DiscardPattern,
}

/// Writes the bytes that a [`Retention::DiscardPattern`] blob has from `offset` on.
pub fn fill_pattern(offset: u64, buffer: &mut [u8]) {
    // The pattern is one table over and over, because even an unoptimised build copies fast. The
    // table's length is prime to every block size, so bytes that land in the wrong place show.
    let mut at = (offset % PATTERN.len() as u64) as usize;
    let mut rest = buffer;
    while !rest.is_empty() {
        let take = rest.len().min(PATTERN.len() - at);
        let (now, later) = rest.split_at_mut(take);
        now.copy_from_slice(&PATTERN[at..at + take]);
        rest = later;
        at = 0;
    }
}

static PATTERN: [u8; 65_521] = {
    let mut table = [0; 65_521];
    let mut n = 0;
    while n < table.len() {
        table[n] = mix(n as u64 + 1) as u8;
        n += 1;
    }
    table
};

/// One received body: a whole object, or a part of it.
#[derive(Clone, Debug)]
pub struct Piece {
    /// What a list of parts calls it; empty otherwise.
    pub id: String,
    /// Its length in bytes.
    pub len: u64,
    /// CRC-64/NVME of what was received.
    pub crc64: u64,
    /// MD5, where somebody asked for it.
    pub md5: Option<[u8; 16]>,
    data: Option<Bytes>,
}

impl Piece {
    /// A body without a name; `data` if it is kept.
    pub fn new(len: u64, crc64: u64, md5: Option<[u8; 16]>, data: Option<Bytes>) -> Self {
        Self {
            id: String::new(),
            len,
            crc64,
            md5,
            data,
        }
    }
}

/// The bytes of an object.
#[derive(Clone, Debug)]
pub struct Content {
    /// What it was put together from.
    pub pieces: Vec<Piece>,
    /// Their bytes together.
    pub len: u64,
    retention: Retention,
}

impl Content {
    /// Put together from these, in this order.
    pub fn new(pieces: Vec<Piece>, retention: Retention) -> Self {
        let len = pieces.iter().map(|piece| piece.len).sum();
        Self {
            pieces,
            len,
            retention,
        }
    }

    /// The checksum of what was uploaded, kept or not.
    pub fn crc64(&self) -> u64 {
        let mut pieces = self.pieces.iter();
        let Some(first) = pieces.next() else { return 0 };
        pieces.fold(first.crc64, |crc, piece| {
            checksum_combine(CrcAlgorithm::Crc64Nvme, crc, piece.crc64, piece.len)
        })
    }

    /// The digest of the kept bytes.
    pub fn sha256(&self) -> Option<[u8; 32]> {
        let mut hasher = Sha256::new();
        for piece in &self.pieces {
            hasher.update(piece.data.as_ref()?);
        }
        Some(hasher.finalize().into())
    }

    /// All bytes, if they were kept.
    pub fn bytes(&self) -> Option<Bytes> {
        let mut all = Vec::new();
        for piece in &self.pieces {
            all.extend_from_slice(piece.data.as_ref()?);
        }
        Some(all.into())
    }

    /// Up to `most` bytes from `offset` on; nothing at the end.
    pub fn chunk(&self, offset: u64, most: usize) -> Bytes {
        let mut start = 0;
        for piece in &self.pieces {
            let end = start + piece.len;
            if offset < end {
                let inside = offset - start;
                let take = most.min(usize::try_from(end - offset).unwrap_or(usize::MAX));
                let inside_index = usize::try_from(inside).unwrap_or(usize::MAX);
                return match (&piece.data, self.retention) {
                    (Some(data), _) => data.slice(inside_index..inside_index + take),
                    (None, Retention::DiscardPattern) => {
                        let mut buffer = vec![0; take];
                        fill_pattern(offset, &mut buffer);
                        buffer.into()
                    }
                    (None, _) => Bytes::from_static(&ZEROS[..take.min(ZEROS.len())]),
                };
            }
            start = end;
        }
        Bytes::new()
    }
}

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_does_not_depend_on_where_it_is_cut() {
        let mut whole = [0; 100];
        fill_pattern(5, &mut whole);
        let mut parts = [0; 100];
        let (a, b) = parts.split_at_mut(33);
        fill_pattern(5, a);
        fill_pattern(38, b);
        assert_eq!(whole, parts);
    }

    #[test]
    fn the_checksum_of_pieces_is_that_of_the_whole() {
        let crc = |bytes: &[u8]| crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes);
        let piece = |bytes: &'static [u8]| {
            Piece::new(bytes.len() as u64, crc(bytes), None, Some(bytes.into()))
        };
        let content = Content::new(vec![piece(b"1234"), piece(b"56789")], Retention::Keep);
        assert_eq!(content.crc64(), crc(b"123456789"));
        assert_eq!(content.chunk(3, 100), &b"4"[..]);
        assert_eq!(content.chunk(4, 2), &b"56"[..]);
        assert!(content.chunk(9, 2).is_empty());
    }
}
