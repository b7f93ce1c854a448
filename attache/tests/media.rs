//! What becomes of the files that people attach: one table of kinds, each with the claim that a browser on Linux makes and
//! with none. The bytes are made here: what an encoder writes first, and nothing that it would take to decode it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod kinds;

use attache::attachment::filename::Disposition;
use attache::attachment::media::{self, Guarded, SNIFF_BYTES};
use attache::transfer::body::Body;
use kinds::{KINDS, Kind, bytes_of};

/// Type, then what becomes of it: `image/png show`, `text/x-log show as text/plain; charset=utf-8`.
async fn outcome(claim: Option<&str>, bytes: &[u8], name: &str) -> String {
    let mut body = Body::from_bytes(bytes.to_vec()).hashed(false);
    while body.next().await.transpose().unwrap().is_some() {}
    let utf8 = body.digests().unwrap().utf8;
    let filename = name.parse().ok();
    let decided = media::settled(&media::decide(claim, bytes, filename.as_ref()), utf8);
    let inline_types = attache::Config::default().delivery.inline_types;
    let served = media::serve(&decided, Disposition::Inline, &inline_types, Guarded::Yes);
    let how = match served.disposition {
        Disposition::Inline => "show",
        Disposition::Attachment => "save",
    };
    let stored = media::essence(&decided);
    match served.content_type == stored {
        true => format!("{stored} {how}"),
        false => format!("{stored} {how} as {}", served.content_type),
    }
}

#[test]
fn a_type_that_runs_is_not_shown_whatever_its_case() {
    let inline_types = attache::Config::default().delivery.inline_types;
    let serve = |kind: &str| media::serve(kind, Disposition::Inline, &inline_types, Guarded::Yes);
    for (shouted, plain) in [
        ("TEXT/HTML; charset=utf-8", "text/html; charset=utf-8"),
        ("Image/SVG+xml", "image/svg+xml"),
        ("Application/XHTML+XML", "application/xhtml+xml"),
        ("IMAGE/PNG", "image/png"),
    ] {
        let (shouted, plain) = (serve(shouted), serve(plain));
        assert_eq!(shouted.disposition, plain.disposition);
        assert_eq!(shouted.content_type, plain.content_type);
        assert_eq!(shouted.policy, plain.policy);
    }
    assert_eq!(serve("TEXT/HTML").disposition, Disposition::Attachment);
}

