//! Tags of an object: GetObjectTagging, PutObjectTagging, DeleteObjectTagging.

use std::collections::BTreeMap;

use attache::access::Scope;
use attache::storage::bucket::{Entry, Key, Properties};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::StatusCode;

use super::error::{S3Error, S3Result};
use super::request::S3Request;
use super::tags::checked;
use super::xml::{self, Xml, document};

pub(super) async fn get(request: &S3Request, key: &Key) -> S3Result<Response> {
    request.need(Scope::Read, key.as_str())?;
    let entry = request.found(key).await?;
    let mut xml = Xml::new();
    xml.root("Tagging").open("TagSet");
    for (key, value) in &entry.properties.tags {
        xml.open("Tag")
            .text("Key", key)
            .text("Value", value)
            .close("Tag");
    }
    xml.close("TagSet").close("Tagging");
    Ok(document(xml))
}

pub(super) async fn put(request: &S3Request, key: &Key, body: Bytes) -> S3Result<Response> {
    request.need(Scope::Write, key.as_str())?;
    let tagging = xml::parse(&body).map_err(|error| S3Error::malformed_xml(error.detail()))?;
    let sets = tagging.all("TagSet").flat_map(|set| set.all("Tag"));
    let pairs = sets.map(|tag| {
        let text = |name| tag.text_of(name).unwrap_or_default().to_owned();
        (text("Key"), text("Value"))
    });
    let tags = checked(pairs)?;
    set(request, key, tags).await?;
    Ok(StatusCode::OK.into_response())
}

pub(super) async fn delete(request: &S3Request, key: &Key) -> S3Result<Response> {
    request.need(Scope::Write, key.as_str())?;
    set(request, key, BTreeMap::new()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn set(request: &S3Request, key: &Key, tags: BTreeMap<String, String>) -> S3Result<Entry> {
    let entry = request.found(key).await?;
    let properties = Properties {
        tags,
        ..entry.properties
    };
    let set = request
        .bucket
        .set_properties(key, &entry.version, &properties);
    Ok(set.await?)
}
