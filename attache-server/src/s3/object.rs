//! One object: PUT, GET, HEAD, DELETE.

use attache::Error;
use attache::access::Scope;
use attache::attachment::ByteRange;
use attache::service::{ObjectBody, PutObject};
use attache::storage::bucket::{Condition, Entry, Key};
use attache::transfer::ranges;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE,
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, HeaderName, HeaderValue, IF_RANGE,
    LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, StatusCode};

use super::body::{self, header_of};
use super::conditions;
use super::deliver;
use super::error::{S3Error, S3Result};
use super::request::S3Request;
use super::values::{DEFAULT_TYPE, quoted, unquoted, value};
use crate::net::outgoing::Outgoing;
use crate::respond;
use crate::respond::http_date;
use crate::upload::Incoming;

/// PutObject
pub(super) async fn put(request: &S3Request, key: &Key, incoming: Incoming) -> S3Result<Response> {
    request.need(Scope::Write, key.as_str())?;
    let headers = &request.head.headers;
    body::refuse_unsupported(headers)?;
    let _in_progress = request.begin_upload()?;
    let upload = body::read(headers, &request.caller.proof, incoming, None)?;
    let put = PutObject {
        properties: request.properties()?,
        size: upload.size,
        digests: upload.digests,
        condition: condition(headers)?,
    };
    let entry = request.bucket.put(key, put, upload.bytes).await?;
    Ok(stored(&entry))
}

/// The response to an object that was stored: no body, which some clients take for an error.
pub(super) fn stored(entry: &Entry) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(ETAG, quoted(&entry.etag));
    checksum(&mut headers, entry);
    (StatusCode::OK, headers).into_response()
}

/// `If-Match` and `If-None-Match` of a write.
pub(super) fn condition(headers: &HeaderMap) -> S3Result<Condition> {
    let text = |name| body::text(headers, name);
    match (text("if-match"), text("if-none-match").as_deref()) {
        (None, None) => Ok(Condition::None),
        (None, Some("*")) => Ok(Condition::Absent),
        (Some(etag), None) if etag != "*" => Ok(Condition::Matches(unquoted(&etag).to_owned())),
        _ => Err(S3Error::not_implemented(
            "this condition of a write: one of If-None-Match: * and If-Match with an entity tag is",
        )),
    }
}

/// GetObject
pub(super) async fn get(request: &S3Request, key: &Key) -> S3Result<Response> {
    request.need_read(key)?;
    request.refuse_version()?;
    refuse_part(request)?;
    if let Some(response) = deliver::elsewhere(request, key).await? {
        return Ok(response);
    }
    let headers = &request.head.headers;
    let range = match body::text(headers, RANGE.as_str()) {
        Some(range) if headers.contains_key(IF_RANGE) => {
            let entry = request.found(key).await?;
            conditions::goes_on(headers, &entry).then_some(range)
        }
        range => range,
    };
    let opened = match open(request, key, range.as_deref()).await {
        // Conditions come before ranges.
        Err(error) if error.code() == "InvalidRange" => {
            let entry = request.found(key).await?;
            return match unchanged(headers, &entry)? {
                Some(response) => Ok(response),
                None => Err(error.of_size(entry.size)),
            };
        }
        opened => opened?,
    };
    if let Some(response) = unchanged(headers, &opened.entry)? {
        return Ok(response);
    }
    let ObjectBody {
        entry,
        range: part,
        body,
    } = opened;
    let mut head = describe(request, &entry, range.is_none());
    let length = part.len();
    head.insert(CONTENT_LENGTH, HeaderValue::from(length));
    let whole = part.start == 0 && part.end == entry.size;
    // All of it is a part of it, too, if it was asked for as one.
    let partial = range.is_some()
        && (!whole || entry.size > 0)
        && is_understood(range.as_deref(), entry.size);
    let status = match partial {
        true => {
            head.insert(CONTENT_RANGE, respond::content_range(part, entry.size));
            StatusCode::PARTIAL_CONTENT
        }
        false => StatusCode::OK,
    };
    deliver::guard(request, &entry, &mut head);
    let body = Outgoing::new(Box::new(body), length, request.backpressure());
    Ok((status, head, Body::new(body)).into_response())
}

fn refuse_part(request: &S3Request) -> S3Result<()> {
    match request.query.has("partNumber") {
        true => Err(S3Error::not_implemented("reading a part by its number")),
        false => Ok(()),
    }
}

/// Whether a range is one that is answered with 206: several, or what nobody understands, get the whole.
fn is_understood(range: Option<&str>, size: u64) -> bool {
    let parsed = range.map(|range| ranges::parse(range, size));
    matches!(parsed, Some(Ok(ranges)) if ranges.len() == 1)
}

/// Farther than any object reaches; stores cut a range at the end.
const FAR: u64 = 1 << 50;

async fn open(request: &S3Request, key: &Key, range: Option<&str>) -> S3Result<ObjectBody> {
    let Some(range) = range else {
        return Ok(request.bucket.get(key, None, None).await?);
    };
    // Most ranges need no look at the object before.
    if let Some(asked) = simple_range(range) {
        return Ok(request.bucket.get(key, Some(asked), None).await?);
    }
    let entry = request.found(key).await?;
    let parsed = ranges::parse(range, entry.size)?;
    let asked = match parsed.as_slice() {
        [one] => Some(*one),
        _ => None,
    };
    Ok(request.bucket.get(key, asked, Some(&entry.version)).await?)
}

