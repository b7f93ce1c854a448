//! Parts become one object.

use crate::error::ErrorKind;
use crate::storage::bucket::{Condition, KeptChecksum, NamedPart, WholeChecksum};
use crate::testing::buckets::{Pail, Parts, found, is_told, key, name, properties, put, tag};
use crate::testing::objects::{BLOCK, body, pattern};
use crate::transfer::budget::{Budget, MIN_BUDGET};
use crate::transfer::checksum::{Checksum, ChecksumKind};

pub async fn parts_that_were_not_stored_so_change_nothing(bucket: &Pail) {
    let first = pattern(9, 9);
    put(bucket, &key("k"), &first).await.expect("put");
    let (parts, named, bytes) = Parts::with_two(bucket, &key("k")).await;
    let before = found(bucket, &key("k")).await;
    let with = |change: fn(&mut Vec<NamedPart>)| {
        let mut named = named.clone();
        change(&mut named);
        named
    };
    for wrong in [
        with(|named| named[1].number = 3),
        with(|named| named[0].etag = tag(b"another")),
        with(|named| named[1].etag = String::new()),
        with(|named| named[1].etag = "0x8D00".to_owned()),
        with(|named| {
            let last = named[1].clone();
            named.push(NamedPart { number: 3, ..last });
        }),
        with(|named| named[1].checksum = Some(Checksum::Crc64Nvme(1))),
    ] {
        let error = parts.complete(bucket, &wrong).await;
        let error = error.expect_err("not stored so");
        assert_eq!(error.kind(), ErrorKind::BadPart, "{wrong:?}: {error:?}");
        assert_eq!(found(bucket, &key("k")).await, before);
    }
    parts.complete(bucket, &named).await.expect("completed");
    let (_, read) = found(bucket, &key("k")).await.expect("it is there");
    assert!(read == bytes);
}

pub async fn parts_that_are_not_named_are_given_up(bucket: &Pail) {
    let (parts, mut named, _) = Parts::with_two(bucket, &key("k")).await;
    let third = pattern(BLOCK, 3);
    named.push(name(&parts.put(bucket, 3, &third).await.expect("a part")));
    let last = [named[2].clone()];
    parts.complete(bucket, &last).await.expect("completed");
    let (_, read) = found(bucket, &key("k")).await.expect("it is there");
    assert!(read == third);
    let error = parts.complete(bucket, &named).await;
    let error = error.expect_err("it was completed with others");
    assert_eq!(error.kind(), ErrorKind::UploadNotFound, "{error:?}");
}

pub async fn what_was_completed_can_be_completed_again(bucket: &Pail) {
    for condition in [Condition::None, Condition::Absent] {
        let key = key(&format!("{condition:?}"));
        let (parts, named, _) = Parts::with_two(bucket, &key).await;
        let first = parts.complete_if(bucket, &named, &condition).await;
        let first = first.expect("completed");
        let before = found(bucket, &key).await;
        for _ in 0..2 {
            let again = parts.complete_if(bucket, &named, &condition).await;
            assert!(is_told(&again.expect("completed before"), &first));
            assert_eq!(found(bucket, &key).await, before);
        }
        // Not if something else took its place, nor when it is gone.
        put(bucket, &key, &pattern(3, 3)).await.expect("put");
        let before = found(bucket, &key).await;
        let error = parts.complete_if(bucket, &named, &condition).await;
        let kind = error.expect_err("something else is there").kind();
        let refusals = [ErrorKind::UploadNotFound, ErrorKind::PreconditionFailed];
        assert!(refusals.contains(&kind), "{kind:?}");
        assert_eq!(found(bucket, &key).await, before);
        bucket.delete(&key).await.expect("deleted");
        let error = parts.complete_if(bucket, &named, &condition).await;
        let error = error.expect_err("it is gone");
        assert_eq!(error.kind(), ErrorKind::UploadNotFound, "{error:?}");
        assert!(found(bucket, &key).await.is_none());
    }
}

