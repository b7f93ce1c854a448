//! REDbot, the lint for HTTP, has nothing to find in what attache delivers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::Path;
use std::process::Command;

use support::{Server, noise};

/// What REDbot notes about a URL: the name of the note, its level, and its words. It asks several times itself: plainly, with
/// a range, and with the validators that it was given.
fn lint(redbot: &Path, url: &str) -> Vec<(String, String, String)> {
    let output = Command::new(redbot)
        .args(["-o", "har", url])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let har: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let entry = &har["log"]["entries"][0];
    assert_eq!(entry["response"]["status"], 200, "{entry:#}");
    let notes = entry["_red_messages"].as_array().unwrap();
    let text = |note: &serde_json::Value, key: &str| note[key].as_str().unwrap().to_owned();
    notes
        .iter()
        .map(|note| {
            (
                text(note, "note_id"),
                text(note, "level"),
                text(note, "summary"),
            )
        })
        .collect()
}

#[test]
fn redbot_finds_nothing_wrong_with_what_is_shown_and_what_is_saved() {
    let Some(redbot) = test_support::redbot() else {
        return;
    };
    let server = Server::start(&[]);
    let text = server.put(
        "filename=%E5%86%99.txt",
        "text/plain",
        &b"hello\n".repeat(10_000),
    );
    let bytes = server.put("filename=a.bin", "", &noise(100_000));
    let link = format!("/v1/attachments/{}/url", text["id"].as_str().unwrap());
    let link = server.request("POST", &link, &[], b"").json();
    let link = link["url"]
        .as_str()
        .unwrap()
        .split_once(&server.address.to_string())
        .unwrap()
        .1;
    for target in [
        text["links"]["inline"].as_str().unwrap(),
        text["links"]["download"].as_str().unwrap(),
        bytes["links"]["download"].as_str().unwrap(),
        link,
    ] {
        let notes = lint(&redbot, &format!("http://{}{target}", server.address));
        for (_, level, words) in &notes {
            assert!(
                matches!(level.as_str(), "GOOD" | "INFO"),
                "{target}: {level}: {words}"
            );
        }
        // What it must have looked at, and found good.
        for wanted in [
            "CL_CORRECT",
            "INM_304",
            "IMS_304",
            "RANGE_CORRECT",
            "FRESHNESS_FRESH",
            "CONTENT_TYPE_OPTIONS",
        ] {
            assert!(
                notes
                    .iter()
                    .any(|(note, level, _)| note == wanted && level == "GOOD"),
                "{target}: {wanted}: {notes:#?}"
            );
        }
    }
}
