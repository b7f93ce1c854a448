//! The promises of [`attache::catalog::Catalog`], one function each, bound to every catalog; then what is promised of the
//! SQLite file alone: it survives a killed process, and is refused when it is newer than we are.

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attache::Attachment;
use attache::ErrorKind;
use attache::access::Owners;
use attache::attachment::{AttachmentId, Hex, ObjectKey, Owner};
use attache::catalog::cached::{BELIEVED, Recent};
use attache::catalog::sqlite::SqliteCatalog;
use attache::catalog::{Begun, Catalog, Draft, Page, Totals, Unfinished};
use attache::storage::Stored;
use common::child::{self, Child};
use futures::future::join_all;
use time::OffsetDateTime;

type Shared = Arc<dyn Catalog>;

/// One test per promise, for the catalog that `$catalog` opens.
macro_rules! bind {
    ($($catalog:ident)*) => {$(
        mod $catalog {
            bind!(@each $catalog:
                a_new_catalog_is_empty_and_answers
                an_attachment_is_there_between_commit_and_retire
                what_was_drafted_is_what_is_found
                a_commit_settles_in_which_charset_a_text_is
                begin_refuses_an_id_or_a_key_that_is_taken
                commit_and_reserve_need_a_pending_upload
                every_method_may_be_repeated
                uploads_at_once_cannot_overshoot_the_quota_together
                a_reservation_is_raised_within_the_quota_or_stays
                what_is_retired_frees_its_share_at_once
                a_repeated_idempotency_key_returns_the_first_result
                an_idempotency_key_is_refused_while_its_upload_runs_or_for_another_file
                retiring_frees_the_idempotency_key
                pages_hold_every_attachment_once_newest_first
                pages_of_an_owner_hold_its_attachments_alone
                unfinished_names_what_is_retired_and_nothing_that_is_worked_on
                reads_that_are_dropped_are_in_nobodys_way
                writes_that_are_dropped_happen_or_do_not
                a_listing_holds_what_its_reader_may_see_and_nothing_else
                a_walk_holds_every_ready_attachment_once_in_the_order_of_keys
                names_knows_the_objects_of_rows_in_every_state
                what_is_restored_is_as_it_was_and_counts
                what_the_store_calls_a_version_is_kept_until_another_is_noted
                restore_refuses_an_id_or_a_key_that_is_taken
                nothing_works_after_close
            );
        }
    )*};
    (@each $catalog:ident: $($promise:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let (catalog, _ground) = crate::open::$catalog();
            crate::$promise(&catalog).await;
        }
    )*};
}

bind!(sqlite recent);

/// A new catalog, and what it stands on.
mod open {
    use super::*;

    pub(crate) fn sqlite() -> (Shared, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let catalog = open_file(&folder.path().join("data/catalog.sqlite"));
        (Arc::new(catalog), folder)
    }

    pub(crate) fn recent() -> (Shared, tempfile::TempDir) {
        let (catalog, folder) = sqlite();
        (Arc::new(Recent::over(catalog)), folder)
    }
}

async fn a_new_catalog_is_empty_and_answers(catalog: &Shared) {
    catalog.probe().await.expect("it can be written");
    assert_eq!(catalog.totals().await.expect("totals"), Totals::default());
    assert_eq!(newest(catalog, None).await, []);
    assert_eq!(unfinished(catalog).await, []);
}

async fn an_attachment_is_there_between_commit_and_retire(catalog: &Shared) {
    let draft = draft();
    let id = &draft.id;
    assert_eq!(catalog.begin(&draft).await.expect("begin"), Begun::New);
    assert_not_found(catalog, id).await;
    assert_eq!(totals(catalog).await, (0, 0, 100));

    let committed = catalog.commit(id, &stored(70)).await.expect("commit");
    assert_eq!(catalog.find(id).await.expect("find"), committed);
    assert_eq!(newest(catalog, None).await, std::slice::from_ref(id));
    assert_eq!(totals(catalog).await, (1, 70, 0));

    let key = catalog.retire(id).await.expect("retire");
    assert_eq!(key.as_ref(), Some(&draft.key));
    assert_not_found(catalog, id).await;
    assert_eq!(totals(catalog).await, (0, 0, 0));
    assert_eq!(unfinished(catalog).await, std::slice::from_ref(id));

    catalog.forget(id).await.expect("forget");
    assert_eq!(unfinished(catalog).await, []);
    assert_eq!(catalog.retire(id).await.expect("no row at all"), None);
}

async fn what_was_drafted_is_what_is_found(catalog: &Shared) {
    for full in [true, false] {
        let mut draft = draft();
        draft.filename = "写真 \"100%\" 🦀.png".parse().expect("a file name");
        draft.owner = full.then(|| "page:a/b?c=d".parse().expect("an owner"));
        draft.created_by = full.then(|| "Jürgen 山田".parse().expect("an author"));
        let stored = Stored {
            crc64: full.then_some(u64::MAX),
            md5: full.then_some(Hex([7; 16])),
            ..stored(u64::from(u32::MAX) + 5)
        };
        catalog.begin(&draft).await.expect("begin");
        let found = catalog.commit(&draft.id, &stored).await.expect("commit");
        assert_eq!(found, catalog.find(&draft.id).await.expect("find"));
        let created_at = found.created_at.unix_timestamp_nanos() / 1_000_000;
        assert_eq!(
            created_at,
            draft.created_at.unix_timestamp_nanos() / 1_000_000
        );
        assert_eq!((found.id, found.key), (draft.id, draft.key));
        assert_eq!(
            (found.owner, found.created_by),
            (draft.owner, draft.created_by)
        );
        assert_eq!(
            (found.filename, found.content_type),
            (draft.filename, draft.content_type)
        );
        assert_eq!(
            (found.size, Some(found.sha256)),
            (stored.size, stored.sha256)
        );
        assert_eq!(found.crc64, stored.crc64);
    }
}

