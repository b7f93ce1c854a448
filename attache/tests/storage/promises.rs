//! One function per promise of `Storage`. Each gets an empty store of its own.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use attache::attachment::filename::Disposition;
use attache::attachment::{AttachmentId, ByteRange, Hex, ObjectKey};
use attache::storage::{Content, Facts, Grant, ObjectInfo, Offer};
use attache::transfer::body::Body;
use attache::{Error, ErrorKind};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::join_all;
use sha2::Digest as _;
use tokio::sync::oneshot;

use crate::common::{
    BLOCK, Store, body, content, eventually, facts, failing_body, fresh_key, get, interrupt_put,
    list, pattern, put,
};

pub(crate) async fn probe_succeeds(store: &Store) {
    let probe = store.probe().await.expect("a store that works");
    assert!(!probe.summary.is_empty());
    let skew = probe.clock_skew_s.unwrap_or_default();
    assert!(skew.abs() < 60.0, "one machine has one clock: {skew}");
}

pub(crate) async fn get_returns_what_was_put_whole_and_any_range(store: &Store) {
    // Around the sizes at which an upload changes its ways: one block, one byte more, several.
    for size in [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 5 * BLOCK + 17] {
        let (key, bytes) = (fresh_key(), pattern(size, size));
        let stored = put(&**store, &key, &bytes).await.expect("put");
        assert_eq!(stored.size, size);

        let whole = get(&**store, &key, None).await.expect("get");
        assert_eq!((whole.info.key, whole.info.size), (key.clone(), size));
        assert_eq!(whole.range, range(0, size));
        assert!(whole.bytes == bytes, "{size} bytes came back changed");

        let middle = size / 2;
        for wanted in [
            range(0, size),
            range(0, 1),
            range(size - 1, size),
            range(middle, size),
            range(middle, middle + 1),
            range(middle / 2, middle.max(1)),
        ] {
            let part = get(&**store, &key, Some(wanted)).await.expect("a range");
            assert_eq!((part.range, part.info.size), (wanted, size));
            assert!(part.bytes == slice(&bytes, wanted), "{wanted:?} of {size}");
        }
    }
}

pub(crate) async fn a_range_behind_the_end_is_bad_range_and_one_across_it_is_cut(store: &Store) {
    for size in [1, 1000, 2 * BLOCK] {
        let (key, bytes) = (fresh_key(), pattern(size, 1));
        put(&**store, &key, &bytes).await.expect("put");
        for (start, end) in [(size, size + 1), (size + 7, size + 9)] {
            let error = store.get(&key, Some(range(start, end))).await;
            let error = error.expect_err("nothing lies behind the end");
            assert_eq!(error.kind(), ErrorKind::BadRange, "{error:?}");
        }
        for (start, end) in [(0, size + 1), (size - 1, size + 1_000_000)] {
            let part = get(&**store, &key, Some(range(start, end))).await;
            let part = part.expect("a range across the end is cut");
            assert_eq!(part.range, range(start, size));
            assert!(part.bytes == slice(&bytes, range(start, size)));
        }
    }
}

pub(crate) async fn get_of_an_absent_object_is_not_found(store: &Store) {
    for wanted in [None, Some(range(0, 10))] {
        let error = store.get(&fresh_key(), wanted).await;
        assert_eq!(error.expect_err("absent").kind(), ErrorKind::NotFound);
    }
}

