//! The frames in which AWS's clients send bodies (`aws-chunked`): a length, the bytes, and behind the last of them a trailer; with a
//! signature of each, or without (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html>).
//!
//! They are told by `x-amz-content-sha256`: minio-go sends no `Content-Encoding`. Bytes pass as they come; what is wrong with them
//! comes as an error in place of the end, and so nothing of them stays.

use attache::transfer::checksum::{Checksum, ChecksumKind, Promise};
use attache::{Error, ErrorKind, Result};
use bytes::{Buf as _, Bytes, BytesMut};
use futures::stream::{self, Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};

use super::signature::v4::ChunkSigner;

/// What is signed of a body that comes in frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`
    Signed,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`
    SignedWithTrailer,
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`
    UnsignedWithTrailer,
}

impl Framing {
    /// By the value of `x-amz-content-sha256`; `None` for a body without frames.
    ///
    /// # Errors
    ///
    /// Frames that are not known.
    pub(crate) fn of(payload: &str) -> Result<Option<Self>> {
        match payload {
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Ok(Some(Self::Signed)),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Ok(Some(Self::SignedWithTrailer)),
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(Some(Self::UnsignedWithTrailer)),
            other if other.starts_with("STREAMING-") => Err(Error::bad_request(
                "x-amz-content-sha256 names a form of chunks that is not supported",
            )),
            _ => Ok(None),
        }
    }

    fn is_signed(self) -> bool {
        self != Self::UnsignedWithTrailer
    }
}

/// What a body in frames must be.
pub(crate) struct Frames {
    pub(crate) framing: Framing,
    /// `x-amz-decoded-content-length`
    pub(crate) length: u64,
    pub(crate) signer: Option<ChunkSigner>,
    /// The checksum that is announced for the trailer, and where it goes to.
    pub(crate) trailer: Option<(ChecksumKind, Promise)>,
}

/// The bytes in the frames of `body`.
pub(crate) fn decode(
    body: impl Stream<Item = Result<Bytes>> + Send + Unpin + 'static,
    frames: Frames,
) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    let decoder = Decoder {
        left: frames.length,
        frames,
        buffer: BytesMut::new(),
        state: State::Head,
        hasher: Sha256::new(),
        signature: None,
        lines: Vec::new(),
    };
    stream::unfold(Some((body, decoder)), async |state| {
        let (mut body, mut decoder) = state?;
        loop {
            match decoder.next() {
                Ok(Step::Bytes(bytes)) => return Some((Ok(bytes), Some((body, decoder)))),
                Err(error) => return Some((Err(error), None)),
                // Behind the last chunk nothing may follow, and who reads to the end learns it.
                Ok(Step::Done | Step::More) => {}
            }
            match body.next().await {
                Some(Ok(chunk)) => decoder.buffer.extend_from_slice(&chunk),
                Some(Err(error)) => return Some((Err(error), None)),
                None => return decoder.ended().err().map(|error| (Err(error), None)),
            }
        }
    })
}

/// Longest line: a length with its signature, or a line of a trailer.
const MAX_LINE: usize = 1024;

/// Most lines of a trailer.
const MAX_LINES: usize = 16;

#[derive(Debug, PartialEq)]
enum Step {
    Bytes(Bytes),
    /// More must come first.
    More,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Before the line with a length.
    Head,
    /// So many bytes of a chunk are to come.
    Data(u64),
    /// Before the end of the line behind a chunk.
    End,
    Trailer,
    Done,
}

struct Decoder {
    frames: Frames,
    /// Bytes that the chunks may still have together.
    left: u64,
    buffer: BytesMut,
    state: State,
    hasher: Sha256,
    /// Of the chunk that comes.
    signature: Option<String>,
    /// Of the trailer, as they are signed.
    lines: Vec<u8>,
}

