//! What is retired stays named until its bytes are gone.

use time::OffsetDateTime;

use crate::catalog::{Abandoned, Draft, Unfinished};
use crate::testing::rows::{Shared, draft, stored, totals};

pub async fn unfinished_names_what_is_retired_and_nothing_that_is_worked_on(catalog: &Shared) {
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
            is_ours: true,
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

pub async fn a_process_abandons_its_own_uploads_and_no_attachment(catalog: &Shared) {
    let (pending, ready) = (draft(), draft());
    for draft in [&pending, &ready] {
        catalog.begin(draft).await.expect("begin");
    }
    catalog.commit(&ready.id, &stored(1)).await.expect("commit");
    // Whatever its process believes, by now it is an attachment.
    let abandoned = catalog.abandon(&ready.id).await.expect("abandon");
    assert_eq!(abandoned, Abandoned::Kept);
    catalog.find(&ready.id).await.expect("it stays");
    for _ in 0..2 {
        let abandoned = catalog.abandon(&pending.id).await.expect("abandon");
        assert_eq!(abandoned, Abandoned::Retired(pending.key.clone()));
        assert_eq!(totals(catalog).await, (1, 1, 0));
    }
    catalog.forget(&pending.id).await.expect("forget");
    let abandoned = catalog.abandon(&pending.id).await.expect("abandon");
    assert_eq!(abandoned, Abandoned::Gone);
}

pub async fn nobody_takes_over_what_is_worked_on(catalog: &Shared) {
    let now = OffsetDateTime::now_utc();
    let taken = async |draft: &Draft| catalog.take_over(&draft.id, now).await.expect("take_over");
    let (pending, ready, retired) = (draft(), draft(), draft());
    for draft in [&pending, &ready, &retired] {
        assert!(!taken(draft).await, "there is none");
        catalog.begin(draft).await.expect("begin");
        assert!(!taken(draft).await, "it is worked on");
    }
    catalog.commit(&ready.id, &stored(1)).await.expect("commit");
    assert!(!taken(&ready).await, "it is an attachment");
    catalog.retire(&retired.id).await.expect("retire");
    // A deletion of this process that failed is its own to finish.
    assert!(taken(&retired).await);
    catalog.forget(&retired.id).await.expect("forget");
    assert!(!taken(&retired).await, "it is gone");
    catalog
        .commit(&pending.id, &stored(1))
        .await
        .expect("untouched");
    assert_eq!(totals(catalog).await, (2, 2, 0));
    let replicas = catalog.replicas().await.expect("replicas");
    let this = replicas.iter().filter(|replica| replica.is_this).count();
    assert_eq!((replicas.len(), this), (1, 1), "{replicas:?}");
}

pub async fn names_knows_the_objects_of_rows_in_every_state(catalog: &Shared) {
    let draft = draft();
    let named = async || {
        catalog
            .is_referenced(&draft.key)
            .await
            .expect("is_referenced")
    };
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
