//! Several replicas on one PostgreSQL: what each of them may do to the rows of another, and what two of them do at the same time.

use std::sync::Arc;
use std::time::Duration;

use attache::ErrorKind;
use attache::attachment::AttachmentId;
use attache::catalog::cached::CachedCatalog;
use attache::catalog::{Abandoned, Begun, Catalog, Draft};
use attache::testing::rows::{Shared, draft, stored, totals, unfinished, with_key};
use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use time::OffsetDateTime;

#[path = "postgres/ground.rs"]
mod ground;

use ground::Ground;

/// Ages what the database knows of the replicas, as if it had seen all of them for long, and `dead` not lately.
async fn time_passes(ground: &Ground, dead: &dyn Catalog) {
    let id = me(dead).await;
    ground
        .run(&format!(
            "UPDATE attache.workers SET alive_since = alive_since - interval '1 min'; \
             UPDATE attache.workers SET seen_at = seen_at - interval '16 s' WHERE id = '{id}'"
        ))
        .await;
}

async fn two(ground: &Ground) -> (Shared, Shared) {
    (ground.open().await, ground.open().await)
}

async fn several(ground: &Ground, count: usize) -> Vec<Shared> {
    let all = join_all((0..count).map(|_| ground.open())).await;
    all.into_iter().map(|one| one as Shared).collect()
}

