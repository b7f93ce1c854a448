//! List Objects V2, List Object Versions.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use stand_in::answer::{Answer, Fail};
use stand_in::wire::{base64url_decode, base64url_encode};
use stand_in::xml;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::core::Core;
use crate::respond::invalid_argument;
use crate::service::{Call, document};

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>: by the bytes of the keys.
pub(crate) fn objects(core: &Core, call: &Call) -> Result<Answer, Fail> {
    let most = limit(call, "max-keys")?;
    let prefix = call.query.or_empty("prefix");
    let delimiter = call.query.or_empty("delimiter");
    let token = call.query.value("continuation-token");
    let after = match token {
        Some(token) => place(token)?,
        None => call.query.or_empty("start-after").to_owned(),
    };
    let names = Names::new(call)?;
    core.store(|store| {
        let bucket = call.bucket(core, store)?;
        let mut shown = 0;
        let mut contents = String::new();
        let mut prefixes = String::new();
        let mut last = String::new();
        let mut more = false;
        // A common prefix that was shown stands for everything below it, on the page before, too.
        let mut folder: Option<String> =
            common(&after, prefix, delimiter).filter(|folder| *folder == after);
        for (key, entry) in bucket.entries.range(after.clone()..) {
            let Some(object) = entry.current() else {
                continue;
            };
            if *key <= after || !key.starts_with(prefix) {
                continue;
            }
            if folder
                .as_ref()
                .is_some_and(|folder| key.starts_with(folder))
            {
                continue;
            }
            if shown == most {
                more = most > 0;
                break;
            }
            shown += 1;
            if let Some(common) = common(key, prefix, delimiter) {
                prefixes += &format!(
                    "<CommonPrefixes>{}</CommonPrefixes>",
                    xml::element("Prefix", &names.write(&common))
                );
                last.clone_from(&common);
                folder = Some(common);
                continue;
            }
            last.clone_from(key);
            contents += &format!(
                "<Contents>{}{}{}{}{}</Contents>",
                xml::element("Key", &names.write(key)),
                xml::element("LastModified", &iso_millis(object.modified)),
                xml::element("ETag", &object.etag),
                xml::element("Size", &object.content.len.to_string()),
                xml::element("StorageClass", &object.storage_class),
            );
        }
        let mut head = xml::element("Name", call.bucket.as_deref().unwrap_or_default())
            + &xml::element("Prefix", &names.write(prefix))
            + &xml::element("KeyCount", &shown.to_string())
            + &xml::element("MaxKeys", &most.to_string())
            + &xml::element("IsTruncated", if more { "true" } else { "false" });
        if !delimiter.is_empty() {
            head += &xml::element("Delimiter", &names.write(delimiter));
        }
        if let Some(token) = token {
            head += &xml::element("ContinuationToken", token);
        }
        if more {
            head += &xml::element(
                "NextContinuationToken",
                &format!("{TOKEN}{}", base64url_encode(&last)),
            );
        }
        head += names.declaration();
        Ok(document(
            "ListBucketResult",
            &(head + &contents + &prefixes),
        ))
    })
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html>: by key, the newest version first.
pub(crate) fn versions(core: &Core, call: &Call) -> Result<Answer, Fail> {
    let most = limit(call, "max-keys")?;
    let prefix = call.query.or_empty("prefix");
    let key_marker = call.query.or_empty("key-marker");
    let version_marker = call
        .query
        .value("version-id-marker")
        .filter(|text| !text.is_empty());
    let names = Names::new(call)?;
    core.store(|store| {
        let bucket = call.bucket(core, store)?;
        let mut inner = String::new();
        let mut shown = 0;
        let mut next: Option<(String, String)> = None;
        let mut more = false;
        'keys: for (key, entry) in bucket.entries.range(key_marker.to_owned()..) {
            if !key.starts_with(prefix) {
                continue;
            }
            let mut waiting = (key == key_marker).then_some(version_marker);
            for (index, held) in entry.versions.iter().rev().enumerate() {
                match waiting {
                    Some(None) if !key_marker.is_empty() => continue,
                    Some(Some(marker)) => {
                        if held.id == marker {
                            waiting = None;
                        }
                        continue;
                    }
                    _ => {}
                }
                if shown == most {
                    more = true;
                    break 'keys;
                }
                shown += 1;
                next = Some((key.clone(), held.id.clone()));
                // Google names versions by their generations, and has no markers of deletions.
                let id = match (core.is_google(), &held.object) {
                    (false, _) => xml::element("VersionId", &held.id),
                    (true, Some(object)) => {
                        xml::element("Generation", &object.generation.to_string())
                    }
                    (true, None) => continue,
                };
                let about = xml::element("Key", &names.write(key))
                    + &id
                    + &xml::element("IsLatest", if index == 0 { "true" } else { "false" })
                    + &xml::element("LastModified", &iso_millis(held.modified));
                inner += &match &held.object {
                    None => format!("<DeleteMarker>{about}</DeleteMarker>"),
                    Some(object) => format!(
                        "<Version>{about}{}{}{}</Version>",
                        xml::element("ETag", &object.etag),
                        xml::element("Size", &object.content.len.to_string()),
                        xml::element("StorageClass", &object.storage_class)
                    ),
                };
            }
        }
        let mut head = xml::element("Name", call.bucket.as_deref().unwrap_or_default())
            + &xml::element("Prefix", &names.write(prefix))
            + &xml::element("KeyMarker", &names.write(key_marker))
            + &xml::element("VersionIdMarker", version_marker.unwrap_or_default())
            + &xml::element("MaxKeys", &most.to_string())
            + &xml::element("IsTruncated", if more { "true" } else { "false" });
        if let Some((key, id)) = next.filter(|_| more) {
            head += &(xml::element("NextKeyMarker", &names.write(&key))
                + &xml::element("NextVersionIdMarker", &id));
        }
        head += names.declaration();
        Ok(document("ListVersionsResult", &(head + &inner)))
    })
}

