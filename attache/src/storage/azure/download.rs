//! A blob that is being downloaded, and how more of the same version is asked for.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures::future::{BoxFuture, FutureExt as _};
use http::HeaderValue;

use super::inner::Inner;
use super::transport::broken;
use crate::attachment::ByteRange;
use crate::error::{Error, Result};
use crate::http::Answer;
use crate::storage::download::{Interrupted, Version};

/// One version of a blob.
pub(super) struct Blob {
    pub(super) inner: Arc<Inner>,
    pub(super) name: String,
    pub(super) version: Option<HeaderValue>,
}

impl Version for Blob {
    fn open(&self, rest: ByteRange) -> BoxFuture<'static, Result<Answer>> {
        let (inner, name, version) = (self.inner.clone(), self.name.clone(), self.version.clone());
        let opened = async move {
            match inner.open(&name, Some(rest), version.as_ref()).await {
                Ok(opened) if opened.served().range() == Some(rest) => Ok(opened.body),
                Ok(_) => Err(Error::internal(
                    "azure: the resumed response has another range",
                )),
                Err(error) => Err(inner.fail(error, "get", &name)),
            }
        };
        opened.boxed()
    }

    fn fail(&self, why: Interrupted) -> Error {
        let error = match why {
            Interrupted::Broken(why) => broken(why),
            Interrupted::TooShort => azure_core::Error::with_message(
                azure_core::error::ErrorKind::Io,
                "the response ended before its last byte",
            ),
        };
        self.inner.fail(error, "get", &self.name)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn resumes(&self) -> &AtomicU64 {
        &self.inner.retries.resumed
    }
}