async fn a_commit_settles_in_which_charset_a_text_is(catalog: &Shared) {
    for (drafted, utf8, settled) in [
        ("text/plain", Some(true), "text/plain; charset=utf-8"),
        (
            "text/plain",
            Some(false),
            "text/plain; charset=unknown-8bit",
        ),
        (
            "text/plain; charset=Shift_JIS",
            Some(false),
            "text/plain; charset=Shift_JIS",
        ),
        ("text/plain", None, "text/plain"),
        ("image/png", Some(false), "image/png"),
    ] {
        let mut draft = draft();
        draft.content_type = drafted.to_owned();
        let stored = Stored { utf8, ..stored(5) };
        catalog.begin(&draft).await.expect("begin");
        let found = catalog.commit(&draft.id, &stored).await.expect("commit");
        assert_eq!(found.content_type, settled);
        let again = catalog.commit(&draft.id, &stored).await.expect("repeated");
        assert_eq!(again, found);
        assert_eq!(catalog.find(&draft.id).await.expect("find"), found);
    }
}

async fn begin_refuses_an_id_or_a_key_that_is_taken(catalog: &Shared) {
    let first = draft();
    catalog.begin(&first).await.expect("begin");
    let same_id = Draft {
        key: draft().key,
        ..first.clone()
    };
    let same_key = Draft {
        id: draft().id,
        ..first.clone()
    };
    for taken in [same_id, same_key] {
        let error = catalog.begin(&taken).await.expect_err("taken");
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
    assert_eq!(
        totals(catalog).await,
        (0, 0, 100),
        "a refusal reserves nothing"
    );
}

async fn commit_and_reserve_need_a_pending_upload(catalog: &Shared) {
    let swept = draft();
    catalog.begin(&swept).await.expect("begin");
    catalog.retire(&swept.id).await.expect("retire");
    for id in [&swept.id, &AttachmentId::generate()] {
        let error = catalog
            .commit(id, &stored(10))
            .await
            .expect_err("not pending");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let error = catalog
            .reserve(id, 10, None)
            .await
            .expect_err("not pending");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    assert_eq!(totals(catalog).await, (0, 0, 0));
}

async fn every_method_may_be_repeated(catalog: &Shared) {
    let draft = draft();
    catalog.begin(&draft).await.expect("begin");
    for _ in 0..2 {
        catalog
            .reserve(&draft.id, 150, Some(200))
            .await
            .expect("reserve");
        assert_eq!(totals(catalog).await, (0, 0, 150));
    }
    let first = catalog
        .commit(&draft.id, &stored(70))
        .await
        .expect("commit");
    // Whoever lost the first answer must not conclude that the bytes have to go.
    let again = catalog
        .commit(&draft.id, &stored(70))
        .await
        .expect("commit again");
    assert_eq!(again, first);
    assert_eq!(totals(catalog).await, (1, 70, 0));
    // Other bytes are no repetition.
    let other = Stored {
        sha256: Some(Hex([9; 32])),
        ..stored(70)
    };
    let error = catalog
        .commit(&draft.id, &other)
        .await
        .expect_err("not pending");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    for _ in 0..2 {
        let key = catalog.retire(&draft.id).await.expect("retire");
        assert_eq!(key.as_ref(), Some(&draft.key));
        assert_eq!(totals(catalog).await, (0, 0, 0));
    }
    for _ in 0..2 {
        catalog.forget(&draft.id).await.expect("forget");
    }
}

async fn uploads_at_once_cannot_overshoot_the_quota_together(catalog: &Shared) {
    let tries = (0..50).map(|_| {
        let catalog = catalog.clone();
        let draft = Draft {
            size: None,
            reserve: 10,
            quota: Some(100),
            ..draft()
        };
        tokio::spawn(async move { (catalog.begin(&draft).await, draft.id) })
    });
    let mut begun = Vec::new();
    for outcome in join_all(tries).await {
        match outcome.expect("nothing panics") {
            (Ok(_), id) => begun.push(id),
            (Err(error), _) => assert_eq!(error.kind(), ErrorKind::QuotaExceeded),
        }
    }
    assert_eq!(begun.len(), 10);
    assert_eq!(totals(catalog).await, (0, 0, 100));

    // Smaller than reserved: the difference is free again.
    catalog.commit(&begun[0], &stored(3)).await.expect("commit");
    let begin = |reserve| {
        let draft = Draft {
            reserve,
            quota: Some(100),
            ..draft()
        };
        async move { catalog.begin(&draft).await }
    };
    let error = begin(8).await.expect_err("7 are free");
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    begin(7).await.expect("7 are free");
    begin(0).await.expect("nothing always fits");
}

async fn a_reservation_is_raised_within_the_quota_or_stays(catalog: &Shared) {
    let (a, b) = (draft(), draft());
    for draft in [&a, &b] {
        let draft = Draft {
            size: None,
            reserve: 0,
            ..draft.clone()
        };
        catalog.begin(&draft).await.expect("begin");
    }
    catalog
        .reserve(&a.id, 60, Some(100))
        .await
        .expect("60 of 100");
    let error = catalog
        .reserve(&b.id, 41, Some(100))
        .await
        .expect_err("40 are free");
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    assert_eq!(totals(catalog).await, (0, 0, 60));
    catalog
        .reserve(&b.id, 40, Some(100))
        .await
        .expect("40 are free");
    // In all, not in addition.
    catalog
        .reserve(&a.id, 60, Some(100))
        .await
        .expect("it has them");
    catalog
        .reserve(&a.id, 10, Some(100))
        .await
        .expect("it has more");
    assert_eq!(totals(catalog).await, (0, 0, 100));

    let raises = (0..20).map(|n| catalog.reserve(&a.id, 60 + n * 5, Some(130)));
    for outcome in join_all(raises).await {
        if let Err(error) = outcome {
            assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
        }
    }
    assert_eq!(totals(catalog).await, (0, 0, 130), "90 and 40");
}

async fn what_is_retired_frees_its_share_at_once(catalog: &Shared) {
    let (pending, ready) = (draft(), draft());
    for draft in [&pending, &ready] {
        catalog.begin(draft).await.expect("begin");
    }
    catalog
        .commit(&ready.id, &stored(100))
        .await
        .expect("commit");
    let full = Draft {
        quota: Some(200),
        ..draft()
    };
    let error = catalog.begin(&full).await.expect_err("200 of 200");
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    catalog.retire(&pending.id).await.expect("retire");
    catalog.begin(&full).await.expect("100 are free");
    catalog.retire(&ready.id).await.expect("retire");
    assert_eq!(totals(catalog).await, (0, 0, 100));
}

async fn a_repeated_idempotency_key_returns_the_first_result(catalog: &Shared) {
    let first = with_key("k-1");
    catalog.begin(&first).await.expect("begin");
    let done = catalog
        .commit(&first.id, &stored(10))
        .await
        .expect("commit");
    // The retry has an id of its own, which is never used.
    let retry = Draft {
        filename: first.filename.clone(),
        ..with_key("k-1")
    };
    let begun = catalog.begin(&retry).await.expect("repeated");
    assert_eq!(begun, Begun::Repeated(Box::new(done)));
    assert_not_found(catalog, &retry.id).await;
    assert_eq!(
        totals(catalog).await,
        (1, 10, 0),
        "a retry reserves nothing"
    );
    let full = Draft {
        quota: Some(10),
        ..retry
    };
    catalog.begin(&full).await.expect("a retry needs no quota");
    assert_eq!(
        catalog.begin(&with_key("k-2")).await.expect("begin"),
        Begun::New
    );
}

async fn an_idempotency_key_is_refused_while_its_upload_runs_or_for_another_file(catalog: &Shared) {
    let tries = (0..8).map(|_| {
        let (catalog, draft) = (catalog.clone(), with_key("k-1"));
        tokio::spawn(async move { (catalog.begin(&draft).await, draft) })
    });
    let mut runs = Vec::new();
    for outcome in join_all(tries).await {
        match outcome.expect("nothing panics") {
            (Ok(begun), draft) => {
                assert_eq!(begun, Begun::New);
                runs.push(draft);
            }
            (Err(error), _) => {
                assert_eq!(error.kind(), ErrorKind::Conflict);
                assert!(error.retry_hint().is_some(), "it is worth asking again");
            }
        }
    }
    let [first] = runs.as_slice() else {
        panic!("{} uploads run under one key", runs.len());
    };
    catalog
        .commit(&first.id, &stored(10))
        .await
        .expect("commit");

    let other_name = Draft {
        filename: "b.txt".parse().expect("a file name"),
        ..with_key("k-1")
    };
    let other_owner = Draft {
        owner: Some("page:7".parse().expect("an owner")),
        ..with_key("k-1")
    };
    let other_author = Draft {
        created_by: Some("user:7".parse().expect("an author")),
        ..with_key("k-1")
    };
    for other in [other_name, other_owner, other_author] {
        let error = catalog.begin(&other).await.expect_err("another file");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.retry_hint().is_none(), "asking again does not help");
    }
}

async fn retiring_frees_the_idempotency_key(catalog: &Shared) {
    for commit in [true, false] {
        let first = with_key("k-1");
        assert_eq!(catalog.begin(&first).await.expect("begin"), Begun::New);
        if commit {
            catalog
                .commit(&first.id, &stored(10))
                .await
                .expect("commit");
        }
        catalog.retire(&first.id).await.expect("retire");
    }
    assert_eq!(
        catalog.begin(&with_key("k-1")).await.expect("begin"),
        Begun::New
    );
}

async fn pages_hold_every_attachment_once_newest_first(catalog: &Shared) {
    // Three moments for 25 attachments: most share theirs with others.
    let made = fill(catalog, 25, |n| n % 3).await;
    // What is not ready is not listed.
    catalog.begin(&draft()).await.expect("begin");
    for limit in [1, 4, 25, 1000] {
        assert_eq!(walk(catalog, None, limit).await, made, "pages of {limit}");
    }
    assert_eq!(
        walk(catalog, None, 0).await,
        [],
        "none at all was asked for"
    );
    catalog.retire(&made[7]).await.expect("retire");
    let left: Vec<_> = made.iter().filter(|id| **id != made[7]).cloned().collect();
    assert_eq!(walk(catalog, None, 4).await, left);
}

async fn pages_of_an_owner_hold_its_attachments_alone(catalog: &Shared) {
    let made = fill(catalog, 30, |n| n % 2).await;
    let mut seen = BTreeSet::new();
    for owner in ["page:0", "page:1", "page:2"] {
        let ids = walk(catalog, Some(owner), 3).await;
        let expected: Vec<_> = made.iter().filter(|id| ids.contains(id)).cloned().collect();
        assert_eq!((ids.len(), &ids), (10, &expected), "newest first");
        for id in &ids {
            let found = catalog.find(id).await.expect("find");
            assert_eq!(found.owner.expect("it has one").as_str(), owner);
        }
        seen.extend(ids);
    }
    assert_eq!(seen.len(), 30);
    assert_eq!(walk(catalog, Some("page:3"), 3).await, []);
}

async fn unfinished_names_what_is_retired_and_nothing_that_is_worked_on(catalog: &Shared) {
    let mut retired = Vec::new();
    for n in 0..7 {
        let draft = draft();
        catalog.begin(&draft).await.expect("begin");
        if n % 2 == 0 {
            catalog.commit(&draft.id, &stored(1)).await.expect("commit");
        }
        catalog.retire(&draft.id).await.expect("retire");
        let Draft { id, key, .. } = draft;
        retired.push(Unfinished {
            id,
            key,
            upload: false,
        });
    }
    let (pending, ready) = (draft(), draft());
    for draft in [&pending, &ready] {
        catalog.begin(draft).await.expect("begin");
    }
    catalog.commit(&ready.id, &stored(1)).await.expect("commit");
    retired.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(
        catalog.unfinished(None, 100).await.expect("unfinished"),
        retired
    );

    let mut pages = Vec::new();
    while let page = catalog
        .unfinished(pages.last(), 3)
        .await
        .expect("unfinished")
        && !page.is_empty()
    {
        assert!(page.len() <= 3);
        pages.extend(page.into_iter().map(|row| row.id));
    }
    assert!(pages.iter().eq(retired.iter().map(|row| &row.id)));

    // Only what is retired can be forgotten.
    for id in [&pending.id, &ready.id] {
        catalog.forget(id).await.expect("nothing to do");
    }
    catalog.find(&ready.id).await.expect("it stays");
    catalog
        .commit(&pending.id, &stored(1))
        .await
        .expect("it stays");
}

async fn reads_that_are_dropped_are_in_nobodys_way(catalog: &Shared) {
    let draft = draft();
    catalog.begin(&draft).await.expect("begin");
    catalog.commit(&draft.id, &stored(1)).await.expect("commit");
    for _ in 0..200 {
        // Far more readers than connections, all gone as soon as they have begun.
        for _ in 0..20 {
            let left = futures::poll!(std::pin::pin!(catalog.find(&draft.id)));
            drop(left);
        }
        catalog.find(&draft.id).await.expect("who stays is served");
    }
}

async fn writes_that_are_dropped_happen_or_do_not(catalog: &Shared) {
    let drafts: Vec<_> = (0..50).map(|_| draft()).collect();
    for draft in &drafts {
        let left = futures::poll!(std::pin::pin!(catalog.begin(draft)));
        drop(left);
    }
    // Later writes come after them.
    catalog.probe().await.expect("it goes on");
    let mut happened = 0;
    for draft in &drafts {
        happened += u64::from(catalog.commit(&draft.id, &stored(1)).await.is_ok());
    }
    assert_eq!(totals(catalog).await, (happened, happened, 0));
}

async fn nothing_works_after_close(catalog: &Shared) {
    let draft = draft();
    catalog.begin(&draft).await.expect("begin");
    let racing = (0..20).map(|_| catalog.find(&draft.id));
    let (_, ()) = futures::future::join(join_all(racing), catalog.close()).await;
    catalog.close().await;
    let page = Page {
        owner: None,
        visible: Owners::all(),
        after: None,
        limit: 1,
    };
    let outcomes = [
        ("probe", catalog.probe().await.err()),
        ("begin", catalog.begin(&self::draft()).await.err()),
        ("commit", catalog.commit(&draft.id, &stored(1)).await.err()),
        ("find", catalog.find(&draft.id).await.err()),
        ("list", catalog.list(&page).await.err()),
        ("totals", catalog.totals().await.err()),
        ("unfinished", catalog.unfinished(None, 1).await.err()),
        ("walk", catalog.walk(None, 1).await.err()),
        ("names", catalog.names(&draft.key).await.err()),
    ];
    for (method, error) in outcomes {
        let error = error.unwrap_or_else(|| panic!("{method} works on"));
        assert!(error.detail().contains("closed"), "{method}: {error}");
    }
}

async fn a_listing_holds_what_its_reader_may_see_and_nothing_else(catalog: &Shared) {
    let owners = [
        None,
        Some("page:4"),
        Some("page:42"),
        Some("page:5"),
        Some("pages:4"),
        Some("user:4"),
    ];
    let mut made = Vec::new();
    for owner in owners.iter().cycle().take(30) {
        let mut draft = draft();
        draft.owner = owner.map(|owner| owner.parse().expect("an owner"));
        catalog.begin(&draft).await.expect("begin");
        catalog.commit(&draft.id, &stored(1)).await.expect("commit");
        made.push((draft.id, draft.owner));
    }
    for patterns in [
        "*",
        "",
        "page:*",
        "page:4*",
        "page:4",
        "user:4 page:5",
        "pages:* page:* user:*",
    ] {
        let patterns = patterns.split_whitespace();
        let visible: Owners = patterns
            .map(|text| text.parse().expect("a pattern"))
            .collect();
        let mut expected: Vec<_> = made
            .iter()
            .filter(|(_, owner)| visible.contain(owner.as_ref()))
            .map(|(id, _)| id.clone())
            .collect();
        expected.sort();
        for limit in [1, 4, 100] {
            let mut seen = walk_visible(catalog, None, &visible, limit).await;
            seen.sort();
            assert_eq!(seen, expected, "{visible:?} in pages of {limit}");
        }
        let mut one = walk_visible(catalog, Some("page:4"), &visible, 2).await;
        one.sort();
        let page: Owner = "page:4".parse().expect("an owner");
        expected.retain(|id| made.contains(&(id.clone(), Some(page.clone()))));
        assert_eq!(one, expected, "{visible:?} of one owner");
    }
}

async fn a_walk_holds_every_ready_attachment_once_in_the_order_of_keys(catalog: &Shared) {
    let (mut keys, mut others) = (Vec::new(), Vec::new());
    for n in 0..40 {
        let mut draft = draft();
        // Capitals and digits sort before small letters, "-" and "." before both: by bytes, as stores list.
        let id = format!("{}{n}", ["a", "B", "-", "_"][n % 4]);
        draft.id = id.parse().expect("an id");
        let extension = (n % 3 == 0).then_some("png");
        draft.key = ObjectKey::new(&draft.id, n % 5 != 0, extension);
        catalog.begin(&draft).await.expect("begin");
        if n % 7 == 0 {
            others.push(draft);
            continue;
        }
        catalog.commit(&draft.id, &stored(1)).await.expect("commit");
        keys.push(draft.key);
    }
    catalog.retire(&others[0].id).await.expect("retire");
    keys.sort();
    for limit in [1, 7, 1000] {
        let mut walked: Vec<ObjectKey> = Vec::new();
        while let page = catalog.walk(walked.last(), limit).await.expect("walk")
            && !page.is_empty()
        {
            assert!(page.len() <= limit as usize);
            for row in page {
                assert_eq!(catalog.find(&row.id).await.expect("find"), row);
                walked.push(row.key);
            }
        }
        assert_eq!(walked, keys, "pages of {limit}");
    }
}

async fn names_knows_the_objects_of_rows_in_every_state(catalog: &Shared) {
    let draft = draft();
    let named = async || catalog.names(&draft.key).await.expect("names");
    assert!(!named().await);
    catalog.begin(&draft).await.expect("begin");
    assert!(named().await, "pending");
    catalog.commit(&draft.id, &stored(1)).await.expect("commit");
    assert!(named().await, "ready");
    catalog.retire(&draft.id).await.expect("retire");
    assert!(named().await, "retired");
    catalog.forget(&draft.id).await.expect("forget");
    assert!(!named().await, "gone");
}

async fn what_the_store_calls_a_version_is_kept_until_another_is_noted(catalog: &Shared) {
    let (ready, pending) = (draft(), draft());
    for draft in [&ready, &pending] {
        catalog.begin(draft).await.expect("begin");
    }
    let stored = Stored {
        md5: Some(Hex([7; 16])),
        ..stored(70)
    };
    let found = catalog.commit(&ready.id, &stored).await.expect("commit");
    assert_eq!(
        (&found.store_tag, found.md5),
        (&stored.store_tag, stored.md5)
    );
    for tag in [Some("0x8DF"), None] {
        catalog.note_store_tag(&ready.id, tag).await.expect("noted");
        let now = catalog.find(&ready.id).await.expect("find");
        assert_eq!(now.store_tag.as_deref(), tag);
        let walked = catalog.walk(None, 10).await.expect("walk");
        assert_eq!(walked, [now]);
    }
    // What is not ready has no version yet.
    catalog
        .note_store_tag(&pending.id, Some("x"))
        .await
        .expect("nothing");
    let committed = catalog.commit(&pending.id, &stored).await.expect("commit");
    assert_eq!(committed.store_tag, stored.store_tag);
}

async fn what_is_restored_is_as_it_was_and_counts(catalog: &Shared) {
    for full in [true, false] {
        let mut draft = draft();
        draft.filename = "写真.png".parse().expect("a file name");
        draft.owner = full.then(|| "page:7".parse().expect("an owner"));
        draft.created_by = full.then(|| "Jürgen".parse().expect("an author"));
        let stored = Stored {
            crc64: full.then_some(u64::MAX),
            ..stored(70)
        };
        catalog.begin(&draft).await.expect("begin");
        let before = catalog.commit(&draft.id, &stored).await.expect("commit");
        let counted = totals(catalog).await;
        catalog.retire(&draft.id).await.expect("retire");
        catalog.forget(&draft.id).await.expect("forget");
        // As often as one likes.
        for _ in 0..2 {
            catalog.restore(&before).await.expect("restore");
            assert_eq!(catalog.find(&draft.id).await.expect("find"), before);
            assert_eq!(totals(catalog).await, counted);
        }
        catalog.retire(&draft.id).await.expect("it can be deleted");
        catalog.forget(&draft.id).await.expect("forget");
        assert_eq!(totals(catalog).await, (0, 0, 0));
    }
}

async fn restore_refuses_an_id_or_a_key_that_is_taken(catalog: &Shared) {
    let (pending, ready, retired) = (draft(), draft(), draft());
    let mut rows = Vec::new();
    for draft in [&pending, &ready, &retired] {
        catalog.begin(draft).await.expect("begin");
    }
    for draft in [&ready, &retired] {
        rows.push(catalog.commit(&draft.id, &stored(5)).await.expect("commit"));
    }
    catalog.retire(&retired.id).await.expect("retire");
    let before = totals(catalog).await;
    let [is_ready, was_retired] = rows.try_into().expect("two");
    let fresh = draft();
    let other_key = Attachment {
        key: fresh.key.clone(),
        ..is_ready.clone()
    };
    let other_id = Attachment {
        id: fresh.id.clone(),
        ..is_ready.clone()
    };
    let other_bytes = Attachment {
        size: 6,
        ..is_ready.clone()
    };
    let is_pending = Attachment {
        id: pending.id.clone(),
        key: pending.key.clone(),
        ..is_ready.clone()
    };
    for taken in [other_key, other_id, other_bytes, is_pending, was_retired] {
        let error = catalog.restore(&taken).await.expect_err("taken");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(totals(catalog).await, before);
    }
    assert_eq!(catalog.find(&ready.id).await.expect("find"), is_ready);
}

// What is promised of the file.

#[tokio::test]
async fn a_catalog_of_the_first_version_is_brought_up_to_date_with_its_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("attache.db");
    let connection = rusqlite::Connection::open(&path).expect("made");
    let schema = include_str!("../migrations/sqlite/0001_attachments.sql");
    connection.execute_batch(schema).expect("the first version");
    connection
        .pragma_update(None, "user_version", 1)
        .expect("noted");
    connection
        .execute_batch(
            "INSERT INTO attachments (id, object_key, state, filename, content_type, created_at_ms, charged_bytes, size, sha256, \
             worker) VALUES ('old', 'user/old', 'ready', 'a', 'a/b', 0, 5, 5, zeroblob(32), 'gone');
             UPDATE usage SET attachments = 1, ready_bytes = 5",
        )
        .expect("a row");
    drop(connection);
    // As often as it is opened.
    for _ in 0..2 {
        let catalog = SqliteCatalog::open(&path).expect("opens");
        let found = catalog.find(&"old".parse().expect("an id")).await;
        let found = found.expect("still there");
        assert_eq!((found.size, found.store_tag), (5, None));
        catalog.close().await;
    }
}