impl Decoder {
    fn next(&mut self) -> Result<Step> {
        loop {
            match self.state {
                State::Head => match self.line()? {
                    Some(line) => self.head(&line)?,
                    None => return Ok(Step::More),
                },
                State::Data(0) => {
                    self.check_chunk()?;
                    self.state = State::End;
                }
                State::Data(left) if self.buffer.is_empty() => {
                    self.state = State::Data(left);
                    return Ok(Step::More);
                }
                State::Data(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX);
                    let bytes = self.buffer.split_to(here.min(self.buffer.len())).freeze();
                    if self.frames.framing.is_signed() {
                        self.hasher.update(&bytes);
                    }
                    self.state = State::Data(left - bytes.len() as u64);
                    return Ok(Step::Bytes(bytes));
                }
                State::End => match self.line()? {
                    Some(line) if line.is_empty() => self.state = State::Head,
                    Some(_) => return Err(wrong("a chunk is longer than it says")),
                    None => return Ok(Step::More),
                },
                State::Trailer => match self.line()? {
                    Some(line) if line.is_empty() => {
                        self.finish()?;
                        self.state = State::Done;
                    }
                    Some(line) => self.trailer(&line)?,
                    None => return Ok(Step::More),
                },
                State::Done => {
                    return match self.buffer.is_empty() {
                        true => Ok(Step::Done),
                        false => Err(wrong("something follows the last chunk")),
                    };
                }
            }
        }
    }

    /// The next line, without its end.
    fn line(&mut self) -> Result<Option<String>> {
        let Some(end) = self
            .buffer
            .iter()
            .take(MAX_LINE)
            .position(|byte| *byte == b'\n')
        else {
            return match self.buffer.len() < MAX_LINE {
                true => Ok(None),
                false => Err(wrong("a line is too long")),
            };
        };
        let line = self.buffer.split_to(end);
        self.buffer.advance(1);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        match std::str::from_utf8(line) {
            Ok(line) => Ok(Some(line.to_owned())),
            Err(_) => Err(wrong("a line is not text")),
        }
    }

    /// `10000;chunk-signature=…`
    fn head(&mut self, line: &str) -> Result<()> {
        let (size, extension) = line.split_once(';').unwrap_or((line, ""));
        let plain = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = u64::from_str_radix(size, 16).ok().filter(|_| plain);
        let size = size.ok_or_else(|| wrong("a chunk has no length"))?;
        self.left = self
            .left
            .checked_sub(size)
            .ok_or_else(|| wrong("there are more bytes than x-amz-decoded-content-length says"))?;
        let signature = extension.strip_prefix("chunk-signature=");
        self.signature = signature.map(str::to_owned);
        if size > 0 {
            self.state = State::Data(size);
            return Ok(());
        }
        if self.left > 0 {
            return Err(wrong(
                "there are fewer bytes than x-amz-decoded-content-length says",
            ));
        }
        self.check_chunk()?;
        self.state = State::Trailer;
        Ok(())
    }

    fn check_chunk(&mut self) -> Result<()> {
        let digest = std::mem::take(&mut self.hasher).finalize();
        if !self.frames.framing.is_signed() {
            return Ok(());
        }
        let signer = self.frames.signer.as_mut();
        let good = signer
            .zip(self.signature.take())
            .is_some_and(|(signer, signature)| signer.chunk(digest.into(), &signature).is_ok());
        match good {
            true => Ok(()),
            false => Err(forged("the signature of a chunk is not good")),
        }
    }

    fn trailer(&mut self, line: &str) -> Result<()> {
        if self.lines.iter().filter(|byte| **byte == b'\n').count() >= MAX_LINES {
            return Err(wrong("the trailer has too many lines"));
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| wrong("the trailer has a line without a name"))?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if name == "x-amz-trailer-signature" {
            self.signature = Some(value.to_owned());
            return Ok(());
        }
        self.lines
            .extend_from_slice(format!("{name}:{value}\n").as_bytes());
        let Some((kind, promise)) = &self.frames.trailer else {
            return Ok(());
        };
        let announced = name
            .strip_prefix("x-amz-checksum-")
            .and_then(ChecksumKind::of);
        if announced == Some(*kind) {
            let checksum = Checksum::from_base64(*kind, value)
                .ok_or_else(|| wrong("the checksum in the trailer is not one"))?;
            // The first one counts.
            let _ = promise.set(checksum);
        }
        Ok(())
    }

    /// The trailer has ended.
    fn finish(&mut self) -> Result<()> {
        if self.frames.framing != Framing::SignedWithTrailer {
            return Ok(());
        }
        let signer = self.frames.signer.as_mut();
        let good = signer
            .zip(self.signature.take())
            .is_some_and(|(signer, signature)| signer.trailer(&self.lines, &signature).is_ok());
        match good {
            true => Ok(()),
            false => Err(forged("the signature of the trailer is not good")),
        }
    }

    /// The body has ended. Some clients leave out the empty line at the very end.
    fn ended(&mut self) -> Result<()> {
        match self.state {
            State::Done => Ok(()),
            State::Trailer if self.buffer.is_empty() => self.finish(),
            _ => Err(Error::new(
                ErrorKind::ClientGone,
                "the body ended before its last chunk",
            )),
        }
    }
}

