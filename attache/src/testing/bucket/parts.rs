//! Uploads in parts, before they are an object.

use bytes::Bytes;
use futures::future::join_all;

use crate::error::{Error, ErrorKind};
use crate::storage::bucket::{ChecksumPlan, Part, etag_of_parts};
use crate::testing::buckets::{
    Pail, Parts, found, held_body, is_told, key, name, properties, put, tag,
};
use crate::testing::objects::{BLOCK, body, failing_body, pattern, poll_at_most};
use crate::transfer::body::crc64;
use crate::transfer::checksum::ChecksumKind;

pub async fn parts_that_came_in_any_order_become_one_object(bucket: &Pail) {
    // Of less than a block, of one, and of more than may be on their way at a time; of known length and not.
    let sizes = [7 * BLOCK + 3, 1, BLOCK, 2 * BLOCK + 17, 5];
    let bytes: Vec<Bytes> = (0..).zip(sizes).map(|(n, size)| pattern(size, n)).collect();
    for known in [true, false] {
        let key = key(&format!("a/b {known}"));
        let parts = Parts::begin(bucket, &key, &properties()).await;
        let puts = bytes.iter().zip(1..6).rev().map(|(bytes, number)| {
            let parts = &parts;
            let size = known.then_some(bytes.len() as u64);
            // Numbers may have gaps.
            async move {
                let part = parts
                    .put_body(bucket, number * 2000, size, body(bytes))
                    .await;
                part.expect("a part")
            }
        });
        let mut stored: Vec<Part> = join_all(puts).await;
        stored.reverse();
        for (part, bytes) in stored.iter().zip(&bytes) {
            let expected = (bytes.len() as u64, &tag(bytes));
            assert_eq!((part.size, &part.etag), expected);
        }
        assert!(found(bucket, &key).await.is_none(), "before its end");
        let named: Vec<_> = stored.iter().map(name).collect();
        let done = parts.complete(bucket, &named).await.expect("completed");
        let (entry, read) = found(bucket, &key).await.expect("it is there");
        let whole = bytes.concat();
        assert!(read == whole, "other bytes");
        assert!(is_told(&done, &entry), "{done:?} {entry:?}");
        let tags = named.iter().map(|part| part.etag.as_str());
        assert_eq!(Some(&entry.etag), etag_of_parts(tags).as_ref());
        assert_eq!(entry.properties, properties());
        assert!(entry.crc64.is_none_or(|crc| crc == crc64(&whole)));
    }
}

pub async fn parts_are_told_in_order_a_few_at_a_time(bucket: &Pail) {
    let parts = Parts::begin(bucket, &key("k"), &properties()).await;
    assert_eq!(parts.stored(bucket).await.expect("none yet"), []);
    let mut stored = Vec::new();
    for (number, size) in [(10_000, 3), (1, 2 * BLOCK + 1), (7, BLOCK), (2, 5 * BLOCK)] {
        let bytes = pattern(size, number.into());
        stored.push(parts.put(bucket, number, &bytes).await.expect("a part"));
    }
    stored.sort_by_key(|part| part.number);
    let same = |told: &[Part], stored: &[Part]| {
        let known = |parts: &[Part]| -> Vec<_> {
            let parts = parts.iter();
            parts
                .map(|part| (part.number, part.size, part.etag.clone()))
                .collect()
        };
        assert_eq!(known(told), known(stored));
    };
    same(&parts.stored(bucket).await.expect("parts"), &stored);
    for (after, limit, wanted) in [
        (0, 2, &stored[..2]),
        (1, 1, &stored[1..2]),
        (3, 10, &stored[2..]),
        (7, 10, &stored[3..]),
        (10_000, 10, &[]),
    ] {
        let told = bucket.parts(&parts.of(), after, limit).await;
        same(&told.expect("parts"), wanted);
    }
}

pub async fn a_part_that_is_put_again_takes_the_place_of_the_first(bucket: &Pail) {
    // Longer and shorter ones, so that what is mixed cannot be whole.
    let end = pattern(9, 3);
    for (first, second) in [
        (5 * BLOCK, 10),
        (10, 5 * BLOCK),
        (5 * BLOCK, 3 * BLOCK),
        (7, 7),
    ] {
        let (first, second) = (pattern(first, 1), pattern(second, 2));
        let parts = Parts::begin(bucket, &key("k"), &properties()).await;
        let old = name(&parts.put(bucket, 1, &first).await.expect("a part"));
        let last = name(&parts.put(bucket, 2, &end).await.expect("a part"));
        let new = name(&parts.put(bucket, 1, &second).await.expect("that part"));
        let told = parts.stored(bucket).await.expect("parts");
        let told: Vec<_> = told.iter().map(name).collect();
        assert_eq!(told, [new.clone(), last.clone()]);
        let error = parts.complete(bucket, &[old, last.clone()]).await;
        let error = error.expect_err("it was replaced");
        assert_eq!(error.kind(), ErrorKind::BadPart, "{error:?}");
        parts
            .complete(bucket, &[new, last])
            .await
            .expect("completed");
        let (_, read) = found(bucket, &key("k")).await.expect("it is there");
        assert!(read == [second, end.clone()].concat(), "other bytes");
    }
}

