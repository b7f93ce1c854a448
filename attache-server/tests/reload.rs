//! What a reload of the running server may do: never open what was closed, nor move the bytes because a file was cut short.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::{Server, command};

const WHOLE: &str = "[auth]\nmode = [\"token\"]\n[upload]\nmax_file_bytes = 1000\n[storage.local]\nroot = \"files\"\n";

struct World {
    server: Server,
    file: PathBuf,
    token: String,
}

impl World {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("attache.toml");
        std::fs::write(&file, WHOLE).unwrap();
        let made = command(folder.path(), &[])
            .args([
                "token",
                "create",
                "--name",
                "t",
                "--scope",
                "read,write,delete,admin",
            ])
            .args(["--owner", "*", "--config", "attache.toml"])
            .output()
            .unwrap();
        let token = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        let server = Server::start_in(folder, &[], &["--config", "attache.toml"]);
        Self {
            server,
            file,
            token,
        }
    }

    fn admin(&self, method: &str, target: &str) -> support::Answer {
        let bearer = format!("Bearer {}", self.token);
        self.server
            .request(method, target, &[("authorization", &bearer)], b"")
    }

    fn status(&self) -> serde_json::Value {
        self.admin("GET", "/v1/status").json()
    }

    fn stranger_is_refused(&self, what: &str) {
        self.server
            .get("/v1/attachments")
            .assert_problem(401, "unauthorized", what);
    }

    /// Waits until the watcher has said something about the file that is there now.
    fn await_error(&self, why: &str) {
        let start = Instant::now();
        loop {
            let status = self.status();
            let error = &status["configuration"]["last_reload"]["error"];
            if error.as_str().is_some_and(|error| error.contains(why)) {
                return;
            }
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{why}: {status:#}"
            );
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}

fn write(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap();
}

#[test]
fn a_stranger_stays_a_stranger_wherever_the_file_is_cut() {
    let world = World::start();
    for cut in (0..WHOLE.len()).rev() {
        write(&world.file, &WHOLE[..cut]);
        // As often as not somebody's script says so.
        let answer = world.admin("POST", "/v1/admin/reload");
        world.stranger_is_refused(&format!("cut at {cut}: {}", answer.text()));
    }
    write(&world.file, WHOLE);
    assert_eq!(world.admin("POST", "/v1/admin/reload").status, 200);
}

#[test]
fn the_watcher_takes_no_file_that_was_cut_short() {
    let world = World::start();
    for (text, why) in [
        ("", "file is empty"),
        (&WHOLE[..WHOLE.find("[storage").unwrap()], "cut short"),
        (&WHOLE[..WHOLE.find("0\n[storage").unwrap()], "cut short"),
        (
            "[auth]\nmode = [\"token\"]\n[storage.local]\nroot = \"files\"\n# Rewritten.\n",
            "upload.max_file_bytes is no longer in the file",
        ),
        (
            &WHOLE.replace("\"files\"", "\"elsewhere\""),
            "storage.local.root has changed",
        ),
    ] {
        write(&world.file, text);
        world.await_error(why);
        world.stranger_is_refused(why);
    }
    assert_eq!(world.status()["configuration"]["generation"], 1);
    assert!(!world.server.folder.path().join("elsewhere").exists());
    // What takes nothing away is taken by itself.
    write(&world.file, &WHOLE.replace("1000", "2000"));
    let start = Instant::now();
    while world.status()["configuration"]["generation"] != 2 {
        assert!(start.elapsed() < Duration::from_secs(20));
    }
    assert!(world.status()["configuration"]["last_reload"]["error"].is_null());
}

#[test]
fn somebody_who_asks_may_move_the_store_but_not_open_the_server() {
    let world = World::start();
    write(&world.file, &WHOLE.replace("\"files\"", "\"elsewhere\""));
    let report = world.admin("POST", "/v1/admin/reload").json();
    assert_eq!(report["rebuilt"][0], "storage", "{report}");
    write(&world.file, &WHOLE.replace("token", "open"));
    let answer = world.admin("POST", "/v1/admin/reload");
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("would become"), "{}", answer.text());
    world.stranger_is_refused("open is not for reloads");
}

#[test]
fn a_configuration_that_failed_for_a_passing_reason_is_tried_again() {
    let world = World::start();
    let blocked = world.server.folder.path().join("blocked");
    std::fs::write(&blocked, "a file, where a folder is wanted").unwrap();
    write(
        &world.file,
        &WHOLE.replace("\"files\"", "\"blocked/files\""),
    );
    let answer = world.admin("POST", "/v1/admin/reload");
    assert_eq!(answer.status, 422, "{}", answer.text());
    std::fs::remove_file(&blocked).unwrap();
    let start = Instant::now();
    while world.status()["configuration"]["generation"] != 2 {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{:#}",
            world.status()
        );
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

#[test]
fn health_says_when_the_server_is_open() {
    let server = Server::start(&[]);
    let health = server.get("/v1/status").json()["health"].clone();
    assert_eq!(health["level"], "ok");
    let sentence = health["sentence"].as_str().unwrap();
    assert!(sentence.contains("The server is open"), "{sentence}");
    assert!(health["advice"].as_str().unwrap().contains("auth.mode"));
    let world = World::start();
    let sentence = world.status()["health"]["sentence"].clone();
    assert_eq!(sentence, "All is well.");
}
