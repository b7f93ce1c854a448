//! The table of media types: registered names, the other names that senders use, and which of them are one format.
//!
//! Sources: <https://www.iana.org/assignments/media-types>, what Chromium and Firefox claim for files of these kinds on
//! Linux, macOS and Windows, and the shared-mime-info database.

use std::collections::HashMap;
use std::sync::LazyLock;

/// A format of image, audio or video that [`sniff`](super::signatures::sniff) knows by its bytes.
pub(super) struct Media {
    /// The name under which it is stored and served: the registered one, or the one that browsers know.
    pub(super) name: &'static str,
    /// Types of one family share a container or a way of writing the bytes, so a claim of one holds for the bytes of
    /// another: an MP4 brand does not tell a recording from a film.
    pub(super) family: &'static str,
    /// Says no more than the family: what the bytes say is better, if they say more.
    pub(super) generic: bool,
    /// Other names of it.
    pub(super) aliases: &'static [&'static str],
}

const fn media(
    name: &'static str,
    family: &'static str,
    aliases: &'static [&'static str],
) -> Media {
    Media {
        name,
        family,
        generic: false,
        aliases,
    }
}

const fn generic(
    name: &'static str,
    family: &'static str,
    aliases: &'static [&'static str],
) -> Media {
    Media {
        name,
        family,
        generic: true,
        aliases,
    }
}

