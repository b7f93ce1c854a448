//! Writing an object: whole or not at all, once, within bounds.

use bytes::Bytes;
use futures::future::join_all;
use md5::Digest as _;

use crate::attachment::Hex;
use crate::error::{Error, ErrorKind};
use crate::storage::Content;
use crate::testing::objects::{
    BLOCK, Store, assert_absent, assert_nothing_runs, body, content, facts, failing_body,
    fresh_key, get, interrupt_put, list, pattern, poll_at_most, put, range,
};
use crate::transfer::body::Body;

pub async fn an_empty_object_can_be_put_listed_read_and_deleted(store: &Store) {
    for size in [None, Some(0)] {
        let key = fresh_key();
        let content = Content {
            size,
            ..content(facts(&key))
        };
        let stored = store.put(&key, &content, body(&Bytes::new())).await;
        assert_eq!(stored.expect("put").size, 0);
        let whole = get(&**store, &key, None).await.expect("get");
        assert_eq!((whole.bytes.len(), whole.range), (0, range(0, 0)));
        assert_eq!(whole.info.facts.as_ref(), Some(&content.facts));
        assert_eq!(list(&**store, None).await.expect("list"), [whole.info]);
        let error = store.get(&key, Some(range(0, 1))).await;
        let error = error.expect_err("no first byte");
        assert_eq!(error.kind(), ErrorKind::BadRange, "{error:?}");
        store.delete(&key).await.expect("delete");
        assert_absent(store, &key).await;
    }
}

pub async fn a_body_of_unknown_length_is_stored_whole(store: &Store) {
    for size in [1, BLOCK, BLOCK + 1, 7 * BLOCK + 3] {
        let (key, bytes) = (fresh_key(), pattern(size, 2));
        // Nothing hashed: a store must not depend on digests being there.
        let chunks = [Ok(bytes.slice(..1)), Ok(Bytes::new()), Ok(bytes.slice(1..))];
        let body = Body::new(futures::stream::iter(chunks));
        let stored = store.put(&key, &content(facts(&key)), body).await;
        assert_eq!(stored.expect("put").size, size);
        let whole = get(&**store, &key, None).await.expect("get");
        assert!(whole.bytes == bytes, "{size} bytes came back changed");
    }
}

pub async fn a_store_that_computes_md5_tells_and_keeps_that_of_what_came_in_one_block(
    store: &Store,
) {
    if !store.computes_md5() {
        return;
    }
    for size in [0, 1, BLOCK] {
        let (key, bytes) = (fresh_key(), pattern(size, 4));
        let alone = Body::from_bytes(bytes.clone()).hashed(false);
        let stored = store.put(&key, &content(facts(&key)), alone).await;
        let expected = Some(Hex(md5::Md5::digest(&bytes).into()));
        assert_eq!(stored.expect("put").md5, expected, "{size} bytes");
        let kept = store.head(&key).await.expect("head").expect("is there");
        assert_eq!(kept.md5, expected, "{size} bytes");
    }
}

pub async fn put_commits_nothing_when_the_body_fails(store: &Store) {
    for size in [0, 1000, BLOCK, 6 * BLOCK + 5] {
        let (key, bytes) = (fresh_key(), pattern(size, 3));
        let content = content(facts(&key));
        let told = Error::new(ErrorKind::DigestMismatch, format!("after {size} bytes"));
        let outcome = store.put(&key, &content, failing_body(&bytes, told)).await;
        let error = outcome.expect_err("the body failed");
        assert_eq!(error.kind(), ErrorKind::DigestMismatch);
        assert_eq!(
            error.detail(),
            format!("after {size} bytes"),
            "that very error"
        );
        assert_eq!(content.blocks.budget.held(), 0);
        assert_absent(store, &key).await;
        // Nothing stays behind that would be in the way.
        put(&**store, &key, &bytes).await.expect("a second try");
        assert!(get(&**store, &key, None).await.expect("get").bytes == bytes);
    }
}

