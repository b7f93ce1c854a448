//! What the first bytes of a file say: signatures of fixed bytes, in one table, and the formats that need a closer look.
//!
//! Sources: <https://mimesniff.spec.whatwg.org/#matching-a-mime-type-pattern> and the specification of each format.

use super::containers::{isobmff, ogg, ole, zip};
use super::text::{is_binary, markup};

/// The type of `first`, if its bytes say one. `extension` tells kinds of zip and OLE files apart whose first entries do
/// not.
///
/// Bytes that may be text are text: `BM`, `GIF`, `ID3` and `MZ` begin words, too. Only what no prose begins with outranks
/// that: markup, PDF, PostScript, and formats that are text themselves.
pub(super) fn sniff(first: &[u8], extension: Option<&str>) -> Option<&'static str> {
    if is_pdf(first) {
        return Some("application/pdf");
    }
    if !is_binary(first) {
        return TEXT
            .iter()
            .find(|signature| signature.matches(first))
            .map(|signature| signature.name)
            .or_else(|| markup(first));
    }
    if first.starts_with(b"PK\x03\x04") || first.starts_with(b"PK\x05\x06") {
        return Some(zip(first, extension));
    }
    if first.starts_with(OLE) {
        return Some(ole(first, extension));
    }
    let riff = |form: &[u8]| first.get(8..8 + form.len()) == Some(form);
    match first.get(..4) {
        Some(b"RIFF") if riff(b"WAVE") => return Some("audio/wav"),
        Some(b"RIFF") if riff(b"AVI ") => return Some("video/x-msvideo"),
        Some(b"RIFF") if riff(b"WEBPVP") => return Some("image/webp"),
        Some(b"RIFF") if riff(b"RMID") => return Some("audio/midi"),
        // Larger than 4 GiB (EBU Tech 3306, ITU-R BS.2088).
        Some(b"RF64" | b"BW64") if riff(b"WAVE") => return Some("audio/wav"),
        Some(b"FORM") if riff(b"AIFF") => return Some("audio/x-aiff"),
        Some(b"FORM") if riff(b"AIFC") => return Some("audio/x-aifc"),
        Some(b"OggS") => return Some(ogg(first)),
        Some(b"\x1A\x45\xDF\xA3") => return matroska(first),
        _ => {}
    }
    if first.starts_with(ASF) {
        return Some(asf(first));
    }
    if let Some(found) = BINARY.iter().find(|signature| signature.matches(first)) {
        return Some(found.name);
    }
    is_bmp(first)
        .then_some("image/bmp")
        .or_else(|| is_tiff(first))
        .or_else(|| isobmff(first))
        .or_else(|| is_transport_stream(first).then_some("video/mp2t"))
        .or_else(|| audio_frames(first))
        // Markup that has a stray control character is markup still.
        .or_else(|| markup(first))
}

/// Fixed bytes at a fixed place.
struct Signature {
    at: usize,
    bytes: &'static [u8],
    name: &'static str,
}

impl Signature {
    fn matches(&self, first: &[u8]) -> bool {
        first.get(self.at..self.at + self.bytes.len()) == Some(self.bytes)
    }
}

const fn at(at: usize, bytes: &'static [u8], name: &'static str) -> Signature {
    Signature { at, bytes, name }
}

/// Formats that are text, or may be as far as the first bytes tell.
const TEXT: &[Signature] = &[
    at(0, b"%!PS", "application/postscript"),
    at(0, b"{\\rtf", "application/rtf"),
    at(0, b"BEGIN:VCALENDAR", "text/calendar"),
    at(0, b"BEGIN:VCARD", "text/vcard"),
    at(0, b"/* XPM */", "image/x-xpixmap"),
    at(0, b"#EXTM3U", "audio/x-mpegurl"),
    // RFC 4867 section 5.1.
    at(0, b"#!AMR\n", "audio/amr"),
    at(0, b"#!AMR-WB\n", "audio/amr-wb"),
];