#[tokio::test]
async fn what_is_committed_is_there_after_close_and_open() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    let first: Shared = Arc::new(open_file(&path));
    let made = fill(&first, 5, |n| n).await;
    first.close().await;
    drop(first);
    // All of it is in one file, beside the space that is kept for deletions.
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| {
            let name = name.to_string_lossy();
            !name.ends_with("-workers") && !name.ends_with("-reserve")
        })
        .collect();
    assert_eq!(names, ["catalog.sqlite"]);
    let second: Shared = Arc::new(open_file(&path));
    assert_eq!(newest(&second, None).await, made);
}

#[tokio::test]
async fn a_second_process_leaves_alone_what_a_living_one_works_on() {
    // Two catalogs in one process are two workers, as two processes are.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    let first = open_file(&path);
    let second: Shared = Arc::new(open_file(&path));
    let draft = draft();
    first.begin(&draft).await.expect("begin");
    assert_eq!(unfinished(&second).await, []);
    drop(first);
    assert_eq!(unfinished(&second).await, [draft.id]);
}

#[tokio::test]
async fn a_row_is_forgotten_only_by_the_process_that_retired_it_last() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    let (first, second): (Shared, Shared) =
        (Arc::new(open_file(&path)), Arc::new(open_file(&path)));
    let draft = draft();
    first.begin(&draft).await.expect("begin");
    first.commit(&draft.id, &stored(1)).await.expect("commit");
    first.retire(&draft.id).await.expect("retire");
    // Somebody deletes it elsewhere, too, and may still work under its key.
    second.retire(&draft.id).await.expect("retire");
    first.forget(&draft.id).await.expect("nothing to do");
    assert_eq!(unfinished(&second).await, std::slice::from_ref(&draft.id));
    second.forget(&draft.id).await.expect("forget");
    assert_eq!(unfinished(&second).await, []);
}

