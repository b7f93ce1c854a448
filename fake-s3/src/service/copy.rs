//! Copy Object, Upload Part Copy.

use std::sync::Arc;

use stand_in::answer::{Answer, Fail, set};
use stand_in::content::Piece;
use stand_in::wire::{hex, percent_decode};
use stand_in::xml;

use crate::core::Core;
use crate::digest::Digester;
use crate::respond::{invalid_argument, no_such_bucket};
use crate::service::list::iso_millis;
use crate::service::put::{self, etag};
use crate::service::{Call, conditions, document, multipart, read};
use crate::state::{Object, Part, Store};

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>
pub(crate) fn object(core: &Core, call: &Call) -> Result<Answer, Fail> {
    let replaces = call
        .own(core, "metadata-directive")
        .is_some_and(|word| word.eq_ignore_ascii_case("REPLACE"));
    let (metadata, headers) = (put::metadata(core, call)?, put::stored_headers(core, call));
    core.store(|store| {
        let serial = store.next_serial();
        let (source, place) = source(core, call, store)?;
        conditions::for_source(core, call, &source)?;
        if read::is_archived(&source) && !core.is_google() {
            return Err(Fail::new(
                403,
                "ObjectNotInActiveTierError",
                "The source object of the COPY action is not in the active tier and is only stored in Amazon S3 Glacier.",
            ));
        }
        let own = (call.bucket.clone().unwrap_or_default(), call.key().to_owned());
        if place == own && !replaces && !core.is_google() {
            return Err(Fail::new(
                400,
                "InvalidRequest",
                "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
            ));
        }
        put::check_key(core, call.key())?;
        let bucket = call.bucket(core, store)?;
        conditions::for_write(core, call, bucket.current(call.key()))?;
        let mut copy = Object::clone(&source);
        if replaces {
            copy.metadata = metadata;
            copy.headers = headers;
        }
        copy.storage_class = put::storage_class(core, call);
        copy.modified = core.scene.now();
        copy.generation = serial;
        if let Some(md5) = copy.md5 {
            copy.etag = etag(core, hex(md5), serial);
        }
        let copy = Arc::new(copy);
        let version = bucket.insert(call.key(), Arc::clone(&copy), serial);
        let mut answer = document(
            "CopyObjectResult",
            &(xml::element("LastModified", &iso_millis(copy.modified)) + &xml::element("ETag", &copy.etag)
                + &put::checksum_elements(&copy)),
        );
        put::describe_new(core, &mut answer, &copy, version.as_deref());
        Ok(answer)
    })
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html>
pub(crate) fn part(core: &Core, call: &Call) -> Result<Answer, Fail> {
    let number = multipart::part_number(call)?;
    core.store(|store| {
        let serial = store.next_serial();
        let (source, _) = source(core, call, store)?;
        conditions::for_source(core, call, &source)?;
        let piece = piece_of(core, call, &source)?;
        let upload = multipart::upload(call, call.bucket(core, store)?)?;
        let modified = core.scene.now();
        let mut part = piece;
        part.etag = etag(core, hex(part.digests.md5), serial);
        part.modified = modified;
        let answer = document(
            "CopyPartResult",
            &(xml::element("LastModified", &iso_millis(modified))
                + &xml::element("ETag", &part.etag)),
        );
        upload.parts.insert(number, part);
        Ok(answer)
    })
    .map(|mut answer| {
        set(&mut answer, "x-amz-server-side-encryption", "AES256");
        answer
    })
}

fn piece_of(core: &Core, call: &Call, source: &Object) -> Result<Part, Fail> {
    let len = source.content.len;
    let (start, end) = match call.own(core, "copy-source-range") {
        None => (0, len),
        Some(text) => {
            let bounds = text
                .strip_prefix("bytes=")
                .and_then(|text| text.split_once('-'));
            let bounds = bounds.and_then(|(first, last)| {
                Some((first.parse().ok()?, last.parse::<u64>().ok()? + 1))
            });
            let within = bounds.filter(|(start, end): &(u64, u64)| start < end && *end <= len);
            within.ok_or_else(|| {
                invalid_argument(
                    "The x-amz-copy-source-range value must be of the form bytes=first-last",
                    "x-amz-copy-source-range",
                    text,
                )
            })?
        }
    };
    let mut digester = Digester::new();
    let mut bytes = Vec::new();
    let mut at = start;
    while at < end {
        let chunk = source
            .content
            .chunk(at, usize::try_from(end - at).unwrap_or(usize::MAX));
        digester.update(&chunk);
        at += chunk.len() as u64;
        bytes.extend_from_slice(&chunk);
    }
    let digests = digester.finish();
    let kept = source.content.bytes().is_some().then(|| bytes.into());
    let piece = Piece::new(digests.len, digests.crc64, Some(digests.md5), kept);
    Ok(Part {
        piece,
        etag: String::new(),
        modified: source.modified,
        digests,
    })
}

/// The object that the headers name, and where it lies. The name is percent-encoded, with or without a slash in front.
fn source(
    core: &Core,
    call: &Call,
    store: &mut Store,
) -> Result<(Arc<Object>, (String, String)), Fail> {
    let text = call.own(core, "copy-source").unwrap_or_default();
    let (path, version) = match text.split_once("?versionId=") {
        Some((path, version)) => (path, Some(version)),
        None => (text, None),
    };
    let path = percent_decode(path);
    let path = path.strip_prefix('/').unwrap_or(&path);
    let (bucket, key) = path.split_once('/').ok_or_else(|| {
        invalid_argument(
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            "x-amz-copy-source",
            text,
        )
    })?;
    let generation = call.header("x-goog-copy-source-generation");
    let held = store
        .buckets
        .get(bucket)
        .ok_or_else(|| no_such_bucket(bucket))?;
    let (object, _) = read::found(core, held, key, version, generation)?;
    Ok((object, (bucket.to_owned(), key.to_owned())))
}
