//! The checksums that S3 clients choose from, as bytes pass.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crc_fast::{CrcAlgorithm, Digest as Crc};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// Which checksum (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChecksumKind {
    /// CRC-32, as zip has it.
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// A checksum of some bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// CRC-32.
    Crc32(u32),
    /// CRC-32C.
    Crc32c(u32),
    /// CRC-64/NVME.
    Crc64Nvme(u64),
    /// SHA-1.
    Sha1([u8; 20]),
    /// SHA-256.
    Sha256([u8; 32]),
}

/// What a checksum must turn out to be; it may become known as late as the last byte.
pub type Promise = Arc<OnceLock<Checksum>>;

impl ChecksumKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// Its word in `x-amz-sdk-checksum-algorithm`, and in lower case behind `x-amz-checksum-`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The one of this word, in any case.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str().eq_ignore_ascii_case(word))
    }

    /// Whether the checksum of a whole can be told from those of its parts and their lengths.
    pub fn combines(self) -> bool {
        matches!(self, Self::Crc32 | Self::Crc32c | Self::Crc64Nvme)
    }

    /// That of `bytes`.
    pub fn of_bytes(self, bytes: &[u8]) -> Checksum {
        let mut hasher = Hasher::new(self);
        hasher.update(bytes);
        hasher.finish()
    }

    /// That of the bytes of `parts`' checksums in a row, as S3 has it for uploads in parts (`COMPOSITE`). `None` if one is of another
    /// kind.
    pub fn composite(self, parts: impl IntoIterator<Item = Checksum>) -> Option<Checksum> {
        let mut hasher = Hasher::new(self);
        for part in parts {
            if part.kind() != self {
                return None;
            }
            hasher.update(&part.to_bytes());
        }
        Some(hasher.finish())
    }
}

impl Checksum {
    /// Which it is.
    pub fn kind(self) -> ChecksumKind {
        match self {
            Self::Crc32(_) => ChecksumKind::Crc32,
            Self::Crc32c(_) => ChecksumKind::Crc32c,
            Self::Crc64Nvme(_) => ChecksumKind::Crc64Nvme,
            Self::Sha1(_) => ChecksumKind::Sha1,
            Self::Sha256(_) => ChecksumKind::Sha256,
        }
    }

    /// Its bytes, the first one first.
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Crc32(crc) | Self::Crc32c(crc) => crc.to_be_bytes().to_vec(),
            Self::Crc64Nvme(crc) => crc.to_be_bytes().to_vec(),
            Self::Sha1(digest) => digest.to_vec(),
            Self::Sha256(digest) => digest.to_vec(),
        }
    }

    /// As [`to_bytes`](Self::to_bytes) has it; `None` if that is not as long as this kind is.
    pub fn from_bytes(kind: ChecksumKind, bytes: &[u8]) -> Option<Self> {
        Some(match kind {
            ChecksumKind::Crc32 => Self::Crc32(u32::from_be_bytes(bytes.try_into().ok()?)),
            ChecksumKind::Crc32c => Self::Crc32c(u32::from_be_bytes(bytes.try_into().ok()?)),
            ChecksumKind::Crc64Nvme => Self::Crc64Nvme(u64::from_be_bytes(bytes.try_into().ok()?)),
            ChecksumKind::Sha1 => Self::Sha1(bytes.try_into().ok()?),
            ChecksumKind::Sha256 => Self::Sha256(bytes.try_into().ok()?),
        })
    }

    /// In base64, as headers have it.
    pub fn to_base64(self) -> String {
        crate::base64::encode(self.to_bytes())
    }

    /// From base64.
    pub fn from_base64(kind: ChecksumKind, text: &str) -> Option<Self> {
        Self::from_bytes(kind, &crate::base64::decode(text)?)
    }

    /// That of bytes with this checksum and then `bytes` more with `next`. `None` if their kinds differ or do not
    /// [combine](ChecksumKind::combines).
    pub fn followed_by(self, next: Self, bytes: u64) -> Option<Self> {
        let combine =
            |algorithm, first, second| crc_fast::checksum_combine(algorithm, first, second, bytes);
        match (self, next) {
            (Self::Crc32(first), Self::Crc32(second)) => {
                let crc = combine(CrcAlgorithm::Crc32IsoHdlc, first.into(), second.into());
                Some(Self::Crc32(u32::try_from(crc).ok()?))
            }
            (Self::Crc32c(first), Self::Crc32c(second)) => {
                let crc = combine(CrcAlgorithm::Crc32Iscsi, first.into(), second.into());
                Some(Self::Crc32c(u32::try_from(crc).ok()?))
            }
            (Self::Crc64Nvme(first), Self::Crc64Nvme(second)) => Some(Self::Crc64Nvme(combine(
                CrcAlgorithm::Crc64Nvme,
                first,
                second,
            ))),
            _ => None,
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_base64())
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {self}", self.kind().as_str())
    }
}

