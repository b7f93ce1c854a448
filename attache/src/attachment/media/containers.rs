//! Formats whose kind is told within: brands of ISO base media files, entries of zip files, streams of OLE and Ogg files.

use super::extensions;

/// The type of an ISO base media file (ISO/IEC 14496-12 section 4.3): by the major brand, then by any compatible one, as
/// <https://mimesniff.spec.whatwg.org/#signature-for-mp4> has it; or of a QuickTime file from before there were brands.
pub(super) fn isobmff(first: &[u8]) -> Option<&'static str> {
    let (size, kind) = header(first)?;
    if kind != b"ftyp" {
        return quicktime(first, size, kind).then_some("video/quicktime");
    }
    let brands = first.get(8..first.len().min(size))?;
    let major = brands.get(..4)?;
    let compatible = || brands.get(8..).unwrap_or(&[]).chunks_exact(4);
    let has = |brand: &[u8]| major == brand || compatible().any(|other| other == brand);
    // What can only be a picture; `mif1` is a common part of HEIC and AVIF.
    if has(b"avif") || has(b"avis") {
        return Some("image/avif");
    }
    if let Some(found) = brand(major) {
        return Some(found);
    }
    // The most telling first: nearly all have "isom" or "mp41".
    compatible()
        .filter_map(brand)
        .min_by_key(|found| *found == "video/mp4")
}

/// What a brand says (<https://mp4ra.org/registered-types/brands>; ISO/IEC 23008-12 annex B; 3GPP TS 26.244).
fn brand(brand: &[u8]) -> Option<&'static str> {
    Some(match brand {
        b"heic" | b"heix" | b"heim" | b"heis" => "image/heic",
        b"hevc" | b"hevx" | b"hevm" | b"hevs" => "image/heic-sequence",
        b"mif1" | b"mif2" | b"miaf" => "image/heif",
        b"msf1" => "image/heif-sequence",
        b"crx " => "image/x-canon-cr3",
        b"qt  " => "video/quicktime",
        b"M4A " | b"M4B " | b"M4P " | b"F4A " | b"F4B " => "audio/mp4",
        [b'3', b'g', b'2', _] => "video/3gpp2",
        [b'3', b'g', ..] | [b'3', b'G', b'P', _] => "video/3gpp",
        [b'i', b's', b'o', _] | [b'm', b'p', b'4', _] | [b'a', b'v', b'c', _] => "video/mp4",
        b"av01" | b"hvc1" | b"hev1" | b"dash" | b"msdh" | b"msix" | b"MSNV" | b"f4v " | b"F4V "
        | b"F4P " | b"M4V " | b"M4VH" | b"M4VP" | b"XAVC" | b"CAEP" | b"mmp4" | b"dby1"
        | b"piff" => "video/mp4",
        [b'c', b'm', b'f', _] | [b'N', b'D', ..] => "video/mp4",
        _ => return None,
    })
}

/// Length and type of the box that begins here. A length of 1 is 64 bits long and follows the type.
fn header(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let size = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
    let kind = bytes.get(4..8)?;
    let size = match size {
        1 => u64::from_be_bytes(bytes.get(8..16)?.try_into().ok()?),
        size => u64::from(size),
    };
    // Zero: to the end of the file.
    let size = if size == 0 { u64::MAX } else { size };
    (size >= 8).then_some((usize::try_from(size).unwrap_or(usize::MAX), kind))
}

/// Whether this box and the next are such as a QuickTime file begins with (QuickTime File Format, "Overview").
fn quicktime(first: &[u8], size: usize, kind: &[u8]) -> bool {
    let known = |kind: &[u8]| {
        matches!(
            kind,
            b"moov" | b"mdat" | b"wide" | b"free" | b"skip" | b"pnot" | b"uuid" | b"PICT"
        )
    };
    let next = first.get(size..).and_then(|rest| rest.get(4..8));
    known(kind) && kind != b"uuid" && kind != b"PICT" && next.is_none_or(known)
}

