//! Which keys an object of a bucket may have.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// Most bytes of a key (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>).
pub const MAX_KEY_BYTES: usize = 1024;

/// The key of an object in a bucket, as the client wrote it: 1 to 1,024 bytes of UTF-8 without NUL. `/`, `..` and what else looks like a
/// path means nothing in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(String);

impl Key {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows the last `/`: the name under which a reader keeps the file.
    pub fn file_name(&self) -> &str {
        self.0
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or_default()
    }
}

impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for Key {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let refused = |what: &str| Err(Error::new(ErrorKind::BadRequest, what.to_owned()));
        match text.len() {
            0 => refused("the key is empty"),
            1..=MAX_KEY_BYTES if text.contains('\0') => refused("the key contains NUL"),
            1..=MAX_KEY_BYTES => Ok(Self(text)),
            _ => refused("the key is longer than 1024 bytes"),
        }
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_a_key_unless_it_is_empty_too_long_or_has_nul() {
        for good in ["a", "../..", "/", "a//b/", "写真.png", "\u{1}"] {
            assert_eq!(good.parse::<Key>().expect("a key").as_str(), good);
        }
        assert!("é".repeat(512).parse::<Key>().is_ok());
        for bad in ["", "a\0b", &"é".repeat(513)] {
            let error = bad.parse::<Key>().expect_err("no key");
            assert_eq!(error.kind(), ErrorKind::BadRequest);
        }
    }

    #[test]
    fn the_name_of_a_file_is_what_follows_the_last_slash() {
        for (key, name) in [
            ("a/b.png", "b.png"),
            ("b.png", "b.png"),
            ("a/", "a"),
            ("/", ""),
        ] {
            assert_eq!(key.parse::<Key>().expect("a key").file_name(), name);
        }
    }
}
