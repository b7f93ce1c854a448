//! What a response to a request for an object brings: how long the whole is, and which part of it comes.

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName};

use super::resolve_range;
use crate::attachment::ByteRange;
use crate::error::{Error, Result};

/// The head of such a response. `partial`: its status is 206.
#[derive(Clone, Copy)]
pub(super) struct Served<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) partial: bool,
}

impl Served<'_> {
    /// The length of the whole object: what follows the slash in `Content-Range: bytes 0-9/100`, or all that comes.
    fn size(self) -> Option<u64> {
        let text = match self.partial {
            true => self.text(CONTENT_RANGE)?.split_once('/')?.1,
            false => self.text(CONTENT_LENGTH)?,
        };
        text.parse().ok()
    }

    /// Which part of the object comes.
    pub(super) fn range(self) -> Option<ByteRange> {
        if !self.partial {
            let end = self.size()?;
            return Some(ByteRange { start: 0, end });
        }
        let (range, _) = self.text(CONTENT_RANGE)?.split_once('/')?;
        let (first, last) = range.strip_prefix("bytes ")?.split_once('-')?;
        Some(ByteRange {
            start: first.parse().ok()?,
            end: last.parse::<u64>().ok()?.checked_add(1)?,
        })
    }

    /// The length of the whole, and the part that `asked` means of it, if that is what comes. `store` and `key`: for the errors.
    ///
    /// # Errors
    ///
    /// [`BadRange`](crate::ErrorKind::BadRange); [`Internal`](crate::ErrorKind::Internal) for another part. Some stores serve nothing, as if
    /// it had been asked for, where a part begins at the end (Azurite: "bytes 0--1/0").
    pub(super) fn of(
        self,
        asked: Option<ByteRange>,
        store: &str,
        key: &str,
    ) -> Result<(u64, ByteRange)> {
        let other = |what| Error::internal(format!("{store}: the response has {what}"));
        let size = self.size().ok_or_else(|| other("no length"))?;
        let wanted = resolve_range(asked, size).map_err(|error| error.during("get", key))?;
        match self.range() == Some(wanted) {
            true => Ok((size, wanted)),
            false => Err(other("another range")),
        }
    }

    fn text(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