/// Formats whose bytes are not text.
#[rustfmt::skip]
const BINARY: &[Signature] = &[
    at(0, b"\x89PNG\r\n\x1A\n", "image/png"),
    at(0, b"\xFF\xD8\xFF", "image/jpeg"),
    at(0, b"GIF87a", "image/gif"),
    at(0, b"GIF89a", "image/gif"),
    at(0, b"\0\0\x01\0", "image/vnd.microsoft.icon"),
    at(0, b"\0\0\x02\0", "image/vnd.microsoft.icon"),
    at(0, b"\xFF\x0A", "image/jxl"),
    at(0, b"\0\0\0\x0CJXL \r\n\x87\n", "image/jxl"),
    at(20, b"jpx ", "image/jpx"),
    at(20, b"jpm ", "image/jpm"),
    at(0, b"\0\0\0\x0CjP  \r\n\x87\n", "image/jp2"),
    at(0, b"\xFF\x4F\xFF\x51", "image/x-jp2-codestream"),
    at(0, b"8BPS\0", "image/vnd.adobe.photoshop"),
    at(0, b"AC10", "image/vnd.dwg"),
    at(40, b" EMF", "image/emf"),
    at(0, b"\xD7\xCD\xC6\x9A", "image/wmf"),
    at(0, b"AT&TFORM", "image/vnd.djvu"),
    at(0, b"gimp xcf", "image/x-xcf"),
    at(0, b"icns", "image/icns"),
    at(0, b"FLV\x01", "video/x-flv"),
    at(0, b"\0\0\x01\xBA", "video/mpeg"),
    at(0, b"\0\0\x01\xB3", "video/mpeg"),
    at(0, b"\x06\x0E\x2B\x34\x02\x05\x01\x01\x0D\x01\x02\x01\x01\x02", "application/mxf"),
    at(0, b".RMF", "application/vnd.rn-realmedia"),
    at(0, b"fLaC", "audio/flac"),
    at(0, b"caff\0", "audio/x-caf"),
    at(0, b".snd", "audio/basic"),
    at(0, b"MThd", "audio/midi"),
    at(0, b"#!AMR\n", "audio/amr"),
    at(0, b"#!AMR-WB\n", "audio/amr-wb"),
    at(0, b"MAC ", "audio/x-ape"),
    at(0, b"DSD ", "audio/x-dsf"),
    at(0, b"wvpk", "audio/x-wavpack"),
    at(0, b"ADIF", "audio/aac"),
    at(0, b"%!PS", "application/postscript"),
    at(0, b"\xC5\xD0\xD3\xC6", "application/postscript"),
    at(0, b"{\\rtf", "application/rtf"),
    at(0, b"7z\xBC\xAF\x27\x1C", "application/x-7z-compressed"),
    at(0, b"Rar!\x1A\x07", "application/vnd.rar"),
    at(0, b"\x1F\x8B", "application/gzip"),
    at(0, b"\x1F\x9D", "application/x-compress"),
    at(0, b"BZh", "application/x-bzip2"),
    at(0, b"\xFD7zXZ\0", "application/x-xz"),
    at(0, b"\x28\xB5\x2F\xFD", "application/zstd"),
    at(0, b"\x04\x22\x4D\x18", "application/x-lz4"),
    at(0, b"LZIP", "application/x-lzip"),
    at(0, b"MSCF\0\0\0\0", "application/vnd.ms-cab-compressed"),
    at(0, b"!<arch>\ndebian", "application/vnd.debian.binary-package"),
    at(0, b"!<arch>\n", "application/x-archive"),
    at(0, b"\xED\xAB\xEE\xDB", "application/x-rpm"),
    at(0, b"070701", "application/x-cpio"),
    at(0, b"070707", "application/x-cpio"),
    at(257, b"ustar", "application/x-tar"),
    at(0, b"MZ", "application/vnd.microsoft.portable-executable"),
    at(0, b"\x7FELF", "application/x-executable"),
    at(0, b"\xFE\xED\xFA\xCE", "application/x-mach-binary"),
    at(0, b"\xFE\xED\xFA\xCF", "application/x-mach-binary"),
    at(0, b"\xCE\xFA\xED\xFE", "application/x-mach-binary"),
    at(0, b"\xCF\xFA\xED\xFE", "application/x-mach-binary"),
    at(0, b"\xCA\xFE\xBA\xBE", "application/java-vm"),
    at(0, b"dex\n03", "application/vnd.android.dex"),
    at(0, b"\0asm", "application/wasm"),
    at(0, b"FWS", "application/x-shockwave-flash"),
    at(0, b"CWS", "application/x-shockwave-flash"),
    at(0, b"ZWS", "application/x-shockwave-flash"),
    at(0, b"L\0\0\0\x01\x14\x02\0", "application/x-ms-shortcut"),
    at(0, b"SQLite format 3\0", "application/vnd.sqlite3"),
    at(0, b"PAR1", "application/vnd.apache.parquet"),
    at(0, b"ARROW1\0\0", "application/vnd.apache.arrow.file"),
    at(0, b"\x89HDF\r\n\x1A\n", "application/x-hdf5"),
    at(60, b"BOOKMOBI", "application/x-mobipocket-ebook"),
    at(128, b"DICM", "application/dicom"),
    at(0, b"wOFF", "font/woff"),
    at(0, b"wOF2", "font/woff2"),
    at(0, b"OTTO\0", "font/otf"),
    at(0, b"\0\x01\0\0\0", "font/ttf"),
    at(0, b"ttcf\0", "font/collection"),
    at(0, b"\xD4\xC3\xB2\xA1", "application/vnd.tcpdump.pcap"),
    at(0, b"\xA1\xB2\xC3\xD4", "application/vnd.tcpdump.pcap"),
];

