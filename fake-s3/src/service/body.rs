//! Bodies on their way in: unframed, digested, and compared with what their headers say.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::Incoming;
use stand_in::answer::{Fail, Stop};
use stand_in::content::{Piece, Retention};
use stand_in::incoming::frames;
use stand_in::wire::hex;
use stand_in::xml;

use crate::core::Core;
use crate::digest::{Algorithm, Digester, Digests};
use crate::service::Call;
use crate::signature::Payload;

/// A body that was what its headers said.
pub(crate) struct Received {
    pub(crate) digests: Digests,
    /// The checksum that the client chose, base64.
    pub(crate) checksum: Option<(Algorithm, String)>,
    data: Option<Bytes>,
}

impl Received {
    pub(crate) fn into_piece(self) -> Piece {
        let digests = self.digests;
        Piece::new(digests.len, digests.crc64, Some(digests.md5), self.data)
    }
}

/// Reads an object or a part, and verifies all that is said of it.
pub(crate) async fn content(
    core: &Arc<Core>,
    call: &Call,
    body: Incoming,
) -> Result<Received, Stop> {
    let framed = call.payload == Payload::UnsignedTrailer;
    let length = declared_length(call)?;
    let most = if core.is_google() { MOST_GOOGLE } else { MOST };
    if length > most {
        return Err(Fail::new(
            400,
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed size",
        )
        .detail(xml::element("MaxSizeAllowed", &most.to_string()))
        .into());
    }
    let keep = core.retention == Retention::Keep || framed;
    let room = if keep { length.min(RESERVED_BYTES) } else { 0 };
    let mut data = Vec::with_capacity(usize::try_from(room).unwrap_or_default());
    let mut digester = Digester::new();
    frames(&core.scene, call.op, body, |frame| {
        if !framed {
            digester.update(frame);
        }
        if keep {
            data.extend_from_slice(frame);
        }
    })
    .await?;
    let mut headers = call.headers.clone();
    if framed {
        data = unframe(&data, &mut headers).ok_or_else(incomplete)?;
        digester.update(&data);
    }
    let digests = digester.finish();
    if digests.len != length {
        return Err(incomplete().into());
    }
    check(core, call, &headers, &digests)?;
    let data = (core.retention == Retention::Keep).then(|| Bytes::from(data));
    let checksum = if core.manners.checksums {
        chosen(&headers)
    } else {
        None
    };
    Ok(Received {
        digests,
        checksum,
        data,
    })
}

/// Reads a small document with the same checks.
pub(crate) async fn document(
    core: &Arc<Core>,
    call: &Call,
    body: Incoming,
) -> Result<String, Stop> {
    let mut data = Vec::new();
    frames(&core.scene, call.op, body, |frame| {
        data.extend_from_slice(frame)
    })
    .await?;
    let mut headers = call.headers.clone();
    if call.payload == Payload::UnsignedTrailer {
        data = unframe(&data, &mut headers).ok_or_else(incomplete)?;
    }
    let mut digester = Digester::new();
    digester.update(&data);
    let digests = digester.finish();
    // The checksum headers of a completion are those of the object.
    if call.op == crate::Op::CompleteMultipartUpload {
        for algorithm in Algorithm::ALL {
            headers.remove(algorithm.header());
        }
    }
    check(core, call, &headers, &digests)?;
    String::from_utf8(data).map_err(|_| crate::respond::malformed_xml().into())
}

/// Reads what a call without a body sent, and verifies that its digest was signed.
pub(crate) async fn ignored(core: &Arc<Core>, call: &Call, body: Incoming) -> Result<(), Stop> {
    let mut digester = Digester::new();
    frames(&core.scene, call.op, body, |frame| digester.update(frame)).await?;
    signed(call, &digester.finish()).map_err(Stop::from)
}

fn check(core: &Core, call: &Call, headers: &HeaderMap, digests: &Digests) -> Result<(), Fail> {
    signed(call, digests)?;
    if core.manners.checksums {
        return digests.verify(headers);
    }
    Ok(())
}

fn signed(call: &Call, digests: &Digests) -> Result<(), Fail> {
    let is = hex(digests.sha256);
    match &call.payload {
        Payload::Digest(wanted) if *wanted != is => Err(Fail::new(
            400,
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )
        .detail(
            xml::element("ClientComputedContentSHA256", wanted)
                + &xml::element("S3ComputedContentSHA256", &is),
        )),
        _ => Ok(()),
    }
}

/// The bytes of the object, as `Content-Length` or, of a framed body, another header states them.
fn declared_length(call: &Call) -> Result<u64, Fail> {
    let name = match call.payload {
        Payload::UnsignedTrailer => "x-amz-decoded-content-length",
        _ => "content-length",
    };
    call.header(name)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| {
            Fail::new(
                411,
                "MissingContentLength",
                "You must provide the Content-Length HTTP header.",
            )
        })
}

/// The first checksum among the headers.
fn chosen(headers: &HeaderMap) -> Option<(Algorithm, String)> {
    Algorithm::ALL.into_iter().find_map(|algorithm| {
        let value = headers.get(algorithm.header())?.to_str().ok()?;
        Some((algorithm, value.to_owned()))
    })
}

/// Takes the chunks apart, and adds the trailer to the headers
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html>).
fn unframe(framed: &[u8], headers: &mut HeaderMap) -> Option<Vec<u8>> {
    let mut rest = framed;
    let mut out = Vec::new();
    loop {
        let line = take_line(&mut rest)?;
        let size = line.split(';').next()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            break;
        }
        out.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
    while let Some(line) = take_line(&mut rest).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        let name = HeaderName::try_from(name.trim()).ok()?;
        headers.insert(name, HeaderValue::from_str(value.trim()).ok()?);
    }
    Some(out)
}

fn take_line<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    let line = std::str::from_utf8(&rest[..end]).ok()?;
    *rest = &rest[end + 2..];
    Some(line)
}

fn incomplete() -> Fail {
    Fail::new(
        400,
        "IncompleteBody",
        "You did not provide the number of bytes specified by the Content-Length HTTP header",
    )
}

/// Most bytes of one request (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const MOST: u64 = 5 * 1024 * 1024 * 1024;

/// Most bytes of one object at Google (<https://cloud.google.com/storage/quotas>).
const MOST_GOOGLE: u64 = 5 * 1024 * 1024 * 1024 * 1024;

/// Most memory set aside for a body before its bytes are there.
const RESERVED_BYTES: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_and_their_trailer_are_taken_apart() {
        let mut headers = HeaderMap::new();
        let framed = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
        assert_eq!(
            unframe(framed, &mut headers).as_deref(),
            Some(&b"hello"[..])
        );
        assert_eq!(headers["x-amz-checksum-crc32"], "NhCmhg==");
        assert_eq!(unframe(b"5\r\nhel", &mut headers), None);
    }
}
