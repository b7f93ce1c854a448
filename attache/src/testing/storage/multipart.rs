//! Uploads in parts, which outlive a request and a process.

use bytes::Bytes;
use futures::future::join_all;

use crate::attachment::{Hex, ObjectKey};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::multipart::{Multipart, Part, PartReceipt, UploadRef};
use crate::storage::{Blocks, Content, Stored};
use crate::testing::objects::{
    BLOCK, Store, assert_absent, body, content, facts, failing_body, fresh_key, get, pattern,
    poll_at_most, put,
};
use crate::transfer::body::{Body, Digests, crc64};

pub async fn parts_that_came_in_any_order_become_one_object(store: &Store) {
    // Of no block, of less than one, of one, and of more than may be on their way at a time.
    let sizes = [7 * BLOCK + 3, 1, BLOCK, 0, 2 * BLOCK + 17];
    let bytes: Vec<Bytes> = (0..).zip(sizes).map(|(n, size)| pattern(size, n)).collect();
    let upload = Upload::begin(store).await;
    let parts = bytes.iter().zip(1..6).rev().map(|(bytes, number)| {
        let (upload, store) = (&upload, store.clone());
        // Numbers may have gaps.
        async move {
            upload
                .put(&store, number * 10, bytes)
                .await
                .expect("a part")
        }
    });
    let mut receipts = join_all(parts).await;
    receipts.reverse();
    for (receipt, bytes) in receipts.iter().zip(&bytes) {
        let expected = (bytes.len() as u64, crc64(bytes));
        assert_eq!((receipt.size, receipt.crc64), expected);
    }
    assert_absent(store, &upload.key).await;
    assert_eq!(upload.content.blocks.budget.held(), 0);
    let stored = upload.complete(store, &receipts).await.expect("completed");
    let whole = Bytes::from(bytes.concat());
    let found = get(&**store, &upload.key, None).await.expect("get");
    assert!(found.bytes == whole, "other bytes");
    assert_eq!(found.info.facts.as_ref(), Some(&upload.content.facts));
    for (size, crc) in [
        (stored.size, stored.crc64),
        (found.info.size, found.info.crc64),
    ] {
        assert_eq!((size, crc), (whole.len() as u64, Some(crc64(&whole))));
    }
    assert_eq!(stored.store_tag, found.info.store_tag);
}

pub async fn bytes_in_memory_are_a_part_as_those_of_a_body_are(store: &Store) {
    let upload = Upload::begin(store).await;
    let pieces = [pattern(3 * BLOCK + 1, 1), Bytes::new(), pattern(9, 2)];
    // Put again below.
    let mut receipts = vec![
        upload
            .put_bytes(store, 1, &pattern(5, 3))
            .await
            .expect("a part"),
    ];
    for (bytes, number) in pieces.iter().zip(1..) {
        let receipt = upload
            .put_bytes(store, number, bytes)
            .await
            .expect("a part");
        let expected = (number, bytes.len() as u64, crc64(bytes));
        assert_eq!((receipt.number, receipt.size, receipt.crc64), expected);
        receipts.push(receipt);
    }
    upload
        .complete(store, &receipts[1..])
        .await
        .expect("completed");
    let found = get(&**store, &upload.key, None).await.expect("get");
    assert!(found.bytes == pieces.concat(), "other bytes");
    let wrong = Part {
        number: 1,
        offset: 0,
        size: 4,
    };
    let outcome = parts_of(store).put_bytes(&upload.name, wrong, pattern(5, 3));
    let error = outcome.await.expect_err("another length");
    assert_eq!(error.kind(), ErrorKind::DigestMismatch);
}

pub async fn what_is_known_of_the_whole_is_kept_with_it(store: &Store) {
    let (upload, receipts) = Upload::with_two_parts(store).await;
    let known = Digests {
        sha256: Some(Hex([7; 32])),
        md5: Some(Hex([9; 16])),
        utf8: Some(false),
        ..Digests::default()
    };
    let parts = parts_of(store);
    let completed = parts.complete(&upload.name, &upload.content, &receipts, &known);
    let stored = completed.await.expect("completed");
    let told = (stored.size, stored.sha256, stored.md5, stored.utf8);
    assert_eq!(told, (2 * BLOCK + 101, known.sha256, known.md5, known.utf8));
    let info = store
        .head(&upload.key)
        .await
        .expect("head")
        .expect("it is there");
    assert_eq!((info.sha256, info.md5), (known.sha256, known.md5));
    assert_eq!(info.facts_size, Some(stored.size));
}

pub async fn an_upload_without_parts_is_an_empty_object(store: &Store) {
    let upload = Upload::begin(store).await;
    let stored = upload.complete(store, &[]).await.expect("completed");
    assert_eq!(stored.size, 0);
    let found = get(&**store, &upload.key, None).await.expect("get");
    assert_eq!((found.bytes.len(), found.info.size), (0, 0));
}

