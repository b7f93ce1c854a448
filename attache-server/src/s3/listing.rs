//! ListObjects, of both versions.

use attache::access::Scope;
use attache::storage::bucket::{After, ListPage, ListRequest, MAX_LIST};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::error::{S3Error, S3Result};
use super::request::S3Request;
use super::signature::encode;
use super::values::iso_date;
use super::xml::{Xml, document};

/// What a continuation token holds.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    #[serde(rename = "k")]
    key: String,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    store: Option<String>,
}

/// How names are written.
struct Names {
    /// `encoding-type=url`
    encoded: bool,
}

impl Names {
    fn write(&self, text: &str) -> String {
        match self.encoded {
            // As AWS does: a `/` stays.
            true => encode(text).replace("%2F", "/"),
            false => text.to_owned(),
        }
    }
}

/// What both versions ask for.
struct Asked<'r> {
    prefix: &'r str,
    delimiter: Option<&'r str>,
    limit: usize,
    names: Names,
}

fn asked(request: &S3Request) -> S3Result<Asked<'_>> {
    let query = &request.query;
    let prefix = query.get("prefix").unwrap_or_default();
    request.need(Scope::Read, prefix)?;
    let encoded = match query.get("encoding-type") {
        None | Some("") => false,
        Some("url") => true,
        Some(_) => {
            return Err(S3Error::invalid(
                "Invalid Encoding Method specified in Request",
            ));
        }
    };
    let limit = request.number("max-keys")?.unwrap_or(1000);
    Ok(Asked {
        prefix,
        delimiter: query
            .get("delimiter")
            .filter(|delimiter| !delimiter.is_empty()),
        limit: usize::try_from(limit).unwrap_or(MAX_LIST).min(MAX_LIST),
        names: Names { encoded },
    })
}

async fn page(request: &S3Request, asked: &Asked<'_>, after: Option<After>) -> S3Result<ListPage> {
    if asked.limit == 0 {
        return Ok(ListPage::default());
    }
    let wanted = ListRequest {
        prefix: asked.prefix.to_owned(),
        delimiter: asked.delimiter.map(str::to_owned),
        after,
        limit: asked.limit,
    };
    Ok(request.bucket.list(&wanted).await?)
}

/// ListObjects
pub(super) async fn first(request: &S3Request) -> S3Result<Response> {
    let asked = asked(request)?;
    let marker = request.query.get("marker").unwrap_or_default();
    let after = (!marker.is_empty()).then(|| After {
        key: marker.to_owned(),
        token: None,
    });
    let page = page(request, &asked, after).await?;
    // Some clients go on with the last key of a page and some with this; a few take what they did not ask to be encoded as it is.
    let next = page.next.as_ref();
    let next = next.filter(|_| !asked.names.encoded || asked.delimiter.is_some());
    let next = next.map(|next| asked.names.write(&next.key));
    let mut xml = Xml::new();
    xml.root("ListBucketResult")
        .text("Name", &request.name)
        .text("Prefix", &asked.names.write(asked.prefix))
        .text("Marker", &asked.names.write(marker))
        .some("NextMarker", next.as_deref());
    finish(&mut xml, &asked, &page, true);
    Ok(document(xml))
}

/// ListObjectsV2
pub(super) async fn second(request: &S3Request) -> S3Result<Response> {
    let asked = asked(request)?;
    let query = &request.query;
    let token = query.get("continuation-token");
    let start = query.get("start-after").filter(|start| !start.is_empty());
    let after = match (token, start) {
        (Some(token), _) => Some(read_token(token)?),
        (None, Some(start)) => Some(After {
            key: start.to_owned(),
            token: None,
        }),
        (None, None) => None,
    };
    let page = page(request, &asked, after).await?;
    let next = page.next.as_ref().map(write_token);
    let count = page.entries.len() + page.prefixes.len();
    let start = start.map(|start| asked.names.write(start));
    let mut xml = Xml::new();
    xml.root("ListBucketResult")
        .text("Name", &request.name)
        .text("Prefix", &asked.names.write(asked.prefix))
        .some("StartAfter", start.as_deref())
        .some("ContinuationToken", token)
        .some("NextContinuationToken", next.as_deref())
        .text("KeyCount", &count.to_string());
    let owner = query.get("fetch-owner") == Some("true");
    finish(&mut xml, &asked, &page, owner);
    Ok(document(xml))
}

fn finish(xml: &mut Xml, asked: &Asked<'_>, page: &ListPage, owner: bool) {
    let names = &asked.names;
    let delimiter = asked.delimiter.map(|delimiter| names.write(delimiter));
    let truncated = page.next.is_some();
    xml.text("MaxKeys", &asked.limit.to_string())
        .some("Delimiter", delimiter.as_deref())
        .text("IsTruncated", if truncated { "true" } else { "false" })
        .some("EncodingType", names.encoded.then_some("url"));
    for entry in &page.entries {
        xml.open("Contents")
            .text("Key", &names.write(entry.key.as_str()))
            .text("LastModified", &iso_date(entry.modified))
            .text("ETag", &format!("\"{}\"", entry.etag));
        if let Some(kept) = entry.checksum {
            xml.text("ChecksumAlgorithm", kept.checksum.kind().as_str());
        }
        xml.text("Size", &entry.size.to_string());
        if owner {
            xml.raw(super::bucket::OWNER);
        }
        xml.text("StorageClass", "STANDARD").close("Contents");
    }
    for prefix in &page.prefixes {
        xml.open("CommonPrefixes")
            .text("Prefix", &names.write(prefix))
            .close("CommonPrefixes");
    }
    xml.close("ListBucketResult");
}

fn write_token(after: &After) -> String {
    let token = Token {
        key: after.key.clone(),
        store: after.token.clone(),
    };
    // Two strings are always JSON.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
}

fn read_token(text: &str) -> S3Result<After> {
    let decoded = URL_SAFE_NO_PAD.decode(text).ok();
    let token = decoded.and_then(|bytes| serde_json::from_slice::<Token>(&bytes).ok());
    let token =
        token.ok_or_else(|| S3Error::invalid("The continuation token provided is incorrect"))?;
    Ok(After {
        key: token.key,
        token: token.store,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_was_and_no_other_is_read() {
        let after = After {
            key: "a/ü".to_owned(),
            token: Some("2!92!x".to_owned()),
        };
        assert_eq!(read_token(&write_token(&after)).expect("a token"), after);
        for bad in ["", "x", "e30"] {
            assert!(read_token(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_encoded_for_those_who_ask() {
        let names = Names { encoded: true };
        assert_eq!(names.write("k/a+b c\u{1}"), "k/a%2Bb%20c%01");
        assert_eq!(Names { encoded: false }.write("k/a+b"), "k/a+b");
    }
}
