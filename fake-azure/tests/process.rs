//! The stand-in as a process of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

#[test]
fn the_binary_says_where_it_listens_and_ends_with_its_input() {
    let ca = std::env::temp_dir().join(format!("fake-azure-{}.pem", std::process::id()));
    let mut child = Command::new(env!("CARGO_BIN_EXE_fake-azure"))
        .args(["--retention", "discard", "--secret", "one", "--ca-out"])
        .arg(&ca)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(ready["client_secret"], "one");
    assert!(
        ready["blob_endpoint"]
            .as_str()
            .unwrap()
            .starts_with("https://127.0.0.1:")
    );
    assert!(
        ready["admin_endpoint"]
            .as_str()
            .unwrap()
            .starts_with("http://127.0.0.1:")
    );
    assert!(
        std::fs::read_to_string(&ca)
            .unwrap()
            .starts_with("-----BEGIN CERTIFICATE-----")
    );
    std::fs::remove_file(ca).unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn wrong_flags_are_a_usage_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_fake-azure"))
        .args(["--what", "x"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}
