//! Media types: what a file is, and what a browser may be told that it is.
//!
//! A type is decided once, at upload, from the claim, the bytes and the name; the charset of a text when all of its bytes
//! have passed. Whether it may be shown is decided at delivery, from what was decided and the configuration.
//!
//! `types` is the table of names, `signatures` and `containers` are what bytes say, `text` is what is text, `extensions` has
//! the last word where these leave a choice.

use crate::attachment::filename::Filename;

mod containers;
mod extensions;
mod serve;
mod signatures;
mod text;
mod types;

use signatures::{holds_pdf, sniff};
use text::{is_binary, is_clean_utf8, resembles_html};
use types::{Class, canonical, class, find, says_nothing};

pub use serve::{Guarded, Served, needs_policy, serve};

/// What is said of bytes about which nothing better is known (RFC 9110 section 8.3).
pub const OCTET_STREAM: &str = "application/octet-stream";

const PLAIN_TEXT: &str = "text/plain";
const PDF: &str = "application/pdf";
const SVG: &str = "image/svg+xml";

/// How many of the first bytes are looked at, and no more: what comes of a file must not depend on how it is cut into
/// packets (<https://mimesniff.spec.whatwg.org/#reading-the-resource-header>). Every signature that is known lies within.
pub const SNIFF_BYTES: usize = 8192;

/// The type of a file, from what its sender claims, from its first bytes, and from its name.
///
/// - A claim of an image, audio, video or PDF that we know by its bytes is believed only if the bytes say the same, or
///   another type of the same container. Where the bytes say more than the claim (HEIC, not any HEIF), they count.
/// - A claim of an image, audio or video that we do not know is kept unless the bytes say something else, and never shown.
/// - A claim of text is believed unless the bytes are binary: it is shown, too.
/// - A claim of markup or of a script is believed unless the bytes are something else: it is never shown.
/// - Any other claim is believed, unless it says nothing (`application/octet-stream`, none).
/// - Where no claim is believed, the bytes decide, and the name where they leave a choice. What may be text is text.
///
/// Of a text the sender's `charset` is kept as a parameter, if it is a label of the Encoding Standard; [`settled`] has the
/// last word on it.
pub fn decide(claim: Option<&str>, first: &[u8], filename: Option<&Filename>) -> String {
    let first = &first[..first.len().min(SNIFF_BYTES)];
    let extension = filename.and_then(Filename::extension);
    let extension = extension.as_deref();
    let essence = claim.and_then(well_formed);
    let told = essence
        .as_deref()
        .map(canonical)
        .filter(|claim| !says_nothing(claim));
    let found = sniff(first, extension);
    let decided = match told {
        Some(claim) => claimed(claim, first, found, extension),
        None => unclaimed(first, found, extension).to_owned(),
    };
    match claim.and_then(text::label) {
        Some(label) if is_text(&decided) => format!("{decided}; charset={label}"),
        _ => decided,
    }
}

/// The type of a file whose sender says that it is `claim`, and whose bytes say `found`.
fn claimed(
    claim: &str,
    first: &[u8],
    found: Option<&'static str>,
    extension: Option<&str>,
) -> String {
    let kept = claim.to_owned();
    if claim == PDF && holds_pdf(first) {
        return kept;
    }
    if claim == PDF || find(claim).is_some() {
        return match found {
            Some(found) if agrees(claim, found, first) => better(claim, found).to_owned(),
            Some(found) => found.to_owned(),
            None => contradicted(first).to_owned(),
        };
    }
    let binary = is_binary(first);
    match class(claim) {
        Class::Active => match found {
            // Visio's types end as XML's do, and are zip files.
            Some(found)
                if found.starts_with("application/")
                    && claim.ends_with("+xml")
                    && claim != SVG
                    && is_zip(first) =>
            {
                kept
            }
            Some(found) if binary || found == PDF => found.to_owned(),
            None if binary => OCTET_STREAM.to_owned(),
            _ => kept,
        },
        Class::Text if binary => found.unwrap_or(OCTET_STREAM).to_owned(),
        // "It is text" says less than a name that says which.
        Class::Text if claim == PLAIN_TEXT => match extension.and_then(extensions::text) {
            Some(named) if class(named) == Class::Saved => named.to_owned(),
            _ => kept,
        },
        Class::Text | Class::Saved => kept,
        Class::Other if is_media(claim) => match found {
            // A format that is written as text is known by its claim as well as by its bytes.
            Some(found) if is_media(found) && find(found).is_none() => kept,
            Some(found) => found.to_owned(),
            None if resembles_html(first) => "text/html".to_owned(),
            None => kept,
        },
        Class::Other => match claim {
            // What Windows claims for a CSV file, by the program that opens it.
            "application/vnd.ms-excel" if !binary && extension == Some("csv") => {
                "text/csv".to_owned()
            }
            "application/x-x509-ca-cert" | "application/x-pem-file" if !binary => {
                "application/x-pem-file".to_owned()
            }
            "application/zip" => found.unwrap_or(claim).to_owned(),
            _ => kept,
        },
    }
}

