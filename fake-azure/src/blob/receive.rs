//! Bodies on their way in, and what their headers promise of them.

use std::sync::Arc;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use hyper::body::Incoming;
use md5::{Digest as _, Md5};
use stand_in::answer::{Fail, Stop};
use stand_in::content::{Piece, Retention};
use stand_in::incoming::frames;
use stand_in::wire::{base64_decode, base64_encode, crc64_text};

use crate::blob::{Call, invalid_header};
use crate::core::Core;

/// Reads the body of a blob or block of at most `limit` bytes and verifies what the headers promise.
pub(crate) async fn content(
    core: &Arc<Core>,
    call: &Call,
    body: Incoming,
    limit: u64,
    with_md5: bool,
) -> Result<Piece, Stop> {
    let length = declared_length(call)?;
    if length > limit {
        return Err(Fail::new(
            413,
            "RequestBodyTooLarge",
            "The request body is too large and exceeds the maximum permissible limit.",
        )
        .into());
    }
    let keep = core.retention == Retention::Keep;
    let room = if keep { length.min(RESERVED_BYTES) } else { 0 };
    let mut data = Vec::with_capacity(usize::try_from(room).unwrap_or_default());
    let mut crc = Crc::new(CrcAlgorithm::Crc64Nvme);
    let mut md5 = (with_md5 || call.headers.contains_key("content-md5")).then(Md5::new);
    let len = frames(&core.scene, call.op, body, |frame| {
        crc.update(frame);
        if let Some(md5) = &mut md5 {
            md5.update(frame);
        }
        if keep {
            data.extend_from_slice(frame);
        }
    })
    .await?;
    let md5 = md5.map(|md5| <[u8; 16]>::from(md5.finalize()));
    let crc = crc.finalize();
    verify(call, crc, md5)?;
    let data = keep.then(|| Bytes::from(data));
    Ok(Piece::new(len, crc, md5, data))
}

/// Reads a small document (a block list, a key request) with the same checks.
pub(crate) async fn document(
    core: &Arc<Core>,
    call: &Call,
    body: Incoming,
) -> Result<(String, u64), Stop> {
    let mut data = Vec::new();
    frames(&core.scene, call.op, body, |frame| {
        data.extend_from_slice(frame)
    })
    .await?;
    let crc = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &data);
    let md5 = call
        .headers
        .contains_key("content-md5")
        .then(|| Md5::digest(&data).into());
    verify(call, crc, md5)?;
    let text = String::from_utf8(data)
        .map_err(|_| Fail::new(400, "InvalidXmlDocument", "XML specified is not valid."))?;
    Ok((text, crc))
}

/// Reads the body and forgets it.
pub(crate) async fn drain(core: &Arc<Core>, call: &Call, body: Incoming) -> Result<(), Stop> {
    frames(&core.scene, call.op, body, |_| ()).await.map(drop)
}

fn declared_length(call: &Call) -> Result<u64, Fail> {
    call.header("content-length")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| {
            Fail::new(
                411,
                "MissingContentLengthHeader",
                "Content-Length HTTP header was not specified.",
            )
        })
}

fn verify(call: &Call, crc: u64, md5: Option<[u8; 16]>) -> Result<(), Fail> {
    if let Some(wanted) = call.header("content-md5") {
        if base64_decode(wanted).is_none_or(|digest| digest.len() != 16) {
            return Err(Fail::new(
                400,
                "InvalidMd5",
                "The MD5 value specified in the request is invalid. MD5 value must be 128 bits and base64-encoded.",
            ));
        }
        if md5.is_some_and(|md5| base64_encode(md5) != wanted) {
            return Err(Fail::new(
                400,
                "Md5Mismatch",
                "The MD5 value specified in the request did not match with the MD5 value calculated by the server.",
            ));
        }
    }
    if let Some(wanted) = call.header("x-ms-content-crc64") {
        if base64_decode(wanted).is_none_or(|crc| crc.len() != 8) {
            return Err(invalid_header("x-ms-content-crc64", wanted));
        }
        if crc64_text(crc) != wanted {
            return Err(Fail::new(
                400,
                "Crc64Mismatch",
                "The CRC64 value specified in the request did not match with the CRC64 value calculated by the server.",
            ));
        }
    }
    Ok(())
}

/// Most memory set aside for a body before its bytes are there.
const RESERVED_BYTES: u64 = 64 * 1024 * 1024;