#[tokio::test]
async fn what_a_living_process_retired_is_left_to_it_and_what_a_dead_one_retired_is_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    let (first, second): (Shared, Shared) =
        (Arc::new(open_file(&path)), Arc::new(open_file(&path)));
    let draft = draft();
    first.begin(&draft).await.expect("begin");
    first.retire(&draft.id).await.expect("retire");
    assert_eq!(unfinished(&second).await, []);
    assert_eq!(unfinished(&first).await, std::slice::from_ref(&draft.id));
    drop(first);
    assert_eq!(unfinished(&second).await, [draft.id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_at_the_same_time_finds_the_same_process_dead() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    let workers = folder.path().join("catalog.sqlite-workers");
    let first = open_file(&path);
    let file = std::fs::read_dir(&workers).expect("a folder").next();
    let file = file.expect("that of the first").expect("an entry").path();
    let draft = draft();
    first.begin(&draft).await.expect("begin");
    drop(first);
    let second: Shared = Arc::new(open_file(&path));
    for _ in 0..300 {
        // As a killed process leaves it.
        std::fs::write(&file, "").expect("a file");
        let asked = (0..4).map(|_| {
            let second = second.clone();
            tokio::spawn(async move { unfinished(&second).await })
        });
        for answer in futures::future::join_all(asked).await {
            assert_eq!(answer.expect("an answer"), std::slice::from_ref(&draft.id));
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_process_that_cannot_be_told_to_be_dead_is_alive() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    let workers = folder.path().join("catalog.sqlite-workers");
    let (first, second): (Shared, Shared) =
        (Arc::new(open_file(&path)), Arc::new(open_file(&path)));
    let draft = draft();
    first.begin(&draft).await.expect("begin");
    // Like too many open files: its file is there, and cannot be opened.
    for entry in std::fs::read_dir(&workers).expect("a folder") {
        let file = entry.expect("an entry").path();
        std::fs::remove_file(&file).expect("ours");
        std::os::unix::fs::symlink(&file, &file).expect("a link to itself");
    }
    assert_eq!(unfinished(&second).await, []);
}

#[tokio::test]
async fn killed_processes_leave_no_files_for_ever() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    let workers = folder.path().join("catalog.sqlite-workers");
    let alive = open_file(&path);
    for left in ["0123", ".4567"] {
        std::fs::write(workers.join(left), "").expect("what a killed process leaves");
    }
    let count = || std::fs::read_dir(&workers).expect("a folder").count();
    assert_eq!(count(), 3);
    let another = open_file(&path);
    assert_eq!(count(), 2, "that of the dead is gone");
    drop((alive, another));
    assert_eq!(count(), 0);
}

#[tokio::test]
async fn a_killed_process_leaves_what_it_committed_and_names_what_it_did_not_finish() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    let ours: Shared = Arc::new(open_file(&path));
    let mut child = Child::start("child_commits_until_it_is_killed", &path);
    let pending: AttachmentId = child.line().parse().expect("an id");
    let mut committed: Vec<AttachmentId> = Vec::new();
    while committed.len() < 30 {
        committed.push(child.line().parse().expect("an id"));
    }
    let alive = unfinished(&ours).await;
    assert_eq!(alive, [], "the process lives and works on them");
    committed.extend(child.kill().iter().map(|line| line.parse().expect("an id")));

    let rows = ours.unfinished(None, 1000).await.expect("unfinished");
    let ids: Vec<_> = rows.iter().map(|row| &row.id).collect();
    assert!(ids.contains(&&pending), "{ids:?}");
    assert!(rows.iter().all(|row| row.upload), "interrupted uploads");
    // At most the one that it was in the middle of comes to it.
    assert!(ids.len() <= 2, "{ids:?}");
    for id in &committed {
        catalog_has(&ours, id).await;
    }
    let (attachments, bytes, _) = totals(&ours).await;
    let listed = newest(&ours, None).await.len() as u64;
    assert_eq!((attachments, bytes), (listed, listed * 7));
    assert!(attachments >= committed.len() as u64);
    for row in &rows {
        ours.retire(&row.id).await.expect("retire");
        ours.forget(&row.id).await.expect("forget");
    }
    assert_eq!(
        totals(&ours).await,
        (attachments, bytes, 0),
        "their share is free"
    );
}

/// The other side of the test above: runs only as its child.
#[tokio::test]
async fn child_commits_until_it_is_killed() {
    let Some(path) = child::argument() else {
        return;
    };
    let catalog: Shared = Arc::new(open_file(&path));
    let pending = draft();
    catalog.begin(&pending).await.expect("begin");
    child::say(pending.id.as_str());
    loop {
        let draft = draft();
        catalog.begin(&draft).await.expect("begin");
        catalog.commit(&draft.id, &stored(7)).await.expect("commit");
        // Said only when it is on disk.
        child::say(draft.id.as_str());
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_process_retires_is_believed_for_a_moment_and_no_longer() {
    let (theirs, _folder) = open::sqlite();
    let ours: Shared = Arc::new(Recent::over(theirs.clone()));
    let draft = draft();
    ours.begin(&draft).await.expect("begin");
    ours.commit(&draft.id, &stored(7)).await.expect("commit");
    let found = ours.find(&draft.id).await.expect("it is there");
    theirs.retire(&draft.id).await.expect("retire");
    tokio::time::advance(BELIEVED / 2).await;
    assert_eq!(ours.find(&draft.id).await.expect("remembered"), found);
    tokio::time::advance(BELIEVED / 2).await;
    let error = ours.find(&draft.id).await.expect_err("long enough");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_now_is_told_and_corrects_what_is_remembered() {
    let (theirs, _folder) = open::sqlite();
    let ours: Shared = Arc::new(Recent::over(theirs.clone()));
    let draft = draft();
    ours.begin(&draft).await.expect("begin");
    ours.commit(&draft.id, &stored(7)).await.expect("commit");
    ours.find(&draft.id).await.expect("it is there");
    theirs.retire(&draft.id).await.expect("retire");
    ours.find_now(&draft.id).await.expect_err("retired");
    ours.find(&draft.id).await.expect_err("known now");
}

#[tokio::test]
async fn a_retirement_that_is_not_awaited_to_its_end_is_known_all_the_same() {
    let (theirs, _folder) = open::sqlite();
    let ours: Shared = Arc::new(Recent::over(theirs.clone()));
    let draft = draft();
    ours.begin(&draft).await.expect("begin");
    ours.commit(&draft.id, &stored(7)).await.expect("commit");
    ours.find(&draft.id).await.expect("it is there");
    // Polled once: the write is on its way, and nobody waits for it.
    assert!(futures::poll!(ours.retire(&draft.id)).is_pending());
    // Behind it in the line of writes.
    theirs.retire(&draft.id).await.expect("retire");
    ours.find(&draft.id).await.expect_err("not remembered");
}

#[tokio::test]
async fn a_catalog_of_a_newer_version_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    let catalog: Shared = Arc::new(open_file(&path));
    catalog.close().await;
    drop(catalog);
    let sqlite = rusqlite::Connection::open(&path).expect("the file");
    sqlite
        .pragma_update(None, "user_version", 99)
        .expect("written");
    drop(sqlite);
    let error = SqliteCatalog::open(&path).expect_err("newer than we are");
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    for word in ["99", "catalog.url"] {
        assert!(error.detail().contains(word), "{error}");
    }
    let sqlite = rusqlite::Connection::open(&path).expect("the file");
    let version: i64 = sqlite
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .expect("a version");
    assert_eq!(version, 99);
}

#[tokio::test]
async fn a_file_that_is_no_catalog_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    std::fs::write(
        &path,
        "This is no database, and was here before us.".repeat(100),
    )
    .expect("written");
    let error = SqliteCatalog::open(&path).expect_err("no database");
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error:?}");
    let error = SqliteCatalog::open(folder.path()).expect_err("a folder");
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error:?}");
}