fn wrong(what: &str) -> Error {
    Error::bad_request(format!("the body is not aws-chunked: {what}"))
}

fn forged(what: &str) -> Error {
    Error::new(ErrorKind::Forbidden, what)
}

// By its path, which holds where a fuzz target takes this file in, too.
#[cfg(test)]
#[path = "chunked/signed.rs"]
mod signed;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn frames(length: u64) -> (Frames, Promise) {
        let promise = Promise::default();
        let frames = Frames {
            framing: Framing::UnsignedWithTrailer,
            length,
            signer: None,
            trailer: Some((ChecksumKind::Crc32, promise.clone())),
        };
        (frames, promise)
    }

    /// What is in the frames of `wire`, which comes in pieces of `piece` bytes.
    fn run(wire: &[u8], piece: usize, frames: Frames) -> Result<Vec<u8>> {
        let pieces: Vec<Result<Bytes>> = wire
            .chunks(piece)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        let decoded = decode(stream::iter(pieces), frames);
        let all = futures::executor::block_on(decoded.collect::<Vec<_>>());
        let mut bytes = Vec::new();
        for chunk in all {
            bytes.extend_from_slice(&chunk?);
        }
        Ok(bytes)
    }

    const WIRE: &[u8] = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";

    #[test]
    fn what_boto3_sends_over_https_is_read() {
        for piece in 1..=WIRE.len() {
            let (frames, promise) = frames(5);
            assert_eq!(run(WIRE, piece, frames).expect("read"), b"hello");
            let crc = Checksum::from_base64(ChecksumKind::Crc32, "NhCmhg==");
            assert_eq!(promise.get().copied(), crc);
        }
        // Without the empty line at the end.
        let (frames, _) = frames(5);
        let short = &WIRE[..WIRE.len() - 2];
        assert_eq!(run(short, 7, frames).expect("read"), b"hello");
    }

    #[test]
    fn what_is_cut_or_longer_or_no_frame_is_an_error() {
        let trailer = "0\r\n\r\n";
        for bad in [
            "5\r\nhello\r\n".to_owned(),
            "5\r\nhel".to_owned(),
            String::new(),
            format!("6\r\nhello!\r\n{trailer}"),
            format!("4\r\nhell\r\n{trailer}"),
            format!("5\r\nhello!\r\n{trailer}"),
            format!("+5\r\nhello\r\n{trailer}"),
            format!("\r\nhello\r\n{trailer}"),
            format!("fffffffffffffffff\r\nhello\r\n{trailer}"),
            format!("5\r\nhello\r\n{trailer}more"),
            format!("5{}\r\nhello\r\n{trailer}", " ".repeat(MAX_LINE)),
            format!("5\r\nhello\r\n0\r\n{}\r\n", "a:b\r\n".repeat(MAX_LINES + 1)),
            "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AA\r\n\r\n".to_owned(),
            "5\r\nhello\r\n0\r\nx-amz-checksum-crc32\r\n\r\n".to_owned(),
        ] {
            let (frames, _) = frames(5);
            assert!(run(bad.as_bytes(), 3, frames).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn frames_that_must_be_signed_are_refused_without_a_signature() {
        for framing in [Framing::Signed, Framing::SignedWithTrailer] {
            let frames = Frames {
                framing,
                ..frames(5).0
            };
            let error = run(WIRE, 9, frames).expect_err("not signed");
            assert_eq!(error.kind(), ErrorKind::Forbidden);
        }
    }

    #[test]
    fn forms_that_are_not_known_are_refused() {
        assert_eq!(Framing::of("UNSIGNED-PAYLOAD").expect("no frames"), None);
        assert!(Framing::of("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_chunks_come_out_as_they_were(
            chunks in vec(vec(any::<u8>(), 1..400), 0..8),
            piece in 1_usize..300,
        ) {
            let whole = chunks.concat();
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let (frames, promise) = frames(whole.len() as u64);
            prop_assert_eq!(run(&wire, piece, frames).expect("read"), whole);
            prop_assert!(promise.get().is_none() && Arc::strong_count(&promise) == 1);
        }

        #[test]
        fn nothing_that_comes_is_a_panic(wire in vec(any::<u8>(), 0..300), piece in 1_usize..50) {
            let _ = run(&wire, piece, frames(64).0);
        }
    }
}
