//! Whether a file may be shown, under which type, and under which policy.

use super::types::{Class, canonical, class, find};
use super::{OCTET_STREAM, PLAIN_TEXT, SVG, charset, essence, is_media};
use crate::attachment::filename::Disposition;

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

/// Whether the policy of [`Served`] reaches the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// By relay, and through the web server in front.
    Yes,
    /// Not from the store itself, behind a redirect or a temporary URL.
    No,
}

/// How a file of `content_type` is served to somebody who asks for `asked`.
///
/// It is shown only if `inline_types` list its type and it cannot carry a script; what can is served as octets,
/// whichever way it is delivered. Texts of all types are shown as plain text, if that is listed.
///
/// The one exception is SVG, if `image/svg+xml` itself is listed and the policy reaches the reader: in a sandbox without
/// scripts it is a picture.
pub fn serve(
    content_type: &str,
    asked: Disposition,
    inline_types: &[String],
    guarded: Guarded,
) -> Served {
    // Browsers do not care for the case of a type (RFC 9110 section 8.3.1).
    let lower = essence(content_type).to_ascii_lowercase();
    let name = canonical(&lower);
    let class = class(name);
    let listed = |name: &str| inline_types.iter().any(|pattern| matches(pattern, name));
    let named = |name: &str| {
        inline_types
            .iter()
            .any(|pattern| pattern.eq_ignore_ascii_case(name))
    };
    let may_show = match class {
        Class::Active => name == SVG && named(SVG) && guarded == Guarded::Yes,
        Class::Text => listed(PLAIN_TEXT) || listed(name),
        Class::Saved => named(name),
        // What was claimed and could not be told from the bytes.
        Class::Other if is_media(name) => find(name).is_some() && listed(name),
        Class::Other => listed(name),
    };
    let disposition = match asked {
        Disposition::Inline if may_show => Disposition::Inline,
        _ => Disposition::Attachment,
    };
    let shown = disposition == Disposition::Inline;
    let served = match class {
        Class::Active if shown => name,
        Class::Active => OCTET_STREAM,
        Class::Text | Class::Saved if shown => PLAIN_TEXT,
        _ => name,
    };
    let content_type = match charset(content_type) {
        Some(charset) => format!("{served}; charset={charset}"),
        None => served.to_owned(),
    };
    let policy = match shown && name != SVG {
        true => policy(served),
        false => LOCKED,
    };
    Served {
        disposition,
        content_type,
        policy,
    }
}

/// Whether a file of `content_type` is shown only where [`Guarded::Yes`].
pub fn needs_policy(content_type: &str, inline_types: &[String]) -> bool {
    let shown = |guarded| {
        let served = serve(content_type, Disposition::Inline, inline_types, guarded);
        served.disposition == Disposition::Inline
    };
    essence(content_type).eq_ignore_ascii_case(SVG) && shown(Guarded::Yes) && !shown(Guarded::No)
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
        // Chromium 156 and Firefox 153 start their viewers of PDF in a sandbox, too; older ones did not, and Safari is not
        // known. Scripts of a PDF run in the viewer, which has no access to our origin.
        _ if content_type == "application/pdf" => concat!(
            "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'; ",
            "base-uri 'none'; form-action 'none'"
        ),
        _ => LOCKED,
    }
}

/// The policy of everything that is shown as text or not at all.
pub(super) const LOCKED: &str = concat!(
    "default-src 'none'; style-src 'unsafe-inline'; ",
    "base-uri 'none'; form-action 'none'; sandbox"
);

fn matches(pattern: &str, content_type: &str) -> bool {
    match pattern.strip_suffix("/*") {
        Some(kind) => {
            let own = content_type.split('/').next();
            own.is_some_and(|own| own.eq_ignore_ascii_case(kind))
        }
        None => pattern.eq_ignore_ascii_case(content_type),
    }
}