pub async fn a_part_that_was_begun_later_stays_although_it_ends_first(bucket: &Pail) {
    for (first, second) in [
        (3 * BLOCK + 1, 2 * BLOCK),
        (10, 2 * BLOCK),
        (3 * BLOCK, 10),
        (10, 11),
    ] {
        let (first, second) = (pattern(first, 1), pattern(second, 2));
        let parts = Parts::begin(bucket, &key("k"), &properties()).await;
        let (slow, mut held) = held_body(&first);
        let later = async {
            held.is_asked().await;
            let part = parts.put(bucket, 1, &second).await.expect("a part");
            held.go_on();
            part
        };
        let (outcome, new) =
            futures::future::join(parts.put_body(bucket, 1, None, slow), later).await;
        // It may be told that it was too late, or not.
        drop(outcome);
        let told = parts.stored(bucket).await.expect("parts");
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].etag, tag(&second), "that of the earlier one");
        parts
            .complete(bucket, &[name(&new)])
            .await
            .expect("completed");
        let (_, read) = found(bucket, &key("k")).await.expect("it is there");
        assert!(read == second, "the bytes of the earlier one");
    }
}

pub async fn a_part_whose_body_fails_leaves_the_one_that_was_there(bucket: &Pail) {
    let parts = Parts::begin(bucket, &key("k"), &properties()).await;
    let bytes = pattern(2 * BLOCK + 1, 1);
    let first = parts.put(bucket, 1, &bytes).await.expect("a part");
    for (number, size) in [(1, 10), (1, 4 * BLOCK + 1), (2, 10), (2, 4 * BLOCK + 1)] {
        let told = Error::new(ErrorKind::ClientGone, "told so");
        let failing = failing_body(&pattern(size, 2), told);
        let error = parts.put_body(bucket, number, None, failing).await;
        assert_eq!(
            error.expect_err("it fails").detail(),
            "told so",
            "that very error"
        );
    }
    let told = parts.stored(bucket).await.expect("parts");
    assert_eq!(told.iter().map(name).collect::<Vec<_>>(), [name(&first)]);
    parts
        .complete(bucket, &[name(&first)])
        .await
        .expect("completed");
    let (_, read) = found(bucket, &key("k")).await.expect("it is there");
    assert!(read == bytes, "other bytes");
}

pub async fn a_part_dropped_at_any_moment_does_no_harm(bucket: &Pail) {
    let parts = Parts::begin(bucket, &key("k"), &properties()).await;
    let (before, bytes) = (pattern(BLOCK + 1, 1), pattern(2 * BLOCK + 9, 2));
    parts.put(bucket, 1, &before).await.expect("a part");
    for polls in 0..24 {
        poll_at_most(polls, parts.put(bucket, 1, &bytes)).await;
        let told = parts.stored(bucket).await.expect("parts");
        let tags: Vec<_> = told.iter().map(|part| part.etag.clone()).collect();
        assert!(tags == [tag(&before)] || tags == [tag(&bytes)], "{told:?}");
    }
    let last = parts
        .put(bucket, 1, &bytes)
        .await
        .expect("the part at last");
    parts
        .complete(bucket, &[name(&last)])
        .await
        .expect("completed");
    let (_, read) = found(bucket, &key("k")).await.expect("it is there");
    assert!(read == bytes, "other bytes");
}

pub async fn an_empty_part_is_a_part(bucket: &Pail) {
    let nothing = Bytes::new();
    for sizes in [&[0][..], &[10, 0], &[0, 10], &[0, 0]] {
        for known in [true, false] {
            let parts = Parts::begin(bucket, &key("k"), &properties()).await;
            let (mut named, mut whole) = (Vec::new(), Vec::new());
            for (number, size) in (1..).zip(sizes) {
                let bytes = match size {
                    0 => nothing.clone(),
                    size => pattern(*size, 1),
                };
                let told = known.then_some(*size);
                let part = parts.put_body(bucket, number, told, body(&bytes)).await;
                let part = part.expect("a part");
                assert_eq!((part.size, &part.etag), (*size, &tag(&bytes)));
                named.push(name(&part));
                whole.extend_from_slice(&bytes);
            }
            let told = parts.stored(bucket).await.expect("parts");
            assert_eq!(told.iter().map(name).collect::<Vec<_>>(), named);
            parts.complete(bucket, &named).await.expect("completed");
            let (entry, read) = found(bucket, &key("k")).await.expect("it is there");
            assert!(read == whole, "other bytes");
            let tags = named.iter().map(|part| part.etag.as_str());
            assert_eq!(Some(entry.etag), etag_of_parts(tags));
        }
    }
}

