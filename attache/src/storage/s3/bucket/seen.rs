//! What is known of an object, in the words of buckets: whoever wrote it.

use std::collections::BTreeMap;

use http::header::{ETAG, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED};
use time::OffsetDateTime;

use super::super::ask::header;
use super::super::dialect::{self, Dialect, bare};
use super::super::echo::md5_of;
use super::super::inner::Inner;
use super::super::metadata::{is_archived, size};
use crate::attachment::Hex;
use crate::error::{Error, Result};
use crate::storage::bucket::facts::Facts;
use crate::storage::bucket::kept::{self, DEFAULT_TYPE, Form, Headers};
use crate::storage::bucket::{Entry, Key, Properties, Version};

/// How such a store keeps metadata.
pub(super) fn form(dialect: Dialect) -> Form {
    Form {
        store: match dialect {
            Dialect::S3 => "S3",
            Dialect::Gcs => "Google Cloud Storage",
        },
        ours: "attache-",
        takes: is_plain_name,
        max_bytes: dialect.metadata_bytes(),
    }
}

/// Whether every proxy lets a header of this name through, and all stores give it back: some have no `_`.
fn is_plain_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// The headers that an object of these facts and properties gets.
///
/// # Errors
///
/// [`BadRequest`](crate::ErrorKind::BadRequest) if they are more than the store keeps.
pub(super) fn to_headers(
    dialect: Dialect,
    facts: &Facts,
    properties: &Properties,
    attempt: &str,
) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let held = Headers::of(properties);
    let content_type = held.content_type.unwrap_or_else(|| DEFAULT_TYPE.to_owned());
    let fields = [
        ("content-type", Some(content_type)),
        ("cache-control", held.cache_control),
        ("content-disposition", held.content_disposition),
        ("content-encoding", held.content_encoding),
        ("content-language", held.content_language),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            let (name, value) = header(HeaderName::from_static(name), value)?;
            headers.insert(name, value);
        }
    }
    for (name, value) in facts.metadata(&form(dialect), properties, None, attempt)? {
        let name = format!("{}{name}", dialect.metadata_prefix());
        let name = HeaderName::try_from(name)
            .map_err(|error| Error::internal("a name of metadata is wrong").with_source(error))?;
        let (name, value) = header(name, value)?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// An object, as the store describes it.
pub(super) struct Seen {
    dialect: Dialect,
    size: u64,
    /// The store's own entity tag.
    tag: String,
    /// Pins requests to these bytes.
    pinned: Option<dialect::Version>,
    modified: OffsetDateTime,
    md5: Option<Hex<16>>,
    headers: Headers,
    /// Names are in lower case.
    metadata: BTreeMap<String, String>,
    archived: bool,
}

impl Seen {
    /// From the headers of an answer about an object of `size` bytes.
    pub(super) fn of(dialect: Dialect, headers: &HeaderMap, size: u64) -> Self {
        let text = |name: &str| {
            let value = headers.get(name)?.as_bytes();
            Some(String::from_utf8_lossy(value).into_owned())
        };
        let metadata = headers.iter().filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix(dialect.metadata_prefix())?;
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            Some((name.to_owned(), value))
        });
        Self {
            dialect,
            size,
            tag: text(ETAG.as_str())
                .map(|tag| bare(&tag))
                .unwrap_or_default(),
            pinned: dialect.version(headers),
            modified: text(LAST_MODIFIED.as_str())
                .and_then(|date| httpdate::parse_http_date(&date).ok())
                .map_or(OffsetDateTime::UNIX_EPOCH, OffsetDateTime::from),
            md5: md5_of(dialect, headers),
            headers: Headers {
                content_type: text("content-type"),
                cache_control: text("cache-control"),
                content_disposition: text("content-disposition"),
                content_encoding: text("content-encoding"),
                content_language: text("content-language"),
            },
            metadata: metadata.collect(),
            archived: is_archived(dialect, headers),
        }
    }

    /// Which call wrote it last, if attache did.
    pub(super) fn attempt(&self) -> Option<&str> {
        Facts::attempt(&form(self.dialect), &self.metadata)
    }

    /// Under which another request is about these bytes.
    pub(super) fn pinned(&self) -> Option<&dialect::Version> {
        self.pinned.as_ref()
    }

    /// Which version it is. The store's entity tag tells bytes apart and nothing else, so that who wrote it last, or when, is part of it.
    pub(super) fn version(&self) -> Version {
        let tag = self.pinned.as_ref().map_or("", |pinned| &pinned.tag);
        version(
            self.dialect,
            tag,
            &match self.attempt() {
                Some(attempt) => attempt.to_owned(),
                None => self.modified.unix_timestamp().to_string(),
            },
        )
    }

    /// The object.
    pub(super) fn entry(&self, key: &Key) -> Entry {
        let form = form(self.dialect);
        // No bytes are the same as any others, also where they came in parts.
        let md5 = self.md5.filter(|_| self.size > 0);
        let facts = Facts::read(&form, &self.metadata, self.size, md5);
        let facts = facts.unwrap_or_else(|| Facts {
            size: self.size,
            etag: self
                .md5
                .map_or_else(|| self.tag.clone(), |md5| md5.to_string()),
            checksum: None,
            crc64: None,
        });
        let properties = kept::read(&form, &self.headers, &self.metadata);
        let entry = facts.entry(key, &properties, self.version(), self.modified);
        Entry {
            archived: self.archived,
            ..entry
        }
    }
}

/// A version of an object that `mark` wrote, of these bytes.
pub(super) fn version(dialect: Dialect, tag: &str, mark: &str) -> Version {
    Version(match dialect {
        Dialect::S3 => format!("{tag}.{mark}"),
        // Generations tell all versions apart.
        Dialect::Gcs => tag.to_owned(),
    })
}

/// Under which a request is about a version, as far as the store can tell.
pub(super) fn pinned_to(dialect: Dialect, version: &Version) -> Option<dialect::Version> {
    let (name, value, tag) = match dialect {
        Dialect::S3 => {
            let (tag, _) = version.0.rsplit_once('.')?;
            (http::header::IF_MATCH, format!("\"{tag}\""), tag)
        }
        Dialect::Gcs => {
            let (generation, _) = version.0.split_once('.')?;
            (
                HeaderName::from_static("x-goog-if-generation-match"),
                generation.to_owned(),
                version.0.as_str(),
            )
        }
    };
    Some(dialect::Version {
        condition: (name, HeaderValue::from_str(&value).ok()?),
        tag: tag.to_owned(),
    })
}

/// Asks for what is known of an object.
pub(super) async fn look(
    inner: &Inner,
    key: &Key,
    operation: &'static str,
) -> Result<Option<Seen>> {
    let Some(headers) = inner.look(key.as_str(), operation).await? else {
        return Ok(None);
    };
    let dialect = inner.place.dialect;
    Ok(Some(Seen::of(dialect, &headers, size(dialect, &headers)?)))
}
