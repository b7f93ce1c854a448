//! What the id of a block says: all that is known of a part, since blocks that are staged have nothing else to keep it in.
//!
//! All ids under one name must be equally long
//! (<https://learn.microsoft.com/rest/api/storageservices/put-block#uri-parameters>), and so those of a `put` are as long as these: 64
//! bytes, the most there may be.

use crate::attachment::Hex;
use crate::transfer::checksum::{Checksum, ChecksumKind};
use crate::transfer::digests::Digests;

/// Bytes of an id, before they are base64.
pub(super) const ID_BYTES: usize = 64;

/// What tells the blocks of one upload, or of one `put`, from those of another: random.
pub(super) type Nonce = [u8; 8];

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A block of an object that is put at once.
    Put = 1,
    /// All of a part.
    Whole = 2,
    /// A block of a longer part.
    Piece = 3,
    /// Says that a part is whole: one byte, which is never committed. Its index is how many pieces the part has.
    Marker = 4,
    /// Says that the upload was given up.
    Aborted = 5,
}

/// The id of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) nonce: Nonce,
    pub(super) kind: Kind,
    /// Of the part.
    pub(super) number: u16,
    /// Which try at the part: later ones have greater numbers.
    pub(super) serial: u64,
    pub(super) index: u32,
    /// Of the part, where the block says that it is whole.
    pub(super) sums: Sums,
}

/// What is known of the bytes of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) md5: [u8; 16],
    pub(super) size: u64,
    pub(super) checksum: Option<Front>,
}

/// A checksum, or the front of one that is longer than 16 bytes: enough to tell that another one is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Front {
    kind: ChecksumKind,
    bytes: [u8; 16],
}

impl Front {
    fn of(checksum: Checksum) -> Self {
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(checksum.to_bytes()) {
            *to = from;
        }
        let kind = checksum.kind();
        Self { kind, bytes }
    }

    /// Whether this is the front of `checksum`.
    pub(super) fn is_of(&self, checksum: Checksum) -> bool {
        *self == Self::of(checksum)
    }

    /// The checksum, if all of it is here.
    pub(super) fn whole(&self) -> Option<Checksum> {
        let bytes = match self.kind {
            ChecksumKind::Crc32 | ChecksumKind::Crc32c => 4,
            ChecksumKind::Crc64Nvme => 8,
            ChecksumKind::Sha1 | ChecksumKind::Sha256 => return None,
        };
        Checksum::from_bytes(self.kind, &self.bytes[..bytes])
    }
}

impl Sums {
    /// `None` if the MD5 was not computed.
    pub(super) fn of(digests: &Digests) -> Option<Self> {
        Some(Self {
            md5: digests.md5?.0,
            size: digests.size,
            checksum: digests.checksum.map(Front::of),
        })
    }

    /// The entity tag of the part.
    pub(super) fn etag(&self) -> String {
        Hex(self.md5).to_string()
    }
}

impl Id {
    /// The block `index` of an object that is put at once.
    pub(super) fn of_put(nonce: Nonce, index: u32) -> Self {
        Self {
            nonce,
            kind: Kind::Put,
            number: 0,
            serial: 0,
            index,
            sums: Sums::default(),
        }
    }

    /// As the service has it, before base64.
    pub(super) fn to_bytes(self) -> [u8; ID_BYTES] {
        let checksum = self.sums.checksum;
        let kind = checksum.and_then(|front| {
            let at = ChecksumKind::ALL
                .iter()
                .position(|kind| *kind == front.kind)?;
            u8::try_from(at + 1).ok()
        });
        let fields: [&[u8]; 9] = [
            &self.nonce,
            &[self.kind as u8],
            &self.number.to_be_bytes(),
            &self.serial.to_be_bytes(),
            &self.index.to_be_bytes(),
            &self.sums.md5,
            &self.sums.size.to_be_bytes(),
            &[kind.unwrap_or_default()],
            &checksum.map_or([0; 16], |front| front.bytes),
        ];
        let mut bytes = [0; ID_BYTES];
        for (to, from) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    /// `None` if it is not one of ours.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest: &[u8] = bytes;
        (rest.len() == ID_BYTES).then_some(())?;
        let nonce = take(&mut rest)?;
        let [kind] = take(&mut rest)?;
        let kind = match kind {
            1 => Kind::Put,
            2 => Kind::Whole,
            3 => Kind::Piece,
            4 => Kind::Marker,
            5 => Kind::Aborted,
            _ => return None,
        };
        let number = u16::from_be_bytes(take(&mut rest)?);
        let serial = u64::from_be_bytes(take(&mut rest)?);
        let index = u32::from_be_bytes(take(&mut rest)?);
        let md5 = take(&mut rest)?;
        let size = u64::from_be_bytes(take(&mut rest)?);
        let [checksum] = take(&mut rest)?;
        let front = take(&mut rest)?;
        let checksum = match checksum {
            0 => None,
            at => Some(Front {
                kind: *ChecksumKind::ALL.get(usize::from(at) - 1)?,
                bytes: front,
            }),
        };
        Some(Self {
            nonce,
            kind,
            number,
            serial,
            index,
            sums: Sums {
                md5,
                size,
                checksum,
            },
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (front, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*front)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_what_it_was_made_of() {
        for checksum in [
            None,
            Some(Checksum::Crc32(7)),
            Some(Checksum::Crc64Nvme(u64::MAX)),
            Some(Checksum::Sha256([9; 32])),
        ] {
            let id = Id {
                nonce: [1; 8],
                kind: Kind::Marker,
                number: 10_000,
                serial: u64::MAX - 1,
                index: 77,
                sums: Sums {
                    md5: [3; 16],
                    size: 5 << 30,
                    checksum: checksum.map(Front::of),
                },
            };
            let read = Id::from_bytes(&id.to_bytes()).expect("ours");
            assert_eq!(read, id);
            let front = read.sums.checksum;
            assert!(front.is_none_or(|front| checksum.is_some_and(|sum| front.is_of(sum))));
            assert!(front.is_none_or(|front| !front.is_of(Checksum::Crc32(8))));
        }
        assert_eq!(Id::from_bytes(&[0; 12]), None);
        assert_eq!(Id::from_bytes(&[0; 64]), None);
    }
}
