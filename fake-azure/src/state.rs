//! What the account holds: containers, blobs, snapshots, staged blocks; and how bytes are kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum_combine};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

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

/// What keeps a blob as it is, although the caller has the right to change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Somebody holds an infinite lease: 412 `LeaseIdMissing` for changes and deletion.
    Leased,
    /// A time-based retention policy: 409 `BlobImmutableDueToPolicy` for changes and deletion. New blobs may be made.
    RetentionPolicy,
    /// A legal hold: 409 `BlobImmutableDueToLegalHold` for changes and deletion.
    LegalHold,
    /// It is encrypted with a key that callers must bring: 409 `BlobUsesCustomerSpecifiedEncryption` without it, and
    /// listings do not show its metadata.
    CustomerKey,
}

/// All containers of the account.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) containers: BTreeMap<String, Container>,
    /// The XML of Get Blob Service Properties, if it is not the default.
    pub(crate) service_properties: Option<String>,
    /// Answers about blobs name their version. Versions themselves are not kept.
    pub(crate) versioning: bool,
    etags: u64,
    last_snapshot: Option<OffsetDateTime>,
}

impl Store {
    /// A fresh entity tag, quoted as headers carry it.
    pub(crate) fn next_etag(&mut self) -> String {
        self.etags += 1;
        format!("\"0x8DE{:012X}\"", self.etags)
    }

    /// A time for a snapshot that no other snapshot has.
    pub(crate) fn next_snapshot_time(&mut self, now: OffsetDateTime) -> OffsetDateTime {
        let tick = time::Duration::nanoseconds(100);
        let at = match self.last_snapshot {
            Some(last) if last + tick > now => last + tick,
            _ => now,
        };
        self.last_snapshot = Some(at);
        at
    }

    pub(crate) fn uncommitted_blocks(&self) -> u64 {
        let entries = self.containers.values().flat_map(|c| c.entries.values());
        entries.map(|e| e.staged.len() as u64).sum()
    }

    pub(crate) fn blobs(&self) -> u64 {
        let entries = self.containers.values().flat_map(|c| c.entries.values());
        entries.filter(|e| e.current.is_some()).count() as u64
    }
}

#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) etag: String,
    pub(crate) modified: OffsetDateTime,
    pub(crate) metadata: BTreeMap<String, String>,
    /// What guards every blob in it.
    pub(crate) guard: Option<Guard>,
    pub(crate) entries: BTreeMap<String, Entry>,
}

/// Everything under one blob name.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) current: Option<Arc<Blob>>,
    pub(crate) snapshots: BTreeMap<String, Arc<Blob>>,
    pub(crate) staged: BTreeMap<String, Piece>,
    /// What guards the blob.
    pub(crate) guard: Option<Guard>,
}

impl Entry {
    pub(crate) fn is_empty(&self) -> bool {
        self.current.is_none() && self.snapshots.is_empty() && self.staged.is_empty()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) content: Content,
    pub(crate) etag: String,
    pub(crate) created: OffsetDateTime,
    pub(crate) modified: OffsetDateTime,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) properties: Properties,
    pub(crate) tier: Option<String>,
    /// Whether it was made of a block list; its blocks then have names.
    pub(crate) of_blocks: bool,
}

/// The headers that are stored with a blob and served back with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Properties {
    pub(crate) content_type: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) content_md5: Option<String>,
}

/// One received body: a whole blob, or one block of it.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) id: String,
    pub(crate) len: u64,
    pub(crate) crc64: u64,
    pub(crate) md5: Option<[u8; 16]>,
    data: Option<Bytes>,
}

impl Piece {
    pub(crate) fn new(len: u64, crc64: u64, md5: Option<[u8; 16]>, data: Option<Bytes>) -> Self {
        Self {
            id: String::new(),
            len,
            crc64,
            md5,
            data,
        }
    }
}

/// The bytes of a blob.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) len: u64,
    retention: Retention,
}

impl Content {
    pub(crate) fn new(pieces: Vec<Piece>, retention: Retention) -> Self {
        let len = pieces.iter().map(|piece| piece.len).sum();
        Self {
            pieces,
            len,
            retention,
        }
    }

    /// The checksum of what was uploaded, kept or not.
    pub(crate) fn crc64(&self) -> u64 {
        let mut pieces = self.pieces.iter();
        let Some(first) = pieces.next() else { return 0 };
        pieces.fold(first.crc64, |crc, piece| {
            checksum_combine(CrcAlgorithm::Crc64Nvme, crc, piece.crc64, piece.len)
        })
    }

    /// The digest of the kept bytes.
    pub(crate) fn sha256(&self) -> Option<[u8; 32]> {
        let mut hasher = Sha256::new();
        for piece in &self.pieces {
            hasher.update(piece.data.as_ref()?);
        }
        Some(hasher.finalize().into())
    }

    /// All bytes, if they were kept.
    pub(crate) fn bytes(&self) -> Option<Bytes> {
        let mut all = Vec::new();
        for piece in &self.pieces {
            all.extend_from_slice(piece.data.as_ref()?);
        }
        Some(all.into())
    }

    /// Up to `most` bytes from `offset` on; nothing at the end.
    pub(crate) fn chunk(&self, offset: u64, most: usize) -> Bytes {
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
