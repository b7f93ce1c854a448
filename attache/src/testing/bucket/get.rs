//! Objects are read whole or in part, of one version.

use crate::error::ErrorKind;
use crate::storage::Offer;
use crate::testing::buckets::{Pail, grant, key, put, read};
use crate::testing::objects::{BLOCK, pattern, range, slice};

pub async fn any_range_is_read_and_one_across_the_end_is_cut(bucket: &Pail) {
    let (key, size) = (key("k"), 3 * BLOCK + 5);
    let bytes = pattern(size, 1);
    put(bucket, &key, &bytes).await.expect("put");
    for (asked, served) in [
        (range(0, 1), range(0, 1)),
        (range(BLOCK - 1, BLOCK + 1), range(BLOCK - 1, BLOCK + 1)),
        (range(5, size), range(5, size)),
        (range(size - 1, size), range(size - 1, size)),
        (range(size - 3, size + 100), range(size - 3, size)),
        (range(0, u64::MAX), range(0, size)),
    ] {
        let opened = bucket.get(&key, Some(asked), None).await.expect("get");
        assert_eq!((opened.range, opened.entry.size), (served, size));
        let read = opened.body.collect(usize::MAX).await.expect("read");
        assert!(read == slice(&bytes, served), "{asked:?}");
    }
}

pub async fn a_range_behind_the_end_is_bad_range_and_an_absent_object_not_found(bucket: &Pail) {
    for size in [0, 10] {
        let key = key(&format!("k{size}"));
        for asked in [None, Some(range(0, 1))] {
            let error = read(bucket, &key, asked).await.expect_err("absent");
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
        }
        assert_eq!(bucket.head(&key).await.expect("head"), None);
        put(bucket, &key, &pattern(size, 1)).await.expect("put");
        for start in [size, size + 7] {
            let error = read(bucket, &key, Some(range(start, start + 1))).await;
            let error = error.expect_err("behind the end");
            assert_eq!(error.kind(), ErrorKind::BadRange, "{error:?}");
        }
    }
}

pub async fn a_version_is_read_while_it_is_there(bucket: &Pail) {
    let (key, bytes) = (key("k"), pattern(10, 1));
    let entry = put(bucket, &key, &bytes).await.expect("put");
    let opened = bucket.get(&key, None, Some(&entry.version)).await;
    let read = opened.expect("get").body.collect(100).await.expect("read");
    assert!(read == bytes);
    put(bucket, &key, &bytes)
        .await
        .expect("put, the same bytes");
    for asked in [None, Some(range(0, 1))] {
        let error = bucket.get(&key, asked, Some(&entry.version)).await;
        let error = error.expect_err("another version");
        assert_eq!(error.kind(), ErrorKind::PreconditionFailed, "{error:?}");
    }
    bucket.delete(&key).await.expect("deleted");
    let error = bucket.get(&key, None, Some(&entry.version)).await;
    let error = error.expect_err("absent");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
}

pub async fn what_is_read_is_of_one_version(bucket: &Pail) {
    let (key, size) = (key("k"), 64 * BLOCK);
    let (old, new) = (pattern(size, 1), pattern(size, 2));
    put(bucket, &key, &old).await.expect("put");
    let mut opened = bucket.get(&key, None, None).await.expect("get");
    let first = opened.body.next().await.expect("bytes").expect("bytes");
    put(bucket, &key, &new).await.expect("put");
    // An error is allowed; the bytes of another version are not.
    if let Ok(rest) = opened.body.collect(usize::MAX).await {
        assert!([first, rest].concat() == old, "a mixture");
    }
    let (_, now) = read(bucket, &key, None).await.expect("get");
    assert!(now == new);
}

pub async fn an_offer_needs_no_object_and_a_probe_succeeds(bucket: &Pail) {
    let grant = grant();
    match bucket.offer(&key("a b/ä+"), &grant).await.expect("offer") {
        Some(Offer::SignedUrl { url, .. }) => assert!(url.expose().contains("://")),
        // Below the internal location of a web server.
        Some(Offer::InternalPath(path)) => assert!(!path.starts_with('/'), "{path}"),
        None => {}
    }
    assert!(!bucket.probe().await.expect("probe").summary.is_empty());
    assert!(!bucket.name().is_empty());
}
