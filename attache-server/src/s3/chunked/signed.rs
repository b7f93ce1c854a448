//! Frames that are signed: only those of who has the key are read, and only as they were sent.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const CHECKSUM: &str = "x-amz-checksum-crc32:NhCmhg==\n";

/// A chunk as a client frames it; the empty one is the last.
fn frame(client: &mut ChunkSigner, bytes: &[u8]) -> Vec<u8> {
    let signature = client.sign_chunk(bytes);
    let head = format!("{:x};chunk-signature={signature}\r\n", bytes.len());
    let end: &[u8] = match bytes.is_empty() {
        true => b"",
        false => b"\r\n",
    };
    [head.as_bytes(), bytes, end].concat()
}

/// The frames of a body, and what is behind them.
fn sent(chunks: &[Vec<u8>], framing: Framing) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut client = ChunkSigner::of_client();
    let chunks = chunks.iter().map(Vec::as_slice).chain([&b""[..]]);
    let framed = chunks.map(|chunk| frame(&mut client, chunk)).collect();
    let trailer = match framing {
        Framing::SignedWithTrailer => {
            let signature = client.sign_trailer(CHECKSUM.as_bytes());
            let lines = CHECKSUM.replace('\n', "\r\n");
            format!("{lines}x-amz-trailer-signature:{signature}\r\n\r\n")
        }
        _ => "\r\n".to_owned(),
    };
    (framed, trailer.into_bytes())
}

/// What is read of it, and the checksum that its trailer promised.
fn read(
    wire: &[u8],
    piece: usize,
    framing: Framing,
    length: usize,
) -> Result<(Vec<u8>, Option<Checksum>)> {
    let promise = Promise::default();
    let frames = Frames {
        framing,
        length: length as u64,
        signer: Some(ChunkSigner::of_client()),
        trailer: Some((ChecksumKind::Crc32, promise.clone())),
    };
    let pieces: Vec<Result<Bytes>> = wire
        .chunks(piece)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    let decoded = decode(stream::iter(pieces), frames);
    let mut bytes = Vec::new();
    for chunk in futures::executor::block_on(decoded.collect::<Vec<_>>()) {
        bytes.extend_from_slice(&chunk?);
    }
    Ok((bytes, promise.get().copied()))
}

/// Which checksum the trailer of [`sent`] promises.
fn promised(framing: Framing) -> Option<Checksum> {
    let checksum = Checksum::from_base64(ChecksumKind::Crc32, "NhCmhg==");
    checksum.filter(|_| framing == Framing::SignedWithTrailer)
}

fn signed() -> impl Strategy<Value = Framing> {
    select(vec![Framing::Signed, Framing::SignedWithTrailer])
}

proptest! {
    #[test]
    fn what_is_signed_in_any_chunks_comes_out_as_it_was(
        chunks in vec(vec(any::<u8>(), 1..300), 0..6),
        framing in signed(),
        piece in 1_usize..300,
    ) {
        let (frames, trailer) = sent(&chunks, framing);
        let (whole, wire) = (chunks.concat(), [frames.concat(), trailer].concat());
        let (bytes, checksum) = read(&wire, piece, framing, whole.len()).expect("it is signed");
        prop_assert_eq!(bytes, whole);
        prop_assert_eq!(checksum, promised(framing));
    }

    /// Lengths and names may be in another case; nothing else may be other than it was, not even the checksum.
    #[test]
    fn a_flipped_bit_is_refused_or_changes_nothing(
        chunks in vec(vec(any::<u8>(), 1..60), 0..4),
        at in any::<prop::sample::Index>(),
        bit in 0_u8..8,
        framing in signed(),
        piece in 1_usize..100,
    ) {
        let (frames, trailer) = sent(&chunks, framing);
        let (whole, mut wire) = (chunks.concat(), [frames.concat(), trailer].concat());
        let at = at.index(wire.len());
        wire[at] ^= 1 << bit;
        if let Ok((bytes, checksum)) = read(&wire, piece, framing, whole.len()) {
            prop_assert_eq!(bytes, whole);
            prop_assert_eq!(checksum, promised(framing));
        }
    }

    #[test]
    fn a_chunk_that_is_left_out_or_repeated_or_comes_too_early_is_refused(
        chunks in vec(vec(any::<u8>(), 8..60), 2..5),
        at in any::<prop::sample::Index>(),
        framing in signed(),
    ) {
        let (frames, trailer) = sent(&chunks, framing);
        let at = at.index(chunks.len());
        let mut dropped = frames.clone();
        dropped.remove(at);
        let mut repeated = frames.clone();
        repeated.insert(at, frames[at].clone());
        let mut swapped = frames.clone();
        swapped.swap(at, (at + 1) % chunks.len());
        for (frames, length) in [
            (dropped, chunks.concat().len() - chunks[at].len()),
            (repeated, chunks.concat().len() + chunks[at].len()),
            (swapped, chunks.concat().len()),
        ] {
            let wire = [frames.concat(), trailer.clone()].concat();
            let error = read(&wire, 50, framing, length).expect_err("not as it was signed");
            prop_assert_eq!(error.kind(), ErrorKind::Forbidden);
        }
    }

    #[test]
    fn whatever_looks_like_frames_is_no_panic_and_never_good_without_the_key(
        parts in vec(select(vec![
            "0", "5", "5;chunk-signature=", "0;chunk-signature=", "\r\n", "\n", "\r", "hello", ";", ":", "ffffffffffffffff",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9", "x-amz-checksum-crc32:NhCmhg==",
            "x-amz-trailer-signature:", "\u{e9}", " ",
        ]), 0..24),
        length in 0_usize..12,
        framing in signed(),
        piece in 1_usize..40,
    ) {
        let wire = parts.concat();
        prop_assert!(read(wire.as_bytes(), piece, framing, length).is_err());
        let _ = read(wire.as_bytes(), piece, Framing::UnsignedWithTrailer, length);
    }
}
