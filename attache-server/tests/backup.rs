//! What `docs/operating.md` says of backups, done word for word: nothing that was acknowledged is lost.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use support::{Server, command, noise, read_answer};

/// The commands below a heading of the guide.
fn commands(heading: &str) -> Vec<String> {
    let guide = include_str!("../../docs/operating.md");
    let (_, section) = guide.split_once(&format!("\n### {heading}\n")).unwrap();
    let section = section.split("\n#").next().unwrap();
    let blocks = section.split("```sh\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

/// Runs a line of the guide where an operator would, with "/backup" in a folder of the test.
fn run(folder: &Path, line: &str) -> Output {
    let bin = folder.join("bin");
    if !bin.exists() {
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_attache"), bin.join("attache")).unwrap();
        std::fs::create_dir(folder.join("backup")).unwrap();
    }
    let line = line.replace("/backup", &format!("{}/backup", folder.display()));
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    Command::new("sh")
        .args(["-c", &line])
        .current_dir(folder)
        .env("PATH", path)
        .output()
        .unwrap()
}

fn done(folder: &Path, line: &str) -> String {
    let output = run(folder, line);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {said}");
    said
}

/// What was acknowledged: ids, and the bytes behind them.
type Acknowledged = Mutex<BTreeMap<String, Vec<u8>>>;

fn put(server: &Server, token: &str, acknowledged: &Acknowledged, bytes: Vec<u8>) {
    let answer = server.request(
        "POST",
        "/v1/attachments?filename=a.bin&owner=page:1",
        &[("authorization", &format!("Bearer {token}"))],
        &bytes,
    );
    assert_eq!(answer.status, 201, "{}", answer.text());
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    acknowledged.lock().unwrap().insert(id, bytes);
}

fn assert_all_there(server: &Server, token: &str, acknowledged: &Acknowledged) {
    let acknowledged = acknowledged.lock().unwrap();
    assert!(acknowledged.len() > 10);
    let bearer = format!("Bearer {token}");
    for (id, bytes) in acknowledged.iter() {
        let answer = server.request(
            "GET",
            &format!("/download/{id}"),
            &[("authorization", &bearer)],
            b"",
        );
        assert_eq!(answer.status, 200, "{id}: {}", answer.text());
        assert_eq!(&answer.body, bytes, "{id}");
    }
}

/// An upload of which the server has everything but the last byte.
struct Begun {
    stream: std::net::TcpStream,
    bytes: Vec<u8>,
}

impl Begun {
    fn new(server: &Server, token: &str) -> Self {
        let bytes = noise(200_000);
        let bearer = format!("Bearer {token}");
        let reserved = || {
            let status = server.request("GET", "/v1/status", &[("authorization", &bearer)], b"");
            status.json()["catalog"]["reserved_bytes"].as_u64().unwrap()
        };
        let before = reserved();
        let mut stream = server.connect();
        write!(
            stream,
            "POST /v1/attachments?filename=a.bin&owner=page:1 HTTP/1.1\r\nhost: a\r\n\
             authorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
            bytes.len()
        )
        .unwrap();
        stream.write_all(&bytes[..bytes.len() - 1]).unwrap();
        // Its row is there once its bytes count.
        while reserved() < before + bytes.len() as u64 {}
        Self { stream, bytes }
    }

    fn finish(mut self, acknowledged: &Acknowledged) {
        self.stream
            .write_all(&self.bytes[self.bytes.len() - 1..])
            .unwrap();
        let answer = read_answer(&mut self.stream);
        assert_eq!(answer.status, 201, "{}", answer.text());
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        acknowledged.lock().unwrap().insert(id, self.bytes);
    }
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

const AUTH: [(&str, &str); 1] = [("ATTACHE_AUTH__MODE", "token")];

fn start() -> (Server, String) {
    let folder = tempfile::tempdir().unwrap();
    let made = command(folder.path(), &[])
        .args(["token", "create", "--name", "t", "--owner", "*"])
        .args(["--scope", "read,write,delete,admin"])
        .output()
        .unwrap();
    let token = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    (Server::start_in(folder, &AUTH, &[]), token)
}

#[test]
fn a_backup_under_load_is_restored_after_a_kill_and_nothing_acknowledged_is_lost() {
    let (mut server, token) = start();
    let acknowledged = Acknowledged::default();
    for size in [0, 1, 70_000] {
        put(&server, &token, &acknowledged, noise(size));
    }
    let begun = Begun::new(&server, &token);
    let (stop, lines) = (AtomicBool::new(false), commands("Backing up"));
    let folder = server.folder.path().to_owned();
    assert_eq!(lines.len(), 2, "{lines:?}");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // A few at least, however busy the machine is.
                let mut stored = 0;
                while stored < 5 || !stop.load(Ordering::Relaxed) {
                    put(&server, &token, &acknowledged, noise(3_000));
                    stored += 1;
                }
            });
        }
        // Also if a line fails: the scope waits for those who upload.
        let _stop = OnDrop(|| stop.store(true, Ordering::Relaxed));
        for line in &lines {
            done(&folder, line);
        }
    });
    // It was a pending row in the copy of the catalog.
    begun.finish(&acknowledged);
    put(&server, &token, &acknowledged, noise(5_000));
    let lost = Begun::new(&server, &token);
    server.kill();
    drop(lost);
    for line in commands("Restoring") {
        let said = done(&folder, &line);
        if line.starts_with("attache restore") {
            assert!(said.contains("newer than the backup"), "{said}");
        }
        if line.starts_with("attache sweep") {
            assert!(said.is_empty(), "{said}");
        }
    }
    server.restart(&AUTH);
    assert_all_there(&server, &token, &acknowledged);
    assert!(done(&folder, "attache verify").contains("all is well"));
}