/// The kind of a zip file: by a `mimetype` entry, by the names of its first entries, by its own name.
pub(super) fn zip(first: &[u8], extension: Option<&str>) -> &'static str {
    let named = extension.and_then(extensions::zip);
    if let Some(told) = first_entry(first).and_then(mimetype) {
        return told;
    }
    let holds = |name: &[u8]| entries(first).any(|entry| entry.starts_with(name));
    // Office Open XML (ISO/IEC 29500-2): macros and templates have the same entries, so the name may say more.
    let office = [
        (&b"word/"[..], "docx", &["dotx", "docm"][..]),
        (b"xl/", "xlsx", &["xltx", "xlsm", "xlsb"]),
        (b"ppt/", "pptx", &["ppsx", "potx", "pptm"]),
        (b"visio/", "vsdx", &[]),
    ];
    for (folder, usual, others) in office {
        if holds(folder) {
            let more = extension.filter(|extension| others.contains(extension));
            return extensions::zip(more.unwrap_or(usual)).unwrap_or("application/zip");
        }
    }
    if let Some(named) = named {
        return named;
    }
    for (entry, kind) in [
        (
            &b"AndroidManifest.xml"[..],
            "application/vnd.android.package-archive",
        ),
        (b"META-INF/MANIFEST.MF", "application/java-archive"),
        (b"doc.kml", "application/vnd.google-earth.kmz"),
    ] {
        if holds(entry) {
            return kind;
        }
    }
    "application/zip"
}

/// The names of the entries whose local headers lie within (APPNOTE.TXT section 4.3.7).
fn entries(first: &[u8]) -> impl Iterator<Item = &[u8]> {
    first
        .windows(4)
        .enumerate()
        .filter(|(_, four)| *four == b"PK\x03\x04")
        .filter_map(|(start, _)| {
            let length = first.get(start + 26..start + 28)?;
            let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
            let name = first.get(start + 30..)?;
            Some(&name[..name.len().min(length)])
        })
}

/// The content of a first entry `mimetype`, which is stored as it is (OCF 3.3 section 4.3, ODF 1.3 part 2 section 3.3).
fn first_entry(first: &[u8]) -> Option<&[u8]> {
    let extra = first.get(28..30)?;
    let extra = usize::from(u16::from_le_bytes([extra[0], extra[1]]));
    (first.get(26..28) == Some(b"\x08\0") && first.get(30..38) == Some(b"mimetype"))
        .then(|| first.get(38 + extra..))
        .flatten()
}

fn mimetype(content: &[u8]) -> Option<&'static str> {
    // The longer before what they begin with.
    [
        ("application/epub+zip", "epub"),
        ("application/vnd.oasis.opendocument.text", "odt"),
        ("application/vnd.oasis.opendocument.spreadsheet", "ods"),
        ("application/vnd.oasis.opendocument.presentation", "odp"),
        ("application/vnd.oasis.opendocument.graphics", "odg"),
    ]
    .into_iter()
    .find(|(name, _)| content.starts_with(name.as_bytes()))
    .and_then(|(_, extension)| extensions::zip(extension))
}

/// The kind of an OLE compound file: by the names of its streams, which are UTF-16 (MS-CFB section 2.6.1), where its
/// directory lies within; by its own name.
pub(super) fn ole(first: &[u8], extension: Option<&str>) -> &'static str {
    let holds = |name: &str| {
        let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        first.windows(wide.len()).any(|window| window == wide)
    };
    for (stream, kind) in [
        ("WordDocument", "application/msword"),
        ("Workbook", "application/vnd.ms-excel"),
        ("PowerPoint Document", "application/vnd.ms-powerpoint"),
        ("VisioDocument", "application/vnd.visio"),
        ("__nameid_version1.0", "application/vnd.ms-outlook"),
    ] {
        if holds(stream) {
            return kind;
        }
    }
    extension
        .and_then(extensions::ole)
        .unwrap_or("application/x-ole-storage")
}

/// Film or sound: a film has a Theora stream, or a track of one that is older (RFC 5334).
pub(super) fn ogg(first: &[u8]) -> &'static str {
    let holds = |word: &[u8]| first.windows(word.len()).any(|window| window == word);
    match holds(b"\x80theora") || holds(b"\x01video\0") {
        true => "video/ogg",
        false => "audio/ogg",
    }
}
