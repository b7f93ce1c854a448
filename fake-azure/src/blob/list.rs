//! List Blobs, List Containers, Get Block List.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Bound;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use stand_in::answer::{Answer, Fail, set, xml_document};
use stand_in::wire::{base64_decode, base64_encode, http_date};
use stand_in::xml::{self, element};

use crate::blob::{Call, blob_not_found, container_not_found};
use crate::core::Core;
use crate::state::{Blob, Entry, Guard};

/// <https://learn.microsoft.com/rest/api/storageservices/list-blobs>
pub(crate) fn blobs(core: &Core, call: &Call) -> Result<Answer, Fail> {
    let ask = Ask::of(call)?;
    let include: BTreeSet<&str> = call.query.or_empty("include").split(',').collect();
    core.store(|store| {
        let container = store
            .containers
            .get(call.container())
            .ok_or_else(container_not_found)?;
        let mut items = String::new();
        let mut count = 0;
        let mut next = None;
        let mut last_prefix = None::<String>;
        let from = match &ask.after {
            Some(marker) if marker.as_str() > ask.prefix => marker.as_str(),
            _ => ask.prefix,
        };
        let range = (Bound::Included(from), Bound::Unbounded);
        for (name, entry) in container.entries.range::<str, _>(range) {
            let Some(rest) = name.strip_prefix(ask.prefix) else {
                break;
            };
            let shown = rows(name, entry, &include);
            if shown.is_empty() {
                continue;
            }
            let folded = (!ask.delimiter.is_empty())
                .then(|| rest.find(ask.delimiter))
                .flatten()
                .map(|at| &name[..ask.prefix.len() + at + ask.delimiter.len()]);
            if folded.is_some() && last_prefix.as_deref() == folded {
                continue;
            }
            if count >= ask.most {
                next = Some(name.as_str());
                break;
            }
            // A page ends between names, never between a blob and its snapshots.
            if let Some(prefix) = folded {
                let _ = write!(items, "<BlobPrefix>{}</BlobPrefix>", name_element(prefix));
                last_prefix = Some(prefix.to_owned());
                count += 1;
            } else {
                count += shown.len();
                items.extend(shown);
            }
        }
        Ok(xml_document(format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
             <EnumerationResults ServiceEndpoint=\"/{}/\" ContainerName=\"{}\">{}<Blobs>{items}</Blobs>{}</EnumerationResults>",
            core.account,
            xml::escape(call.container()),
            ask.echo(call),
            next_marker(next),
        )))
    })
}

/// The rows of one name: snapshots from old to new, then the blob itself.
fn rows(name: &str, entry: &Entry, include: &BTreeSet<&str>) -> Vec<String> {
    let mut rows = Vec::new();
    if include.contains("snapshots") {
        for (snapshot, blob) in &entry.snapshots {
            rows.push(row(name, Some(snapshot), Some(blob), entry.guard, include));
        }
    }
    let uncommitted = include.contains("uncommittedblobs") && !entry.staged.is_empty();
    if entry.current.is_some() || uncommitted {
        let blob = entry.current.as_deref();
        rows.push(row(name, None, blob, entry.guard, include));
    }
    rows
}

fn row(
    name: &str,
    snapshot: Option<&String>,
    blob: Option<&Blob>,
    guard: Option<Guard>,
    include: &BTreeSet<&str>,
) -> String {
    let mut text = format!("<Blob>{}", name_element(name));
    if let Some(snapshot) = snapshot {
        text.push_str(&element("Snapshot", snapshot));
    }
    text.push_str("<Properties>");
    match blob {
        Some(blob) => text.push_str(&properties(blob)),
        None => text.push_str("<Content-Length>0</Content-Length><BlobType>BlockBlob</BlobType>"),
    }
    if guard == Some(Guard::CustomerKey) {
        text.push_str(&element("CustomerProvidedKeySha256", CUSTOMER_KEY_SHA256));
    }
    text.push_str("</Properties>");
    if include.contains("metadata") && guard == Some(Guard::CustomerKey) {
        text.push_str("<Metadata Encrypted=\"true\" />");
    } else if include.contains("metadata") {
        text.push_str("<Metadata>");
        for (name, value) in blob.iter().flat_map(|blob| &blob.metadata) {
            text.push_str(&element(name, value));
        }
        text.push_str("</Metadata>");
    }
    text.push_str("<OrMetadata /></Blob>");
    text
}

