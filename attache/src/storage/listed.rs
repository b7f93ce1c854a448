//! Objects as a store lists them, whoever put them there.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

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
                "in an archive of the store, where it cannot be read; rehydrate it (Azure) or restore it (S3), and adopt it then"
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

/// When an object was written, if a calendar and `Last-Modified` can say it: the clock that dates a file may stand anywhere.
pub(crate) fn written_at(time: SystemTime) -> Option<OffsetDateTime> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    OffsetDateTime::UNIX_EPOCH.checked_add(since.try_into().ok()?)
}

/// Whether a `Content-Encoding` changes the bytes: `identity` and nothing do not.
pub(crate) fn encoded(coding: Option<&str>) -> Option<Unfit> {
    let coding = coding?.trim();
    let plain = coding.is_empty() || coding.eq_ignore_ascii_case("identity");
    (!plain).then(|| Unfit::Encoded(coding.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_that_no_response_can_tell_is_none() {
        const YEAR: u64 = 31_556_952;
        let far = |years: u64| Duration::from_secs(years * YEAR);
        assert_eq!(written_at(UNIX_EPOCH), Some(OffsetDateTime::UNIX_EPOCH));
        let now = SystemTime::now();
        assert_eq!(written_at(now), Some(OffsetDateTime::from(now)));
        let late = written_at(UNIX_EPOCH + far(8000)).expect("a year of four digits");
        assert!((9969..=9970).contains(&late.year()), "{late}");
        assert_eq!(written_at(UNIX_EPOCH + far(9000)), None);
        assert_eq!(written_at(UNIX_EPOCH - far(1)), None);
    }
}