/// The type of a file of which nobody says what it is.
fn unclaimed(first: &[u8], found: Option<&'static str>, extension: Option<&str>) -> &'static str {
    if first.is_empty() {
        return OCTET_STREAM;
    }
    if let Some(found) = found {
        return found;
    }
    // A name that promises what the bytes do not hold is as good as a claim.
    match extension {
        Some("pdf") if holds_pdf(first) => return PDF,
        Some(promise) if extensions::promises_media(promise) => return contradicted(first),
        _ => {}
    }
    let named = match is_binary(first) {
        true => {
            return extension
                .and_then(extensions::binary)
                .unwrap_or(OCTET_STREAM);
        }
        false => extension.and_then(extensions::text),
    };
    named.unwrap_or(PLAIN_TEXT)
}

/// The type of bytes that are not what they should be, and nothing that is known. A browser would have been told that they
/// are a picture; what is left must be harmless beyond doubt.
fn contradicted(first: &[u8]) -> &'static str {
    if resembles_html(first) {
        "text/html"
    } else if !first.is_empty() && is_clean_utf8(first) {
        PLAIN_TEXT
    } else {
        OCTET_STREAM
    }
}

/// Whether bytes of the type `found` may be what `claim` says.
fn agrees(claim: &str, found: &str, first: &[u8]) -> bool {
    if claim == found {
        return true;
    }
    let (Some(claim), Some(found)) = (find(claim), find(found)) else {
        return false;
    };
    let tagged = |family| types::TAGGED.contains(&family);
    claim.family == found.family
        || (first.starts_with(b"ID3") && tagged(claim.family) && tagged(found.family))
}

/// The one of two types of a family that says more.
fn better<'a>(claim: &'a str, found: &'a str) -> &'a str {
    match find(claim) {
        Some(media) if media.generic => found,
        _ => claim,
    }
}

fn is_zip(first: &[u8]) -> bool {
    first.starts_with(b"PK")
}

fn is_media(name: &str) -> bool {
    ["image/", "audio/", "video/"]
        .iter()
        .any(|kind| name.starts_with(kind))
}

/// Type and subtype of a media type, without its parameters.
pub fn essence(content_type: &str) -> &str {
    content_type
        .split(';')
        .next()
        .unwrap_or(content_type)
        .trim_end()
}

/// The charset that is sent with a stored text; `None` for what is not text, and for texts whose encoding is unknown:
/// browsers detect those best without a label.
pub fn charset(content_type: &str) -> Option<&'static str> {
    is_text(essence(content_type))
        .then(|| text::charset(content_type))
        .flatten()
}

/// The type of a file all of whose bytes have passed. `utf8` is whether they are UTF-8.
///
/// A text that is UTF-8 is sent as that, whatever its sender said; another as what its sender said, if browsers know it.
/// The parameter `charset=unknown-8bit` stands for what is neither.
pub fn settled(content_type: &str, utf8: Option<bool>) -> String {
    let essence = essence(content_type);
    match utf8 {
        Some(utf8) if is_text(essence) => text::settled(content_type, essence, utf8),
        _ => content_type.to_owned(),
    }
}

/// A stored type as the value of `Content-Type`.
pub fn header(content_type: &str) -> String {
    let essence = essence(content_type);
    match charset(content_type) {
        Some(charset) => format!("{essence}; charset={charset}"),
        None => essence.to_owned(),
    }
}

fn is_text(essence: &str) -> bool {
    // Most are not by their first letters, and every attachment of a listing is asked.
    let may_be = essence.starts_with("text/") || essence.starts_with("application/");
    may_be && matches!(class(essence), Class::Text | Class::Saved)
}

/// The extension for a file that came without a name.
pub fn extension(content_type: &str) -> Option<&'static str> {
    extensions::usual(essence(content_type))
}

