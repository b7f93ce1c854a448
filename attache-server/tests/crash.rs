//! The real server, killed at random moments under mixed load, started again and swept: what was acknowledged is there
//! and whole, what was not is gone or whole, what was deleted is gone, and nothing else lies about.
//!
//! `ATTACHE_TEST_KILLS` sets how often it is killed (20), `ATTACHE_TEST_SEED` repeats the choices of a run; its moments
//! are those of the clock.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(
    clippy::print_stdout,
    reason = "`--nocapture` shows the seed and the figures"
)]

#[path = "crash/client.rs"]
mod client;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use client::{Ledger, Random, load};
use fake_azure::FakeAzure;
use fake_s3::{Dialect, FakeS3, Op};
use serde_json::Value;
use support::{Server, command, files_below};

/// Clients at a time.
const CLIENTS: usize = 6;

/// The server runs this long, at most, before it is killed.
const LONGEST_LIFE: Duration = Duration::from_millis(400);

/// The same where files are so large that they take longer.
const LONG_LIFE: Duration = Duration::from_millis(2000);

#[test]
fn local_storage_survives_sigkill_at_any_moment() {
    let variables = [
        ("ATTACHE_UPLOAD__BLOCK_BYTES", "64KiB"),
        ("ATTACHE_UPLOAD__TOTAL_BYTES", "10GiB"),
    ];
    let ledger = Ledger::default();
    survive("local", ledger, LONGEST_LIFE, &variables, |folder, rows| {
        let objects = folder.join("attache-data/objects");
        let root = objects.display().to_string();
        let mut expected: Vec<String> = rows
            .iter()
            .flat_map(|key| [format!("{root}/{key}"), format!("{root}/.facts/{key}.json")])
            .collect();
        let mut found = files_below(&objects);
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "files");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azure_survives_sigkill_at_any_moment() {
    let azure = FakeAzure::builder()
        .account("acme")
        .container("files")
        .secret("a-secret")
        .start()
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, azure.ca_pem()).unwrap();
    let (endpoint, authority) = (azure.blob_endpoint(), azure.authority_host());
    let variables = [
        ("ATTACHE_UPLOAD__BLOCK_BYTES", "64KiB"),
        ("ATTACHE_UPLOAD__TOTAL_BYTES", "10GiB"),
        ("ATTACHE_STORAGE__BACKEND", "azure"),
        ("ATTACHE_DELIVERY__MODE", "relay"),
        ("AZURE_STORAGE_ACCOUNT_NAME", "acme"),
        ("AZURE_STORAGE_CONTAINER_NAME", "files"),
        ("AZURE_TENANT_ID", azure.tenant_id()),
        ("AZURE_CLIENT_ID", azure.client_id()),
        ("AZURE_CLIENT_SECRET", "a-secret"),
        ("ATTACHE_STORAGE__AZURE__CA_FILE", ca.to_str().unwrap()),
        ("ATTACHE_STORAGE__AZURE__ENDPOINT", &endpoint),
        ("AZURE_AUTHORITY_HOST", &authority),
    ];
    tokio::task::block_in_place(|| {
        let ledger = Ledger::default();
        survive("azure", ledger, LONGEST_LIFE, &variables, |_, rows| {
            let blobs = azure.blobs();
            for blob in &blobs {
                assert_eq!(blob.uncommitted_blocks, 0, "{blob:#?}");
                assert!(blob.committed && blob.snapshot.is_none(), "{blob:#?}");
            }
            let names: BTreeSet<String> = blobs.into_iter().map(|blob| blob.name).collect();
            assert_eq!(names, *rows, "blobs");
        });
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_survives_sigkill_at_any_moment() {
    survive_in_pieces("s3", Dialect::S3, support::on_s3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn google_survives_sigkill_at_any_moment() {
    survive_in_pieces("gcs", Dialect::Gcs, support::on_gcs).await;
}

/// With files that need more than one request: pieces of five mebibytes are the smallest that S3 takes.
async fn survive_in_pieces(
    name: &str,
    dialect: Dialect,
    told: fn(&FakeS3, &std::path::Path) -> Vec<(&'static str, String)>,
) {
    let builder = FakeS3::builder().dialect(dialect).bucket("files");
    let fake = builder.start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let of_store = told(&fake, folder.path());
    let mut variables = vec![
        ("ATTACHE_UPLOAD__BLOCK_BYTES", "64KiB"),
        ("ATTACHE_UPLOAD__TOTAL_BYTES", "10GiB"),
        ("ATTACHE_DELIVERY__MODE", "relay"),
    ];
    variables.extend(support::borrowed(&of_store));
    let ledger = Ledger::of_files_below(14_000_000);
    tokio::task::block_in_place(|| {
        survive(name, ledger, LONG_LIFE, &variables, |_, rows| {
            let uploads = fake.uploads();
            assert!(uploads.is_empty(), "{uploads:#?}");
            let there = fake.versions().into_iter();
            let keys: BTreeSet<String> = there.map(|version| version.key).collect();
            assert_eq!(keys, *rows, "objects, and no piece of one");
        });
    });
    let calls = fake.calls().into_iter();
    let pieces =
        calls.filter(|call| call.op == Op::PutObject && call.path.contains("attache/parts"));
    let pieces = pieces.count();
    println!("{name}: {pieces} pieces were stored");
    assert!(pieces > 0, "no file was stored in pieces");
}

/// What came of it.
#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    kills_at_start: u64,
    uploads_swept: u64,
    deletions_swept: u64,
    litter: u64,
    broken_but_stored: u64,
    largest: usize,
}

/// Kills, starts again, sweeps and checks; `inventory` compares the store itself with the object keys that must be there.
fn survive(
    name: &str,
    ledger: Ledger,
    longest_life: Duration,
    variables: &[(&str, &str)],
    inventory: impl Fn(&std::path::Path, &BTreeSet<String>),
) {
    let kills = setting("ATTACHE_TEST_KILLS").unwrap_or(20);
    let seed = setting("ATTACHE_TEST_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_micros() as u64
    });
    println!("{name}: ATTACHE_TEST_SEED={seed} ATTACHE_TEST_KILLS={kills}");
    let mut random = Random(seed | 1);
    let mut server = Server::start(variables);
    let (mut tally, began) = (Tally::default(), Instant::now());
    while tally.kills < kills {
        let (stop, address) = (AtomicBool::new(false), server.address);
        let life = random.below(longest_life.as_micros() as u64);
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                let (seed, ledger, stop) = (random.next(), &ledger, &stop);
                scope.spawn(move || load(address, seed, ledger, stop));
            }
            std::thread::park_timeout(Duration::from_micros(life));
            server.kill();
            stop.store(true, Ordering::Relaxed);
        });
        tally.kills += 1;
        server.restart(variables);
        // Now and then it dies while it recovers, too.
        while random.below(4) == 0 {
            std::thread::park_timeout(Duration::from_micros(random.below(60_000)));
            server.restart(variables);
            tally.kills += 1;
            tally.kills_at_start += 1;
        }
        let rows = check(&server, &ledger, &mut tally);
        inventory(server.folder.path(), &rows);
        verify(&server, variables, rows.len());
    }
    let counts = ledger.counts();
    println!("{name}: {tally:?} {counts:?} in {:.1?}", began.elapsed());
    assert_eq!(
        (counts.refused, counts.away),
        (0, 0),
        "nothing is refused under this load"
    );
    if kills >= 20 {
        assert!(
            counts.uploads > kills && counts.deletions > 0 && counts.reads > 0,
            "{counts:?}"
        );
        assert!(
            counts.uploads_broken > 0,
            "no kill hit an upload: {counts:?}"
        );
    }
}

/// Sweeps, and holds what is there against what was told; the object keys that are there.
fn check(server: &Server, ledger: &Ledger, tally: &mut Tally) -> BTreeSet<String> {
    let swept = server.request("POST", "/v1/admin/sweep", &[], b"");
    assert_eq!(swept.status, 200, "{}", swept.text());
    let swept = swept.json();
    let number = |field: &str| swept[field].as_u64().unwrap();
    assert_eq!(number("failed"), 0, "{swept:#}\n{}", server.log());
    tally.uploads_swept += number("uploads_removed");
    tally.deletions_swept += number("deletions_finished");
    tally.litter += number("litter_removed");

    let rows = list(server);
    let mut bytes = 0;
    let mut hashes = BTreeMap::new();
    for row in &rows {
        let (id, sha256) = (row["id"].as_str().unwrap(), row["sha256"].as_str().unwrap());
        let whole = server.get(&format!("/download/{id}"));
        assert_eq!(
            (whole.status, whole.truncated),
            (200, false),
            "{id}: {}",
            whole.head
        );
        assert_eq!(
            whole.body.len() as u64,
            row["size"].as_u64().unwrap(),
            "{id}"
        );
        assert_eq!(client::sha256(&whole.body), sha256, "{id}");
        bytes += whole.body.len() as u64;
        hashes.insert(id.to_owned(), sha256.to_owned());
    }
    tally.largest = tally.largest.max(rows.len());
    tally.broken_but_stored += ledger.settle(&hashes);

    let status = server.get("/v1/status").json();
    assert_eq!(status["catalog"]["attachments"], rows.len(), "{status:#}");
    assert_eq!(status["catalog"]["bytes"], bytes, "{status:#}");
    assert_eq!(status["catalog"]["reserved_bytes"], 0, "{status:#}");
    let workers = files_below(&server.folder.path().join("attache-data/attache.db-workers"));
    assert_eq!(workers.len(), 1, "the dead are buried: {workers:?}");
    rows.iter().map(object_key).collect()
}

/// `attache verify --deep`, as an operator would.
fn verify(server: &Server, variables: &[(&str, &str)], rows: usize) {
    let output = command(server.folder.path(), variables)
        .args(["verify", "--deep", "--json"])
        .output()
        .unwrap();
    let (found, said) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!((output.status.code(), &*found), (Some(0), ""), "{said}");
    assert!(
        said.contains(&format!("verified {rows} attachment")),
        "{said}"
    );
}

fn list(server: &Server) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut after = String::new();
    loop {
        let page = server.get(&format!("/v1/attachments?limit=1000{after}"));
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.json();
        rows.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return rows,
        }
    }
}

fn object_key(row: &Value) -> String {
    let folder = if row["owner"].is_null() {
        "user"
    } else {
        "attachment"
    };
    format!("{folder}/{}.bin", row["id"].as_str().unwrap())
}

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}
