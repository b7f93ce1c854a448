//! Get Object, Head Object.

use std::sync::Arc;

use http::{Response, StatusCode};
use stand_in::answer::{Answer, Fail, set, set_length};
use stand_in::outgoing;
use stand_in::wire::http_date;
use stand_in::xml;

use crate::Op;
use crate::core::Core;
use crate::respond::{access_denied, no_such_key};
use crate::service::put::{checksum_type, google_hash};
use crate::service::{Call, conditions, empty};
use crate::state::{Bucket, Object};

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>
pub(crate) fn get(core: &Arc<Core>, call: &Call) -> Result<Answer, Fail> {
    let (object, version) = find(core, call)?;
    conditions::for_read(core, call, &object)?;
    if [AMAZON_KEY, GOOGLE_KEY]
        .iter()
        .any(|key| object.headers.contains_key(key))
    {
        return Err(key_missing(core));
    }
    if is_archived(&object) && !core.is_google() {
        return Err(invalid_state(&object));
    }
    let len = object.content.len;
    let range = requested_range(core, call, len)?;
    let (start, end) = range.unwrap_or((0, len));
    let body = outgoing::object(&core.scene, call.op, object.content.clone(), (start, end));
    let mut answer = Response::new(body);
    describe(
        core,
        call,
        &mut answer,
        &object,
        version.as_deref(),
        range.is_none(),
    );
    set_length(&mut answer, end - start);
    if range.is_some() {
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        let last = end - 1;
        set(
            &mut answer,
            "content-range",
            &format!("bytes {start}-{last}/{len}"),
        );
    }
    Ok(answer)
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>
pub(crate) fn head(core: &Core, call: &Call) -> Result<Answer, Fail> {
    let (object, version) = find(core, call)?;
    conditions::for_read(core, call, &object)?;
    // Google tells of it without the key.
    if object.headers.contains_key(AMAZON_KEY) {
        return Err(key_missing(core));
    }
    let mut answer = empty(StatusCode::OK);
    describe(core, call, &mut answer, &object, version.as_deref(), true);
    set_length(&mut answer, object.content.len);
    Ok(answer)
}

fn find(core: &Core, call: &Call) -> Result<(Arc<Object>, Option<String>), Fail> {
    core.store(|store| {
        let bucket = call.bucket(core, store)?;
        found(
            core,
            bucket,
            call.key(),
            call.query.value("versionId"),
            call.query.value("generation"),
        )
    })
}

/// What is under a key, or under one version of it. Without the right to list, a key that is missing looks like one
/// that is forbidden.
pub(crate) fn found(
    core: &Core,
    bucket: &Bucket,
    key: &str,
    version: Option<&str>,
    generation: Option<&str>,
) -> Result<(Arc<Object>, Option<String>), Fail> {
    let missing = || {
        if core.may(Op::ListObjectsV2) {
            no_such_key(key)
        } else {
            access_denied()
        }
    };
    let entry = bucket.entries.get(key).ok_or_else(missing)?;
    let is_wanted = |id: &str, object: Option<&Arc<Object>>| match (version, generation) {
        (Some(wanted), _) => wanted == id,
        (None, Some(wanted)) => {
            object.is_some_and(|object| object.generation.to_string() == wanted)
        }
        (None, None) => true,
    };
    let mut versions = entry.versions.iter().rev();
    let found = versions.find(|held| is_wanted(&held.id, held.object.as_ref()));
    let found = found.ok_or_else(|| match version {
        Some(_) => Fail::new(
            404,
            "NoSuchVersion",
            "The specified version does not exist.",
        ),
        None => missing(),
    })?;
    let named = bucket.versioning != crate::Versioning::Off;
    match &found.object {
        Some(object) => Ok((Arc::clone(object), named.then(|| found.id.clone()))),
        None if version.is_some() => Err(Fail::new(
            405,
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
        )
        .header("x-amz-delete-marker", "true")),
        None => Err(missing()
            .header("x-amz-delete-marker", "true")
            .header("x-amz-version-id", found.id.clone())),
    }
}

fn describe(
    core: &Core,
    call: &Call,
    answer: &mut Answer,
    object: &Object,
    version: Option<&str>,
    whole: bool,
) {
    set(answer, "etag", &object.etag);
    set(answer, "last-modified", &http_date(object.modified));
    set(answer, "accept-ranges", "bytes");
    for (name, value) in &object.metadata {
        set(answer, &format!("{}meta-{name}", core.prefix()), value);
    }
    for (name, value) in &object.headers {
        set(answer, name, value);
    }
    for name in OVERRIDES {
        if let Some(value) = call.query.value(&format!("response-{name}")) {
            set(answer, name, value);
        }
    }
    if core.is_google() {
        set(answer, "x-goog-generation", &object.generation.to_string());
        set(answer, "x-goog-metageneration", "1");
        set(answer, "x-goog-hash", &google_hash(object));
        set(
            answer,
            "x-goog-stored-content-length",
            &object.content.len.to_string(),
        );
        let encoding = object
            .headers
            .get("content-encoding")
            .map_or("identity", String::as_str);
        set(answer, "x-goog-stored-content-encoding", encoding);
        set(answer, "x-goog-storage-class", &object.storage_class);
        return;
    }
    set(answer, "x-amz-server-side-encryption", "AES256");
    if let Some(version) = version {
        set(answer, "x-amz-version-id", version);
    }
    if object.storage_class != "STANDARD" {
        set(answer, "x-amz-storage-class", &object.storage_class);
    }
    let asked = call
        .header("x-amz-checksum-mode")
        .is_some_and(|mode| mode.eq_ignore_ascii_case("enabled"));
    if let Some((algorithm, text, of_whole)) = object.checksum.as_ref().filter(|_| asked && whole) {
        set(answer, algorithm.header(), text);
        set(answer, "x-amz-checksum-type", checksum_type(*of_whole));
    }
}

pub(crate) fn is_archived(object: &Object) -> bool {
    matches!(object.storage_class.as_str(), "GLACIER" | "DEEP_ARCHIVE")
}

/// Stored with an object that only its writer has the key of.
pub(crate) const AMAZON_KEY: &str = "x-amz-server-side-encryption-customer-algorithm";

/// The same at Google (<https://cloud.google.com/storage/docs/encryption/customer-supplied-keys>).
pub(crate) const GOOGLE_KEY: &str = "x-goog-encryption-key-sha256";

fn key_missing(core: &Core) -> Fail {
    match core.is_google() {
        true => Fail::new(
            400,
            "ResourceIsEncryptedWithCustomerEncryptionKey",
            "The resource is encrypted with a customer encryption key.",
        ),
        false => Fail::new(
            400,
            "InvalidRequest",
            "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.",
        ),
    }
}

fn invalid_state(object: &Object) -> Fail {
    Fail::new(
        403,
        "InvalidObjectState",
        "The operation is not valid for the object's storage class",
    )
    .detail(xml::element("StorageClass", &object.storage_class))
}

/// The range as (start, end), the end not included. What the service cannot read it ignores; several ranges, too.
fn requested_range(core: &Core, call: &Call, len: u64) -> Result<Option<(u64, u64)>, Fail> {
    let Some(text) = call.header("range") else {
        return Ok(None);
    };
    let Some((first, last)) = text
        .strip_prefix("bytes=")
        .and_then(|text| text.split_once('-'))
    else {
        return Ok(None);
    };
    let (start, end) = match (first.trim().parse::<u64>(), last.trim()) {
        (Ok(start), "") => (start, len),
        (Ok(start), last) => match last.parse::<u64>() {
            Ok(last) if last >= start => (start, last.saturating_add(1).min(len)),
            _ => return Ok(None),
        },
        (Err(_), last) if first.trim().is_empty() => match last.parse::<u64>() {
            Ok(0) => return Err(unsatisfiable(core, text, len)),
            Ok(suffix) => (len.saturating_sub(suffix), len),
            Err(_) => return Ok(None),
        },
        _ => return Ok(None),
    };
    if start >= len {
        return Err(unsatisfiable(core, text, len));
    }
    Ok(Some((start, end)))
}

fn unsatisfiable(core: &Core, asked: &str, len: u64) -> Fail {
    let fail = Fail::new(
        416,
        "InvalidRange",
        "The requested range is not satisfiable",
    )
    .detail(
        xml::element("RangeRequested", asked) + &xml::element("ActualObjectSize", &len.to_string()),
    );
    // Amazon documents the size in the body only.
    if core.is_google() {
        return fail.header("content-range", format!("bytes */{len}"));
    }
    fail
}

/// What a signed URL may say instead of what is stored.
const OVERRIDES: [&str; 6] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
];