/// MS-CFB section 2.2.
const OLE: &[u8] = b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1";

/// Whether `%PDF-` is where a viewer looks for it, if nothing but blanks and a byte order mark stands before.
fn is_pdf(first: &[u8]) -> bool {
    let head = &first[..first.len().min(PDF_WITHIN + 5)];
    let head = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    head.trim_ascii_start().starts_with(b"%PDF-")
}

/// Whether `%PDF-` is where a viewer looks for it, whatever stands before (ISO 32000-1 annex H.3, note 13). That is not
/// enough to call something a PDF: mail, pages and prose about PDF hold it, too.
pub(super) fn holds_pdf(first: &[u8]) -> bool {
    let head = &first[..first.len().min(PDF_WITHIN + 5)];
    head.windows(5).any(|five| five == b"%PDF-")
}

const PDF_WITHIN: usize = 1024;

/// "BM" begins many a word; what follows is a header of a known length.
fn is_bmp(first: &[u8]) -> bool {
    let header = first
        .get(14..18)
        .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    first.starts_with(b"BM") && matches!(header, Some(12 | 16 | 40 | 52 | 56 | 64 | 108 | 124))
}

/// TIFF 6.0 section 2, BigTIFF. Canon's CR2 has its name and version where others have their first directory or bytes of a
/// picture, and its first directory right after that.
fn is_tiff(first: &[u8]) -> Option<&'static str> {
    let tiff = [&b"II*\0"[..], b"MM\0*", b"II+\0", b"MM\0+"];
    if !tiff.iter().any(|mark| first.starts_with(mark)) {
        return None;
    }
    let canon = first.starts_with(b"II*\0\x10\0\0\0CR\x02");
    Some(match canon {
        true => "image/x-canon-cr2",
        false => "image/tiff",
    })
}

/// EBML (RFC 8794) whose document type is WebM or Matroska.
fn matroska(first: &[u8]) -> Option<&'static str> {
    let head = &first[..first.len().min(64)];
    let holds = |word: &[u8]| head.windows(word.len()).any(|window| window == word);
    if holds(b"webm") {
        Some("video/webm")
    } else if holds(b"matroska") {
        Some("video/matroska")
    } else {
        None
    }
}

/// ASF's header object, and its types of media
/// (<https://learn.microsoft.com/windows/win32/wmformat/overview-of-the-asf-format>).
const ASF: &[u8] = b"\x30\x26\xB2\x75\x8E\x66\xCF\x11";
const ASF_AUDIO: &[u8] = b"\x40\x9E\x69\xF8\x4D\x5B\xCF\x11\xA8\xFD\x00\x80\x5F\x5C\x44\x2B";
const ASF_VIDEO: &[u8] = b"\xC0\xEF\x19\xBC\x4D\x5B\xCF\x11\xA8\xFD\x00\x80\x5F\x5C\x44\x2B";

fn asf(first: &[u8]) -> &'static str {
    let holds = |id: &[u8]| first.windows(id.len()).any(|window| window == id);
    match holds(ASF_AUDIO) && !holds(ASF_VIDEO) {
        true => "audio/x-ms-wma",
        false => "video/x-ms-wmv",
    }
}