/// Everything that may be shown as an image, or played.
#[rustfmt::skip]
pub(super) const MEDIA: &[Media] = &[
    generic("image/png", "png", &["image/x-png"]),
    media("image/apng", "png", &["image/vnd.mozilla.apng"]),
    media("image/jpeg", "jpeg", &["image/jpg", "image/pjpeg"]),
    media("image/gif", "gif", &[]),
    media("image/webp", "webp", &[]),
    media("image/bmp", "bmp", &["image/x-bmp", "image/x-ms-bmp"]),
    media("image/vnd.microsoft.icon", "icon", &["image/x-icon", "image/ico", "image/icon", "image/x-win-bitmap"]),
    // ISO/IEC 23008-12 annex B, and AVIF section 6.
    media("image/avif", "heif", &["image/avif-sequence"]),
    media("image/heic", "heif", &[]),
    media("image/heic-sequence", "heif", &[]),
    generic("image/heif", "heif", &[]),
    media("image/heif-sequence", "heif", &[]),
    media("image/jxl", "jxl", &[]),
    media("image/jp2", "jp2", &["image/jpeg2000", "image/jpeg2000-image", "image/x-jpeg2000-image"]),
    media("image/jpx", "jp2", &[]),
    media("image/jpm", "jp2", &[]),
    media("image/x-jp2-codestream", "j2k", &["image/j2c", "image/j2k", "image/x-j2c"]),
    // Cameras' raw formats are TIFF in all but name.
    generic("image/tiff", "tiff", &["image/x-tiff"]),
    media("image/x-adobe-dng", "tiff", &["image/dng"]),
    media("image/x-canon-cr2", "tiff", &[]),
    media("image/x-nikon-nef", "tiff", &[]),
    media("image/x-nikon-nrw", "tiff", &[]),
    media("image/x-sony-arw", "tiff", &[]),
    media("image/x-sony-sr2", "tiff", &[]),
    media("image/x-pentax-pef", "tiff", &[]),
    media("image/x-samsung-srw", "tiff", &[]),
    media("image/x-epson-erf", "tiff", &[]),
    media("image/x-kodak-dcr", "tiff", &[]),
    media("image/x-canon-cr3", "cr3", &[]),
    media("image/vnd.adobe.photoshop", "psd", &["image/psd", "image/x-psd", "image/photoshop", "image/x-photoshop"]),
    media("image/vnd.dwg", "dwg", &["image/x-dwg"]),
    media("image/emf", "emf", &["image/x-emf"]),
    media("image/wmf", "wmf", &["image/x-wmf"]),
    media("image/vnd.djvu", "djvu", &["image/x-djvu", "image/x.djvu"]),
    media("image/x-xcf", "xcf", &[]),
    media("image/icns", "icns", &["image/x-icns"]),
    // ISO/IEC 14496-12: one container, whose brands do not tell audio from video.
    media("video/mp4", "isobmff", &["video/x-m4v", "video/m4v", "application/mp4"]),
    media("video/quicktime", "isobmff", &["video/mov", "video/x-quicktime"]),
    media("video/3gpp", "isobmff", &["video/3gp", "video/x-3gpp"]),
    media("video/3gpp2", "isobmff", &["video/3g2"]),
    media("audio/mp4", "isobmff", &["audio/m4a", "audio/x-m4a", "audio/m4b", "audio/x-m4b", "audio/x-mp4"]),
    media("audio/3gpp", "isobmff", &[]),
    media("audio/3gpp2", "isobmff", &[]),
    // RFC 9559 section 27.3.
    media("video/webm", "matroska", &[]),
    media("audio/webm", "matroska", &[]),
    media("video/matroska", "matroska", &["video/x-matroska", "video/mkv", "video/x-mkv"]),
    media("video/matroska-3d", "matroska", &["video/x-matroska-3d"]),
    media("audio/matroska", "matroska", &["audio/x-matroska", "audio/mka"]),
    // RFC 5334, and RFC 7845 section 9: `audio/opus` is Opus over RTP, a file is `audio/ogg`.
    media("audio/ogg", "ogg", &[
        "audio/opus", "audio/x-opus+ogg", "audio/vorbis", "audio/x-vorbis", "audio/x-vorbis+ogg", "audio/x-ogg",
        "audio/speex", "audio/x-speex", "audio/x-speex+ogg", "audio/x-flac+ogg",
    ]),
    media("video/ogg", "ogg", &["video/x-ogg", "video/theora", "video/x-theora", "video/x-theora+ogg", "video/x-ogm", "video/x-ogm+ogg"]),
    media("video/x-ms-wmv", "asf", &[]),
    media("audio/x-ms-wma", "asf", &[]),
    generic("video/x-ms-asf", "asf", &["video/x-ms-wm", "application/vnd.ms-asf"]),
    media("video/x-msvideo", "avi", &["video/avi", "video/msvideo", "video/vnd.avi", "video/divx", "video/vnd.divx"]),
    media("audio/wav", "wav", &["audio/x-wav", "audio/wave", "audio/vnd.wave", "audio/x-pn-wav"]),
    media("video/mpeg", "mpeg", &["video/mpg", "video/x-mpeg", "video/x-mpg", "video/mp2p", "video/x-mpeg2", "video/x-mpeg-system"]),
    media("video/mp2t", "mp2t", &["video/m2ts", "video/vnd.dlna.mpeg-tts"]),
    media("video/x-flv", "flv", &["video/flv"]),
    // RFC 3003: `audio/mpeg` is all layers.
    media("audio/mpeg", "mpeg audio", &[
        "audio/mp3", "audio/x-mp3", "audio/mpeg3", "audio/x-mpeg-3", "audio/x-mpeg", "audio/mpg", "audio/x-mpg",
        "audio/x-mpegaudio", "audio/mp2", "audio/x-mp2",
    ]),
    media("audio/aac", "aac", &["audio/x-aac", "audio/aacp", "audio/x-hx-aac-adts", "audio/x-hx-aac-adif", "audio/vnd.dlna.adts"]),
    media("audio/flac", "flac", &["audio/x-flac"]),
    media("audio/x-aiff", "aiff", &["audio/aiff"]),
    media("audio/x-aifc", "aiff", &["audio/aifc"]),
    media("audio/x-caf", "caf", &["audio/caf"]),
    media("audio/basic", "au", &["audio/au", "audio/x-au"]),
    media("audio/amr", "amr", &["audio/x-amr", "audio/amr-nb"]),
    media("audio/amr-wb", "amr", &["audio/x-amr-wb"]),
    media("audio/midi", "midi", &["audio/mid", "audio/x-midi", "audio/x-mid", "audio/sp-midi"]),
    media("audio/x-ape", "ape", &["audio/ape", "audio/x-monkeys-audio"]),
    media("audio/x-dsf", "dsf", &["audio/dsf"]),
    media("audio/x-wavpack", "wavpack", &["audio/wavpack"]),
];

/// Audio that may have an ID3v2 tag before it, which can be longer than what is looked at.
pub(super) const TAGGED: &[&str] = &["mpeg audio", "aac", "flac", "ape", "wavpack", "aiff"];

/// Other names of types that are neither image nor audio nor video.
#[rustfmt::skip]
const ALIASES: &[(&str, &str)] = &[
    ("application/x-pdf", "application/pdf"),
    ("application/x-zip", "application/zip"),
    ("application/x-zip-compressed", "application/zip"),
    ("application/zip-compressed", "application/zip"),
    ("application/x-gzip", "application/gzip"),
    ("application/x-rar", "application/vnd.rar"),
    ("application/x-rar-compressed", "application/vnd.rar"),
    ("application/eps", "application/postscript"),
    ("application/x-eps", "application/postscript"),
    ("image/eps", "application/postscript"),
    ("image/x-eps", "application/postscript"),
    ("text/comma-separated-values", "text/csv"),
    ("text/x-csv", "text/csv"),
    ("application/csv", "text/csv"),
    ("text/x-vcard", "text/vcard"),
    ("text/directory", "text/vcard"),
    ("text/x-vcalendar", "text/calendar"),
    ("text/rtf", "application/rtf"),
];

