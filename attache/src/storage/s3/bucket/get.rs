//! An object, or a part of it, as one stream of one version; and what is kept beside it, written again.

use std::sync::Arc;

use super::super::compose::Whole;
use super::super::dialect::Dialect;
use super::super::facts::copy;
use super::super::get::ask;
use super::super::inner::Inner;
use super::super::plan::MAX_PART_BYTES;
use super::super::staging::Piece;
use super::name::folder_of;
use super::seen::{Seen, look, pinned_to, to_headers};
use crate::attachment::ByteRange;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::bucket::facts::Facts;
use crate::storage::bucket::{Entry, Key, Opened, Properties, Version, absent, unfulfilled};
use crate::transfer::budget::Budget;

pub(super) async fn get(
    inner: &Arc<Inner>,
    key: &Key,
    range: Option<ByteRange>,
    version: Option<&Version>,
) -> Result<Opened> {
    let dialect = inner.place.dialect;
    let pinned = match version {
        Some(version) => Some(pinned_to(dialect, version).ok_or_else(|| unfulfilled(key))?),
        None => None,
    };
    let asked = match ask(inner, key.as_str(), range, pinned.as_ref()).await {
        Ok(asked) => asked,
        Err(error) if error.kind() == ErrorKind::PreconditionFailed => {
            let seen = look(inner, key, "get").await?;
            return Err(seen.map_or_else(|| absent(key), |_| unfulfilled(key)));
        }
        Err(error) => return Err(error),
    };
    let seen = Seen::of(dialect, &asked.opened.headers, asked.size);
    // The same bytes may have been put again: the store does not know that as another version.
    if version.is_some_and(|version| *version != seen.version()) {
        return Err(unfulfilled(key));
    }
    Ok(Opened {
        entry: seen.entry(key),
        range: asked.range,
        body: asked.body(inner, key.as_str()).await?,
    })
}

/// The object is copied onto itself with other metadata, if it is still the same.
pub(super) async fn set_properties(
    inner: &Inner,
    key: &Key,
    version: &Version,
    properties: &Properties,
) -> Result<Entry> {
    let fail = |fault| inner.fail(fault, "set_properties", key.as_str());
    let seen = look(inner, key, "set_properties").await?;
    let seen = seen.ok_or_else(|| absent(key))?;
    if seen.version() != *version {
        return Err(unfulfilled(key));
    }
    let pinned = seen.pinned();
    let pinned = pinned.ok_or_else(|| Error::internal("the object has no version"))?;
    let facts = Facts::of(&seen.entry(key));
    let attempt = uuid::Uuid::now_v7().simple().to_string();
    let dialect = inner.place.dialect;
    let headers = to_headers(dialect, &facts, properties, &attempt)?;
    // A copy as a whole has the MD5 for its entity tag, by which a listing would tell an object of parts as another one.
    let of_parts = facts.etag.contains('-') && facts.size > 0;
    let written = match dialect == Dialect::S3 && (of_parts || facts.size > MAX_PART_BYTES) {
        true => {
            let whole = Whole {
                key: key.as_str(),
                headers: &headers,
                condition: Some(&pinned.condition).filter(|_| inner.place.conditional_writes),
                crc64: facts.crc64,
                folder: &folder_of(key, &attempt),
            };
            let itself = vec![Piece::whole(key.as_str().to_owned(), facts.size)];
            // One piece is copied, and takes no memory.
            inner.compose(&whole, itself, &Budget::new(0)).await
        }
        false => copy(inner, key.as_str(), &headers, pinned).await,
    };
    let taken = match written {
        Ok(_) => None,
        Err(fault) if fault.is_taken() || fault.is_upload_missing() => Some(fault),
        Err(fault) => return Err(fail(fault)),
    };
    match (look(inner, key, "set_properties").await?, taken) {
        (Some(now), _) if now.attempt() == Some(&attempt) => Ok(now.entry(key)),
        // What was written was there, and something else is now.
        (Some(now), None) => Ok(Entry {
            properties: properties.clone(),
            ..now.entry(key)
        }),
        (Some(_), Some(_)) => Err(unfulfilled(key)),
        (None, _) => Err(
            Error::new(ErrorKind::NotFound, "the object was deleted meanwhile")
                .during("set_properties", key.as_str()),
        ),
    }
}
