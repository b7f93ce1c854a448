//! A replica is stopped in the middle of uploads until the others take it for dead, and then goes on.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::time::Duration;

use crate::client::{Random, sha256};
use crate::ground::{Ground, Store};
use crate::pass;
use crate::support::{Answer, Server, connect, try_read_answer};

/// Uploads that are under way when it is stopped.
const UPLOADS: usize = 8;

/// Longer than it takes until a replica counts as dead, and until another one looks.
const PAUSE: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_shared_folder_uploads_of_a_replica_that_was_stopped_are_whole_or_nothing() {
    survive(Store::Local).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_azure_uploads_of_a_replica_that_was_stopped_are_whole_or_nothing() {
    survive(Store::Azure).await;
}

async fn survive(store: Store) {
    let Some(ground) = Ground::new(store).await else {
        return;
    };
    let asked = crate::setting("ATTACHE_TEST_PAUSES");
    let rounds = asked.unwrap_or(4);
    let mut random = Random(crate::seed());
    println!("{store:?}: ATTACHE_TEST_SEED={} pauses: {rounds}", random.0);
    let servers = ground.start(3);
    let mut whole = BTreeMap::new();
    let mut failed = 0;
    for round in 0..rounds {
        let pause = match asked {
            Some(_) => Pause::InRealTime,
            None if round % 2 == 0 => Pause::UntilTakenOver,
            None => Pause::IntoTheTakeOver,
        };
        let before = whole.len();
        for (answer, sha) in one_round(&ground, &servers, pause, &mut random) {
            match answer {
                Ok(answer) if answer.status == 201 => {
                    let json = answer.json();
                    assert_eq!(json["sha256"], sha, "{json:#}");
                    whole.insert(json["id"].as_str().unwrap().to_owned(), sha);
                }
                Ok(answer) => {
                    assert!(answer.status >= 400, "{}", answer.text());
                    failed += 1;
                }
                Err(_) => failed += 1,
            }
        }
        println!(
            "{store:?}: round {round}, {pause:?}: {} of {UPLOADS} were stored",
            whole.len() - before
        );
        // Whatever it was, it was by one of them alone.
        ground.await_order(Duration::from_secs(60)).await;
        ground.check_books().await;
        tokio::task::block_in_place(|| {
            for (id, sha) in &whole {
                for server in &servers {
                    let read = server.get(&format!("/attachment/{id}"));
                    assert_eq!(
                        (read.status, sha256(&read.body)),
                        (200, sha.clone()),
                        "{id}"
                    );
                }
            }
        });
    }
    ground.age_facts();
    tokio::task::block_in_place(|| sweep(&servers));
    ground.check_store().await;
    println!("{store:?}: {} uploads stored, {failed} failed", whole.len());
}

/// How long it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    /// Until the others have taken over what it worked on.
    UntilTakenOver,
    /// It goes on while they do.
    IntoTheTakeOver,
    /// As long as it takes by itself.
    InRealTime,
}

/// What came of each upload, and its digest.
type Outcomes = Vec<(Result<Answer, String>, String)>;

fn one_round(ground: &Ground, servers: &[Server], pause: Pause, random: &mut Random) -> Outcomes {
    let runtime = tokio::runtime::Handle::current();
    let (victim, others) = servers.split_first().unwrap();
    let stopped = Barrier::new(UPLOADS + 1);
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let uploads: Vec<_> = (0..UPLOADS)
                .map(|_| {
                    let (seed, stopped, to) = (random.next(), &stopped, victim.address);
                    scope.spawn(move || upload(to, seed, stopped))
                })
                .collect();
            let begun = runtime.block_on(await_uploads(ground));
            victim.signal("STOP");
            // Some of them are all there now, and some are whole in the store already.
            stopped.wait();
            assert!(begun, "not all of them have begun");
            match pause {
                Pause::InRealTime => pass(PAUSE),
                Pause::UntilTakenOver => {
                    runtime.block_on(take_for_dead(ground));
                    sweep(others);
                }
                Pause::IntoTheTakeOver => {
                    runtime.block_on(take_for_dead(ground));
                    let moment = Duration::from_micros(random.below(20_000));
                    let sweeping = scope.spawn(|| sweep(others));
                    pass(moment);
                    victim.signal("CONT");
                    sweeping.join().unwrap();
                }
            }
            victim.signal("CONT");
            uploads.into_iter().map(|one| one.join().unwrap()).collect()
        })
    })
}

/// Sends a part, and when the replica was stopped the rest.
fn upload(to: SocketAddr, seed: u64, stopped: &Barrier) -> (Result<Answer, String>, String) {
    let mut random = Random(seed | 1);
    let mut bytes = vec![0; 100_000 + usize::try_from(random.below(300_000)).unwrap()];
    bytes.fill_with(|| random.next().to_le_bytes()[3]);
    let sha = sha256(&bytes);
    let mut stream = connect(to);
    let head = format!(
        "POST /v1/attachments?filename=a.bin HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: \
         application/octet-stream\r\ncontent-length: {}\r\n\r\n",
        bytes.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // Now and then all but the last byte, so that it ends as soon as it may.
    let first = match random.below(3) {
        0 => bytes.len() - 1,
        _ => 70_000 + usize::try_from(random.below(30_000)).unwrap(),
    };
    stream.write_all(&bytes[..first]).unwrap();
    stopped.wait();
    let sent = stream.write_all(&bytes[first..]);
    let answer = sent
        .map_err(|error| error.to_string())
        .and_then(|()| try_read_answer(&mut stream));
    (answer, sha)
}

/// Whether all of them have their rows.
async fn await_uploads(ground: &Ground) -> bool {
    let begun = async {
        let sql = "SELECT count(*) FROM attache.attachments WHERE state = 'pending'";
        while ground.number(sql).await < i64::try_from(UPLOADS).unwrap() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, begun).await.is_ok()
}

/// As if a quarter of a minute had passed, in which all others were seen.
async fn take_for_dead(ground: &Ground) {
    ground
        .run(
            "UPDATE attache.workers SET alive_since = alive_since - interval '1 min'; \
             UPDATE attache.workers SET seen_at = seen_at - interval '16 s'
             WHERE id IN (SELECT worker FROM attache.attachments WHERE state = 'pending')",
        )
        .await;
}

fn sweep(servers: &[Server]) {
    std::thread::scope(|scope| {
        for server in servers {
            scope.spawn(|| {
                let swept = server.request("POST", "/v1/admin/sweep", &[], b"");
                assert_eq!(swept.status, 200, "{}", swept.text());
            });
        }
    });
}
