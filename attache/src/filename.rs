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
#[serde(try_from = "String", into = "String")]
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

impl TryFrom<String> for Filename {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
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
            | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

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
    }
}