/// Type and subtype in lower case, without parameters; `None` if malformed (RFC 9110 section 8.3.1).
fn well_formed(claim: &str) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::serve::LOCKED;
    use super::*;
    use crate::attachment::filename::Disposition;

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
        let binary = b"\0\x01\x02";
        for claim in ["text/plain", "text/x-log", "application/json"] {
            assert_eq!(decide(Some(claim), binary, None), OCTET_STREAM, "{claim}");
        }
        // Latin-1, UTF-16, and markup that somebody wants to be read.
        assert_eq!(decide(Some("text/plain"), b"caf\xE9", None), "text/plain");
        let wide = b"\xFF\xFEh\0i\0";
        assert_eq!(decide(Some("text/plain"), wide, None), "text/plain");
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

    fn inline(content_type: &str, inline_types: &[&str], guarded: Guarded) -> Served {
        let inline_types: Vec<String> = inline_types.iter().map(ToString::to_string).collect();
        serve(content_type, Disposition::Inline, &inline_types, guarded)
    }

    #[test]
    fn what_can_carry_a_script_is_never_shown() {
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
            let served = inline(
                active,
                &["image/*", "text/*", "application/*"],
                Guarded::Yes,
            );
            assert_eq!(served.disposition, Disposition::Attachment, "{active}");
            assert_eq!(served.content_type, OCTET_STREAM, "{active}");
            assert!(served.policy.ends_with("sandbox"), "{active}");
        }
        let png = inline("image/png", &["image/*"], Guarded::Yes);
        assert_eq!(png.disposition, Disposition::Inline);
        let png = inline("image/png", &[], Guarded::Yes);
        assert_eq!(png.disposition, Disposition::Attachment);
    }

    #[test]
    fn svg_is_a_picture_only_where_it_is_listed_by_name_and_sandboxed() {
        for (listed, guarded, shown) in [
            (&["image/*", "image/svg+xml"][..], Guarded::Yes, true),
            (&["image/*", "image/svg+xml"], Guarded::No, false),
            (&["image/*"], Guarded::Yes, false),
        ] {
            let served = inline(SVG, listed, guarded);
            assert_eq!(
                served.disposition == Disposition::Inline,
                shown,
                "{listed:?} {guarded:?}"
            );
            assert_eq!(served.content_type, if shown { SVG } else { OCTET_STREAM });
            // "sandbox" alone: no scripts, and an origin of its own.
            assert_eq!(served.policy, LOCKED);
            let listed: Vec<String> = listed.iter().map(ToString::to_string).collect();
            assert_eq!(needs_policy(SVG, &listed), listed.len() == 2);
        }
        let saved = serve(
            SVG,
            Disposition::Attachment,
            &[SVG.to_owned()],
            Guarded::Yes,
        );
        assert_eq!(saved.content_type, OCTET_STREAM);
        let other = ["image/svg+xml", "text/html", "text/xml"].map(str::to_owned);
        for active in ["text/html", "text/xml"] {
            assert!(!needs_policy(active, &other));
            let served = serve(active, Disposition::Inline, &other, Guarded::Yes);
            assert_eq!(served.content_type, OCTET_STREAM, "{active}");
        }
    }

    #[test]
    fn texts_are_shown_as_plain_text_and_tables_are_saved_unless_they_are_listed() {
        let shown = |content_type: &str, listed: &[&str]| {
            let served = inline(content_type, listed, Guarded::No);
            (served.disposition == Disposition::Inline).then_some(served.content_type)
        };
        let plain = Some("text/plain".to_owned());
        let unknown = "text/markdown; charset=unknown-8bit";
        assert_eq!(shown(unknown, &["text/plain"]), plain);
        assert_eq!(shown(unknown, &["text/markdown"]), plain);
        assert_eq!(shown(unknown, &["image/*"]), None);
        let table = "text/csv; charset=unknown-8bit";
        assert_eq!(shown(table, &["text/*"]), None);
        assert_eq!(shown(table, &["text/csv"]), plain);
        // What was claimed, and nothing in the bytes told.
        assert_eq!(shown("image/vnd.dxf", &["image/*"]), None);
    }

    #[test]
    fn policies_give_each_type_what_showing_it_takes() {
        let all = ["image/*", "video/*", "text/*", "application/*"].map(str::to_owned);
        let policy = |content_type, asked| serve(content_type, asked, &all, Guarded::Yes).policy;
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
