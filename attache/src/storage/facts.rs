//! Facts as text in the metadata of an object: what may stand in a value, and how a reader takes it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Facts;
use crate::attachment::Hex;

/// What may stand in a header value as it is; `%` and space are encoded.
pub(super) const VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b':')
    .remove(b'/');

impl Facts {
    /// Those that `text` has by the names of their fields, decoded; `None` if what every attachment has is not all there.
    pub(super) fn read(text: impl Fn(&str) -> Option<String>) -> Option<Self> {
        Some(Self {
            id: text("id")?.parse().ok()?,
            owner: text("owner").and_then(|owner| owner.parse().ok()),
            filename: text("filename")?.into(),
            content_type: text("content_type")?,
            created_at: OffsetDateTime::parse(&text("created_at")?, &Rfc3339).ok()?,
            created_by: text("created_by").and_then(|by| by.parse().ok()),
        })
    }
}

/// A CRC-64 as it is written beside them: hexadecimal digits, the highest first.
pub(super) fn crc64(text: &str) -> Option<u64> {
    let hex: Hex<8> = text.parse().ok()?;
    Some(u64::from_be_bytes(hex.0))
}