/// The format of a name, whichever of its names it is.
pub(super) fn find(name: &str) -> Option<&'static Media> {
    BY_NAME.get(name).copied()
}

/// Every name and alias, because a look-up is a part of every delivery.
static BY_NAME: LazyLock<HashMap<&str, &Media>> = LazyLock::new(|| {
    let mut found = HashMap::new();
    for media in MEDIA {
        for name in std::iter::once(media.name).chain(media.aliases.iter().copied()) {
            found.entry(name).or_insert(media);
        }
    }
    found
});

/// The one name of a type that has several.
pub(super) fn canonical(name: &str) -> &str {
    if let Some(media) = find(name) {
        return media.name;
    }
    ALIASES
        .iter()
        .find(|(alias, _)| *alias == name)
        .map_or(name, |(_, name)| *name)
}

/// Claims that say nothing of a file.
pub(super) fn says_nothing(claim: &str) -> bool {
    matches!(
        claim,
        super::OCTET_STREAM
            | "binary/octet-stream"
            | "application/x-www-form-urlencoded"
            | "multipart/form-data"
            | "application/unknown"
            | "unknown/unknown"
            // Any content of the container; the bytes say which.
            | "application/ogg"
            | "application/x-matroska"
            | "application/x-ole-storage"
            | "application/x-cfb"
    )
}

/// What becomes of a type that is not an image, audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A browser might run something in it: it is octets to be saved.
    Active,
    /// Text for people: it is shown as plain text.
    Text,
    /// Text for programs that people open it with: spreadsheets, calendars, address books. It is saved.
    Saved,
    /// Everything else.
    Other,
}

/// What becomes of `name`, a canonical one.
pub(super) fn class(name: &str) -> Class {
    if is_active(name) {
        return Class::Active;
    }
    match name {
        "text/csv" | "text/tab-separated-values" | "text/calendar" | "text/vcard" => Class::Saved,
        _ if name.starts_with("text/") => Class::Text,
        _ if name.starts_with("application/") && is_application_text(name) => Class::Text,
        _ => Class::Other,
    }
}

/// Types below `application/` whose bytes are text for people.
fn is_application_text(name: &str) -> bool {
    let subtype = name.strip_prefix("application/").unwrap_or(name);
    let subtype = subtype.strip_prefix("x-").unwrap_or(subtype);
    matches!(
        subtype,
        "json"
            | "ndjson"
            | "json5"
            | "jsonlines"
            | "json-lines"
            | "jsonl"
            | "yaml"
            | "toml"
            | "sql"
            | "graphql"
            | "typescript"
            | "python"
            | "python-code"
            | "perl"
            | "ruby"
            | "php"
            | "httpd-php"
            | "httpd-php-source"
            | "lua"
            | "sh"
            | "shellscript"
            | "csh"
            | "zsh"
            | "powershell"
            | "bat"
            | "awk"
            | "tcl"
            | "tex"
            | "latex"
            | "bibtex"
            | "texinfo"
            | "troff"
            | "troff-man"
            | "subrip"
            | "patch"
            | "diff"
            | "log"
            | "pem-file"
            | "desktop"
            | "ini"
            | "properties"
            | "m4"
            | "trig"
            | "n-triples"
            | "n-quads"
            | "sparql-query"
            | "dockerfile"
            | "docker-file"
            | "makefile"
            | "cmake"
            | "godot-resource"
            | "ipynb"
    ) || subtype.ends_with("+json")
        || subtype.ends_with("+yaml")
        || subtype.ends_with("+json-seq")
}

/// Whether a browser might run something in it: markup, scripts, style sheets, documents that hold others
/// (<https://mimesniff.spec.whatwg.org/#scriptable-mime-type> and what browsers treat alike).
pub(super) fn is_active(name: &str) -> bool {
    let subtype = name.split_once('/').map_or("", |(_, subtype)| subtype);
    subtype == "xml"
        || subtype.ends_with("+xml")
        || subtype.contains("html")
        || subtype.contains("javascript")
        || subtype.contains("ecmascript")
        || matches!(subtype, "jscript" | "livescript" | "vbscript")
        || name.starts_with("multipart/")
        || matches!(
            name,
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
