//! What attache comes in: the container image, the Debian package, the manifests, the chart. Each is made and taken apart by the tools
//! that its users have, and what can run without a cluster is run.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "packages/debian.rs"]
mod debian;
#[path = "packages/image.rs"]
mod image;
#[path = "packages/manifests.rs"]
mod manifests;
mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::LazyLock;

use support::{Answer, connect, noise, read_answer, request};

/// The binary under test without what debuggers need, so that copies of it are small.
fn stripped() -> &'static Path {
    static ONCE: LazyLock<PathBuf> = LazyLock::new(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let begun = place.join(format!("attache-{}", std::process::id()));
        succeeds(
            Command::new("strip")
                .arg("-o")
                .arg(&begun)
                .arg(env!("CARGO_BIN_EXE_attache")),
        );
        // Whoever comes last wins, and nobody sees a part of it.
        let stripped = place.join("attache");
        std::fs::rename(begun, &stripped).unwrap();
        stripped
    });
    &ONCE
}

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

/// What only root may do is not tried by others: a chroot, namespaces, users.
#[allow(clippy::print_stderr, reason = "a test that does less says so")]
fn is_root(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("not root: {what} is not tried");
    }
    root
}

/// A server that was started, and where it listens. Its output stays open.
struct Listening {
    address: SocketAddr,
    _output: BufReader<ChildStdout>,
}

impl Listening {
    /// Waits for the line that says where.
    #[track_caller]
    fn of(child: &mut Child) -> Self {
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.trim().rsplit("://").next();
        let address = address.and_then(|address| address.parse().ok());
        Self {
            address: address
                .unwrap_or_else(|| panic!("it does not say where it listens: {line:?}")),
            _output: output,
        }
    }

    fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = connect(self.address);
        let host = self.address.to_string();
        let bytes = request(&host, method, target, headers, body);
        stream.write_all(&bytes).unwrap();
        read_answer(&mut stream)
    }

    /// Uploads, and downloads the same bytes.
    #[track_caller]
    fn works(&self, headers: &[(&str, &str)]) {
        let bytes = noise(3_000_000);
        let target = "/v1/attachments?filename=a.bin&owner=page:1";
        let stored = self.ask("POST", target, headers, &bytes);
        assert_eq!(stored.status, 201, "{}", stored.text());
        let id = stored.json()["id"].as_str().unwrap().to_owned();
        let fetched = self.ask("GET", &format!("/download/{id}"), headers, b"");
        assert_eq!(fetched.status, 200, "{}", fetched.text());
        assert!(fetched.body == bytes, "the same bytes come back");
        let gone = self.ask("DELETE", &format!("/v1/attachments/{id}"), headers, b"");
        assert_eq!(gone.status, 204, "{}", gone.text());
    }
}
