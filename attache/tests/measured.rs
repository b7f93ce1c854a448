//! What the figures of docs/scaling.md are, measured: `cargo test --release -p attache --test measured -- --ignored --nocapture
//! --test-threads 1`. Run by hand, because it takes minutes and wants the machine for itself.
#![expect(clippy::print_stdout, reason = "figures are what it is for")]

#[path = "postgres/ground.rs"]
mod ground;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use attache::access::Owners;
use attache::attachment::{AttachmentId, Owner};
use attache::catalog::sqlite::SqliteCatalog;
use attache::catalog::{Catalog, Page};
use attache::testing::rows::{draft, stored};
use futures::stream::{self, StreamExt as _};
use ground::{Ground, open};
use test_support::{PgBouncer, Postgres};

/// Kinds as a wiki has them: one of four fifths, one whose rows are all older than the rest, a few of which there are few, and none.
const FILL: &str = "
    INSERT INTO attache.attachments (id, object_key, state, owner, filename, content_type, created_at_ms, charged_bytes, size, sha256,
                                     worker)
    SELECT 'i' || n, 'attachment/i' || n, 'ready',
        CASE WHEN n <= $N / 10 THEN 'old:' || n % 1000
             WHEN n % 55555 = 0 THEN 'few:1'
             WHEN n % 1000 = 1 THEN 'mid:' || n % 7
             WHEN n % 10 = 2 THEN 'user:' || n % 5000
             ELSE 'page:202' || (5 + n % 2) || '-' || n % 4000 END,
        'a file.txt', 'text/plain', 1700000000000 + n, 1000, 1000, decode(repeat('01', 32), 'hex'), 'loader'
    FROM generate_series($FROM::int8, $TO::int8) n";

#[ignore = "loads five million rows, which takes minutes"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_among_five_million_rows_costs_at_most_three_times_what_it_costs_among_fifty_thousand()
 {
    let Some(postgres) = Postgres::shared().await else {
        return;
    };
    let mut times = Vec::new();
    for rows in [50_000_u64, 5_000_000] {
        let ground = Ground::of(postgres.database().await);
        let catalog = ground.open().await;
        let step = rows.min(500_000);
        for from in (0..rows).step_by(usize::try_from(step).expect("small")) {
            let fill = FILL
                .replace("$N", &rows.to_string())
                .replace("$FROM", &(from + 1).to_string())
                .replace("$TO", &(from + step).to_string());
            ground.run(&fill).await;
        }
        ground.run("VACUUM ANALYZE attache.attachments").await;
        let mut of_size = Vec::new();
        for (name, page) in pages(rows) {
            of_size.push((name, median(&*catalog, &page).await));
        }
        println!("{rows} rows");
        for (name, (count, time)) in &of_size {
            println!(
                "  {name:24} {count:4} {:8.3} ms",
                time.as_secs_f64() * 1000.0
            );
        }
        times.push(of_size);
    }
    for ((name, (_, few)), (_, (_, many))) in times[0].iter().zip(&times[1]) {
        // Below a third of a millisecond it is the round trip that is measured.
        let few = (*few).max(Duration::from_micros(300));
        let ratio = many.as_secs_f64() / few.as_secs_f64();
        println!("{name:26} {ratio:.2}");
        assert!(
            ratio <= 3.0,
            "{name}: {many:?} among millions, {few:?} among few"
        );
    }
}

fn pages(rows: u64) -> Vec<(&'static str, Page)> {
    let page = |owner: Option<&str>, patterns: &[&str], after: Option<u64>| Page {
        owner: owner.map(|owner| owner.parse::<Owner>().expect("an owner")),
        visible: match patterns {
            [] => Owners::all(),
            some => some
                .iter()
                .map(|one| one.parse().expect("a pattern"))
                .collect(),
        },
        after: after.map(|n| {
            let id: AttachmentId = format!("i{n}").parse().expect("an id");
            (1_700_000_000_000 + i64::try_from(n).expect("small"), id)
        }),
        limit: 101,
    };
    vec![
        ("all", page(None, &[], None)),
        ("all, in the middle", page(None, &[], Some(rows / 2))),
        ("one owner", page(Some("page:2025-2000"), &[], None)),
        ("common: page:*", page(None, &["page:*"], None)),
        ("old: old:*", page(None, &["old:*"], None)),
        ("rare: mid:*", page(None, &["mid:*"], None)),
        ("rare: few:*", page(None, &["few:*"], None)),
        ("empty: none:*", page(None, &["none:*"], None)),
        (
            "four kinds",
            page(None, &["page:*", "old:*", "few:*", "none:*"], None),
        ),
        (
            "common prefix page:2026-*",
            page(None, &["page:2026-*"], None),
        ),
        (
            "rare prefix page:2026-17*",
            page(None, &["page:2026-17*"], None),
        ),
        ("empty prefix page:x*", page(None, &["page:x*"], None)),
    ]
}

