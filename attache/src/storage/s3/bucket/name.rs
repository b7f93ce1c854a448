//! Which keys are names of objects, and where the pieces of uploads are.
//!
//! A key is its own name, whatever it looks like, so that other programs find it. Pieces of uploads are objects of the same bucket, as the
//! store copies from one name to another: below [`UPLOADS`], where no client sees them or writes.

use sha2::{Digest as _, Sha256};

use super::super::dialect::Dialect;
use super::super::inner::Inner;
pub(super) use super::super::staging::UPLOADS;
use crate::attachment::Hex;
use crate::error::{Error, Result};
use crate::storage::bucket::Key;
use crate::transfer::checksum::{Checksum, ChecksumKind};
use crate::transfer::digests::Digests;

/// The key, if it can be a name.
///
/// # Errors
///
/// [`BadRequest`](crate::ErrorKind::BadRequest).
pub(super) fn checked<'k>(inner: &Inner, key: &'k Key) -> Result<&'k Key> {
    let text = key.as_str();
    let what = match inner.place.dialect {
        _ if text.starts_with(UPLOADS) => {
            format!("keys below \"{UPLOADS}\" are for the pieces of uploads; use another one")
        }
        // <https://cloud.google.com/storage/docs/objects#naming>
        Dialect::Gcs if matches!(text, "." | "..") || text.contains(['\r', '\n']) => {
            "Google Cloud Storage has no object \".\" or \"..\", and none with a line break in its name"
                .to_owned()
        }
        _ => return Ok(key),
    };
    Err(Error::bad_request(what).during("key", text))
}

/// Where the pieces of one upload of `key` are. The key itself may be as long as a name can be.
pub(super) fn folder_of(key: &Key, upload: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(key.as_str()).into();
    format!("{UPLOADS}{}/{upload}/", Hex(digest))
}

/// What is known of the bytes of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) size: u64,
    pub(super) md5: Hex<16>,
    pub(super) checksum: Option<Checksum>,
}

impl Sums {
    /// # Errors
    ///
    /// [`Internal`](crate::ErrorKind::Internal) if the MD5 was not computed.
    pub(super) fn of(digests: &Digests) -> Result<Self> {
        Ok(Self {
            size: digests.size,
            md5: digests
                .md5
                .ok_or_else(|| Error::internal("a part without MD5"))?,
            checksum: digests.checksum,
        })
    }
}

/// What an object in the folder of an upload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// All of a part.
    Whole(Sums),
    /// One of the pieces of a longer part, counted from 0.
    Piece(u32),
    /// Says that a part is whole, and of how many pieces. It has no bytes.
    Marker(u32, Sums),
}

/// The name of such an object, behind that of the folder: all that is known of a part, so that one listing tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// Of the part.
    pub(super) number: u16,
    /// Which try at the part: later ones have greater numbers.
    pub(super) serial: u64,
    pub(super) kind: Kind,
}

/// What the names of one try at a part begin with.
pub(super) fn front(folder: &str, number: u16, serial: u64) -> String {
    format!("{folder}{number:05}-{serial:016x}-")
}

impl Name {
    pub(super) fn to_text(&self, folder: &str) -> String {
        let kind = match &self.kind {
            Kind::Whole(sums) => format!("whole-{}", sums.to_text()),
            Kind::Piece(index) => format!("piece-{index:05}"),
            Kind::Marker(count, sums) => format!("parts-{count}-{}", sums.to_text()),
        };
        format!("{}{kind}", front(folder, self.number, self.serial))
    }

    /// `None` if it is none of ours.
    pub(super) fn read(folder: &str, name: &str) -> Option<Self> {
        let mut words = name.strip_prefix(folder)?.splitn(4, '-');
        let number = words.next()?.parse().ok()?;
        let serial = u64::from_str_radix(words.next()?, 16).ok()?;
        let (kind, rest) = (words.next()?, words.next()?);
        let kind = match kind {
            "whole" => Kind::Whole(Sums::read(rest)?),
            "piece" => Kind::Piece(rest.parse().ok()?),
            "parts" => {
                let (count, sums) = rest.split_once('-')?;
                Kind::Marker(count.parse().ok()?, Sums::read(sums)?)
            }
            _ => return None,
        };
        Some(Self {
            number,
            serial,
            kind,
        })
    }
}

impl Sums {
    fn to_text(&self) -> String {
        let checksum = self.checksum.map(|sum| {
            let bytes = crate::base64::encode_url(sum.to_bytes());
            format!("-{}-{bytes}", sum.kind().as_str())
        });
        format!("{}-{}{}", self.size, self.md5, checksum.unwrap_or_default())
    }

    /// The base64 of the checksum is last, as there may be `-` in it.
    fn read(text: &str) -> Option<Self> {
        let mut words = text.splitn(4, '-');
        Some(Self {
            size: words.next()?.parse().ok()?,
            md5: words.next()?.parse().ok()?,
            checksum: match words.next() {
                Some(kind) => {
                    let bytes = crate::base64::decode_url(words.next()?)?;
                    Some(Checksum::from_bytes(ChecksumKind::of(kind)?, &bytes)?)
                }
                None => None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_it_was_made_of_and_is_short() {
        let key: Key = "k".repeat(1024).parse().expect("a key");
        let folder = folder_of(&key, &"f".repeat(32));
        for checksum in [
            None,
            Some(Checksum::Crc32(7)),
            Some(Checksum::Crc64Nvme(u64::MAX)),
            Some(Checksum::Sha256([9; 32])),
        ] {
            let sums = Sums {
                size: 5 << 30,
                md5: Hex([3; 16]),
                checksum,
            };
            for kind in [
                Kind::Whole(sums.clone()),
                Kind::Piece(7),
                Kind::Marker(640, sums),
            ] {
                let name = Name {
                    number: 10_000,
                    serial: u64::MAX - 1,
                    kind,
                };
                let text = name.to_text(&folder);
                assert!(text.len() < 400, "{text}");
                assert_eq!(Name::read(&folder, &text), Some(name));
            }
        }
        for wrong in [
            "",
            "00001",
            "00001-x-piece-1",
            "00001-1-piece-1-2",
            "1-1-whole-1",
        ] {
            assert_eq!(Name::read(&folder, &format!("{folder}{wrong}")), None);
        }
    }
}
