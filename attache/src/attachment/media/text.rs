//! Text: what may be text at all, in which encoding, and whether it is markup.

use encoding_rs::Encoding;

/// What stands for "in an encoding that nobody told, and it is not UTF-8" (RFC 1428 section 3; registered with IANA).
/// It is kept and never sent: without a label browsers look at the bytes.
const UNKNOWN: &str = "unknown-8bit";

/// <https://mimesniff.spec.whatwg.org/#rules-for-text-or-binary>: what has a byte order mark, or no control characters
/// that text never has, may be text in some encoding.
pub(super) fn is_binary(first: &[u8]) -> bool {
    let marked = [&b"\xFE\xFF"[..], b"\xFF\xFE", b"\xEF\xBB\xBF"];
    let control = |b: &u8| matches!(b, 0x00..=0x08 | 0x0B | 0x0E..=0x1A | 0x1C..=0x1F);
    // A piece at a time, which is looked at as a whole: of a text all of it is looked at, in every upload.
    let holds_one = |piece: &[u8]| piece.iter().fold(false, |found, b| found | control(b));
    !marked.iter().any(|mark| first.starts_with(mark)) && first.chunks(128).any(holds_one)
}

/// UTF-8 without control characters (but line ends, tabs and form feeds). A character that the sniffed piece cuts in
/// two does not count.
pub(super) fn is_clean_utf8(first: &[u8]) -> bool {
    let text = match std::str::from_utf8(first) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&first[..error.valid_up_to()]).unwrap_or("")
        }
        Err(_) => return false,
    };
    !text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{c}'))
}

/// The charset that a content type names, if it is a label of the Encoding Standard
/// (<https://encoding.spec.whatwg.org/#names-and-labels>): by its one name.
pub(super) fn label(content_type: &str) -> Option<&'static str> {
    let label = parameter(content_type)?;
    Encoding::for_label_no_replacement(label.as_bytes()).map(Encoding::name)
}

/// What a text of `essence` is, once all of its bytes have passed: see [`settled`](super::settled).
pub(super) fn settled(content_type: &str, essence: &str, utf8: bool) -> String {
    let charset = match label(content_type) {
        _ if utf8 => "utf-8",
        // A label that the bytes contradict is not kept.
        Some(label) if label != "UTF-8" => label,
        _ => UNKNOWN,
    };
    format!("{essence}; charset={charset}")
}

/// The charset to send with a text; `None` if browsers had better find out.
///
/// Types that were stored before charsets were say nothing; they were sent as UTF-8, and are.
pub(super) fn charset(content_type: &str) -> Option<&'static str> {
    match parameter(content_type) {
        None => Some("utf-8"),
        Some(_) => match label(content_type) {
            Some("UTF-8") => Some("utf-8"),
            other => other,
        },
    }
}

/// The value of the parameter `charset` (RFC 9110 section 8.3.1: a token, or a quoted string).
fn parameter(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches(['"', '\'']);
        (name.trim().eq_ignore_ascii_case("charset") && !value.is_empty()).then_some(value)
    })
}

/// The type of markup, by its first element; `None` for what is not markup, or might as well be prose.
pub(super) fn markup(first: &[u8]) -> Option<&'static str> {
    let text = ascii(first);
    let (root, declared) = root(&text);
    let root = root?;
    let name = root.rsplit(':').next().unwrap_or(root);
    if root.eq_ignore_ascii_case("!doctype html")
        || (!declared && HTML.iter().any(|tag| name.eq_ignore_ascii_case(tag)))
    {
        Some("text/html")
    } else if name == "svg" {
        Some("image/svg+xml")
    } else if declared {
        Some("text/xml")
    } else {
        None
    }
}

/// Elements that begin a document, and that nobody begins prose with.
const HTML: [&str; 3] = ["html", "head", "body"];

