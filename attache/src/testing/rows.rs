//! Rows to keep, and what one does with a catalog: what its promises are written in.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use crate::access::Owners;
use crate::attachment::{AttachmentId, Hex, ObjectKey};
use crate::catalog::{Catalog, Draft, Page};
use crate::error::ErrorKind;
use crate::storage::Stored;

/// What the promises are asked of.
pub type Shared = Arc<dyn Catalog>;

/// An upload of 100 bytes.
pub fn draft() -> Draft {
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

/// One with an idempotency key.
pub fn with_key(key: &str) -> Draft {
    Draft {
        idempotency_key: Some(key.parse().expect("a key")),
        ..draft()
    }
}

/// What a store says of so many bytes.
pub fn stored(size: u64) -> Stored {
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
pub async fn fill(catalog: &Shared, count: u64, moment: impl Fn(u64) -> u64) -> Vec<AttachmentId> {
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
pub async fn walk(catalog: &Shared, owner: Option<&str>, limit: u32) -> Vec<AttachmentId> {
    walk_visible(catalog, owner, &Owners::all(), limit).await
}

/// As `walk`, for somebody who may not see everything.
pub async fn walk_visible(
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

/// All of an owner, or of all of them.
pub async fn newest(catalog: &Shared, owner: Option<&str>) -> Vec<AttachmentId> {
    walk(catalog, owner, 1000).await
}

/// Rows that nobody works on.
pub async fn unfinished(catalog: &Shared) -> Vec<AttachmentId> {
    let rows = catalog.unfinished(None, 1000).await.expect("unfinished");
    rows.into_iter().map(|row| row.id).collect()
}

/// Attachments, their bytes, and reserved bytes.
pub async fn totals(catalog: &Shared) -> (u64, u64, u64) {
    let totals = catalog.totals().await.expect("totals");
    (totals.attachments, totals.bytes, totals.reserved_bytes)
}

/// It is not there for those who ask.
pub async fn assert_not_found(catalog: &Shared, id: &AttachmentId) {
    let error = catalog.find(id).await.expect_err("it is not ready");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
