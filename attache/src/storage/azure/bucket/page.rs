//! One page of List Blobs (<https://learn.microsoft.com/rest/api/storageservices/list-blobs>), with its common prefixes, which
//! Microsoft's client leaves out.

use std::collections::HashMap;

use azure_core::http::{Context, pager::PagerOptions};
use azure_storage_blob::models::{BlobContainerClientListBlobsOptions, ListBlobsIncludeItem};
use futures::StreamExt as _;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use time::OffsetDateTime;

use super::super::attempt::Delimiter;
use super::super::inner::{Inner, bare};
use super::kept::{Seen, md5_of, time_of};
use crate::error::{Error, Result};
use crate::storage::bucket::kept::Headers;

/// Most names of a page, by the service.
pub(super) const MOST_NAMES: usize = 5000;

/// A page, in the order of the names.
pub(super) struct Page {
    pub(super) names: Vec<Name>,
    /// Where the next one begins.
    pub(super) next: Option<String>,
}

/// What a page has under a name.
pub(super) enum Name {
    Blob(String, Box<Seen>),
    Prefix(String),
}

impl Name {
    fn text(&self) -> &str {
        match self {
            Self::Blob(name, _) | Self::Prefix(name) => name,
        }
    }
}

/// Which page.
pub(super) struct Ask<'a> {
    pub(super) prefix: &'a str,
    pub(super) delimiter: Option<&'a str>,
    pub(super) marker: Option<&'a str>,
    pub(super) most: usize,
}

pub(super) async fn page(inner: &Inner, ask: &Ask<'_>) -> Result<Page> {
    let container = &inner.target.container;
    let fail = |error| inner.fail(error, "list", container);
    let context = match ask.delimiter {
        Some(delimiter) => Context::new().with_value(Delimiter(delimiter.to_owned())),
        None => Context::new(),
    };
    let options = BlobContainerClientListBlobsOptions {
        include: Some(vec![ListBlobsIncludeItem::Metadata]),
        marker: ask.marker.map(str::to_owned),
        maxresults: i32::try_from(ask.most.clamp(1, MOST_NAMES)).ok(),
        prefix: (!ask.prefix.is_empty()).then(|| ask.prefix.to_owned()),
        method_options: PagerOptions {
            context,
            ..PagerOptions::default()
        },
        ..BlobContainerClientListBlobsOptions::default()
    };
    let client = inner.client.blob_container_client(container);
    let mut pages = client.list_blobs(Some(options)).map_err(fail)?.into_pages();
    let Some(answer) = pages.next().await else {
        return Err(Error::internal("azure: a listing without a page"));
    };
    let body = answer.map_err(fail)?.into_body();
    let read: Results = azure_core::xml::from_xml(&*body).map_err(fail)?;
    let names = read.blobs.items.into_iter().filter_map(Item::name);
    let mut names: Vec<Name> = names.collect();
    // Azurite has the prefixes of a page before its blobs.
    names.sort_by(|one, other| one.text().cmp(other.text()));
    Ok(Page {
        names,
        next: read.next.filter(|marker| !marker.is_empty()),
    })
}

#[derive(Deserialize)]
struct Results {
    #[serde(rename = "Blobs", default)]
    blobs: Blobs,
    #[serde(rename = "NextMarker", default)]
    next: Option<String>,
}