/// How many attachments a page has, and the median time of 21 that were read one after the other.
async fn median(catalog: &dyn Catalog, page: &Page) -> (usize, Duration) {
    let (mut times, mut count) = (Vec::new(), 0);
    for _ in 0..21 {
        let start = Instant::now();
        count = catalog.list(page).await.expect("a page").len();
        times.push(start.elapsed());
    }
    times.sort();
    (count, times[10])
}

/// With `fsync`, as in production: what is shared by writes that go together is the flush.
#[ignore = "takes half a minute, alone on the machine"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_uploads_at_a_time_begin_and_are_committed_at_ten_times_the_rate_of_one() {
    let Some(postgres) = Postgres::start().await else {
        return;
    };
    let Some(pooler) = PgBouncer::before(&postgres).await else {
        return;
    };
    for way in ["direct", "through PgBouncer"] {
        let database = postgres.database().await;
        let url = match way {
            "direct" => database.url(),
            _ => pooler.url(&database),
        };
        let catalog = open(&url).await.expect("opened");
        let mut rates = Vec::new();
        for clients in [1, 8, 32] {
            rates.push(uploads_a_second(&catalog, clients).await);
        }
        let ratio = rates[2] / rates[0];
        println!("{way}: {rates:.0?} uploads a second by 1, 8, 32 clients; 32 to 1: {ratio:.1}");
        assert!(ratio >= 10.0, "{way}: {ratio}");
    }
}

async fn uploads_a_second(catalog: &dyn Catalog, clients: usize) -> f64 {
    let (start, done) = (Instant::now(), AtomicUsize::new(0));
    let client = async || {
        while start.elapsed() < Duration::from_secs(3) {
            let draft = draft();
            catalog.begin(&draft).await.expect("begin");
            catalog.commit(&draft.id, &stored(1)).await.expect("commit");
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    let clients: Vec<_> = (0..clients).map(|_| client()).collect();
    futures::future::join_all(clients).await;
    done.into_inner() as f64 / start.elapsed().as_secs_f64()
}

#[ignore = "takes half a minute, alone on the machine"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_by_its_id_costs_at_most_a_third_more_cpu_than_in_sqlite() {
    let Some(ground) = Ground::new().await else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let sqlite = SqliteCatalog::open(&folder.path().join("a.db")).expect("opened");
    let catalogs: [Arc<dyn Catalog>; 2] = [Arc::new(sqlite), ground.open().await];
    let mut ids = Vec::new();
    for catalog in &catalogs {
        let draft = draft();
        catalog.begin(&draft).await.expect("begin");
        catalog.commit(&draft.id, &stored(1)).await.expect("commit");
        ids.push(draft.id);
    }
    for at_a_time in [1, 8, 64] {
        let mut ratios = Vec::new();
        for _ in 0..5 {
            let mut costs = Vec::new();
            for (catalog, id) in catalogs.iter().zip(&ids) {
                const READS: u32 = 20_000;
                let before = cpu();
                let reads = stream::iter(0..READS).map(|_| catalog.find(id));
                let reads = reads.buffer_unordered(at_a_time);
                reads
                    .for_each(async |found| drop(found.expect("found")))
                    .await;
                costs.push((cpu() - before).as_secs_f64() * 1e6 / f64::from(READS));
            }
            println!(
                "{at_a_time} at a time: SQLite {:.1} us, PostgreSQL {:.1} us",
                costs[0], costs[1]
            );
            ratios.push(costs[1] / costs[0]);
        }
        ratios.sort_by(f64::total_cmp);
        println!("{at_a_time} at a time: ratio {:.2}", ratios[2]);
    }
}

/// What all threads of this process have used.
fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let nanos = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}
