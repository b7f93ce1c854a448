//! What a page of a listing costs when there are a million attachments: what is on it, whatever its reader may see.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use attache::ErrorKind;
use attache::access::Owners;
use attache::attachment::AttachmentId;
use attache::catalog::sqlite::SqliteCatalog;
use attache::catalog::{Catalog, Page};
use rusqlite::Connection;

const ROWS: u32 = 1_000_000;

/// Every tenth row belongs to a user; of the pages' rows the oldest hundred to "page:rare-…", and every ten-thousandth to one
/// page.
const FILL: &str = "
    PRAGMA synchronous = OFF;
    BEGIN;
    WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 999999)
    INSERT INTO attachments (id, object_key, state, owner, filename, content_type, created_at_ms, charged_bytes, size,
        sha256, worker)
    SELECT printf('019aaaaa-%04x-7000-8000-%012x', n / 65536, n), printf('attachment/%012x', n), 'ready',
        CASE WHEN n < 100 THEN 'page:rare-' || n
             WHEN n % 10 = 0 THEN 'user:' || (n % 1000)
             WHEN n % 10000 = 1 THEN 'page:one'
             WHEN n % 2 = 0 THEN 'page:even-' || n ELSE 'page:odd-' || n END,
        'a.txt', 'text/plain', 1700000000000 + n, 5, 5, zeroblob(32), 'w'
    FROM numbers;
    UPDATE usage SET attachments = 1000000, ready_bytes = 5000000;
    COMMIT;
";

fn page(patterns: &[&str], after: Option<(i64, AttachmentId)>) -> Page {
    Page {
        owner: None,
        visible: patterns
            .iter()
            .map(|one| one.parse().unwrap())
            .collect::<Owners>(),
        after,
        limit: 101,
    }
}

/// The fastest of several pages: what it costs when nothing else runs.
async fn cost(catalog: &SqliteCatalog, page: &Page, rows: usize) -> Duration {
    let mut fastest = Duration::MAX;
    for _ in 0..15 {
        let start = Instant::now();
        let found = catalog.list(page).await.unwrap();
        fastest = fastest.min(start.elapsed());
        assert_eq!(found.len(), rows, "{:?}", page.visible);
        let newest_first =
            found.is_sorted_by_key(|one| std::cmp::Reverse((one.created_at, one.id.to_string())));
        assert!(newest_first, "{:?}", page.visible);
        for one in &found {
            assert!(page.visible.contain(one.owner.as_ref()), "{one:?}");
        }
    }
    fastest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_costs_what_is_on_it_among_a_million_attachments() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let catalog = SqliteCatalog::open(&path).unwrap();
    Connection::open(&path)
        .unwrap()
        .execute_batch(FILL)
        .unwrap();
    assert_eq!(catalog.totals().await.unwrap().attachments, u64::from(ROWS));

    let middle = (1_700_000_500_000, AttachmentId::generate());
    let one = cost(&catalog, &page(&["page:one"], None), 99).await;
    let kinds: Vec<String> = (0..10).map(|kind| format!("kind{kind}:*")).collect();
    let mut ten: Vec<&str> = kinds.iter().map(String::as_str).collect();
    ten.truncate(8);
    ten.extend(["page:*", "user:*"]);
    for (what, page, rows) in [
        ("everything", page(&["*"], None), 101),
        ("a common kind", page(&["page:*"], None), 101),
        (
            "a common kind, deep",
            page(&["page:*"], Some(middle.clone())),
            101,
        ),
        ("a kind that nothing has", page(&["none:*"], None), 0),
        ("ten kinds", page(&ten, None), 101),
        ("a common prefix", page(&["page:even-*"], None), 101),
        (
            "a common prefix, deep",
            page(&["page:even-*"], Some(middle)),
            101,
        ),
        ("a rare and old prefix", page(&["page:rare-*"], None), 100),
        ("a prefix that nothing has", page(&["page:none-*"], None), 0),
    ] {
        let cost = cost(&catalog, &page, rows).await;
        // The constant is for the two looks at least that a prefix takes, and for a busy machine.
        let bound = one * 3 + Duration::from_millis(2);
        assert!(
            cost <= bound,
            "{what}: {cost:?}, where one owner costs {one:?}"
        );
    }

    // The most that a page can cost: a prefix that is neither rare nor new. Twelve of them at once are in nobody's way.
    let catalog = Arc::new(catalog);
    let id: AttachmentId = "019aaaaa-0000-7000-8000-000000000001".parse().unwrap();
    let worst = page(
        &["page:odd-1*"],
        Some((1_700_000_090_000, AttachmentId::generate())),
    );
    let listings: Vec<_> = (0..12)
        .map(|_| {
            let (catalog, worst) = (catalog.clone(), worst.clone());
            tokio::spawn(async move { catalog.list(&worst).await })
        })
        .collect();
    let mut longest = Vec::new();
    for _ in 0..50 {
        let start = Instant::now();
        catalog.find(&id).await.unwrap();
        longest.push(start.elapsed());
    }
    longest.sort();
    let median = longest[longest.len() / 2];
    assert!(median < Duration::from_millis(20), "{longest:?}");
    for listing in listings {
        listing.await.unwrap().unwrap();
    }

    // A reader that leaves ends its read: the next one does not wait for it.
    for _ in 0..8 {
        let read = catalog.list(&worst);
        let _ = tokio::time::timeout(Duration::from_micros(50), read).await;
    }
    let start = Instant::now();
    catalog.list(&page(&["page:one"], None)).await.unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    catalog.close().await;
    let closed = catalog.list(&page(&["page:one"], None)).await.unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::Internal);
}
