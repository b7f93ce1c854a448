//! An object, or a part of it, as one stream whose first bytes are at hand.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures::future::{BoxFuture, FutureExt as _};

use super::dialect::Version;
use super::inner::Inner;
use super::metadata::object_info;
use super::open::Opened;
use super::refusal::Fault;
use crate::attachment::{ByteRange, ObjectKey};
use crate::error::{Error, ErrorKind, Result};
use crate::http::Answer;
use crate::storage::Object;
use crate::storage::download::{self, Interrupted};
use crate::transfer::body::Body;

pub(super) async fn get(
    inner: &Arc<Inner>,
    key: &ObjectKey,
    range: Option<ByteRange>,
) -> Result<Object> {
    let asked = ask(inner, key.as_str(), range, None).await?;
    let dialect = inner.place.dialect;
    Ok(Object {
        info: object_info(dialect, key, asked.size, &asked.opened.headers),
        range: asked.range,
        body: asked.body(inner, key.as_str()).await?,
    })
}

/// As [`get`], and what else the answer says is not read.
pub(super) async fn open(
    inner: &Arc<Inner>,
    key: &ObjectKey,
    range: Option<ByteRange>,
) -> Result<crate::storage::Opened> {
    let asked = ask(inner, key.as_str(), range, None).await?;
    Ok(crate::storage::Opened::Bytes {
        size: asked.size,
        body: Box::new(asked.body(inner, key.as_str()).await?),
    })
}

/// An answer that has what was asked for.
pub(super) struct Asked {
    pub(super) opened: Opened,
    pub(super) size: u64,
    pub(super) range: ByteRange,
}

/// Asks for an object or a part of it; of one version, if that is told.
pub(super) async fn ask(
    inner: &Inner,
    key: &str,
    range: Option<ByteRange>,
    version: Option<&Version>,
) -> Result<Asked> {
    let opened = inner
        .open(key, range, version)
        .await
        .map_err(|fault| inner.fail(fault, "get", key))?;
    let (size, range) = opened.served().of(range, inner.place.dialect.name(), key)?;
    Ok(Asked {
        opened,
        size,
        range,
    })
}

fn other(inner: &Inner, what: &str) -> Error {
    let store = inner.place.dialect.name();
    Error::internal(format!("{store}: the response has {what}"))
}

impl Asked {
    /// Its bytes, the first of which are at hand.
    pub(super) async fn body(self, inner: &Arc<Inner>, key: &str) -> Result<Body> {
        let of_version = OfVersion {
            version: inner.place.dialect.version(&self.opened.headers),
            inner: inner.clone(),
            key: key.to_owned(),
        };
        download::body(of_version, self.range, self.opened.body).await
    }
}

/// One version of an object.
struct OfVersion {
    inner: Arc<Inner>,
    key: String,
    version: Option<Version>,
}

impl download::Version for OfVersion {
    fn open(&self, rest: ByteRange) -> BoxFuture<'static, Result<Answer>> {
        let (inner, key, version) = (self.inner.clone(), self.key.clone(), self.version.clone());
        let opened = async move {
            match inner.open(&key, Some(rest), version.as_ref()).await {
                Ok(opened) if opened.served().range() == Some(rest) => Ok(opened.body),
                Ok(_) => Err(other(&inner, "another range")),
                Err(fault) => Err(inner.fail(fault, "get", &key)),
            }
        };
        opened.boxed()
    }

    fn fail(&self, why: Interrupted) -> Error {
        match why {
            Interrupted::Broken(why) => self.inner.fail(Fault::Broken(why), "get", &self.key),
            Interrupted::TooShort => Error::new(
                ErrorKind::UpstreamUnavailable,
                "the response ended before its last byte",
            )
            .during("get", &self.key),
        }
    }

    fn name(&self) -> &str {
        &self.key
    }

    fn resumes(&self) -> &AtomicU64 {
        &self.inner.retries.resumed
    }
}