/// Whether a browser that sniffed would take this for HTML
/// (<https://mimesniff.spec.whatwg.org/#rules-for-identifying-an-unknown-mime-type>).
pub(super) fn resembles_html(first: &[u8]) -> bool {
    const TAGS: [&str; 17] = [
        "!doctype html",
        "html",
        "head",
        "script",
        "iframe",
        "h1",
        "div",
        "font",
        "table",
        "a",
        "style",
        "title",
        "b",
        "body",
        "br",
        "p",
        "!--",
    ];
    let text = ascii(first);
    let text = text.trim_start_matches(BLANK);
    TAGS.iter().any(|tag| {
        text.strip_prefix('<')
            .and_then(|rest| Some((rest.get(..tag.len())?, rest.as_bytes().get(tag.len()))))
            .is_some_and(|(begins, next)| {
                begins.eq_ignore_ascii_case(tag)
                    && (*tag == "!--" || matches!(next, Some(b' ' | b'>' | b'\t' | b'\n' | b'\r')))
            })
    })
}

const BLANK: [char; 5] = [' ', '\t', '\n', '\r', '\u{c}'];

/// The name of the first element, or `!doctype html`, and whether there was an XML declaration before it.
fn root(text: &str) -> (Option<&str>, bool) {
    let mut rest = text.trim_start_matches(BLANK);
    let declared = rest.starts_with("<?xml");
    loop {
        rest = rest.trim_start_matches(BLANK);
        let Some(tag) = rest.strip_prefix('<') else {
            // Cut in a comment or a declaration, or no markup.
            return (declared.then_some(""), declared);
        };
        let skipped = if let Some(comment) = tag.strip_prefix("!--") {
            comment.split_once("-->").map(|(_, rest)| rest)
        } else if let Some(instruction) = tag.strip_prefix('?') {
            instruction.split_once("?>").map(|(_, rest)| rest)
        } else if let Some(doctype) = tag.strip_prefix('!') {
            let is_html = doctype
                .get(..12)
                .is_some_and(|begins| begins.eq_ignore_ascii_case("doctype html"))
                && !doctype
                    .as_bytes()
                    .get(12)
                    .is_some_and(u8::is_ascii_alphanumeric);
            if is_html && !declared {
                return (Some("!doctype html"), declared);
            }
            if !doctype
                .get(..7)
                .is_some_and(|begins| begins.eq_ignore_ascii_case("doctype"))
            {
                return (None, declared);
            }
            after_doctype(doctype)
        } else {
            let end = tag
                .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.')));
            let name = &tag[..end.unwrap_or(tag.len())];
            return ((!name.is_empty()).then_some(name), declared);
        };
        match skipped {
            Some(after) => rest = after,
            None => return (declared.then_some(""), declared),
        }
    }
}

/// What follows a document type, its internal subset (in brackets) included.
fn after_doctype(doctype: &str) -> Option<&str> {
    let (head, rest) = doctype.split_once('>')?;
    match head.contains('[') {
        false => Some(rest),
        true => {
            let (_, rest) = doctype.split_once(']')?;
            rest.split_once('>').map(|(_, rest)| rest)
        }
    }
}

/// The ASCII of a text in any encoding that is a superset of it, or in UTF-16 with a byte order mark.
fn ascii(first: &[u8]) -> String {
    let wide = |read: fn([u8; 2]) -> u16| {
        let units = first[2..]
            .chunks_exact(2)
            .map(|pair| read([pair[0], pair[1]]));
        char::decode_utf16(units)
            .map(|c| c.ok().filter(char::is_ascii).unwrap_or('\u{7f}'))
            .collect()
    };
    if first.starts_with(b"\xFF\xFE") {
        return wide(u16::from_le_bytes);
    }
    if first.starts_with(b"\xFE\xFF") {
        return wide(u16::from_be_bytes);
    }
    let bytes = first.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(first);
    let ascii = bytes.iter().map(|b| if b.is_ascii() { *b } else { 0x7f });
    String::from_utf8(ascii.collect()).unwrap_or_default()
}