/// `bytes=a-b` and `bytes=a-`
fn simple_range(range: &str) -> Option<ByteRange> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    // `parse` takes a sign, too.
    if !first
        .bytes()
        .chain(last.bytes())
        .all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let start: u64 = first.parse().ok().filter(|start| *start < FAR)?;
    let end = match last {
        "" => start + FAR,
        last => last.parse::<u64>().ok()?.min(FAR + start).checked_add(1)?,
    };
    (start < end).then_some(ByteRange { start, end })
}

/// HeadObject
pub(super) async fn head(request: &S3Request, key: &Key) -> S3Result<Response> {
    request.need_read(key)?;
    refuse_part(request)?;
    let entry = request.found(key).await?;
    let headers = &request.head.headers;
    if let Some(response) = unchanged(headers, &entry)? {
        return Ok(response);
    }
    let range = body::text(headers, RANGE.as_str());
    let mut head = describe(request, &entry, range.is_none());
    let part = match &range {
        Some(range) => {
            let parsed = ranges::parse(range, entry.size);
            parsed.map_err(|error| S3Error::from(error).of_size(entry.size))?
        }
        None => Vec::new(),
    };
    let (status, length) = match part.as_slice() {
        [one] => {
            head.insert(CONTENT_RANGE, respond::content_range(*one, entry.size));
            (StatusCode::PARTIAL_CONTENT, one.len())
        }
        _ => (StatusCode::OK, entry.size),
    };
    head.insert(CONTENT_LENGTH, HeaderValue::from(length));
    deliver::guard(request, &entry, &mut head);
    Ok((status, head, Body::empty()).into_response())
}

/// No store but S3 has all of them (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html>).
const CONDITIONS_OF_DELETIONS: [&str; 4] = [
    "if-match",
    "if-none-match",
    "x-amz-if-match-last-modified-time",
    "x-amz-if-match-size",
];

/// DeleteObject
pub(super) async fn delete(request: &S3Request, key: &Key) -> S3Result<Response> {
    request.need(Scope::Delete, key.as_str())?;
    request.refuse_version()?;
    if CONDITIONS_OF_DELETIONS
        .iter()
        .any(|name| request.head.headers.contains_key(*name))
    {
        return Err(S3Error::not_implemented("conditions of deletions"));
    }
    request.bucket.delete(key).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The response to a reader whose conditions say that it needs no bytes.
///
/// # Errors
///
/// `PreconditionFailed`.
fn unchanged(headers: &HeaderMap, entry: &Entry) -> S3Result<Option<Response>> {
    let same = conditions::is_not_modified(headers, entry)?;
    Ok(same.then(|| {
        let mut head = HeaderMap::new();
        head.insert(ETAG, quoted(&entry.etag));
        head.insert(LAST_MODIFIED, value(&http_date(entry.modified)));
        let nothing = futures::stream::empty::<Result<bytes::Bytes, Error>>();
        (StatusCode::NOT_MODIFIED, head, Body::from_stream(nothing)).into_response()
    }))
}

/// The headers of an object; its checksum only where all of it is sent.
fn describe(request: &S3Request, entry: &Entry, whole: bool) -> HeaderMap {
    let mut head = HeaderMap::with_capacity(16);
    head.insert(ETAG, quoted(&entry.etag));
    head.insert(LAST_MODIFIED, value(&http_date(entry.modified)));
    head.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let properties = &entry.properties;
    for (name, kept) in [
        (
            CONTENT_TYPE,
            Some(properties.content_type.as_deref().unwrap_or(DEFAULT_TYPE)),
        ),
        (CACHE_CONTROL, properties.cache_control.as_deref()),
        (
            CONTENT_DISPOSITION,
            properties.content_disposition.as_deref(),
        ),
        (CONTENT_ENCODING, properties.content_encoding.as_deref()),
        (CONTENT_LANGUAGE, properties.content_language.as_deref()),
        (EXPIRES, properties.expires.as_deref()),
    ] {
        let asked = request.override_of(&name);
        if let Some(text) = asked.or(kept) {
            head.insert(name, value(text));
        }
    }
    for (name, text) in &properties.metadata {
        let name = format!("x-amz-meta-{name}").parse::<HeaderName>();
        if let Ok(name) = name {
            head.insert(name, value(text));
        }
    }
    if !properties.tags.is_empty() {
        let name = HeaderName::from_static("x-amz-tagging-count");
        head.insert(name, HeaderValue::from(properties.tags.len()));
    }
    let mode = request.head.headers.get("x-amz-checksum-mode");
    if whole && mode.is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(b"ENABLED")) {
        checksum(&mut head, entry);
    }
    head
}

pub(super) fn checksum(head: &mut HeaderMap, entry: &Entry) {
    let Some(kept) = entry.checksum else { return };
    let text = match kept.parts {
        Some(parts) => format!("{}-{parts}", kept.checksum),
        None => kept.checksum.to_string(),
    };
    let name = HeaderName::from_static(header_of(kept.checksum.kind()));
    head.insert(name, value(&text));
    let kind = match kept.parts {
        Some(_) => "COMPOSITE",
        None => "FULL_OBJECT",
    };
    let name = HeaderName::from_static("x-amz-checksum-type");
    head.insert(name, HeaderValue::from_static(kind));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simple_range_needs_no_look_at_the_object() {
        let range = |text| simple_range(text).map(|range| (range.start, range.end));
        assert_eq!(range("bytes=0-9"), Some((0, 10)));
        assert_eq!(range("bytes=5-"), Some((5, FAR + 5)));
        assert_eq!(range("bytes=5-18446744073709551615"), Some((5, FAR + 6)));
        for other in [
            "bytes=-5",
            "bytes=9-5",
            "bytes=0-1,3-4",
            "lines=0-1",
            "bytes=a-",
            "bytes=+1-2",
            "bytes=0-+2",
        ] {
            assert_eq!(range(other), None, "{other}");
        }
    }
}