#[tokio::test]
async fn processes_that_start_together_make_one_catalog() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    let opens = (0..8).map(|_| {
        let path = path.clone();
        tokio::task::spawn_blocking(move || open_file(&path))
    });
    let mut catalogs: Vec<Shared> = Vec::new();
    for opened in join_all(opens).await {
        catalogs.push(Arc::new(opened.expect("every one opens it")));
    }
    let tries = catalogs.iter().map(|catalog| async {
        let draft = Draft {
            size: None,
            reserve: 10,
            quota: Some(50),
            ..draft()
        };
        catalog.begin(&draft).await.is_ok()
    });
    let begun = join_all(tries)
        .await
        .into_iter()
        .filter(|begun| *begun)
        .count();
    assert_eq!(begun, 5, "they share one quota");
}

// Helpers.

fn open_file(path: &Path) -> SqliteCatalog {
    SqliteCatalog::open(path).expect("a catalog")
}

/// An upload of 100 bytes.
fn draft() -> Draft {
    let id = AttachmentId::generate();
    Draft {
        key: ObjectKey::new(&id, true, Some("txt")),
        id,
        owner: None,
        filename: "a.txt".parse().expect("a file name"),
        content_type: "text/plain".to_owned(),
        created_by: None,
        created_at: OffsetDateTime::now_utc(),
        size: None,
        reserve: 100,
        quota: None,
        idempotency_key: None,
    }
}

