//! Get Blob, Get Blob Properties, Get Blob Metadata.

use std::sync::Arc;

use crc_fast::{CrcAlgorithm, Digest as Crc};
use http::{Response, StatusCode};
use md5::{Digest as _, Md5};
use stand_in::answer::{Answer, Fail, set, set_length, status};
use stand_in::content::Content;
use stand_in::outgoing::object;
use stand_in::wire::{self, base64_encode, crc64_text, http_date};

use crate::blob::{Call, blob_not_found, conditions, container_not_found, guards, invalid_header};
use crate::core::Core;
use crate::state::{Blob, Guard};

/// <https://learn.microsoft.com/rest/api/storageservices/get-blob>
pub(crate) fn get(core: &Arc<Core>, call: &Call) -> Result<Answer, Fail> {
    let (blob, is_snapshot, guard) = find(core, call)?;
    conditions::for_read(call, &blob)?;
    guards::for_read(call, &blob, guard)?;
    let len = blob.content.len;
    let range = requested_range(call, len)?;
    let (start, end) = range.unwrap_or((0, len));
    let checks = range_checks(call, &blob.content, range)?;
    let body = object(&core.scene, call.op, blob.content.clone(), (start, end));
    let mut answer = Response::new(body);
    describe(&mut answer, call, &blob, is_snapshot);
    set_length(&mut answer, end - start);
    let md5 = blob.properties.content_md5.as_deref();
    match range {
        None => {
            if let Some(md5) = md5 {
                set(&mut answer, "content-md5", md5);
            }
        }
        Some(_) => {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            let last = end - 1;
            set(
                &mut answer,
                "content-range",
                &format!("bytes {start}-{last}/{len}"),
            );
            if let Some(md5) = md5 {
                set(&mut answer, "x-ms-blob-content-md5", md5);
            }
        }
    }
    for (name, value) in checks {
        set(&mut answer, name, &value);
    }
    Ok(answer)
}

/// <https://learn.microsoft.com/rest/api/storageservices/get-blob-properties>
pub(crate) fn head(core: &Core, call: &Call) -> Result<Answer, Fail> {
    let (blob, is_snapshot, guard) = find(core, call)?;
    conditions::for_read(call, &blob)?;
    guards::for_look(call, guard)?;
    let mut answer = status(StatusCode::OK);
    describe(&mut answer, call, &blob, is_snapshot);
    if core.store(|store| store.versioning) {
        set(
            &mut answer,
            "x-ms-version-id",
            &wire::snapshot_time(blob.modified),
        );
        set(&mut answer, "x-ms-is-current-version", "true");
    }
    set_length(&mut answer, blob.content.len);
    if let Some(md5) = &blob.properties.content_md5 {
        set(&mut answer, "content-md5", md5);
    }
    set(
        &mut answer,
        "x-ms-access-tier",
        blob.tier.as_deref().unwrap_or("Hot"),
    );
    if blob.tier.is_none() {
        set(&mut answer, "x-ms-access-tier-inferred", "true");
    }
    Ok(answer)
}

/// <https://learn.microsoft.com/rest/api/storageservices/get-blob-metadata>
pub(crate) fn metadata(core: &Core, call: &Call) -> Result<Answer, Fail> {
    let (blob, _, guard) = find(core, call)?;
    conditions::for_read(call, &blob)?;
    guards::for_look(call, guard)?;
    let mut answer = status(StatusCode::OK);
    set(&mut answer, "etag", &blob.etag);
    set(&mut answer, "last-modified", &http_date(blob.modified));
    for (name, value) in &blob.metadata {
        set(&mut answer, &format!("x-ms-meta-{name}"), value);
    }
    Ok(answer)
}

fn find(core: &Core, call: &Call) -> Result<(Arc<Blob>, bool, Option<Guard>), Fail> {
    core.store(|store| {
        let container = store
            .containers
            .get(call.container())
            .ok_or_else(container_not_found)?;
        let entry = container.entries.get(call.blob());
        let entry = entry.ok_or_else(blob_not_found)?;
        let snapshot = call.query.value("snapshot");
        let found = match snapshot {
            Some(name) => entry.snapshots.get(name),
            None => entry.current.as_ref(),
        };
        let blob = found.map(Arc::clone).ok_or_else(blob_not_found)?;
        Ok((blob, snapshot.is_some(), entry.guard))
    })
}

