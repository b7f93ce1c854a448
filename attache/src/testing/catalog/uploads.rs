//! From a draft to an attachment, once.

use futures::future::join_all;

use crate::attachment::{AttachmentId, Hex};
use crate::catalog::{Begun, Draft};
use crate::error::ErrorKind;
use crate::storage::Stored;
use crate::testing::rows::{
    Shared, assert_not_found, draft, newest, stored, totals, unfinished, with_key,
};

pub async fn an_attachment_is_there_between_commit_and_retire(catalog: &Shared) {
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

pub async fn what_was_drafted_is_what_is_found(catalog: &Shared) {
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

pub async fn a_commit_settles_in_which_charset_a_text_is(catalog: &Shared) {
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

pub async fn begin_refuses_an_id_or_a_key_that_is_taken(catalog: &Shared) {
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

pub async fn commit_and_reserve_need_a_pending_upload(catalog: &Shared) {
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

pub async fn a_repeated_idempotency_key_returns_the_first_result(catalog: &Shared) {
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

pub async fn an_idempotency_key_is_refused_while_its_upload_runs_or_for_another_file(
    catalog: &Shared,
) {
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

pub async fn retiring_frees_the_idempotency_key(catalog: &Shared) {
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
