//! Every method, whenever it is called: repeated, dropped, at once, after the end.

use futures::future::join_all;

use crate::access::Owners;
use crate::attachment::Hex;
use crate::catalog::{Page, Totals};
use crate::error::ErrorKind;
use crate::storage::Stored;
use crate::testing::rows::{Shared, draft, newest, stored, totals, unfinished};

pub async fn a_new_catalog_is_empty_and_answers(catalog: &Shared) {
    catalog.probe().await.expect("it can be written");
    assert_eq!(catalog.totals().await.expect("totals"), Totals::default());
    assert_eq!(newest(catalog, None).await, []);
    assert_eq!(unfinished(catalog).await, []);
}

pub async fn every_method_may_be_repeated(catalog: &Shared) {
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

pub async fn reads_that_are_dropped_are_in_nobodys_way(catalog: &Shared) {
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

pub async fn writes_that_are_dropped_happen_or_do_not(catalog: &Shared) {
    let drafts: Vec<_> = (0..50).map(|_| draft()).collect();
    for draft in &drafts {
        let left = futures::poll!(std::pin::pin!(catalog.begin(draft)));
        drop(left);
    }
    // A later one of the same kind comes after them; other kinds may have a queue of their own.
    let last = draft();
    catalog.begin(&last).await.expect("it goes on");
    let mut happened = 0;
    for draft in drafts.iter().chain([&last]) {
        happened += u64::from(catalog.commit(&draft.id, &stored(1)).await.is_ok());
    }
    assert_eq!(totals(catalog).await, (happened, happened, 0));
    assert!(happened > 0, "the last one was awaited");
}

pub async fn nothing_works_after_close(catalog: &Shared) {
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
        ("list_by_key", catalog.list_by_key(None, 1).await.err()),
        (
            "is_referenced",
            catalog.is_referenced(&draft.key).await.err(),
        ),
    ];
    for (method, error) in outcomes {
        let error = error.unwrap_or_else(|| panic!("{method} works on"));
        assert!(error.detail().contains("closed"), "{method}: {error}");
    }
}
