//! What a page of a listing costs among five million rows, measured: `cargo test --release -p attache --test pages_of_millions --
//! --ignored --nocapture`. docs/scaling.md has the figures.

#[path = "postgres/ground.rs"]
mod ground;

use std::time::{Duration, Instant};

use attache::access::Owners;
use attache::attachment::{AttachmentId, Owner};
use attache::catalog::{Catalog, Page};
use ground::Ground;
use test_support::Postgres;

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
