//! File names: what is accepted, and how a name is written into `Content-Disposition`.
//!
//! One formatter serves response headers, `rscd` of a signed URL and the blob's own property, so that a
//! file has the same name whichever way it is delivered.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::attachment::is_extension;
use crate::error::{Error, Result};

/// Longest file name, in bytes of UTF-8: what ext4, APFS and NTFS store (`NAME_MAX` on Linux).
pub const MAX_FILENAME_BYTES: usize = 255;

/// A file name that every system can save: one component, no controls, no device, NFC.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Filename(String);

impl Filename {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The extension in lower case, if it may stand in an object key: 1 to 16 of `[a-z0-9]`.
    pub fn extension(&self) -> Option<String> {
        let (stem, extension) = self.0.rsplit_once('.')?;
        let extension = extension.to_ascii_lowercase();
        (!stem.is_empty() && is_extension(&extension)).then_some(extension)
    }

    /// The nearest name to `text` that every system can save; `text` itself, in NFC, if it is one. For names that are
    /// stored already, here or by others, and can be sent back to nobody. Uploads are refused instead.
    ///
    /// Controls, separators and direction marks become `_`, spaces and dots at the ends go, a device gets a `_` in front,
    /// and what is longer than 255 bytes loses the end of its stem and keeps its extension.
    pub fn neutralised(text: &str) -> Self {
        let replaced = text.chars().map(|c| match c {
            '/' | '\\' => '_',
            c if is_unsafe(c) => '_',
            c => c,
        });
        let name: String = replaced.nfc().collect();
        let name = cut(trimmed(&name), MAX_FILENAME_BYTES);
        let name = match trimmed(&name) {
            "" => "file".to_owned(),
            device if is_device(device) => format!("_{}", cut(device, MAX_FILENAME_BYTES - 1)),
            name => name.to_owned(),
        };
        Self(name)
    }

    /// The name of a file that came without one.
    pub(crate) fn unnamed(extension: Option<&str>) -> Self {
        match extension {
            Some(extension) => Self(format!("file.{extension}")),
            None => Self("file".to_owned()),
        }
    }
}

impl FromStr for Filename {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let reject = |what: &str| {
            Err(Error::bad_request(format!(
                "the file name {what}; rename the file and send it again"
            )))
        };
        // Before normalising, so that a hostile megabyte costs nothing; NFC grows a name at most threefold.
        if text.len() > 4 * MAX_FILENAME_BYTES {
            return reject("is longer than 255 bytes");
        }
        let name: String = text.nfc().collect();
        if name.is_empty() || name == "." || name == ".." {
            return reject("is empty, \".\" or \"..\"");
        }
        if name.len() > MAX_FILENAME_BYTES {
            return reject("is longer than 255 bytes");
        }
        if name.contains(['/', '\\']) {
            return reject("holds a path separator");
        }
        if name.chars().any(is_unsafe) {
            return reject("holds control or text-direction characters");
        }
        if name.ends_with(['.', ' ']) || name.starts_with(' ') {
            return reject("starts or ends with a space, or ends with a dot");
        }
        if is_device(&name) {
            return reject("is the name of a device on Windows");
        }
        Ok(Self(name))
    }
}

impl From<String> for Filename {
    /// A name that was stored.
    fn from(text: String) -> Self {
        Self::neutralised(&text)
    }
}

impl From<Filename> for String {
    fn from(name: Filename) -> String {
        name.0
    }
}

impl fmt::Display for Filename {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a browser shows a file or saves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Disposition {
    /// Show it, if its type is safe to show.
    #[default]
    Inline,
    /// Save it.
    Attachment,
}

impl Disposition {
    /// The word of RFC 6266 section 4.2.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Attachment => "attachment",
        }
    }

    /// The value of `Content-Disposition` (RFC 6266): an ASCII fallback first, then `filename*`
    /// (RFC 8187) if the name is more than that. Everything outside `attr-char` is percent-encoded.
    pub fn header(self, name: &Filename) -> String {
        let name = name.as_str();
        let mut header = String::with_capacity(32 + name.len() * 4);
        let _ = write!(header, "{}; filename=\"", self.as_str());
        let mut plain = true;
        for c in name.chars() {
            // Chromium takes a word that begins with "=" for an encoded one (RFC 2047), and drops it if it is none.
            plain &= c != '=';
            // Percent and backslash are decoded by some browsers within the quotes; a quote ends them.
            if c.is_ascii() && !c.is_ascii_control() && !matches!(c, '"' | '\\' | '%') {
                header.push(c);
            } else {
                plain = false;
                header.push('_');
            }
        }
        header.push('"');
        if !plain {
            header.push_str("; filename*=UTF-8''");
            for byte in name.bytes() {
                if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
                    header.push(char::from(byte));
                } else {
                    let _ = write!(header, "%{byte:02X}");
                }
            }
        }
        header
    }
}

impl FromStr for Disposition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "inline" => Ok(Self::Inline),
            "attachment" => Ok(Self::Attachment),
            _ => Err(Error::bad_request(
                "disposition is \"inline\" or \"attachment\"",
            )),
        }
    }
}

/// Controls, line and paragraph separators, and what reverses the direction of text
/// (Unicode Technical Report 36, section 2.10; UAX 9).
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{2028}' | '\u{2029}'
            | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}')
}

/// Without what Windows drops, and what hides an extension.
fn trimmed(name: &str) -> &str {
    name.trim_start_matches(' ').trim_end_matches(['.', ' '])
}

/// At most `limit` bytes: the end of the stem goes, the extension stays if it is one.
fn cut(name: &str, limit: usize) -> String {
    if name.len() <= limit {
        return name.to_owned();
    }
    let extension = match name.rsplit_once('.') {
        Some((_, extension)) if extension.len() <= MAX_KEPT_EXTENSION => {
            &name[name.len() - extension.len() - 1..]
        }
        _ => "",
    };
    let mut end = limit - extension.len();
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{extension}", &name[..end])
}

