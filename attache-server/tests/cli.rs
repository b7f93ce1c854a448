//! The command line, as it is typed: the real binary in a folder of its own, with an environment of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "cli/adopt.rs"]
mod adopt;
#[path = "cli/resume.rs"]
mod resume;
mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use fake_azure::{FakeAzure, Op};
use support::{files_below, noise};

const CANARY: &str = "canary-secret-5d41402abc4b2a76";

const COMMANDS: [&str; 13] = [
    "serve", "put", "get", "url", "ls", "rm", "check", "health", "sweep", "verify", "token", "key",
    "config",
];

/// A folder, and the variables of every command that runs in it.
struct Place {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

/// How a command ended, and what it said.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    out: Vec<u8>,
    err: String,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
        }
    }

    /// Configured for a stand-in of Azure by what other tools read, too.
    fn azure(azure: &FakeAzure, secret: &str) -> Self {
        let mut place = Self::new();
        place.write("ca.pem", azure.ca_pem().as_bytes());
        place.set("AZURE_STORAGE_ACCOUNT_NAME", azure.account());
        place.set("AZURE_STORAGE_CONTAINER_NAME", "files");
        place.set("AZURE_TENANT_ID", azure.tenant_id());
        place.set("AZURE_CLIENT_ID", azure.client_id());
        place.set("AZURE_CLIENT_SECRET", secret);
        place.set("ATTACHE_STORAGE__BACKEND", "azure");
        place.set("ATTACHE_STORAGE__AZURE__ENDPOINT", &azure.blob_endpoint());
        place.set(
            "ATTACHE_STORAGE__AZURE__AUTHORITY_HOST",
            &azure.authority_host(),
        );
        place.set("ATTACHE_STORAGE__AZURE__CA_FILE", "ca.pem");
        place
    }

    fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn objects(&self) -> Vec<String> {
        files_below(&self.path("attache-data/objects"))
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let variables = support::borrowed(&self.variables);
        let mut command = support::command(self.folder.path(), &variables);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.command(arguments).output().unwrap().into()
    }

    /// Runs with `input` on stdin.
    fn feed(&self, arguments: &[&str], input: &[u8]) -> Run {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input).unwrap();
        drop(stdin);
        child.wait_with_output().unwrap().into()
    }

    /// Stores a file; its id.
    #[track_caller]
    fn put(&self, arguments: &[&str]) -> String {
        let mut all = vec!["put"];
        all.extend(arguments);
        self.run(&all).expect(0).line()
    }

    /// Feeds the half of a file to `put -`, and waits until it has arrived in the store's folder.
    fn half_put(&self) -> Child {
        let mut child = self
            .command(&["put", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.as_mut().unwrap();
        stdin.write_all(&noise(3 << 20)).unwrap();
        let start = Instant::now();
        let arrived = |path: &String| std::fs::metadata(path).is_ok_and(|about| about.len() > 0);
        while !self.objects().iter().any(arrived) {
            assert!(start.elapsed() < Duration::from_secs(20), "nothing arrives");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        child
    }

    #[track_caller]
    fn assert_empty(&self) {
        assert_eq!(self.run(&["ls"]).expect(0).text(), "");
        assert_eq!(self.objects(), Vec::<String>::new());
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: output.stdout,
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Run {
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.text(), self.err);
        self
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    /// The one line on stdout.
    #[track_caller]
    fn line(&self) -> String {
        let text = self.text();
        assert_eq!(text.lines().count(), 1, "{text}\n{}", self.err);
        text.trim_end().to_owned()
    }

    #[track_caller]
    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    #[track_caller]
    fn says(self, words: &str) -> Self {
        assert!(self.err.contains(words), "{words:?} in {}", self.err);
        self
    }
}

#[test]
fn a_file_goes_in_and_comes_back() {
    let place = Place::new();
    let bytes = noise(300_000);
    place.write("report.pdf", &bytes);
    let id = place.put(&["report.pdf", "--owner", "page:42"]);
    let other = place.put(&["report.pdf", "--content-type", "application/x-thing"]);

    let listed = place.run(&["ls"]).expect(0).text();
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 2, "{listed}");
    assert!(lines[0].starts_with(&other), "newest first: {listed}");
    for word in [id.as_str(), "292.97 KiB", "report.pdf", "page:42"] {
        assert!(lines[1].contains(word), "{word} in {}", lines[1]);
    }
    let owned = place
        .run(&["ls", "--owner", "page:42", "--json"])
        .expect(0)
        .json();
    assert_eq!(owned["id"], id.as_str());
    assert_eq!(owned["size"], 300_000);
    assert_eq!(owned["links"]["inline"], format!("/attachment/{id}"));

    place
        .run(&["get", &id, "-o", "back"])
        .expect(0)
        .says("sha256 verified");
    assert_eq!(place.read("back"), bytes);
    assert_eq!(place.run(&["get", &id, "-o", "-"]).expect(0).out, bytes);

    let url = place
        .run(&["url", &id, "--lifetime", "2m"])
        .expect(0)
        .line();
    let start = format!("http://127.0.0.1:8080/attachment/{id}?expires=");
    assert!(url.starts_with(&start), "{url}");
    let saved = place
        .run(&["url", &id, "--download", "--json"])
        .expect(0)
        .json();
    assert!(saved["url"].as_str().unwrap().contains("/download/"));
    assert!(saved["expires_in"].as_u64().unwrap() <= 120);

    place.run(&["rm", &id, &other]).expect(0);
    place.assert_empty();
}

#[test]
fn the_json_of_put_is_the_attachment() {
    let place = Place::new();
    place.write("a.txt", b"hello\n");
    let json = place.run(&["put", "a.txt", "--json"]).expect(0).json();
    assert_eq!(json["filename"], "a.txt");
    assert_eq!(json["content_type"], "text/plain");
    assert_eq!(
        json["sha256"],
        "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    );
    assert_eq!(
        json["links"]["download"],
        format!("/download/{}", json["id"].as_str().unwrap())
    );
}

#[test]
fn stdin_can_be_put_and_is_named_by_its_type_or_by_the_caller() {
    let place = Place::new();
    let bytes = noise(1 << 20);
    let id = place.feed(&["put", "-"], &bytes).expect(0).line();
    assert_eq!(place.run(&["get", &id, "-o", "-"]).expect(0).out, bytes);
    let named = place.feed(
        &["put", "-", "--filename", "dump.sql", "--json"],
        b"SELECT 1;",
    );
    assert_eq!(named.expect(0).json()["filename"], "dump.sql");
    let empty = place.feed(&["put", "-", "--json"], b"").expect(0).json();
    assert_eq!(empty["size"], 0);
}

#[test]
fn unusual_names_survive_the_way_there_and_back() {
    for name in [
        "写真 (1).png",
        "100%.txt",
        "quo\"te'.txt",
        ".hidden",
        "-dash",
        "a\u{301}.txt",
    ] {
        let place = Place::new();
        place.write(name, name.as_bytes());
        let id = place.put(&["--", name]);
        std::fs::remove_file(place.path(name)).unwrap();
        let saved = place.run(&["get", &id]).expect(0).line();
        assert_eq!(place.read(&saved), name.as_bytes(), "{name}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_cannot_be_kept_asks_for_another_one() {
    use std::os::unix::ffi::OsStrExt as _;
    let place = Place::new();
    let odd = std::ffi::OsStr::from_bytes(b"latin1-\xe9.txt");
    std::fs::write(place.folder.path().join(odd), b"x").unwrap();
    let run: Run = place.command(&["put"]).arg(odd).output().unwrap().into();
    run.expect(1).says("--filename");
    let run: Run = place
        .command(&["put", "--filename", "ok.txt"])
        .arg(odd)
        .output()
        .unwrap()
        .into();
    run.expect(0);
    place.write("...", b"x");
    place.run(&["put", "..."]).expect(1).says("--filename");
}

#[test]
fn put_goes_on_after_a_file_that_fails() {
    let place = Place::new();
    place.write("a.txt", b"a");
    place.write("b.txt", b"b");
    std::fs::create_dir(place.path("folder")).unwrap();
    let run = place
        .run(&["put", "a.txt", "missing", "folder", "b.txt"])
        .expect(1);
    assert_eq!(run.text().lines().count(), 2);
    run.says("missing: cannot be read")
        .says("folder: is a folder");
    assert_eq!(place.run(&["ls"]).expect(0).text().lines().count(), 2);
}

#[test]
fn each_class_of_ending_has_its_exit_code() {
    let mut place = Place::new();
    place.write("a.txt", b"a");
    let id = place.put(&["a.txt"]);
    let wrong_uses: [&[&str]; 8] = [
        &[],
        &["nonsense"],
        &["put"],
        &["put", "a.txt", "a.txt", "--filename", "b.txt"],
        &["put", "a.txt", "--owner", "no kind"],
        &["get", "not/an/id"],
        &["url", &id, "--lifetime", "3h"],
        &["url", &id, "--lifetime", "soon"],
    ];
    for arguments in wrong_uses {
        let run = place.run(arguments).expect(2);
        assert!(!run.err.is_empty() && run.out.is_empty(), "{arguments:?}");
    }
    place.run(&["ls"]).expect(0);
    place
        .run(&["get", "unknown"])
        .expect(3)
        .says("there is no attachment \"unknown\"");
    place.run(&["url", "unknown"]).expect(3);
    place.run(&["put", "missing"]).expect(1);
    place
        .run(&["--config", "missing.toml", "ls"])
        .expect(2)
        .says("missing.toml");
    place.set("ATTACHE_LOG", "attache=loud");
    place.run(&["ls"]).expect(2).says("ATTACHE_LOG");
}

#[test]
fn rm_deletes_what_is_there_and_tells_what_was_not() {
    let place = Place::new();
    place.write("a.txt", b"a");
    let (one, two) = (place.put(&["a.txt"]), place.put(&["a.txt"]));
    let run = place
        .run(&["rm", &one, "unknown", &two, "--json"])
        .expect(3);
    assert_eq!(
        run.text(),
        format!(
            "{{\"id\":\"{one}\",\"outcome\":\"deleted\"}}\n{{\"id\":\"unknown\",\"outcome\":\"absent\"}}\n\
             {{\"id\":\"{two}\",\"outcome\":\"deleted\"}}\n"
        )
    );
    run.says("unknown was not there");
    place.assert_empty();
}

#[test]
fn get_never_overwrites_unless_it_is_forced() {
    let place = Place::new();
    place.write("a.txt", b"new");
    let id = place.put(&["a.txt"]);
    place.write("a.txt", b"old");
    place
        .run(&["get", &id])
        .expect(1)
        .says("a.txt exists already");
    assert_eq!(place.read("a.txt"), b"old");
    place.run(&["get", &id, "--force"]).expect(0);
    assert_eq!(place.read("a.txt"), b"new");
    place.run(&["get", &id, "-o", "no/such/folder/a"]).expect(1);
    std::fs::create_dir(place.path("folder")).unwrap();
    let into = place.run(&["get", &id, "-o", "folder"]).expect(0).line();
    assert_eq!(Path::new(&into), Path::new("folder/a.txt"));
    let left: Vec<String> = files_below(place.folder.path())
        .into_iter()
        .filter(|path| path.ends_with(".part"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn bytes_that_were_damaged_in_the_store_never_become_a_file() {
    let place = Place::new();
    place.write("a.bin", &noise(1 << 20));
    let id = place.put(&["a.bin", "--owner", "page:1"]);
    let object = format!("attache-data/objects/attachment/{id}.bin");
    let mut bytes = place.read(&object);
    bytes[500_000] ^= 1;
    place.write(&object, &bytes);
    std::fs::remove_file(place.path("a.bin")).unwrap();
    for verify in ["true", "false"] {
        let run: Run = place
            .command(&["get", &id])
            .env("ATTACHE_DOWNLOAD__VERIFY", verify)
            .output()
            .unwrap()
            .into();
        run.expect(1).says("mismatch: expected");
        assert!(!place.path("a.bin").exists());
    }
}

#[test]
fn a_typo_in_the_configuration_names_the_nearest_key() {
    let place = Place::new();
    place.write(
        "attache.toml",
        b"[storage.azure]\nacount = \"x\"\n[upload]\nconcurrency = 0\n",
    );
    for command in ["ls", "config", "serve", "sweep"] {
        place
            .run(&["--config", "attache.toml", command])
            .expect(2)
            .says("unknown key \"storage.azure.acount\" in the file; did you mean storage.azure.account?")
            .says("upload.concurrency must be between 1 and 64");
    }
    let run = place.run(&["check", "--config", "attache.toml"]).expect(2);
    assert!(run.text().contains("✗ configuration"), "{}", run.text());
    // A file that nobody named is not read.
    place.run(&["ls"]).expect(0);
}

#[test]
fn config_prints_the_example_file_whatever_is_configured() {
    let place = Place::new();
    let run = place
        .run(&["--config", "missing.toml", "config", "--example"])
        .expect(0);
    let example = include_str!("../../attache.example.toml");
    assert!(
        run.text() == example,
        "write it again: `cargo run -- config --example > attache.example.toml`"
    );
}

#[test]
fn config_shows_what_is_in_effect_and_redacts_secrets() {
    let mut place = Place::new();
    place.write("attache.toml", b"[server]\nlisten = \"127.0.0.1:7777\"\n");
    place.set("ATTACHE_CONFIG", "attache.toml");
    place.set("AZURE_CLIENT_SECRET", CANARY);
    place.set("ATTACHE_UPLOAD__CONCURRENCY", "7");
    let run = place.run(&["config"]).expect(0);
    let shown = run.text();
    assert!(!(shown.clone() + &run.err).contains(CANARY));
    for line in [
        "client_secret = \"[redacted]\"",
        "listen = \"127.0.0.1:7777\"",
        "concurrency = 7",
    ] {
        assert!(shown.lines().any(|have| have == line), "{line} in {shown}");
    }
    assert!(!place.path("attache-data").exists(), "it only looks");
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let place = Place::new();
    for command in COMMANDS {
        let help = place.run(&[command, "--help"]).expect(0).text();
        let example = help.split_once("Example").map(|(_, rest)| rest);
        let example = example.unwrap_or_else(|| panic!("no example: {help}"));
        assert!(example.contains(&format!("attache {command}")), "{help}");
    }
    let tour = place.run(&["--help"]).expect(0).text();
    for command in COMMANDS {
        assert!(
            tour.contains(&format!("  {command} ")),
            "{command} in {tour}"
        );
    }
    assert!(tour.contains("Exit codes: 0 done"));
}

#[test]
fn memory_storage_is_refused_where_it_makes_no_sense() {
    let mut place = Place::new();
    place.set("ATTACHE_STORAGE__BACKEND", "memory");
    for arguments in [&["ls"] as &[&str], &["check"], &["sweep"], &["put", "x"]] {
        place
            .run(arguments)
            .expect(2)
            .says("storage.backend is \"memory\"");
    }
    place.run(&["config"]).expect(0);
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let place = Place::new();
    place.write("a.txt", b"a");
    let id = place.put(&["a.txt"]);
    for arguments in [
        &["ls"] as &[&str],
        &["ls", "--json"],
        &["get", &id, "-o", "-"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let run: Run = place
            .command(arguments)
            .stdout(writer)
            .output()
            .unwrap()
            .into();
        assert_eq!(run.expect(0).err, "");
    }
}

#[test]
fn large_files_pass_through() {
    let place = Place::new();
    let bytes = noise(64 << 20);
    place.write("large.bin", &bytes);
    let id = place.put(&["large.bin"]);
    place.run(&["get", &id, "-o", "back"]).expect(0);
    assert!(place.read("back") == bytes);
}

#[test]
fn a_listing_of_many_pages_is_whole_and_in_order() {
    let place = Place::new();
    let names: Vec<String> = (0..1100).map(|i| format!("f{i}")).collect();
    for name in &names {
        place.write(name, b"x");
    }
    let mut arguments = vec!["put"];
    arguments.extend(names.iter().map(String::as_str));
    let put = place.run(&arguments).expect(0).text();
    let mut put: Vec<&str> = put.lines().collect();
    put.reverse();
    let listed = place.run(&["ls"]).expect(0).text();
    let listed: Vec<&str> = listed
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(listed, put);
}

#[test]
fn what_sigkill_left_behind_is_swept() {
    let place = Place::new();
    let mut child = place.half_put();
    // A sweep leaves alone what a living process works on.
    assert_eq!(place.run(&["sweep"]).expect(0).line(), "nothing to do");
    child.kill().unwrap();
    child.wait().unwrap();
    let swept = place.run(&["sweep"]).expect(0).line();
    assert!(swept.starts_with("1 interrupted upload removed"), "{swept}");
    place.assert_empty();
    let again = place.run(&["sweep", "--json"]).expect(0).json();
    assert_eq!(again["uploads_removed"], 0);
}

#[test]
fn verify_finds_what_disagrees_and_rebuilds_a_lost_catalog() {
    let place = Place::new();
    place.write("a.txt", b"hello");
    let names = ["whole", "gone", "short", "changed", "foreign"];
    let ids = names.map(|_| place.put(&["a.txt", "--owner", "page:1"]));
    let clean = place.run(&["verify", "--deep"]).expect(0);
    assert_eq!(clean.text(), "");
    clean.says("5 attachments").says("all is well");

    let object = |id: &str| format!("attache-data/objects/attachment/{id}.txt");
    let facts = |id: &str| format!("attache-data/objects/.facts/attachment/{id}.txt.json");
    let [_, gone, short, changed, foreign] = &ids;
    std::fs::remove_file(place.path(&object(gone))).unwrap();
    place.write(&object(short), b"hell");
    place.write(&object(changed), b"jello");
    std::fs::remove_file(place.path(&facts(foreign))).unwrap();
    let findings = |arguments: &[&str]| {
        let run = place.run(arguments);
        let lines = run.text();
        let found = lines.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| line[name].as_str().unwrap().to_owned();
            (text("id"), text("finding"))
        });
        let mut found: Vec<_> = found.collect();
        found.sort();
        (run.code, found)
    };
    let found = |pairs: &[(&String, &str)]| {
        let pairs = pairs.iter();
        let mut pairs: Vec<_> = pairs
            .map(|(id, what)| ((*id).clone(), (*what).to_owned()))
            .collect();
        pairs.sort();
        pairs
    };
    // What the store says of itself does not tell that a byte has changed; reading it does.
    let shallow = found(&[
        (gone, "missing"),
        (short, "wrong_size"),
        (foreign, "no_facts"),
    ]);
    assert_eq!(findings(&["verify", "--json"]), (Some(1), shallow));
    let deep = found(&[
        (gone, "missing"),
        (short, "wrong_size"),
        (changed, "wrong_digest"),
        (foreign, "no_facts"),
    ]);
    assert_eq!(findings(&["verify", "--deep", "--json"]), (Some(1), deep));
    for id in [gone, short, changed] {
        place.run(&["rm", id]).expect(0);
    }

    let listed = |place: &Place| place.run(&["ls", "--json"]).expect(0).text();
    let before = listed(&place);
    for file in std::fs::read_dir(place.path("attache-data")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            std::fs::remove_file(path).unwrap();
        }
    }
    let lost = found(&[(&ids[0], "unknown"), (foreign, "unknown")]);
    assert_eq!(findings(&["verify", "--json"]), (Some(1), lost));
    let rebuilt = found(&[(&ids[0], "restored"), (foreign, "unknown")]);
    let repair = ["verify", "--repair", "--json"];
    assert_eq!(findings(&repair), (Some(1), rebuilt), "it has no metadata");
    std::fs::remove_file(place.path(&object(foreign))).unwrap();
    assert_eq!(findings(&repair), (Some(0), Vec::new()));
    let whole = before.lines().find(|line| line.contains(&ids[0])).unwrap();
    assert_eq!(listed(&place).trim_end(), whole, "as it was");
    assert_eq!(
        place.run(&["get", &ids[0], "-o", "-"]).expect(0).text(),
        "hello"
    );
}

#[test]
fn put_of_stdin_that_is_interrupted_leaves_nothing() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let place = Place::new();
        let child = place.half_put();
        signal(&child, name);
        let run: Run = wait(child).into();
        run.expect(code).says("nothing was kept of stdin");
        place.assert_empty();
        assert_eq!(place.run(&["sweep"]).expect(0).line(), "nothing to do");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn get_that_is_interrupted_leaves_no_file() {
    let azure = azure().await;
    let place = Place::azure(&azure, CANARY);
    let put = tokio::task::spawn_blocking(move || {
        let id = place.feed(&["put", "-"], &noise(1 << 20)).expect(0).line();
        (place, id)
    });
    let (place, id) = put.await.unwrap();
    azure.faults(|faults| faults.download_bytes_per_second = Some(64 * 1024));
    let work = tokio::task::spawn_blocking(move || {
        let child = place.command(&["get", &id]).spawn().unwrap();
        let parts = || {
            let files = files_below(place.folder.path()).into_iter();
            files.filter(|path| path.ends_with(".part")).count()
        };
        let start = Instant::now();
        while parts() == 0 {
            assert!(start.elapsed() < Duration::from_secs(20), "nothing arrives");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        signal(&child, "INT");
        let run: Run = child.wait_with_output().unwrap().into();
        run.expect(130);
        assert_eq!(parts(), 0);
        assert!(!place.path("file.bin").exists());
    });
    work.await.unwrap();
}

fn signal(child: &Child, name: &str) {
    let sent = std::process::Command::new("kill")
        .args([&format!("-{name}"), &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

/// Waits with the child's stdin open: its end would be the end of the file.
fn wait(mut child: Child) -> Output {
    let stdin = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    output
}

#[test]
fn check_passes_on_local_storage_and_leaves_nothing() {
    let place = Place::new();
    let run = place.run(&["check"]).expect(0);
    let lines: Vec<String> = run.text().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 10, "{lines:#?}");
    assert!(lines.iter().all(|line| line.starts_with('✓')), "{lines:#?}");
    place.assert_empty();
    let json = place.run(&["check", "--json"]).expect(0).json();
    let steps: Vec<&str> = json
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["step"].as_str().unwrap())
        .collect();
    assert_eq!(
        steps,
        [
            "configuration",
            "credential",
            "clock",
            "storage",
            "catalog",
            "write",
            "read",
            "sign",
            "open",
            "delete"
        ]
    );
    assert!(
        json.as_array()
            .unwrap()
            .iter()
            .all(|line| line["status"] == "ok")
    );
}

#[test]
fn check_says_that_pages_elsewhere_cannot_embed_from_an_ip_address() {
    for (variables, says) in [
        (&[][..], true),
        (&[("ATTACHE_SERVER__PUBLIC_URL", "http://[::1]:8080")], true),
        (
            &[("ATTACHE_SERVER__PUBLIC_URL", "https://files.example.org")],
            false,
        ),
        (&[("ATTACHE_DELIVERY__EMBED", "cross-origin")], false),
    ] {
        let mut place = Place::new();
        for (name, value) in variables {
            place.set(name, value);
        }
        let run = place.run(&["check"]).expect(0);
        assert_eq!(
            run.err.contains("delivery.embed = \"cross-origin\""),
            says,
            "{variables:?}: {}",
            run.err
        );
    }
}

#[test]
fn check_tells_which_folder_cannot_be_used() {
    let mut place = Place::new();
    place.write("file", b"in the way");
    place.set("ATTACHE_STORAGE__LOCAL__ROOT", "file/objects");
    let text = place.run(&["check"]).expect(1).text();
    assert!(text.contains("✗ storage"), "{text}");
    assert!(text.contains("set storage.local.root"), "{text}");
    assert!(text.contains("– write"), "{text}");
    place.set("ATTACHE_CATALOG__URL", "sqlite://file/attache.db");
    let text = place.run(&["check"]).expect(1).text();
    assert!(text.contains("✗ catalog"), "{text}");
}

async fn azure() -> FakeAzure {
    FakeAzure::builder()
        .container("files")
        .secret(CANARY)
        .start()
        .await
        .unwrap()
}

/// Off the runtime that serves the stand-in.
async fn run_in(place: Place, arguments: &'static [&'static str]) -> Run {
    let run = tokio::task::spawn_blocking(move || place.run(arguments));
    run.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn check_passes_on_azure_and_tells_who_answered_and_until_when() {
    let azure = azure().await;
    let run = run_in(Place::azure(&azure, CANARY), &["check"])
        .await
        .expect(0);
    let text = run.text();
    assert!(text.lines().all(|line| line.starts_with('✓')), "{text}");
    assert!(text.contains("client_secret issued a token"), "{text}");
    assert!(text.contains("valid until"), "{text}");
    assert!(!text.contains("sig="), "{text}");
    assert!(azure.blobs().is_empty(), "the test file is deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_of_each_bucket_whether_it_can_be_used() {
    let azure = azure().await;
    let mut place = Place::azure(&azure, CANARY);
    place.set("ATTACHE_S3__BUCKETS__WIKI__CONTAINER", "files");
    place.set("ATTACHE_S3__BUCKETS__FORUM__CONTAINER", "nothing-there");
    let text = run_in(place, &["check"]).await.expect(1).text();
    let line = |front: &str| text.lines().any(|line| line.contains(front));
    assert!(line("✓ bucket") && line("wiki: container"), "{text}");
    assert!(line("✗ bucket") && line("forum: "), "{text}");
    assert!(line("s3.buckets.forum.container"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_what_the_accounts_settings_mean_or_why_it_cannot_look() {
    let azure = azure().await;
    let line = |text: &str, about: &str| {
        let found = text.lines().find(|line| line.contains(about));
        found
            .unwrap_or_else(|| panic!("{about}: {text}"))
            .to_owned()
    };
    let check = async || {
        let run = run_in(Place::azure(&azure, CANARY), &["check"]).await;
        run.expect(0).text()
    };
    let text = check().await;
    assert!(line(&text, "soft_delete").contains("off"), "{text}");
    assert!(line(&text, "versioning").contains("off"), "{text}");
    assert!(line(&text, "cors").contains("no rule for GET"), "{text}");

    azure.set_versioning(true);
    azure.set_service_properties(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><StorageServiceProperties><Cors>\
         <CorsRule><AllowedMethods>PUT</AllowedMethods><AllowedOrigins>https://a.example</AllowedOrigins></CorsRule>\
         <CorsRule><AllowedMethods>GET,HEAD</AllowedMethods><AllowedOrigins>https://b.example</AllowedOrigins></CorsRule>\
         </Cors><DeleteRetentionPolicy><Enabled>true</Enabled><Days>7</Days></DeleteRetentionPolicy></StorageServiceProperties>",
    );
    let text = check().await;
    let soft_delete = line(&text, "soft_delete");
    assert!(soft_delete.contains("restored for 7 days"), "{text}");
    assert!(line(&text, "versioning").contains("on: "), "{text}");
    let cors = line(&text, "cors");
    assert!(cors.contains("scripts of https://b.example may"), "{text}");

    // The roles that attache needs do not let it look, and that is no failure.
    let code = "AuthorizationPermissionMismatch";
    azure.faults(|faults| faults.fail_next(Op::GetServiceProperties, 1, 403, code));
    let text = check().await;
    for about in ["soft_delete", "cors"] {
        let line = line(&text, about);
        assert!(
            line.starts_with('–') && line.contains("not permitted to look"),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_with_a_wrong_secret_names_the_key_and_shows_no_secret() {
    let azure = FakeAzure::builder()
        .container("files")
        .start()
        .await
        .unwrap();
    for (level, format) in [("warn", "text"), ("trace", "json")] {
        let mut place = Place::azure(&azure, CANARY);
        place.set("ATTACHE_LOG", level);
        place.set("ATTACHE_LOG_FORMAT", format);
        let run = run_in(place, &["check"]).await.expect(1);
        let text = run.text();
        assert!(text.contains("✗ credential"), "{text}");
        assert!(text.contains("storage.azure.client_secret"), "{text}");
        assert!(text.contains("– storage"), "{text}");
        assert!(text.contains("✓ catalog"), "{text}");
        assert!(!(text + &run.err).contains(CANARY));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_logged_that_opens_anything_even_when_everything_is_logged() {
    let azure = azure().await;
    let mut place = Place::azure(&azure, CANARY);
    place.set(
        "ATTACHE_LOG",
        "trace,azure_core=trace,azure_identity=trace,azure_storage_blob=trace,typespec_client_core=trace,hyper=trace,\
         rustls=trace",
    );
    let run = run_in(place, &["check"]).await.expect(0);
    assert!(run.err.contains("typespec_client_core"), "the crates speak");
    let all = run.text() + &run.err;
    for (what, secret) in [
        ("the client secret", CANARY),
        ("a token", &azure.issue_token()[..30]),
        ("the account key", azure.account_key()),
    ] {
        assert!(!all.contains(secret), "{what} in the log");
    }
    for (at, _) in all.match_indices("sig=") {
        let value: String = all[at + 4..].chars().take(8).collect();
        let redacted = value.starts_with("REDACTED") || value.starts_with("[redact");
        assert!(redacted, "a signature in the log: {value}…");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_container_is_named_with_what_to_do() {
    let azure = FakeAzure::builder().secret(CANARY).start().await.unwrap();
    let run = run_in(Place::azure(&azure, CANARY), &["check"])
        .await
        .expect(1);
    let text = run.text();
    assert!(text.contains("✓ credential"), "{text}");
    assert!(text.contains("✗ storage"), "{text}");
    assert!(
        text.contains("container \"files\" not found in account \"acme\"; create it"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_is_told_by_how_much() {
    let azure = azure().await;
    azure.faults(|faults| faults.clock_skew_seconds = 100);
    let run = run_in(Place::azure(&azure, CANARY), &["check"])
        .await
        .expect(0);
    assert!(
        run.text().contains("s behind the store's"),
        "{}",
        run.text()
    );
    azure.faults(|faults| faults.clock_skew_seconds = -1000);
    let run = run_in(Place::azure(&azure, CANARY), &["check"])
        .await
        .expect(1);
    let text = run.text();
    assert!(text.contains("✗ clock"), "{text}");
    assert!(
        text.contains("s ahead of the store's; set it (NTP)"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_round_trip_works_on_azure() {
    let azure = azure().await;
    let place = Place::azure(&azure, CANARY);
    let endpoint = azure.blob_endpoint();
    let work = tokio::task::spawn_blocking(move || {
        let bytes = noise(20 << 20);
        let id = place
            .feed(&["put", "-", "--owner", "page:1"], &bytes)
            .expect(0)
            .line();
        assert_eq!(place.run(&["get", &id, "-o", "-"]).expect(0).out, bytes);
        let url = place.run(&["url", &id]).expect(0).line();
        let start = format!("{endpoint}/files/attachment/{id}");
        assert!(url.starts_with(&start) && url.contains("sig="), "{url}");
        place.run(&["rm", &id]).expect(0);
    });
    work.await.unwrap();
    assert!(azure.blobs().is_empty());
}
