//! How attachments and their objects are named.

use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use uuid::{NoContext, Timestamp, Uuid};

use super::digest::Hex;
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

    /// The id of an object that another program stored, where its name has none: the same for the same name, whoever asks and
    /// whenever.
    pub fn derived(name: &str) -> Self {
        let digest = Sha256::digest(name.as_bytes());
        let mut half = Hex([0; 16]);
        half.0.copy_from_slice(&digest[..16]);
        Self(half.to_string())
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
/// for one without an owner. An object that another program stored keeps its [name](Self::adopted).
///
/// No part of a key starts with a dot, so that a key can neither leave a folder on disk nor turn into a request on the
/// container (a blob named `..` would: URL parsers drop such a segment). Text is parsed as a key of attache's own alone.
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

    /// The key of an object that another program stored under this name, as it is: folders of any depth, and a name.
    ///
    /// # Errors
    ///
    /// [`BadRequest`](crate::ErrorKind::BadRequest), saying what of the name no way of delivery could carry.
    pub fn adopted(name: &str) -> Result<Self> {
        let reject = |what: &str| Err(Error::bad_request(format!("the name {what}")));
        if name.is_empty() || name.len() > MAX_ADOPTED_BYTES {
            return reject("is empty, or longer than 1,024 bytes");
        }
        if name.chars().any(|c| c.is_control() || c == '\\') {
            return reject("holds a control character or a backslash");
        }
        if name
            .split('/')
            .any(|part| part.is_empty() || part.starts_with('.'))
        {
            return reject("has a part that is empty, or begins with a dot");
        }
        Ok(Self(name.to_owned()))
    }

    /// The key of a row: one of attache's own, or an adopted one.
    pub(crate) fn recorded(text: &str) -> Result<Self> {
        text.parse().or_else(|_| Self::adopted(text))
    }

    /// The id of the attachment that is stored under this key: the last part up to the extension, or [one that is derived
    /// from all of it](AttachmentId::derived) if that is no id. Of two objects of other programs whose names say the same
    /// id, one has a derived id all the same.
    pub fn id(&self) -> AttachmentId {
        let name = self.0.rsplit('/').next().unwrap_or(&self.0);
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        stem.parse()
            .unwrap_or_else(|_| AttachmentId::derived(&self.0))
    }

    /// Whether attache made it, and no other program.
    pub fn is_own(&self) -> bool {
        self.0.parse::<Self>().is_ok()
    }

    /// Whether an object under this key may be the attachment of this id.
    pub(crate) fn names(&self, id: &AttachmentId) -> bool {
        self.id() == *id || AttachmentId::derived(&self.0) == *id
    }
}

/// Longest name of an object in any store (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>); Azure counts
/// 1,024 characters.
const MAX_ADOPTED_BYTES: usize = 1024;

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

    #[test]
    fn names_of_other_programs_are_kept_unless_they_could_lead_elsewhere() {
        let adopted = |name: &str| ObjectKey::adopted(name);
        for (name, id) in [
            ("attachment/0123456789abcdef.PNG", Some("0123456789abcdef")),
            ("attachment/null/c0ffee.jpeg", Some("c0ffee")),
            ("years/2019/Übersicht 日本.tar.gz", None),
            ("readme", Some("readme")),
        ] {
            let key = adopted(name).expect("a name");
            assert_eq!(key.as_str(), name);
            let derived = AttachmentId::derived(name);
            assert_eq!(key.id().as_str(), id.unwrap_or(derived.as_str()), "{name}");
            assert_eq!(ObjectKey::recorded(name).expect("a key"), key);
            assert!(name.parse::<ObjectKey>().is_err(), "{name}");
            assert!(key.names(&AttachmentId::derived(name)));
        }
        for bad in [
            "", "/a", "a/", "a//b", "a/../b", ".tmp/a", "a/.b", "a\\b", "a\nb",
        ] {
            assert!(adopted(bad).is_err(), "{bad:?}");
        }
        assert!(adopted(&"x".repeat(1025)).is_err());
        // What was derived once is a promise to URLs.
        assert_eq!(
            AttachmentId::derived("a b").as_str(),
            "c8687a08aa5d6ed2044328fa6a697ab8"
        );
    }
}
