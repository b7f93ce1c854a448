//! Put Object, and how an object is made of what was received.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use hyper::body::Incoming;
use stand_in::answer::{Answer, Fail, Stop, set};
use stand_in::content::Content;
use stand_in::wire::{base64_encode, hex};
use stand_in::xml;

use crate::core::Core;
use crate::digest::Algorithm;
use crate::service::conditions::{self, Watch};
use crate::service::{Call, body, empty};
use crate::state::Object;

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html>
pub(crate) async fn object(core: &Arc<Core>, call: &Call, body: Incoming) -> Result<Answer, Stop> {
    let watch = Watch::new(core, call);
    let metadata = metadata(core, call)?;
    let early = core.store(|store| {
        let bucket = call.bucket(core, store)?;
        check_key(core, call.key())?;
        conditions::for_write(core, call, bucket.current(call.key()))
    });
    if let Err(fail) = early {
        stand_in::incoming::swallow(body).await;
        return Err(fail.into());
    }
    let received = body::content(core, call, body).await?;
    check_length(core, call, received.digests.len)?;
    let checksum = received.checksum.clone();
    let (md5, crc32c) = (received.digests.md5, received.digests.crc32c);
    let content = Content::new(vec![received.into_piece()], core.retention);
    let answer = core.store(|store| -> Result<Answer, Fail> {
        let serial = store.next_serial();
        let bucket = call.bucket(core, store)?;
        conditions::for_write(core, call, bucket.current(call.key()))?;
        watch.check(bucket)?;
        let object = Arc::new(Object {
            content,
            etag: etag(core, hex(md5), serial),
            modified: core.scene.now(),
            generation: serial,
            metadata,
            headers: stored_headers(core, call),
            storage_class: storage_class(core, call),
            md5: Some(md5),
            crc32c,
            checksum: checksum.map(|(algorithm, text)| (algorithm, text, true)),
        });
        let version = bucket.insert(call.key(), Arc::clone(&object), serial);
        Ok(made(core, &object, version.as_deref()))
    });
    answer.map_err(Stop::from)
}

/// Google: how many bytes a request may bring
/// (<https://cloud.google.com/storage/docs/xml-api/reference-headers#xgoogcontentlengthrange>).
fn check_length(core: &Core, call: &Call, len: u64) -> Result<(), Fail> {
    let range = call
        .header("x-goog-content-length-range")
        .filter(|_| core.is_google());
    let Some((least, most)) = range.and_then(|range| range.split_once(',')) else {
        return Ok(());
    };
    match (least.trim().parse::<u64>(), most.trim().parse::<u64>()) {
        (Ok(least), _) if len < least => Err(Fail::new(
            400,
            "EntityTooSmall",
            "Your proposed upload is smaller than the minimum allowed object size.",
        )),
        (_, Ok(most)) if len > most => Err(Fail::new(
            400,
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed object size.",
        )),
        _ => Ok(()),
    }
}

/// The answer to whatever made an object without saying more of it.
pub(crate) fn made(core: &Core, object: &Object, version: Option<&str>) -> Answer {
    let mut answer = empty(StatusCode::OK);
    set(&mut answer, "etag", &object.etag);
    describe_new(core, &mut answer, object, version);
    if let Some((algorithm, text, whole)) = &object.checksum {
        set(&mut answer, algorithm.header(), text);
        set(&mut answer, "x-amz-checksum-type", checksum_type(*whole));
    }
    answer
}

/// The checksum of an object in the documents that answer a completion and a copy.
pub(crate) fn checksum_elements(object: &Object) -> String {
    let Some((algorithm, text, whole)) = &object.checksum else {
        return String::new();
    };
    xml::element(&format!("Checksum{}", algorithm.name()), text)
        + &xml::element("ChecksumType", checksum_type(*whole))
}

