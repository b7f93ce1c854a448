//! Uploads of several requests through nginx to three replicas of which one is killed each second, by clients that cut their requests
//! anywhere.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::chaos::{kill, look};
use crate::client::{Random, sha256};
use crate::ground::{Ground, Store};
use crate::pass;
use crate::support::nginx::Nginx;
use crate::support::{Answer, connect, request, try_read_answer};

const CLIENTS: usize = 6;

/// How long one upload may take, whatever is killed meanwhile.
const PATIENCE: Duration = Duration::from_secs(180);

const TUS: &str = "Tus-Resumable: 1.0.0\r\n";

/// What clients saw.
#[derive(Debug, Default)]
struct Seen {
    cut: AtomicU64,
    broken: AtomicU64,
    requests: AtomicU64,
    lost_creations: AtomicU64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_go_on_at_any_replica_whichever_dies_and_come_out_whole() {
    let Some(ground) = Ground::new(Store::Azure).await else {
        return;
    };
    let asked = crate::setting("ATTACHE_TEST_KILLS");
    let kills = asked.unwrap_or(8);
    let uploads = crate::setting("ATTACHE_TEST_UPLOADS").unwrap_or(12);
    let bytes = crate::setting("ATTACHE_TEST_UPLOAD_BYTES").unwrap_or(2_000_000);
    let mut random = Random(crate::seed());
    println!(
        "ATTACHE_TEST_SEED={} kills: {kills}, uploads: {uploads} of {bytes}",
        random.0
    );
    let variables = ground.variables();
    let mut servers = ground.start(3);
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let Some(nginx) = Nginx::before(&addresses, ground.folder.path(), None) else {
        return;
    };
    let (stop, seen, left) = (
        AtomicBool::new(false),
        Seen::default(),
        AtomicU64::new(uploads),
    );
    let done = Mutex::new(BTreeMap::new());
    let began = Instant::now();
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let mut clients = Vec::new();
            for _ in 0..CLIENTS {
                let mut choices = Random(random.next() | 1);
                let (stop, seen, left, done) = (&stop, &seen, &left, &done);
                let address = nginx.address;
                clients.push(scope.spawn(move || {
                    let take = || {
                        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                            n.checked_sub(1)
                        })
                    };
                    // As long as anybody is killed, others go on.
                    while take().is_ok() || !stop.load(Ordering::Relaxed) {
                        let file = noise(bytes, &mut choices);
                        let id = upload(address, &file, &mut choices, seen);
                        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                        done.insert(id, sha256(&file));
                    }
                }));
            }
            let (mut choices, servers) = (Random(random.next() | 1), &mut servers);
            let killer = scope.spawn(move || kill(servers, &variables, kills, &mut choices));
            let killed = killer.join();
            stop.store(true, Ordering::Relaxed);
            for client in clients {
                if let Err(panic) = client.join() {
                    resume_unwind(panic);
                }
            }
            if let Err(panic) = killed {
                resume_unwind(panic);
            }
        });
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{} uploads in {:.1?}; {seen:?}",
        done.len(),
        began.elapsed()
    );
    ground.bury_the_dead(servers.len()).await;
    // What a lost answer has created, nobody knows: it is removed when its time is over.
    ground
        .run("UPDATE attache.attachments SET upload_expires_ms = 1 WHERE state = 'partial'")
        .await;
    ground
        .run("UPDATE attache.uploads SET expires_ms = 1")
        .await;
    tokio::task::block_in_place(|| {
        for server in &servers {
            let swept = server.request("POST", "/v1/admin/sweep", &[], b"");
            assert_eq!(swept.status, 200, "{}", swept.text());
            assert_eq!(swept.json()["failed"], 0, "{}", swept.text());
        }
    });
    ground.await_order(Duration::from_secs(60)).await;
    ground.check_books().await;
    ground.check_store().await;
    for table in ["uploads", "upload_parts"] {
        let rows = ground
            .number(&format!("SELECT count(*) FROM attache.{table}"))
            .await;
        assert_eq!(rows, 0, "{table}");
    }
    let there = tokio::task::block_in_place(|| look(&servers[0]));
    assert_eq!(there, done);
    assert!(done.len() as u64 >= uploads);
    assert!(seen.cut.load(Ordering::Relaxed) > 0, "{seen:?}");
}