/// Computes a checksum.
#[derive(Clone)]
pub(super) enum Hasher {
    Crc(ChecksumKind, Box<Crc>),
    Sha1(Box<Sha1>),
    Sha256(Box<Sha256>),
}

impl Hasher {
    pub(super) fn new(kind: ChecksumKind) -> Self {
        let crc = |algorithm| Self::Crc(kind, Box::new(Crc::new(algorithm)));
        match kind {
            ChecksumKind::Crc32 => crc(CrcAlgorithm::Crc32IsoHdlc),
            ChecksumKind::Crc32c => crc(CrcAlgorithm::Crc32Iscsi),
            ChecksumKind::Crc64Nvme => crc(CrcAlgorithm::Crc64Nvme),
            ChecksumKind::Sha1 => Self::Sha1(Box::default()),
            ChecksumKind::Sha256 => Self::Sha256(Box::default()),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(_, crc) => crc.update(bytes),
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Checksum {
        match self {
            // The algorithms of 32 bits have no more in the lower half.
            Self::Crc(kind, crc) => match (kind, crc.finalize()) {
                (ChecksumKind::Crc32, crc) => Checksum::Crc32(low(crc)),
                (ChecksumKind::Crc32c, crc) => Checksum::Crc32c(low(crc)),
                (_, crc) => Checksum::Crc64Nvme(crc),
            },
            Self::Sha1(hasher) => Checksum::Sha1(hasher.finalize().into()),
            Self::Sha256(hasher) => Checksum::Sha256(hasher.finalize().into()),
        }
    }
}

fn low(crc: u64) -> u32 {
    u32::try_from(crc & u64::from(u32::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: ChecksumKind, bytes: &[u8]) -> Checksum {
        let mut hasher = Hasher::new(kind);
        bytes.chunks(7).for_each(|chunk| hasher.update(chunk));
        hasher.finish()
    }

    /// The check values of the catalogue of CRCs (<https://reveng.sourceforge.io/crc-catalogue/all.htm>), and FIPS 180's for the others.
    #[test]
    fn checksums_are_those_of_the_standards() {
        let check = |kind| of(kind, b"123456789");
        assert_eq!(check(ChecksumKind::Crc32), Checksum::Crc32(0xCBF4_3926));
        assert_eq!(check(ChecksumKind::Crc32c), Checksum::Crc32c(0xE306_9283));
        assert_eq!(
            check(ChecksumKind::Crc64Nvme),
            Checksum::Crc64Nvme(0xAE8B_1486_0A79_9888)
        );
        assert_eq!(
            of(ChecksumKind::Sha1, b"abc").to_base64(),
            "qZk+NkcGgWq6PiVxeFDCbJzQ2J0="
        );
        assert_eq!(
            of(ChecksumKind::Sha256, b"abc").to_base64(),
            "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
        );
    }

    #[test]
    fn those_of_parts_make_that_of_the_whole() {
        let whole: Vec<u8> = (0..1000_u32).map(|i| (i * i) as u8).collect();
        for kind in ChecksumKind::ALL {
            let (first, second) = whole.split_at(300);
            let joined = of(kind, first).followed_by(of(kind, second), second.len() as u64);
            assert_eq!(
                joined,
                kind.combines().then(|| of(kind, &whole)),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        for kind in ChecksumKind::ALL {
            let checksum = of(kind, b"hello");
            assert_eq!(
                Checksum::from_base64(kind, &checksum.to_base64()),
                Some(checksum)
            );
            assert_eq!(ChecksumKind::of(&kind.as_str().to_lowercase()), Some(kind));
            assert_eq!(Checksum::from_base64(kind, "AAA="), None);
        }
    }
}
