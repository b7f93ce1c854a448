//! Uploads in parts.

use attache::ErrorKind;
use attache::access::Scope;
use attache::service::{BucketUpload, CompleteUpload};
use attache::storage::bucket::{
    ChecksumPlan, Entry, Key, MAX_LIST, MAX_PART_BYTES, MAX_PARTS, NamedPart, Part,
};
use attache::transfer::checksum::{Checksum, ChecksumKind};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::ETAG;
use http::{HeaderMap, HeaderName, StatusCode};

use super::body::{self, header_of};
use super::copy;
use super::error::{S3Error, S3Result};
use super::object;
use super::request::S3Request;
use super::values::{iso_date, quoted, unquoted, value};
use super::xml::{self, Element, Xml, document};
use crate::upload::Incoming;

/// CreateMultipartUpload
pub(super) async fn create(request: &S3Request, key: &Key) -> S3Result<Response> {
    request.need(Scope::Write, key.as_str())?;
    body::refuse_unsupported(&request.head.headers)?;
    let plan = plan(request)?;
    let properties = request.properties()?;
    let upload = request.bucket.begin(key, &properties, plan).await?;
    let mut xml = Xml::new();
    xml.root("InitiateMultipartUploadResult")
        .text("Bucket", &request.name)
        .text("Key", key.as_str())
        .text("UploadId", &upload)
        .close("InitiateMultipartUploadResult");
    let mut response = document(xml);
    if let Some(plan) = plan {
        let headers = response.headers_mut();
        let name = HeaderName::from_static("x-amz-checksum-algorithm");
        headers.insert(name, value(plan.kind.as_str()));
        let name = HeaderName::from_static("x-amz-checksum-type");
        headers.insert(name, value(word_of(plan.full)));
    }
    Ok(response)
}

fn word_of(full: bool) -> &'static str {
    match full {
        true => "FULL_OBJECT",
        false => "COMPOSITE",
    }
}

fn plan(request: &S3Request) -> S3Result<Option<ChecksumPlan>> {
    let kind = match request.header("x-amz-checksum-algorithm")? {
        None => return Ok(None),
        Some(word) => ChecksumKind::of(word)
            .ok_or_else(|| S3Error::invalid(format!("there is no checksum algorithm {word}")))?,
    };
    // What the kinds allow (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>).
    let full = match request.header("x-amz-checksum-type")? {
        None => kind == ChecksumKind::Crc64Nvme,
        Some("FULL_OBJECT") if kind.combines() => true,
        Some("COMPOSITE") if kind != ChecksumKind::Crc64Nvme => false,
        Some(_) => {
            return Err(S3Error::new(
                StatusCode::BAD_REQUEST,
                "InvalidRequest",
                "this checksum algorithm has no such x-amz-checksum-type",
            ));
        }
    };
    Ok(Some(ChecksumPlan { kind, full }))
}

/// The upload that a request names.
async fn named(request: &S3Request, key: &Key) -> S3Result<BucketUpload> {
    let name = request.query.get("uploadId").unwrap_or_default();
    Ok(request.bucket.upload(key, name).await?)
}

fn part_number(request: &S3Request) -> S3Result<u16> {
    let number = request.number("partNumber")?;
    let number = number.and_then(|number| u16::try_from(number).ok());
    number
        .filter(|number| (1..=MAX_PARTS).contains(number))
        .ok_or_else(|| {
            S3Error::invalid("Part number must be an integer between 1 and 10000, inclusive")
        })
}

/// UploadPart
pub(super) async fn put_part(
    request: &S3Request,
    key: &Key,
    incoming: Incoming,
) -> S3Result<Response> {
    request.need(Scope::Write, key.as_str())?;
    let number = part_number(request)?;
    let upload = named(request, key).await?;
    let plan = upload.checksum.map(|plan| plan.kind);
    let _in_progress = request.begin_upload()?;
    let body = body::read(&request.head.headers, &request.caller.proof, incoming, plan)?;
    if body.size.is_some_and(|size| size > MAX_PART_BYTES) {
        return Err(S3Error::new(
            StatusCode::BAD_REQUEST,
            "EntityTooLarge",
            "a part has 5 GiB at most",
        ));
    }
    let stored = request
        .bucket
        .put_part(&upload, number, body.size, body.digests, body.bytes);
    let part = stored.await?;
    let mut headers = HeaderMap::new();
    headers.insert(ETAG, quoted(&part.etag));
    if let Some(checksum) = part.checksum {
        let name = HeaderName::from_static(header_of(checksum.kind()));
        headers.insert(name, value(&checksum.to_string()));
    }
    Ok((StatusCode::OK, headers).into_response())
}