pub async fn what_names_an_upload_and_its_parts_survives_as_text(store: &Store) {
    let upload = Upload::begin(store).await;
    let (one, two) = (pattern(2 * BLOCK, 1), pattern(10, 2));
    let receipts = [
        upload.put(store, 1, &one).await.expect("a part"),
        upload.put(store, 2, &two).await.expect("a part"),
    ];
    let text = serde_json::to_string(&(upload.name.to_string(), &receipts)).expect("as text");
    let (name, receipts): (String, Vec<PartReceipt>) = serde_json::from_str(&text).expect("read");
    let name: UploadRef = name.parse().expect("the name of an upload");
    assert_eq!(*name.key(), upload.key);
    let again = Upload { name, ..upload };
    again.complete(store, &receipts).await.expect("completed");
    let found = get(&**store, &again.key, None).await.expect("get");
    assert!(found.bytes == [one, two].concat());
}

pub async fn a_part_that_is_put_again_replaces_the_first(store: &Store) {
    // Longer and shorter ones, so that what is mixed cannot be whole.
    let (first, second, end) = (pattern(5 * BLOCK, 1), pattern(3 * BLOCK, 2), pattern(9, 3));
    for with_old in [false, true] {
        let upload = Upload::begin(store).await;
        let old = upload.put(store, 1, &first).await.expect("a part");
        let last = upload.put(store, 2, &end).await.expect("a part");
        let new = upload.put(store, 1, &second).await.expect("that part");
        let (receipt, bytes) = match with_old {
            true => (old, &first),
            false => (new, &second),
        };
        match upload.complete(store, &[receipt, last]).await {
            Ok(stored) => {
                let whole = [bytes.clone(), end.clone()].concat();
                assert_eq!(stored.size, whole.len() as u64);
                let found = get(&**store, &upload.key, None).await.expect("get");
                assert!(found.bytes == whole, "other bytes");
            }
            // The old receipt is good for the old bytes, or for none.
            Err(error) => {
                assert!(with_old, "{error:?}");
                assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
                assert_absent(store, &upload.key).await;
            }
        }
    }
}

pub async fn a_part_whose_body_fails_or_has_another_length_is_not_there(store: &Store) {
    let upload = Upload::begin(store).await;
    let bytes = pattern(4 * BLOCK + 1, 1);
    let receipt = upload.put(store, 1, &bytes).await.expect("a part");
    let size = bytes.len() as u64;
    let told = Error::new(ErrorKind::ClientGone, "told so");
    let error = upload
        .put_body(store, 1, size, failing_body(&pattern(size, 2), told))
        .await
        .expect_err("the body fails");
    assert_eq!(error.detail(), "told so", "that very error");
    for length in [0, size - 1, size + 1, size + 3 * BLOCK] {
        let outcome = upload
            .put_body(store, 1, size, body(&pattern(length, 3)))
            .await;
        let error = outcome.expect_err("another length");
        assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{length}");
    }
    assert_eq!(upload.content.blocks.budget.held(), 0);
    // What was there before is there still.
    upload.complete(store, &[receipt]).await.expect("completed");
    let found = get(&**store, &upload.key, None).await.expect("get");
    assert!(found.bytes == bytes, "other bytes");
}

pub async fn a_part_dropped_at_any_moment_does_no_harm(store: &Store) {
    let upload = Upload::begin(store).await;
    let (before, bytes) = (pattern(BLOCK + 1, 1), pattern(2 * BLOCK + 9, 2));
    upload.put(store, 1, &before).await.expect("a part");
    for polls in 0..30 {
        poll_at_most(polls, upload.put(store, 1, &bytes)).await;
        let held = upload.content.blocks.budget.held();
        assert_eq!(held, 0, "memory is free at once");
    }
    assert_absent(store, &upload.key).await;
    let last = upload
        .put(store, 1, &bytes)
        .await
        .expect("the part at last");
    upload.complete(store, &[last]).await.expect("completed");
    let found = get(&**store, &upload.key, None).await.expect("get");
    assert!(found.bytes == bytes, "other bytes");
}

pub async fn what_was_completed_can_be_completed_again(store: &Store) {
    let (upload, receipts) = Upload::with_two_parts(store).await;
    let first = upload.complete(store, &receipts).await.expect("completed");
    let before = get(&**store, &upload.key, None).await.expect("get");
    for _ in 0..2 {
        let again = upload.complete(store, &receipts).await;
        assert_eq!(again.expect("completed before"), first);
    }
    let after = get(&**store, &upload.key, None).await.expect("get");
    assert_eq!(after.info, before.info);
    assert!(after.bytes == before.bytes);
}