#[test]
fn a_backup_is_restored_into_a_fresh_folder_with_the_copy_of_the_objects() {
    let (mut server, token) = start();
    let folder = server.folder.path().to_owned();
    let acknowledged = Acknowledged::default();
    for size in 0..10 {
        put(&server, &token, &acknowledged, noise(size * 1_000));
    }
    let begun = Begun::new(&server, &token);
    let lines = commands("Backing up");
    done(&folder, &lines[0]);
    begun.finish(&acknowledged);
    put(&server, &token, &acknowledged, noise(5_000));
    done(&folder, &lines[1]);
    server.kill();
    std::fs::remove_dir_all(folder.join("attache-data")).unwrap();
    done(
        &folder,
        "mkdir -p attache-data/objects && cp -a /backup/objects/. attache-data/objects/",
    );
    for line in commands("Restoring") {
        if line.starts_with("attache") {
            done(&folder, &line);
        }
    }
    server.restart(&AUTH);
    assert_all_there(&server, &token, &acknowledged);
}

/// Eleven files of 1,000 bytes that a server has acknowledged.
fn eleven(server: &Server, token: &str) -> Acknowledged {
    let acknowledged = Acknowledged::default();
    for _ in 0..11 {
        put(server, token, &acknowledged, noise(1_000));
    }
    acknowledged
}

#[test]
fn a_sweep_completes_an_upload_whose_bytes_are_whole_and_removes_one_whose_are_not() {
    let (mut server, token) = start();
    let folder = server.folder.path().to_owned();
    let acknowledged = eleven(&server, &token);
    let (whole, _half) = (Begun::new(&server, &token), Begun::new(&server, &token));
    done(&folder, "attache backup /backup/attache");
    whole.finish(&acknowledged);
    server.kill();
    done(&folder, "rm -r attache-data/attache.db*");
    let said = done(&folder, "attache restore /backup/attache");
    assert!(
        said.contains("uploaded while the backup was made, and whole: 1"),
        "{said}"
    );
    let verified = run(&folder, "attache verify --json");
    let finding: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(finding["finding"], "interrupted", "{finding}");
    let swept = run(&folder, "attache sweep --json");
    let swept: serde_json::Value = serde_json::from_slice(&swept.stdout).unwrap();
    assert_eq!(swept["uploads_completed"], 1, "{swept}");
    assert_eq!(swept["uploads_removed"], 1, "{swept}");
    server.restart(&AUTH);
    assert_all_there(&server, &token, &acknowledged);
}

