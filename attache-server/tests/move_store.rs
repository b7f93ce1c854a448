//! `attache move` beside a server that is used: no read fails, and nothing is lost, whoever is killed when.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(
    clippy::print_stdout,
    reason = "the measurement that is run by hand prints"
)]

#[path = "move_store/measured.rs"]
mod measured;
mod support;
#[path = "move_store/used.rs"]
mod used;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fake_azure::FakeAzure;
use support::{Server, Stop, borrowed, command, noise, on_azure};

/// An attachment, and what it must read as.
struct Kept {
    id: String,
    bytes: Vec<u8>,
}

/// Local disk, or the stand-in, as the store; the other one as that which is emptied into it.
fn variables(azure: &FakeAzure, folder: &Path, to: &str) -> Vec<(String, String)> {
    let own = |(name, value): (&str, String)| (name.to_owned(), value);
    let azure: Vec<(String, String)> = on_azure(azure, folder).into_iter().map(own).collect();
    let of = |name: &str| {
        let found = azure.iter().find(|(variable, _)| variable == name);
        found.map(|(_, value)| value.clone()).unwrap()
    };
    let mut all: Vec<(String, String)> = azure
        .iter()
        .filter(|(name, _)| name != "ATTACHE_STORAGE__BACKEND" || to == "azure")
        .cloned()
        .collect();
    all.push(("ATTACHE_DELIVERY__MODE".to_owned(), "relay".to_owned()));
    // What somebody writes who has exchanged the sections.
    let from = match to {
        "azure" => "[storage.moving_from]\nbackend = \"local\"\n".to_owned(),
        _ => format!(
            "[storage.moving_from]\nbackend = \"azure\"\n[storage.moving_from.azure]\naccount = \"{}\"\ncontainer = \"{}\"\n\
             endpoint = \"{}\"\nauthority_host = \"{}\"\ntenant_id = \"{}\"\nclient_id = \"{}\"\nclient_secret = \"{}\"\n\
             ca_file = \"{}\"\n",
            of("AZURE_STORAGE_ACCOUNT_NAME"),
            of("AZURE_STORAGE_CONTAINER_NAME"),
            of("ATTACHE_STORAGE__AZURE__ENDPOINT"),
            of("AZURE_AUTHORITY_HOST"),
            of("AZURE_TENANT_ID"),
            of("AZURE_CLIENT_ID"),
            of("AZURE_CLIENT_SECRET"),
            of("ATTACHE_STORAGE__AZURE__CA_FILE"),
        ),
    };
    let file = folder.join(format!("to-{to}.toml"));
    std::fs::write(&file, from).unwrap();
    all.push((
        "ATTACHE_CONFIG".to_owned(),
        file.to_str().unwrap().to_owned(),
    ));
    all
}

fn mover(folder: &Path, variables: &[(String, String)], arguments: &[&str]) -> Command {
    let mut command = command(folder, &borrowed(variables));
    command.arg("move").args(arguments);
    command
}

/// Reads attachments one after another until it is told to stop, and uploads some meanwhile, which it returns.
fn load(server: &Server, kept: &[Kept], stop: &AtomicBool, reads: &AtomicU64) -> Vec<Kept> {
    let mut added = Vec::new();
    let mut at = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        at = at.wrapping_mul(31).wrapping_add(17);
        let one = &kept[at % kept.len()];
        let answer = server.get(&format!("/attachment/{}", one.id));
        assert_eq!(answer.status, 200, "{}: {}", one.id, answer.text());
        assert!(answer.body == one.bytes, "{} has other bytes", one.id);
        if reads.fetch_add(1, Ordering::Relaxed) % 20 == 19 && added.len() < 30 {
            added.push(stored(server, noise(3000 + at % 1000)));
        }
    }
    added
}

fn stored(server: &Server, bytes: Vec<u8>) -> Kept {
    let made = server.put("filename=a.bin", "application/octet-stream", &bytes);
    let id = made["id"].as_str().unwrap().to_owned();
    Kept { id, bytes }
}

/// SIGKILL, when it has said of so many attachments that they have moved.
fn kill_after(mut mover: Command, moved: usize) {
    mover.env("ATTACHE_LOG", "attache::service::moving=debug");
    let mut child = mover.stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(child.stderr.take().unwrap()).lines();
    let moves = said
        .map_while(Result::ok)
        .filter(|line| line.contains("moved"));
    assert_eq!(moves.take(moved).count(), moved, "it ended too soon");
    child.kill().unwrap();
    child.wait().unwrap();
}