fn with_key(key: &str) -> Draft {
    Draft {
        idempotency_key: Some(key.parse().expect("a key")),
        ..draft()
    }
}

fn stored(size: u64) -> Stored {
    Stored {
        size,
        sha256: Some(Hex([1; 32])),
        md5: None,
        crc64: Some(5),
        utf8: None,
        store_tag: Some("0x8DE".to_owned()),
    }
}

/// Makes attachments of three owners at the moments that `moment` says; gives their ids, newest first.
async fn fill(catalog: &Shared, count: u64, moment: impl Fn(u64) -> u64) -> Vec<AttachmentId> {
    let start = OffsetDateTime::now_utc();
    let mut made = Vec::new();
    for n in 0..count {
        let mut draft = draft();
        let age = moment(n);
        draft.created_at = start - Duration::from_secs(age);
        draft.owner = Some(format!("page:{}", n % 3).parse().expect("an owner"));
        catalog.begin(&draft).await.expect("begin");
        catalog.commit(&draft.id, &stored(1)).await.expect("commit");
        made.push((std::cmp::Reverse(age), draft.id));
    }
    made.sort();
    made.into_iter().rev().map(|(_, id)| id).collect()
}

/// All pages of `limit`, one after the other.
async fn walk(catalog: &Shared, owner: Option<&str>, limit: u32) -> Vec<AttachmentId> {
    walk_visible(catalog, owner, &Owners::all(), limit).await
}

