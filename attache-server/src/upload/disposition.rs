//! `Content-Disposition` of a part of a form: what a part is called, and the name of its file, in whichever of the ways
//! that senders write it.
//!
//! RFC 7578 section 4.2 wants UTF-8 in `filename` and forbids `filename*`. Browsers write the encoding of their page
//! (<https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data>), .NET writes encoded
//! words (RFC 2047) beside `filename*`, old clients `filename*` alone.

use attache::{Error, Result};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use encoding_rs::{EUC_JP, Encoding, SHIFT_JIS};
use percent_encoding::percent_decode;

/// What `Content-Disposition` says of a part.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ContentDisposition {
    /// The name of the field.
    pub(crate) name: String,
    /// The name of the file, if it is one.
    pub(crate) filename: Option<SentName>,
}

/// The name of a file as it was sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SentName {
    /// `filename`
    plain: Option<Vec<u8>>,
    /// `filename*`, if it could be read.
    extended: Option<String>,
}

impl ContentDisposition {
    /// Reads the value of the header. What is malformed is left out.
    pub(crate) fn parse(value: &[u8]) -> Self {
        let mut disposition = Self::default();
        let (mut plain, mut extended, mut is_file) = (None, None, false);
        let mut rest = after(value, b';');
        while let Some((name, value, next)) = parameter(rest) {
            rest = next;
            match name.to_ascii_lowercase().as_slice() {
                b"name" => disposition.name = String::from_utf8_lossy(&value).into_owned(),
                b"filename" => {
                    is_file = true;
                    plain = Some(value);
                }
                b"filename*" => {
                    is_file = true;
                    extended = extended_value(&value);
                }
                // A name in pieces (RFC 2231 section 3), as of mail. What is not put together is not dropped in silence: a
                // file without any other name is refused.
                name if name.starts_with(b"filename*") => is_file = true,
                _ => {}
            }
        }
        disposition.filename = is_file.then_some(SentName { plain, extended });
        disposition
    }
}

impl SentName {
    /// There is no name: a browser's form in which no file was chosen.
    pub(crate) fn is_empty(&self) -> bool {
        let empty = |text: &[u8]| text.is_empty();
        match (&self.plain, &self.extended) {
            // `filename*` that could not be read is not empty.
            (None, None) => false,
            (plain, extended) => {
                plain.as_deref().is_none_or(empty)
                    && extended.as_ref().is_none_or(|text| text.is_empty())
            }
        }
    }

    /// The name as text: `filename*`, or else `filename` as an encoded word that decodes whole, as UTF-8, in `charset` (what
    /// the form says of itself), as EUC-JP or Shift_JIS where only that is possible. `None` if it is empty.
    ///
    /// # Errors
    ///
    /// [`BadRequest`](attache::ErrorKind::BadRequest) if it is none of these: a name is never guessed, nor dropped.
    pub(crate) fn decode(&self, charset: Option<&'static Encoding>) -> Result<Option<String>> {
        if let Some(name) = self.extended.as_deref().filter(|name| !name.is_empty()) {
            return Ok(Some(name.to_owned()));
        }
        let plain = self.plain.as_deref().unwrap_or_default();
        if plain.is_empty() {
            // `filename*` alone, and unreadable.
            return match self.extended.is_none() && self.plain.is_none() {
                true => Err(undecodable()),
                false => Ok(None),
            };
        }
        let name = match std::str::from_utf8(plain) {
            Ok(text) => encoded_words(text).unwrap_or_else(|| text.to_owned()),
            Err(_) => decode_legacy(plain, charset).ok_or_else(undecodable)?,
        };
        Ok(Some(unescaped(&name)))
    }
}

