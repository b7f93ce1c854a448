//! What the extension of a name says, where bytes and claim leave a choice.

/// The type of a text whose bytes do not say more, by the extension of its name. Only where it changes what becomes of
/// the file: a Markdown file without a claim is plain text.
pub(super) fn text(extension: &str) -> Option<&'static str> {
    Some(match extension {
        "csv" => "text/csv",
        "tsv" => "text/tab-separated-values",
        "ics" => "text/calendar",
        "vcf" => "text/vcard",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "html" | "htm" => "text/html",
        "xhtml" | "xht" => "application/xhtml+xml",
        "xml" => "text/xml",
        "js" | "mjs" | "cjs" => "text/javascript",
        "css" => "text/css",
        "eml" => "message/rfc822",
        "mht" | "mhtml" => "multipart/related",
        "dxf" => "image/vnd.dxf",
        "xpm" => "image/x-xpixmap",
        "m3u" | "m3u8" => "audio/x-mpegurl",
        "ppm" => "image/x-portable-pixmap",
        "pgm" => "image/x-portable-graymap",
        "pbm" => "image/x-portable-bitmap",
        _ => return None,
    })
}

/// Extensions of what is shown and has a signature.
pub(super) fn promises_media(extension: &str) -> bool {
    matches!(
        extension,
        "pdf"
            | "png"
            | "jpg"
            | "jpeg"
            | "gif"
            | "webp"
            | "avif"
            | "heic"
            | "bmp"
            | "ico"
            | "tif"
            | "tiff"
            | "mp4"
            | "m4v"
            | "mov"
            | "webm"
            | "mkv"
            | "mp3"
            | "m4a"
            | "ogg"
            | "opus"
            | "flac"
            | "wav"
    )
}

/// The type of binary bytes that are not known, by the extension of their name.
pub(super) fn binary(extension: &str) -> Option<&'static str> {
    Some(match extension {
        "dmg" => "application/x-apple-diskimage",
        "iso" => "application/x-iso9660-image",
        "tar" => "application/x-tar",
        "p12" | "pfx" => "application/pkcs12",
        "cer" | "crt" | "der" => "application/pkix-cert",
        _ => return None,
    })
}

/// Kinds of zip files, for those whose first entries do not say which they are.
#[rustfmt::skip]
pub(super) fn zip(extension: &str) -> Option<&'static str> {
    Some(match extension {
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "dotx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.template",
        "docm" => "application/vnd.ms-word.document.macroenabled.12",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "xltx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.template",
        "xlsm" => "application/vnd.ms-excel.sheet.macroenabled.12",
        "xlsb" => "application/vnd.ms-excel.sheet.binary.macroenabled.12",
        "pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "ppsx" => "application/vnd.openxmlformats-officedocument.presentationml.slideshow",
        "potx" => "application/vnd.openxmlformats-officedocument.presentationml.template",
        "pptm" => "application/vnd.ms-powerpoint.presentation.macroenabled.12",
        "vsdx" => "application/vnd.ms-visio.drawing.main+xml",
        "odt" => "application/vnd.oasis.opendocument.text",
        "ods" => "application/vnd.oasis.opendocument.spreadsheet",
        "odp" => "application/vnd.oasis.opendocument.presentation",
        "odg" => "application/vnd.oasis.opendocument.graphics",
        "epub" => "application/epub+zip",
        "jar" => "application/java-archive",
        "apk" => "application/vnd.android.package-archive",
        "kmz" => "application/vnd.google-earth.kmz",
        "cbz" => "application/vnd.comicbook+zip",
        "3mf" => "model/3mf",
        _ => return None,
    })
}

/// Kinds of OLE compound files (MS-CFB), for those whose directory lies behind what is looked at.
pub(super) fn ole(extension: &str) -> Option<&'static str> {
    Some(match extension {
        "doc" | "dot" => "application/msword",
        "xls" | "xlt" => "application/vnd.ms-excel",
        "ppt" | "pps" | "pot" => "application/vnd.ms-powerpoint",
        "msg" => "application/vnd.ms-outlook",
        "vsd" => "application/vnd.visio",
        "msi" => "application/x-msi",
        "mpp" => "application/vnd.ms-project",
        "pub" => "application/vnd.ms-publisher",
        _ => return None,
    })
}

/// The extension for a file that came without a name.
pub(super) fn usual(name: &str) -> Option<&'static str> {
    Some(match name {
        "image/png" => "png",
        "image/jpeg" => "jpg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "image/avif" => "avif",
        "image/heic" => "heic",
        "image/svg+xml" => "svg",
        "application/pdf" => "pdf",
        "application/zip" => "zip",
        "application/json" => "json",
        "text/plain" => "txt",
        "text/csv" => "csv",
        "text/markdown" => "md",
        "video/mp4" => "mp4",
        "video/webm" => "webm",
        "video/quicktime" => "mov",
        "audio/mp4" => "m4a",
        "audio/mpeg" => "mp3",
        "audio/ogg" => "ogg",
        "audio/wav" => "wav",
        "audio/flac" => "flac",
        _ => return None,
    })
}