pub async fn completing_replaces_what_is_there_if_it_may(bucket: &Pail) {
    let first = pattern(9, 9);
    put(bucket, &key("k"), &first).await.expect("put");
    let (parts, named, bytes) = Parts::with_two(bucket, &key("k")).await;
    for wrong in [Condition::Absent, Condition::Matches(tag(b"another"))] {
        let error = parts.complete_if(bucket, &named, &wrong).await;
        let error = error.expect_err("it does not hold");
        assert_eq!(error.kind(), ErrorKind::PreconditionFailed, "{error:?}");
        let (_, read) = found(bucket, &key("k")).await.expect("it is there");
        assert!(read == first, "it was replaced");
    }
    let matches = Condition::Matches(tag(&first));
    parts
        .complete_if(bucket, &named, &matches)
        .await
        .expect("it matches");
    let (_, read) = found(bucket, &key("k")).await.expect("it is there");
    assert!(read == bytes);
    let (parts, named, _) = Parts::with_two(bucket, &key("new")).await;
    let error = parts.complete_if(bucket, &named, &matches).await;
    let error = error.expect_err("nothing is there");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    let made = parts.complete_if(bucket, &named, &Condition::Absent).await;
    made.expect("nothing is there");
    assert!(found(bucket, &key("new")).await.is_some());
}

pub async fn the_checksum_of_a_whole_is_kept_and_must_be_the_one_that_was_expected(bucket: &Pail) {
    for kind in ChecksumKind::ALL {
        for full in [true, false] {
            if full && !kind.combines() {
                continue;
            }
            let key = key(&format!("{kind:?}/{full}"));
            let parts = Parts::begin(bucket, &key, &properties()).await;
            let (mut named, mut whole, mut sums) = (Vec::new(), Vec::new(), Vec::new());
            for (number, size) in [(1, 10), (2, 2 * BLOCK + 1), (3, 3)] {
                let bytes = pattern(size, number.into());
                let body = body(&bytes).with_checksum(kind, None);
                let part = parts.put_body(bucket, number, None, body).await;
                let part = part.expect("a part");
                let checksum = Some(kind.of_bytes(&bytes));
                assert_eq!(part.checksum, checksum);
                named.push(NamedPart {
                    checksum,
                    ..name(&part)
                });
                sums.extend(checksum);
                whole.extend_from_slice(&bytes);
            }
            let expected = match full {
                true => kind.of_bytes(&whole),
                false => kind.composite(sums).expect("of one kind"),
            };
            let wanted = |expected| {
                Some(WholeChecksum {
                    kind,
                    full,
                    expected,
                })
            };
            let budget = Budget::new(MIN_BUDGET);
            let lie = wanted(Some(kind.of_bytes(b"another")));
            let error = bucket
                .complete(&parts.of(), &named, lie, &Condition::None, &budget)
                .await
                .expect_err("another checksum");
            assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{error:?}");
            assert!(found(bucket, &key).await.is_none());
            let done = bucket
                .complete(
                    &parts.of(),
                    &named,
                    wanted(Some(expected)),
                    &Condition::None,
                    &budget,
                )
                .await
                .expect("completed");
            let kept = KeptChecksum {
                checksum: expected,
                parts: (!full).then_some(3),
            };
            assert_eq!(done.checksum, Some(kept));
            let (entry, _) = found(bucket, &key).await.expect("it is there");
            assert!(is_told(&done, &entry), "{done:?} {entry:?}");
        }
    }
}

/// A store whose parts hang on the key may forget them when something else is put there, but must not mix.
pub async fn a_put_meanwhile_ends_an_upload_or_does_not_touch_it(bucket: &Pail) {
    for size in [10, 3 * BLOCK] {
        let key = key(&format!("k{size}"));
        let (parts, named, bytes) = Parts::with_two(bucket, &key).await;
        let other = pattern(size, 9);
        put(bucket, &key, &other).await.expect("put");
        let (_, read) = found(bucket, &key).await.expect("it is there");
        assert!(read == other, "other bytes");
        let outcome = parts.complete(bucket, &named).await;
        let (_, read) = found(bucket, &key).await.expect("it is there");
        match outcome {
            Ok(_) => assert!(read == bytes, "other bytes"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::UploadNotFound, "{error:?}");
                assert!(read == other, "it was changed");
            }
        }
    }
}