/// Text in an encoding other than UTF-8.
///
/// Shift_JIS and EUC-JP are what browsers of pages in Japanese send without a word. Nearly nothing in the one is valid in
/// the other, but for half-width katakana, which EUC-JP would rather have as kanji. Encodings in which all bytes mean
/// something, such as windows-1252, would give every name a wrong one.
pub(crate) fn decode_legacy(bytes: &[u8], charset: Option<&'static Encoding>) -> Option<String> {
    let decode = |encoding: &'static Encoding| {
        let text = encoding.decode_without_bom_handling_and_without_replacement(bytes)?;
        Some(text.into_owned())
    };
    charset
        .and_then(decode)
        .or_else(|| decode(EUC_JP))
        .or_else(|| decode(SHIFT_JIS))
}

fn undecodable() -> Error {
    Error::bad_request(
        "the file name is not UTF-8, and its encoding is unknown; send it as UTF-8, or add a field \"_charset_\" before the file",
    )
}

/// What follows the first `byte`.
fn after(bytes: &[u8], byte: u8) -> &[u8] {
    match bytes.iter().position(|b| *b == byte) {
        Some(at) => &bytes[at + 1..],
        None => &[],
    }
}

/// Name and value of the first parameter, and what follows it.
fn parameter(bytes: &[u8]) -> Option<(&[u8], Vec<u8>, &[u8])> {
    let mut bytes = bytes;
    loop {
        bytes = bytes.trim_ascii_start();
        match bytes.strip_prefix(b";") {
            Some(rest) => bytes = rest,
            None if bytes.is_empty() => return None,
            None => break,
        }
    }
    let end = bytes.iter().position(|b| matches!(b, b'=' | b';'));
    let end = end.unwrap_or(bytes.len());
    let name = bytes[..end].trim_ascii_end();
    let Some(value) = bytes[end..].strip_prefix(b"=") else {
        return Some((name, Vec::new(), &bytes[end..]));
    };
    let value = value.trim_ascii_start();
    let Some(quoted) = value.strip_prefix(b"\"") else {
        let end = value.iter().position(|b| *b == b';').unwrap_or(value.len());
        return Some((name, value[..end].trim_ascii_end().to_vec(), &value[end..]));
    };
    // The second byte of a character in Shift_JIS may be a backslash, which escapes nothing.
    let (value, rest) = unquoted(quoted, true)
        .filter(|(value, _)| std::str::from_utf8(value).is_ok())
        .or_else(|| unquoted(quoted, false))
        .unwrap_or((quoted.to_vec(), &[]));
    Some((name, value, after_quoted(rest)))
}

fn after_quoted(rest: &[u8]) -> &[u8] {
    match rest.iter().position(|b| *b == b';') {
        Some(at) => &rest[at..],
        None => &[],
    }
}

/// The value of a quoted string, and what follows it. Only `\"` is an escape: browsers write paths as they are.
fn unquoted(bytes: &[u8], escapes: bool) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let mut rest = bytes;
    loop {
        match rest {
            [b'\\', b'"', after @ ..] if escapes => {
                value.push(b'"');
                rest = after;
            }
            [b'"', after @ ..] => return Some((value, after)),
            [byte, after @ ..] => {
                value.push(*byte);
                rest = after;
            }
            [] => return None,
        }
    }
}