/// What the headers of such an answer say besides the entity tag.
pub(crate) fn describe_new(
    core: &Core,
    answer: &mut Answer,
    object: &Object,
    version: Option<&str>,
) {
    if core.is_google() {
        set(answer, "x-goog-generation", &object.generation.to_string());
        set(answer, "x-goog-metageneration", "1");
        set(answer, "x-goog-hash", &google_hash(object));
        set(
            answer,
            "x-goog-stored-content-length",
            &object.content.len.to_string(),
        );
        set(answer, "x-goog-stored-content-encoding", "identity");
        return;
    }
    set(answer, "x-amz-server-side-encryption", "AES256");
    if let Some(version) = version {
        set(answer, "x-amz-version-id", version);
    }
}

/// The digests that Google knows of an object; the MD5 of one in parts it does not.
pub(crate) fn google_hash(object: &Object) -> String {
    let crc32c = base64_encode(object.crc32c.to_be_bytes());
    match object.md5 {
        Some(md5) => format!("crc32c={crc32c},md5={}", base64_encode(md5)),
        None => format!("crc32c={crc32c}"),
    }
}

pub(crate) const fn checksum_type(whole: bool) -> &'static str {
    if whole { "FULL_OBJECT" } else { "COMPOSITE" }
}

/// The entity tag: the MD5, or what stands for it under a key of KMS.
pub(crate) fn etag(core: &Core, md5: String, serial: u64) -> String {
    if core.manners.md5_etags {
        return format!("\"{md5}\"");
    }
    format!("\"{serial:032x}\"")
}

/// Metadata of a request, within the limit of the service.
pub(crate) fn metadata(core: &Core, call: &Call) -> Result<BTreeMap<String, String>, Fail> {
    let prefix = format!("{}meta-", core.prefix());
    let mut found = BTreeMap::new();
    for name in call.headers.keys() {
        if let Some(own) = name.as_str().strip_prefix(&prefix) {
            let values = call.headers.get_all(name).iter();
            let values: Vec<_> = values
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .collect();
            found.insert(own.to_owned(), values.join(","));
        }
    }
    let bytes: usize = found
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    let most = if core.is_google() {
        MOST_METADATA_GOOGLE
    } else {
        MOST_METADATA
    };
    if bytes > most {
        return Err(Fail::new(
            400,
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
        ));
    }
    Ok(found)
}

/// The headers that are stored with an object.
pub(crate) fn stored_headers(core: &Core, call: &Call) -> BTreeMap<&'static str, String> {
    let mut found = BTreeMap::new();
    for name in STORED {
        let Some(value) = call.headers.get(*name) else {
            continue;
        };
        let mut value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        if *name == "content-encoding" {
            let kept = value
                .split(',')
                .map(str::trim)
                .filter(|coding| *coding != "aws-chunked");
            value = kept.collect::<Vec<_>>().join(",");
        }
        if !value.is_empty() {
            found.insert(*name, value);
        }
    }
    let default = if core.is_google() {
        "application/octet-stream"
    } else {
        "binary/octet-stream"
    };
    found
        .entry("content-type")
        .or_insert_with(|| default.to_owned());
    found
}

pub(crate) fn storage_class(core: &Core, call: &Call) -> String {
    call.own(core, "storage-class")
        .unwrap_or("STANDARD")
        .to_owned()
}

/// The checksum that an upload in parts begins with.
pub(crate) fn announced_algorithm(core: &Core, call: &Call) -> Option<Algorithm> {
    core.manners.checksums.then_some(())?;
    Algorithm::parse(call.header("x-amz-checksum-algorithm")?)
}

/// Keys have at most 1,024 bytes
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>).
pub(crate) fn check_key(core: &Core, key: &str) -> Result<(), Fail> {
    if core.is_google() && (key == "." || key == ".." || key.contains(['\r', '\n'])) {
        return Err(Fail::new(
            400,
            "InvalidObjectName",
            "The specified object name is not valid.",
        ));
    }
    if key.len() > 1024 {
        return Err(Fail::new(400, "KeyTooLongError", "Your key is too long"));
    }
    Ok(())
}

const STORED: &[&str] = &[
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
];

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>
const MOST_METADATA: usize = 2 * 1024;

/// <https://cloud.google.com/storage/quotas>
const MOST_METADATA_GOOGLE: usize = 8 * 1024;
