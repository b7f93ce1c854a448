//! Objects as a store lists them, whoever put them there.

use std::fmt;

use time::OffsetDateTime;

/// An object of a store, under whatever name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// Its name. What is not UTF-8 is replaced in it, and then `unfit` says so.
    pub name: String,
    /// Length in bytes.
    pub size: u64,
    /// When its bytes were last written, if the store says that.
    pub modified_at: Option<OffsetDateTime>,
    /// The stored `Content-Type`.
    pub content_type: Option<String>,
    /// The stored `Content-Disposition`.
    pub disposition: Option<String>,
    /// Whether the facts of an attachment lie with it.
    pub has_facts: bool,
    /// Why it cannot be an attachment as it is.
    pub unfit: Option<Unfit>,
}

/// Why an object cannot be an attachment; as text, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unfit {
    /// It stands for a folder, and holds nothing.
    Folder,
    /// It lies where it cannot be read before somebody moves it.
    Archived,
    /// Programs add to its end (an append blob).
    Appended,
    /// Programs write into it (a page blob: a disk).
    Paged,
    /// Its bytes are compressed, and browsers would have to be told (`Content-Encoding`).
    Encoded(String),
    /// It is encrypted with a key that only its writer has.
    CustomerKey,
    /// It is a link, a device, a pipe or a socket.
    Special,
    /// Its name is not UTF-8.
    Name,
}

impl Unfit {
    /// The word for it in JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Archived => "archived",
            Self::Appended => "append_blob",
            Self::Paged => "page_blob",
            Self::Encoded(_) => "content_encoding",
            Self::CustomerKey => "customer_key",
            Self::Special => "special_file",
            Self::Name => "name",
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Folder => "a folder",
            Self::Archived => {
                "in the archive tier, where it cannot be read; rehydrate it and adopt it then"
            }
            Self::Appended => {
                "an append blob, to which programs add; copy it to a block blob when it is complete"
            }
            Self::Paged => "a page blob, which programs change in place; copy it to a block blob",
            Self::Encoded(coding) => {
                return write!(
                    f,
                    "stored with Content-Encoding \"{coding}\", which attache does not pass on; store it uncompressed"
                );
            }
            Self::CustomerKey => {
                "encrypted with a key of its writer's own, which attache does not have; store it without one"
            }
            Self::Special => "not a regular file; put a copy of the file in its place",
            Self::Name => "its name is not UTF-8; rename it",
        })
    }
}

/// Whether a `Content-Encoding` changes the bytes: `identity` and nothing do not.
pub(crate) fn encoded(coding: Option<&str>) -> Option<Unfit> {
    let coding = coding?.trim();
    let plain = coding.is_empty() || coding.eq_ignore_ascii_case("identity");
    (!plain).then(|| Unfit::Encoded(coding.to_owned()))
}
