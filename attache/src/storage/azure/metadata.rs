//! What is kept beside the bytes: as headers of a blob, and read from them.

use std::collections::HashMap;

use azure_core::http::headers::HeaderName;
use azure_storage_blob::models::BlobClientSetPropertiesOptions;
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use time::format_description::well_known::Rfc3339;

use super::inner::{ETAG, Inner, bare};
use super::refusal::is_absent;
use crate::attachment::{Hex, ObjectKey};
use crate::error::{Error, Result};
use crate::storage::{Content, Facts, ObjectInfo, Stored, facts};

/// What names of metadata begin with on the wire.
pub(super) const METADATA: &str = "x-ms-meta-";

pub(super) async fn head(inner: &Inner, key: &ObjectKey) -> Result<Option<ObjectInfo>> {
    let properties = match inner.blob(key.as_str()).get_properties(None).await {
        Ok(properties) => properties,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(inner.fail(error, "head", key.as_str())),
    };
    let headers = properties.headers();
    let text = |name: &'static str| headers.get_optional_str(&HeaderName::from_static(name));
    let size = text("content-length").and_then(|length| length.parse().ok());
    let size = size.ok_or_else(|| Error::internal("azure: the response has no length"))?;
    let metadata =
        |name: &str| headers.get_optional_str(&HeaderName::from(format!("{METADATA}{name}")));
    Ok(Some(ObjectInfo {
        store_tag: text("etag").map(bare),
        archived: text("x-ms-access-tier") == Some("Archive"),
        ..object_info(
            key.clone(),
            size,
            metadata,
            text("content-md5").and_then(md5_of),
        )
    }))
}

pub(super) async fn write_facts(
    inner: &Inner,
    key: &ObjectKey,
    content: &Content,
    stored: &Stored,
) -> Result<Option<String>> {
    let blob = inner.blob(key.as_str());
    let fail = |error| inner.fail(error, "facts", key.as_str());
    // Both calls replace all that they are about.
    let properties = BlobClientSetPropertiesOptions {
        blob_content_type: Some(content.content_type.clone()),
        blob_content_disposition: Some(content.disposition.clone()),
        blob_content_md5: stored.md5.map(|md5| md5.0.to_vec()),
        ..BlobClientSetPropertiesOptions::default()
    };
    blob.set_properties(Some(properties)).await.map_err(fail)?;
    let metadata = to_metadata(&content.facts, stored);
    let written = blob.set_metadata(&metadata, None).await.map_err(fail)?;
    Ok(written.headers().get_optional_str(&ETAG).map(bare))
}

/// Metadata names are C identifiers, values are ASCII
/// (<https://learn.microsoft.com/rest/api/storageservices/setting-and-retrieving-properties-and-metadata-for-blob-resources>).
pub(super) fn to_metadata(facts: &Facts, stored: &Stored) -> HashMap<String, String> {
    let encode = |text: &str| utf8_percent_encode(text, facts::VALUE).to_string();
    let created_at = facts.created_at.format(&Rfc3339).unwrap_or_default();
    let fields = [
        ("id", Some(facts.id.to_string())),
        (
            "owner",
            facts.owner.as_ref().map(|owner| encode(owner.as_str())),
        ),
        ("filename", Some(encode(facts.filename.as_str()))),
        ("content_type", Some(encode(&facts.content_type))),
        ("created_at", Some(created_at)),
        (
            "created_by",
            facts.created_by.as_ref().map(|by| encode(by.as_str())),
        ),
        ("size", Some(stored.size.to_string())),
        ("sha256", stored.sha256.map(|hex| hex.to_string())),
        (
            "crc64",
            stored.crc64.map(|crc| Hex(crc.to_be_bytes()).to_string()),
        ),
    ];
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// The MD5 of a header.
pub(super) fn md5_of(text: &str) -> Option<Hex<16>> {
    Some(Hex(crate::base64::decode(text)?.try_into().ok()?))
}

pub(super) fn object_info<'a>(
    key: ObjectKey,
    size: u64,
    metadata: impl Fn(&str) -> Option<&'a str>,
    md5: Option<Hex<16>>,
) -> ObjectInfo {
    let text = |name: &str| {
        percent_decode_str(metadata(name)?)
            .decode_utf8()
            .ok()
            .map(String::from)
    };
    ObjectInfo {
        facts: Facts::read(text),
        key,
        size,
        sha256: text("sha256").and_then(|hex| hex.parse().ok()),
        md5,
        crc64: text("crc64").and_then(|hex| facts::crc64(&hex)),
        facts_size: text("size").and_then(|size| size.parse().ok()),
        store_tag: None,
        archived: false,
    }
}
