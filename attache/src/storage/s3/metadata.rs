//! What is kept beside the bytes: as headers of an object, and read from them.
//!
//! A value of metadata is ASCII, or no client reads it again. So text is percent-encoded, or base64 where that is shorter: S3 takes 2 KiB
//! of it. What does not fit is left out, and the catalog alone has it: who uploaded the file first, then whose it is. Names have no `_`,
//! which proxies drop headers for.

use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName};
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use time::format_description::well_known::Rfc3339;

use super::ask::header;
use super::dialect::Dialect;
use crate::attachment::{Hex, ObjectKey};
use crate::error::{Error, Result};
use crate::storage::{Content, Facts, ObjectInfo, Stored, facts};

/// The headers that an object gets. `content` is settled; `attempt` tells our own work from somebody else's.
pub(super) fn to_headers(
    dialect: Dialect,
    content: &Content,
    stored: &Stored,
    attempt: Option<&str>,
) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut insert = |name: HeaderName, value: &str| {
        let (name, value) = header(name, value)?;
        headers.insert(name, value);
        Ok::<_, Error>(())
    };
    insert(CONTENT_TYPE, &content.content_type)?;
    insert(CONTENT_DISPOSITION, &content.disposition)?;
    for (name, value) in fields(dialect, &content.facts, stored, attempt) {
        let name = format!("{}{name}", dialect.metadata_prefix());
        let name = HeaderName::try_from(name)
            .map_err(|error| Error::internal("a name of metadata is wrong").with_source(error))?;
        insert(name, &value)?;
    }
    Ok(headers)
}

/// The first of these are left out where not all of them fit.
const LEFT_OUT: [&str; 2] = ["created-by", "owner"];

fn fields(
    dialect: Dialect,
    facts: &Facts,
    stored: &Stored,
    attempt: Option<&str>,
) -> Vec<(String, String)> {
    let created_at = facts.created_at.format(&Rfc3339).unwrap_or_default();
    let plain = |name: &str, value: Option<String>| Some((name.to_owned(), value?));
    let text = |name: &str, value: Option<&str>| value.map(|value| encoded(name, value));
    let crc64 = stored.crc64.map(|crc| Hex(crc.to_be_bytes()).to_string());
    let fields = [
        plain("id", Some(facts.id.to_string())),
        plain("attempt", attempt.map(str::to_owned)),
        plain("size", Some(stored.size.to_string())),
        plain("sha256", stored.sha256.map(|hex| hex.to_string())),
        plain("md5", stored.md5.map(|hex| hex.to_string())),
        plain("crc64", crc64),
        plain("created-at", Some(created_at)),
        text("content-type", Some(&facts.content_type)),
        text("filename", Some(facts.filename.as_str())),
        text("owner", facts.owner.as_ref().map(|owner| owner.as_str())),
        text(
            "created-by",
            facts.created_by.as_ref().map(|by| by.as_str()),
        ),
    ];
    let mut fields: Vec<(String, String)> = fields.into_iter().flatten().collect();
    for left_out in LEFT_OUT {
        let bytes: usize = fields
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if bytes <= dialect.metadata_bytes() {
            break;
        }
        fields.retain(|(name, _)| name.trim_end_matches(BASE64) != left_out);
    }
    fields
}

/// Behind the name of what is base64.
const BASE64: &str = "-base64";

/// The shorter form of a text, and the name that says which.
fn encoded(name: &str, text: &str) -> (String, String) {
    let percent = utf8_percent_encode(text, facts::VALUE).to_string();
    let base64 = crate::base64::encode_url(text);
    match percent.len() <= base64.len() + BASE64.len() {
        true => (name.to_owned(), percent),
        false => (format!("{name}{BASE64}"), base64),
    }
}

/// What the headers of an object say of it. `size` is that of the whole.
pub(super) fn object_info(
    dialect: Dialect,
    key: &ObjectKey,
    size: u64,
    headers: &HeaderMap,
) -> ObjectInfo {
    let prefix = dialect.metadata_prefix();
    let plain = |name: &str| headers.get(format!("{prefix}{name}"))?.to_str().ok();
    let text = |name: &str| match plain(name) {
        Some(percent) => percent_decode_str(percent)
            .decode_utf8()
            .ok()
            .map(String::from),
        None => {
            let base64 = plain(&format!("{name}{BASE64}"))?;
            String::from_utf8(crate::base64::decode_url(base64)?).ok()
        }
    };
    ObjectInfo {
        facts: Facts::read(|name| text(&name.replace('_', "-"))),
        key: key.clone(),
        size,
        sha256: plain("sha256").and_then(|hex| hex.parse().ok()),
        md5: plain("md5").and_then(|hex| hex.parse().ok()),
        crc64: plain("crc64").and_then(facts::crc64),
        facts_size: plain("size").and_then(|size| size.parse().ok()),
        store_tag: dialect.version(headers).map(|version| version.tag),
        archived: is_archived(dialect, headers),
    }
}