/// UploadPartCopy
pub(super) async fn copy_part(request: &S3Request, key: &Key, source: &str) -> S3Result<Response> {
    request.need(Scope::Write, key.as_str())?;
    let number = part_number(request)?;
    let upload = named(request, key).await?;
    let source = copy::source(request, source).await?;
    let range = copy::range(&request.head.headers, source.entry.size)?;
    if range.map_or(source.entry.size, |range| range.len()) > MAX_PART_BYTES {
        return Err(S3Error::invalid("a part has 5 GiB at most"));
    }
    let copied = request
        .bucket
        .put_part_of(&upload, number, &source.bucket, &source.entry, range);
    let part = copied.await?;
    let mut xml = Xml::new();
    let at = part.modified.unwrap_or_else(time::OffsetDateTime::now_utc);
    xml.root("CopyPartResult")
        .text("LastModified", &iso_date(at))
        .text("ETag", &format!("\"{}\"", part.etag));
    checksum(&mut xml, part.checksum);
    xml.close("CopyPartResult");
    Ok(document(xml))
}

/// Smallest part but the last (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;

/// What a client says that the object will have (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>).
const OBJECT_SIZE: &str = "x-amz-mp-object-size";

/// CompleteMultipartUpload. The response begins when the outcome is known.
pub(super) async fn complete(request: &S3Request, key: &Key, body: Bytes) -> S3Result<Response> {
    request.need(Scope::Write, key.as_str())?;
    let document = xml::parse(&body).map_err(|error| S3Error::malformed_xml(error.detail()))?;
    let parts = parts_of(&document)?;
    let upload = named(request, key).await?;
    // What was stored is told by the parts; those that are too small, and how many bytes they are, by a list of them.
    check_sizes(request, &upload, &parts).await?;
    let complete = CompleteUpload {
        parts,
        checksum: body::checksum_of_whole(&request.head.headers)?,
        condition: object::condition(&request.head.headers)?,
    };
    let completed = request.bucket.complete(&upload, complete).await;
    let entry = completed.map_err(|error| match error.kind() {
        ErrorKind::NotFound => S3Error::no_such_key(),
        _ => S3Error::from(error),
    })?;
    let location = location(request, key);
    Ok(completed_document(request, &location, key, &entry))
}

fn completed_document(request: &S3Request, location: &str, key: &Key, entry: &Entry) -> Response {
    let mut xml = Xml::new();
    xml.root("CompleteMultipartUploadResult")
        .text("Location", location)
        .text("Bucket", &request.name)
        .text("Key", key.as_str())
        .text("ETag", &format!("\"{}\"", entry.etag));
    if let Some(kept) = entry.checksum {
        let name = format!("Checksum{}", kept.checksum.kind().as_str());
        let text = match kept.parts {
            Some(parts) => format!("{}-{parts}", kept.checksum),
            None => kept.checksum.to_string(),
        };
        xml.text(&name, &text)
            .text("ChecksumType", word_of(kept.parts.is_none()));
    }
    xml.close("CompleteMultipartUploadResult");
    document(xml)
}

/// Where the object is, as the client reaches it.
pub(super) fn location(request: &S3Request, key: &Key) -> String {
    let headers = &request.head.headers;
    let host = body::text(headers, "host");
    let host = host.unwrap_or_else(|| {
        let target = request.head.uri.authority();
        target.map_or_else(String::new, ToString::to_string)
    });
    let scheme = match request.peer.is_secure(&request.settings.server, headers) {
        true => "https",
        false => "http",
    };
    let path: Vec<String> = key
        .as_str()
        .split('/')
        .map(super::signature::encode)
        .collect();
    format!("{scheme}://{host}/{}/{}", request.name, path.join("/"))
}