pub(crate) async fn an_empty_object_can_be_put_listed_read_and_deleted(store: &Store) {
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

pub(crate) async fn a_body_of_unknown_length_is_stored_whole(store: &Store) {
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

pub(crate) async fn put_commits_nothing_when_the_body_fails(store: &Store) {
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

pub(crate) async fn put_refuses_to_overwrite_and_leaves_the_first_object_alone(store: &Store) {
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

pub(crate) async fn two_puts_at_once_have_one_winner(store: &Store) {
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

pub(crate) async fn many_puts_at_once_share_a_small_budget(store: &Store) {
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

pub(crate) async fn a_put_dropped_at_any_moment_is_done_or_not_done(store: &Store) {
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

pub(crate) async fn dropping_a_put_leaves_nothing_visible(store: &Store) {
    for size in [0, 1000, BLOCK, 6 * BLOCK] {
        let key = fresh_key();
        interrupt_put(&**store, &key, &pattern(size, 7)).await;
        assert_absent(store, &key).await;
    }
    assert_nothing_runs(store).await;
}

pub(crate) async fn discard_removes_what_an_interrupted_put_left(store: &Store) {
    let (key, bytes) = (fresh_key(), pattern(6 * BLOCK, 8));
    interrupt_put(&**store, &key, &bytes).await;
    for _ in 0..2 {
        store.discard(&key).await.expect("discard, and again");
        assert_absent(store, &key).await;
    }
    put(&**store, &key, &bytes).await.expect("the key is free");
    assert!(get(&**store, &key, None).await.expect("get").bytes == bytes);
}

pub(crate) async fn discard_removes_an_object_and_nothing_is_success(store: &Store) {
    let (key, other) = (fresh_key(), fresh_key());
    put(&**store, &other, &pattern(10, 8)).await.expect("put");
    for size in [10, 3 * BLOCK] {
        put(&**store, &key, &pattern(size, 9)).await.expect("put");
        store.discard(&key).await.expect("discard");
        assert_absent(store, &key).await;
    }
    store.discard(&fresh_key()).await.expect("nothing there");
    get(&**store, &other, None).await.expect("others stay");
}

pub(crate) async fn readers_at_once_do_not_disturb_each_other(store: &Store) {
    let (key, bytes) = (fresh_key(), pattern(8 * BLOCK, 10));
    put(&**store, &key, &bytes).await.expect("put");
    let readers = (0..8).map(|reader| {
        let (store, key, bytes) = (store.clone(), key.clone(), bytes.clone());
        tokio::spawn(async move {
            let wanted = range(reader * BLOCK / 2, bytes.len() as u64 - reader);
            let part = get(&*store, &key, Some(wanted)).await.expect("get");
            assert!(part.bytes == slice(&bytes, wanted));
        })
    });
    for outcome in join_all(readers).await {
        outcome.expect("every reader gets its own part");
    }
}

pub(crate) async fn dropping_a_get_frees_the_storage(store: &Store) {
    let (key, bytes) = (fresh_key(), pattern(4 * 1024 * 1024, 11));
    put(&**store, &key, &bytes).await.expect("put");
    for _ in 0..20 {
        let mut object = store.get(&key, None).await.expect("get");
        object.body.next().await.expect("a chunk").expect("bytes");
        // Dropped with most of it unread.
    }
    for polls in 0..5 {
        drop(poll_at_most(polls, store.get(&key, None)).await);
    }
    assert_nothing_runs(store).await;
    store.delete(&key).await.expect("nobody holds it");
    assert_absent(store, &key).await;
    put(&**store, &key, &bytes).await.expect("the key is free");
}

pub(crate) async fn delete_removes_one_object_for_good(store: &Store) {
    let (key, other) = (fresh_key(), fresh_key());
    let (bytes, small) = (pattern(3 * BLOCK, 12), pattern(10, 13));
    put(&**store, &key, &bytes).await.expect("put");
    put(&**store, &other, &bytes).await.expect("put");
    store.delete(&key).await.expect("delete");
    assert_absent(store, &key).await;
    assert!(get(&**store, &other, None).await.expect("get").bytes == bytes);
    // What comes later under the key is new in every way.
    put(&**store, &key, &small).await.expect("the key is free");
    assert!(get(&**store, &key, None).await.expect("get").bytes == small);
}

pub(crate) async fn delete_of_an_absent_object_is_success(store: &Store) {
    let key = fresh_key();
    store.delete(&key).await.expect("it was never there");
    put(&**store, &key, &pattern(10, 14)).await.expect("put");
    for _ in 0..2 {
        store.delete(&key).await.expect("delete, and again");
    }
}

pub(crate) async fn list_is_ascending_complete_each_once_and_resumes_after_a_key(store: &Store) {
    assert_eq!(list(&**store, None).await.expect("an empty list"), []);
    // Where orders differ: folders, capitals, digits, and "-" before "." before digits.
    let names = [
        "attachment/a",
        "attachment/a.png",
        "attachment/a-b",
        "attachment/a0.png",
        "attachment/B",
        "attachment/_",
        "attachment/b.a",
        "attachment/b.jpeg",
        "user/A",
        "user/a.png",
        "user/0",
    ];
    let mut expected: BTreeSet<ObjectKey> = names
        .iter()
        .map(|name| name.parse().expect("a key"))
        .collect();
    expected.extend((0..30).map(|n| {
        let extension = (n % 3 == 0).then_some("png");
        ObjectKey::new(&AttachmentId::generate(), n % 2 == 0, extension)
    }));
    // Not in the order of the list.
    for (size, key) in expected.iter().rev().enumerate() {
        put(&**store, key, &pattern(size as u64, 15))
            .await
            .expect("put");
    }
    let expected: Vec<ObjectKey> = expected.into_iter().collect();

    let keys = |after: Option<ObjectKey>| async move {
        let infos = list(&**store, after.as_ref()).await.expect("list");
        infos.into_iter().map(|info| info.key).collect::<Vec<_>>()
    };
    assert_eq!(keys(None).await, expected);
    for (at, after) in expected.iter().enumerate() {
        assert_eq!(
            keys(Some(after.clone())).await,
            expected[at + 1..],
            "after {after}"
        );
    }
    // After a key that is not there any more.
    store.delete(&expected[5]).await.expect("delete");
    assert_eq!(keys(Some(expected[5].clone())).await, expected[6..]);

    for (at, info) in list(&**store, None).await.expect("list").iter().enumerate() {
        let index = if at < 5 { at } else { at + 1 };
        assert_eq!(
            info.size as usize,
            expected.len() - 1 - index,
            "{}",
            info.key
        );
    }
}

pub(crate) async fn the_charset_of_a_text_travels_with_it_once_all_of_it_has_passed(store: &Store) {
    let long = |end: &[u8]| {
        Bytes::from(
            [
                &vec![b'x'; 3 * usize::try_from(BLOCK).expect("small")][..],
                end,
            ]
            .concat(),
        )
    };
    for (drafted, bytes, settled) in [
        ("text/plain", Bytes::from("写"), "text/plain; charset=utf-8"),
        (
            "text/plain",
            long("写".as_bytes()),
            "text/plain; charset=utf-8",
        ),
        (
            "text/plain",
            long(b"\x8E\xCA"),
            "text/plain; charset=unknown-8bit",
        ),
        (
            "text/markdown; charset=Shift_JIS",
            long(b"\x8E\xCA"),
            "text/markdown; charset=Shift_JIS",
        ),
    ] {
        let key = fresh_key();
        let facts = Facts {
            content_type: drafted.to_owned(),
            ..facts(&key)
        };
        let content = content(facts);
        store.put(&key, &content, body(&bytes)).await.expect("put");
        let found = get(&**store, &key, None).await.expect("get").info;
        assert_eq!(found.facts.expect("facts").content_type, settled);
    }
}

pub(crate) async fn facts_digests_and_unusual_names_travel_with_the_object(store: &Store) {
    let long = "長".repeat(255);
    let names = [
        "写真 🦀.png",
        "it's \"quoted\".txt",
        "100%25 %.txt",
        "a+b&c=d;e,f#g?h.txt",
        "Ünïcödé~`^|<>{}[].txt",
        " nbsp\u{a0}inside",
        &long,
    ];
    for (n, name) in (0..).zip(names) {
        let key = fresh_key();
        let facts = Facts {
            owner: (n != 0).then(|| "page:a/b?c=d&e=%20#~'<>".parse().expect("an owner")),
            filename: name.trim_start_matches(' ').parse().expect("a file name"),
            content_type: "application/x-a; b=\"c d\"".to_owned(),
            created_by: (n != 1).then(|| {
                "Jürgen 山田 <j+x@example.org> 100%"
                    .parse()
                    .expect("an author")
            }),
            ..facts(&key)
        };
        let bytes = pattern(if n % 2 == 0 { 100 } else { 3 * BLOCK }, n);
        let content = content(facts.clone());
        let stored = store.put(&key, &content, body(&bytes)).await.expect("put");
        assert_eq!(
            stored.sha256,
            Some(Hex(sha2::Sha256::digest(&bytes).into()))
        );
        assert_eq!(stored.md5, Some(Hex(md5::Md5::digest(&bytes).into())));
        assert_eq!(stored.crc64, Some(attache::transfer::body::crc64(&bytes)));

        let whole = get(&**store, &key, None).await.expect("get").info;
        let part = get(&**store, &key, Some(range(5, 50)))
            .await
            .expect("get")
            .info;
        let listed = list(&**store, None).await.expect("list");
        let listed = listed.into_iter().find(|info| info.key == key);
        for info in [whole, part, listed.expect("it is listed")] {
            assert_eq!(info.facts.as_ref(), Some(&facts));
            assert_eq!(
                (info.size, info.sha256, info.md5, info.crc64),
                (stored.size, stored.sha256, stored.md5, stored.crc64),
            );
        }
    }
}

pub(crate) async fn head_tells_what_get_tells_and_is_nothing_for_an_absent_object(store: &Store) {
    let key = fresh_key();
    assert_eq!(store.head(&key).await.expect("head"), None);
    put(&**store, &key, &pattern(100, 18)).await.expect("put");
    let got = get(&**store, &key, None).await.expect("get").info;
    assert_eq!(store.head(&key).await.expect("head"), Some(got));
}

pub(crate) async fn facts_can_be_written_again_and_the_bytes_stay(store: &Store) {
    let key = fresh_key();
    let bytes = pattern(3 * BLOCK, 19);
    let stored = put(&**store, &key, &bytes).await.expect("put");
    let before = get(&**store, &key, None).await.expect("get").info;
    let facts = Facts {
        filename: "another name.bin".parse().expect("a name"),
        owner: None,
        ..facts(&key)
    };
    let content = content(facts.clone());
    // As often as one likes.
    for _ in 0..2 {
        let tag = store.write_facts(&key, &content, &stored).await;
        let tag = tag.expect("written");
        let whole = get(&**store, &key, None).await.expect("get");
        assert!(whole.bytes == bytes, "other bytes");
        let expected = ObjectInfo {
            facts: Some(facts.clone()),
            store_tag: tag,
            ..before.clone()
        };
        assert_eq!(whole.info, expected);
        assert_eq!(list(&**store, None).await.expect("list"), [expected]);
    }
    let absent = fresh_key();
    let error = store.write_facts(&absent, &content, &stored).await;
    assert_eq!(error.expect_err("absent").kind(), ErrorKind::NotFound);
    assert_absent(store, &absent).await;
}

pub(crate) async fn an_offer_needs_no_object(store: &Store) {
    let grant = Grant {
        lifetime: Duration::from_secs(120),
        step: Duration::from_secs(60),
        disposition: Disposition::Inline.header(&"a.png".parse().expect("a file name")),
        content_type: "image/png".to_owned(),
        cache_control: None,
    };
    let key = fresh_key();
    match store.offer(&key, &grant).await.expect("an offer, or none") {
        Some(Offer::SignedUrl { url, expires_at }) => {
            assert!(url.expose().contains(key.as_str()));
            let left = expires_at - time::OffsetDateTime::now_utc();
            let least = grant.lifetime / 2 - Duration::from_secs(1);
            assert!(left > least && left <= grant.lifetime, "{left}");
        }
        Some(Offer::InternalPath(path)) => assert_eq!(path, key.as_str()),
        None => {}
    }
    assert_absent(store, &key).await;
}

pub(crate) async fn tidy_takes_nothing_that_is_in_use(store: &Store) {
    let (old, new) = (fresh_key(), fresh_key());
    let (bytes, rest) = (pattern(3 * BLOCK, 16), pattern(BLOCK, 17));
    put(&**store, &old, &bytes).await.expect("put");
    let (told, written_so_far) = oneshot::channel();
    let (resume, wait) = oneshot::channel();
    let last = futures::stream::once(async move {
        let _ = told.send(());
        Ok(wait.await.expect("it is sent"))
    });
    let content = content(facts(&new));
    let writer = store.put(
        &new,
        &content,
        Body::new(body(&bytes).chain(last)).hashed(true),
    );
    let tidier = async {
        written_so_far.await.expect("the writer asks for more");
        assert_eq!(store.tidy().await.expect("tidy"), 0);
        resume.send(rest.clone()).expect("the writer waits");
    };
    let (written, ()) = futures::future::join(writer, tidier).await;
    written.expect("put");
    assert_eq!(store.tidy().await.expect("tidy"), 0);
    assert!(get(&**store, &old, None).await.expect("get").bytes == bytes);
    let whole = get(&**store, &new, None).await.expect("get");
    assert!(whole.bytes == [bytes, rest].concat());
}

// What several of them look at.

pub(crate) async fn assert_absent(store: &Store, key: &ObjectKey) {
    let error = store.get(key, None).await.expect_err("it must be absent");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    let listed = list(&**store, None).await.expect("list");
    assert!(listed.iter().all(|info| info.key != *key), "it is listed");
}

/// No connection is busy, as far as the store can tell.
async fn assert_nothing_runs(store: &Store) {
    eventually("no connection is busy", Duration::from_secs(2), || {
        let vitals = store.vitals();
        vitals.connections_open == vitals.connections_idle
    })
    .await;
}

/// Drops `future` after so many polls.
pub(crate) async fn poll_at_most<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let (mut future, mut left) = (pin!(future), polls);
    std::future::poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange { start, end }
}

fn slice(bytes: &Bytes, range: ByteRange) -> Bytes {
    bytes.slice(range.start as usize..range.end as usize)
}
