//! Put Blob, Put Block, Put Block List.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use hyper::body::Incoming;
use stand_in::answer::{Answer, Fail, Stop, set, status};
use stand_in::content::{Content, Piece};
use stand_in::wire::{base64_decode, base64_encode, crc64_text, http_date};
use stand_in::xml;

use crate::blob::props::{self, headers_of};
use crate::blob::{Call, conditions, container_not_found, guards, invalid_header, receive};
use crate::core::Core;
use crate::sas;
use crate::state::{Blob, Entry, Store};

/// <https://learn.microsoft.com/rest/api/storageservices/put-blob>
pub(crate) async fn put_blob(
    core: &Arc<Core>,
    call: &Call,
    body: Incoming,
) -> Result<Answer, Stop> {
    if call.headers.contains_key("x-ms-structured-body") {
        return Err(unsupported("x-ms-structured-body"));
    }
    if call.headers.contains_key("x-ms-copy-source") {
        return Err(unsupported("x-ms-copy-source"));
    }
    match call.header("x-ms-blob-type") {
        Some("BlockBlob") => {}
        Some(other) => return Err(invalid_header("x-ms-blob-type", other).into()),
        None => {
            return Err(Fail::new(
                400,
                "MissingRequiredHeader",
                "An HTTP header that's mandatory for this request is not specified. x-ms-blob-type",
            )
            .into());
        }
    }
    let metadata = props::metadata_of(call)?;
    let piece = receive::content(core, call, body, PUT_BLOB_BYTES, true).await?;
    let (crc, md5) = (piece.crc64, piece.md5.map(base64_encode));
    let mut properties = headers_of(call, true);
    properties.content_md5 = properties.content_md5.or_else(|| md5.clone());
    let content = Content::new(vec![piece], core.retention);
    let blob = core.store(|store| {
        replace(
            core,
            call,
            store,
            |_| Ok(content),
            |blob| {
                blob.properties = properties;
                blob.metadata = metadata;
                blob.tier = call.header("x-ms-access-tier").map(str::to_owned);
            },
        )
    })?;
    let mut answer = created(&blob);
    set(&mut answer, "x-ms-content-crc64", &crc64_text(crc));
    if let Some(md5) = md5 {
        set(&mut answer, "content-md5", &md5);
    }
    Ok(answer)
}

/// <https://learn.microsoft.com/rest/api/storageservices/put-block>
pub(crate) async fn put_block(
    core: &Arc<Core>,
    call: &Call,
    body: Incoming,
) -> Result<Answer, Stop> {
    if call.headers.contains_key("x-ms-structured-body") {
        return Err(unsupported("x-ms-structured-body"));
    }
    let id = call.query.or_empty("blockid").to_owned();
    let bytes = base64_decode(&id).filter(|raw| (1..=64).contains(&raw.len()));
    if bytes.is_none() {
        return Err(Fail::new(
            400,
            "InvalidQueryParameterValue",
            "Value for one of the query parameters specified in the request URI is invalid. blockid: Not a valid base64 string.",
        )
        .into());
    }
    let mut piece = receive::content(core, call, body, PUT_BLOCK_BYTES, false).await?;
    let mut answer = status(StatusCode::CREATED);
    set(&mut answer, "x-ms-request-server-encrypted", "true");
    set(&mut answer, "x-ms-content-crc64", &crc64_text(piece.crc64));
    if let Some(md5) = piece.md5 {
        set(&mut answer, "content-md5", &base64_encode(md5));
    }
    piece.id.clone_from(&id);
    core.store(|store| {
        let container = store
            .containers
            .get_mut(call.container())
            .ok_or_else(container_not_found)?;
        let entry = container.entries.entry(call.blob().to_owned()).or_default();
        let result = stage(entry, id, piece);
        if entry.is_empty() {
            container.entries.remove(call.blob());
        }
        result
    })?;
    Ok(answer)
}

fn stage(entry: &mut Entry, id: String, piece: Piece) -> Result<(), Fail> {
    let committed = entry.current.as_deref().filter(|blob| blob.of_blocks);
    let committed = committed.map(|blob| blob.content.pieces.as_slice());
    let ids = entry
        .staged
        .keys()
        .chain(committed.unwrap_or_default().iter().map(|piece| &piece.id));
    // The encoded ids may have one length where the decoded ones have not.
    let length = |id: &str| base64_decode(id).map(|raw| raw.len());
    if ids.into_iter().any(|other| length(other) != length(&id)) {
        return Err(Fail::new(
            400,
            "InvalidBlobOrBlock",
            "The specified blob or block content is invalid. Block ids must have one length.",
        ));
    }
    if entry.staged.len() >= STAGED_BLOCKS && !entry.staged.contains_key(&id) {
        return Err(Fail::new(
            409,
            "BlockCountExceedsLimit",
            "The uncommitted block count cannot exceed the maximum limit of 100,000 blocks.",
        ));
    }
    entry.staged.insert(id, piece);
    Ok(())
}

