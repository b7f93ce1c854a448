//! `attache key`, as it is typed: access keys for programs that speak S3.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use support::command;

fn run(folder: &Path, line: &str) -> Output {
    let mut command = command(folder, &[]);
    command.args(line.split(' ')).output().unwrap()
}

/// What it printed, and what it said besides.
#[track_caller]
fn ended(output: &Output, code: i32) -> (String, String) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn create(folder: &Path, more: &str) -> Value {
    let made = run(folder, &format!("key create --json {more}"));
    serde_json::from_str(&ended(&made, 0).0).unwrap()
}

fn listed(folder: &Path) -> Vec<Value> {
    let (lines, _) = ended(&run(folder, "key ls --json"), 0);
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn an_access_key_is_shown_once_listed_without_its_secret_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let made = create(
        folder,
        "--name wiki --bucket media --bucket archive --prefix wiki/ --scope read,write",
    );
    let (id, secret) = (&made["access_key_id"], &made["secret_access_key"]);
    let is_plain = |text: &Value, length| {
        let text = text.as_str().unwrap();
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    assert!(is_plain(id, 20) && is_plain(secret, 40), "{made}");
    assert_eq!(made["buckets"], json!(["media", "archive"]));
    assert_eq!(made["scopes"], json!(["read", "write"]));
    assert_eq!(made["prefix"], "wiki/");
    assert!(made["expires_at"].is_string(), "90 days by default");
    let mut without = made.clone();
    without.as_object_mut().unwrap().remove("secret_access_key");
    assert_eq!(listed(folder), [without]);
    let (table, _) = ended(&run(folder, "key list"), 0);
    assert!(table.contains("media,archive") && !table.contains(secret.as_str().unwrap()));

    let id = id.as_str().unwrap();
    let (out, said) = ended(&run(folder, &format!("key rm {id}")), 0);
    assert!(out.is_empty() && said.contains(id), "{said}");
    ended(&run(folder, &format!("key revoke {id}")), 3);
    assert_eq!(listed(folder), Vec::<Value>::new());
}

#[test]
fn people_get_the_two_lines_and_are_told_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let made = run(
        folder.path(),
        "key create --name wiki --bucket media --expires never",
    );
    let (out, said) = ended(&made, 0);
    let [id, secret]: [&str; 2] = out.lines().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((id.len(), secret.len()), (20, 40));
    assert!(!said.contains(secret), "{said}");
    for word in [
        id,
        "read write delete",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    ] {
        assert!(said.contains(word), "{word} in {said}");
    }
    assert_eq!(listed(folder.path())[0]["expires_at"], Value::Null);
}

#[test]
fn a_third_access_key_of_a_name_is_refused_until_one_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let old = create(folder, "--name wiki --bucket media");
    create(folder, "--name wiki --bucket media");
    let line = "key create --name wiki --bucket media";
    let (out, said) = ended(&run(folder, line), 1);
    assert!(out.is_empty() && said.contains("attache key rm"), "{said}");
    let old = old["access_key_id"].as_str().unwrap();
    ended(&run(folder, &format!("key rm {old}")), 0);
    ended(&run(folder, line), 0);
    assert_eq!(listed(folder).len(), 2);
}

#[test]
fn what_no_access_key_can_be_is_a_wrong_use() {
    let folder = tempfile::tempdir().unwrap();
    for (line, word) in [
        ("key create --name wiki", "--bucket"),
        ("key create --bucket media", "--name"),
        ("key create --name wiki --bucket Media", "lower-case"),
        (
            "key create --name wiki --bucket media --scope all",
            "\"write\"",
        ),
        (
            "key create --name wiki --bucket media --scope admin",
            "API tokens",
        ),
        (
            "key create --name wiki --bucket media --expires soon",
            "90d",
        ),
        ("key rm atta", "20 capital letters"),
    ] {
        let (out, said) = ended(&run(folder.path(), line), 2);
        assert!(out.is_empty() && said.contains(word), "{line}: {said}");
    }
}

#[test]
fn nothing_is_made_before_the_first_access_key_is() {
    let folder = tempfile::tempdir().unwrap();
    for (line, code) in [
        ("key ls --json", 0),
        ("key ls", 0),
        ("key rm ATTA0123456789ABCDEF", 3),
    ] {
        let (out, _) = ended(&run(folder.path(), line), code);
        assert!(out.is_empty(), "{line}: {out}");
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
}

/// Only what opens is listed.
#[test]
fn a_backup_that_is_restored_opens_the_access_keys_that_were_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    create(folder, "--name wiki --bucket media");
    let before = listed(folder);
    ended(&run(folder, "backup copy"), 0);
    create(folder, "--name later --bucket media");
    std::fs::remove_dir_all(folder.join("attache-data")).unwrap();
    ended(&run(folder, "restore copy"), 0);
    assert_eq!(listed(folder), before);
}
