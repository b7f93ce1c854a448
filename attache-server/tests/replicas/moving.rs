//! A replica that dies while bytes are brought into another store.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::chaos::look;
use crate::client::{Ledger, Random, load};
use crate::ground::{Ground, Store};
use crate::support::{Server, Stop, command, noise};

/// How often it is killed.
const KILLS: usize = 4;

/// Attachments that must move between two events.
const MOVED: usize = 5;

/// Attachments that are read all the time, and never deleted.
const KEPT: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_dies_during_a_move_fails_no_read_of_the_others_and_loses_nothing() {
    let Some(mut ground) = Ground::new(Store::Azure).await else {
        return;
    };
    let old = ground.folder.path().join("old").display().to_string();
    ground.set("ATTACHE_STORAGE__BACKEND", "local");
    ground.set("ATTACHE_STORAGE__LOCAL__ROOT", old.clone());
    let mut servers = ground.start(3);
    let mut random = Random(crate::seed());
    println!("ATTACHE_TEST_SEED={}", random.0);
    let kept: Vec<(String, Vec<u8>)> = tokio::task::block_in_place(|| {
        let sizes = (0..KEPT).map(|at| 40_000 + 1000 * at);
        let stored = sizes.map(|size| {
            let bytes = noise(size);
            let made = servers[0].put("filename=a.bin", "application/octet-stream", &bytes);
            (made["id"].as_str().unwrap().to_owned(), bytes)
        });
        stored.collect()
    });
    ground.set("ATTACHE_STORAGE__BACKEND", "azure");
    ground.set("ATTACHE_STORAGE__MOVING_FROM__BACKEND", "local");
    ground.set("ATTACHE_STORAGE__MOVING_FROM__LOCAL__ROOT", old);
    let variables = ground.variables();
    let all = variables.all();
    let (ledger, stop, reads) = (Ledger::default(), AtomicBool::new(false), AtomicU64::new(0));
    tokio::task::block_in_place(|| {
        for server in &mut servers {
            server.restart_there(&all);
        }
        let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
        let (living, victim) = servers.split_at_mut(2);
        std::thread::scope(|scope| {
            let stopping = Stop(&stop);
            for address in addresses {
                let mut choices = Random(random.next() | 1);
                let (ledger, stop) = (&ledger, &stop);
                scope.spawn(move || {
                    // It gives up whenever nobody answers it.
                    while !stop.load(Ordering::Relaxed) {
                        load(address, choices.next(), ledger, stop);
                    }
                });
            }
            for server in &*living {
                let (kept, stop, reads) = (&kept, &stop, &reads);
                scope.spawn(move || read(server, kept, stop, reads));
            }
            let mut mover = command(ground.folder.path(), &all)
                .args(["move", "--rate", "1MB/s"])
                .env("ATTACHE_LOG", "attache::service::moving=debug")
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let said = BufReader::new(mover.stderr.take().unwrap()).lines();
            let mut said = said.map_while(Result::ok);
            let mut moves = || {
                let moved = said.by_ref().filter(|line| line.contains("moved"));
                assert_eq!(moved.take(MOVED).count(), MOVED, "it ended too soon");
            };
            for _ in 0..KILLS {
                moves();
                victim[0].kill();
                moves();
                victim[0].restart_there(&all);
            }
            let rest: Vec<String> = said.collect();
            let ended = mover.wait().unwrap();
            assert_eq!(ended.code(), Some(0), "{}", rest.join("\n"));
            drop(stopping);
        });
    });
    assert!(reads.load(Ordering::Relaxed) > 100, "{reads:?}");
    ground.bury_the_dead(servers.len()).await;
    ground.await_order(Duration::from_secs(60)).await;
    ground.check_books().await;
    tokio::task::block_in_place(|| {
        for server in &servers {
            let swept = server.request("POST", "/v1/admin/sweep", &[], b"");
            assert_eq!(swept.json()["failed"], 0, "{}", swept.text());
        }
        let run = |variables: &[(&str, &str)], arguments: &[&str]| {
            let mut command = command(ground.folder.path(), variables);
            let output = command.args(arguments).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
            String::from_utf8(output.stdout).unwrap()
        };
        run(&all, &["move", "--finish"]);
        // Without the old store nothing is missed.
        let alone: Vec<(&str, &str)> = all
            .iter()
            .copied()
            .filter(|(name, _)| !name.contains("MOVING_FROM"))
            .collect();
        for server in &mut servers {
            server.restart_there(&alone);
        }
        assert_eq!(run(&alone, &["verify", "--deep", "--json"]), "");
        let mut there = look(&servers[0]);
        assert_eq!(look(&servers[2]), there, "the replicas agree");
        for (id, bytes) in &kept {
            let digest = there.remove(id);
            assert_eq!(digest, Some(crate::client::sha256(bytes)), "{id}");
        }
        let broken = ledger.settle(&there);
        let counts = ledger.counts();
        println!("{broken} never acknowledged; {reads:?} reads; {counts:?}");
        assert_eq!((counts.refused, counts.away), (0, 0), "{counts:?}");
        assert!(counts.uploads > 0 && counts.deletions > 0, "{counts:?}");
    });
    ground.check_store().await;
    ground.check_books().await;
}

/// Reads one after another until it is told to stop: each is there, and whole.
fn read(server: &Server, kept: &[(String, Vec<u8>)], stop: &AtomicBool, reads: &AtomicU64) {
    let mut at = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        at = at.wrapping_mul(31).wrapping_add(17);
        let (id, bytes) = &kept[at % kept.len()];
        let answer = server.get(&format!("/attachment/{id}"));
        assert_eq!(answer.status, 200, "{id}: {}", answer.text());
        assert!(answer.body == *bytes, "{id} has other bytes");
        reads.fetch_add(1, Ordering::Relaxed);
    }
}
