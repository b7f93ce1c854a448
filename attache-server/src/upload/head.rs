//! What the headers of an upload, or of a part of a form, say of the file.

use attache::attachment::NewAttachment;
use attache::{Error, Result};
use bytes::Bytes;
use futures::stream::BoxStream;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

/// An upload whose head was read.
pub(crate) struct Upload {
    pub(crate) new: NewAttachment,
    pub(crate) bytes: BoxStream<'static, Result<Bytes>>,
}

/// Refuses a coding that would have to be undone for the bytes to be the file's.
pub(super) fn refuse_codings(headers: &HeaderMap) -> Result<()> {
    let other = |name: &str, plain: &[&str]| {
        headers.get_all(name).iter().any(|coding| {
            let coding = coding.as_bytes().trim_ascii();
            !plain
                .iter()
                .any(|plain| coding.eq_ignore_ascii_case(plain.as_bytes()))
        })
    };
    if other(CONTENT_ENCODING.as_str(), &["identity", ""]) {
        return Err(Error::bad_request(
            "Content-Encoding is not supported; send the file as it is",
        ));
    }
    // Of a part (RFC 7578 section 4.7: deprecated).
    if other("content-transfer-encoding", &["7bit", "8bit", "binary", ""]) {
        return Err(Error::bad_request(
            "Content-Transfer-Encoding is not supported; send the file as it is",
        ));
    }
    Ok(())
}

/// Takes over the digests that the headers promise.
pub(super) fn digests(new: &mut NewAttachment, headers: &HeaderMap) -> Result<()> {
    use base64::Engine as _;
    let decode = |text: &str| {
        base64::engine::general_purpose::STANDARD
            .decode(text.trim())
            .ok()
    };
    if let Some(md5) = text(headers, "content-md5")? {
        let bytes = decode(&md5).and_then(|bytes| bytes.try_into().ok());
        new.md5 = Some(bytes.ok_or_else(|| {
            Error::bad_request("Content-MD5 is the base64 of 16 bytes (RFC 1864)")
        })?);
    }
    if let Some(field) = text(headers, "content-digest")? {
        for member in field.split(',') {
            let (name, value) = member.trim().split_once('=').unwrap_or((member, ""));
            if !name.trim().eq_ignore_ascii_case("sha-256") {
                // RFC 9530 section 2: algorithms that are not known are ignored.
                continue;
            }
            let bytes = value
                .trim()
                .strip_prefix(':')
                .and_then(|rest| rest.split(':').next())
                .and_then(decode)
                .and_then(|bytes| bytes.try_into().ok());
            new.sha256 = Some(bytes.ok_or_else(|| {
                Error::bad_request("Content-Digest is sha-256=:base64 of 32 bytes: (RFC 9530)")
            })?);
        }
    }
    Ok(())
}

/// What a field says, if it says anything.
pub(crate) fn parse<T: std::str::FromStr<Err = Error>>(text: Option<String>) -> Result<Option<T>> {
    text.filter(|text| !text.is_empty())
        .map(|text| text.parse())
        .transpose()
}

pub(super) fn text(headers: &HeaderMap, name: &str) -> Result<Option<String>> {
    headers
        .get(name)
        .map(|value| {
            value
                .to_str()
                .map(str::to_owned)
                .map_err(|_| Error::bad_request(format!("the header {name} is not ASCII")))
        })
        .transpose()
}
