//! How attachments and their objects are named.

use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::{NoContext, Timestamp, Uuid};

use super::text::text_like;
use crate::error::{Error, Result};

/// Names one attachment: a lower-case UUIDv7, or an imported id of 1 to 64 of `[A-Za-z0-9_-]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AttachmentId(String);

/// A UUID of version 7 (RFC 9562): unique, and in the order of time. A clock that is before 1970, as that of a machine without
/// a battery is at its start, costs the order alone.
pub fn unique() -> Uuid {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    match since_1970 {
        Ok(_) => Uuid::now_v7(),
        Err(_) => Uuid::new_v7(Timestamp::from_unix(NoContext, 0, 0)),
    }
}

impl AttachmentId {
    /// A new id (UUIDv7, RFC 9562 section 5.7): sorts by time, cannot be guessed from others (74 random bits).
    pub fn generate() -> Self {
        Self(unique().hyphenated().to_string())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// When it was generated; `None` for an imported one.
    pub(crate) fn made_at(&self) -> Option<OffsetDateTime> {
        let (seconds, _) = Uuid::parse_str(&self.0).ok()?.get_timestamp()?.to_unix();
        OffsetDateTime::from_unix_timestamp(seconds.try_into().ok()?).ok()
    }
}

impl FromStr for AttachmentId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if is_id(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::bad_request(
                "an attachment id is 1 to 64 letters, digits, \"-\" or \"_\"",
            ))
        }
    }
}

/// Whether `text` may be an id. All of it is looked at, whatever is wrong with it, which compilers do many bytes at a time: a page of
/// a listing has two hundred of them.
fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().fold(true, |fits, b| {
            fits & (b.is_ascii_alphanumeric() | (b == b'_') | (b == b'-'))
        })
}

/// Where the bytes of an attachment lie in the store: `attachment/<id><.ext>`, or `user/<id><.ext>`
/// for one without an owner.
///
/// A key has exactly one folder and one name, and the name never starts with a dot, so that a key can
/// neither leave a folder on disk nor turn into a request on the container (a blob named `..` would:
/// URL parsers drop such a segment).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(String);

impl ObjectKey {
    /// The key of a new attachment.
    pub fn new(id: &AttachmentId, owned: bool, extension: Option<&str>) -> Self {
        let folder = if owned { "attachment" } else { "user" };
        match extension {
            Some(extension) => Self(format!("{folder}/{id}.{extension}")),
            None => Self(format!("{folder}/{id}")),
        }
    }

    /// The key as text, with `/` between folder and name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the attachment that is stored under this key.
    pub fn id(&self) -> AttachmentId {
        let name = self.0.rsplit('/').next().unwrap_or(&self.0);
        AttachmentId(name.split('.').next().unwrap_or(name).to_owned())
    }
}

impl FromStr for ObjectKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fits = text.split_once('/').is_some_and(|(folder, name)| {
            let (id, extension) = match name.split_once('.') {
                Some((id, extension)) => (id, Some(extension)),
                None => (name, None),
            };
            matches!(folder, "attachment" | "user")
                && is_id(id)
                && extension.is_none_or(is_extension)
        });
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::bad_request("not the key of an attachment"))
        }
    }
}

/// Whether `text` may follow the dot of an object key: 1 to 16 of `[a-z0-9]`.
pub(crate) fn is_extension(text: &str) -> bool {
    (1..=16).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

text_like!(AttachmentId, ObjectKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_keys_cannot_leave_their_folder() {
        for bad in ["", "a/b", "..", ".", "a.b", "a b", "é", &"x".repeat(65)] {
            assert!(bad.parse::<AttachmentId>().is_err(), "{bad:?}");
        }
        for bad in [
            "attachment/..",
            "attachment/../x",
            "other/a",
            "attachment/a.",
            "attachment/a.PNG",
            "attachment/a.tar.gz",
            "/attachment/a",
            "attachment//a",
        ] {
            assert!(bad.parse::<ObjectKey>().is_err(), "{bad:?}");
        }
        let id = AttachmentId::generate();
        let key = ObjectKey::new(&id, true, Some("png"));
        assert_eq!(
            key.as_str().parse::<ObjectKey>().expect("own keys parse"),
            key
        );
        assert_eq!(key.id(), id);
    }
}