/// Longer than this, what follows the last dot is no extension but a part of a sentence.
const MAX_KEPT_EXTENSION: usize = 32;

/// <https://learn.microsoft.com/windows/win32/fileio/naming-a-file#naming-conventions>
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end();
    let stem = stem.to_ascii_uppercase();
    let numbered = |prefix: &str| {
        stem.strip_prefix(prefix).is_some_and(|rest| {
            matches!(
                rest,
                "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³"
            )
        })
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL") || numbered("COM") || numbered("LPT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_system_should_save_are_refused() {
        let long = "x".repeat(10_000);
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            "a\0b",
            "a\r\nb",
            "evil\u{202E}gpj.exe",
            "CON",
            "con.txt",
            "LPT1.doc",
            "aux .txt",
            "trailing.",
            "trailing ",
            " leading",
            long.as_str(),
        ] {
            assert!(bad.parse::<Filename>().is_err(), "{bad:?}");
        }
        for good in [
            "写真.png",
            "a b.txt",
            "console.log",
            ".bashrc",
            "a\"b.txt",
            "100%.txt",
        ] {
            assert!(good.parse::<Filename>().is_ok(), "{good:?}");
        }
    }

    #[test]
    fn names_are_normalised_to_nfc() {
        let name: Filename = "Cafe\u{301}.txt".parse().expect("accepted");
        assert_eq!(name.as_str(), "Café.txt");
    }

    #[test]
    fn names_that_are_stored_are_neutralised_and_keep_their_extension() {
        let long = "写".repeat(100);
        for (stored, wanted) in [
            ("写真.png", "写真.png".to_owned()),
            ("", "file".to_owned()),
            ("..", "file".to_owned()),
            (" . ", "file".to_owned()),
            ("../../etc/passwd", ".._.._etc_passwd".to_owned()),
            ("C:\\a.txt", "C:_a.txt".to_owned()),
            ("a\r\nSet-Cookie: b", "a__Set-Cookie: b".to_owned()),
            ("evil\u{202E}gpj.exe", "evil_gpj.exe".to_owned()),
            ("a.exe. . ", "a.exe".to_owned()),
            ("nul.txt", "_nul.txt".to_owned()),
            ("Cafe\u{301}.txt", "Café.txt".to_owned()),
            (&format!("{long}.tar.gz"), format!("{}.gz", "写".repeat(84))),
        ] {
            let name = Filename::neutralised(stored);
            assert_eq!(name.as_str(), wanted, "{stored:?}");
        }
        let json = serde_json::to_string("a/b").expect("JSON");
        let name: Filename = serde_json::from_str(&json).expect("never refused");
        assert_eq!(name.as_str(), "a_b");
    }

    proptest::proptest! {
        #[test]
        fn what_is_neutralised_is_accepted_and_what_is_accepted_stays(
            text in "[a-zA-Z0-9. /\\\\\u{0}-\u{1f}\u{202a}-\u{206f}\u{301}写é]{0,300}|CON[. ]{0,260}x?|.{0,300}",
        ) {
            let name = Filename::neutralised(&text);
            proptest::prop_assert_eq!(name.as_str().parse::<Filename>().ok(), Some(name.clone()));
            if let Ok(accepted) = text.parse::<Filename>() {
                proptest::prop_assert_eq!(accepted, name);
            }
        }

        #[test]
        fn a_header_is_visible_ascii_and_its_extended_name_is_the_name(text in ".{0,80}") {
            let name = Filename::neutralised(&text);
            let header = Disposition::Attachment.header(&name);
            proptest::prop_assert!(header.bytes().all(|b| (0x20..0x7f).contains(&b)), "{}", header);
            proptest::prop_assert_eq!(header.matches('"').count(), 2);
            let read = match header.split_once("filename*=UTF-8''") {
                Some((_, encoded)) => percent_encoding::percent_decode_str(encoded)
                    .decode_utf8()
                    .expect("UTF-8")
                    .into_owned(),
                None => header.split('"').nth(1).expect("a name").to_owned(),
            };
            proptest::prop_assert_eq!(read, name.as_str());
        }
    }

    #[test]
    fn extensions_are_short_lower_case_and_plain() {
        let extension = |text: &str| text.parse::<Filename>().expect("accepted").extension();
        assert_eq!(extension("a.PNG"), Some("png".into()));
        assert_eq!(extension("a.tar.gz"), Some("gz".into()));
        assert_eq!(extension(".bashrc"), None);
        assert_eq!(extension("a.写"), None);
        assert_eq!(extension("noext"), None);
        assert_eq!(extension("a.abcdefghijklmnopq"), None);
    }

    #[test]
    fn dispositions_follow_rfc_6266() {
        let header = |text: &str| {
            Disposition::Attachment.header(&text.parse::<Filename>().expect("accepted"))
        };
        assert_eq!(header("a b.txt"), "attachment; filename=\"a b.txt\"");
        assert_eq!(
            header("€ rates.txt"),
            "attachment; filename=\"_ rates.txt\"; filename*=UTF-8''%E2%82%AC%20rates.txt"
        );
        assert_eq!(
            header("a\"b.txt"),
            "attachment; filename=\"a_b.txt\"; filename*=UTF-8''a%22b.txt"
        );
        assert_eq!(
            header("=?UTF-8?Q?a?=.txt"),
            "attachment; filename=\"=?UTF-8?Q?a?=.txt\"; filename*=UTF-8''%3D%3FUTF-8%3FQ%3Fa%3F%3D.txt"
        );
    }
}