#[tokio::test]
async fn every_kind_of_file_becomes_what_it_is() {
    let mut wrong = Vec::new();
    for Kind(name, claim, bytes, with, without) in KINDS {
        let bytes = bytes_of(bytes);
        let without = if *without == "=" { with } else { without };
        for (claim, wanted) in [
            (*claim, with),
            ("", without),
            (media::OCTET_STREAM, without),
        ] {
            let told = Some(claim).filter(|claim| !claim.is_empty());
            let got = outcome(told, &bytes, name).await;
            if got != *wanted {
                wrong.push(format!("{name} as {claim:?}: {got}, not {wanted}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(KINDS.len() > 190, "{} kinds", KINDS.len());
}

#[tokio::test]
async fn other_names_of_a_type_come_to_the_same() {
    for (alias, name, bytes) in [
        ("audio/m4a", "audio/mp4", kinds::ftyp(b"M4A ", &[])),
        ("audio/x-flac", "audio/flac", b"fLaC\0\0\0\x22".to_vec()),
        ("audio/opus", "audio/ogg", kinds::ogg(b"OpusHead")),
        ("audio/vnd.wave", "audio/wav", kinds::riff(b"RIFF", b"WAVE")),
        (
            "audio/mpeg3",
            "audio/mpeg",
            kinds::mpeg_audio(&[0xFF, 0xFB, 0x90, 0], 417),
        ),
        ("video/mkv", "video/matroska", kinds::ebml(b"matroska")),
        (
            "IMAGE/JPG; x=y",
            "image/jpeg",
            b"\xFF\xD8\xFF\xE0\0".to_vec(),
        ),
    ] {
        assert_eq!(
            outcome(Some(alias), &bytes, "a").await,
            format!("{name} show"),
            "{alias}"
        );
    }
}

#[tokio::test]
async fn no_film_passes_for_one_of_another_container() {
    for (claim, bytes, kept) in [
        (
            "video/mp4",
            kinds::riff(b"RIFF", b"AVI "),
            "video/x-msvideo show",
        ),
        (
            "video/mp4",
            b"FLV\x01\x05\0\0\0\x09".to_vec(),
            "video/x-flv show",
        ),
        ("video/mp4", b"\0\0\x01\xBA\x44".to_vec(), "video/mpeg show"),
        ("audio/mpeg", b"#!AMR\n\x3C\0".to_vec(), "audio/amr show"),
        ("audio/mpeg", b"MThd\0\0\0\x06".to_vec(), "audio/midi show"),
        ("audio/mpeg", kinds::asf(true), "audio/x-ms-wma show"),
        // The same container.
        ("video/mp4", kinds::ftyp(b"qt  ", &[]), "video/mp4 show"),
        (
            "audio/mp4",
            kinds::ftyp(b"isom", &[b"mp41"]),
            "audio/mp4 show",
        ),
        ("audio/webm", kinds::ebml(b"webm"), "audio/webm show"),
    ] {
        assert_eq!(outcome(Some(claim), &bytes, "a").await, kept, "{claim}");
    }
}

#[tokio::test]
async fn prose_is_text_whatever_its_first_letters_spell() {
    for prose in [
        "GIFT code,amount\n",
        "BMI,height\n",
        "BCP 計画\n",
        "MZ is the mark of a program\n",
        "MAC address\n",
        "ID3 tags\n",
        "SQLite notes\n",
        "070701,1\n",
        "-----BEGIN OPENSSH PRIVATE KEY-----\n",
        "the moov atom\n",
        "<p>so</p>\n",
        "PK is a name\n",
        "RIFF and RAFF\n",
        "%!TEX root = a.tex\n",
        "#!/bin/sh\n",
        "FWS\n",
        "8BPS\n",
        "fLaC\n",
        "II*\n",
    ] {
        for bytes in [
            prose.as_bytes().to_vec(),
            encoding_rs::SHIFT_JIS.encode(prose).0.into_owned(),
        ] {
            let got = outcome(None, &bytes, "a").await;
            assert!(got.starts_with("text/plain show"), "{prose}: {got}");
        }
    }
}

#[tokio::test]
async fn pdf_is_what_begins_with_it() {
    let prose = b"# PDF\n\nA file begins with %PDF-1.7\n";
    let page = b"<!doctype html><p>A file begins with %PDF-1.7</p>";
    assert_eq!(
        outcome(None, prose, "a.md").await,
        "text/plain show as text/plain; charset=utf-8"
    );
    assert_eq!(
        outcome(Some("text/html"), page, "a").await,
        "text/html save as application/octet-stream"
    );
    assert_eq!(
        outcome(None, b"\xEF\xBB\xBF \r\n%PDF-1.7\n", "a").await,
        "application/pdf show"
    );
    assert_eq!(
        outcome(
            Some("application/pdf"),
            b"from a mail server\n%PDF-1.7\n",
            "a"
        )
        .await,
        "application/pdf show"
    );
}

#[test]
fn what_lies_behind_the_first_bytes_decides_nothing() {
    let mut log = vec![b'x'; 100_000];
    log[SNIFF_BYTES + 800] = 0;
    for length in [SNIFF_BYTES, SNIFF_BYTES + 1000, log.len()] {
        assert_eq!(
            media::decide(Some("text/plain"), &log[..length], None),
            "text/plain"
        );
        assert_eq!(media::decide(None, &log[..length], None), "text/plain");
    }
}

#[tokio::test]
async fn the_charset_of_a_text_is_told_from_all_of_it() {
    let late = |end: &[u8]| [&b"x".repeat(10_000)[..], end].concat();
    let sjis = encoding_rs::SHIFT_JIS.encode("日本語").0.into_owned();
    for (claim, bytes, served) in [
        (
            "text/plain",
            late("日本語".as_bytes()),
            "text/plain; charset=utf-8",
        ),
        ("text/plain", late(&sjis), "text/plain"),
        ("text/plain; charset=utf-8", late(&sjis), "text/plain"),
        (
            "text/plain; charset=Shift_JIS",
            sjis.clone(),
            "text/plain; charset=Shift_JIS",
        ),
        (
            "text/plain; charset=\"sjis\"",
            sjis.clone(),
            "text/plain; charset=Shift_JIS",
        ),
        ("text/plain; charset=klingon", sjis.clone(), "text/plain"),
        (
            "text/plain; charset=Shift_JIS",
            b"ascii".to_vec(),
            "text/plain; charset=utf-8",
        ),
        (
            "text/markdown;charset=euc-jp",
            b"\xC6\xFC".to_vec(),
            "text/plain; charset=EUC-JP",
        ),
        (
            "text/markdown",
            "# 見出し".as_bytes().to_vec(),
            "text/plain; charset=utf-8",
        ),
        // What is read as ASCII and is not.
        ("text/plain", b"\x1B$B$3$l\x1B(B".to_vec(), "text/plain"),
        (
            "text/plain; charset=iso-2022-jp",
            b"\x1B$B$3$l\x1B(B".to_vec(),
            "text/plain; charset=ISO-2022-JP",
        ),
    ] {
        let got = outcome(Some(claim), &bytes, "a").await;
        let (_, got) = got.split_once(" show").unwrap();
        assert_eq!(
            got.strip_prefix(" as ").unwrap_or("text/plain"),
            served,
            "{claim}"
        );
    }
    // Texts that were stored before charsets were.
    let served = media::serve(
        "text/plain",
        Disposition::Inline,
        &["text/plain".to_owned()],
        Guarded::No,
    );
    assert_eq!(served.content_type, "text/plain; charset=utf-8");
}

proptest::proptest! {
    #[test]
    fn any_bytes_have_a_type_and_nothing_active_is_shown(
        kind in 0..KINDS.len(),
        cut in 0_usize..64,
        more in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64),
        claim in proptest::option::of("(image|audio|video|text|application)/[a-z+.-]{1,12}(; charset=[a-z0-9-]{0,9})?"),
        name in "[a-z]{1,3}\\.(pdf|png|csv|docx|doc|js|tar|x)",
    ) {
        let mut bytes = bytes_of(&KINDS[kind].2);
        bytes.truncate(cut);
        bytes.extend_from_slice(&more);
        let decided = media::decide(claim.as_deref(), &bytes, name.parse().ok().as_ref());
        for utf8 in [None, Some(true), Some(false)] {
            let settled = media::settled(&decided, utf8);
            proptest::prop_assert_eq!(media::settled(&settled, utf8), settled.clone());
            let listed = ["image/*", "audio/*", "video/*", "text/*", "application/*"].map(str::to_owned);
            let served = media::serve(&settled, Disposition::Inline, &listed, Guarded::No);
            proptest::prop_assert!(served.content_type.bytes().all(|b| (0x20..0x7F).contains(&b)));
            if served.disposition == Disposition::Inline {
                for active in ["/html", "html+", "/xml", "+xml", "javascript", "/css"] {
                    proptest::prop_assert!(!served.content_type.contains(active), "{:?}", served);
                }
            }
        }
    }
}