#[derive(Default, Deserialize)]
struct Blobs {
    // Blobs and prefixes come mixed.
    #[serde(rename = "$value", default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
enum Item {
    Blob(Box<Blob>),
    BlobPrefix(Prefix),
}

#[derive(Deserialize)]
struct Prefix {
    #[serde(rename = "Name")]
    name: Text,
}

#[derive(Deserialize)]
struct Blob {
    #[serde(rename = "Name")]
    name: Text,
    #[serde(rename = "Properties")]
    properties: BlobProperties,
    #[serde(rename = "Metadata", default)]
    metadata: Option<HashMap<String, Option<String>>>,
}

/// A name; one that XML cannot hold is percent-encoded.
#[derive(Deserialize)]
struct Text {
    #[serde(rename = "@Encoded", default)]
    encoded: Option<bool>,
    #[serde(rename = "$text", default)]
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BlobProperties {
    #[serde(rename = "Last-Modified")]
    modified: Option<String>,
    etag: Option<String>,
    #[serde(rename = "Content-Length")]
    length: Option<u64>,
    #[serde(rename = "Content-MD5")]
    md5: Option<String>,
    #[serde(rename = "Content-Type")]
    content_type: Option<String>,
    #[serde(rename = "Cache-Control")]
    cache_control: Option<String>,
    #[serde(rename = "Content-Disposition")]
    content_disposition: Option<String>,
    #[serde(rename = "Content-Encoding")]
    content_encoding: Option<String>,
    #[serde(rename = "Content-Language")]
    content_language: Option<String>,
    access_tier: Option<String>,
    /// `directory` where the namespace is hierarchical.
    resource_type: Option<String>,
}

impl Text {
    fn read(self) -> Option<String> {
        let text = self.text.unwrap_or_default();
        match self.encoded {
            Some(true) => Some(percent_decode_str(&text).decode_utf8().ok()?.into_owned()),
            _ => Some(text),
        }
    }
}

impl Item {
    /// `None` for a folder of a hierarchical namespace: it is no object, and its names have it as a prefix.
    fn name(self) -> Option<Name> {
        let blob = match self {
            Self::BlobPrefix(prefix) => return Some(Name::Prefix(prefix.name.read()?)),
            Self::Blob(blob) => *blob,
        };
        let properties = blob.properties;
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        let metadata = blob.metadata.unwrap_or_default().into_iter();
        let seen = Seen {
            size: properties.length.unwrap_or_default(),
            tag: properties.etag.as_deref().map(bare).unwrap_or_default(),
            modified: properties
                .modified
                .as_deref()
                .and_then(time_of)
                .unwrap_or(OffsetDateTime::UNIX_EPOCH),
            md5: properties.md5.as_deref().and_then(md5_of),
            headers: Headers {
                content_type: some(properties.content_type),
                cache_control: some(properties.cache_control),
                content_disposition: some(properties.content_disposition),
                content_encoding: some(properties.content_encoding),
                content_language: some(properties.content_language),
            },
            // Names are the same in any case, and some tools write them with capitals.
            metadata: metadata
                .filter(|(name, _)| !name.starts_with('@'))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.unwrap_or_default()))
                .collect(),
            archived: properties.access_tier.as_deref() == Some("Archive"),
        };
        let folder = properties.resource_type.as_deref() == Some("directory")
            || seen
                .metadata
                .get("hdi_isfolder")
                .is_some_and(|is| is == "true");
        (!folder).then_some(Name::Blob(blob.name.read()?, Box::new(seen)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_with_names_and_prefixes_as_they_come() {
        let xml = "<?xml version=\"1.0\"?><EnumerationResults ServiceEndpoint=\"/a/\" ContainerName=\"c\"><Blobs>\
                   <BlobPrefix><Name>a b/</Name></BlobPrefix>\
                   <Blob><Name>b &amp; c</Name><Properties><Etag>0x1</Etag><Content-Length>3</Content-Length>\
                   <Content-MD5 /></Properties><Metadata><Author>Ada</Author><empty /></Metadata><OrMetadata /></Blob>\
                   <BlobPrefix><Name Encoded=\"true\">%EF%BF%BF/</Name></BlobPrefix>\
                   <Blob><Name>f</Name><Properties><ResourceType>directory</ResourceType></Properties></Blob>\
                   </Blobs><NextMarker>2!x</NextMarker></EnumerationResults>";
        let read: Results = azure_core::xml::from_xml(xml).expect("a page");
        assert_eq!(read.next.as_deref(), Some("2!x"));
        let names: Vec<Name> = read
            .blobs
            .items
            .into_iter()
            .filter_map(Item::name)
            .collect();
        let [
            Name::Prefix(one),
            Name::Blob(two, seen),
            Name::Prefix(three),
        ] = &names[..]
        else {
            panic!("{} names", names.len());
        };
        assert_eq!([one, two, three], ["a b/", "b & c", "\u{ffff}/"]);
        assert_eq!((seen.size, seen.md5, seen.tag.as_str()), (3, None, "0x1"));
        assert_eq!(seen.metadata.get("author").map(String::as_str), Some("Ada"));
        let empty = "<EnumerationResults><Blobs /><NextMarker /></EnumerationResults>";
        let read: Results = azure_core::xml::from_xml(empty).expect("a page");
        assert!(read.blobs.items.is_empty());
    }
}
