//! An object, or a part of it, as one stream of one version.

use std::sync::Arc;

use azure_storage_blob::models::{BlobClientSetMetadataOptions, BlobClientSetPropertiesOptions};
use http::HeaderValue;

use super::super::download::Blob;
use super::super::inner::Inner;
use super::super::refusal::is_unmet;
use super::kept::{FORM, Seen, Written, look};
use super::name::name_of;
use super::put::quoted;
use crate::attachment::ByteRange;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::bucket::facts::Facts;
use crate::storage::bucket::kept::Headers;
use crate::storage::bucket::{Entry, Key, Opened, Properties, Version, absent, unfulfilled};
use crate::storage::download;

pub(super) async fn get(
    inner: &Arc<Inner>,
    key: &Key,
    range: Option<ByteRange>,
    version: Option<&Version>,
) -> Result<Opened> {
    let name = name_of(key)?;
    let pinned = match version {
        Some(version) => Some(
            HeaderValue::try_from(format!("\"{}\"", version.0)).map_err(|_| unfulfilled(key))?,
        ),
        None => None,
    };
    let opened = match inner.open(&name, range, pinned.as_ref()).await {
        Ok(opened) => opened,
        // Azurite looks at the condition before it sees that there is no blob.
        Err(error) if is_unmet(&error) => {
            let seen = look(inner, key, "get").await?;
            return Err(seen.map_or_else(|| absent(key), |_| unfulfilled(key)));
        }
        Err(error) => return Err(inner.fail(error, "get", key.as_str())),
    };
    let (size, wanted) = opened.served().of(range, "azure", key.as_str())?;
    let mut seen = Seen::of_answer(opened.headers(), size, opened.md5());
    if seen.is_in_doubt()
        && let Some(looked) = look(inner, key, "get").await?
        && looked.tag == seen.tag
    {
        seen = looked;
    }
    let entry = seen.entry(key);
    let blob = Blob {
        version: opened.version(),
        inner: inner.clone(),
        name,
    };
    Ok(Opened {
        entry,
        range: wanted,
        body: download::body(blob, wanted, opened.body).await?,
    })
}

/// Set Blob Metadata, which says everything, and Set Blob Properties, by which the headers follow: between the two, what is read is
/// what the metadata says.
pub(super) async fn set_properties(
    inner: &Inner,
    key: &Key,
    version: &Version,
    properties: &Properties,
) -> Result<Entry> {
    let name = name_of(key)?;
    let seen = look(inner, key, "set_properties").await?;
    let seen = seen.ok_or_else(|| absent(key))?;
    if seen.tag != version.0 {
        return Err(unfulfilled(key));
    }
    let now = seen.entry(key);
    let facts = Facts::of(&now);
    let attempt = uuid::Uuid::now_v7().simple().to_string();
    let headers = Headers::of(properties);
    let before = (headers != seen.headers).then(|| seen.headers.clone());
    let metadata = facts.metadata(&FORM, properties, before, &attempt)?;
    let blob = inner.blob(&name);
    let guarded = BlobClientSetMetadataOptions {
        if_match: Some(quoted(&version.0)),
        ..BlobClientSetMetadataOptions::default()
    };
    let written = match blob.set_metadata(&metadata, Some(guarded)).await {
        Ok(answer) => Written::read(answer.headers()),
        Err(error) if is_unmet(&error) => ours(inner, key, &attempt).await?,
        Err(error) => return Err(inner.fail(error, "set_properties", key.as_str())),
    };
    let guarded = BlobClientSetPropertiesOptions {
        blob_content_type: headers.content_type,
        blob_cache_control: headers.cache_control,
        blob_content_disposition: headers.content_disposition,
        blob_content_encoding: headers.content_encoding,
        blob_content_language: headers.content_language,
        // It would be taken away.
        blob_content_md5: seen.md5.map(|md5| md5.to_vec()),
        if_match: Some(quoted(&written.tag)),
        ..BlobClientSetPropertiesOptions::default()
    };
    let written = match blob.set_properties(Some(guarded)).await {
        Ok(answer) => Written::read(answer.headers()),
        Err(error) if is_unmet(&error) => ours(inner, key, &attempt).await?,
        Err(error) => return Err(inner.fail(error, "set_properties", key.as_str())),
    };
    Ok(Entry {
        archived: now.archived,
        ..written.entry(&facts, key, properties)
    })
}

/// What `attempt` wrote, whose answer was lost.
async fn ours(inner: &Inner, key: &Key, attempt: &str) -> Result<Written> {
    match look(inner, key, "set_properties").await? {
        Some(seen) if seen.attempt() == Some(attempt) => Ok(Written {
            tag: seen.tag,
            modified: seen.modified,
        }),
        Some(_) => Err(unfulfilled(key)),
        None => Err(
            Error::new(ErrorKind::NotFound, "the object was deleted meanwhile")
                .during("set_properties", key.as_str()),
        ),
    }
}
