//! The body of an upload: out of its frames, with what it must turn out to be.

use attache::service::ObjectDigests;
use attache::storage::bucket::Properties;
use attache::transfer::checksum::{Checksum, ChecksumKind, Promise};
use attache::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};

use super::authenticate::Proof;
use super::chunked::{Frames, Framing, decode};
use super::error::{S3Error, S3Result};
use super::tags;
use crate::upload::Incoming;

/// A body that is about to be stored.
pub(crate) struct Upload {
    pub(crate) size: Option<u64>,
    pub(crate) digests: ObjectDigests,
    pub(crate) bytes: BoxStream<'static, Result<Bytes>>,
}

/// Takes a body out of what it comes in. `plan`: the kind of checksum that is computed if the client names none.
///
/// # Errors
///
/// Digests that are none, and a length that is missing.
pub(crate) fn read(
    headers: &HeaderMap,
    proof: &Proof,
    body: Incoming,
    plan: Option<ChecksumKind>,
) -> S3Result<Upload> {
    let (payload, chunks) = match proof {
        Proof::Header { payload, chunks } => (payload.as_str(), Some(chunks)),
        Proof::Presigned { payload, .. } => (payload.as_str(), None),
        Proof::Nothing | Proof::Form => ("", None),
    };
    let mut digests = ObjectDigests {
        md5: md5(headers)?,
        sha256: sha256(payload)?,
        checksum: checksum(headers)?.map(|checksum| {
            let promise = Promise::default();
            let _ = promise.set(checksum);
            (checksum.kind(), Some(promise))
        }),
    };
    let Some(framing) = Framing::of(payload)? else {
        digests.checksum = digests.checksum.or(plan.map(|kind| (kind, None)));
        return Ok(Upload {
            size: number(headers, CONTENT_LENGTH.as_str())?,
            digests,
            bytes: body.boxed(),
        });
    };
    let length = number(headers, "x-amz-decoded-content-length")?.ok_or_else(|| {
        S3Error::new(
            StatusCode::LENGTH_REQUIRED,
            "MissingContentLength",
            "a body in aws-chunked needs x-amz-decoded-content-length",
        )
    })?;
    let trailer = announced(headers)?.map(|kind| (kind, Promise::default()));
    if let Some((kind, promise)) = &trailer {
        if digests.checksum.is_some() {
            return Err(S3Error::invalid(
                "a checksum is in the head and in the trailer",
            ));
        }
        digests.checksum = Some((*kind, Some(promise.clone())));
    }
    digests.checksum = digests.checksum.or(plan.map(|kind| (kind, None)));
    let frames = Frames {
        framing,
        length,
        signer: chunks.map(|chunks| (**chunks).clone()),
        trailer,
    };
    Ok(Upload {
        size: Some(length),
        digests,
        bytes: decode(body, frames).boxed(),
    })
}

fn number(headers: &HeaderMap, name: &str) -> S3Result<Option<u64>> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let number = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    number
        .map(Some)
        .ok_or_else(|| S3Error::invalid(format!("{name} is not a number of bytes")))
}

/// `Content-MD5`
pub(crate) fn md5(headers: &HeaderMap) -> S3Result<Option<[u8; 16]>> {
    let Some(value) = headers.get("content-md5") else {
        return Ok(None);
    };
    let decoded = STANDARD.decode(value.as_bytes()).ok();
    let md5 = decoded.and_then(|md5| <[u8; 16]>::try_from(md5).ok());
    md5.map(Some).ok_or_else(|| {
        S3Error::new(
            StatusCode::BAD_REQUEST,
            "InvalidDigest",
            "Content-MD5 must be 16 bytes in base64",
        )
    })
}

/// The payload's hash, where one was signed.
pub(crate) fn sha256(payload: &str) -> S3Result<Option<[u8; 32]>> {
    if payload.is_empty() || payload.starts_with("UNSIGNED-") || payload.starts_with("STREAMING-") {
        return Ok(None);
    }
    let hex: attache::attachment::Hex<32> = payload.parse().map_err(|_| {
        S3Error::invalid(
            "x-amz-content-sha256 must be the SHA-256 of the body in hex, UNSIGNED-PAYLOAD, or a form of STREAMING",
        )
    })?;
    Ok(Some(hex.0))
}

