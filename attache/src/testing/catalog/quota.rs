//! What uploads reserve, weigh and free.

use futures::future::join_all;

use crate::catalog::Draft;
use crate::error::ErrorKind;
use crate::testing::rows::{Shared, draft, stored, totals};

pub async fn uploads_at_once_cannot_overshoot_the_quota_together(catalog: &Shared) {
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

pub async fn a_reservation_is_raised_within_the_quota_or_stays(catalog: &Shared) {
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

pub async fn what_is_retired_frees_its_share_at_once(catalog: &Shared) {
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