pub async fn two_uploads_of_one_key_do_not_mix(bucket: &Pail) {
    let (one, mut named, bytes) = Parts::with_two(bucket, &key("k")).await;
    let other = Parts::begin(bucket, &key("k"), &properties()).await;
    assert_eq!(other.stored(bucket).await.expect("none yet"), []);
    let theirs = other
        .put(bucket, 1, &pattern(3 * BLOCK, 9))
        .await
        .expect("a part");
    let told = one.stored(bucket).await.expect("parts");
    assert_eq!(told.iter().map(name).collect::<Vec<_>>(), named);
    other.abort(bucket).await;
    one.complete(bucket, &named).await.expect("completed");
    let (_, read) = found(bucket, &key("k")).await.expect("it is there");
    assert!(read == bytes, "other bytes");
    // Parts of another upload are none of this one.
    let third = Parts::begin(bucket, &key("k"), &properties()).await;
    third.put(bucket, 1, &pattern(5, 1)).await.expect("a part");
    named[0].etag.clone_from(&theirs.etag);
    let error = third.complete(bucket, &named).await;
    assert_eq!(error.expect_err("not its parts").kind(), ErrorKind::BadPart);
}

pub async fn an_aborted_upload_is_gone(bucket: &Pail) {
    for there in [false, true] {
        let (key, first) = (key(&format!("k{there}")), pattern(7, 7));
        if there {
            put(bucket, &key, &first).await.expect("put");
        }
        let (parts, named, _) = Parts::with_two(bucket, &key).await;
        for _ in 0..2 {
            parts.abort(bucket).await;
        }
        let error = parts.complete(bucket, &named).await;
        let error = error.expect_err("aborted");
        assert_eq!(error.kind(), ErrorKind::UploadNotFound, "{error:?}");
        match parts.stored(bucket).await {
            Ok(told) => assert_eq!(told, []),
            Err(error) => assert_eq!(error.kind(), ErrorKind::UploadNotFound, "{error:?}"),
        }
        let now = found(bucket, &key).await.map(|(_, bytes)| bytes);
        assert_eq!(now, there.then_some(first), "what was there");
        let bytes = pattern(3 * BLOCK, 5);
        put(bucket, &key, &bytes).await.expect("the key is free");
        let (_, read) = found(bucket, &key).await.expect("it is there");
        assert!(read == bytes);
    }
}

pub async fn aborting_leaves_what_is_under_the_key(bucket: &Pail) {
    let (parts, named, bytes) = Parts::with_two(bucket, &key("k")).await;
    parts.complete(bucket, &named).await.expect("completed");
    let (other, ..) = Parts::with_two(bucket, &key("k")).await;
    let before = found(bucket, &key("k")).await.expect("it is there");
    assert!(before.1 == bytes);
    for parts in [&parts, &other] {
        parts.abort(bucket).await;
        assert_eq!(found(bucket, &key("k")).await.as_ref(), Some(&before));
    }
}

pub async fn uploads_that_run_are_told_or_none(bucket: &Pail) {
    let mut begun = Vec::new();
    for text in ["a/1", "a/1", "a/2", "b"] {
        begun.push(Parts::with_two(bucket, &key(text)).await.0);
    }
    let all = bucket.uploads("", None, 1000).await.expect("uploads");
    if all.is_empty() {
        // A store that knows none of them.
        return;
    }
    let names = |uploads: &[crate::storage::bucket::Upload]| -> Vec<(String, String)> {
        let uploads = uploads.iter();
        uploads
            .map(|u| (u.key.to_string(), u.upload.clone()))
            .collect()
    };
    let mut wanted: Vec<_> = begun
        .iter()
        .map(|p| (p.key.to_string(), p.upload.clone()))
        .collect();
    wanted.sort();
    assert_eq!(names(&all), wanted);
    let below = bucket.uploads("a/", None, 1000).await.expect("uploads");
    assert_eq!(names(&below), wanted[..3]);
    let mut after: Option<(String, String)> = None;
    for one in &wanted {
        let behind = after
            .as_ref()
            .map(|(key, upload)| (key.as_str(), upload.as_str()));
        let next = bucket.uploads("", behind, 1).await.expect("uploads");
        assert_eq!(names(&next), std::slice::from_ref(one));
        after = Some(one.clone());
    }
    for parts in &begun {
        parts.abort(bucket).await;
    }
    assert_eq!(bucket.uploads("", None, 1000).await.expect("uploads"), []);
}

pub async fn an_upload_that_runs_is_told_with_its_checksum_or_not_at_all(bucket: &Pail) {
    let plan = |kind, full| Some(ChecksumPlan { kind, full });
    for checksum in [
        None,
        plan(ChecksumKind::Sha256, false),
        plan(ChecksumKind::Crc32, true),
    ] {
        let (key, properties) = (key("k"), properties());
        let parts = Parts::begin_with(bucket, &key, &properties, checksum).await;
        let told = bucket.uploads("", None, 1000).await.expect("uploads");
        assert!(told.iter().all(|upload| upload.checksum == checksum));
        parts.abort(bucket).await;
    }
}