#[test]
fn a_restore_replaces_nothing_and_takes_nothing_that_is_not_whole() {
    let (mut server, token) = start();
    let folder = server.folder.path().to_owned();
    let acknowledged = Acknowledged::default();
    put(&server, &token, &acknowledged, noise(1_000));
    done(&folder, "attache backup /backup/attache");
    let refused = |line: &str, why: &str| {
        let output = run(&folder, line);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // A fault of the files is a failure, and one of the line is a misuse.
        let code = if why == "SHA-256 differs" { 1 } else { 2 };
        assert_eq!(output.status.code(), Some(code), "{line}: {said}");
        assert!(said.contains(why), "{line}: {why:?} in {said}");
    };
    refused("attache backup /backup/attache", "is not empty");
    refused(
        "attache restore /backup/attache",
        "a restore replaces nothing",
    );
    for inside in [
        "attache-data/objects/bk",
        "attache-data/attache.db-workers/bk",
    ] {
        refused(
            &format!("attache backup {inside}"),
            "which is attache's own",
        );
        assert!(!folder.join(inside).exists());
    }
    server.kill();
    refused(
        "attache restore /backup/attache",
        "a restore replaces nothing",
    );
    done(&folder, "mkdir old && mv attache-data/* old/");
    // The log of another database would be applied to the one that is restored.
    done(&folder, "touch attache-data/attache.db-wal");
    refused("attache restore /backup/attache", "attache.db-wal exists");
    done(&folder, "rm attache-data/attache.db-wal");
    done(
        &folder,
        "cp -a /backup/attache /backup/cut && truncate -s -4096 /backup/cut/attache.db",
    );
    refused("attache restore /backup/cut", "SHA-256 differs");
    done(
        &folder,
        "cp -a /backup/attache /backup/half && rm /backup/half/manifest.json",
    );
    refused(
        "attache restore /backup/half",
        "not a backup, or one that was not finished",
    );
    refused("attache restore /backup/nowhere", "not a backup");
    assert!(
        std::fs::read_dir(folder.join("attache-data"))
            .unwrap()
            .next()
            .is_none()
    );
    done(&folder, "attache restore /backup/attache");
    refused(
        "attache restore /backup/attache",
        "a restore replaces nothing",
    );
    // Nobody else reads what is secret.
    for file in ["attache.db", "manifest.json"] {
        use std::os::unix::fs::PermissionsExt as _;
        let about = std::fs::metadata(folder.join("backup/attache").join(file)).unwrap();
        assert_eq!(about.permissions().mode() & 0o077, 0, "{file}");
    }
}

#[test]
fn a_link_works_after_a_restore_because_the_backup_holds_the_key_that_seals_the_catalog() {
    let (mut server, token) = start();
    let folder = server.folder.path().to_owned();
    let acknowledged = Acknowledged::default();
    put(&server, &token, &acknowledged, noise(1_000));
    let id = acknowledged.lock().unwrap().keys().next().unwrap().clone();
    let made = server.request(
        "POST",
        &format!("/v1/attachments/{id}/url"),
        &[("authorization", &format!("Bearer {token}"))],
        b"{}",
    );
    assert_eq!(made.status, 200, "{}", made.text());
    let url = made.json()["url"].as_str().unwrap().to_owned();
    let (_, link) = url.split_once(&server.address.to_string()).unwrap();
    assert_eq!(server.request("GET", link, &[], b"").status, 200);
    done(&folder, "attache backup /backup/attache");
    let manifest = std::fs::read_to_string(folder.join("backup/attache/manifest.json")).unwrap();
    assert!(manifest.contains("\"secrets.key\""), "{manifest}");
    server.kill();
    let said = |line: &str| String::from_utf8_lossy(&run(&folder, line).stderr).into_owned();
    // A backup without the key would be good for nothing, and so would the catalog.
    done(&folder, "mv attache-data/secrets.key kept");
    for line in ["attache backup /backup/none", "attache sweep"] {
        let said = said(line);
        assert!(said.contains("secrets.key is missing"), "{line}: {said}");
    }
    assert!(!folder.join("attache-data/secrets.key").exists());
    assert!(!folder.join("backup/none/manifest.json").exists());
    // Another one is not replaced, and this one may stay.
    done(&folder, "rm -r attache-data/attache.db*");
    done(
        &folder,
        "tr a-f0-9 0-9a-f < kept > attache-data/secrets.key",
    );
    let refused = said("attache restore /backup/attache");
    assert!(refused.contains("secrets.key exists"), "{refused}");
    done(&folder, "cp kept attache-data/secrets.key");
    done(&folder, "attache restore /backup/attache");
    done(
        &folder,
        "rm -r attache-data/attache.db* attache-data/secrets.key",
    );
    done(&folder, "attache restore /backup/attache");
    use std::os::unix::fs::PermissionsExt as _;
    for file in ["attache-data/secrets.key", "backup/attache/secrets.key"] {
        let about = std::fs::metadata(folder.join(file)).unwrap();
        assert_eq!(about.permissions().mode() & 0o077, 0, "{file}");
    }
    server.restart(&AUTH);
    assert_eq!(server.request("GET", link, &[], b"").status, 200);
}