pub async fn put_refuses_to_overwrite_and_leaves_the_first_object_alone(store: &Store) {
    for (first_size, second_size) in [
        (1000, 2000),
        (1000, 4 * BLOCK),
        (4 * BLOCK, 1000),
        (4 * BLOCK, 5 * BLOCK),
        (0, 10),
    ] {
        let key = fresh_key();
        let (first, second) = (pattern(first_size, 4), pattern(second_size, 5));
        put(&**store, &key, &first).await.expect("put");
        let before = get(&**store, &key, None).await.expect("get").info;
        let error = put(&**store, &key, &second).await;
        assert_eq!(error.expect_err("it exists").kind(), ErrorKind::Conflict);
        let told = Error::new(ErrorKind::ClientGone, "gone");
        let failing = failing_body(&second, told);
        let error = store.put(&key, &content(facts(&key)), failing).await;
        error.expect_err("it exists, and the body fails");
        let after = get(&**store, &key, None).await.expect("get");
        assert_eq!(after.info, before);
        assert!(after.bytes == first, "the first object was changed");
    }
}

pub async fn two_puts_at_once_have_one_winner(store: &Store) {
    for size in [1000, 4 * BLOCK] {
        let key = fresh_key();
        let tries = (0..4).map(|seed| {
            let (store, key) = (store.clone(), key.clone());
            // Each of its own length, so that what is mixed cannot be whole.
            let bytes = pattern(size + seed, seed);
            tokio::spawn(async move { (put(&*store, &key, &bytes).await, bytes) })
        });
        let mut winners = Vec::new();
        for outcome in join_all(tries).await {
            match outcome.expect("no put panics") {
                (Ok(_), bytes) => winners.push(bytes),
                (Err(error), _) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}"),
            }
        }
        assert_eq!(winners.len(), 1);
        let whole = get(&**store, &key, None).await.expect("get");
        assert!(whole.bytes == winners[0], "readers see the winner's bytes");
        assert_eq!(list(&**store, None).await.expect("list").len(), 1);
        store.delete(&key).await.expect("delete");
    }
}

pub async fn many_puts_at_once_share_a_small_budget(store: &Store) {
    let plan = content(facts(&fresh_key())).blocks;
    let tries = (0..24).map(|seed| {
        let (store, plan, key) = (store.clone(), plan.clone(), fresh_key());
        tokio::spawn(async move {
            let bytes = pattern(900 * 1024, seed);
            let mut content = content(facts(&key));
            content.blocks = plan;
            content.blocks.bytes = 256 * 1024;
            store.put(&key, &content, body(&bytes)).await.expect("put");
            let whole = get(&*store, &key, None).await.expect("get");
            assert!(whole.bytes == bytes);
        })
    });
    for outcome in join_all(tries).await {
        outcome.expect("all find memory in their turn");
    }
    assert_eq!(plan.budget.held(), 0);
}

pub async fn a_put_dropped_at_any_moment_is_done_or_not_done(store: &Store) {
    let bytes = pattern(2 * BLOCK + 9, 6);
    for polls in 0..40 {
        let key = fresh_key();
        let content = content(facts(&key));
        let outcome = poll_at_most(polls, store.put(&key, &content, body(&bytes))).await;
        assert_eq!(content.blocks.budget.held(), 0, "memory is free at once");
        match (get(&**store, &key, None).await, outcome) {
            (Ok(whole), _) => {
                assert!(whole.bytes == bytes, "half done after {polls} polls");
                assert_eq!(whole.info.facts.as_ref(), Some(&content.facts));
            }
            (Err(error), None) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}"),
            (Err(error), Some(done)) => panic!("{done:?}, but {error:?}"),
        }
    }
    for info in list(&**store, None).await.expect("list") {
        assert_eq!(info.size, bytes.len() as u64, "a part is listed");
    }
}

pub async fn dropping_a_put_leaves_nothing_visible(store: &Store) {
    for size in [0, 1000, BLOCK, 6 * BLOCK] {
        let key = fresh_key();
        interrupt_put(&**store, &key, &pattern(size, 7)).await;
        assert_absent(store, &key).await;
    }
    assert_nothing_runs(store).await;
}
