//! An attachment as JSON; the command line prints the same.

use attache::Attachment;
use attache::attachment::media;
use serde::Serialize;
use time::OffsetDateTime;
use time::macros::format_description;

/// An attachment.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct AttachmentJson {
    #[schema(example = "01939c1e-7d1a-7cc3-9b5e-0d3a1f0f8f11")]
    id: String,
    #[schema(example = "page:42")]
    owner: Option<String>,
    #[schema(example = "photo.png")]
    filename: String,
    #[schema(example = "image/png")]
    content_type: String,
    /// The charset of a text, if it is known.
    #[schema(example = "utf-8")]
    #[serde(skip_serializing_if = "Option::is_none")]
    charset: Option<&'static str>,
    /// Length in bytes.
    size: u64,
    /// In hexadecimal.
    sha256: String,
    #[schema(example = "2026-11-23T20:02:34.123Z")]
    created_at: String,
    #[schema(example = "user:7")]
    created_by: Option<String>,
    links: Links,
}

/// Paths under which an attachment is delivered.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Links {
    /// Shown, where its type is safe to show.
    inline: String,
    /// Saved.
    download: String,
}

impl From<Attachment> for AttachmentJson {
    fn from(attachment: Attachment) -> Self {
        let id = attachment.id;
        Self {
            links: Links {
                inline: format!("/attachment/{id}"),
                download: format!("/download/{id}"),
            },
            id: id.into(),
            owner: attachment.owner.map(Into::into),
            filename: attachment.filename.into(),
            content_type: media::essence(&attachment.content_type).to_owned(),
            charset: media::charset(&attachment.content_type),
            size: attachment.size,
            sha256: attachment.sha256.to_string(),
            created_at: timestamp(attachment.created_at),
            created_by: attachment.created_by.map(Into::into),
        }
    }
}

/// RFC 3339 with milliseconds.
pub(super) fn timestamp(at: OffsetDateTime) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    at.format(&format).unwrap_or_default()
}
