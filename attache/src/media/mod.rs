//! Media types: what a file is, and what a browser may be told that it is.
//!
//! A type is decided once, at upload, from the claim and the bytes. Whether it may be shown is decided at delivery,
//! from the type that was decided and the configuration.

use crate::filename::{Disposition, Filename};

/// What is said of bytes about which nothing better is known (RFC 9110 section 8.3).
pub const OCTET_STREAM: &str = "application/octet-stream";

const PLAIN_TEXT: &str = "text/plain";

/// How many of the first bytes are looked at; every signature that is known lies within.
pub const SNIFF_BYTES: usize = 8192;

/// The type of a file, from what its sender claims and from its first bytes.
///
/// - A claim of something that a browser shows (image, audio, video, PDF) is believed only if the bytes say the same:
///   a `.png` that is HTML is not an image.
/// - A claim of plain text is believed unless the bytes are binary: it is shown, too.
/// - Any other claim is believed, unless it says nothing (`application/octet-stream`, none).
/// - Where no claim is believed, the bytes decide; text without a signature is `text/plain`.
pub fn decide(claim: Option<&str>, first: &[u8], filename: Option<&Filename>) -> String {
    let claim = claim.and_then(essence);
    let sniffed = infer::get(first).map(|kind| kind.mime_type().to_owned());
    let claim = claim.filter(|claim| !says_nothing(claim));
    match (claim, sniffed) {
        (Some(claim), Some(sniffed)) if is_shown(&claim) || is_active(&claim) => {
            if same_family(&claim, &sniffed) {
                claim
            } else {
                sniffed
            }
        }
        (Some(claim), None) if is_shown(&claim) => text_or_octets(first),
        (Some(claim), sniffed) if claim == PLAIN_TEXT && is_binary(first) => {
            sniffed.unwrap_or_else(|| OCTET_STREAM.to_owned())
        }
        // Markup that the bytes do not contradict; it is never shown, only its name is kept.
        (Some(claim), None) if is_active(&claim) && !is_text(first) => OCTET_STREAM.to_owned(),
        (Some(claim), _) => claim,
        (None, Some(sniffed)) => sniffed,
        (None, None) if first.is_empty() => OCTET_STREAM.to_owned(),
        (None, None) => match filename.and_then(Filename::extension).as_deref() {
            Some("csv") if is_text(first) => "text/csv".to_owned(),
            Some("json") if is_text(first) => "application/json".to_owned(),
            Some("svg") if is_text(first) => "image/svg+xml".to_owned(),
            _ => text_or_octets(first),
        },
    }
}

/// The extension for a file that came without a name.
pub fn extension(content_type: &str) -> Option<&'static str> {
    Some(match content_type {
        "image/png" => "png",
        "image/jpeg" => "jpg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "image/avif" => "avif",
        "image/svg+xml" => "svg",
        "application/pdf" => "pdf",
        "application/zip" => "zip",
        "application/json" => "json",
        "text/plain" => "txt",
        "text/csv" => "csv",
        "video/mp4" => "mp4",
        "video/webm" => "webm",
        "audio/mpeg" => "mp3",
        "audio/ogg" => "ogg",
        _ => return None,
    })
}

/// How a file is served: shown or saved, and under which type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Shown or saved.
    pub disposition: Disposition,
    /// The value of `Content-Type`.
    pub content_type: String,
    /// The value of `Content-Security-Policy`, for where the server that delivers can send one.
    pub policy: &'static str,
}

/// How a file of `content_type` is served to somebody who asks for `asked`.
///
/// It is shown only if `inline_types` list its type and it cannot carry a script; what can is served as octets,
/// whichever way it is delivered.
pub fn serve(content_type: &str, asked: Disposition, inline_types: &[String]) -> Served {
    let active = is_active(content_type);
    let listed = inline_types
        .iter()
        .any(|pattern| matches(pattern, content_type));
    let disposition = match asked {
        Disposition::Inline if listed && !active => Disposition::Inline,
        _ => Disposition::Attachment,
    };
    let policy = match disposition {
        Disposition::Inline => policy(content_type),
        Disposition::Attachment => LOCKED,
    };
    let content_type = if active {
        OCTET_STREAM.to_owned()
    } else if content_type == PLAIN_TEXT {
        "text/plain; charset=utf-8".to_owned()
    } else {
        content_type.to_owned()
    };
    Served {
        disposition,
        content_type,
        policy,
    }
}

