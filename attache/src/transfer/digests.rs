//! Length, SHA-256, MD5 and CRC-64 of bytes as they pass; and what they must turn out to be.

use std::fmt;

use crc_fast::{CrcAlgorithm, Digest as Crc};
use md5::Md5;
use sha2::{Digest as _, Sha256};

use crate::attachment::Hex;
use crate::error::{Error, ErrorKind, Result};
use crate::transfer::checksum::{Checksum, ChecksumKind, Hasher, Promise};
use crate::transfer::utf8::Utf8Check;

/// What is known of a body once its end was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// Length in bytes.
    pub size: u64,
    /// SHA-256, if it was asked for.
    pub sha256: Option<Hex<32>>,
    /// MD5, if it was asked for.
    pub md5: Option<Hex<16>>,
    /// CRC-64/NVME, if it was asked for: the CRC that Azure Blob Storage computes
    /// (<https://learn.microsoft.com/rest/api/storageservices/put-blob>, `x-ms-content-crc64`).
    pub crc64: Option<u64>,
    /// Whether all bytes are UTF-8, if digests were asked for. ISO-2022-JP, which looks like ASCII, is not.
    pub utf8: Option<bool>,
    /// A checksum of a client's choice, if one was asked for.
    pub checksum: Option<Checksum>,
}

/// What a body must turn out to be. An unset field is not checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected {
    /// Exact length in bytes.
    pub size: Option<u64>,
    /// Longest length in bytes that is let through.
    pub max_size: Option<u64>,
    /// SHA-256 of all bytes.
    pub sha256: Option<[u8; 32]>,
    /// MD5 of all bytes.
    pub md5: Option<[u8; 16]>,
    /// CRC-64/NVME of all bytes.
    pub crc64: Option<u64>,
}

impl Expected {
    /// Whether `digests` are what was expected.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::DigestMismatch`], with what differs.
    pub(super) fn check(&self, digests: &Digests) -> Result<()> {
        if let Some(size) = self.size.filter(|size| *size != digests.size) {
            return Err(mismatch("length", size, digests.size));
        }
        if let (Some(want), Some(got)) = (self.sha256, digests.sha256)
            && want != got.0
        {
            return Err(mismatch("SHA-256", Hex(want), got));
        }
        if let (Some(want), Some(got)) = (self.md5, digests.md5)
            && want != got.0
        {
            return Err(mismatch("MD5", Hex(want), got));
        }
        if let (Some(want), Some(got)) = (self.crc64, digests.crc64)
            && want != got
        {
            return Err(mismatch(
                "CRC-64",
                Hex(want.to_be_bytes()),
                Hex(got.to_be_bytes()),
            ));
        }
        Ok(())
    }
}

/// Counts and hashes what passes.
#[derive(Default)]
pub(super) struct Meter {
    pub(super) size: u64,
    crc64: Option<Crc>,
    /// Apart, and only where it is needed: every body has a meter, and is moved as often as a transfer has layers.
    more: Option<Box<Hashers>>,
    pub(super) digests: Option<Box<Digests>>,
}

/// What costs more than a CRC.
#[derive(Default)]
struct Hashers {
    sha256: Option<Sha256>,
    md5: Option<Md5>,
    /// Of more bytes than this, MD5 is given up.
    md5_up_to: u64,
    utf8: Option<Utf8Check>,
    checksum: Option<(Hasher, Option<Promise>)>,
}

impl Hashers {
    /// `size`: of all bytes so far, these included.
    fn update(&mut self, chunk: &[u8], size: u64) {
        if size > self.md5_up_to {
            self.md5 = None;
        }
        if let Some(hasher) = &mut self.sha256 {
            hasher.update(chunk);
        }
        if let Some(hasher) = &mut self.md5 {
            hasher.update(chunk);
        }
        if let Some(check) = &mut self.utf8 {
            check.update(chunk);
        }
        if let Some((hasher, _)) = &mut self.checksum {
            hasher.update(chunk);
        }
    }
}