/// The headers that every answer about a blob carries; those that a SAS overrides come from the URL.
fn describe(answer: &mut Answer, call: &Call, blob: &Blob, is_snapshot: bool) {
    set(answer, "etag", &blob.etag);
    set(answer, "last-modified", &http_date(blob.modified));
    set(answer, "x-ms-creation-time", &http_date(blob.created));
    set(answer, "accept-ranges", "bytes");
    set(answer, "x-ms-blob-type", blob.kind.as_str());
    set(answer, "x-ms-server-encrypted", "true");
    if !is_snapshot {
        set(answer, "x-ms-lease-status", "unlocked");
        set(answer, "x-ms-lease-state", "available");
    }
    for (name, value) in &blob.metadata {
        set(answer, &format!("x-ms-meta-{name}"), value);
    }
    let p = &blob.properties;
    let content_type = p.content_type.as_deref().unwrap_or(DEFAULT_TYPE);
    let signed = call.query.value("sig").is_some();
    for (name, stored, parameter) in [
        ("content-type", Some(content_type), "rsct"),
        ("cache-control", p.cache_control.as_deref(), "rscc"),
        (
            "content-disposition",
            p.content_disposition.as_deref(),
            "rscd",
        ),
        ("content-encoding", p.content_encoding.as_deref(), "rsce"),
        ("content-language", p.content_language.as_deref(), "rscl"),
    ] {
        let own = call.query.value(parameter).filter(|_| signed);
        if let Some(value) = own.or(stored) {
            set(answer, name, value);
        }
    }
}

/// The range as (start, end), the end not included. What the service cannot read it ignores.
fn requested_range(call: &Call, len: u64) -> Result<Option<(u64, u64)>, Fail> {
    let text = call.header("x-ms-range").or(call.header("range"));
    let Some((first, last)) = text
        .and_then(|text| text.strip_prefix("bytes="))
        .and_then(|text| text.split_once('-'))
    else {
        return Ok(None);
    };
    let Ok(start) = first.parse::<u64>() else {
        return Ok(None);
    };
    let last = match last {
        "" => u64::MAX - 1,
        text => match text.parse() {
            Ok(last) if last >= start => last,
            _ => return Ok(None),
        },
    };
    if start >= len {
        return Err(Fail::new(
            416,
            "InvalidRange",
            "The range specified is invalid for the current size of the resource.",
        )
        .header("content-range", format!("bytes */{len}")));
    }
    Ok(Some((start, (last + 1).min(len))))
}

/// The checksums of a range, on demand and for at most 4 MiB.
fn range_checks(
    call: &Call,
    content: &Content,
    range: Option<(u64, u64)>,
) -> Result<Vec<(&'static str, String)>, Fail> {
    let asked = |name: &str| {
        call.header(name)
            .is_some_and(|v| v.eq_ignore_ascii_case("true"))
    };
    let crc_asked = asked("x-ms-range-get-content-crc64");
    let md5_asked = asked("x-ms-range-get-content-md5");
    if !crc_asked && !md5_asked {
        return Ok(Vec::new());
    }
    let Some((start, end)) = range.filter(|_| crc_asked != md5_asked) else {
        return Err(invalid_header(
            "x-ms-range-get-content-crc64",
            "needs a range",
        ));
    };
    if end - start > RANGE_CHECK_BYTES {
        return Err(Fail::new(
            400,
            "OutOfRangeQueryParameterValue",
            "The range asked for is too long for a checksum of it (4 MiB).",
        ));
    }
    let mut crc = Crc::new(CrcAlgorithm::Crc64Nvme);
    let mut md5 = Md5::new();
    let mut at = start;
    while at < end {
        let most = usize::try_from(end - at)
            .unwrap_or(usize::MAX)
            .min(64 * 1024);
        let chunk = content.chunk(at, most);
        crc.update(&chunk);
        md5.update(&chunk);
        at += chunk.len() as u64;
    }
    Ok(vec![if crc_asked {
        ("x-ms-content-crc64", crc64_text(crc.finalize()))
    } else {
        ("content-md5", base64_encode(md5.finalize()))
    }])
}

const DEFAULT_TYPE: &str = "application/octet-stream";

const RANGE_CHECK_BYTES: u64 = 4 * 1024 * 1024;