/// The part of a key up to the first delimiter behind the prefix.
fn common(key: &str, prefix: &str, delimiter: &str) -> Option<String> {
    if delimiter.is_empty() {
        return None;
    }
    let rest = key.strip_prefix(prefix)?;
    let end = rest.find(delimiter)? + delimiter.len();
    Some(format!("{prefix}{}", &rest[..end]))
}

/// How many items are asked for; the service never shows more than 1,000.
pub(crate) fn limit(call: &Call, name: &str) -> Result<usize, Fail> {
    let Some(text) = call.query.value(name) else {
        return Ok(PAGE);
    };
    match text.parse::<i32>() {
        Ok(most) if most >= 0 => Ok(usize::try_from(most).unwrap_or(PAGE).min(PAGE)),
        _ => Err(invalid_argument(
            &format!("Provided {name} not an integer or within integer range"),
            name,
            text,
        )),
    }
}

fn place(token: &str) -> Result<String, Fail> {
    let decoded = token.strip_prefix(TOKEN).and_then(base64url_decode);
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.ok_or_else(|| {
        invalid_argument(
            "The continuation token provided is incorrect",
            "continuation-token",
            token,
        )
    })
}

/// How names are written: as they are, or percent-encoded if that is asked for.
struct Names {
    encoded: bool,
}

impl Names {
    fn new(call: &Call) -> Result<Self, Fail> {
        match call.query.value("encoding-type") {
            None | Some("") => Ok(Self { encoded: false }),
            Some("url") => Ok(Self { encoded: true }),
            Some(other) => Err(invalid_argument(
                "Invalid Encoding Method specified in Request",
                "encoding-type",
                other,
            )),
        }
    }

    fn write(&self, name: &str) -> String {
        if self.encoded {
            return utf8_percent_encode(name, ENCODED).to_string();
        }
        name.to_owned()
    }

    fn declaration(&self) -> &'static str {
        if self.encoded {
            "<EncodingType>url</EncodingType>"
        } else {
            ""
        }
    }
}

/// `2026-11-27T10:00:00.000Z`
pub(crate) fn iso_millis(at: OffsetDateTime) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    at.format(format).expect("every UTC time has milliseconds")
}

const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// What tokens begin with, so that a key is not taken for one.
const TOKEN: &str = "1-";

const PAGE: usize = 1000;
