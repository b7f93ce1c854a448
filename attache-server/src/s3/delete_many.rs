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

pub(super) async fn delete(request: &S3Request, body: Bytes) -> S3Result<Response> {
    request.caller.need_bucket(&request.name)?;
    let asked = xml::parse(&body).map_err(|error| S3Error::malformed_xml(error.detail()))?;
    let quiet = asked
        .text_of("Quiet")
        .is_some_and(|text| text.trim() == "true");
    let keys: Vec<(String, Option<String>)> = asked
        .all("Object")
        .map(|object| {
            let text = |name| object.text_of(name).map(str::to_owned);
            (text("Key").unwrap_or_default(), text("VersionId"))
        })
        .collect();
    if keys.is_empty() || keys.len() > MAX_KEYS {
        return Err(S3Error::malformed_xml(
            "there must be 1 to 1000 Objects with a Key",
        ));
    }
    let outcomes = stream::iter(keys).map(async |(key, version)| {
        let outcome = one(request, &key, version.as_deref()).await;
        (key, outcome)
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

async fn one(request: &S3Request, text: &str, version: Option<&str>) -> S3Result<()> {
    request.need(Scope::Delete, text)?;
    if !matches!(version, None | Some("" | "null")) {
        return Err(S3Error::not_implemented("versions"));
    }
    let key = parse_key(text.to_owned())?;
    let outcome = request.bucket.delete(&key).await;
    request.record_delete(&key, &outcome);
    Ok(outcome?)
}
