//! What an access key is: what it opens, until when, and what its id and secret look like.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use time::OffsetDateTime;

use crate::access::{Scope, Scopes};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// Begins every id that is made, so that it is recognised in a log or a repository, and not taken for one of AWS (`AKIA`).
pub const ID_FRONT: &str = "ATTA";

/// Characters of an id: as many as AWS's have, which is what some clients check.
pub const ID_LENGTH: usize = 20;

/// Characters of a secret, as many as AWS's have; of letters and digits alone, so that no client, shell or URL changes one. 62⁴⁰
/// are 238 bits.
pub const SECRET_LENGTH: usize = 40;

/// Most buckets of one access key.
pub const MAX_BUCKETS: usize = 100;

/// Longest key prefix, in bytes of UTF-8: that of a whole key of S3
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>).
pub const MAX_PREFIX_BYTES: usize = 1024;

/// Longest name, in characters.
const MAX_NAME: usize = 64;

/// What an access key shall be.
#[derive(Clone, Debug)]
pub struct NewAccessKey {
    /// What people call it: 1 to 64 printable characters. Two keys at a time may have one name.
    pub name: String,
    /// Which buckets it opens: 1 to [`MAX_BUCKETS`] names, 3 to 63 lower-case letters, digits, dots and hyphens each
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>).
    pub buckets: Vec<String>,
    /// What all keys that it opens begin with, without control characters and of [`MAX_PREFIX_BYTES`] at most; empty: all keys.
    pub prefix: String,
    /// What it permits: at least one of read, write and delete; never admin.
    pub scopes: Scopes,
    /// When it ends, to the second; `None`: never.
    pub expires_at: Option<OffsetDateTime>,
}

impl NewAccessKey {
    pub(super) fn checked(self) -> Result<AccessKey> {
        let whole = |at: OffsetDateTime| at.replace_nanosecond(0).unwrap_or(at);
        let mut buckets: Vec<String> = Vec::with_capacity(self.buckets.len());
        for bucket in self.buckets {
            if !buckets.contains(&bucket) {
                buckets.push(bucket);
            }
        }
        let key = AccessKey {
            id: AccessKeyId::generate(),
            name: self.name,
            buckets,
            prefix: self.prefix,
            scopes: self.scopes,
            created_at: whole(OffsetDateTime::now_utc()),
            expires_at: self.expires_at.map(whole),
        };
        key.check().map(|()| key)
    }
}

/// What is known of an access key. Its secret is not.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessKey {
    /// The part of it that is not secret.
    pub id: AccessKeyId,
    /// What people call it.
    pub name: String,
    /// Which buckets it opens.
    pub buckets: Vec<String>,
    /// What all keys that it opens begin with; empty: all keys.
    pub prefix: String,
    /// What it permits: read, write, delete.
    pub scopes: Scopes,
    /// When it was made, to the second.
    pub created_at: OffsetDateTime,
    /// When it ends, to the second; `None`: never.
    pub expires_at: Option<OffsetDateTime>,
}

impl AccessKey {
    /// Whether it opens nothing any more at `now`.
    pub fn has_ended(&self, now: OffsetDateTime) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// Whether the object `key` in `bucket` is among those that it opens, as far as its scopes go. Bytes are compared: a prefix `a`
    /// covers `a/b` and `ab`, one with a `/` at its end what is below it.
    pub fn covers(&self, bucket: &str, key: &str) -> bool {
        self.buckets.iter().any(|known| known == bucket) && key.starts_with(&self.prefix)
    }

