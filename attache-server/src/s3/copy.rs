//! CopyObject and UploadPartCopy: an object, or a range of one, of an object that is there.

use attache::access::Scope;
use attache::attachment::ByteRange;
use attache::service::BucketHandle;
use attache::storage::bucket::{Entry, Key};
use axum::response::Response;
use http::{HeaderMap, StatusCode};

use super::address::parse_key;
use super::body;
use super::conditions;
use super::error::{S3Error, S3Result};
use super::object;
use super::request::S3Request;
use super::signature::decode;
use super::values::iso_date;
use super::xml::{Xml, document};

/// What is copied.
pub(super) struct Source {
    pub(super) bucket: BucketHandle,
    pub(super) entry: Entry,
}

/// Finds what `x-amz-copy-source` names, if the caller may read it and its conditions hold.
///
/// # Errors
///
/// `AccessDenied`, `NoSuchBucket`, `NoSuchKey`, `PreconditionFailed`.
pub(super) async fn source(request: &S3Request, text: &str) -> S3Result<Source> {
    let (name, key) = names(text)?;
    let config = request.settings.s3.buckets.get(&name);
    let config = config.ok_or_else(S3Error::no_such_bucket)?;
    request.caller.need(Scope::Read, &name, key.as_str())?;
    let bucket = request
        .app
        .attache
        .bucket(&config.place(&name), &config.prefix)?;
    let entry = bucket.head(&key).await?.ok_or_else(S3Error::no_such_key)?;
    conditions::check_source(&request.head.headers, &entry)?;
    Ok(Source { bucket, entry })
}

/// `bucket/key`, with a `/` before it or not, encoded once, where `+` is itself.
fn names(text: &str) -> S3Result<(String, Key)> {
    let wrong = || {
        S3Error::invalid("x-amz-copy-source must be BUCKET/KEY, with the key encoded as in a URL")
    };
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    if !matches!(query, "" | "versionId=null") {
        return Err(S3Error::new(
            StatusCode::NOT_FOUND,
            "NoSuchVersion",
            "there is no such version: buckets of attache have none",
        ));
    }
    let path = decode(path, false).ok_or_else(wrong)?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    let (bucket, key) = path.split_once('/').ok_or_else(wrong)?;
    Ok((bucket.to_owned(), parse_key(key.to_owned())?))
}

/// CopyObject
pub(super) async fn copy(request: &S3Request, key: &Key, text: &str) -> S3Result<Response> {
    request.need(Scope::Write, key.as_str())?;
    body::refuse_unsupported(&request.head.headers)?;
    let source = source(request, text).await?;
    let directive = |name| {
        let word = body::text(&request.head.headers, name);
        match word.as_deref() {
            None | Some("COPY") => Ok(false),
            Some("REPLACE") => Ok(true),
            Some(_) => Err(S3Error::invalid(format!("{name} must be COPY or REPLACE"))),
        }
    };
    let replace = directive("x-amz-metadata-directive")?;
    let retag = directive("x-amz-tagging-directive")?;
    let mut properties = source.entry.properties.clone();
    let own = request.properties()?;
    if replace {
        let tags = std::mem::take(&mut properties.tags);
        properties = own.clone();
        properties.tags = tags;
    }
    if retag {
        properties.tags = own.tags;
    }
    let onto_itself = source.entry.key == *key && text_names(text, &request.name);
    if onto_itself && !replace && !retag {
        return Err(S3Error::new(
            StatusCode::BAD_REQUEST,
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, \
             storage class, website redirect location or encryption attributes.",
        ));
    }
    let condition = object::condition(&request.head.headers)?;
    let copied = request.bucket.copy(
        &source.bucket,
        &source.entry,
        key,
        Some(properties),
        condition,
    );
    let entry = copied.await?;
    let mut xml = Xml::new();
    xml.root("CopyObjectResult")
        .text("LastModified", &iso_date(entry.modified))
        .text("ETag", &format!("\"{}\"", entry.etag))
        .close("CopyObjectResult");
    Ok(document(xml))
}

fn text_names(text: &str, bucket: &str) -> bool {
    names(text).is_ok_and(|(name, _)| name == bucket)
}

/// `x-amz-copy-source-range`: both ends are there, and within the object.
pub(super) fn range(headers: &HeaderMap, size: u64) -> S3Result<Option<ByteRange>> {
    let Some(text) = body::text(headers, "x-amz-copy-source-range") else {
        return Ok(None);
    };
    let parsed = || {
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        let (start, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        (start <= last && last < size).then_some(ByteRange {
            start,
            end: last + 1,
        })
    };
    parsed().map(Some).ok_or_else(|| {
        S3Error::invalid(format!(
            "x-amz-copy-source-range must be bytes=FIRST-LAST within the {size} bytes of the source"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_encoded_once_and_may_begin_with_a_slash() {
        for (text, bucket, key) in [
            ("b/k%20x", "b", "k x"),
            ("/b/k", "b", "k"),
            ("b/a+b%2B/c", "b", "a+b+/c"),
            ("b//k?versionId=null", "b", "/k"),
        ] {
            let (found, object) = names(text).expect("a source");
            assert_eq!((found.as_str(), object.as_str()), (bucket, key), "{text}");
        }
        for bad in ["b", "b/", "b/%ff", "b/k?versionId=1"] {
            assert!(names(bad).is_err(), "{bad}");
        }
    }
}
