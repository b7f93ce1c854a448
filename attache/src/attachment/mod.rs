//! The words of the domain: ids, owners, object keys, attachments, byte ranges.
//!
//! Everything here is checked when it is made, so that the rest of the crate need not.

pub mod filename;
pub mod media;

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::{NoContext, Timestamp, Uuid};

use crate::attachment::filename::Filename;
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
}

impl FromStr for AttachmentId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fits = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::bad_request(
                "an attachment id is 1 to 64 letters, digits, \"-\" or \"_\"",
            ))
        }
    }
}

/// What an attachment hangs on: `kind:id`, 1 to 128 characters, such as `page:42`.
///
/// The kind is of `[a-z0-9_-]`, the id of printable ASCII without space, `"` and `\`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Owner(String);

impl Owner {
    /// The owner as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Owner {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let well_formed = text.len() <= 128
            && text.split_once(':').is_some_and(|(kind, id)| {
                !kind.is_empty()
                    && !id.is_empty()
                    && kind.bytes().all(|b| {
                        b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-'
                    })
                    && id
                        .bytes()
                        .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
            });
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::bad_request(
                "an owner is \"kind:id\" of at most 128 printable ASCII characters, such as \"page:42\"; \
                 the kind is of a-z, 0-9, \"_\" and \"-\"",
            ))
        }
    }
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
                && id.parse::<AttachmentId>().is_ok()
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

macro_rules! text_like {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }
    )*};
}
text_like!(AttachmentId, Owner, ObjectKey);

/// What a caller says of a file that it hands over.
#[derive(Clone, Debug, Default)]
pub struct NewAttachment {
    /// The file's name; without one, `file` with the extension of its type.
    pub filename: Option<Filename>,
    /// What the attachment hangs on.
    pub owner: Option<Owner>,
    /// Who uploads, 1 to 128 printable characters.
    pub created_by: Option<Author>,
    /// The type that the caller claims. Believed only where the bytes do not say otherwise.
    pub content_type: Option<String>,
    /// The length, if it is known; a body of another length is refused.
    pub size: Option<u64>,
    /// The MD5 that the bytes must have (`Content-MD5`, RFC 1864).
    pub md5: Option<[u8; 16]>,
    /// The SHA-256 that the bytes must have (`Content-Digest`, RFC 9530).
    pub sha256: Option<[u8; 32]>,
    /// Makes a retry return the first result instead of storing the file twice.
    pub idempotency_key: Option<IdempotencyKey>,
}

/// Who uploaded something: 1 to 128 printable characters, for example `user:7`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Author(String);

/// The value of an `Idempotency-Key` header: 1 to 255 printable ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl Author {
    /// The author as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Author {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let count = text.chars().count();
        if (1..=128).contains(&count) && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::bad_request(
                "created_by is 1 to 128 printable characters, such as \"user:7\"",
            ))
        }
    }
}

impl IdempotencyKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if (1..=255).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::bad_request(
                "Idempotency-Key is 1 to 255 printable ASCII characters; a fresh UUID per upload is best",
            ))
        }
    }
}
text_like!(Author, IdempotencyKey);

/// An attachment that is there: its bytes are stored and will never change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its name in URLs.
    pub id: AttachmentId,
    /// Where its bytes lie.
    pub key: ObjectKey,
    /// What it hangs on.
    pub owner: Option<Owner>,
    /// The file's name.
    pub filename: Filename,
    /// The media type, decided from the claim and the bytes at upload; of a text with its charset
    /// ([`settled`](crate::attachment::media::settled)).
    pub content_type: String,
    /// Length in bytes.
    pub size: u64,
    /// SHA-256 of the bytes.
    pub sha256: Hex<32>,
    /// CRC-64/NVME of the bytes, if it is known; downloads are checked against it.
    pub crc64: Option<u64>,
    /// MD5 of the bytes, if it is known.
    pub md5: Option<Hex<16>>,
    /// What the store called this version of the object, if it names versions.
    pub store_tag: Option<String>,
    /// When it was uploaded, to the millisecond.
    pub created_at: OffsetDateTime,
    /// Who uploaded it.
    pub created_by: Option<Author>,
}

impl Attachment {
    /// The strong entity tag (RFC 9110 section 8.8.3), from the hash of the content.
    pub fn entity_tag(&self) -> String {
        format!("\"{}\"", &self.sha256.to_string()[..32])
    }
}

/// A digest of `N` bytes, written in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> FromStr for Hex<N> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::bad_request(format!("expected {} hexadecimal digits", N * 2));
        if text.len() != N * 2 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; N];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[i * 2..i * 2 + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

/// A part of an object: `start..end`, in bytes, `end` exclusive and after `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

impl ByteRange {
    /// Number of bytes.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Never true; a range holds at least one byte.
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }
}

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
    fn owners_have_a_kind_and_an_id() {
        for good in ["page:42", "user:a/b", "a:b:c"] {
            assert!(good.parse::<Owner>().is_ok(), "{good:?}");
        }
        for bad in [
            "page", ":42", "page:", "Page:1", "page:a b", "page:é", "page:\"", "",
        ] {
            assert!(bad.parse::<Owner>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hexadecimal_round_trips() {
        let hex = Hex([0x0f, 0xa0]);
        assert_eq!(hex.to_string(), "0fa0");
        assert_eq!("0fa0".parse::<Hex<2>>().expect("parses"), hex);
        assert!("0fa".parse::<Hex<2>>().is_err());
        assert!("zzzz".parse::<Hex<2>>().is_err());
    }
}
