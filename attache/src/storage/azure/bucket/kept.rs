//! What is known of a blob, in the words of buckets: whoever wrote it.
//!
//! Beside the properties, metadata says the entity tag, length, checksum and CRC-64 of the bytes that attache put. Another program may
//! have put others since, and kept the metadata: then they are not believed.

use std::collections::BTreeMap;

use azure_core::http::headers::Headers as AzureHeaders;
use http::HeaderMap;
use time::OffsetDateTime;

use super::super::inner::{Inner, bare};
use super::super::metadata::{self, METADATA};
use super::super::refusal::is_absent;
use super::name::name_of;
use crate::attachment::Hex;
use crate::error::{Error, Result};
use crate::storage::bucket::facts::Facts;
use crate::storage::bucket::kept::{self, Form, Headers};
use crate::storage::bucket::{Entry, Key, Properties, Version};

/// Metadata of blobs has identifiers for names (<https://learn.microsoft.com/rest/api/storageservices/set-blob-metadata#remarks>).
pub(super) const FORM: Form = Form {
    store: "Azure",
    ours: "attache_",
    takes: is_identifier,
    max_bytes: 8 * 1024,
};

/// Whether it is a name of metadata in Azure (C identifiers, in any case), and means nothing to others: `hdi_isfolder` makes a folder of a
/// blob.
fn is_identifier(name: &str) -> bool {
    let mut chars = name.bytes();
    chars
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
        && chars.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && name != "hdi_isfolder"
}

/// What the service says of a blob that was written.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) tag: String,
    pub(super) modified: OffsetDateTime,
}

impl Written {
    /// The entry of an object of these facts, which was written so.
    pub(super) fn entry(self, facts: &Facts, key: &Key, properties: &Properties) -> Entry {
        facts.entry(key, properties, Version(self.tag), self.modified)
    }

    pub(super) fn read(headers: &AzureHeaders) -> Self {
        Self::from_texts(header(headers, "etag"), header(headers, "last-modified"))
    }

    /// From the headers of an answer to a request of our own.
    pub(super) fn of(headers: &http::HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Self::from_texts(text("etag"), text("last-modified"))
    }

    fn from_texts(tag: Option<&str>, modified: Option<&str>) -> Self {
        Self {
            tag: tag.map(bare).unwrap_or_default(),
            modified: modified
                .and_then(time_of)
                .unwrap_or_else(OffsetDateTime::now_utc),
        }
    }
}

/// A blob, as the service describes it.
pub(super) struct Seen {
    pub(super) size: u64,
    pub(super) tag: String,
    pub(super) modified: OffsetDateTime,
    pub(super) md5: Option<[u8; 16]>,
    pub(super) headers: Headers,
    /// Names are in lower case.
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) archived: bool,
}

impl Seen {
    /// From the headers of Get Blob Properties.
    pub(super) fn of_head(headers: &AzureHeaders) -> Result<Self> {
        let text = |name: &'static str| header(headers, name);
        let size = text("content-length").and_then(|length| length.parse().ok());
        let metadata = headers.iter().filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix(METADATA)?;
            Some((name.to_ascii_lowercase(), value.as_str().to_owned()))
        });
        Ok(Self {
            size: size.ok_or_else(|| Error::internal("azure: the response has no length"))?,
            md5: text("content-md5").and_then(md5_of),
            metadata: metadata.collect(),
            ..Self::of(text)
        })
    }

    /// From those of Get Blob, which tell the length and the MD5 of what is sent.
    pub(super) fn of_answer(headers: &HeaderMap, size: u64, md5: Option<Hex<16>>) -> Self {
        let text = |name: &'static str| std::str::from_utf8(headers.get(name)?.as_bytes()).ok();
        let metadata = headers.iter().filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix(METADATA)?;
            let value = std::str::from_utf8(value.as_bytes()).ok()?;
            Some((name.to_ascii_lowercase(), value.to_owned()))
        });
        Self {
            size,
            md5: md5.map(|md5| md5.0),
            metadata: metadata.collect(),
            ..Self::of(text)
        }
    }

    fn of<'a>(text: impl Fn(&'static str) -> Option<&'a str>) -> Self {
        let own = |name| text(name).map(str::to_owned);
        Self {
            size: 0,
            tag: text("etag").map(bare).unwrap_or_default(),
            modified: text("last-modified")
                .and_then(time_of)
                .unwrap_or(OffsetDateTime::UNIX_EPOCH),
            md5: None,
            headers: Headers {
                content_type: own("content-type"),
                cache_control: own("cache-control"),
                content_disposition: own("content-disposition"),
                content_encoding: own("content-encoding"),
                content_language: own("content-language"),
            },
            metadata: BTreeMap::new(),
            archived: text("x-ms-access-tier") == Some("Archive"),
        }
    }

    /// Which call wrote it last, if attache did.
    pub(super) fn attempt(&self) -> Option<&str> {
        Facts::attempt(&FORM, &self.metadata)
    }

    /// What attache says of the bytes, if they are those that it put. Whoever puts a blob in one request leaves an MD5, and what was made
    /// of parts has none.
    pub(super) fn facts(&self) -> Option<Facts> {
        Facts::read(&FORM, &self.metadata, self.size, self.md5.map(Hex))
    }

    /// Whether an MD5 is all that speaks against what attache says of an object that was made of parts, which has none. Azurite
    /// computes one for whoever reads all of it.
    pub(super) fn is_in_doubt(&self) -> bool {
        let parts = Facts::told_etag(&FORM, &self.metadata).is_some_and(|etag| etag.contains('-'));
        parts && self.md5.is_some() && self.facts().is_none()
    }

    /// The object.
    pub(super) fn entry(&self, key: &Key) -> Entry {
        let facts = self.facts().unwrap_or_else(|| Facts {
            size: self.size,
            // Azure's own tag cannot be taken for an MD5.
            etag: self
                .md5
                .map_or_else(|| self.tag.clone(), |md5| Hex(md5).to_string()),
            checksum: None,
            crc64: None,
        });
        Entry {
            key: key.clone(),
            size: self.size,
            etag: facts.etag,
            modified: self.modified,
            properties: kept::read(&FORM, &self.headers, &self.metadata),
            checksum: facts.checksum,
            crc64: facts.crc64,
            version: Version(self.tag.clone()),
            archived: self.archived,
        }
    }
}

/// Get Blob Properties (<https://learn.microsoft.com/rest/api/storageservices/get-blob-properties>).
pub(super) async fn look(
    inner: &Inner,
    key: &Key,
    operation: &'static str,
) -> Result<Option<Seen>> {
    match inner.blob(&name_of(key)?).get_properties(None).await {
        Ok(properties) => Seen::of_head(properties.headers()).map(Some),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(inner.fail(error, operation, key.as_str())),
    }
}

fn header<'a>(headers: &'a AzureHeaders, name: &'static str) -> Option<&'a str> {
    headers.get_optional_str(&azure_core::http::headers::HeaderName::from_static(name))
}

pub(super) fn time_of(text: &str) -> Option<OffsetDateTime> {
    azure_core::time::parse_rfc7231(text).ok()
}

pub(super) fn md5_of(text: &str) -> Option<[u8; 16]> {
    metadata::md5_of(text).map(|md5| md5.0)
}
