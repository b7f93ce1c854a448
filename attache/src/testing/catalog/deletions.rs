//! What is retired stays named until its bytes are gone.

use crate::catalog::{Draft, Unfinished};
use crate::testing::rows::{Shared, draft, stored};

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
