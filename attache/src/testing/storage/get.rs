//! Reading an object, and any range of it.

use futures::future::join_all;

use crate::error::ErrorKind;
use crate::storage::Opened;
use crate::testing::objects::{
    BLOCK, Store, assert_absent, assert_nothing_runs, fresh_key, get, pattern, poll_at_most, put,
    range, slice,
};

pub async fn get_returns_what_was_put_whole_and_any_range(store: &Store) {
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

pub async fn a_range_behind_the_end_is_bad_range_and_one_across_it_is_cut(store: &Store) {
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

pub async fn open_has_the_bytes_of_get_and_a_file_another_version_once_it_is_another_one(
    store: &Store,
) {
    let (key, bytes) = (fresh_key(), pattern(2 * BLOCK + 5, 3));
    put(&**store, &key, &bytes).await.expect("put");
    let opened = async || store.open(&key, None).await;
    let file = match opened().await.expect("opened") {
        Opened::File(file) => file,
        Opened::Bytes { size, body } => {
            assert_eq!(size, bytes.len() as u64);
            assert!(body.collect(bytes.len()).await.expect("read") == bytes);
            let wanted = range(1, BLOCK + 2);
            let part = store.open(&key, Some(wanted)).await.expect("opened");
            let Opened::Bytes { size, body } = part else {
                panic!("once a file, and once not");
            };
            assert_eq!(size, bytes.len() as u64, "of the whole");
            let part = body.collect(bytes.len()).await.expect("read");
            assert!(part == slice(&bytes, wanted));
            return;
        }
    };
    assert_eq!(file.size(), bytes.len() as u64);
    for wanted in [range(0, file.size()), range(1, BLOCK + 2)] {
        let part = file.bytes(wanted).collect(bytes.len()).await;
        assert!(part.expect("read") == slice(&bytes, wanted), "{wanted:?}");
    }
    let version = async || match opened().await {
        Ok(Opened::File(file)) => Ok(file.version()),
        Ok(Opened::Bytes { .. }) => panic!("once a file, and once not"),
        Err(error) => Err(error.kind()),
    };
    assert_eq!(version().await, Ok(file.version()));
    store.delete(&key).await.expect("deleted");
    assert_eq!(version().await, Err(ErrorKind::NotFound));
    put(&**store, &key, &bytes).await.expect("put again");
    assert_ne!(version().await, Ok(file.version()));
}

pub async fn get_of_an_absent_object_is_not_found(store: &Store) {
    for wanted in [None, Some(range(0, 10))] {
        let error = store.get(&fresh_key(), wanted).await;
        assert_eq!(error.expect_err("absent").kind(), ErrorKind::NotFound);
    }
}

pub async fn readers_at_once_do_not_disturb_each_other(store: &Store) {
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

pub async fn a_body_that_is_suspended_goes_on_where_it_was(store: &Store) {
    let size = 5 * BLOCK + 17;
    let (key, bytes) = (fresh_key(), pattern(size, 3));
    put(&**store, &key, &bytes).await.expect("put");
    for wanted in [range(0, size), range(1000, size - 1000)] {
        let mut body = store.get(&key, Some(wanted)).await.expect("get").body;
        // Before its first bytes, behind each piece, and at its end; and once more than is needed.
        let mut all = Vec::new();
        loop {
            body.suspend();
            body.suspend();
            let Some(piece) = body.next().await else {
                break;
            };
            all.extend_from_slice(&piece.expect("a piece"));
        }
        body.suspend();
        assert!(body.next().await.is_none(), "nothing follows the end");
        assert!(all == slice(&bytes, wanted), "{} of {wanted:?}", all.len());
    }
}

pub async fn dropping_a_get_frees_the_storage(store: &Store) {
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
