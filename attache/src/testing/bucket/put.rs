//! Objects are there whole, or not at all.

use bytes::Bytes;
use futures::future::join_all;
use time::{Duration, OffsetDateTime};

use crate::error::{Error, ErrorKind};
use crate::storage::bucket::{Key, NewObject, Properties};
use crate::testing::buckets::{
    Pail, found, is_told, key, new, properties, put, put_new, read, tag,
};
use crate::testing::objects::{BLOCK, body, failing_body, pattern, poll_at_most};
use crate::transfer::body::crc64;

pub async fn an_object_comes_back_as_it_was_put_by_get_head_and_list(bucket: &Pail) {
    for (size, known) in [0, 1, BLOCK, BLOCK + 1, 7 * BLOCK + 3]
        .into_iter()
        .flat_map(|size| [(size, false), (size, true)])
    {
        let (key, bytes) = (key(&format!("a/{size}-{known}")), pattern(size, size));
        let told = NewObject {
            size: known.then_some(size),
            ..new()
        };
        let put = put_new(bucket, &key, &told, &bytes).await.expect("put");
        let (entry, read) = found(bucket, &key).await.expect("it is there");
        assert!(read == bytes, "other bytes of {size}");
        assert!(
            is_told(&put, &entry),
            "put says what head says: {put:?} {entry:?}"
        );
        assert_eq!((entry.size, &entry.etag), (size, &tag(&bytes)));
        assert!(entry.crc64.is_none_or(|crc| crc == crc64(&bytes)));
        assert!(!entry.archived);
        let age = OffsetDateTime::now_utc() - entry.modified;
        assert!(age.abs() < Duration::minutes(5), "changed {age} ago");
    }
}

pub async fn an_object_is_replaced_with_all_that_belongs_to_it(bucket: &Pail) {
    let (key, mut last) = (key("k"), None);
    for (size, seed) in [(5 * BLOCK, 1), (10, 2), (0, 3), (3 * BLOCK, 4), (10, 5)] {
        let bytes = pattern(size, seed);
        let with = NewObject {
            properties: match seed % 2 {
                0 => properties(),
                _ => Properties::default(),
            },
            ..new()
        };
        put_new(bucket, &key, &with, &bytes).await.expect("put");
        let (entry, read) = found(bucket, &key).await.expect("it is there");
        assert!(read == bytes, "other bytes");
        assert_eq!(entry.properties, with.properties);
        assert_ne!(Some(&entry.version), last.as_ref(), "another version");
        last = Some(entry.version);
    }
}

pub async fn a_put_changes_nothing_when_its_body_fails(bucket: &Pail) {
    let (key, first) = (key("k"), pattern(10, 1));
    for there in [false, true] {
        if there {
            put(bucket, &key, &first).await.expect("put");
        }
        let before = found(bucket, &key).await;
        for size in [0, 1, BLOCK, 5 * BLOCK + 1] {
            let (new, told) = (new(), Error::new(ErrorKind::ClientGone, "told so"));
            let error = bucket
                .put(&key, &new, failing_body(&pattern(size, 2), told))
                .await
                .expect_err("the body fails");
            assert_eq!(error.detail(), "told so", "that very error");
            assert_eq!(new.blocks.budget.held(), 0);
            assert_eq!(found(bucket, &key).await, before, "{size}");
        }
    }
}

pub async fn a_put_dropped_at_any_moment_is_done_or_not_done(bucket: &Pail) {
    let key = key("k");
    let mut states: Vec<Option<Bytes>> = vec![None];
    for polls in (0..24).chain([30, 40, 60]) {
        let bytes = pattern(3 * BLOCK + 1, polls);
        let new = new();
        let put = bucket.put(&key, &new, body(&bytes));
        poll_at_most(usize::try_from(polls).expect("few"), put).await;
        assert_eq!(new.blocks.budget.held(), 0, "memory is free at once");
        states.push(Some(bytes));
        assert!(states.contains(&now(bucket, &key).await), "half done");
    }
    // What was sent when nobody waited any more may arrive now; what is put at last stays.
    let last = pattern(2 * BLOCK, 99);
    put(bucket, &key, &last).await.expect("put");
    states.push(Some(last));
    assert!(states.contains(&now(bucket, &key).await), "a mixture");
}

/// The bytes that are there. One call, since what nobody waits for any more may arrive between two.
async fn now(bucket: &Pail, key: &Key) -> Option<Bytes> {
    match read(bucket, key, None).await {
        Ok((entry, bytes)) => {
            assert_eq!(entry.etag, tag(&bytes), "of another version");
            Some(bytes)
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
            None
        }
    }
}

pub async fn readers_see_the_old_object_or_the_new_one(bucket: &Pail) {
    let key = key("k");
    let both = [pattern(2 * BLOCK + 1, 1), pattern(3 * BLOCK, 2)];
    put(bucket, &key, &both[0]).await.expect("put");
    let writer = async {
        for round in 0..8 {
            let bytes = &both[(round + 1) % 2];
            put(bucket, &key, bytes).await.expect("put");
        }
    };
    let reader = async {
        for _ in 0..30 {
            match read(bucket, &key, None).await {
                Ok((entry, bytes)) => {
                    assert!(both.contains(&bytes), "a mixture");
                    assert_eq!(entry.etag, tag(&bytes), "of another version");
                }
                // It was replaced while it was read.
                Err(error) => assert_eq!(error.kind(), ErrorKind::PreconditionFailed, "{error:?}"),
            }
        }
    };
    futures::future::join(writer, reader).await;
}

pub async fn two_puts_at_once_leave_one_of_them_whole(bucket: &Pail) {
    for size in [10, 3 * BLOCK] {
        let (key, many) = (
            key(&format!("k{size}")),
            (0..4).map(|seed| pattern(size, seed)),
        );
        let many: Vec<Bytes> = many.collect();
        let outcomes = join_all(many.iter().map(|bytes| put(bucket, &key, bytes))).await;
        let done: Vec<&Bytes> = (outcomes.iter().zip(&many))
            .filter_map(|(outcome, bytes)| outcome.is_ok().then_some(bytes))
            .collect();
        assert_eq!(done.len(), many.len(), "{outcomes:?}");
        let (entry, bytes) = found(bucket, &key).await.expect("it is there");
        assert!(many.contains(&bytes), "a mixture");
        assert_eq!(entry.etag, tag(&bytes));
    }
}

pub async fn a_deleted_object_is_gone_and_nothing_else_and_an_absent_one_is_success(bucket: &Pail) {
    let [one, two] = ["a/b", "a/b/c"].map(key);
    for key in [&one, &two] {
        put(bucket, key, &pattern(BLOCK, 1)).await.expect("put");
    }
    for _ in 0..2 {
        bucket.delete(&one).await.expect("deleted");
        assert!(found(bucket, &one).await.is_none());
        assert!(found(bucket, &two).await.is_some());
    }
    put(bucket, &one, &pattern(3, 1)).await.expect("it is free");
    assert!(found(bucket, &one).await.is_some());
}
