//! Facts are written again: an object is copied onto itself with other metadata, if it is still the same.

use http::Method;
use http::header::{HeaderMap, HeaderValue};

use super::ask::{Ask, header, path_of};
use super::compose::Whole;
use super::dialect::{Dialect, Version};
use super::inner::Inner;
use super::metadata::{size, to_headers};
use super::plan::MAX_PART_BYTES;
use super::refusal::Fault;
use super::staging::{Piece, folder};
use super::xml::Element;
use crate::attachment::ObjectKey;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Content, Stored};

const REPLACE: HeaderValue = HeaderValue::from_static("REPLACE");

pub(super) async fn write_facts(
    inner: &Inner,
    key: &ObjectKey,
    content: &Content,
    stored: &Stored,
) -> Result<Option<String>> {
    let fail = |fault| inner.fail(fault, "facts", key.as_str());
    let absent =
        || Error::new(ErrorKind::NotFound, "there is no such object").during("facts", key.as_str());
    let now = inner.head(key.as_str()).await.map_err(fail)?;
    let now = now.ok_or_else(absent)?;
    let dialect = inner.place.dialect;
    let size = size(dialect, &now)?;
    let version = dialect
        .version(&now)
        .ok_or_else(|| Error::internal("the response has no version"))?;
    // Whose it is stays, for whoever wrote it and looks for it.
    let attempt = now.get(format!("{}attempt", dialect.metadata_prefix()));
    let attempt = attempt.and_then(|attempt| attempt.to_str().ok());
    let headers = to_headers(dialect, content, stored, attempt)?;
    let written = match size > MAX_PART_BYTES && dialect == Dialect::S3 {
        true => {
            let whole = Whole {
                key: key.as_str(),
                headers: &headers,
                condition: Some(&version.condition),
                crc64: stored.crc64,
                folder: &folder(key.as_str()),
            };
            let itself = vec![Piece::whole(key.as_str().to_owned(), size)];
            inner.compose(&whole, itself, &content.blocks.budget).await
        }
        false => copy(inner, key.as_str(), &headers, &version).await,
    };
    written.map_err(fail)
}

/// CopyObject (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>), from one name to the same; the new tag.
pub(super) async fn copy(
    inner: &Inner,
    key: &str,
    headers: &HeaderMap,
    version: &Version,
) -> Result<Option<String>, Fault> {
    let dialect = inner.place.dialect;
    let source = path_of(&format!("/{}", inner.place.bucket), key);
    let mut ask = Ask::new(Method::PUT, key);
    ask.headers = headers.clone();
    let ask = ask
        .header(header(dialect.copy_source(), source)?)
        .header((dialect.metadata_directive(), REPLACE))
        .header(dialect.copy_source_is(version));
    let answered = match inner.ask(&ask).await {
        // An answer may have been lost, and the copy that was made is not what was copied.
        Err(fault) if fault.is_taken() => {
            return match inner.head(key).await? {
                Some(now) if has(&now, headers, dialect) => {
                    Ok(dialect.version(&now).map(|version| version.tag))
                }
                _ => Err(fault),
            };
        }
        outcome => outcome?,
    };
    let told = dialect
        .version(&answered.headers)
        .map(|version| version.tag);
    let root = inner.success(answered).await?;
    match told {
        Some(tag) => Ok(Some(tag)),
        None => Ok(tag_of(&root)),
    }
}

/// Whether an object has these metadata.
fn has(now: &HeaderMap, headers: &HeaderMap, dialect: Dialect) -> bool {
    let prefix = dialect.metadata_prefix();
    let mut ours = headers.iter();
    ours.all(|(name, value)| !name.as_str().starts_with(prefix) || now.get(name) == Some(value))
}

fn tag_of(root: &Element) -> Option<String> {
    root.text_of("ETag").map(super::dialect::bare)
}