/// Packets of 188 bytes (ISO/IEC 13818-1), with four bytes of time before each on Blu-ray discs and camcorders.
fn is_transport_stream(first: &[u8]) -> bool {
    let synchronous = |from: usize, step: usize| {
        (0..3).all(|packet| first.get(from + packet * step) == Some(&0x47))
    };
    synchronous(0, 188) || synchronous(4, 192)
}

/// MPEG audio and AAC, which have no signature but how their frames follow each other, after an ID3v2 tag or zeros.
fn audio_frames(first: &[u8]) -> Option<&'static str> {
    if first.starts_with(b"ID3") && first.len() > 10 && first[6..10].iter().all(|b| *b < 0x80) {
        let length = first[6..10]
            .iter()
            .fold(0, |sum, b| sum << 7 | usize::from(*b));
        return Some(match first.get(10 + length..) {
            Some(rest) if rest.starts_with(b"fLaC") => "audio/flac",
            Some(rest) if adts(rest).is_some() => "audio/aac",
            _ => "audio/mpeg",
        });
    }
    if let Some(found) = frame(first) {
        return Some(found);
    }
    // Some encoders and cutters leave zeros before the first frame.
    let zeros = first.iter().take_while(|b| **b == 0).count();
    let rest = &first[zeros..];
    (zeros > 0 && layer3_twice(rest)).then_some("audio/mpeg")
}

fn frame(first: &[u8]) -> Option<&'static str> {
    if adts(first).is_some_and(|length| {
        first
            .get(length..)
            .is_none_or(|next| next.len() < 7 || adts(next).is_some())
    }) {
        return Some("audio/aac");
    }
    let length = mpeg_audio(first)?;
    let fits = first
        .get(length..)
        .is_none_or(|next| next.len() < 4 || mpeg_audio(next).is_some());
    fits.then_some("audio/mpeg")
}

fn layer3_twice(first: &[u8]) -> bool {
    mpeg_audio(first).is_some_and(|length| {
        first
            .get(length..)
            .is_some_and(|next| mpeg_audio(next).is_some())
    })
}

/// The length of the ADTS frame that begins here (ISO/IEC 13818-7 section 6.2).
fn adts(bytes: &[u8]) -> Option<usize> {
    let [0xFF, second, third, fourth, fifth, sixth, ..] = bytes else {
        return None;
    };
    let rate = third >> 2 & 0x0F;
    let length = usize::from(fourth & 3) << 11 | usize::from(*fifth) << 3 | usize::from(sixth >> 5);
    (second & 0xF6 == 0xF0 && rate < 13 && length > 7).then_some(length)
}

/// The length of the frame of MPEG audio, layer II or III, that begins here (ISO/IEC 11172-3 section 2.4.2.3, 13818-3;
/// <https://mimesniff.spec.whatwg.org/#signature-for-mp3-without-id3>). Layer I begins as UTF-16 does.
fn mpeg_audio(bytes: &[u8]) -> Option<usize> {
    const V1_L2: [usize; 15] = [
        0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384,
    ];
    const V1_L3: [usize; 15] = [
        0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
    ];
    const V2: [usize; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
    let [0xFF, second, third, ..] = bytes else {
        return None;
    };
    let (version, layer) = (second >> 3 & 3, second >> 1 & 3);
    let (bitrate, rate) = (usize::from(third >> 4), third >> 2 & 3);
    if second & 0xE0 != 0xE0 || version == 1 || !matches!(layer, 1 | 2) || rate == 3 {
        return None;
    }
    let (version1, layer3) = (version == 3, layer == 1);
    let table = match (version1, layer3) {
        (true, false) => &V1_L2,
        (true, true) => &V1_L3,
        (false, _) => &V2,
    };
    let kbit = *table.get(bitrate).filter(|kbit| **kbit > 0)?;
    let hertz = [44_100, 48_000, 32_000][usize::from(rate)]
        >> match version {
            3 => 0,
            2 => 1,
            _ => 2,
        };
    let samples = if layer3 && !version1 { 72 } else { 144 };
    Some(samples * kbit * 1000 / hertz + usize::from(third >> 1 & 1))
}