/// <https://learn.microsoft.com/rest/api/storageservices/put-block-list>
pub(crate) async fn put_block_list(
    core: &Arc<Core>,
    call: &Call,
    body: Incoming,
) -> Result<Answer, Stop> {
    let metadata = props::metadata_of(call)?;
    let (document, crc) = receive::document(core, call, body).await?;
    let wanted: Vec<(String, String)> = xml::leaves(&document)
        .into_iter()
        .filter(|(kind, _)| matches!(kind.as_str(), "Latest" | "Committed" | "Uncommitted"))
        .collect();
    if !document.contains("<BlockList") {
        return Err(Fail::new(400, "InvalidXmlDocument", "XML specified is not valid.").into());
    }
    if wanted.len() > COMMITTED_BLOCKS {
        return Err(Fail::new(
            400,
            "BlockListTooLong",
            "The block list may not contain more than 50,000 blocks.",
        )
        .into());
    }
    let blob = core.store(|store| {
        let content = |entry: &Entry| {
            let pieces = resolve(entry, &wanted)?;
            Ok(Content::new(pieces, core.retention))
        };
        replace(core, call, store, content, |blob| {
            blob.properties = headers_of(call, false);
            blob.metadata = metadata;
            blob.of_blocks = true;
            blob.tier = call.header("x-ms-access-tier").map(str::to_owned);
        })
    })?;
    let mut answer = created(&blob);
    set(&mut answer, "x-ms-content-crc64", &crc64_text(crc));
    Ok(answer)
}

/// Finds each block where its kind says to look.
fn resolve(entry: &Entry, wanted: &[(String, String)]) -> Result<Vec<Piece>, Fail> {
    let committed: BTreeMap<&str, &Piece> = entry
        .current
        .iter()
        .filter(|blob| blob.of_blocks)
        .flat_map(|blob| &blob.content.pieces)
        .map(|piece| (piece.id.as_str(), piece))
        .collect();
    wanted
        .iter()
        .map(|(kind, id)| {
            let staged = entry.staged.get(id);
            let old = committed.get(id.as_str()).copied();
            let found = match kind.as_str() {
                "Latest" => staged.or(old),
                "Uncommitted" => staged,
                _ => old,
            };
            found.cloned().ok_or_else(|| {
                Fail::new(
                    400,
                    "InvalidBlockList",
                    "The specified block list is invalid.",
                )
            })
        })
        .collect()
}

/// Puts a new blob in the place of whatever was there, if the conditions allow it. Staged blocks that
/// it does not use are gone, as with the service.
fn replace(
    core: &Core,
    call: &Call,
    store: &mut Store,
    content: impl FnOnce(&Entry) -> Result<Content, Fail>,
    fill: impl FnOnce(&mut Blob),
) -> Result<Arc<Blob>, Fail> {
    let etag = store.next_etag();
    let container = store
        .containers
        .get_mut(call.container())
        .ok_or_else(container_not_found)?;
    let nothing = Entry::default();
    let entry = container.entries.get(call.blob()).unwrap_or(&nothing);
    let existing = entry.current.as_deref();
    if existing.is_some() && sas::creates_only(call) {
        return Err(Fail::new(
            403,
            "UnauthorizedBlobOverwrite",
            "This request is not authorized to perform blob overwrites.",
        ));
    }
    conditions::for_write(call, existing)?;
    guards::for_write(call, container.guard, entry.guard, existing)?;
    let now = core.scene.now();
    let mut blob = Blob {
        content: content(entry)?,
        etag,
        created: entry.current.as_ref().map_or(now, |old| old.created),
        modified: now,
        metadata: BTreeMap::new(),
        properties: props::Properties::default(),
        tier: None,
        kind: crate::state::BlobKind::Block,
        of_blocks: false,
    };
    fill(&mut blob);
    let blob = Arc::new(blob);
    let entry = container.entries.entry(call.blob().to_owned()).or_default();
    entry.staged.clear();
    entry.current = Some(Arc::clone(&blob));
    Ok(blob)
}

fn created(blob: &Blob) -> Answer {
    let mut answer = status(StatusCode::CREATED);
    set(&mut answer, "etag", &blob.etag);
    set(&mut answer, "last-modified", &http_date(blob.modified));
    set(&mut answer, "x-ms-request-server-encrypted", "true");
    answer
}

fn unsupported(name: &str) -> Stop {
    let message = format!("One of the HTTP headers is not supported here: {name}");
    Fail::new(400, "UnsupportedHeader", &message).into()
}

/// Limits of the service: <https://learn.microsoft.com/azure/storage/blobs/scalability-targets>.
const PUT_BLOB_BYTES: u64 = 5000 * 1024 * 1024;
const PUT_BLOCK_BYTES: u64 = 4000 * 1024 * 1024;
const STAGED_BLOCKS: usize = 100_000;
const COMMITTED_BLOCKS: usize = 50_000;
