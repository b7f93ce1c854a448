//! File names: what is made of them, and how a name is written into `Content-Disposition`.
//!
//! One formatter serves response headers, `rscd` of a signed URL and the blob's own property, so that a
//! file has the same name whichever way it is delivered.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use super::key::is_extension;
use crate::error::{Error, Result};

/// Longest file name, in UTF-16 code units: what NTFS stores
/// (<https://learn.microsoft.com/windows/win32/fileio/maximum-file-path-limitation>) and what APFS and exFAT store, too.
/// ext4 stores 255 *bytes*; browsers shorten what they save there.
pub const MAX_FILENAME_UNITS: usize = 255;

/// Longest text that is read as a name, path and all. Whatever sends more is not a file system.
const MAX_TEXT_BYTES: usize = 64 * 1024;

/// A file name: one component without controls and direction marks, no device of Windows, NFC, at most
/// [`MAX_FILENAME_UNITS`]. It may hold what Windows does not save (`:`, `"`, `?`): browsers replace that when they save.
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

    /// The nearest name to `text`; `text` itself, in NFC, if it is one.
    ///
    /// Marks of direction and byte order go, which nobody sees; so do blanks at both ends and dots at the end. Tabs become
    /// spaces, other controls, separators and overrides of direction `_`. A device gets a `_` in front, and what is too long
    /// loses the end of its stem and keeps its extension. What leaves nothing is `file`.
    pub fn neutralised(text: &str) -> Self {
        if is_plain(text) {
            return Self(text.to_owned());
        }
        Self(neutralise(text).unwrap_or_else(|| "file".to_owned()))
    }

    /// The name of a file that came without one.
    pub(crate) fn unnamed(extension: Option<&str>) -> Self {
        match extension {
            Some(extension) => Self(format!("file.{extension}")),
            None => Self("file".to_owned()),
        }
    }
}

/// The name of a file that somebody sends: the last component of a path (RFC 7578 section 4.2), of either kind of system,
/// [neutralised](Filename::neutralised). Nothing is refused that people have on another system.
///
/// # Errors
///
/// [`ErrorKind::BadRequest`](crate::ErrorKind::BadRequest) if there is nothing in it (`..`, `a/`), if it holds a NUL, which no
/// system allows, or a line break, which is somebody's attempt at another header (but for one at its end: the Finder calls a
/// folder's icon `Icon\r`), or if it is longer than 64 KiB.
impl FromStr for Filename {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let reject = |what: &str| {
            Err(Error::bad_request(format!(
                "the file name {what}; rename the file and send it again"
            )))
        };
        if text.len() > MAX_TEXT_BYTES {
            return reject("is longer than 64 KiB");
        }
        if text.contains('\0') {
            return reject("holds a NUL");
        }
        let name = text.rsplit(['/', '\\']).next().unwrap_or(text);
        if text.trim().contains(['\r', '\n']) {
            return reject("holds a line break");
        }
        match neutralise(name) {
            Some(name) => Ok(Self(name)),
            None => reject("is empty, \".\" or \"..\""),
        }
    }
}