    /// Whether it is as the fields of [`NewAccessKey`] say.
    ///
    /// # Errors
    ///
    /// [`BadRequest`](crate::ErrorKind::BadRequest), saying in what it is not.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::bad_request(what));
        let length = self.name.chars().count();
        if !(1..=MAX_NAME).contains(&length) || self.name.chars().any(char::is_control) {
            return refuse(format!(
                "the name of an access key is 1 to {MAX_NAME} printable characters, such as \"wiki\""
            ));
        }
        if !(1..=MAX_BUCKETS).contains(&self.buckets.len()) {
            return refuse(format!("an access key has 1 to {MAX_BUCKETS} buckets"));
        }
        if let Some(wrong) = self.buckets.iter().find(|bucket| !is_bucket(bucket)) {
            return refuse(format!(
                "{wrong:?} cannot be a bucket: its name is 3 to 63 lower-case letters, digits, dots and hyphens, with a letter or digit \
                 at both ends"
            ));
        }
        if self.prefix.len() > MAX_PREFIX_BYTES || self.prefix.chars().any(char::is_control) {
            return refuse(format!(
                "the prefix of an access key is at most {MAX_PREFIX_BYTES} bytes, without control characters"
            ));
        }
        if self.scopes == Scopes::default() || self.scopes.contain(Scope::Admin) {
            return refuse(
                "an access key permits at least one of \"read\", \"write\", \"delete\", and never \"admin\", which is for API tokens"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// The part of an access key that is not secret: [`ID_LENGTH`] of `[A-Z0-9]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct AccessKeyId(String);

impl AccessKeyId {
    /// A new one.
    pub fn generate() -> Self {
        let rest = random(ID_LENGTH - ID_FRONT.len(), UPPER_CASE);
        Self(format!("{ID_FRONT}{rest}"))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// So that a map by ids is asked with the text of a request.
impl Borrow<str> for AccessKeyId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccessKeyId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let well_formed =
            text.len() == ID_LENGTH && text.bytes().all(|byte| UPPER_CASE.contains(&byte));
        match well_formed {
            true => Ok(Self(text.to_owned())),
            false => Err(Error::bad_request(format!(
                "the id of an access key is {ID_LENGTH} capital letters and digits; `attache key ls` shows them"
            ))),
        }
    }
}

impl fmt::Display for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_bucket(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes
            .iter()
            .all(|byte| plain(*byte) || b".-".contains(byte))
        && bytes.first().is_some_and(|byte| plain(*byte))
        && bytes.last().is_some_and(|byte| plain(*byte))
}

const UPPER_CASE: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A new secret, [`SECRET_LENGTH`] letters and digits.
pub(super) fn generate_secret() -> Secret {
    Secret::new(random(SECRET_LENGTH, ALPHANUMERIC))
}

/// Each character as likely as any other.
fn random(length: usize, alphabet: &[u8]) -> String {
    // In one piece from the beginning, because what a growing text leaves behind would not be cleared.
    let mut text = String::with_capacity(length);
    for _ in 0..length {
        text.push(char::from(alphabet[rand::random_range(0..alphabet.len())]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn new() -> NewAccessKey {
        NewAccessKey {
            name: "wiki".to_owned(),
            buckets: vec!["media".to_owned(), "a.b-c".to_owned()],
            prefix: "wiki/写真/".to_owned(),
            scopes: [Scope::Read].into_iter().collect(),
            expires_at: OffsetDateTime::from_unix_timestamp(4_000_000_000).ok(),
        }
    }

    #[test]
    fn ids_are_recognised_and_secrets_are_letters_and_digits_of_every_kind() {
        let (mut ids, mut seen) = (Vec::new(), String::new());
        for _ in 0..100 {
            let id = AccessKeyId::generate();
            assert!(id.as_str().starts_with(ID_FRONT));
            assert_eq!(id.as_str().parse::<AccessKeyId>().expect("one"), id);
            ids.push(id);
            seen += &random(SECRET_LENGTH, ALPHANUMERIC);
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 100);
        assert_eq!(seen.len(), 4000);
        // One of 62 is missing in 4,000 with a probability of 4e-27.
        assert!(ALPHANUMERIC.iter().all(|c| seen.contains(char::from(*c))));
        for wrong in [
            "",
            "ATTA",
            "atta0123456789abcdef",
            "ATTA0123456789ABCDEF0",
            "ATTA0123456789ABCD F",
        ] {
            assert!(wrong.parse::<AccessKeyId>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_no_access_key_can_be_is_refused() {
        type Change = fn(&mut NewAccessKey);
        let refused: [(&str, Change); 13] = [
            ("name", |new| new.name = String::new()),
            ("name", |new| new.name = "x".repeat(65)),
            ("name", |new| new.name = "a\nb".to_owned()),
            ("buckets", |new| new.buckets = Vec::new()),
            ("buckets", |new| {
                new.buckets = (0..=MAX_BUCKETS).map(|n| format!("bucket-{n}")).collect();
            }),
            ("ab", |new| new.buckets = vec!["ab".to_owned()]),
            ("Media", |new| new.buckets.push("Media".to_owned())),
            ("a b", |new| new.buckets.push("a b".to_owned())),
            ("-abc", |new| new.buckets.push("-abc".to_owned())),
            ("prefix", |new| new.prefix = "x".repeat(1025)),
            ("prefix", |new| new.prefix = "a\0".to_owned()),
            ("read", |new| new.scopes = Scopes::default()),
            ("admin", |new| new.scopes = Scopes::all()),
        ];
        for (word, spoil) in refused {
            let mut new = new();
            spoil(&mut new);
            let error = new.clone().checked().expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::BadRequest, "{new:?}");
            assert!(error.to_string().contains(word), "{error}");
        }
        let mut twice = new();
        twice.buckets.push("media".to_owned());
        assert_eq!(twice.checked().expect("one of them").buckets.len(), 2);
    }

    #[test]
    fn a_key_covers_its_buckets_below_its_prefix_until_its_end() {
        let key = new().checked().expect("well-formed");
        assert!(key.covers("media", "wiki/写真/a.png") && key.covers("a.b-c", "wiki/写真/"));
        assert!(!key.covers("media", "wiki/a.png") && !key.covers("other", "wiki/写真/a.png"));
        let end = key.expires_at.expect("it has one");
        assert!(key.has_ended(end) && !key.has_ended(end - time::Duration::SECOND));
    }
}
