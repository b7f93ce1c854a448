//! A body in the frames of AWS's clients: however it is split, the same bytes come of it, or the same refusal; and what must be signed
//! is refused where nobody can have signed it.
#![no_main]
#![allow(
    dead_code,
    reason = "the server uses all of these files, this a part of them"
)]

#[path = "../../attache-server/src/s3/chunked.rs"]
mod chunked;
#[path = "../../attache-server/src/s3/signature/mod.rs"]
mod signature;

use attache::ErrorKind;
use attache::transfer::checksum::{Checksum, ChecksumKind, Promise};
use bytes::Bytes;
use chunked::{Frames, Framing};
use futures::StreamExt as _;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // A character for what is signed, one for the length that is told, one for the size of pieces, then the body.
    let [framing, length, cut, wire @ ..] = input else {
        return;
    };
    let framing = match framing {
        b's' => Framing::Signed,
        b't' => Framing::SignedWithTrailer,
        _ => Framing::UnsignedWithTrailer,
    };
    // Digits tell lengths that seeds can have, too.
    let length = u64::from(length.wrapping_sub(b'0'));
    let whole = read(framing, length, wire, wire.len());
    let split = read(framing, length, wire, usize::from(*cut) + 1);
    assert_eq!(
        whole,
        split,
        "in one piece, and in pieces of {}",
        usize::from(*cut) + 1
    );
    if let Ok((bytes, _)) = whole {
        assert_eq!(framing, Framing::UnsignedWithTrailer, "nobody signed it");
        assert_eq!(bytes.len() as u64, length);
    }
});

/// The bytes, and the checksum that the trailer promises.
type Read = Result<(Vec<u8>, Option<Checksum>), ErrorKind>;

fn read(framing: Framing, length: u64, wire: &[u8], piece: usize) -> Read {
    let promise = Promise::default();
    let frames = Frames {
        framing,
        length,
        signer: None,
        trailer: Some((ChecksumKind::Crc32, promise.clone())),
    };
    let pieces: Vec<attache::Result<Bytes>> = wire
        .chunks(piece.max(1))
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    let mut decoded = Box::pin(chunked::decode(futures::stream::iter(pieces), frames));
    futures::executor::block_on(async {
        let mut bytes = Vec::new();
        while let Some(chunk) = decoded.next().await {
            bytes.extend_from_slice(&chunk.map_err(|error| error.kind())?);
        }
        Ok((bytes, promise.get().copied()))
    })
}
