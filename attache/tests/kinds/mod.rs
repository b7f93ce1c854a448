//! The kinds of files, and how to make the first bytes of each.
#![allow(unreachable_pub, reason = "a module of a test")]

use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding, GB18030, ISO_2022_JP, SHIFT_JIS, WINDOWS_1251, WINDOWS_1252,
};

/// Name, claim of Chromium on Linux, bytes, what becomes of it with the claim, and without; "=" for the same.
pub struct Kind(
    pub &'static str,
    pub &'static str,
    pub Make,
    pub &'static str,
    pub &'static str,
);

/// How its bytes are made.
pub enum Make {
    /// As they are.
    Raw(&'static [u8]),
    /// A text in another encoding.
    In(&'static Encoding, &'static str),
    /// An ISO base media file of these brands, the major one first.
    Brands(&'static [&'static [u8; 4]]),
    /// A zip file of these entries and contents.
    Zip(&'static [(&'static str, &'static str)]),
    /// Anything else.
    By(fn() -> Vec<u8>),
}

use Make::{Brands, By, In, Raw, Zip};

pub fn bytes_of(make: &Make) -> Vec<u8> {
    match make {
        Raw(bytes) => bytes.to_vec(),
        In(encoding, text) => encoding.encode(text).0.into_owned(),
        Brands(brands) => ftyp(brands[0], &brands[1..]),
        Zip(entries) => zip(entries),
        By(make) => make(),
    }
}

/// The box of brands, and the beginning of another.
pub fn ftyp(major: &[u8; 4], compatible: &[&[u8; 4]]) -> Vec<u8> {
    let length = u8::try_from(16 + 4 * compatible.len()).unwrap();
    let mut bytes = vec![0, 0, 0, length];
    bytes.extend_from_slice(b"ftyp");
    bytes.extend_from_slice(major);
    bytes.extend_from_slice(&[0, 0, 2, 0]);
    for brand in compatible {
        bytes.extend_from_slice(*brand);
    }
    bytes.extend_from_slice(b"\0\0\0\x08mdat");
    bytes
}

/// Boxes without brands.
fn boxes(kinds: &[&[u8; 4]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for kind in kinds {
        bytes.extend_from_slice(&[0, 0, 0, 20]);
        bytes.extend_from_slice(*kind);
        bytes.extend_from_slice(&[0; 12]);
    }
    bytes
}

/// Local headers and contents; what a reader needs at the end is not there.
fn zip(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in entries {
        let length = u32::try_from(content.len()).unwrap().to_le_bytes();
        bytes.extend_from_slice(b"PK\x03\x04\x14\0\0\0\0\0\0\0\x21\0\0\0\0\0");
        bytes.extend_from_slice(&length);
        bytes.extend_from_slice(&length);
        bytes.extend_from_slice(&u16::try_from(name.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(content.as_bytes());
    }
    bytes
}

/// A compound file with one stream in its directory, which lies within what is looked at or behind it.
fn ole(stream: &str, at: usize) -> Vec<u8> {
    let mut bytes = b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1".to_vec();
    bytes.resize(at, 0);
    bytes.extend(stream.encode_utf16().flat_map(u16::to_le_bytes));
    bytes.resize(at + 512, 0);
    bytes
}

pub fn riff(outer: &[u8; 4], form: &[u8; 4]) -> Vec<u8> {
    [&outer[..], &[0x24, 0, 0, 0], form, b"fmt \x10\0\0\0"].concat()
}

/// A page with the head of a stream.
pub fn ogg(stream: &[u8]) -> Vec<u8> {
    let mut bytes = b"OggS\0\x02\0\0\0\0\0\0\0\0".to_vec();
    bytes.resize(28, 1);
    bytes.extend_from_slice(stream);
    bytes.extend_from_slice(&[0; 16]);
    bytes
}

pub fn ebml(document: &[u8]) -> Vec<u8> {
    let length = 0x80 | u8::try_from(document.len()).unwrap();
    [
        b"\x1A\x45\xDF\xA3\x9F\x42\x86\x81\x01\x42\x82",
        &[length][..],
        document,
        b"\x42\x87\x81\x04",
    ]
    .concat()
}

/// The header object with the type of a stream.
pub fn asf(audio: bool) -> Vec<u8> {
    let stream: &[u8] = match audio {
        true => b"\x40\x9E\x69\xF8\x4D\x5B\xCF\x11\xA8\xFD\x00\x80\x5F\x5C\x44\x2B",
        false => b"\xC0\xEF\x19\xBC\x4D\x5B\xCF\x11\xA8\xFD\x00\x80\x5F\x5C\x44\x2B",
    };
    [
        b"\x30\x26\xB2\x75\x8E\x66\xCF\x11\xA6\xD9\0\xAA\0\x62\xCE\x6C",
        &[0; 24][..],
        stream,
    ]
    .concat()
}

/// Frames of silence with this header, each `length` bytes long.
pub fn mpeg_audio(header: &[u8; 4], length: usize) -> Vec<u8> {
    let mut frame = header.to_vec();
    frame.resize(length, 0);
    frame.repeat(3)
}

fn adts() -> Vec<u8> {
    // 20 bytes a frame: 13 bits from the fourth byte on.
    let mut frame = vec![0xFF, 0xF1, 0x50, 0x80, 0x02, 0x9F, 0xFC];
    frame.resize(20, 0);
    frame.repeat(3)
}

fn id3(rest: &[u8]) -> Vec<u8> {
    [b"ID3\x04\0\0\0\0\0\x0A", &[0; 10][..], rest].concat()
}

fn packets(length: usize, at: usize) -> Vec<u8> {
    let mut bytes = vec![0; length * 4];
    for packet in 0..4 {
        bytes[packet * length + at] = 0x47;
    }
    bytes
}

/// Zeros with `mark` at `at`.
fn marked(length: usize, at: usize, mark: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; length];
    bytes[at..at + mark.len()].copy_from_slice(mark);
    bytes
}

fn utf16(text: &str, little: bool, mark: bool) -> Vec<u8> {
    let write = if little {
        u16::to_le_bytes
    } else {
        u16::to_be_bytes
    };
    let text = format!("{}{text}", if mark { "\u{FEFF}" } else { "" });
    text.encode_utf16().flat_map(write).collect()
}

fn bmp() -> Vec<u8> {
    let mut bytes = marked(64, 14, &[40]);
    bytes[..2].copy_from_slice(b"BM");
    bytes
}

fn tiff(head: &[u8]) -> Vec<u8> {
    let mut bytes = head.to_vec();
    bytes.resize(64, 0);
    bytes
}

const TEXT: &str = "これは日本語のテキストです。\n写真と動画\n";
const KOREAN: &str = "안녕하세요 여러분\n";
const CHINESE: &str = "你好世界 中文\n";
const WESTERN: &str = "Café crème, déjà vu – naïve\n";
const CYRILLIC: &str = "Привет, мир\n";

#[rustfmt::skip]
pub const KINDS: &[Kind] = &[
    // Pictures of the HEIF family, JPEG XL, JPEG 2000.
    Kind("iphone.heic", "image/heif", Brands(&[b"heic", b"mif1", b"MiHE", b"miaf"]), "image/heic show", "="),
    Kind("xiaomi.heic", "image/heif", Brands(&[b"heic", b"mif1", b"heic"]), "image/heic show", "="),
    Kind("arrow.heic", "image/heif", Brands(&[b"heic", b"mif1", b"heic"]), "image/heic show", "="),
    Kind("spatial.heic", "image/heif", Brands(&[b"heic", b"heic", b"mif1"]), "image/heic show", "="),
    Kind("canon_cat.hif", "image/heif", Brands(&[b"heix", b"mif1", b"heix"]), "image/heic show", "="),
    Kind("nokia_alpha.heic", "image/heif", Brands(&[b"mif1", b"heic"]), "image/heif show", "="),
    Kind("nokia_burst.heic", "image/heif", Brands(&[b"msf1", b"hevc", b"heic"]), "image/heif-sequence show", "="),
    Kind("mif1_heix.heic", "image/heif", Brands(&[b"mif1", b"heix"]), "image/heif show", "="),
    Kind("mif1_only.heif", "image/heif", Brands(&[b"mif1", b"miaf"]), "image/heif show", "="),
    Kind("mif2.heif", "image/heif", Brands(&[b"mif2", b"mif1", b"heic"]), "image/heif show", "="),
    Kind("hevc_seq.heics", "", Brands(&[b"hevc", b"msf1"]), "image/heic-sequence show", "="),
    Kind("heim.heic", "image/heif", Brands(&[b"heim"]), "image/heic show", "="),
    Kind("claimed.heic", "image/heic", Brands(&[b"mif1", b"heic"]), "image/heic show", "image/heif show"),
    Kind("avifenc.avif", "image/avif", Brands(&[b"avif", b"mif1", b"miaf"]), "image/avif show", "="),
    Kind("mif1_first.avif", "image/avif", Brands(&[b"mif1", b"avif"]), "image/avif show", "="),
    Kind("avis.avif", "image/avif", Brands(&[b"avis", b"avif"]), "image/avif show", "="),
    Kind("naked.jxl", "image/jxl", Raw(b"\xFF\x0A\x04\0\x10"), "image/jxl show", "="),
    Kind("container.jxl", "image/jxl", Raw(b"\0\0\0\x0CJXL \r\n\x87\n"), "image/jxl show", "="),
    Kind("a.jp2", "image/jp2", Raw(b"\0\0\0\x0CjP  \r\n\x87\n\0\0\0\x14ftypjp2 "), "image/jp2 show", "="),
    Kind("a.j2k", "image/x-jp2-codestream", Raw(b"\xFF\x4F\xFF\x51\0\x2F"), "image/x-jp2-codestream show", "="),
    // Films.
    Kind("isom.mp4", "video/mp4", Brands(&[b"isom", b"iso2", b"avc1", b"mp41"]), "video/mp4 show", "="),
    Kind("frag_iso5.mp4", "video/mp4", Brands(&[b"iso5", b"iso6", b"mp41"]), "video/mp4 show", "="),
    Kind("cmaf.mp4", "video/mp4", Brands(&[b"iso6", b"cmfc"]), "video/mp4 show", "="),
    Kind("brand_iso7.mp4", "video/mp4", Brands(&[b"iso7", b"isom", b"mp41"]), "video/mp4 show", "="),
    Kind("brand_iso8.mp4", "video/mp4", Brands(&[b"iso8", b"isom", b"mp41"]), "video/mp4 show", "="),
    Kind("brand_iso9.mp4", "video/mp4", Brands(&[b"iso9", b"isom", b"mp41"]), "video/mp4 show", "="),
    Kind("brand_isoa.mp4", "video/mp4", Brands(&[b"isoa", b"isom", b"mp41"]), "video/mp4 show", "="),
    Kind("brand_av01.mp4", "video/mp4", Brands(&[b"av01", b"isom", b"mp41"]), "video/mp4 show", "="),
    Kind("brand_hvc1.mp4", "video/mp4", Brands(&[b"hvc1", b"isom", b"mp41"]), "video/mp4 show", "="),
    Kind("brand_XAVC.mp4", "video/mp4", Brands(&[b"XAVC", b"isom", b"mp41"]), "video/mp4 show", "="),
    Kind("brand_CAEP.mp4", "video/mp4", Brands(&[b"CAEP", b"isom", b"mp41"]), "video/mp4 show", "="),
    Kind("brand_MSNV.mp4", "video/mp4", Brands(&[b"MSNV", b"isom", b"mp41"]), "video/mp4 show", "="),
    Kind("brand_dash.mp4", "video/mp4", Brands(&[b"dash", b"isom", b"mp41"]), "video/mp4 show", "="),
    Kind("brand_avc1.mp4", "video/mp4", Brands(&[b"avc1", b"isom", b"mp41"]), "video/mp4 show", "="),
    Kind("brand_mp41.mp4", "video/mp4", Brands(&[b"mp41", b"isom", b"mp41"]), "video/mp4 show", "="),
    Kind("brand_mp42.mp4", "video/mp4", Brands(&[b"mp42", b"isom", b"mp41"]), "video/mp4 show", "="),
    Kind("brand_M4VH.mp4", "video/mp4", Brands(&[b"M4VH", b"isom", b"mp41"]), "video/mp4 show", "="),
    Kind("brand_f4v.mp4", "video/mp4", Brands(&[b"f4v ", b"isom", b"mp41"]), "video/mp4 show", "="),
    Kind("brand_xyz.mp4", "video/mp4", Brands(&[b"xyz1", b"isom", b"mp41"]), "video/mp4 show", "="),
    Kind("brand_3gp5.mp4", "video/mp4", Brands(&[b"3gp5", b"isom", b"mp41"]), "video/mp4 show", "video/3gpp show"),
    Kind("a.mov", "video/quicktime", Brands(&[b"qt  "]), "video/quicktime show", "="),
    Kind("sample.mov", "video/quicktime", Brands(&[b"qt  ", b"qt  "]), "video/quicktime show", "="),
    Kind("nof_moov.mov", "video/quicktime", By(|| boxes(&[b"moov", b"mdat"])), "video/quicktime show", "="),
    Kind("nof_mdat.mov", "video/quicktime", By(|| boxes(&[b"mdat", b"moov"])), "video/quicktime show", "="),
    Kind("nof_wide_mdat.mov", "video/quicktime", By(|| boxes(&[b"wide", b"mdat"])), "video/quicktime show", "="),
    Kind("nof_free.mov", "video/quicktime", By(|| boxes(&[b"free", b"mdat"])), "video/quicktime show", "="),
    Kind("nof_skip.mov", "video/quicktime", By(|| boxes(&[b"skip", b"mdat"])), "video/quicktime show", "="),
    Kind("nof_pnot.mov", "video/quicktime", By(|| boxes(&[b"pnot", b"PICT"])), "video/quicktime show", "="),
    Kind("64bit.mp4", "video/mp4", By(|| boxes(&[b"moov", b"mdat"])), "video/mp4 show", "video/quicktime show"),
    Kind("a.m4v", "video/mp4", Brands(&[b"M4V ", b"isom"]), "video/mp4 show", "="),
    Kind("a.m4a", "audio/x-m4a", Brands(&[b"M4A ", b"isom"]), "audio/mp4 show", "="),
    Kind("android_mp42.m4a", "audio/x-m4a", Brands(&[b"mp42", b"isom"]), "audio/mp4 show", "video/mp4 show"),
    Kind("android_3gp4.m4a", "audio/x-m4a", Brands(&[b"3gp4", b"isom"]), "audio/mp4 show", "video/3gpp show"),
    Kind("a.m4b", "audio/x-m4b", Brands(&[b"M4B ", b"isom"]), "audio/mp4 show", "="),
    Kind("ep7.m4b", "audio/x-m4b", Brands(&[b"isom", b"mp42"]), "audio/mp4 show", "video/mp4 show"),
    Kind("a.3gp", "video/3gpp", Brands(&[b"3gp4", b"isom"]), "video/3gpp show", "="),
    Kind("a.3g2", "video/3gpp2", Brands(&[b"3g2a", b"isom"]), "video/3gpp2 show", "="),
    Kind("a.webm", "video/webm", By(|| ebml(b"webm")), "video/webm show", "="),
    Kind("audio.webm", "video/webm", By(|| ebml(b"webm")), "video/webm show", "="),
    Kind("a.mkv", "video/matroska", By(|| ebml(b"matroska")), "video/matroska show", "="),
    Kind("a.mka", "audio/matroska", By(|| ebml(b"matroska")), "audio/matroska show", "video/matroska show"),
    Kind("a.avi", "video/x-msvideo", By(|| riff(b"RIFF", b"AVI ")), "video/x-msvideo show", "="),
    Kind("a.wmv", "video/x-ms-wmv", By(|| asf(false)), "video/x-ms-wmv show", "="),
    Kind("a.flv", "video/x-flv", Raw(b"FLV\x01\x05\0\0\0\x09"), "video/x-flv show", "="),
    Kind("a.mpg", "video/mpeg", Raw(b"\0\0\x01\xB3\x16\0"), "video/mpeg show", "="),
    Kind("a.vob", "video/mpeg", Raw(b"\0\0\x01\xBA\x44\0"), "video/mpeg show", "="),
    Kind("stream.ts", "text/vnd.trolltech.linguist", By(|| packets(188, 0)), "video/mp2t show", "="),
    Kind("a.m2ts", "video/mp2t", By(|| packets(192, 4)), "video/mp2t show", "="),
    Kind("a.ogv", "video/ogg", By(|| ogg(b"\x80theora")), "video/ogg show", "="),
    Kind("a.mxf", "application/mxf", Raw(b"\x06\x0E\x2B\x34\x02\x05\x01\x01\x0D\x01\x02\x01\x01\x02\x04"), "application/mxf save", "="),
    Kind("a.rm", "application/vnd.rn-realmedia", Raw(b".RMF\0\0\0\x12"), "application/vnd.rn-realmedia save", "="),
    // Sound.
    Kind("lame_noid3.mp3", "audio/mpeg", By(|| mpeg_audio(&[0xFF, 0xFB, 0x90, 0], 417)), "audio/mpeg show", "="),
    Kind("lame_id3.mp3", "audio/mpeg", By(|| id3(&mpeg_audio(&[0xFF, 0xFB, 0x90, 0], 417))), "audio/mpeg show", "="),
    Kind("mpeg2_fff3.mp3", "audio/mpeg", By(|| mpeg_audio(&[0xFF, 0xF3, 0x40, 0], 104)), "audio/mpeg show", "="),
    Kind("mpeg25_ffe3.mp3", "audio/mpeg", By(|| mpeg_audio(&[0xFF, 0xE3, 0x18, 0], 72)), "audio/mpeg show", "="),
    Kind("silence-44-s-mpeg25.mp3", "audio/mpeg", By(|| mpeg_audio(&[0xFF, 0xE3, 0x48, 0], 288)), "audio/mpeg show", "="),
    Kind("crc_fffa.mp3", "audio/mpeg", By(|| mpeg_audio(&[0xFF, 0xFA, 0x90, 0], 417)), "audio/mpeg show", "="),
    Kind("zeros.mp3", "audio/mpeg", By(|| [&[0; 64][..], &mpeg_audio(&[0xFF, 0xFB, 0x90, 0], 417)].concat()), "audio/mpeg show", "="),
    Kind("a.mp2", "audio/mp2", By(|| mpeg_audio(&[0xFF, 0xFD, 0x80, 0], 417)), "audio/mpeg show", "="),
    Kind("a.aac", "audio/aac", By(adts), "audio/aac show", "="),
    Kind("adif.aac", "audio/aac", Raw(b"ADIF\0\0"), "audio/aac show", "="),
    Kind("id3.aac", "audio/aac", By(|| id3(&adts())), "audio/aac show", "="),
    Kind("long_id3.aac", "audio/aac", Raw(b"ID3\x04\0\0\0\x7F\0\0\0\0"), "audio/aac show", "audio/mpeg show"),
    Kind("a.opus", "audio/ogg", By(|| ogg(b"OpusHead")), "audio/ogg show", "="),
    Kind("a.oga", "audio/ogg", By(|| ogg(b"\x01vorbis")), "audio/ogg show", "="),
    Kind("oggflac.oga", "audio/ogg", By(|| ogg(b"\x7FFLAC")), "audio/ogg show", "="),
    Kind("a.spx", "audio/x-speex+ogg", By(|| ogg(b"Speex   ")), "audio/ogg show", "="),
    Kind("a.flac", "audio/flac", Raw(b"fLaC\0\0\0\x22"), "audio/flac show", "="),
    Kind("a.wav", "audio/wav", By(|| riff(b"RIFF", b"WAVE")), "audio/wav show", "="),
    Kind("junk.wav", "audio/wav", Raw(b"RIFF\x24\0\0\0WAVEJUNK\x1C\0\0\0"), "audio/wav show", "="),
    Kind("rf64.wav", "audio/wav", By(|| riff(b"RF64", b"WAVE")), "audio/wav show", "="),
    Kind("a.aiff", "audio/x-aiff", Raw(b"FORM\0\0\0\x2EAIFFCOMM"), "audio/x-aiff show", "="),
    Kind("sowt.aifc", "audio/x-aifc", Raw(b"FORM\0\0\0\x2EAIFCFVER"), "audio/x-aifc show", "="),
    Kind("with-id3.aif", "audio/x-aiff", Raw(b"FORM\0\0\0\x2EAIFFID3 "), "audio/x-aiff show", "="),
    Kind("a.caf", "", Raw(b"caff\0\x01\0\0"), "audio/x-caf show", "="),
    Kind("a.au", "audio/basic", Raw(b".snd\0\0\0\x18"), "audio/basic show", "="),
    Kind("a.amr", "audio/AMR", Raw(b"#!AMR\n\x3C\0"), "audio/amr show", "="),
    Kind("wb.awb", "audio/AMR-WB", Raw(b"#!AMR-WB\n"), "audio/amr-wb show", "="),
    Kind("wb2.awb", "audio/AMR-WB", Raw(b"#!AMR-WB\n\x04\0"), "audio/amr-wb show", "="),
    Kind("nsm.mid", "audio/midi", Raw(b"MThd\0\0\0\x06"), "audio/midi show", "="),
    Kind("a.wma", "audio/x-ms-wma", By(|| asf(true)), "audio/x-ms-wma show", "="),
    Kind("mac-399.ape", "audio/x-ape", Raw(b"MAC \x8F\x0F\0\0"), "audio/x-ape show", "="),
    Kind("without-id3.dsf", "audio/x-dsf", Raw(b"DSD \x1C\0\0\0"), "audio/x-dsf show", "="),
    // PDF and PostScript.
    Kind("rl.pdf", "application/pdf", Raw(b"%PDF-1.4\n%\x93\x8C\x8B\x9E ReportLab"), "application/pdf show", "="),
    Kind("gs.pdf", "application/pdf", Raw(b"%PDF-1.7\n%\xC7\xEC\x8F\xA2\n1 0 obj\n\0"), "application/pdf show", "="),
    Kind("junk_before.pdf", "application/pdf", Raw(b"60 bytes of a mail server, as some servers write before.....\n%PDF-1.4\n\xE2\xE3"), "application/pdf show", "="),
    Kind("bom.pdf", "application/pdf", Raw(b"\xEF\xBB\xBF%PDF-1.4\n"), "application/pdf show", "="),
    Kind("far1500.pdf", "application/pdf", By(|| [&b" ".repeat(1500)[..], b"%PDF-1.4\n\xE2\xE3\n"].concat()), "application/octet-stream save", "="),
    Kind("illustrator.ai", "application/illustrator", Raw(b"%PDF-1.5\n%\xE2\xE3\n"), "application/illustrator save", "application/pdf show"),
    Kind("eps.eps", "image/x-eps", Raw(b"%!PS-Adobe-3.0 EPSF-3.0\n"), "application/postscript save", "="),
    Kind("dos.eps", "image/x-eps", Raw(b"\xC5\xD0\xD3\xC6\x1E\0\0\0"), "application/postscript save", "="),
    Kind("ps.ps", "application/postscript", Raw(b"%!PS-Adobe-3.0\n"), "application/postscript save", "="),
    // Office files and zips.
    Kind("ms14.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", Zip(&[("[Content_Types].xml", "x"), ("_rels/.rels", "x"), ("word/document.xml", "x")]), "application/vnd.openxmlformats-officedocument.wordprocessingml.document save", "="),
    Kind("ms14.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", Zip(&[("[Content_Types].xml", "x"), ("_rels/.rels", "x"), ("xl/workbook.xml", "x")]), "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet save", "="),
    Kind("ms14.pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation", Zip(&[("[Content_Types].xml", "x"), ("_rels/.rels", "x"), ("ppt/presentation.xml", "x")]), "application/vnd.openxmlformats-officedocument.presentationml.presentation save", "="),
    Kind("wordorder.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", Zip(&[("[Content_Types].xml", "x"), ("_rels/.rels", "x"), ("word/_rels/document.xml.rels", "x")]), "application/vnd.openxmlformats-officedocument.wordprocessingml.document save", "="),
    Kind("pptorder", "application/vnd.openxmlformats-officedocument.presentationml.presentation", Zip(&[("[Content_Types].xml", "x"), ("_rels/.rels", "x"), ("docProps/app.xml", "x"), ("ppt/presentation.xml", "x")]), "application/vnd.openxmlformats-officedocument.presentationml.presentation save", "="),
    Kind("lo72.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", Zip(&[("_rels/.rels", "x"), ("docProps/core.xml", "x"), ("docProps/app.xml", "x")]), "application/vnd.openxmlformats-officedocument.wordprocessingml.document save", "="),
    Kind("lo72.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", Zip(&[("_rels/.rels", "x"), ("xl/_rels/workbook.xml.rels", "x")]), "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet save", "="),
    Kind("lo72.pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation", Zip(&[("_rels/.rels", "x"), ("docProps/app.xml", "x")]), "application/vnd.openxmlformats-officedocument.presentationml.presentation save", "="),
    Kind("other", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", Zip(&[("_rels/", "x"), ("docProps/", "x"), ("word/", "x")]), "application/vnd.openxmlformats-officedocument.wordprocessingml.document save", "="),
    Kind("pydocx.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", Zip(&[("[Content_Types].xml", "x"), ("_rels/.rels", "x"), ("docProps/core.xml", "x")]), "application/vnd.openxmlformats-officedocument.wordprocessingml.document save", "="),
    Kind("pypptx.pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation", Zip(&[("[Content_Types].xml", "x"), ("_rels/.rels", "x"), ("docProps/core.xml", "x")]), "application/vnd.openxmlformats-officedocument.presentationml.presentation save", "="),
    Kind("openpyxl.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", Zip(&[("docProps/app.xml", "x"), ("xl/theme/theme1.xml", "x")]), "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet save", "="),
    Kind("xlsxwriter.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", Zip(&[("xl/worksheets/sheet1.xml", "x")]), "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet save", "="),
    Kind("gorder.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", Zip(&[("word/numbering.xml", "x")]), "application/vnd.openxmlformats-officedocument.wordprocessingml.document save", "="),
    Kind("macros.docm", "application/vnd.ms-word.document.macroenabled.12", Zip(&[("[Content_Types].xml", "x"), ("word/document.xml", "x")]), "application/vnd.ms-word.document.macroenabled.12 save", "="),
    Kind("a.vsdx", "application/vnd.ms-visio.drawing.main+xml", Zip(&[("[Content_Types].xml", "x"), ("visio/document.xml", "x")]), "application/vnd.ms-visio.drawing.main+xml save as application/octet-stream", "="),
    Kind("ms14.doc", "application/msword", By(|| ole("WordDocument", 1024)), "application/msword save", "="),
    Kind("far.doc", "application/msword", By(|| ole("WordDocument", 20_000)), "application/msword save", "="),
    Kind("ms14.xls", "application/vnd.ms-excel", By(|| ole("Workbook", 1024)), "application/vnd.ms-excel save", "="),
    Kind("far.xls", "application/vnd.ms-excel", By(|| ole("Workbook", 20_000)), "application/vnd.ms-excel save", "="),
    Kind("ms14.ppt", "application/vnd.ms-powerpoint", By(|| ole("PowerPoint Document", 1024)), "application/vnd.ms-powerpoint save", "="),
    Kind("far.ppt", "application/vnd.ms-powerpoint", By(|| ole("PowerPoint Document", 20_000)), "application/vnd.ms-powerpoint save", "="),
    Kind("odfpy.odt", "application/vnd.oasis.opendocument.text", Zip(&[("mimetype", "application/vnd.oasis.opendocument.text"), ("content.xml", "x")]), "application/vnd.oasis.opendocument.text save", "="),
    Kind("odfpy.ods", "application/vnd.oasis.opendocument.spreadsheet", Zip(&[("mimetype", "application/vnd.oasis.opendocument.spreadsheet"), ("content.xml", "x")]), "application/vnd.oasis.opendocument.spreadsheet save", "="),
    Kind("odfpy.odp", "application/vnd.oasis.opendocument.presentation", Zip(&[("mimetype", "application/vnd.oasis.opendocument.presentation"), ("content.xml", "x")]), "application/vnd.oasis.opendocument.presentation save", "="),
    Kind("odfpy.odg", "application/vnd.oasis.opendocument.graphics", Zip(&[("mimetype", "application/vnd.oasis.opendocument.graphics"), ("content.xml", "x")]), "application/vnd.oasis.opendocument.graphics save", "="),
    Kind("ebooklib.epub", "application/epub+zip", Zip(&[("mimetype", "application/epub+zip"), ("META-INF/container.xml", "x")]), "application/epub+zip save", "="),
    Kind("a.jar", "application/x-java-archive", Zip(&[("META-INF/MANIFEST.MF", "x")]), "application/x-java-archive save", "application/java-archive save"),
    Kind("a.apk", "application/vnd.android.package-archive", Zip(&[("AndroidManifest.xml", "x")]), "application/vnd.android.package-archive save", "="),
    Kind("a.kmz", "application/vnd.google-earth.kmz", Zip(&[("doc.kml", "x")]), "application/vnd.google-earth.kmz save", "="),
    Kind("plain.zip", "application/zip", Zip(&[("a.txt", "x")]), "application/zip save", "="),
    Kind("withpdf.zip", "application/zip", Zip(&[("a.pdf", "%PDF-1.4")]), "application/zip save", "="),
    Kind("empty.zip", "application/zip", Raw(b"PK\x05\x06\0\0\0\0"), "application/zip save", "="),
    // Text.
    Kind("utf8.txt", "text/plain", Raw(TEXT.as_bytes()), "text/plain show as text/plain; charset=utf-8", "="),
    Kind("utf8bom.txt", "text/plain", Raw("\u{FEFF}日本語".as_bytes()), "text/plain show as text/plain; charset=utf-8", "="),
    Kind("sjis.txt", "text/plain", In(SHIFT_JIS, TEXT), "text/plain show", "="),
    Kind("eucjp.txt", "text/plain", In(EUC_JP, TEXT), "text/plain show", "="),
    Kind("iso2022jp.txt", "text/plain", In(ISO_2022_JP, TEXT), "text/plain show", "="),
    Kind("gb18030.txt", "text/plain", In(GB18030, CHINESE), "text/plain show", "="),
    Kind("big5.txt", "text/plain", In(BIG5, "你好世界 中文\n"), "text/plain show", "="),
    Kind("euckr.txt", "text/plain", In(EUC_KR, KOREAN), "text/plain show", "="),
    Kind("win1252.txt", "text/plain", In(WINDOWS_1252, WESTERN), "text/plain show", "="),
    Kind("win1251.txt", "text/plain", In(WINDOWS_1251, CYRILLIC), "text/plain show", "="),
    Kind("utf16le_bom.txt", "text/plain", By(|| utf16(TEXT, true, true)), "text/plain show", "="),
    Kind("utf16be_bom.txt", "text/plain", By(|| utf16(TEXT, false, true)), "text/plain show", "="),
    Kind("utf16le_nobom.txt", "text/plain", By(|| utf16("plain", true, false)), "application/octet-stream save", "="),
    Kind("utf8.csv", "text/csv", Raw("名前,数\n写真,1\n".as_bytes()), "text/csv save as text/csv; charset=utf-8", "="),
    Kind("plain.csv", "text/plain", Raw("名前,数\n写真,1\n".as_bytes()), "text/csv save as text/csv; charset=utf-8", "="),
    Kind("excel.csv", "application/vnd.ms-excel", Raw("名前,数\n写真,1\n".as_bytes()), "text/csv save as text/csv; charset=utf-8", "="),
    Kind("excel_sjis.csv", "text/csv", In(SHIFT_JIS, TEXT), "text/csv save", "="),
    Kind("excel_utf8bom.csv", "text/csv", Raw("\u{FEFF}名前,数\n".as_bytes()), "text/csv save as text/csv; charset=utf-8", "="),
    Kind("excel_unicode.txt", "text/plain", By(|| utf16("名前\t数\r\n", true, true)), "text/plain show", "="),
    Kind("readme.md", "text/markdown", Raw("# 見出し\n".as_bytes()), "text/markdown show as text/plain; charset=utf-8", "text/plain show as text/plain; charset=utf-8"),
    Kind("a.log", "text/x-log", Raw(b"2026-11-27 started\n"), "text/x-log show as text/plain; charset=utf-8", "text/plain show as text/plain; charset=utf-8"),
    Kind("ansi.log", "text/x-log", Raw(b"\x1B[32mOK\x1B[0m\n"), "text/x-log show as text/plain; charset=utf-8", "text/plain show as text/plain; charset=utf-8"),
    Kind("nul.log", "text/x-log", Raw(b"a\0b\n"), "application/octet-stream save", "="),
    Kind("latin1.log", "text/x-log", In(WINDOWS_1252, WESTERN), "text/x-log show as text/plain", "text/plain show"),
    Kind("bs_progress.log", "text/x-log", Raw(b"10%\x08\x08\x0820%\n"), "application/octet-stream save", "="),
    Kind("nel.txt", "text/plain", Raw("one\u{85}two\n".as_bytes()), "text/plain show as text/plain; charset=utf-8", "="),
    Kind("a.json", "application/json", Raw(b"{\"a\": 1}"), "application/json show as text/plain; charset=utf-8", "="),
    Kind("a.yaml", "application/yaml", Raw(b"a: 1\n"), "application/yaml show as text/plain; charset=utf-8", "text/plain show as text/plain; charset=utf-8"),
    Kind("b.yaml", "application/x-yaml", Raw(b"a: 1\n"), "application/x-yaml show as text/plain; charset=utf-8", "text/plain show as text/plain; charset=utf-8"),
    Kind("a.diff", "text/x-patch", Raw(b"--- a\n+++ b\n"), "text/x-patch show as text/plain; charset=utf-8", "text/plain show as text/plain; charset=utf-8"),
    Kind("a.rs", "text/rust", Raw(b"fn main() {}\n"), "text/rust show as text/plain; charset=utf-8", "text/plain show as text/plain; charset=utf-8"),
    Kind("a.xml", "text/xml", Raw(b"<?xml version=\"1.0\"?><a/>"), "text/xml save as application/octet-stream", "="),
    Kind("sjis.xml", "text/xml", In(SHIFT_JIS, "<?xml version=\"1.0\" encoding=\"Shift_JIS\"?><a>日本語</a>"), "text/xml save as application/octet-stream", "="),
    Kind("utf16.xml", "text/xml", By(|| utf16("<?xml version=\"1.0\"?><a/>", true, true)), "text/xml save as application/octet-stream", "="),
    Kind("bare.svg", "image/svg+xml", Raw(b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>"), "image/svg+xml save as application/octet-stream", "="),
    Kind("doctype.svg", "image/svg+xml", Raw(b"<!DOCTYPE svg PUBLIC \"-//W3C//DTD SVG 1.1//EN\" \"svg11.dtd\" [<!ENTITY a \">\">]><svg/>"), "image/svg+xml save as application/octet-stream", "="),
    Kind("xmldecl.svg", "image/svg+xml", Raw(b"<?xml version=\"1.0\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\"/>"), "image/svg+xml save as application/octet-stream", "="),
    Kind("comment.svg", "image/svg+xml", Raw(b"<!-- Generator: a > b -->\n<svg/>"), "image/svg+xml save as application/octet-stream", "="),
    Kind("bom.svg", "image/svg+xml", Raw("\u{FEFF}<?xml version=\"1.0\"?><svg/>".as_bytes()), "image/svg+xml save as application/octet-stream", "="),
    Kind("a.svgz", "image/svg+xml", Raw(b"\x1F\x8B\x08\0"), "application/gzip save", "="),
    Kind("a.html", "text/html", Raw(b"<!DOCTYPE html><html><script>alert(1)</script>"), "text/html save as application/octet-stream", "="),
    Kind("nohtml.html", "text/html", Raw(b"<h1>Title</h1><p>so</p>"), "text/html save as application/octet-stream", "="),
    Kind("bom.html", "text/html", Raw("\u{FEFF}<!doctype html><p>so".as_bytes()), "text/html save as application/octet-stream", "="),
    Kind("a.kml", "application/vnd.google-earth.kml+xml", Raw(b"<?xml version=\"1.0\"?><kml>"), "application/vnd.google-earth.kml+xml save as application/octet-stream", "text/xml save as application/octet-stream"),
    Kind("a.gpx", "application/gpx+xml", Raw(b"<?xml version=\"1.0\"?><gpx>"), "application/gpx+xml save as application/octet-stream", "text/xml save as application/octet-stream"),
    Kind("a.rss", "application/rss+xml", Raw(b"<?xml version=\"1.0\"?><rss>"), "application/rss+xml save as application/octet-stream", "text/xml save as application/octet-stream"),
    Kind("a.xhtml", "application/xhtml+xml", Raw(b"<?xml version=\"1.0\"?><!DOCTYPE html><html/>"), "application/xhtml+xml save as application/octet-stream", "text/xml save as application/octet-stream"),
    Kind("a.vue", "", Raw(b"<template><p/></template>"), "text/plain show as text/plain; charset=utf-8", "="),
    Kind("b.vue", "", Raw(b"<script setup></script>"), "text/plain show as text/plain; charset=utf-8", "="),
    Kind("p.txt", "text/plain", Raw(b"<p> begins a paragraph\n"), "text/plain show as text/plain; charset=utf-8", "="),
    Kind("a.ts", "text/vnd.trolltech.linguist", Raw(b"export const a: number = 1;\n"), "text/vnd.trolltech.linguist show as text/plain; charset=utf-8", "text/plain show as text/plain; charset=utf-8"),
    Kind("shebang.ts", "text/vnd.trolltech.linguist", Raw(b"#!/usr/bin/env -S deno run\n"), "text/vnd.trolltech.linguist show as text/plain; charset=utf-8", "text/plain show as text/plain; charset=utf-8"),
    Kind("a.js", "text/javascript", Raw(b"alert(1)\n"), "text/javascript save as application/octet-stream", "="),
    Kind("shebang.js", "text/javascript", Raw(b"#!/usr/bin/env node\n"), "text/javascript save as application/octet-stream", "="),
    Kind("sjis.js", "text/javascript", In(SHIFT_JIS, TEXT), "text/javascript save as application/octet-stream", "="),
    Kind("a.css", "text/css", Raw(b"a {}\n"), "text/css save as application/octet-stream", "="),
    Kind("a.py", "text/x-python", Raw(b"#!/usr/bin/env python3\n"), "text/x-python show as text/plain; charset=utf-8", "text/plain show as text/plain; charset=utf-8"),
    Kind("a.tex", "text/x-tex", Raw(b"%!TEX root = b.tex\n"), "text/x-tex show as text/plain; charset=utf-8", "text/plain show as text/plain; charset=utf-8"),
    Kind("key.pem", "application/x-x509-ca-cert", Raw(b"-----BEGIN PRIVATE KEY-----\n"), "application/x-pem-file show as text/plain; charset=utf-8", "text/plain show as text/plain; charset=utf-8"),
    Kind("sig.asc", "text/plain", Raw(b"-----BEGIN PGP SIGNATURE-----\n"), "text/plain show as text/plain; charset=utf-8", "="),
    Kind("id_ed25519", "", Raw(b"-----BEGIN OPENSSH PRIVATE KEY-----\n"), "text/plain show as text/plain; charset=utf-8", "="),
    Kind("a.dxf", "image/vnd.dxf", Raw(b"0\nSECTION\n"), "image/vnd.dxf save", "="),
    Kind("a.m3u8", "audio/x-mpegurl", Raw(b"#EXTM3U\n"), "audio/x-mpegurl save", "="),
    Kind("a.ppm", "image/x-portable-pixmap", Raw(b"P3\n1 1\n255\n0 0 0\n"), "image/x-portable-pixmap save", "="),
    Kind("a.srt", "application/x-subrip", Raw(b"1\n00:00:01,000 --> 00:00:02,000\nHi\n"), "application/x-subrip show as text/plain; charset=utf-8", "text/plain show as text/plain; charset=utf-8"),
    Kind("a.ics", "text/calendar", Raw(b"BEGIN:VCALENDAR\r\n"), "text/calendar save as text/calendar; charset=utf-8", "="),
    Kind("a.vcf", "text/vcard", Raw(b"BEGIN:VCARD\r\n"), "text/vcard save as text/vcard; charset=utf-8", "="),
    Kind("empty.txt", "text/plain", Raw(b""), "text/plain show as text/plain; charset=utf-8", "application/octet-stream save"),
    // The rest.
    Kind("a.eml", "message/rfc822", Raw(b"From: a@example.org\r\nSubject: b\r\n\r\n"), "message/rfc822 save as application/octet-stream", "="),
    Kind("jis.eml", "message/rfc822", In(ISO_2022_JP, TEXT), "message/rfc822 save as application/octet-stream", "="),
    Kind("pdf.eml", "message/rfc822", Raw(b"From: a@example.org\r\n\r\n%PDF-1.4\r\n"), "message/rfc822 save as application/octet-stream", "="),
    Kind("a.mht", "multipart/related", Raw(b"MIME-Version: 1.0\r\n"), "multipart/related save as application/octet-stream", "="),
    Kind("a.dwg", "image/vnd.dwg", Raw(b"AC1032\0\0"), "image/vnd.dwg show", "="),
    Kind("a.psd", "image/vnd.adobe.photoshop", Raw(b"8BPS\0\x01\0\0"), "image/vnd.adobe.photoshop show", "="),
    Kind("a.tif", "image/tiff", By(|| tiff(b"II*\0\x08\0\0\0")), "image/tiff show", "="),
    Kind("grey67.tif", "image/tiff", By(|| tiff(b"II*\0\x08\x0C\0\0CCCC")), "image/tiff show", "="),
    Kind("grey82.tif", "image/tiff", By(|| tiff(b"II*\0\x08\x0C\0\0RRRR")), "image/tiff show", "="),
    Kind("big.tif", "image/tiff", By(|| tiff(b"II+\0\x08\0\0\0")), "image/tiff show", "="),
    Kind("a.dng", "image/x-adobe-dng", By(|| tiff(b"II*\0\x08\0\0\0")), "image/x-adobe-dng show", "image/tiff show"),
    Kind("a.nef", "image/x-nikon-nef", By(|| tiff(b"MM\0*\0\0\0\x08")), "image/x-nikon-nef show", "image/tiff show"),
    Kind("a.cr2", "image/x-canon-cr2", By(|| tiff(b"II*\0\x10\0\0\0CR\x02\0")), "image/x-canon-cr2 show", "="),
    Kind("a.cr3", "image/x-canon-cr3", Brands(&[b"crx ", b"crx ", b"isom"]), "image/x-canon-cr3 show", "="),
    Kind("a.bmp", "image/bmp", By(bmp), "image/bmp show", "="),
    Kind("a.ico", "image/vnd.microsoft.icon", Raw(b"\0\0\x01\0\x01\0\x10\x10"), "image/vnd.microsoft.icon show", "="),
    Kind("a.cur", "image/x-win-bitmap", Raw(b"\0\0\x02\0\x01\0\x10\x10"), "image/vnd.microsoft.icon show", "="),
    Kind("a.webp", "image/webp", Raw(b"RIFF\x24\0\0\0WEBPVP8 "), "image/webp show", "="),
    Kind("anim.webp", "image/webp", Raw(b"RIFF\x24\0\0\0WEBPVP8X"), "image/webp show", "="),
    Kind("a.gif", "image/gif", Raw(b"GIF87a\x01\0\x01\0"), "image/gif show", "="),
    Kind("anim.gif", "image/gif", Raw(b"GIF89a\x01\0\x01\0"), "image/gif show", "="),
    Kind("a.png", "image/png", Raw(b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR"), "image/png show", "="),
    Kind("a.jpg", "image/jpeg", Raw(b"\xFF\xD8\xFF\xE0\0\x10JFIF"), "image/jpeg show", "="),
    Kind("anim.apng", "image/apng", Raw(b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR"), "image/apng show", "image/png show"),
    Kind("a.emf", "image/emf", By(|| { let mut emf = marked(64, 40, b" EMF"); emf[0] = 1; emf }), "image/emf show", "="),
    Kind("a.wmf", "image/wmf", Raw(b"\xD7\xCD\xC6\x9A\0\0"), "image/wmf show", "="),
    Kind("a.xpm", "image/x-xpixmap", Raw(b"/* XPM */\n"), "image/x-xpixmap save", "="),
    Kind("a.wasm", "application/wasm", Raw(b"\0asm\x01\0\0\0"), "application/wasm save as application/octet-stream", "="),
    Kind("a.exe", "application/x-ms-dos-executable", Raw(b"MZ\x90\0\x03\0"), "application/x-ms-dos-executable save", "application/vnd.microsoft.portable-executable save"),
    Kind("a.dmg", "application/x-apple-diskimage", Raw(b"\x78\xDA\x63\0\x01"), "application/x-apple-diskimage save", "="),
    Kind("a.iso", "application/x-cd-image", By(|| vec![0; 40_000]), "application/x-cd-image save", "application/x-iso9660-image save"),
    Kind("a.7z", "application/x-7z-compressed", Raw(b"7z\xBC\xAF\x27\x1C\0\x04"), "application/x-7z-compressed save", "="),
    Kind("rar3.rar", "application/vnd.rar", Raw(b"Rar!\x1A\x07\0"), "application/vnd.rar save", "="),
    Kind("rar5.rar", "application/vnd.rar", Raw(b"Rar!\x1A\x07\x01\0"), "application/vnd.rar save", "="),
    Kind("a.png.zst", "application/zstd", Raw(b"\x28\xB5\x2F\xFD\x04"), "application/zstd save", "="),
    Kind("a.tar.gz", "application/gzip", Raw(b"\x1F\x8B\x08\0"), "application/gzip save", "="),
    Kind("v7.tar", "application/x-tar", By(|| { let mut tar = vec![0; 512]; tar[..5].copy_from_slice(b"a.txt"); tar }), "application/x-tar save", "="),
    Kind("ustar", "application/x-tar", By(|| marked(512, 257, b"ustar")), "application/x-tar save", "="),
    Kind("a.p12", "application/pkcs12", Raw(b"\x30\x82\x0A\x03\x02\x01\x03"), "application/pkcs12 save", "="),
    Kind("vbscript.png", "image/png", Raw(b"<script language=vbscript>MsgBox 1</script>"), "text/html save as application/octet-stream", "="),
    Kind("page.png", "image/png", Raw(b"<html><body>hi"), "text/html save as application/octet-stream", "="),
    Kind("png_in.txt", "text/plain", Raw(b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR"), "image/png show", "="),
];