/// RFC 8187 section 3.2: `charset'language'percent-encoded`.
fn extended_value(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.splitn(3, '\'');
    let (charset, _language, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    // RFC 8187 wants a charset; without one ASCII alone is certain.
    let encoding = match charset {
        "" if encoded.bytes().all(|b| b.is_ascii() && b != b'%') => encoding_rs::UTF_8,
        charset => Encoding::for_label(charset.as_bytes())?,
    };
    // A percent sign that begins nothing is not a name in this form.
    let mut signs = encoded.as_bytes().split(|b| *b == b'%').skip(1);
    if signs.any(|rest| {
        !rest
            .get(..2)
            .is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    }) {
        return None;
    }
    let bytes: Vec<u8> = percent_decode(encoded.as_bytes()).collect();
    let text = encoding.decode_without_bom_handling_and_without_replacement(&bytes)?;
    Some(text.into_owned())
}

/// Browsers write `"`, CR and LF of a name as percent sequences, and nothing else.
fn unescaped(name: &str) -> String {
    name.replace("%22", "\"")
        .replace("%0D", "\r")
        .replace("%0A", "\n")
}

/// The text of encoded words (RFC 2047 section 2), if `text` is nothing but such: a name may begin with `=?` as well.
fn encoded_words(text: &str) -> Option<String> {
    let mut decoded = String::new();
    // A character may be cut between two words of one encoding.
    let mut pending: Option<(&'static Encoding, Vec<u8>)> = None;
    let mut finish = |pending: Option<(&'static Encoding, Vec<u8>)>| {
        let Some((encoding, bytes)) = pending else {
            return Some(());
        };
        decoded.push_str(&encoding.decode_without_bom_handling_and_without_replacement(&bytes)?);
        Some(())
    };
    for word in text.split_ascii_whitespace() {
        let word = word.strip_prefix("=?")?.strip_suffix("?=")?;
        let mut parts = word.splitn(3, '?');
        let (charset, how, content) = (parts.next()?, parts.next()?, parts.next()?);
        // RFC 2231 section 5: a language may follow.
        let charset = charset.split('*').next().unwrap_or(charset);
        let encoding = Encoding::for_label(charset.as_bytes())?;
        let bytes = match how {
            "B" | "b" => BASE64.decode(content).ok()?,
            "Q" | "q" => quoted_printable(content)?,
            _ => return None,
        };
        match &mut pending {
            Some((same, all)) if *same == encoding => all.extend_from_slice(&bytes),
            _ => finish(pending.replace((encoding, bytes)))?,
        }
    }
    finish(pending)?;
    Some(decoded).filter(|decoded| !decoded.is_empty())
}

/// Senders leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The encoding "Q" (RFC 2047 section 4.2).
fn quoted_printable(content: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(content.len());
    let mut input = content.bytes();
    while let Some(byte) = input.next() {
        bytes.push(match byte {
            b'_' => b' ',
            b'=' => {
                let digits = [input.next()?, input.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                u8::from_str_radix(digits, 16).ok()?
            }
            byte => byte,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(value: &[u8], charset: Option<&'static Encoding>) -> Result<Option<String>> {
        let filename = ContentDisposition::parse(value).filename.expect("a file");
        filename.decode(charset)
    }

    fn bytes(before: &str, encoding: &'static Encoding, name: &str) -> Vec<u8> {
        let (name, _, lost) = encoding.encode(name);
        assert!(!lost);
        [before.as_bytes(), b"\"", &name, b"\""].concat()
    }

    #[test]
    fn a_name_is_read_in_whichever_way_it_is_written() {
        for (value, name) in [
            (
                "form-data; name=\"file\"; filename=\"写真.png\"",
                "写真.png",
            ),
            ("form-data; name=file; filename=a.png", "a.png"),
            ("form-data; filename=\"a.png\"; name=\"file\"", "a.png"),
            (
                "form-data; name=\"file\"; FILENAME=\"a;b=c.png\"",
                "a;b=c.png",
            ),
            (
                "form-data; name=\"file\"; filename=\"a%22b\\\"c.txt\"",
                "a\"b\"c.txt",
            ),
            (
                "form-data; name=\"file\"; filename=\"C:\\dir\\a.txt\"",
                "C:\\dir\\a.txt",
            ),
            (
                "form-data; name=\"file\"; filename*=UTF-8''%E5%86%99.png",
                "写.png",
            ),
            (
                "form-data; name=\"file\"; filename*=UTF-8''%E5%86%99.png; filename=\"x.png\"",
                "写.png",
            ),
            (
                "form-data; name=\"file\"; filename=\"x.png\"; filename*=utf-8'ja'%E5%86%99.png",
                "写.png",
            ),
            (
                "form-data; name=\"file\"; filename*=shift_jis''%8E%CA.png; filename=x",
                "写.png",
            ),
            // What cannot be read leaves the other.
            (
                "form-data; name=\"file\"; filename*=UTF-8''%FF.png; filename=x.png",
                "x.png",
            ),
            (
                "form-data; name=\"file\"; filename=\"=?utf-8?B?5YaZLnBuZw==?=\"",
                "写.png",
            ),
            (
                "form-data; name=\"file\"; filename=\"=?utf-8?B?5YaZLnBuZw?=\"",
                "写.png",
            ),
            (
                "form-data; name=\"file\"; filename=\"=?utf-8?Q?=E5=86=99_1.png?=\"",
                "写 1.png",
            ),
            (
                "form-data; name=\"file\"; filename=\"=?utf-8*ja?B?5Q==?= =?utf-8?B?hpkucG5n?=\"",
                "写.png",
            ),
            // A name that only looks like one.
            (
                "form-data; name=\"file\"; filename=\"=?UTF-8?Q?a?=.txt\"",
                "=?UTF-8?Q?a?=.txt",
            ),
            (
                "form-data; name=\"file\"; filename=\"=?utf-8?B?/w==?=\"",
                "=?utf-8?B?/w==?=",
            ),
        ] {
            let disposition = ContentDisposition::parse(value.as_bytes());
            assert_eq!(disposition.name, "file", "{value}");
            let read = name_of(value.as_bytes(), None).expect("a name");
            assert_eq!(read.as_deref(), Some(name), "{value}");
        }
    }

    #[test]
    fn other_encodings_are_told_by_the_form_or_by_the_bytes() {
        let head = "form-data; name=\"file\"; filename=";
        for name in [
            "写真.png",
            "見積書.docx",
            "表.txt",
            "ソ",
            "カタカナ.pdf",
            "ﾃｽﾄ.txt",
        ] {
            let value = bytes(head, SHIFT_JIS, name);
            assert_eq!(name_of(&value, None).expect("told").as_deref(), Some(name));
            let followed = [&value[..], b"; x=\"y\""].concat();
            assert_eq!(
                name_of(&followed, None).expect("told").as_deref(),
                Some(name)
            );
        }
        for name in ["写真.png", "見積書.docx", "カタカナ.pdf"] {
            let value = bytes(head, EUC_JP, name);
            assert_eq!(name_of(&value, None).expect("told").as_deref(), Some(name));
        }
        let greek = Encoding::for_label(b"iso-8859-7").expect("known");
        let value = bytes(head, greek, "ΑΒΓ.txt");
        assert_eq!(
            name_of(&value, Some(greek)).expect("told").as_deref(),
            Some("ΑΒΓ.txt")
        );
        // UTF-8 is UTF-8, whatever the form says.
        let value = bytes(head, encoding_rs::UTF_8, "写真.png");
        assert_eq!(
            name_of(&value, Some(greek)).expect("told").as_deref(),
            Some("写真.png")
        );
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for value in [
            &b"form-data; name=\"file\"; filename=\"caf\xE9.txt\""[..],
            b"form-data; name=\"file\"; filename=\"\xFF.txt\"",
            b"form-data; name=\"file\"; filename*=UTF-8''%FF.txt",
            b"form-data; name=\"file\"; filename*=klingon''a.txt",
        ] {
            assert!(
                name_of(value, None).is_err(),
                "{}",
                String::from_utf8_lossy(value)
            );
        }
        let empty = ContentDisposition::parse(b"form-data; name=\"file\"; filename=\"\"");
        assert!(empty.filename.as_ref().is_some_and(SentName::is_empty));
        assert_eq!(
            ContentDisposition::parse(b"form-data; name=\"file\"").filename,
            None
        );
    }

    #[test]
    fn nothing_that_is_malformed_is_read_for_ever() {
        for value in [
            &b""[..],
            b";",
            b"form-data",
            b"form-data;;;",
            b"form-data; =; ==",
            b"form-data; name",
            b"form-data; name=",
            b"form-data; name=\"",
            b"form-data; filename=\"\\\"",
            b"\xFF;\xFF=\xFF",
            b"form-data; name=\"a\"b\"; filename=\"c\"",
        ] {
            let _ = ContentDisposition::parse(value);
        }
    }
}
