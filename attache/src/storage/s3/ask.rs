//! A request to a bucket, and an answer of success, as plain data.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::refusal::Fault;
use super::signature::{Query, encode_path};
use crate::error::Error;
use crate::http::Answer;

/// What is asked of a bucket. The same bytes can be sent again.
#[derive(Clone, Debug)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// Empty for the bucket itself.
    pub(super) key: &'a str,
    pub(super) query: Query,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// How long the store may take at least from the last byte of the request to the first of its answer.
    pub(super) patience: Duration,
}

impl<'a> Ask<'a> {
    pub(super) fn new(method: Method, key: &'a str) -> Self {
        Self {
            method,
            key,
            query: Query::default(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            patience: Duration::ZERO,
        }
    }

    #[must_use]
    pub(super) fn query(mut self, name: &str, value: &str) -> Self {
        self.query = self.query.with(name, value);
        self
    }

    #[must_use]
    pub(super) fn header(mut self, (name, value): (HeaderName, HeaderValue)) -> Self {
        self.headers.insert(name, value);
        self
    }

    #[must_use]
    pub(super) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Whether it may arrive twice without harm.
    pub(super) fn is_reading(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }
}

/// A header whose value is text of ours.
///
/// # Errors
///
/// [`Internal`](crate::ErrorKind::Internal) if it cannot stand in a header.
pub(super) fn header(
    name: HeaderName,
    value: impl AsRef<str>,
) -> Result<(HeaderName, HeaderValue), Error> {
    let value = HeaderValue::from_str(value.as_ref()).map_err(|error| {
        Error::internal("a value cannot be sent as a header").with_source(error)
    })?;
    Ok((name, value))
}

/// An answer of success, whose body is still to be read.
pub(super) struct Answered {
    pub(super) partial: bool,
    pub(super) headers: HeaderMap,
    pub(super) body: Answer,
}

impl Answered {
    /// The body of an answer that is short.
    pub(super) async fn document(self) -> Result<Bytes, Fault> {
        Ok(self.body.whole(LONGEST_DOCUMENT).await?)
    }
}

/// What is read of a document: a page of a listing has a thousand keys of a kilobyte at most, twice.
const LONGEST_DOCUMENT: usize = 8 * 1024 * 1024;

/// The path of a key, or of the bucket itself.
pub(super) fn path_of(bucket: &str, key: &str) -> String {
    format!("{bucket}/{}", encode_path(key))
}