/// That had no key that seals, and its restored catalog is sealed with the one that is there.
#[test]
fn a_backup_of_an_earlier_version_is_restored_beside_a_key_that_seals() {
    let (mut server, token) = start();
    let folder = server.folder.path().to_owned();
    let acknowledged = eleven(&server, &token);
    server.kill();
    done(&folder, "attache sweep");
    done(&folder, "mv attache-data/secrets.key kept");
    rusqlite::Connection::open(folder.join("attache-data/attache.db"))
        .and_then(|old| old.execute("UPDATE signing_keys SET key = zeroblob(32)", []))
        .unwrap();
    done(&folder, "attache backup /backup/attache");
    assert!(!folder.join("backup/attache/secrets.key").exists());
    done(
        &folder,
        "rm -r attache-data/attache.db* && mv kept attache-data/secrets.key",
    );
    done(&folder, "attache restore /backup/attache");
    server.restart(&AUTH);
    assert_all_there(&server, &token, &acknowledged);
}

/// Those kept the key of links, and tokens, in files of their own.
#[test]
fn a_backup_with_the_files_of_an_earlier_version_is_restored_and_taken_over() {
    use std::os::unix::fs::PermissionsExt as _;
    let (mut server, token) = start();
    let folder = server.folder.path().to_owned();
    let acknowledged = eleven(&server, &token);
    server.kill();
    let key = folder.join("attache-data/link.key");
    std::fs::write(&key, [7; 32]).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    done(&folder, "attache backup /backup/attache");
    for file in ["attache.db", "link.key", "manifest.json"] {
        let about = std::fs::metadata(folder.join("backup/attache").join(file)).unwrap();
        assert_eq!(about.permissions().mode() & 0o077, 0, "{file}");
    }
    done(&folder, "rm -r attache-data/attache.db*");
    // What an interrupted restore has put back already may stay.
    done(&folder, "attache restore /backup/attache");
    server.restart(&AUTH);
    assert_all_there(&server, &token, &acknowledged);
    let data = folder.join("attache-data");
    assert!(!key.exists() && data.join("link.key.imported").exists());
}

#[test]
fn a_catalog_that_a_crash_left_damaged_is_refused_and_so_is_no_upload_lost_in_it() {
    let (mut server, token) = start();
    let folder = server.folder.path().to_owned();
    let acknowledged = Acknowledged::default();
    for _ in 0..300 {
        put(&server, &token, &acknowledged, noise(10));
    }
    done(&folder, "attache backup /backup/attache");
    for _ in 0..300 {
        put(&server, &token, &acknowledged, noise(10));
    }
    server.kill();
    // What the guide says not to do: the log of one database beside a copy of another state.
    done(
        &folder,
        "cp /backup/attache/attache.db attache-data/attache.db",
    );
    let output = run(&folder, "attache serve --listen 127.0.0.1:0");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(
        said.contains("is damaged") && said.contains("attache restore"),
        "{said}"
    );
}
