//! An attachment as JSON; the command line prints the same.

use std::io::Write as _;

use attache::Attachment;
use attache::attachment::{Author, Owner, media};
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

/// Bytes that [`write`] takes for an attachment without an owner and with a short name, about.
pub(super) const ROOM: usize = 448;

/// Writes what [`AttachmentJson`] is as JSON, without making it: a page of a listing has up to a thousand. With serde, and even
/// without a copy of each field, writing took a third of the CPU of a page of 100; so it takes a fifth.
pub(super) fn write(attachment: &Attachment, to: &mut Vec<u8>) {
    // Of letters that need no escapes, as ids, times and digests are.
    let id = attachment.id.as_str().as_bytes();
    put(to, &[b"{\"id\":\"", id, b"\",\"owner\":"]);
    quoted_or_null(attachment.owner.as_ref().map(Owner::as_str), to);
    put(to, &[b",\"filename\":"]);
    quoted(attachment.filename.as_str(), to);
    put(to, &[b",\"content_type\":"]);
    quoted(media::essence(&attachment.content_type), to);
    if let Some(charset) = media::charset(&attachment.content_type) {
        put(to, &[b",\"charset\":"]);
        quoted(charset, to);
    }
    put(to, &[b",\"size\":"]);
    // Nothing fails that is written into memory.
    let _ = write!(to, "{},\"sha256\":\"{}", attachment.size, attachment.sha256);
    put(to, &[b"\",\"created_at\":\""]);
    match digits(attachment.created_at) {
        Some(at) => put(to, &[&at]),
        None => put(to, &[timestamp(attachment.created_at).as_bytes()]),
    }
    put(to, &[b"\",\"created_by\":"]);
    quoted_or_null(attachment.created_by.as_ref().map(Author::as_str), to);
    put(
        to,
        &[
            b",\"links\":{\"inline\":\"/attachment/",
            id,
            b"\",\"download\":\"/download/",
            id,
            b"\"}}",
        ],
    );
}

fn put(to: &mut Vec<u8>, parts: &[&[u8]]) {
    to.reserve(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        to.extend_from_slice(part);
    }
}

fn quoted_or_null(text: Option<&str>, to: &mut Vec<u8>) {
    match text {
        Some(text) => quoted(text, to),
        None => put(to, &[b"null"]),
    }
}

/// Writes a JSON string (RFC 8259 section 7).
fn quoted(text: &str, to: &mut Vec<u8>) {
    let plain = text.bytes().fold(true, |plain, b| {
        plain & (b >= 0x20) & (b != b'"') & (b != b'\\')
    });
    match plain {
        true => put(to, &[b"\"", text.as_bytes(), b"\""]),
        // Nothing fails that is written into memory.
        false => drop(serde_json::to_writer(to, text)),
    }
}

/// RFC 3339 with milliseconds.
pub(super) fn timestamp(at: OffsetDateTime) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    at.format(&format).unwrap_or_default()
}

/// [`timestamp`] without the machinery of its format; `None` for years that have not four digits.
fn digits(at: OffsetDateTime) -> Option<[u8; 24]> {
    let (year, month, day) = at.to_calendar_date();
    let year = u16::try_from(year).ok().filter(|year| *year < 10_000)?;
    let (hour, minute, second, milli) = at.to_hms_milli();
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let fields = [
        (0..4, year),
        (5..7, u16::from(u8::from(month))),
        (8..10, u16::from(day)),
        (11..13, u16::from(hour)),
        (14..16, u16::from(minute)),
        (17..19, u16::from(second)),
        (20..23, milli),
    ];
    for (place, mut number) in fields {
        for digit in text[place].iter_mut().rev() {
            *digit += u8::try_from(number % 10).unwrap_or_default();
            number /= 10;
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use attache::attachment::filename::Filename;
    use attache::attachment::{AttachmentId, Hex, ObjectKey};

    use super::*;

    #[test]
    fn what_is_written_of_an_attachment_is_what_serde_would_write() {
        let id: AttachmentId = "01939c1e-7d1a-7cc3-9b5e-0d3a1f0f8f11"
            .parse()
            .expect("an id");
        let plain = Attachment {
            key: ObjectKey::new(&id, false, None),
            id,
            owner: None,
            filename: Filename::neutralised("photo.png"),
            content_type: "image/png".to_owned(),
            size: 0,
            sha256: Hex(std::array::from_fn(|byte| byte as u8 * 8)),
            crc64: None,
            md5: None,
            store_tag: None,
            created_at: OffsetDateTime::UNIX_EPOCH,
            created_by: None,
        };
        let rich = Attachment {
            owner: Some("page:<'a'>".parse().expect("an owner")),
            filename: Filename::neutralised("a \"quoted\" \u{e9}\u{1f600}.txt"),
            content_type: "text/plain; charset=iso-8859-1".to_owned(),
            size: u64::MAX,
            created_by: Some("J\u{fc}rgen \\ \"x\"".parse().expect("an author")),
            ..plain.clone()
        };
        let odd = Attachment {
            content_type: "a/\u{1}\n\u{7f}; charset=x".to_owned(),
            ..rich.clone()
        };
        for attachment in [plain, rich, odd] {
            let mut written = Vec::new();
            write(&attachment, &mut written);
            let serde = serde_json::to_vec(&AttachmentJson::from(attachment));
            assert_eq!(
                String::from_utf8(written).expect("text"),
                String::from_utf8(serde.expect("written")).expect("text")
            );
        }
    }

    #[test]
    fn a_time_is_written_as_the_library_writes_it() {
        for ms in [
            0,
            951_782_399_999_i64,
            1_700_000_000_123,
            253_402_300_799_999,
            -62_167_219_200_000,
            -1,
        ] {
            let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
                .expect("a time");
            assert_eq!(digits(at).expect("four digits"), timestamp(at).as_bytes());
        }
        let before = OffsetDateTime::from_unix_timestamp(-62_167_219_201).expect("a time");
        assert_eq!(digits(before), None);
    }
}
