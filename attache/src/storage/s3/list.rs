//! All objects, a page at a time. A page has no metadata, so every object of it is asked for its own, several at a time and in order.

use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};

use super::inner::Inner;
use super::metadata::head_info;
use super::page::{Listed, Next};
use crate::attachment::ObjectKey;
use crate::error::{ErrorKind, Result};
use crate::storage::ObjectInfo;

/// How many objects are asked at a time.
pub(super) const CONCURRENCY: usize = 16;

pub(super) fn list(inner: &Inner, after: Option<ObjectKey>) -> BoxStream<'_, Result<ObjectInfo>> {
    let start = after
        .as_ref()
        .map(|key| ("start-after", key.as_str().to_owned()));
    let first: Next = start.into_iter().collect();
    inner
        .entries(Listed::Objects, "", first)
        .map_err(|fault| inner.fail(fault, "list", &inner.place.bucket))
        .try_filter_map(move |entry| {
            let known: Option<ObjectKey> = entry.key.parse().ok();
            // Some stores ignore where a list is to begin.
            let known = known.filter(|key| after.as_ref().is_none_or(|after| key > after));
            std::future::ready(Ok(known.map(|key| (key, entry.size))))
        })
        .map(move |known: Result<(ObjectKey, u64)>| async move {
            let (key, size) = known?;
            listed(inner, key, size).await
        })
        .buffered(CONCURRENCY)
        .try_filter_map(|info| std::future::ready(Ok(info)))
        .boxed()
}

/// What is known of an object that a page has. One of which nobody but its writer can know more is listed all the same, without facts.
async fn listed(inner: &Inner, key: ObjectKey, size: u64) -> Result<Option<ObjectInfo>> {
    let known = info(inner, &key).await;
    match known {
        Err(error) if error.kind() == ErrorKind::CustomerKey => {
            Ok(Some(ObjectInfo::of_size(key, size)))
        }
        known => known,
    }
}

/// What is known of an object; `None` if it is not there.
///
/// # Errors
///
/// [`CustomerKey`](ErrorKind::CustomerKey) if not even that can be read.
pub(super) async fn info(inner: &Inner, key: &ObjectKey) -> Result<Option<ObjectInfo>> {
    match inner.look(key.as_str(), "head").await? {
        Some(headers) => head_info(inner.place.dialect, key, &headers).map(Some),
        None => Ok(None),
    }
}