/// As `walk`, for somebody who may not see everything.
async fn walk_visible(
    catalog: &Shared,
    owner: Option<&str>,
    visible: &Owners,
    limit: u32,
) -> Vec<AttachmentId> {
    let owner = owner.map(|owner| owner.parse().expect("an owner"));
    let (mut after, mut ids) = (None, Vec::new());
    loop {
        let page = Page {
            owner: owner.clone(),
            visible: visible.clone(),
            after,
            limit,
        };
        let list = catalog.list(&page).await.expect("list");
        assert!(list.len() <= limit as usize);
        let Some(last) = list.last() else {
            return ids;
        };
        let ms = last.created_at.unix_timestamp_nanos() / 1_000_000;
        after = Some((i64::try_from(ms).expect("this century"), last.id.clone()));
        ids.extend(list.into_iter().map(|attachment| attachment.id));
    }
}

async fn newest(catalog: &Shared, owner: Option<&str>) -> Vec<AttachmentId> {
    walk(catalog, owner, 1000).await
}

async fn unfinished(catalog: &Shared) -> Vec<AttachmentId> {
    let rows = catalog.unfinished(None, 1000).await.expect("unfinished");
    rows.into_iter().map(|row| row.id).collect()
}

/// Attachments, their bytes, and reserved bytes.
async fn totals(catalog: &Shared) -> (u64, u64, u64) {
    let totals = catalog.totals().await.expect("totals");
    (totals.attachments, totals.bytes, totals.reserved_bytes)
}