/// As [`object_info`], of an answer to HEAD.
pub(super) fn head_info(
    dialect: Dialect,
    key: &ObjectKey,
    headers: &HeaderMap,
) -> Result<ObjectInfo> {
    Ok(object_info(dialect, key, size(dialect, headers)?, headers))
}

/// The length of the object that an answer to HEAD is about.
pub(super) fn size(dialect: Dialect, headers: &HeaderMap) -> Result<u64> {
    length(headers)
        .ok_or_else(|| Error::internal(format!("{}: the response has no length", dialect.name())))
}

/// The length of what comes.
pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether it cannot be read before somebody restores it. Google's archive class can
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/archived-objects.html>).
pub(super) fn is_archived(dialect: Dialect, headers: &HeaderMap) -> bool {
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok();
    if dialect == Dialect::Gcs {
        return false;
    }
    let class = text(&dialect.storage_class());
    let moved = matches!(class, Some("GLACIER" | "DEEP_ARCHIVE"))
        || headers.contains_key("x-amz-archive-status");
    let restored = headers
        .get("x-amz-restore")
        .and_then(|restore| restore.to_str().ok())
        .is_some_and(|restore| restore.contains("ongoing-request=\"false\""));
    moved && !restored
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use time::OffsetDateTime;

    use super::*;

    fn content(filename: &str, owner: &str, by: &str) -> Content {
        let facts = Facts {
            id: "a-b".parse().expect("an id"),
            owner: Some(owner.parse().expect("an owner")),
            filename: filename.to_owned().into(),
            content_type: "text/plain; charset=utf-8".to_owned(),
            created_at: OffsetDateTime::UNIX_EPOCH,
            created_by: Some(by.parse().expect("an author")),
        };
        let blocks = crate::storage::Blocks {
            bytes: 1,
            concurrency: 1,
            budget: crate::transfer::budget::Budget::new(0),
        };
        Content::new(facts, &[], None, blocks)
    }

    fn read_back(dialect: Dialect, content: &Content) -> ObjectInfo {
        let stored = Stored {
            size: 7,
            sha256: Some(Hex([1; 32])),
            md5: Some(Hex([2; 16])),
            crc64: Some(3),
            ..Stored::default()
        };
        let headers = to_headers(dialect, content, &stored, Some(&"a".repeat(32))).expect("ASCII");
        let prefix = dialect.metadata_prefix();
        let bytes: usize = headers
            .iter()
            .filter_map(|(name, value)| {
                Some(name.as_str().strip_prefix(prefix)?.len() + value.len())
            })
            .sum();
        assert!(bytes <= dialect.metadata_bytes(), "{bytes}");
        let key: ObjectKey = "attachment/a-b.txt".parse().expect("a key");
        let info = object_info(dialect, &key, 7, &headers);
        assert_eq!((info.sha256, info.md5), (stored.sha256, stored.md5));
        assert_eq!((info.crc64, info.facts_size), (stored.crc64, Some(7)));
        info
    }

    #[test]
    fn text_of_any_script_travels_as_ascii() {
        let content = content("Übersicht 日本.pdf", "page:a/b?c=%20", "Jürgen 山田");
        for dialect in [Dialect::S3, Dialect::Gcs] {
            assert_eq!(
                read_back(dialect, &content).facts.as_ref(),
                Some(&content.facts)
            );
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out_in_an_order_and_the_name_stays() {
        let owner = format!("page:{}", "x".repeat(123));
        let wide = "🦀".repeat(128);
        let long = content(&"長".repeat(255), &owner, &wide);
        let facts = read_back(Dialect::S3, &long).facts.expect("facts");
        assert_eq!(facts.created_by, None);
        assert_eq!(
            (facts.filename, facts.owner),
            (long.facts.filename.clone(), long.facts.owner.clone())
        );
        assert_eq!(
            read_back(Dialect::Gcs, &long).facts.as_ref(),
            Some(&long.facts)
        );
    }

    #[test]
    fn what_was_restored_from_an_archive_can_be_read() {
        let mut headers = HeaderMap::new();
        assert!(!is_archived(Dialect::S3, &headers));
        headers.insert(
            "x-amz-storage-class",
            HeaderValue::from_static("DEEP_ARCHIVE"),
        );
        assert!(is_archived(Dialect::S3, &headers));
        headers.insert(
            "x-amz-restore",
            HeaderValue::from_static("ongoing-request=\"true\""),
        );
        assert!(is_archived(Dialect::S3, &headers));
        headers.insert(
            "x-amz-restore",
            HeaderValue::from_static("ongoing-request=\"false\", expiry-date=\"x\""),
        );
        assert!(!is_archived(Dialect::S3, &headers));
        headers.insert("x-goog-storage-class", HeaderValue::from_static("ARCHIVE"));
        assert!(!is_archived(Dialect::Gcs, &headers));
    }
}
