//! Uploads in parts.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use hyper::body::Incoming;
use md5::{Digest as _, Md5};
use stand_in::answer::{Answer, Fail, Stop, set};
use stand_in::content::Content;
use stand_in::wire::{header, hex};
use stand_in::xml;

use crate::core::Core;
use crate::digest::{Algorithm, Digests, combined, composite, expect};
use crate::respond::{invalid_argument, malformed_xml, no_such_upload};
use crate::service::conditions::{self, Watch};
use crate::service::list::iso_millis;
use crate::service::put::{self, announced_algorithm, check_key, describe_new, etag};
use crate::service::{Call, body, document, empty};
use crate::state::{Bucket, Object, Part, Upload};

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html>
pub(crate) fn create(core: &Core, call: &Call) -> Result<Answer, Fail> {
    let algorithm = announced_algorithm(core, call);
    let full_object = match call.header("x-amz-checksum-type") {
        Some(kind) => kind == "FULL_OBJECT",
        None => algorithm == Some(Algorithm::Crc64Nvme),
    };
    if full_object && matches!(algorithm, Some(Algorithm::Sha1 | Algorithm::Sha256)) {
        return Err(Fail::new(
            400,
            "InvalidRequest",
            "The FULL_OBJECT checksum type cannot be used with the SHA1 and SHA256 checksum algorithms.",
        ));
    }
    let upload = Upload {
        key: call.key().to_owned(),
        begun: core.scene.now(),
        metadata: put::metadata(core, call)?,
        headers: put::stored_headers(core, call),
        storage_class: put::storage_class(core, call),
        algorithm,
        full_object,
        parts: BTreeMap::new(),
    };
    check_key(core, call.key())?;
    let id = core.store(|store| -> Result<String, Fail> {
        let id = format!("upload{:016x}", store.next_serial());
        call.bucket(core, store)?.uploads.insert(id.clone(), upload);
        Ok(id)
    })?;
    let mut answer = document(
        "InitiateMultipartUploadResult",
        &(xml::element("Bucket", call.bucket.as_deref().unwrap_or_default())
            + &xml::element("Key", call.key())
            + &xml::element("UploadId", &id)),
    );
    if let Some(algorithm) = algorithm {
        set(&mut answer, "x-amz-checksum-algorithm", algorithm.name());
        set(
            &mut answer,
            "x-amz-checksum-type",
            put::checksum_type(full_object),
        );
    }
    Ok(answer)
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPart.html>
pub(crate) async fn part(core: &Arc<Core>, call: &Call, body: Incoming) -> Result<Answer, Stop> {
    let number = part_number(call)?;
    let known = core.store(|store| upload(call, call.bucket(core, store)?).map(drop));
    if let Err(fail) = known {
        stand_in::incoming::swallow(body).await;
        return Err(fail.into());
    }
    let received = body::content(core, call, body).await?;
    let digests = received.digests.clone();
    let chosen = received.checksum.clone();
    let piece = received.into_piece();
    let tag = core.store(|store| -> Result<String, Fail> {
        let serial = store.next_serial();
        let upload = upload(call, call.bucket(core, store)?)?;
        if let (Some(begun), Some((algorithm, _))) = (upload.algorithm, &chosen)
            && begun != *algorithm
        {
            let message = format!(
                "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
                begun.name().to_lowercase(),
                algorithm.name().to_lowercase()
            );
            return Err(Fail::new(400, "InvalidRequest", &message));
        }
        let tag = etag(core, hex(digests.md5), serial);
        let modified = core.scene.now();
        upload.parts.insert(number, Part { piece, etag: tag.clone(), modified, digests: digests.clone() });
        Ok(tag)
    })?;
    let mut answer = empty(StatusCode::OK);
    set(&mut answer, "etag", &tag);
    if core.is_google() {
        let crc32c = stand_in::wire::base64_encode(digests.crc32c.to_be_bytes());
        let md5 = stand_in::wire::base64_encode(digests.md5);
        set(
            &mut answer,
            "x-goog-hash",
            &format!("crc32c={crc32c},md5={md5}"),
        );
    } else if let Some((algorithm, text)) = chosen {
        set(&mut answer, algorithm.header(), &text);
    }
    Ok(answer)
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>
pub(crate) async fn complete(
    core: &Arc<Core>,
    call: &Call,
    body: Incoming,
) -> Result<Answer, Stop> {
    let watch = Watch::new(core, call);
    let text = body::document(core, call, body).await?;
    let wanted = wanted(&text)?;
    let answer = core.store(|store| -> Result<Answer, Fail> {
        let serial = store.next_serial();
        let bucket = call.bucket(core, store)?;
        let id = call.query.value("uploadId").unwrap_or_default();
        if let Some((parts, tag)) = bucket.completed.get(id)
            && same(parts, &wanted)
        {
            return Ok(completed(call, tag, ""));
        }
        refuse_conditions(core, call)?;
        let begun = upload(call, bucket)?;
        let (object, listed) = assemble(core, call, begun, &wanted, serial)?;
        conditions::for_write(core, call, bucket.current(call.key()))?;
        watch.check(bucket)?;
        bucket.uploads.remove(id);
        if core.manners.remembers_completed {
            bucket
                .completed
                .insert(id.to_owned(), (listed, object.etag.clone()));
        }
        let object = Arc::new(object);
        let version = bucket.insert(call.key(), Arc::clone(&object), serial);
        let mut answer = completed(call, &object.etag, &put::checksum_elements(&object));
        describe_new(core, &mut answer, &object, version.as_deref());
        Ok(answer)
    });
    answer.map_err(Stop::from)
}

/// Google knows no preconditions of uploads in parts: "Preconditions are not supported in the requests"
/// (<https://cloud.google.com/storage/docs/multipart-uploads>). Who sends one relies on what will not happen.
fn refuse_conditions(core: &Core, call: &Call) -> Result<(), Fail> {
    let own = ["x-goog-if-generation-match", "if-none-match", "if-match"];
    if core.is_google() && own.iter().any(|name| call.headers.contains_key(*name)) {
        return Err(Fail::new(
            501,
            "NotImplemented",
            "Preconditions are not supported by multipart uploads.",
        ));
    }
    Ok(())
}

fn completed(call: &Call, tag: &str, checksum: &str) -> Answer {
    let bucket = call.bucket.as_deref().unwrap_or_default();
    document(
        "CompleteMultipartUploadResult",
        &(xml::element("Location", &format!("https://localhost{}", call.raw_path))
            + &xml::element("Bucket", bucket)
            + &xml::element("Key", call.key())
            + &xml::element("ETag", tag)
            + checksum),
    )
}

/// A part as the completion names it.
struct Wanted {
    number: u32,
    etag: String,
    checksum: Option<(Algorithm, String)>,
}

fn wanted(text: &str) -> Result<Vec<Wanted>, Fail> {
    let mut wanted = Vec::new();
    for part in text.split("<Part>").skip(1) {
        let part = part.split("</Part>").next().unwrap_or_default();
        let leaves = xml::leaves(part);
        let field = |name: &str| {
            leaves
                .iter()
                .find(|(found, _)| found == name)
                .map(|(_, text)| text.clone())
        };
        let number = field("PartNumber")
            .and_then(|text| text.parse().ok())
            .ok_or_else(malformed_xml)?;
        let etag = field("ETag").ok_or_else(malformed_xml)?;
        let checksum = Algorithm::ALL.into_iter().find_map(|algorithm| {
            Some((algorithm, field(&format!("Checksum{}", algorithm.name()))?))
        });
        wanted.push(Wanted {
            number,
            etag,
            checksum,
        });
    }
    if wanted.is_empty() {
        return Err(malformed_xml());
    }
    Ok(wanted)
}

fn same(parts: &[(u32, String)], wanted: &[Wanted]) -> bool {
    let wanted = wanted.iter().map(|part| (part.number, bare(&part.etag)));
    wanted.eq(parts.iter().map(|(number, etag)| (*number, bare(etag))))
}

fn bare(tag: &str) -> &str {
    tag.trim()
        .trim_start_matches("&quot;")
        .trim_end_matches("&quot;")
        .trim_matches('"')
}

/// Puts the named parts together, and says which they were.
fn assemble(
    core: &Core,
    call: &Call,
    upload: &Upload,
    wanted: &[Wanted],
    serial: u64,
) -> Result<(Object, Vec<(u32, String)>), Fail> {
    if wanted
        .windows(2)
        .any(|pair| pair[0].number >= pair[1].number)
    {
        return Err(Fail::new(
            400,
            "InvalidPartOrder",
            "The list of parts was not in ascending order. Parts must be ordered by part number.",
        ));
    }
    let mut parts = Vec::new();
    for (index, part) in wanted.iter().enumerate() {
        let held = upload
            .parts
            .get(&part.number)
            .filter(|held| bare(&held.etag) == bare(&part.etag));
        let held = held.ok_or_else(|| invalid_part(call, part.number))?;
        if let Some((algorithm, text)) = &part.checksum
            && held.digests.text(*algorithm) != *text
        {
            return Err(invalid_part(call, part.number));
        }
        if index + 1 < wanted.len() && held.piece.len < core.manners.min_part_bytes {
            return Err(Fail::new(
                400,
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
            )
            .detail(
                xml::element("ProposedSize", &held.piece.len.to_string())
                    + &xml::element("MinSizeAllowed", &core.manners.min_part_bytes.to_string())
                    + &xml::element("PartNumber", &part.number.to_string()),
            ));
        }
        parts.push((part.number, held));
    }
    let digests = || parts.iter().map(|(_, part)| &part.digests);
    let checksum = checksum_of_whole(call, upload, digests)?;
    let mut md5s = Md5::new();
    for digests in digests() {
        md5s.update(digests.md5);
    }
    let content = Content::new(
        parts.iter().map(|(_, part)| part.piece.clone()).collect(),
        core.retention,
    );
    if let Some(stated) = header(&call.headers, "x-amz-mp-object-size")
        && stated != content.len.to_string()
    {
        return Err(Fail::new(
            400,
            "InvalidRequest",
            "The provided 'x-amz-mp-object-size' header does not match what was computed.",
        ));
    }
    let crc32c = combined(Algorithm::Crc32c, digests())
        .and_then(|text| stand_in::wire::base64_decode(&text));
    let crc32c = crc32c
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_be_bytes);
    let object = Object {
        etag: etag(
            core,
            format!("{}-{}", hex(md5s.finalize()), parts.len()),
            serial,
        ),
        content,
        modified: core.scene.now(),
        generation: serial,
        metadata: upload.metadata.clone(),
        headers: upload.headers.clone(),
        storage_class: upload.storage_class.clone(),
        md5: None,
        crc32c,
        checksum,
    };
    let listed = parts
        .iter()
        .map(|(number, part)| (*number, part.etag.clone()))
        .collect();
    Ok((object, listed))
}

/// Compares the checksum of the whole with what the completion states, if it does.
fn checksum_of_whole<'a, I: Iterator<Item = &'a Digests>>(
    call: &Call,
    upload: &Upload,
    digests: impl Fn() -> I,
) -> Result<Option<(Algorithm, String, bool)>, Fail> {
    let Some(algorithm) = upload.algorithm else {
        return Ok(None);
    };
    let text = match combined(algorithm, digests()) {
        Some(text) if upload.full_object => text,
        _ => composite(algorithm, digests()),
    };
    if let Some(stated) = call.header(algorithm.header()) {
        if upload.full_object {
            expect(algorithm, stated, &text)?;
        } else if stated.split('-').next() != text.split('-').next() {
            expect(algorithm, "", &text)?;
        }
    }
    Ok(Some((algorithm, text, upload.full_object)))
}

fn invalid_part(call: &Call, number: u32) -> Fail {
    Fail::new(
        400,
        "InvalidPart",
        "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
    )
    .detail(
        xml::element("UploadId", call.query.or_empty("uploadId")) + &xml::element("PartNumber", &number.to_string()),
    )
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html>
pub(crate) fn abort(core: &Core, call: &Call) -> Result<Answer, Fail> {
    core.store(|store| {
        let bucket = call.bucket(core, store)?;
        upload(call, bucket)?;
        bucket.uploads.remove(call.query.or_empty("uploadId"));
        Ok(empty(StatusCode::NO_CONTENT))
    })
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html>
pub(crate) fn list_parts(core: &Core, call: &Call) -> Result<Answer, Fail> {
    let most = crate::service::list::limit(call, "max-parts")?;
    let after: u32 = call
        .query
        .value("part-number-marker")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    core.store(|store| {
        let upload = upload(call, call.bucket(core, store)?)?;
        let mut rest = upload.parts.range(after.saturating_add(1)..);
        let shown: Vec<_> = rest.by_ref().take(most).collect();
        let more = rest.next().is_some();
        let mut inner = xml::element("Bucket", call.bucket.as_deref().unwrap_or_default())
            + &xml::element("Key", call.key())
            + &xml::element("UploadId", call.query.or_empty("uploadId"))
            + &xml::element("PartNumberMarker", &after.to_string())
            + &xml::element("MaxParts", &most.to_string())
            + &xml::element("IsTruncated", if more { "true" } else { "false" });
        if let Some((number, _)) = shown.last().filter(|_| more) {
            inner += &xml::element("NextPartNumberMarker", &number.to_string());
        }
        for (number, part) in shown {
            inner += &format!(
                "<Part>{}{}{}{}</Part>",
                xml::element("PartNumber", &number.to_string()),
                xml::element("LastModified", &iso_millis(part.modified)),
                xml::element("ETag", &part.etag),
                xml::element("Size", &part.piece.len.to_string()),
            );
        }
        Ok(document("ListPartsResult", &inner))
    })
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html>: by key, then by when they began.
pub(crate) fn list(core: &Core, call: &Call) -> Result<Answer, Fail> {
    let most = crate::service::list::limit(call, "max-uploads")?;
    let prefix = call.query.or_empty("prefix");
    let key_marker = call.query.or_empty("key-marker");
    let id_marker = call.query.or_empty("upload-id-marker");
    core.store(|store| {
        let bucket = call.bucket(core, store)?;
        let mut all: Vec<(&str, &str, &Upload)> = bucket
            .uploads
            .iter()
            .map(|(id, upload)| (upload.key.as_str(), id.as_str(), upload))
            .filter(|(key, id, _)| {
                let behind = *key > key_marker
                    || (*key == key_marker && !id_marker.is_empty() && *id > id_marker);
                key.starts_with(prefix) && (key_marker.is_empty() || behind)
            })
            .collect();
        all.sort_by_key(|(key, id, _)| (*key, *id));
        let more = all.len() > most;
        all.truncate(most);
        let mut inner = xml::element("Bucket", call.bucket.as_deref().unwrap_or_default())
            + &xml::element("KeyMarker", key_marker)
            + &xml::element("UploadIdMarker", id_marker)
            + &xml::element("MaxUploads", &most.to_string())
            + &xml::element("Prefix", prefix)
            + &xml::element("IsTruncated", if more { "true" } else { "false" });
        if let Some((key, id, _)) = all.last().filter(|_| more) {
            inner +=
                &(xml::element("NextKeyMarker", key) + &xml::element("NextUploadIdMarker", id));
        }
        for (key, id, upload) in all {
            inner += &format!(
                "<Upload>{}{}{}{}</Upload>",
                xml::element("Key", key),
                xml::element("UploadId", id),
                xml::element("StorageClass", &upload.storage_class),
                xml::element("Initiated", &iso_millis(upload.begun)),
            );
        }
        Ok(document("ListMultipartUploadsResult", &inner))
    })
}

/// The upload that the query names, if it is of this key.
pub(crate) fn upload<'a>(call: &Call, bucket: &'a mut Bucket) -> Result<&'a mut Upload, Fail> {
    let id = call.query.or_empty("uploadId");
    let upload = bucket
        .uploads
        .get_mut(id)
        .filter(|upload| upload.key == call.key());
    upload.ok_or_else(|| no_such_upload(id))
}

/// Part numbers run from 1 to 10,000 (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
pub(crate) fn part_number(call: &Call) -> Result<u32, Fail> {
    let text = call.query.or_empty("partNumber");
    let number = text
        .parse()
        .ok()
        .filter(|number| (1..=10_000).contains(number));
    number.ok_or_else(|| {
        invalid_argument(
            "Part number must be an integer between 1 and 10000, inclusive",
            "partNumber",
            text,
        )
    })
}