/// What a file may do when it is opened on its own: nothing but show itself.
///
/// Browsers wrap media into a document of theirs, to which the policy applies, and which fetches the file once more. In a
/// full sandbox it would do so as a stranger, whom `Cross-Origin-Resource-Policy` turns away: Chromium then shows a player
/// without a film. No script runs in it either way.
fn policy(content_type: &str) -> &'static str {
    match content_type.split('/').next().unwrap_or_default() {
        "image" => concat!(
            "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; ",
            "base-uri 'none'; form-action 'none'; sandbox allow-same-origin"
        ),
        "audio" | "video" => concat!(
            "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'; ",
            "base-uri 'none'; form-action 'none'; sandbox allow-same-origin"
        ),
        // Browsers' viewers of PDF are plugins, and those do not start in a sandbox. Scripts of a PDF run in the viewer,
        // which has no access to our origin.
        _ if content_type == "application/pdf" => concat!(
            "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'; ",
            "base-uri 'none'; form-action 'none'"
        ),
        _ => LOCKED,
    }
}

/// The policy of everything that is shown as text or not at all.
const LOCKED: &str = concat!(
    "default-src 'none'; style-src 'unsafe-inline'; ",
    "base-uri 'none'; form-action 'none'; sandbox"
);

/// Type and subtype in lower case, without parameters; `None` if malformed (RFC 9110 section 8.3.1).
fn essence(claim: &str) -> Option<String> {
    let essence = claim
        .split(';')
        .next()
        .unwrap_or(claim)
        .trim()
        .to_ascii_lowercase();
    let token = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    let (kind, subtype) = essence.split_once('/')?;
    (essence.len() <= 127 && token(kind) && token(subtype)).then_some(essence)
}

fn says_nothing(claim: &str) -> bool {
    matches!(
        claim,
        OCTET_STREAM
            | "binary/octet-stream"
            | "application/x-www-form-urlencoded"
            | "multipart/form-data"
            | "application/unknown"
            | "unknown/unknown"
    )
}

fn is_shown(content_type: &str) -> bool {
    let (kind, _) = content_type.split_once('/').unwrap_or((content_type, ""));
    (matches!(kind, "image" | "audio" | "video") && !is_active(content_type))
        || content_type == "application/pdf"
}

/// Whether a browser might run something in it: markup, scripts, style sheets, documents that hold others
/// (<https://mimesniff.spec.whatwg.org/#scriptable-mime-type> and what browsers treat alike).
pub fn is_active(content_type: &str) -> bool {
    let subtype = content_type
        .split_once('/')
        .map_or("", |(_, subtype)| subtype);
    subtype == "xml"
        || subtype.ends_with("+xml")
        || subtype.contains("html")
        || subtype.contains("javascript")
        || subtype.contains("ecmascript")
        || matches!(subtype, "jscript" | "livescript" | "vbscript")
        || content_type.starts_with("multipart/")
        || matches!(
            content_type,
            "text/css"
                | "text/xsl"
                | "text/cache-manifest"
                | "text/x-component"
                | "text/scriptlet"
                | "message/rfc822"
                | "application/x-shockwave-flash"
                | "application/wasm"
                | "application/x-mimearchive"
                // Browsers sniff these as if no type were given
                // (<https://mimesniff.spec.whatwg.org/#mime-type-sniffing-algorithm>).
                | "application/unknown"
                | "unknown/unknown"
        )
}

/// Different names of one thing, such as `audio/wav` and `audio/x-wav`, or `video/quicktime` and `video/mp4`.
fn same_family(claim: &str, sniffed: &str) -> bool {
    let kind = |text: &str| text.split('/').next().unwrap_or(text).to_owned();
    let media = |text: &str| matches!(kind(text).as_str(), "audio" | "video");
    claim == sniffed || (media(claim) && media(sniffed))
}

fn matches(pattern: &str, content_type: &str) -> bool {
    match pattern.strip_suffix("/*") {
        Some(kind) => content_type.split('/').next() == Some(kind),
        None => pattern.eq_ignore_ascii_case(content_type),
    }
}

fn text_or_octets(first: &[u8]) -> String {
    if !first.is_empty() && is_text(first) {
        "text/plain".to_owned()
    } else {
        OCTET_STREAM.to_owned()
    }
}

