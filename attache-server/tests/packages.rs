//! What attache comes in: the manifests and the chart. Each is held against the tools
//! that its users have, and what can run without a cluster is run.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "packages/manifests.rs"]
mod manifests;
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A file or folder of the repository.
fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join(path)
}

/// Runs it to its end, which is a good one.
#[track_caller]
fn succeeds(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    output
}

/// Runs it to its end, which is not a good one; what it said.
#[track_caller]
fn fails(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(!output.status.success(), "{command:?}: {}", said(&output));
    said(&output)
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}