impl Meter {
    /// Computes SHA-256 and CRC-64, and MD5 if `md5` is set; and looks whether it is UTF-8.
    pub(super) fn hash_all(&mut self, md5: bool) {
        self.crc64 = Some(Crc::new(CrcAlgorithm::Crc64Nvme));
        let more = self.more();
        more.sha256 = Some(Sha256::new());
        more.utf8 = Some(Utf8Check::default());
        if md5 {
            self.hash_md5();
        }
    }

    /// Computes what `expected` needs.
    pub(super) fn hash_for(&mut self, expected: &Expected) {
        if expected.sha256.is_some() {
            self.more().sha256.get_or_insert_with(Sha256::new);
        }
        if expected.md5.is_some() {
            self.hash_md5();
        }
        if expected.crc64.is_some() {
            self.hash_crc64();
        }
    }

    pub(super) fn hash_crc64(&mut self) {
        self.crc64
            .get_or_insert_with(|| Crc::new(CrcAlgorithm::Crc64Nvme));
    }

    /// Computes a checksum, which must turn out to be what `promise` says when all bytes have passed.
    pub(super) fn hash_checksum(&mut self, kind: ChecksumKind, promise: Option<Promise>) {
        self.more().checksum = Some((Hasher::new(kind), promise));
    }

    pub(super) fn hash_md5(&mut self) {
        self.hash_md5_up_to(u64::MAX);
    }

    pub(super) fn hash_md5_up_to(&mut self, bytes: u64) {
        let more = self.more();
        more.md5.get_or_insert_with(Md5::new);
        more.md5_up_to = more.md5_up_to.max(bytes);
    }

    fn more(&mut self) -> &mut Hashers {
        self.more.get_or_insert_default()
    }

    pub(super) fn update(&mut self, chunk: &[u8]) {
        self.size += chunk.len() as u64;
        if let Some(hasher) = &mut self.crc64 {
            hasher.update(chunk);
        }
        if let Some(more) = &mut self.more {
            more.update(chunk, self.size);
        }
    }

    /// What passed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::DigestMismatch`] if the checksum is not what was promised, or nothing was.
    pub(super) fn finish(&mut self) -> Result<Digests> {
        let Hashers {
            sha256,
            md5,
            md5_up_to: _,
            utf8,
            checksum,
        } = self.more.take().map_or_else(Hashers::default, |more| *more);
        let checksum = match checksum {
            Some((hasher, promise)) => Some(kept(hasher.finish(), promise)?),
            None => None,
        };
        Ok(Digests {
            checksum,
            size: self.size,
            sha256: sha256.map(|hasher| Hex(hasher.finalize().into())),
            md5: md5.map(|hasher| Hex(hasher.finalize().into())),
            crc64: self.crc64.take().map(|hasher| hasher.finalize()),
            utf8: utf8.map(Utf8Check::finish),
        })
    }
}

fn kept(got: Checksum, promise: Option<Promise>) -> Result<Checksum> {
    let name = got.kind().as_str();
    match promise.map(|promise| promise.get().copied()) {
        Some(Some(want)) if want != got => Err(mismatch(name, want, got)),
        Some(None) => Err(Error::new(
            ErrorKind::DigestMismatch,
            format!("{name} was announced, and did not come after the bytes"),
        )),
        _ => Ok(got),
    }
}

/// CRC-64/NVME of `bytes`.
pub fn crc64(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

/// CRC-64/NVME of two pieces in a row: `first`, then `second`, which has `second_bytes` bytes. Both are left unread.
pub fn crc64_of_two(first: u64, second: u64, second_bytes: u64) -> u64 {
    crc_fast::checksum_combine(CrcAlgorithm::Crc64Nvme, first, second, second_bytes)
}

pub(crate) fn mismatch(what: &str, want: impl fmt::Display, got: impl fmt::Display) -> Error {
    Error::new(
        ErrorKind::DigestMismatch,
        format!("{what} mismatch: expected {want}, got {got}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_of_two_pieces_is_that_of_the_whole() {
        let whole: Vec<u8> = (0..1000_u32).map(|i| (i * i) as u8).collect();
        for at in [0, 1, 500, 999, 1000] {
            let (first, second) = whole.split_at(at);
            let combined = crc64_of_two(crc64(first), crc64(second), second.len() as u64);
            assert_eq!(combined, crc64(&whole), "cut at {at}");
        }
    }
}