pub async fn completing_leaves_an_object_alone_that_is_there_already(store: &Store) {
    let (upload, receipts) = Upload::with_two_parts(store).await;
    let other = pattern(2 * BLOCK, 7);
    put(&**store, &upload.key, &other).await.expect("put");
    let error = upload.complete(store, &receipts).await;
    let kind = error.expect_err("another object").kind();
    assert_eq!(kind, ErrorKind::Conflict);
    let found = get(&**store, &upload.key, None).await.expect("get");
    assert!(found.bytes == other, "the object was changed");
    upload.abort(store).await.expect("aborted");
    let found = get(&**store, &upload.key, None).await.expect("get");
    assert!(found.bytes == other, "the object was changed");
}

pub async fn an_aborted_upload_is_gone_and_its_key_free(store: &Store) {
    let (upload, receipts) = Upload::with_two_parts(store).await;
    for _ in 0..2 {
        upload.abort(store).await.expect("aborted, and again");
    }
    let error = upload.complete(store, &receipts).await;
    assert_eq!(error.expect_err("aborted").kind(), ErrorKind::NotFound);
    assert_absent(store, &upload.key).await;
    let bytes = pattern(3 * BLOCK, 5);
    put(&**store, &upload.key, &bytes)
        .await
        .expect("the key is free");
    let found = get(&**store, &upload.key, None).await.expect("get");
    assert!(found.bytes == bytes);
}

pub async fn aborting_what_was_completed_leaves_the_object(store: &Store) {
    let (upload, receipts) = Upload::with_two_parts(store).await;
    upload.complete(store, &receipts).await.expect("completed");
    upload.abort(store).await.expect("nothing to abort");
    get(&**store, &upload.key, None).await.expect("it is there");
}

pub async fn tidy_leaves_an_upload_alone(store: &Store) {
    let (upload, receipts) = Upload::with_two_parts(store).await;
    assert_eq!(store.remove_temporary_files().await.expect("removed"), 0);
    upload.complete(store, &receipts).await.expect("completed");
}

pub async fn numbers_that_do_not_ascend_are_refused(store: &Store) {
    let (upload, mut receipts) = Upload::with_two_parts(store).await;
    receipts.reverse();
    let error = upload.complete(store, &receipts).await;
    assert_eq!(error.expect_err("2, 1").kind(), ErrorKind::BadRequest);
    let most = parts_of(store).limits().max_parts;
    for number in [0, most + 1] {
        let error = upload.put(store, number, &pattern(10, 1)).await;
        let error = error.expect_err("no such number");
        assert_eq!(error.kind(), ErrorKind::BadRequest, "{number}");
    }
    assert_absent(store, &upload.key).await;
}

/// One upload in parts.
struct Upload {
    name: UploadRef,
    key: ObjectKey,
    content: Content,
}

impl Upload {
    async fn begin(store: &Store) -> Self {
        let key = fresh_key();
        let content = content(facts(&key));
        let name = parts_of(store).begin(&key, &content).await.expect("begun");
        Self { name, key, content }
    }

    async fn with_two_parts(store: &Store) -> (Self, Vec<PartReceipt>) {
        let upload = Self::begin(store).await;
        let mut receipts = Vec::new();
        for (number, size) in [(1, 2 * BLOCK + 1), (2, 100)] {
            let bytes = pattern(size, number.into());
            receipts.push(upload.put(store, number, &bytes).await.expect("a part"));
        }
        (upload, receipts)
    }

    async fn put(&self, store: &Store, number: u32, bytes: &Bytes) -> Result<PartReceipt> {
        self.put_body(store, number, bytes.len() as u64, body(bytes))
            .await
    }

    async fn put_bytes(&self, store: &Store, number: u32, bytes: &Bytes) -> Result<PartReceipt> {
        let part = Part {
            number,
            offset: 0,
            size: bytes.len() as u64,
        };
        let put = parts_of(store).put_bytes(&self.name, part, bytes.clone());
        put.await
    }

    async fn put_body(
        &self,
        store: &Store,
        number: u32,
        size: u64,
        body: Body,
    ) -> Result<PartReceipt> {
        let part = Part {
            number,
            offset: 0,
            size,
        };
        let blocks: &Blocks = &self.content.blocks;
        parts_of(store)
            .put_part(&self.name, part, blocks, body)
            .await
    }

    async fn complete(&self, store: &Store, receipts: &[PartReceipt]) -> Result<Stored> {
        parts_of(store)
            .complete(&self.name, &self.content, receipts, &Digests::default())
            .await
    }

    async fn abort(&self, store: &Store) -> Result<()> {
        parts_of(store).abort(&self.name).await
    }
}

fn parts_of(store: &Store) -> &dyn Multipart {
    store.multipart().expect("a store that takes parts")
}