fn parts_of(document: &Element) -> S3Result<Vec<NamedPart>> {
    let mut parts: Vec<NamedPart> = Vec::new();
    for part in document.all("Part") {
        let number = part
            .text_of("PartNumber")
            .and_then(|text| text.trim().parse().ok());
        let number = number.filter(|number| (1..=MAX_PARTS).contains(number));
        let etag = part.text_of("ETag");
        let (Some(number), Some(etag)) = (number, etag) else {
            return Err(S3Error::malformed_xml(
                "each Part must have PartNumber (1 to 10000) and ETag",
            ));
        };
        if parts.last().is_some_and(|last| last.number >= number) {
            return Err(S3Error::new(
                StatusCode::BAD_REQUEST,
                "InvalidPartOrder",
                "The list of parts was not in ascending order. Parts must be ordered by part number.",
            ));
        }
        let mut checksum = None;
        for kind in ChecksumKind::ALL {
            let name = format!("Checksum{}", kind.as_str());
            if let Some(text) = part.text_of(&name) {
                checksum = Checksum::from_base64(kind, text.trim());
                if checksum.is_none() {
                    return Err(S3Error::malformed_xml(format!("{name} is not a checksum")));
                }
            }
        }
        parts.push(NamedPart {
            number,
            etag: unquoted(etag).to_ascii_lowercase(),
            checksum,
        });
    }
    match parts.is_empty() {
        true => Err(S3Error::malformed_xml("there must be at least one Part")),
        false => Ok(parts),
    }
}