impl From<String> for Filename {
    /// A name that was stored.
    fn from(text: String) -> Self {
        match is_plain(&text) {
            true => Self(text),
            false => Self::neutralised(&text),
        }
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
            // Percent and backslash are decoded by some browsers within the quotes; a quote ends them. Windows saves none of
            // the others, and takes what follows a colon for a part of another file; whoever reads this parameter alone may
            // not know.
            if c.is_ascii()
                && !c.is_ascii_control()
                && !matches!(c, '"' | '\\' | '%' | ':' | '<' | '>' | '|' | '?' | '*')
            {
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

/// Whether a text is a name as it is, told without a walk through Unicode. Most names are, and a page of a listing makes one of each
/// row.
fn is_plain(text: &str) -> bool {
    let letters = text.bytes().fold(true, |plain, b| {
        plain & (b' '..=b'~').contains(&b) & (b != b'/') & (b != b'\\')
    });
    letters
        && (1..=MAX_FILENAME_UNITS).contains(&text.len())
        && !text.starts_with(' ')
        && !text.ends_with([' ', '.'])
        && !is_device(text)
}

/// The nearest name to `text`; `None` if nothing is left of it.
fn neutralise(text: &str) -> Option<String> {
    let visible = text.trim().chars().filter(|c| !is_mark(*c));
    let replaced = visible.map(|c| match c {
        '\t' => ' ',
        '/' | '\\' => '_',
        c if is_unsafe(c) => '_',
        c => c,
    });
    let name: String = replaced.nfc().collect();
    let name = cut(trimmed(&name), MAX_FILENAME_UNITS);
    match trimmed(&name) {
        "" => None,
        device if is_device(device) => {
            let shorter = cut(device, MAX_FILENAME_UNITS - 1);
            Some(format!("_{}", trimmed(&shorter)))
        }
        name => Some(name.to_owned()),
    }
}

/// Marks that are not seen and tell an editor or a renderer something: of direction (which WhatsApp and right-to-left
/// systems put around names), and of byte order.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{FEFF}')
}

/// Controls, line and paragraph separators, and what reverses the direction of text
/// (Unicode Technical Report 36, section 2.10; UAX 9).
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{2028}' | '\u{2029}'
            | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{206F}' | '\u{FFF9}'..='\u{FFFB}')
}

/// Without what Windows drops, and what hides an extension.
fn trimmed(name: &str) -> &str {
    name.trim_start()
        .trim_end_matches(|c: char| c == '.' || c.is_whitespace())
}

/// At most `limit` UTF-16 units: the end of the stem goes, the extension stays if it is one.
fn cut(name: &str, limit: usize) -> String {
    let units = |text: &str| text.chars().map(char::len_utf16).sum::<usize>();
    if units(name) <= limit {
        return name.to_owned();
    }
    let extension = match name.rsplit_once('.') {
        Some((_, extension)) if units(extension) <= MAX_KEPT_EXTENSION => {
            &name[name.len() - extension.len() - 1..]
        }
        _ => "",
    };
    let mut left = limit - units(extension);
    let stem = name.chars().take_while(|c| {
        let fits = c.len_utf16() <= left;
        left = left.saturating_sub(c.len_utf16());
        fits
    });
    let mut cut: String = stem.collect();
    cut.push_str(extension);
    cut
}

/// Longer than this, what follows the last dot is not an extension but a part of a sentence.
const MAX_KEPT_EXTENSION: usize = 32;

/// <https://learn.microsoft.com/windows/win32/fileio/naming-a-file#naming-conventions>
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end();
    let Some((kind, number)) = stem.split_at_checked(3) else {
        return false;
    };
    let is = |device: &str| kind.eq_ignore_ascii_case(device);
    match number {
        "" => is("CON") || is("PRN") || is("AUX") || is("NUL"),
        "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³" => {
            is("COM") || is("LPT")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_name_is_refused() {
        let long = "x".repeat(MAX_TEXT_BYTES + 1);
        for bad in [
            "", ".", "..", "a/", "a/..", "C:\\", " . ", "\u{200E}", "a\0b", "a\r\nb", "a\nb", &long,
        ] {
            assert!(bad.parse::<Filename>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_that_is_taken_as_it_is_would_be_made_the_same() {
        let mut plain = 0;
        let ends = [
            "", " ", ".", "a", "a.txt", "con", "CON.txt", "lpt1", "com10", "nul .x", "\u{e9}", "co",
        ];
        for (one, two) in ends.iter().flat_map(|one| ends.map(|two| (one, two))) {
            for letter in (0..=0x7f_u8).map(char::from) {
                let text = format!("{one}{letter}{two}");
                plain += usize::from(is_plain(&text));
                assert!(
                    !is_plain(&text) || neutralise(&text).as_deref() == Some(&text),
                    "{text:?}"
                );
            }
        }
        assert!(plain > 1000, "{plain}");
        for length in [MAX_FILENAME_UNITS, MAX_FILENAME_UNITS + 1] {
            let text = "x".repeat(length);
            assert_eq!(is_plain(&text), neutralise(&text).as_deref() == Some(&text));
        }
        assert!(!is_plain("") && is_plain("photo.png"));
    }

    #[test]
    fn what_another_system_allows_is_stored_under_the_nearest_name() {
        let name = |text: &str| text.parse::<Filename>().expect("accepted").0;
        for same in [
            "写真.png",
            "a b.txt",
            "console.log",
            ".bashrc",
            "a\"b.txt",
            "100%.txt",
            "a:b.txt",
            "<script>.html",
            "a\u{200D}b.txt",
            &format!("{}.pdf", "写".repeat(251)),
        ] {
            assert_eq!(name(same), same);
        }
        for (sent, stored) in [
            ("folder/sub/a.txt", "a.txt"),
            ("C:\\Users\\me\\写真.png", "写真.png"),
            ("report vol. 1.", "report vol. 1"),
            (" a.txt ", "a.txt"),
            ("a.txt\u{3000}", "a.txt"),
            ("CON", "_CON"),
            ("aux.c", "_aux.c"),
            ("aux .txt", "_aux .txt"),
            ("com1.log", "_com1.log"),
            ("\u{200E}a\u{200F}.jpg", "a.jpg"),
            ("\u{FEFF}a.jpg", "a.jpg"),
            ("a\tb.txt", "a b.txt"),
            ("a\u{2028}b.txt", "a_b.txt"),
            ("Icon\r", "Icon"),
            ("evil\u{202E}gpj.exe", "evil_gpj.exe"),
        ] {
            assert_eq!(name(sent), stored, "{sent:?}");
        }
        let long = name(&format!("{}\u{1F980}.pdf", "写".repeat(300)));
        assert_eq!(long, format!("{}.pdf", "写".repeat(251)));
        assert_eq!(name(&"写".repeat(300)).chars().count(), 255);
        assert_eq!(
            name(&format!("{}.pdf", "\u{1F980}".repeat(200)))
                .encode_utf16()
                .count(),
            254
        );
    }

    #[test]
    fn names_are_normalised_to_nfc() {
        let name: Filename = "Cafe\u{301}.txt".parse().expect("accepted");
        assert_eq!(name.as_str(), "Café.txt");
    }

    #[test]
    fn names_that_are_stored_are_neutralised_and_keep_their_extension() {
        let long = "写".repeat(300);
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
            (
                &format!("{long}.tar.gz"),
                format!("{}.gz", "写".repeat(252)),
            ),
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
        fn what_is_neutralised_or_accepted_is_accepted_as_it_is(
            text in "[a-zA-Z0-9. /\\\\\u{0}-\u{1f}\u{202a}-\u{206f}\u{301}写é]{0,300}|CON[. ]{0,260}x?|.{0,300}",
        ) {
            let name = Filename::neutralised(&text);
            proptest::prop_assert_eq!(name.as_str().parse::<Filename>().ok(), Some(name.clone()));
            proptest::prop_assert!(name.as_str().encode_utf16().count() <= MAX_FILENAME_UNITS);
            if let Ok(accepted) = text.parse::<Filename>() {
                proptest::prop_assert_eq!(accepted.as_str().parse::<Filename>().ok(), Some(accepted));
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
            "attachment; filename=\"=_UTF-8_Q_a_=.txt\"; filename*=UTF-8''%3D%3FUTF-8%3FQ%3Fa%3F%3D.txt"
        );
        assert_eq!(
            header("a:b.txt"),
            "attachment; filename=\"a_b.txt\"; filename*=UTF-8''a%3Ab.txt"
        );
    }
}