async fn azure() -> FakeAzure {
    let azure = FakeAzure::builder().container("files").secret("a-secret");
    azure.start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_there_and_back_under_load_whose_mover_is_killed_again_and_again_loses_nothing() {
    let azure = azure().await;
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(folder, &[], &[]);
    let mut kept = Vec::new();
    for at in 0..360_usize {
        // From a kilobyte to twelve megabytes, most of them small.
        let size = match at % 120 {
            119 => 12 * 1024 * 1024 + at,
            59 => 300_000 + at,
            _ => 1000 + at,
        };
        kept.push(stored(&server, noise(size)));
    }
    for to in ["azure", "local"] {
        let folder = server.folder.path().to_owned();
        let variables = variables(&azure, &folder, to);
        server.restart(&borrowed(&variables));
        let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));
        let added = std::thread::scope(|scope| {
            let readers = [0; 2].map(|_| scope.spawn(|| load(&server, &kept, &stop, &reads)));
            let stopping = Stop(&stop);
            // So slow that it cannot end, as it notes and says what came within 100 ms; each time it is killed it has come somewhere else.
            for killed in 0..20 {
                kill_after(
                    mover(&folder, &variables, &["--rate", "100KB/s"]),
                    killed / 4 + 1,
                );
            }
            let moved = mover(&folder, &variables, &["--json"]).output().unwrap();
            let told = String::from_utf8_lossy(&moved.stderr).into_owned();
            assert_eq!(moved.status.code(), Some(0), "{told}");
            let totals = String::from_utf8_lossy(&moved.stdout);
            let totals: serde_json::Value = serde_json::from_str(totals.trim()).unwrap();
            assert_eq!(totals["left"], 0, "{totals}");
            let finished = mover(&folder, &variables, &["--finish"]).output().unwrap();
            let told = String::from_utf8_lossy(&finished.stderr).into_owned();
            assert_eq!(finished.status.code(), Some(0), "{told}");
            assert!(told.contains("take storage.moving_from out"), "{told}");
            drop(stopping);
            readers.map(|reader| reader.join().unwrap())
        });
        assert!(reads.load(Ordering::Relaxed) > 20, "nobody read");
        kept.extend(added.into_iter().flatten());
        // Without the old store nothing is missed.
        let alone: Vec<(String, String)> = variables
            .into_iter()
            .filter(|(name, _)| name != "ATTACHE_CONFIG")
            .collect();
        server.restart(&borrowed(&alone));
        for one in &kept {
            let answer = server.get(&format!("/attachment/{}", one.id));
            assert_eq!(answer.status, 200, "{to}: {}", answer.text());
            assert!(answer.body == one.bytes, "{to}: {}", one.id);
        }
        let verified = command(&folder, &borrowed(&alone))
            .args(["verify", "--deep"])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&verified.stderr).into_owned();
        assert_eq!(verified.status.code(), Some(0), "{told}");
        if to == "azure" {
            // So that the way back has something to bring.
            std::fs::remove_dir_all(folder.join("attache-data/objects")).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_not_done_says_so_and_how_to_go_on() {
    let azure = azure().await;
    let mut server = Server::start(&[]);
    let one = stored(&server, noise(1000));
    let folder = server.folder.path().to_owned();
    let nothing = mover(&folder, &[], &[]).output().unwrap();
    let told = String::from_utf8_lossy(&nothing.stderr).into_owned();
    assert_eq!(nothing.status.code(), Some(2), "{told}");
    assert!(told.contains("storage.moving_from is not set"), "{told}");
    let variables = variables(&azure, &folder, "azure");
    server.restart(&borrowed(&variables));
    let looked = mover(&folder, &variables, &["--finish", "--json"])
        .output()
        .unwrap();
    assert_eq!(looked.status.code(), Some(1));
    let out = String::from_utf8_lossy(&looked.stdout).into_owned();
    let first: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!(
        (first["id"].as_str(), first["outcome"].as_str()),
        (Some(&*one.id), Some("not_moved"))
    );
    let told = String::from_utf8_lossy(&looked.stderr).into_owned();
    assert!(told.contains("run `attache move`"), "{told}");
    for wrong in [["--rate", "0"], ["--rate", "fast"]] {
        let misused = mover(&folder, &variables, &wrong).output().unwrap();
        assert_eq!(misused.status.code(), Some(2), "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_a_move_is_is_told_by_a_server_also_when_its_mover_was_killed() {
    let azure = azure().await;
    let mut server = Server::start(&[]);
    for _ in 0..12 {
        stored(&server, noise(50_000));
    }
    let folder = server.folder.path().to_owned();
    let variables = variables(&azure, &folder, "azure");
    server.restart(&borrowed(&variables));
    let moving = || server.get("/v1/status").json()["storage"]["moving"].clone();
    let objects =
        |state: &str| server.figure(&format!("attache_move_objects{{state=\"{state}\"}}"));
    assert!(moving()["objects"].is_null(), "{}", moving());
    kill_after(mover(&folder, &variables, &["--rate", "200KB/s"]), 3);
    let told = moving();
    let moved = told["objects"].as_u64().unwrap();
    assert!((1..=11).contains(&moved), "{told}");
    assert_eq!(told["total_objects"], 12, "{told}");
    assert_eq!((objects("moved"), objects("left")), (moved, 12 - moved));
    let status = server.get("/v1/status").json();
    let sentence = status["health"]["sentence"].as_str().unwrap();
    assert!(
        sentence.contains(&format!("{moved} of 12 objects")),
        "{sentence}"
    );
    let done = mover(&folder, &variables, &[]).output().unwrap();
    assert_eq!(done.status.code(), Some(0));
    assert_eq!((objects("moved"), objects("left")), (12, 0));
    assert_eq!(moving()["bytes"], 600_000, "{}", moving());
    assert!(server.figure("attache_move_changed_timestamp_seconds") > 1_700_000_000);
}