/// UTF-8 without control characters (but line ends, tabs and form feeds). A character that the sniffed piece cuts in
/// two does not count.
fn is_text(first: &[u8]) -> bool {
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

/// <https://mimesniff.spec.whatwg.org/#rules-for-text-or-binary>: what has a byte order mark, or no control characters
/// that text never has, may be text in some encoding.
fn is_binary(first: &[u8]) -> bool {
    let marked = [&b"\xFE\xFF"[..], b"\xFF\xFE", b"\xEF\xBB\xBF"];
    !marked.iter().any(|mark| first.starts_with(mark))
        && first
            .iter()
            .any(|b| matches!(b, 0x00..=0x08 | 0x0B | 0x0E..=0x1A | 0x1C..=0x1F))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    const HTML: &[u8] = b"<!DOCTYPE html><html><script>alert(1)</script>";

    #[test]
    fn bytes_decide_what_a_browser_would_show() {
        assert_eq!(decide(Some("image/png"), PNG, None), "image/png");
        assert_eq!(decide(Some("IMAGE/PNG; x=y"), PNG, None), "image/png");
        assert_eq!(decide(None, PNG, None), "image/png");
        assert_eq!(decide(Some("text/html"), PNG, None), "image/png");
        assert_eq!(decide(Some("image/png"), HTML, None), "text/html");
        assert_eq!(decide(Some("image/jpeg"), PNG, None), "image/png");
        assert_eq!(decide(Some("image/png"), b"hello", None), "text/plain");
        assert_eq!(decide(Some("image/png"), b"\0\x01\x02", None), OCTET_STREAM);
        assert_eq!(decide(Some("text/plain"), PNG, None), "image/png");
        assert_eq!(
            decide(Some("text/plain"), b"\0\x01\x02", None),
            OCTET_STREAM
        );
        // Latin-1, UTF-16, and markup that somebody wants to be read.
        assert_eq!(decide(Some("text/plain"), b"caf\xE9", None), "text/plain");
        assert_eq!(
            decide(Some("text/plain"), b"\xFF\xFEh\0i\0", None),
            "text/plain"
        );
        assert_eq!(decide(Some("text/plain"), HTML, None), "text/plain");
    }

    #[test]
    fn other_claims_are_believed_and_malformed_ones_are_not() {
        let docx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
        assert_eq!(decide(Some(docx), b"PK\x03\x04", None), docx);
        assert_eq!(
            decide(Some("text/markdown"), b"# hi", None),
            "text/markdown"
        );
        for bad in ["nonsense", "a/b\r\nx: y", "", "/", "a/b c"] {
            assert_eq!(decide(Some(bad), b"hello", None), "text/plain", "{bad:?}");
        }
        assert_eq!(decide(None, b"", None), OCTET_STREAM);
    }

    #[test]
    fn what_can_carry_a_script_is_never_shown() {
        let all = [
            "image/*".to_owned(),
            "text/*".to_owned(),
            "application/*".to_owned(),
        ];
        for active in [
            "text/html",
            "image/svg+xml",
            "application/xhtml+xml",
            "text/xml",
            "application/javascript",
            "text/css",
            "text/jscript",
            "multipart/related",
            "application/unknown",
            "unknown/unknown",
        ] {
            let served = serve(active, Disposition::Inline, &all);
            assert_eq!(served.disposition, Disposition::Attachment, "{active}");
            assert_eq!(served.content_type, OCTET_STREAM, "{active}");
            assert!(served.policy.ends_with("sandbox"), "{active}");
        }
        let png = serve("image/png", Disposition::Inline, &all);
        assert_eq!(png.disposition, Disposition::Inline);
        assert_eq!(
            serve("image/png", Disposition::Inline, &[]).disposition,
            Disposition::Attachment
        );
        let text = serve("text/plain", Disposition::Inline, &all);
        assert_eq!(text.content_type, "text/plain; charset=utf-8");
    }

    #[test]
    fn policies_give_each_type_what_showing_it_takes() {
        let all = ["image/*", "video/*", "text/*", "application/*"].map(str::to_owned);
        let policy = |content_type, asked| serve(content_type, asked, &all).policy;
        let inline = |content_type| policy(content_type, Disposition::Inline);
        for (content_type, source) in [("image/png", "img-src"), ("video/webm", "media-src")] {
            assert!(inline(content_type).contains(source), "{content_type}");
            assert!(inline(content_type).ends_with("; sandbox allow-same-origin"));
            assert_eq!(policy(content_type, Disposition::Attachment), LOCKED);
        }
        assert_eq!(inline("text/plain"), LOCKED);
        assert!(!inline("application/pdf").contains("sandbox"));
        for content_type in ["image/png", "video/webm", "application/pdf", "text/plain"] {
            assert!(inline(content_type).starts_with("default-src 'none'; "));
            assert!(inline(content_type).contains("base-uri 'none'; form-action 'none'"));
            assert!(!inline(content_type).contains("script"), "{content_type}");
        }
    }
}