async fn me(catalog: &dyn Catalog) -> String {
    let all = catalog.replicas().await.expect("replicas");
    all.into_iter().find(|one| one.is_this).expect("alive").id
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_replicas_work_is_taken_over_and_when_it_wakes_up_it_can_do_nothing_to_it() {
    let Some(ground) = Ground::new().await else {
        return;
    };
    let (victim, other) = two(&ground).await;
    let (taken, left, retired) = (draft(), draft(), draft());
    for draft in [&taken, &left, &retired] {
        victim.begin(draft).await.expect("begin");
    }
    victim.retire(&retired.id).await.expect("retire");
    assert_eq!(unfinished(&other).await, [], "it lives");
    assert!(!other.take_over(&taken.id, now()).await.expect("asked"));

    time_passes(&ground, &*victim).await;
    let mut expected = vec![taken.id.clone(), left.id.clone(), retired.id.clone()];
    expected.sort();
    assert_eq!(unfinished(&other).await, expected);
    for id in [&taken.id, &retired.id] {
        assert!(other.take_over(id, now()).await.expect("taken over"));
        assert!(!other.take_over(id, now()).await.expect("asked") || id == &retired.id);
    }

    // It wakes up, and goes on where it was.
    let commit = victim.commit(&taken.id, &stored(1)).await;
    assert_eq!(commit.expect_err("fenced").kind(), ErrorKind::NotFound);
    let reserve = victim.reserve(&taken.id, 500, None).await;
    assert_eq!(reserve.expect_err("fenced").kind(), ErrorKind::NotFound);
    let abandoned = victim.abandon(&taken.id).await.expect("asked");
    assert_eq!(abandoned, Abandoned::Kept);
    victim.forget(&retired.id).await.expect("nothing to do");
    assert!(other.is_referenced(&retired.key).await.expect("asked"));
    // What nobody took is its own still.
    victim.commit(&left.id, &stored(7)).await.expect("its own");
    // The other one finishes what it took: once it is an attachment, the victim's cleaning up leaves it alone.
    other.commit(&taken.id, &stored(3)).await.expect("finished");
    let abandoned = victim.abandon(&taken.id).await.expect("asked");
    assert_eq!(abandoned, Abandoned::Kept);
    // Its late commit of the same bytes is success, as a repeated one is.
    victim
        .commit(&taken.id, &stored(3))
        .await
        .expect("the same");
    assert_eq!(totals(&other).await, (2, 10, 0));
    ground.check_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_not_seen_itself_takes_nothing_over() {
    let Some(ground) = Ground::new().await else {
        return;
    };
    let (victim, other) = two(&ground).await;
    let draft = draft();
    victim.begin(&draft).await.expect("begin");
    // The database was away: nobody was seen. Whoever asks first must not take the others for dead.
    ground
        .run("UPDATE attache.workers SET seen_at = seen_at - interval '1 min', alive_since = alive_since - interval '1 h'")
        .await;
    assert_eq!(unfinished(&other).await, []);
    ground
        .run(&format!(
            "UPDATE attache.workers SET seen_at = clock_timestamp(), alive_since = clock_timestamp() WHERE id <> '{}'",
            "nobody"
        ))
        .await;
    assert_eq!(unfinished(&other).await, []);
    victim.commit(&draft.id, &stored(1)).await.expect("its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_replicas_that_take_over_a_row_one_gets_it() {
    let Some(ground) = Ground::new().await else {
        return;
    };
    let victim: Shared = ground.open().await;
    let others = several(&ground, 4).await;
    let drafts: Vec<Draft> = (0..50).map(|_| draft()).collect();
    for draft in &drafts {
        victim.begin(draft).await.expect("begin");
    }
    time_passes(&ground, &*victim).await;
    for draft in &drafts {
        let tries = others.iter().map(|other| other.take_over(&draft.id, now()));
        let taken = join_all(tries).await;
        let taken = taken
            .into_iter()
            .filter(|taken| *taken.as_ref().expect("asked"));
        assert_eq!(taken.count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_ten_thousand_commits_that_are_sent_twice_at_once_none_says_not_found() {
    let Some(ground) = Ground::new().await else {
        return;
    };
    let (one, two) = two(&ground).await;
    let all: Vec<Draft> = (0..10_000).map(|_| draft()).collect();
    let begun = stream::iter(&all).map(|draft| one.begin(draft));
    let begun: Vec<_> = begun.buffer_unordered(64).collect().await;
    assert!(begun.into_iter().all(|begun| begun.is_ok()));
    // The repetition comes over another connection, as after a lost answer: it waits for the first one's row, and looks at the
    // tables as they were before. To have two connections of one replica, the rows of the one are given to the other half way.
    let (name, other) = (me(&*one).await, me(&*two).await);
    let half = format!(
        "UPDATE attache.attachments SET worker = '{other}' WHERE worker = '{name}' AND hashtext(id) % 2 = 0"
    );
    ground.run(&half).await;
    let twice = stream::iter(&all).map(async |draft| {
        let stored = stored(1);
        let (a, b, c) = futures::join!(
            one.commit(&draft.id, &stored),
            two.commit(&draft.id, &stored),
            one.commit(&draft.id, &stored)
        );
        // One of the two has the row; it says so however often it is asked.
        let by_one = a.is_ok() && c.is_ok();
        by_one || b.is_ok()
    });
    let done: Vec<_> = twice.buffer_unordered(64).collect().await;
    assert!(done.into_iter().all(|done| done));
    assert_eq!(totals(&one).await, (10_000, 10_000, 0));
    ground.check_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_quota_is_exact_to_the_byte_however_many_replicas_write() {
    let Some(ground) = Ground::new().await else {
        return;
    };
    const QUOTA: u64 = 20_000;
    let replicas = several(&ground, 3).await;
    let work = stream::iter(0..3_000_u64).map(async |n| {
        let catalog = &replicas[usize::try_from(n % 3).expect("small")];
        let mut new = match n % 4 {
            // Few keys, so that uploads meet.
            0 => with_key(&format!("key-{}", n % 40)),
            _ => draft(),
        };
        new.reserve = 50 + n * 7 % 300;
        new.quota = Some(QUOTA);
        new.size = (n % 3 == 0).then_some(new.reserve + n % 100);
        let begun = match catalog.begin(&new).await {
            Ok(begun) => begun,
            Err(error) => {
                let kind = error.kind();
                assert!(
                    matches!(kind, ErrorKind::QuotaExceeded | ErrorKind::Conflict),
                    "{error:?}"
                );
                return;
            }
        };
        if begun != Begun::New {
            return;
        }
        let size = match catalog
            .reserve(&new.id, new.reserve + n % 50, new.quota)
            .await
        {
            Ok(()) => new.reserve + n % 50,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{error:?}");
                new.reserve
            }
        };
        if n % 5 != 0 {
            catalog
                .commit(&new.id, &stored(size))
                .await
                .expect("commit");
        }
        // Two replicas delete it at once.
        let other = &replicas[usize::try_from((n + 1) % 3).expect("small")];
        if n % 7 != 0 {
            let (a, b) = futures::join!(catalog.retire(&new.id), other.retire(&new.id));
            assert!(a.expect("retire").is_some() && b.expect("retire").is_some());
            for catalog in [catalog, other] {
                catalog.forget(&new.id).await.expect("forget");
            }
        }
    });
    let work = work.buffer_unordered(32).collect::<Vec<()>>();
    let watch = async {
        let mut looks = 0_u32;
        loop {
            let used = ground.check_books().await;
            assert!(used <= QUOTA, "{used} of {QUOTA}");
            looks += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
            if looks == u32::MAX {
                return;
            }
        }
    };
    tokio::select! {
        _ = work => {}
        () = watch => unreachable!("it does not end by itself"),
    }
    assert!(ground.check_books().await > QUOTA / 2, "it was nearly full");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_replica_deletes_the_others_forget_within_a_second() {
    let Some(ground) = Ground::new().await else {
        return;
    };
    let one: Shared = Arc::new(CachedCatalog::over(ground.open().await));
    let two: Shared = Arc::new(CachedCatalog::over(ground.open().await));
    let draft = draft();
    one.begin(&draft).await.expect("begin");
    one.commit(&draft.id, &stored(1)).await.expect("commit");
    two.find(&draft.id).await.expect("there");
    one.retire(&draft.id).await.expect("retire");
    assert!(one.find(&draft.id).await.is_err());
    let gone = async {
        while two.find(&draft.id).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let within = Duration::from_millis(1500);
    tokio::time::timeout(within, gone).await.expect("forgotten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_replicas_that_start_at_once_on_an_empty_database_all_serve_and_one_makes_its_tables()
{
    let Some(ground) = Ground::new().await else {
        return;
    };
    let all = several(&ground, 5).await;
    for catalog in &all {
        let draft = draft();
        catalog.begin(&draft).await.expect("begin");
        catalog.commit(&draft.id, &stored(1)).await.expect("commit");
    }
    assert_eq!(totals(&all[0]).await, (5, 5, 0));
    assert_eq!(all[0].replicas().await.expect("replicas").len(), 5);
    assert_eq!(
        ground
            .number("SELECT count(*) FROM attache.migrations")
            .await,
        4
    );
    all[1].close().await;
    assert_eq!(all[0].replicas().await.expect("replicas").len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_no_living_replica_can_be_found_by_any_id() {
    let Some(ground) = Ground::new().await else {
        return;
    };
    let catalog: Shared = ground.open().await;
    let missing: AttachmentId = AttachmentId::generate();
    assert_eq!(
        catalog.abandon(&missing).await.expect("asked"),
        Abandoned::Gone
    );
    assert_eq!(catalog.retire(&missing).await.expect("asked"), None);
}
