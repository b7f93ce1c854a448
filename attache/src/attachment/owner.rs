//! Whose an attachment is, and who has uploaded it.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text::text_like;
use crate::error::{Error, Result};

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

/// Who uploaded something: 1 to 128 printable characters, for example `user:7`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Author(String);

impl Author {
    /// The author as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Author {
    /// Who `attache adopt` is: the attachment's bytes were put into the store by another program, and nothing of attache's lies
    /// with them.
    pub fn adoption() -> Self {
        Self("attache adopt".to_owned())
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

/// The value of an `Idempotency-Key` header: 1 to 255 printable ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

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

text_like!(Owner, Author, IdempotencyKey);

#[cfg(test)]
mod tests {
    use super::*;

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
}