/// `x-amz-checksum-…` of the head; never that of a query, which newer JavaScript SDKs presign with the CRC-32 of nothing.
pub(crate) fn checksum(headers: &HeaderMap) -> S3Result<Option<Checksum>> {
    let mut found = None;
    for kind in ChecksumKind::ALL {
        let name = header_of(kind);
        let Some(value) = headers.get(name) else {
            continue;
        };
        let text = value.to_str().unwrap_or_default();
        let checksum = Checksum::from_base64(kind, text).ok_or_else(|| {
            S3Error::new(
                StatusCode::BAD_REQUEST,
                "InvalidRequest",
                format!("Value for {name} header is invalid."),
            )
        })?;
        if found.replace(checksum).is_some() {
            return Err(S3Error::new(
                StatusCode::BAD_REQUEST,
                "InvalidRequest",
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            ));
        }
    }
    Ok(found)
}

/// As [`checksum`], of an object that is made of parts: `-` and their number may follow.
pub(crate) fn checksum_of_whole(headers: &HeaderMap) -> S3Result<Option<Checksum>> {
    let mut bare = HeaderMap::new();
    for kind in ChecksumKind::ALL {
        let name = header_of(kind);
        if let Some(text) = text(headers, name) {
            let text = text
                .split_once('-')
                .map_or(text.as_str(), |(front, _)| front);
            if let Ok(value) = text.parse() {
                bare.insert(name, value);
            }
        }
    }
    checksum(&bare)
}

/// Which checksum `x-amz-trailer` announces.
fn announced(headers: &HeaderMap) -> S3Result<Option<ChecksumKind>> {
    let Some(value) = headers.get("x-amz-trailer") else {
        return Ok(None);
    };
    let name = value
        .to_str()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let kind = name
        .strip_prefix("x-amz-checksum-")
        .and_then(ChecksumKind::of);
    kind.map(Some).ok_or_else(|| {
        S3Error::new(
            StatusCode::BAD_REQUEST,
            "InvalidRequest",
            "The value specified in the x-amz-trailer header is not supported",
        )
    })
}

/// The header that has a checksum.
pub(crate) fn header_of(kind: ChecksumKind) -> &'static str {
    match kind {
        ChecksumKind::Crc32 => "x-amz-checksum-crc32",
        ChecksumKind::Crc32c => "x-amz-checksum-crc32c",
        ChecksumKind::Crc64Nvme => "x-amz-checksum-crc64nvme",
        ChecksumKind::Sha1 => "x-amz-checksum-sha1",
        ChecksumKind::Sha256 => "x-amz-checksum-sha256",
    }
}

/// What makes something else of a write than an object of these bytes, and attache does not do.
const OTHER_WRITES: [(&str, &str); 3] = [
    ("x-amz-object-lock-mode", "object lock"),
    ("x-amz-rename-source", "renaming an object"),
    ("x-amz-write-offset-bytes", "appending to an object"),
];

/// What S3 does and attache does not: with it, a client would not get what it asks for.
pub(crate) fn refuse_unsupported(headers: &HeaderMap) -> S3Result<()> {
    let customer = "x-amz-server-side-encryption-customer-algorithm";
    if headers.contains_key(customer) {
        return Err(S3Error::not_implemented("keys of customers (SSE-C)"));
    }
    let encryption = headers.get("x-amz-server-side-encryption");
    if encryption.is_some_and(|value| value != "AES256") {
        return Err(S3Error::not_implemented("keys of a key service (SSE-KMS)"));
    }
    match OTHER_WRITES
        .into_iter()
        .find(|(name, _)| headers.contains_key(*name))
    {
        Some((_, what)) => Err(S3Error::not_implemented(what)),
        None => Ok(()),
    }
}

