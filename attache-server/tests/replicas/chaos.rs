//! Three replicas behind nginx under a mixed load. Each second one of them is killed; now and then the database is.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::client::{Ledger, Random, load, sha256};
use crate::ground::{Ground, Store, Variables};
use crate::pass;
use crate::support::nginx::Nginx;
use crate::support::{Server, Stop, command};

/// Clients at a time.
const CLIENTS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_shared_folder_nothing_is_lost_when_replicas_and_database_die() {
    survive(Store::Local).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_azure_nothing_is_lost_when_replicas_and_database_die() {
    survive(Store::Azure).await;
}

async fn survive(store: Store) {
    let Some(mut ground) = Ground::new(store).await else {
        return;
    };
    // A run that is asked for takes its time: the dead are dead when the others find it out.
    let asked = crate::setting("ATTACHE_TEST_KILLS");
    let kills = asked.unwrap_or(12);
    let outages = u32::try_from(kills / 40).unwrap().clamp(2, 5);
    let mut random = Random(crate::seed());
    println!("{store:?}: ATTACHE_TEST_SEED={} kills: {kills}", random.0);
    let variables = ground.variables();
    let mut servers = ground.start(3);
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let Some(nginx) = Nginx::before(&addresses, ground.folder.path(), None) else {
        return;
    };
    let (ledger, stop, began) = (Ledger::default(), AtomicBool::new(false), Instant::now());
    let runtime = tokio::runtime::Handle::current();
    let failed_starts = tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let stopping = Stop(&stop);
            for _ in 0..CLIENTS {
                let mut choices = Random(random.next() | 1);
                let (ledger, stop, nginx) = (&ledger, &stop, &nginx);
                scope.spawn(move || {
                    // It gives up whenever nobody answers it.
                    while !stop.load(Ordering::Relaxed) {
                        load(nginx.address, choices.next(), ledger, stop);
                    }
                });
            }
            let (mut choices, servers) = (Random(random.next() | 1), &mut servers);
            let killer = scope.spawn(move || kill(servers, &variables, kills, &mut choices));
            let between = Duration::from_secs(kills) / (outages + 1);
            for _ in 0..outages {
                let down = Duration::from_millis(500 + random.below(2_000));
                pass(between.saturating_sub(down));
                ground.postgres.stop_immediately();
                pass(down);
                runtime.block_on(ground.postgres.start_again());
            }
            let killed = killer.join();
            drop(stopping);
            killed.unwrap_or_else(|panic| resume_unwind(panic))
        })
    });
    let ran = began.elapsed();
    if asked.is_none() {
        ground.bury_the_dead(servers.len()).await;
    }
    let order = ground.await_order(Duration::from_secs(60)).await;
    ground.check_books().await;
    ground.age_facts();
    let (there, broken) = tokio::task::block_in_place(|| {
        for server in &servers {
            let swept = server.request("POST", "/v1/admin/sweep", &[], b"");
            assert_eq!(swept.status, 200, "{}", swept.text());
            assert_eq!(swept.json()["failed"], 0, "{}", swept.text());
        }
        let there = look(&servers[0]);
        for server in &servers[1..] {
            assert_eq!(look(server), there, "the replicas agree");
        }
        verify(&ground, there.len());
        let broken = ledger.settle(&there);
        (there, broken)
    });
    ground.check_store().await;
    ground.check_books().await;
    let counts = ledger.counts();
    println!(
        "{store:?}: {kills} kills and {outages} outages in {ran:.1?}, in order {order:.1?} later; {} are there, {broken} of them never \
         acknowledged; {counts:?}; {} processes, {failed_starts} starts failed",
        there.len(),
        ground.workers().await
    );
    assert_eq!(counts.refused, 0, "nothing else is refused");
    assert!(counts.uploads > kills && counts.deletions > 0, "{counts:?}");
    assert!(counts.reads > 0 && counts.listings > 0, "{counts:?}");
}

/// Kills one each second, and starts it again a little later; how many starts failed.
pub(crate) fn kill(
    servers: &mut [Server],
    variables: &Variables,
    kills: u64,
    random: &mut Random,
) -> u64 {
    let variables = variables.all();
    let mut failed = 0;
    for _ in 0..kills {
        let next = Instant::now() + Duration::from_secs(1);
        let victim = usize::try_from(random.below(servers.len() as u64)).unwrap();
        pass(Duration::from_millis(random.below(300)));
        servers[victim].kill();
        pass(Duration::from_millis(random.below(300)));
        failed += servers[victim].restart_there(&variables);
        pass(next.saturating_duration_since(Instant::now()));
    }
    failed
}

/// What is there by one of them, ids with digests, each read whole.
pub(crate) fn look(server: &Server) -> BTreeMap<String, String> {
    let mut there = BTreeMap::new();
    let mut after = String::new();
    loop {
        let page = server.get(&format!("/v1/attachments?limit=1000{after}"));
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.json();
        for row in page["items"].as_array().unwrap() {
            let (id, digest) = (row["id"].as_str().unwrap(), row["sha256"].as_str().unwrap());
            let whole = server.get(&format!("/download/{id}"));
            assert_eq!((whole.status, whole.truncated), (200, false), "{id}");
            assert_eq!(sha256(&whole.body), digest, "{id}");
            there.insert(id.to_owned(), digest.to_owned());
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return there,
        }
    }
}

/// `attache verify --deep`, beside the replicas.
fn verify(ground: &Ground, rows: usize) {
    let output = command(ground.folder.path(), &ground.variables().all())
        .args(["verify", "--deep", "--json"])
        .output()
        .unwrap();
    let found = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*found), (Some(0), ""), "{said}");
    let expected = format!("verified {rows} attachment");
    assert!(said.contains(&expected), "{said}");
}