async fn catalog_has(catalog: &Shared, id: &AttachmentId) {
    let found = catalog.find(id).await.expect("it was committed");
    assert_eq!(found.size, 7);
}

async fn assert_not_found(catalog: &Shared, id: &AttachmentId) {
    let error = catalog.find(id).await.expect_err("it is not ready");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_another_program_holds_the_write_lock_everybody_who_waits_is_told_to_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("catalog.db");
    let catalog: Shared = Arc::new(open_file(&path));
    let other = rusqlite::Connection::open(&path).expect("opened");
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let start = std::time::Instant::now();
    let id = AttachmentId::generate();
    let drafts: Vec<Draft> = (0..100).map(|_| draft()).collect();
    let begun = join_all(drafts.iter().map(|draft| catalog.begin(draft)));
    let (begun, retired, probed) = futures::join!(begun, catalog.retire(&id), catalog.probe());
    let errors = begun.into_iter().map(|begun| begun.expect_err("held"));
    let errors = errors.chain([retired.expect_err("held"), probed.expect_err("held")]);
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}");
        assert!(error.retry_hint().is_some(), "{error:?}");
    }
    // They waited for the same thing, and not one after the other.
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    other.execute_batch("ROLLBACK").expect("free");
    catalog.begin(&draft()).await.expect("free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_into_a_catalog_whose_file_was_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("catalog.db");
    let catalog: Shared = Arc::new(open_file(&path));
    catalog.begin(&draft()).await.expect("begun");
    std::fs::remove_file(&path).expect("removed");
    let refused = [
        catalog.begin(&draft()).await.map(|_| ()),
        catalog.probe().await,
        catalog.totals().await.map(|_| ()),
    ];
    for outcome in refused {
        assert_eq!(
            outcome.expect_err("removed").kind(),
            ErrorKind::UpstreamUnavailable
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_can_be_emptied() {
    let Some(disk) = common::SmallDisk::mount("4m") else {
        return;
    };
    let catalog: Shared = Arc::new(open_file(&disk.root().join("catalog.db")));
    let ids = fill(&catalog, 20, |n| n).await;
    let filler = disk.root().join("filler");
    let fill_up = || {
        let mut size = 1 << 20;
        while size > 0 {
            let mut file = std::fs::File::options();
            let file = file.create(true).append(true).open(&filler);
            let written =
                file.and_then(|mut file| std::io::Write::write_all(&mut file, &vec![0; size]));
            if written.is_err() {
                size /= 2;
            }
        }
    };
    fill_up();
    // Some writes find room in the log that is there already.
    let mut full = None;
    for _ in 0..1000 {
        match catalog.begin(&draft()).await {
            Ok(_) => {}
            Err(error) => {
                full = Some(error);
                break;
            }
        }
    }
    assert_eq!(full.expect("it is full").kind(), ErrorKind::StorageFull);
    for id in &ids {
        catalog
            .retire(id)
            .await
            .expect("a full disk can be emptied");
        catalog
            .forget(id)
            .await
            .expect("a full disk can be emptied");
    }
    // With room again there is something to give up the next time, too.
    std::fs::remove_file(&filler).expect("removed");
    let more = fill(&catalog, 2, |n| n).await;
    catalog.retire(&more[0]).await.expect("retired");
    catalog.forget(&more[0]).await.expect("forgotten");
    assert!(disk.root().join("catalog.db-reserve").exists());
}
