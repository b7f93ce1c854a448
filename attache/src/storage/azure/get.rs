//! An object, or a part of it, as one stream whose first bytes are at hand.

use std::sync::Arc;

use super::download::Blob;
use super::inner::{Inner, bare};
use super::metadata::object_info;
use super::open::Opened;
use crate::attachment::{ByteRange, ObjectKey};
use crate::error::Result;
use crate::storage::{Object, ObjectInfo, download};
use crate::transfer::body::Body;

pub(super) async fn get(
    inner: &Arc<Inner>,
    key: &ObjectKey,
    range: Option<ByteRange>,
) -> Result<Object> {
    let answer = ask(inner, key, range).await?;
    let opened = &answer.opened;
    let metadata = |name: &str| opened.metadata(name);
    let version = opened.version();
    let version = version.as_ref().and_then(|tag| tag.to_str().ok()).map(bare);
    let info = ObjectInfo {
        store_tag: version,
        ..object_info(key.clone(), answer.size, metadata, opened.md5())
    };
    Ok(Object {
        info,
        range: answer.range,
        body: answer.body(inner, key).await?,
    })
}

/// As [`get`], and what else the answer says is not read.
pub(super) async fn open(
    inner: &Arc<Inner>,
    key: &ObjectKey,
    range: Option<ByteRange>,
) -> Result<crate::storage::Opened> {
    let answer = ask(inner, key, range).await?;
    Ok(crate::storage::Opened::Bytes {
        size: answer.size,
        body: Box::new(answer.body(inner, key).await?),
    })
}

/// An answer that has what was asked for.
struct Asked {
    opened: Opened,
    size: u64,
    range: ByteRange,
}

async fn ask(inner: &Arc<Inner>, key: &ObjectKey, range: Option<ByteRange>) -> Result<Asked> {
    let opened = inner
        .open(key.as_str(), range, None)
        .await
        .map_err(|error| inner.fail(error, "get", key.as_str()))?;
    let (size, range) = opened.served().of(range, "azure", key.as_str())?;
    Ok(Asked {
        opened,
        size,
        range,
    })
}

impl Asked {
    /// Its bytes, the first of which are at hand.
    async fn body(self, inner: &Arc<Inner>, key: &ObjectKey) -> Result<Body> {
        let blob = Blob {
            version: self.opened.version(),
            inner: inner.clone(),
            name: key.as_str().to_owned(),
        };
        download::body(blob, self.range, self.opened.body).await
    }
}