/// Parts but the last have 5 MiB at least, as with S3: an application that is tested here must work there. And all of them are as many bytes
/// as the client says, if it does.
async fn check_sizes(
    request: &S3Request,
    upload: &BucketUpload,
    named: &[NamedPart],
) -> S3Result<()> {
    let wrong = |message: String| S3Error::new(StatusCode::BAD_REQUEST, "InvalidRequest", message);
    let told = match request.header(OBJECT_SIZE)? {
        None => None,
        Some(text) => match text.parse::<u64>() {
            Ok(size) => Some(size),
            Err(_) => return Err(wrong(format!("{OBJECT_SIZE} must be a number of bytes"))),
        },
    };
    if named.len() < 2 && told.is_none() {
        return Ok(());
    }
    let last = named.last().map(|last| last.number);
    let stored = match request
        .bucket
        .parts(upload, 0, usize::from(MAX_PARTS))
        .await
    {
        Ok(stored) => stored,
        // One that is done already is told by the object.
        Err(error) if error.kind() == ErrorKind::UploadNotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let is_named = |part: &&Part| {
        named
            .binary_search_by_key(&part.number, |named| named.number)
            .is_ok()
    };
    let size: u64 = stored.iter().filter(is_named).map(|part| part.size).sum();
    if let Some(told) = told
        && told != size
    {
        return Err(wrong(format!(
            "{OBJECT_SIZE} is {told}, and the parts have {size} bytes"
        )));
    }
    let is_small = |part: &&Part| part.size < MIN_PART_BYTES && Some(part.number) != last;
    match stored.iter().filter(is_named).find(is_small) {
        Some(_) => Err(S3Error::new(
            StatusCode::BAD_REQUEST,
            "EntityTooSmall",
            "Your proposed upload is smaller than the minimum allowed size",
        )),
        None => Ok(()),
    }
}

/// AbortMultipartUpload. One that is not there is success: GROWI takes 404 for a failure.
pub(super) async fn abort(request: &S3Request, key: &Key) -> S3Result<Response> {
    request.need(Scope::Write, key.as_str())?;
    match named(request, key).await {
        Ok(upload) => request.bucket.abort(&upload).await?,
        Err(error) if error.code() == "NoSuchUpload" => {}
        Err(error) => return Err(error),
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// ListParts
pub(super) async fn list_parts(request: &S3Request, key: &Key) -> S3Result<Response> {
    request.need(Scope::Write, key.as_str())?;
    let name = request.query.get("uploadId").unwrap_or_default();
    let upload = named(request, key).await?;
    let limit = request.number("max-parts")?.unwrap_or(1000).min(1000) as usize;
    let after = request.number("part-number-marker")?.unwrap_or(0);
    let after = u16::try_from(after).unwrap_or(u16::MAX);
    let mut parts = request.bucket.parts(&upload, after, limit + 1).await?;
    let more = parts.len() > limit;
    parts.truncate(limit);
    let next = parts.last().map(|part| part.number.to_string());
    let mut xml = Xml::new();
    xml.root("ListPartsResult")
        .text("Bucket", &request.name)
        .text("Key", key.as_str())
        .text("UploadId", name)
        .text("PartNumberMarker", &after.to_string())
        .some("NextPartNumberMarker", next.as_deref())
        .text("MaxParts", &limit.to_string())
        .text("IsTruncated", if more { "true" } else { "false" });
    for part in parts {
        xml.open("Part")
            .text("PartNumber", &part.number.to_string())
            .some("LastModified", part.modified.map(iso_date).as_deref())
            .text("ETag", &format!("\"{}\"", part.etag))
            .text("Size", &part.size.to_string());
        checksum(&mut xml, part.checksum);
        xml.close("Part");
    }
    xml.text("StorageClass", "STANDARD")
        .close("ListPartsResult");
    Ok(document(xml))
}

fn checksum(xml: &mut Xml, checksum: Option<Checksum>) {
    if let Some(checksum) = checksum {
        let name = format!("Checksum{}", checksum.kind().as_str());
        xml.text(&name, &checksum.to_string());
    }
}

/// ListMultipartUploads: those that the store can tell of.
pub(super) async fn list(request: &S3Request) -> S3Result<Response> {
    let prefix = request.query.get("prefix").unwrap_or_default();
    request.need(Scope::Write, prefix)?;
    let uploads = request.bucket.uploads(prefix, MAX_LIST).await?;
    let mut xml = Xml::new();
    xml.root("ListMultipartUploadsResult")
        .text("Bucket", &request.name)
        .text("KeyMarker", "")
        .text("UploadIdMarker", "")
        .text("Prefix", prefix)
        .text("MaxUploads", &MAX_LIST.to_string())
        .text("IsTruncated", "false");
    for upload in uploads {
        xml.open("Upload")
            .text("Key", upload.key.as_str())
            .text("UploadId", &upload.name)
            .text("StorageClass", "STANDARD")
            .text("Initiated", &iso_date(upload.begun));
        if let Some(plan) = upload.checksum {
            xml.text("ChecksumAlgorithm", plan.kind.as_str())
                .text("ChecksumType", word_of(plan.full));
        }
        xml.close("Upload");
    }
    xml.close("ListMultipartUploadsResult");
    Ok(document(xml))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> S3Result<Vec<NamedPart>> {
        parts_of(&xml::parse(text.as_bytes()).expect("well-formed"))
    }

    #[test]
    fn parts_are_read_as_clients_write_them() {
        let text = "<CompleteMultipartUpload xmlns=\"x\">\n<Part><ETag>&quot;5D41402abc4b2a76b9719d911017c592&quot;</ETag>\
             <PartNumber> 2 </PartNumber><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part><Part><PartNumber>3</PartNumber>\
             <ETag>bare</ETag></Part></CompleteMultipartUpload>";
        let read = parts(text).expect("parts");
        assert_eq!(read[0].number, 2);
        assert_eq!(read[0].etag, "5d41402abc4b2a76b9719d911017c592");
        assert_eq!(read[0].checksum, Some(Checksum::Crc32(0)));
        assert_eq!((read[1].number, read[1].etag.as_str()), (3, "bare"));
    }

    #[test]
    fn parts_that_are_none_are_refused() {
        let part =
            |number: &str| format!("<Part><PartNumber>{number}</PartNumber><ETag>a</ETag></Part>");
        for (inner, code) in [
            (String::new(), "MalformedXML"),
            (part("0"), "MalformedXML"),
            (part("10001"), "MalformedXML"),
            (part("x"), "MalformedXML"),
            (
                "<Part><PartNumber>1</PartNumber></Part>".to_owned(),
                "MalformedXML",
            ),
            (format!("{}{}", part("2"), part("1")), "InvalidPartOrder"),
            (format!("{}{}", part("2"), part("2")), "InvalidPartOrder"),
        ] {
            let error = parts(&format!("<C>{inner}</C>")).expect_err("no parts");
            assert_eq!(error.code(), code, "{inner}");
        }
    }
}