fn properties(blob: &Blob) -> String {
    let p = &blob.properties;
    let or_default =
        |value: &Option<String>, default: &str| value.clone().unwrap_or_else(|| default.to_owned());
    [
        ("Creation-Time", http_date(blob.created)),
        ("Last-Modified", http_date(blob.modified)),
        // Listings have entity tags without the quotes that headers have.
        ("Etag", blob.etag.trim_matches('"').to_owned()),
        ("Content-Length", blob.content.len.to_string()),
        (
            "Content-Type",
            or_default(&p.content_type, "application/octet-stream"),
        ),
        ("Content-Encoding", or_default(&p.content_encoding, "")),
        ("Content-Language", or_default(&p.content_language, "")),
        ("Content-MD5", or_default(&p.content_md5, "")),
        ("Cache-Control", or_default(&p.cache_control, "")),
        (
            "Content-Disposition",
            or_default(&p.content_disposition, ""),
        ),
        ("BlobType", blob.kind.as_str().to_owned()),
        ("AccessTier", or_default(&blob.tier, "Hot")),
        ("LeaseStatus", "unlocked".to_owned()),
        ("LeaseState", "available".to_owned()),
        ("ServerEncrypted", "true".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| match value.as_str() {
        "" => format!("<{name} />"),
        value => element(name, value),
    })
    .collect()
}

/// A name that XML cannot hold is percent-encoded and says so.
fn name_element(name: &str) -> String {
    if xml::is_representable(name) {
        element("Name", name)
    } else {
        let encoded = utf8_percent_encode(name, NON_ALPHANUMERIC);
        format!("<Name Encoded=\"true\">{encoded}</Name>")
    }
}

/// <https://learn.microsoft.com/rest/api/storageservices/list-containers2>
pub(crate) fn containers(core: &Core, call: &Call) -> Answer {
    let prefix = call.query.or_empty("prefix");
    let rows = core.store(|store| {
        let matching = store.containers.iter();
        matching
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(name, container)| {
                format!(
                    "<Container>{}<Properties>{}{}</Properties></Container>",
                    element("Name", name),
                    element("Last-Modified", &http_date(container.modified)),
                    element("Etag", &container.etag),
                )
            })
            .collect::<String>()
    });
    xml_document(format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"/{}/\">\
         <Containers>{rows}</Containers><NextMarker /></EnumerationResults>",
        core.account
    ))
}

/// <https://learn.microsoft.com/rest/api/storageservices/get-block-list>
pub(crate) fn blocks(core: &Core, call: &Call) -> Result<Answer, Fail> {
    let kind = call.query.value("blocklisttype").unwrap_or("committed");
    core.store(|store| {
        let container = store
            .containers
            .get(call.container())
            .ok_or_else(container_not_found)?;
        let entry = container.entries.get(call.blob());
        let entry = entry.ok_or_else(blob_not_found)?;
        let block = |id: &str, size: u64| {
            format!(
                "<Block>{}{}</Block>",
                element("Name", id),
                element("Size", &size.to_string())
            )
        };
        let mut text = String::new();
        if kind != "uncommitted" {
            let blob = entry.current.iter().filter(|blob| blob.of_blocks);
            let pieces = blob.flat_map(|blob| &blob.content.pieces);
            let list: String = pieces.map(|piece| block(&piece.id, piece.len)).collect();
            let _ = write!(text, "<CommittedBlocks>{list}</CommittedBlocks>");
        }
        if kind != "committed" {
            let pieces = entry.staged.iter();
            let list: String = pieces.map(|(id, piece)| block(id, piece.len)).collect();
            let _ = write!(text, "<UncommittedBlocks>{list}</UncommittedBlocks>");
        }
        let mut answer = xml_document(format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{text}</BlockList>"
        ));
        if let Some(blob) = &entry.current {
            set(&mut answer, "etag", &blob.etag);
            set(&mut answer, "last-modified", &http_date(blob.modified));
        }
        let len = entry.current.as_ref().map_or(0, |blob| blob.content.len);
        set(&mut answer, "x-ms-blob-content-length", &len.to_string());
        Ok(answer)
    })
}

/// The parameters of a listing.
struct Ask<'a> {
    prefix: &'a str,
    delimiter: &'a str,
    after: Option<String>,
    most: usize,
}

impl<'a> Ask<'a> {
    fn of(call: &'a Call) -> Result<Self, Fail> {
        let most = match call.query.value("maxresults") {
            None | Some("") => MOST_RESULTS,
            Some(text) => match text.parse() {
                Ok(most) if most > 0 => MOST_RESULTS.min(most),
                _ => return Err(out_of_range("maxresults")),
            },
        };
        let after = match call.query.value("marker") {
            None | Some("") => None,
            Some(marker) => Some(read_marker(marker).ok_or_else(|| out_of_range("marker"))?),
        };
        Ok(Self {
            prefix: call.query.or_empty("prefix"),
            delimiter: call.query.or_empty("delimiter"),
            after,
            most,
        })
    }

    /// The parameters as the answer repeats them.
    fn echo(&self, call: &Call) -> String {
        ["prefix", "marker", "maxresults", "delimiter"]
            .into_iter()
            .zip(["Prefix", "Marker", "MaxResults", "Delimiter"])
            .filter_map(|(parameter, name)| Some(element(name, call.query.value(parameter)?)))
            .collect()
    }
}

fn out_of_range(parameter: &str) -> Fail {
    let message = format!(
        "One of the query parameters specified in the request URI is outside the permissible range. {parameter}"
    );
    Fail::new(400, "OutOfRangeQueryParameterValue", &message)
}

/// Markers are opaque, so that no client comes to rely on their being names.
fn next_marker(name: Option<&str>) -> String {
    match name {
        Some(name) => element("NextMarker", &format!("2!{}", base64_encode(name))),
        None => "<NextMarker />".to_owned(),
    }
}

fn read_marker(marker: &str) -> Option<String> {
    let bytes = base64_decode(marker.strip_prefix("2!")?)?;
    String::from_utf8(bytes).ok()
}

/// The service gives at most 5,000 at once.
const MOST_RESULTS: usize = 5000;

/// Of a key that nobody has.
const CUSTOMER_KEY_SHA256: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
