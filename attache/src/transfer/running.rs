//! Digests that go on: over several requests, by several processes.

use crc_fast::CrcAlgorithm;
use md5::Md5;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest as _, Sha256};

use crate::attachment::Hex;
use crate::error::{Error, Result};
use crate::transfer::digests::Digests;
use crate::transfer::utf8::Utf8Check;

/// The form of [`Running::to_bytes`]; another form has another number.
const FORM: u8 = 1;

/// SHA-256, MD5 and CRC-64 of bytes that come with pauses between them, and whether all of them are UTF-8.
///
/// Between two of them it is a few hundred bytes of state, which any process of this version or of a later one can go on with.
#[derive(Clone, Debug)]
pub struct Running {
    size: u64,
    sha256: Sha256,
    md5: Option<Md5>,
    crc64: u64,
    utf8: Utf8Check,
}

impl Running {
    /// Of no bytes yet. MD5 is a choice, because it costs more than all others.
    pub fn new(md5: bool) -> Self {
        Self {
            size: 0,
            sha256: Sha256::new(),
            md5: md5.then(Md5::new),
            crc64: crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &[]),
            utf8: Utf8Check::default(),
        }
    }

    /// The next bytes, but for the CRC-64, which is [that of a whole piece](Self::piece).
    pub fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.sha256.update(bytes);
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        self.utf8.update(bytes);
    }

    /// That the bytes since `before` are one piece, whose CRC-64 somebody else has computed.
    pub fn piece(&mut self, before: &Self, crc64: u64) {
        let size = self.size.saturating_sub(before.size);
        self.crc64 = crate::transfer::digests::crc64_of_two(before.crc64, crc64, size);
    }

    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What all of them are.
    pub fn finish(self) -> Digests {
        Digests {
            size: self.size,
            sha256: Some(Hex(self.sha256.finalize().into())),
            md5: self.md5.map(|md5| Hex(md5.finalize().into())),
            crc64: Some(self.crc64),
            utf8: Some(self.utf8.finish()),
            checksum: None,
        }
    }

    /// The state, for whoever goes on.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![FORM];
        bytes.extend(self.size.to_be_bytes());
        bytes.extend(self.crc64.to_be_bytes());
        bytes.extend(self.utf8.to_bytes());
        bytes.extend(self.sha256.serialize());
        if let Some(md5) = &self.md5 {
            bytes.extend(md5.serialize());
        }
        bytes
    }

    /// Goes on with what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if it is not that.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let read = || {
            let ([FORM], bytes) = split(bytes)? else {
                return None;
            };
            let (size, bytes) = split(bytes)?;
            let (crc64, bytes) = split(bytes)?;
            let (utf8, bytes) = split(bytes)?;
            let (sha256, bytes) = hasher::<Sha256>(bytes)?;
            let md5 = match bytes.is_empty() {
                true => None,
                false => {
                    let (md5, rest) = hasher::<Md5>(bytes)?;
                    rest.is_empty().then_some(Some(md5))?
                }
            };
            Some(Self {
                size: u64::from_be_bytes(size),
                sha256,
                md5,
                crc64: u64::from_be_bytes(crc64),
                utf8: Utf8Check::from_bytes(utf8),
            })
        };
        read().ok_or_else(|| Error::internal("the digests of an upload cannot be read"))
    }
}

fn split<const N: usize>(bytes: &[u8]) -> Option<([u8; N], &[u8])> {
    let (front, rest) = bytes.split_first_chunk::<N>()?;
    Some((*front, rest))
}

fn hasher<H: SerializableState>(bytes: &[u8]) -> Option<(H, &[u8])> {
    let length = SerializedState::<H>::default().len();
    let (state, rest) = bytes.split_at_checked(length)?;
    let state = SerializedState::<H>::try_from(state).ok()?;
    Some((H::deserialize(&state).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::body::Body;
    use crate::transfer::digests::crc64;

    async fn at_once(bytes: &[u8], md5: bool) -> Digests {
        let mut body = Body::from_bytes(bytes.to_vec()).hashed(md5);
        while let Some(chunk) = body.next().await {
            chunk.expect("bytes");
        }
        body.digests().expect("at the end")
    }

    proptest::proptest! {
        #[test]
        fn digests_that_went_on_are_those_of_all_bytes_at_once(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400),
            text in "[a-zé写\u{1F980}]{0,200}",
            cut in 1_usize..150,
            md5: bool,
        ) {
            for whole in [bytes, text.into_bytes()] {
                let mut state = Running::new(md5).to_bytes();
                for piece in whole.chunks(cut) {
                    let mut running = Running::from_bytes(&state).expect("a state");
                    let (front, back) = piece.split_at(piece.len() / 3);
                    running.update(front);
                    running.update(back);
                    running.piece(&Running::from_bytes(&state).expect("a state"), crc64(piece));
                    state = running.to_bytes();
                }
                let running = Running::from_bytes(&state).expect("a state");
                proptest::prop_assert_eq!(running.size(), whole.len() as u64);
                let wanted = futures::executor::block_on(at_once(&whole, md5));
                proptest::prop_assert_eq!(running.finish(), wanted);
            }
        }

        #[test]
        fn what_is_no_state_is_refused_and_breaks_nothing(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
            if let Ok(mut running) = Running::from_bytes(&bytes) {
                running.update(b"more");
                running.finish();
            }
        }
    }

    #[test]
    fn a_state_that_was_cut_is_refused() {
        let mut running = Running::new(true);
        running.update(b"hello");
        let state = running.to_bytes();
        for length in 0..state.len() {
            let cut = Running::from_bytes(&state[..length]);
            // Without its MD5 it is one that never had one.
            let whole_without = Running::new(false).to_bytes().len();
            assert_eq!(cut.is_ok(), length == whole_without, "{length}");
        }
        assert!(Running::from_bytes(&[&state[..], b"x"].concat()).is_err());
    }
}
