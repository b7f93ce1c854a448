//! List Blobs (<https://learn.microsoft.com/rest/api/storageservices/list-blobs>): all objects, a page at a time.
//!
//! Snapshots, versions and what was deleted softly are not asked for: they are no objects of their own.

use std::collections::HashMap;

use azure_storage_blob::models::{
    AccessTier, BlobContainerClientListBlobsOptions, BlobItem, BlobMetadata, BlobProperties,
    BlobType, ListBlobsIncludeItem,
};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::inner::{Inner, bare};
use super::metadata::object_info;
use crate::attachment::{Hex, ObjectKey};
use crate::error::Result;
use crate::storage::listed::encoded;
use crate::storage::{ListedObject, ObjectInfo, Unfit};

pub(super) fn list(inner: &Inner, after: Option<ObjectKey>) -> BoxStream<'_, Result<ObjectInfo>> {
    blobs(inner, None)
        .try_filter_map(move |item| {
            let known = item.name.as_deref().and_then(|name| name.parse().ok());
            let known = known.filter(|key| after.as_ref().is_none_or(|after| key > after));
            let info = known.and_then(|key: ObjectKey| {
                let properties = item.properties?;
                let metadata = metadata_of(item.metadata);
                if is_folder(&metadata) {
                    return None;
                }
                let md5 = properties.content_md5.and_then(|md5| md5.try_into().ok());
                Some(ObjectInfo {
                    store_tag: properties.etag.map(|tag| bare(tag.as_ref())),
                    archived: properties.access_tier == Some(AccessTier::Archive),
                    ..object_info(
                        key,
                        properties.content_length?,
                        |name| metadata.get(name).map(String::as_str),
                        md5.map(Hex),
                    )
                })
            });
            futures::future::ready(Ok(info))
        })
        .boxed()
}

/// As [`list`], of every name. Within a page the service orders names by their bytes, and pages as well.
pub(super) fn list_all<'a>(inner: &'a Inner, prefix: &str) -> BoxStream<'a, Result<ListedObject>> {
    let prefix = Some(prefix).filter(|prefix| !prefix.is_empty());
    blobs(inner, prefix.map(str::to_owned))
        .try_filter_map(move |item| {
            let listed = item.name.zip(item.properties).map(|(name, properties)| {
                let metadata = metadata_of(item.metadata);
                ListedObject {
                    unfit: unfit(&name, &properties, &metadata),
                    has_facts: metadata.contains_key("id") && metadata.contains_key("sha256"),
                    size: properties.content_length.unwrap_or(0),
                    modified_at: properties.last_modified,
                    content_type: properties.content_type,
                    disposition: properties.content_disposition,
                    name,
                }
            });
            futures::future::ready(Ok(listed))
        })
        .boxed()
}

/// What keeps a blob from being an attachment. Leases, holds and retention do not: they keep it from being deleted.
fn unfit(
    name: &str,
    properties: &BlobProperties,
    metadata: &HashMap<String, String>,
) -> Option<Unfit> {
    let is_empty = properties.content_length.unwrap_or(0) == 0;
    if is_folder(metadata) || (name.ends_with('/') && is_empty) {
        return Some(Unfit::Folder);
    }
    match properties.blob_type {
        Some(BlobType::AppendBlob) => return Some(Unfit::Appended),
        Some(BlobType::PageBlob) => return Some(Unfit::Paged),
        _ => {}
    }
    if properties.access_tier == Some(AccessTier::Archive) {
        return Some(Unfit::Archived);
    }
    if properties.encryption_key_sha256.is_some() {
        return Some(Unfit::CustomerKey);
    }
    encoded(properties.content_encoding.as_deref())
}

/// What stands for a folder in accounts with a hierarchical namespace, and what azcopy puts into others.
fn is_folder(metadata: &HashMap<String, String>) -> bool {
    let mark = metadata.get("hdi_isfolder");
    mark.is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

fn blobs(inner: &Inner, prefix: Option<String>) -> BoxStream<'_, Result<BlobItem>> {
    let options = BlobContainerClientListBlobsOptions {
        include: Some(vec![ListBlobsIncludeItem::Metadata]),
        prefix,
        ..BlobContainerClientListBlobsOptions::default()
    };
    let container = inner.client.blob_container_client(&inner.target.container);
    match container.list_blobs(Some(options)) {
        Ok(pages) => pages
            .into_stream()
            .map_err(move |error| inner.fail(error, "list", &inner.target.container))
            .boxed(),
        Err(error) => {
            let error = inner.fail(error, "list", &inner.target.container);
            stream::iter([Err(error)]).boxed()
        }
    }
}

/// Names are the same in any case, and some tools write them with capitals.
fn metadata_of(metadata: Option<BlobMetadata>) -> HashMap<String, String> {
    let metadata = metadata.and_then(|m| m.values).unwrap_or_default();
    metadata
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect()
}