/// One whole answer, or none.
fn ask(address: SocketAddr, seen: &Seen, bytes: &[u8]) -> Option<Answer> {
    seen.requests.fetch_add(1, Ordering::Relaxed);
    let mut stream = connect(address);
    let sent = stream.write_all(bytes);
    let answer = try_read_answer(&mut stream).ok();
    let answer = answer.filter(|answer| !answer.truncated);
    if sent.is_err() || answer.is_none() {
        seen.broken.fetch_add(1, Ordering::Relaxed);
    }
    answer
}

/// Uploads `file` as clients do: asks where it is, sends from there, and begins again when nobody answers.
fn upload(address: SocketAddr, file: &[u8], random: &mut Random, seen: &Seen) -> String {
    let until = Instant::now() + PATIENCE;
    let length = file.len().to_string();
    let headers = [
        ("Tus-Resumable", "1.0.0"),
        ("Upload-Length", length.as_str()),
    ];
    let path = loop {
        assert!(Instant::now() < until, "no creation was answered");
        match ask(
            address,
            seen,
            &request("x", "POST", "/v1/uploads", &headers, b""),
        ) {
            Some(created) if created.status == 201 => {
                let location = created.header("location").unwrap();
                break location[location.find("/v1/").unwrap()..].to_owned();
            }
            other => {
                judge("POST", other.as_ref());
                seen.lost_creations.fetch_add(1, Ordering::Relaxed);
                pass(Duration::from_millis(50));
            }
        }
    };
    loop {
        assert!(Instant::now() < until, "{path} did not come to its end");
        let asked = ask(
            address,
            seen,
            &request("x", "HEAD", &path, &headers[..1], b""),
        );
        let Some(told) = asked.filter(|told| told.status == 200) else {
            pass(Duration::from_millis(50));
            continue;
        };
        let offset: usize = told.header("upload-offset").unwrap().parse().unwrap();
        if offset == file.len() {
            return path.rsplit('/').next().unwrap().to_owned();
        }
        let rest = &file[offset..];
        let head = format!(
            "PATCH {path} HTTP/1.1\r\nHost: x\r\n{TUS}Connection: close\r\nContent-Type: application/offset+octet-stream\r\n\
             Upload-Offset: {offset}\r\nContent-Length: {}\r\n\r\n",
            rest.len()
        );
        // Three of four requests are cut somewhere.
        if random.below(4) == 0 {
            let whole = [head.as_bytes(), rest].concat();
            judge("PATCH", ask(address, seen, &whole).as_ref());
        } else {
            let some = usize::try_from(random.below(rest.len() as u64)).unwrap();
            let mut stream = connect(address);
            let _ = stream.write_all(&[head.as_bytes(), &rest[..some]].concat());
            seen.cut.fetch_add(1, Ordering::Relaxed);
            // Half of them leave their connection open, as a network that went away does.
            if random.below(2) == 0 {
                pass(Duration::from_millis(random.below(30)));
                std::mem::forget(stream);
            }
        }
    }
}

/// An answer from which a client would draw the wrong conclusion.
fn judge(method: &str, answer: Option<&Answer>) {
    let Some(answer) = answer else { return };
    let fine = matches!(answer.status, 201 | 204 | 409 | 500..=599);
    assert!(fine, "{method}: {} {}", answer.status, answer.text());
}

fn noise(length: u64, random: &mut Random) -> Vec<u8> {
    let words = (0..length.div_ceil(8)).map(|_| random.next().to_le_bytes());
    let mut bytes: Vec<u8> = words.flatten().collect();
    bytes.truncate(usize::try_from(length).unwrap());
    bytes
}
