//! DeleteObjects: up to a thousand keys, each with an outcome of its own.

use attache::access::Scope;
use axum::response::Response;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};

use super::address::parse_key;
use super::error::{S3Error, S3Result};
use super::request::S3Request;
use super::xml::{self, Xml, document};

/// Most keys of a request (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>).
const MAX_KEYS: usize = 1000;

/// Deletions that run at a time.
const AT_A_TIME: usize = 16;

/// What must hold of an object that is deleted
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ObjectIdentifier.html>).
const CONDITIONS: [&str; 3] = ["ETag", "LastModifiedTime", "Size"];

/// An object of the list.
struct Named {
    key: String,
    version: Option<String>,
    has_condition: bool,
}

pub(super) async fn delete(request: &S3Request, body: Bytes) -> S3Result<Response> {
    request.caller.need_bucket(&request.name)?;
    let asked = xml::parse(&body).map_err(|error| S3Error::malformed_xml(error.detail()))?;
    let quiet = asked
        .text_of("Quiet")
        .is_some_and(|text| text.trim() == "true");
    let keys: Vec<Named> = asked
        .all("Object")
        .map(|object| Named {
            key: object.text_of("Key").unwrap_or_default().to_owned(),
            version: object.text_of("VersionId").map(str::to_owned),
            has_condition: CONDITIONS.iter().any(|name| object.text_of(name).is_some()),
        })
        .collect();
    // No document can name it, neither theirs nor the response.
    if keys.iter().any(|named| named.key.contains('\0')) {
        return Err(S3Error::malformed_xml(
            "a Key has a character that XML cannot have",
        ));
    }
    if keys.is_empty() || keys.len() > MAX_KEYS {
        return Err(S3Error::malformed_xml(
            "there must be 1 to 1000 Objects with a Key",
        ));
    }
    let outcomes = stream::iter(keys).map(async |named| {
        let outcome = one(request, &named).await;
        (named.key, outcome)
    });
    let mut outcomes = outcomes.buffered(AT_A_TIME);
    let mut xml = Xml::new();
    xml.root("DeleteResult");
    while let Some((key, outcome)) = outcomes.next().await {
        match outcome {
            Ok(()) if quiet => {}
            Ok(()) => {
                xml.open("Deleted").text("Key", &key).close("Deleted");
            }
            Err(error) => {
                xml.open("Error")
                    .text("Key", &key)
                    .text("Code", error.code())
                    .text("Message", error.message())
                    .close("Error");
            }
        }
    }
    xml.close("DeleteResult");
    Ok(document(xml))
}

async fn one(request: &S3Request, named: &Named) -> S3Result<()> {
    request.need(Scope::Delete, &named.key)?;
    if !matches!(named.version.as_deref(), None | Some("" | "null")) {
        return Err(S3Error::not_implemented("versions"));
    }
    if named.has_condition {
        return Err(S3Error::not_implemented("conditions of deletions"));
    }
    let key = parse_key(named.key.clone())?;
    let outcome = request.bucket.delete(&key).await;
    request.record_delete(&key, &outcome);
    Ok(outcome?)
}
