//! List Blobs (<https://learn.microsoft.com/rest/api/storageservices/list-blobs>): all objects, a page at a time.

use std::collections::HashMap;

use azure_storage_blob::models::{
    AccessTier, BlobContainerClientListBlobsOptions, ListBlobsIncludeItem,
};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::inner::{Inner, bare};
use super::metadata::object_info;
use crate::attachment::{Hex, ObjectKey};
use crate::error::Result;
use crate::storage::ObjectInfo;

pub(super) fn list(inner: &Inner, after: Option<ObjectKey>) -> BoxStream<'_, Result<ObjectInfo>> {
    let options = BlobContainerClientListBlobsOptions {
        include: Some(vec![ListBlobsIncludeItem::Metadata]),
        ..BlobContainerClientListBlobsOptions::default()
    };
    let container = inner.client.blob_container_client(&inner.target.container);
    let pages = match container.list_blobs(Some(options)) {
        Ok(pages) => pages,
        Err(error) => {
            let error = inner.fail(error, "list", &inner.target.container);
            return stream::iter([Err(error)]).boxed();
        }
    };
    pages
        .into_stream()
        .map_err(move |error| inner.fail(error, "list", &inner.target.container))
        .try_filter_map(move |item| {
            let known = item.name.as_deref().and_then(|name| name.parse().ok());
            let known = known.filter(|key| after.as_ref().is_none_or(|after| key > after));
            let info = known.and_then(|key: ObjectKey| {
                let properties = item.properties?;
                let metadata = item.metadata.and_then(|m| m.values).unwrap_or_default();
                // Names are the same in any case, and some tools write them with capitals.
                let metadata: HashMap<String, String> = metadata
                    .into_iter()
                    .map(|(name, value)| (name.to_ascii_lowercase(), value))
                    .collect();
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
