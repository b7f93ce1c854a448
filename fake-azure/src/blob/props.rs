//! What changes a blob without its bytes: metadata, properties, tier, snapshots, deletion.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;

pub(crate) use crate::state::Properties;

use crate::blob::{Call, blob_not_found, conditions, container_not_found, guards, invalid_header};
use crate::core::Core;
use crate::op::Op;
use crate::state::{Blob, Entry, Guard};
use stand_in::answer::{Answer, Fail, set, status};
use stand_in::wire::{http_date, snapshot_time};

/// The stored headers that a request carries. Only Put Blob reads `Content-Type` for them.
pub(crate) fn headers_of(call: &Call, put_blob: bool) -> Properties {
    let own = |name: &str| call.header(name).map(str::to_owned);
    let either = |name: &str| {
        own(&format!("x-ms-blob-{name}")).or_else(|| put_blob.then(|| own(name)).flatten())
    };
    Properties {
        content_type: either("content-type"),
        cache_control: either("cache-control"),
        content_disposition: own("x-ms-blob-content-disposition"),
        content_encoding: either("content-encoding"),
        content_language: either("content-language"),
        content_md5: own("x-ms-blob-content-md5"),
    }
}

/// The `x-ms-meta-*` headers. Names must be C identifiers, and all of it at most 8 KiB.
pub(crate) fn metadata_of(call: &Call) -> Result<BTreeMap<String, String>, Fail> {
    let mut found = BTreeMap::new();
    let mut bytes = 0;
    for (name, value) in &call.headers {
        let Some(name) = name.as_str().strip_prefix("x-ms-meta-") else {
            continue;
        };
        let identifier = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let Ok(value) = value.to_str() else {
            return Err(invalid_header("x-ms-meta", "not ASCII"));
        };
        if !identifier {
            return Err(Fail::new(
                400,
                "InvalidMetadata",
                "The metadata specified is invalid. It has characters that are not permitted.",
            ));
        }
        bytes += name.len() + value.len();
        found.insert(name.to_owned(), value.to_owned());
    }
    if bytes > 8 * 1024 {
        return Err(Fail::new(
            400,
            "MetadataTooLarge",
            "The metadata specified exceeds the maximum permissible limit.",
        ));
    }
    Ok(found)
}

pub(crate) fn set_metadata(core: &Core, call: &Call) -> Result<Answer, Fail> {
    let metadata = metadata_of(call)?;
    change(core, call, |blob| blob.metadata = metadata)
}

pub(crate) fn set_properties(core: &Core, call: &Call) -> Result<Answer, Fail> {
    change(core, call, |blob| blob.properties = headers_of(call, false))
}

pub(crate) fn set_tier(core: &Core, call: &Call) -> Result<Answer, Fail> {
    let tier = call.header("x-ms-access-tier").map(str::to_owned);
    change(core, call, |blob| blob.tier = tier)
}

fn change(core: &Core, call: &Call, with: impl FnOnce(&mut Blob)) -> Result<Answer, Fail> {
    let now = core.scene.now();
    core.store(|store| {
        let etag = store.next_etag();
        let container = store
            .containers
            .get_mut(call.container())
            .ok_or_else(container_not_found)?;
        let policy = container.guard;
        let entry = container.entries.get_mut(call.blob());
        let entry = entry.ok_or_else(blob_not_found)?;
        let guard = entry.guard;
        let current = entry.current.as_mut().ok_or_else(blob_not_found)?;
        conditions::for_write(call, Some(current))?;
        // A tier may be changed whatever it is; it is how an archived blob comes back.
        if call.op != Op::SetBlobTier {
            guards::for_write(call, policy, guard, Some(current))?;
        }
        let blob = Arc::make_mut(current);
        with(blob);
        blob.etag = etag;
        blob.modified = now;
        let mut answer = status(StatusCode::OK);
        set(&mut answer, "etag", &blob.etag);
        set(&mut answer, "last-modified", &http_date(blob.modified));
        Ok(answer)
    })
}

/// <https://learn.microsoft.com/rest/api/storageservices/snapshot-blob>
pub(crate) fn snapshot(core: &Core, call: &Call) -> Result<Answer, Fail> {
    let metadata = metadata_of(call)?;
    let now = core.scene.now();
    core.store(|store| {
        let name = snapshot_time(store.next_snapshot_time(now));
        let container = store
            .containers
            .get_mut(call.container())
            .ok_or_else(container_not_found)?;
        let entry = container.entries.get_mut(call.blob());
        let entry = entry.ok_or_else(blob_not_found)?;
        let current = entry.current.as_ref().ok_or_else(blob_not_found)?;
        conditions::for_write(call, Some(current))?;
        let mut copy = Blob::clone(current);
        if !metadata.is_empty() {
            copy.metadata = metadata;
        }
        let mut answer = status(StatusCode::CREATED);
        set(&mut answer, "x-ms-snapshot", &name);
        set(&mut answer, "etag", &copy.etag);
        set(&mut answer, "last-modified", &http_date(copy.modified));
        entry.snapshots.insert(name, Arc::new(copy));
        Ok(answer)
    })
}

/// <https://learn.microsoft.com/rest/api/storageservices/delete-blob>
pub(crate) fn delete(core: &Core, call: &Call) -> Result<Answer, Fail> {
    core.store(|store| {
        let container = store
            .containers
            .get_mut(call.container())
            .ok_or_else(container_not_found)?;
        let entry = container.entries.get_mut(call.blob());
        let entry = entry.ok_or_else(blob_not_found)?;
        delete_from(container.guard, entry, call)?;
        if entry.is_empty() {
            container.entries.remove(call.blob());
        }
        let mut answer = status(StatusCode::ACCEPTED);
        set(&mut answer, "x-ms-delete-type-permanent", "true");
        Ok(answer)
    })
}

fn delete_from(policy: Option<Guard>, entry: &mut Entry, call: &Call) -> Result<(), Fail> {
    let with_snapshots = call.header("x-ms-delete-snapshots");
    if let Some(name) = call.query.value("snapshot") {
        if with_snapshots.is_some() {
            return Err(invalid_header("x-ms-delete-snapshots", "with a snapshot"));
        }
        return entry
            .snapshots
            .remove(name)
            .map(drop)
            .ok_or_else(blob_not_found);
    }
    let current = entry.current.as_deref().ok_or_else(blob_not_found)?;
    conditions::for_write(call, Some(current))?;
    guards::for_delete(call, policy, entry.guard)?;
    match with_snapshots {
        Some("only") => {
            entry.snapshots.clear();
            return Ok(());
        }
        Some("include") => entry.snapshots.clear(),
        Some(other) => return Err(invalid_header("x-ms-delete-snapshots", other)),
        None if !entry.snapshots.is_empty() => {
            return Err(Fail::new(
                409,
                "SnapshotsPresent",
                "This operation is not permitted because the blob has snapshots.",
            ));
        }
        None => {}
    }
    entry.current = None;
    entry.staged.clear();
    Ok(())
}
