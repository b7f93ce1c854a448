//! Everything in the bucket, whoever put it there: names from one listing, a page at a time, and what lies beside the bytes from a HEAD
//! of each, several at a time and in order.
//!
//! A page tells neither the type of an object nor its name for people, and not whether what was archived was restored.

use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use http::header::{
    CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, LAST_MODIFIED,
};

use super::dialect::Dialect;
use super::inner::Inner;
use super::list::CONCURRENCY;
use super::metadata::{is_archived, size};
use super::page::{Entry, Listed, Next};
use super::staging::{PIECES, UPLOADS};
use crate::error::{ErrorKind, Result};
use crate::storage::listed::{encoded, written_at};
use crate::storage::{ListedObject, Unfit};

pub(super) fn list_all<'a>(inner: &'a Inner, prefix: &str) -> BoxStream<'a, Result<ListedObject>> {
    inner
        .entries(Listed::Objects, prefix, Next::new())
        .map_err(|fault| inner.fail(fault, "list", &inner.place.bucket))
        .try_filter(|entry| {
            let is_piece = [PIECES, UPLOADS]
                .iter()
                .any(|ours| entry.key.starts_with(ours));
            std::future::ready(!is_piece)
        })
        .map(move |entry| async move { look(inner, entry?).await })
        .buffered(CONCURRENCY)
        .try_filter_map(|listed| std::future::ready(Ok(listed)))
        .boxed()
}

/// What is known of an object; `None` if it is gone meanwhile.
async fn look(inner: &Inner, entry: Entry) -> Result<Option<ListedObject>> {
    let Entry {
        key: name, size, ..
    } = entry;
    let headers = inner.look(&name, "head").await;
    match headers {
        Ok(None) => Ok(None),
        Ok(Some(headers)) => listed(inner.place.dialect, name, &headers).map(Some),
        Err(error) if error.kind() == ErrorKind::CustomerKey => Ok(Some(ListedObject {
            name,
            size,
            modified_at: None,
            content_type: None,
            disposition: None,
            has_facts: false,
            unfit: Some(Unfit::CustomerKey),
        })),
        Err(error) => Err(error),
    }
}

fn listed(dialect: Dialect, name: String, headers: &HeaderMap) -> Result<ListedObject> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::to_owned);
    let metadata =
        |name: &str| headers.contains_key(format!("{}{name}", dialect.metadata_prefix()));
    let size = size(dialect, headers).map_err(|error| error.during("head", name.as_str()))?;
    let modified = text(LAST_MODIFIED);
    let modified = modified.and_then(|date| httpdate::parse_http_date(&date).ok());
    Ok(ListedObject {
        unfit: unfit(dialect, &name, size, headers),
        has_facts: metadata("id") && metadata("sha256"),
        modified_at: modified.and_then(written_at),
        content_type: text(CONTENT_TYPE),
        disposition: text(CONTENT_DISPOSITION),
        size,
        name,
    })
}

/// What keeps an object from being an attachment. Locks, holds and retention do not: they keep it from being deleted.
fn unfit(dialect: Dialect, name: &str, size: u64, headers: &HeaderMap) -> Option<Unfit> {
    // What consoles put where somebody makes a folder.
    if name.ends_with('/') && size == 0 {
        return Some(Unfit::Folder);
    }
    if is_archived(dialect, headers) {
        return Some(Unfit::Archived);
    }
    // Google tells of those without their key.
    if headers.contains_key("x-goog-encryption-key-sha256") {
        return Some(Unfit::CustomerKey);
    }
    let coding = headers.get(CONTENT_ENCODING);
    encoded(coding.map(|coding| coding.to_str().unwrap_or("unknown")))
}