/// Most bytes of metadata, names and values together
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>).
const MAX_METADATA: usize = 2048;

/// What a client wants kept beside the bytes: from `field`, which knows headers, parameters of a presigned URL, or fields of a form;
/// `names` are all that there are, in lower case.
///
/// # Errors
///
/// Too much of it, and what cannot be kept.
pub(crate) fn properties<'n>(
    names: impl Iterator<Item = &'n str>,
    field: impl Fn(&str) -> Option<String>,
) -> S3Result<Properties> {
    let mut properties = Properties {
        content_type: plain("content-type", field("content-type"))?,
        cache_control: plain("cache-control", field("cache-control"))?,
        content_disposition: plain("content-disposition", field("content-disposition"))?,
        content_encoding: plain(CONTENT_ENCODING.as_str(), field("content-encoding"))?
            .and_then(|codings| without_frames(&codings)),
        content_language: plain("content-language", field("content-language"))?,
        expires: plain("expires", field("expires"))?,
        ..Properties::default()
    };
    let mut size = 0;
    for name in names {
        let Some(bare) = name
            .strip_prefix("x-amz-meta-")
            .filter(|bare| !bare.is_empty())
        else {
            continue;
        };
        let value = plain(name, field(name))?.unwrap_or_default();
        size += bare.len() + value.len();
        properties.metadata.insert(bare.to_owned(), value);
    }
    if size > MAX_METADATA {
        return Err(S3Error::new(
            StatusCode::BAD_REQUEST,
            "MetadataTooLarge",
            "the metadata is larger than 2048 bytes",
        ));
    }
    if let Some(tags) = field("x-amz-tagging") {
        properties.tags = tags::of_query(&tags)?;
    }
    Ok(properties)
}

fn plain(name: &str, value: Option<String>) -> S3Result<Option<String>> {
    match value {
        Some(value) if value.chars().any(char::is_control) => {
            Err(S3Error::invalid(format!("{name} has control characters")))
        }
        value => Ok(value),
    }
}

/// `gzip,aws-chunked` is `gzip`.
fn without_frames(codings: &str) -> Option<String> {
    let kept: Vec<&str> = codings
        .split(',')
        .map(str::trim)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// A value as text: UTF-8, or what each byte is in Latin-1.
pub(crate) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let bytes = headers.get(name)?.as_bytes();
    Some(match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    })
}

/// Reads a small body whole: XML.
///
/// # Errors
///
/// One that is too large, or not what was promised.
pub(crate) async fn collect(
    upload: Upload,
    limit: u64,
    budget: &attache::transfer::budget::Budget,
) -> S3Result<Bytes> {
    if upload.size.is_some_and(|size| size > limit) {
        return Err(too_large());
    }
    let reserved = upload.size.unwrap_or(limit).max(1);
    let _permit = budget.acquire(reserved).await?;
    let mut body = attache::transfer::body::Body::new(upload.bytes);
    if upload.digests.md5.is_some() {
        body = body.with_md5();
    }
    if let Some((kind, promise)) = upload.digests.checksum {
        body = body.with_checksum(kind, promise);
    }
    let body = body.expecting(attache::transfer::body::Expected {
        max_size: Some(limit),
        sha256: upload.digests.sha256,
        md5: upload.digests.md5,
        ..attache::transfer::body::Expected::default()
    });
    let wait = tokio::time::timeout(
        BODY_TIME,
        body.collect(usize::try_from(limit).unwrap_or(usize::MAX)),
    );
    let collected = wait.await.map_err(|_| {
        Error::new(
            attache::ErrorKind::ClientTimeout,
            "timed out: the body did not come",
        )
    })?;
    Ok(collected?)
}

/// How long a document may take to come.
const BODY_TIME: std::time::Duration = std::time::Duration::from_secs(60);

fn too_large() -> S3Error {
    S3Error::new(
        StatusCode::BAD_REQUEST,
        "MaxMessageLengthExceeded",
        "the document is too large",
    )
}
