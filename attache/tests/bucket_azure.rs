//! What is promised of buckets on Azure alone: few tokens and keys, lost answers, objects of other programs, and what a page costs.

mod common;

use attache::ErrorKind;
use attache::storage::bucket::{After, Bucket, BucketPlace, Condition};
use attache::storage::{Offer, Storage};
use attache::testing::buckets::{
    Parts, all, found, grant, key, new_if, page, put, put_new, read, tag,
};
use common::{BLOCK, CONTAINER, ask, fake, open, pattern, with_client_secret};
use fake_azure::{FakeAzure, Op};
use std::sync::Arc;

fn bucket(storage: &impl Storage, container: &str) -> Arc<dyn Bucket> {
    let container = container.to_owned();
    let bucket = storage.bucket(&BucketPlace { container });
    bucket.expect("a name").expect("it has buckets")
}

fn bucket_on(fake: &FakeAzure) -> Arc<dyn Bucket> {
    bucket(&open(&with_client_secret(fake)), CONTAINER)
}

#[tokio::test]
async fn any_number_of_buckets_and_reads_cost_one_token_and_one_key_and_urls_open_any_key() {
    let fake = fake().await;
    fake.create_container("other");
    let storage = open(&with_client_secret(&fake));
    let grant = grant();
    for (seed, container) in [(1, CONTAINER), (2, "other")] {
        let bucket = bucket(&storage, container);
        for text in ["a", "a b+c%20?#&", "a//b", "/a", "../..", "写真/é", "a\\b"] {
            let bytes = pattern(100, seed);
            put(&bucket, &key(text), &bytes).await.expect("put");
            for _ in 0..15 {
                let offer = bucket.offer(&key(text), &grant).await.expect("offer");
                let Some(Offer::SignedUrl { url, .. }) = offer else {
                    panic!("{offer:?}");
                };
                let reply = ask("GET", url.expose(), Some(fake.ca_pem())).await;
                assert_eq!(reply.status, 200, "{text}");
                assert!(reply.body == bytes, "{text}: of another container or key");
            }
        }
    }
    let counts = fake.counts();
    assert_eq!(
        (counts.token_requests, counts.delegation_key_requests),
        (1, 1)
    );
}

#[tokio::test]
async fn a_container_that_cannot_be_is_refused() {
    let fake = fake().await;
    let storage = open(&with_client_secret(&fake));
    for container in ["", "A", "a/b", "$root", "../x"] {
        let container = container.to_owned();
        let error = storage.bucket(&BucketPlace { container });
        let error = error.expect_err("no such name");
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
    }
}

#[tokio::test]
async fn what_was_done_is_done_although_the_answer_was_lost() {
    let fake = fake().await;
    let bucket = bucket_on(&fake);
    let first = pattern(9, 9);
    for (size, op) in [(10, Op::PutBlob), (3 * BLOCK, Op::PutBlockList)] {
        for condition in [
            Condition::None,
            Condition::Absent,
            Condition::Matches(tag(&first)),
        ] {
            let key = key(&format!("{size}{condition:?}"));
            if matches!(condition, Condition::Matches(_)) {
                put(&bucket, &key, &first).await.expect("put");
            }
            let (bytes, new) = (pattern(size, 1), new_if(condition.clone()));
            fake.faults(|f| f.lose_answer(op, 1));
            let done = put_new(&bucket, &key, &new, &bytes).await.expect("done");
            let (entry, read) = found(&bucket, &key).await.expect("it is there");
            assert!(read == bytes, "{op} {condition:?}");
            assert_eq!(done, entry, "{op} {condition:?}");
        }
    }
    // The same of an upload in parts, and of properties.
    for condition in [Condition::None, Condition::Absent] {
        let key = key(&format!("parts {condition:?}"));
        let (parts, named, bytes) = Parts::with_two(&bucket, &key).await;
        fake.faults(|f| f.lose_answer(Op::PutBlockList, 1));
        let done = parts.complete_if(&bucket, &named, &condition).await;
        let done = done.expect("done");
        let (entry, read) = found(&bucket, &key).await.expect("it is there");
        assert!(read == bytes);
        assert_eq!(done, entry);
        for op in [Op::SetBlobMetadata, Op::SetBlobProperties] {
            let before = bucket.head(&key).await.expect("head").expect("there");
            fake.faults(|f| f.lose_answer(op, 1));
            let properties = attache::testing::buckets::properties();
            let set = bucket
                .set_properties(&key, &before.version, &properties)
                .await;
            let now = bucket.head(&key).await.expect("head");
            assert_eq!(Some(set.expect("set")), now, "{op}");
        }
    }
}

#[tokio::test]
async fn properties_are_old_or_new_wherever_it_breaks() {
    let fake = fake().await;
    let bucket = bucket_on(&fake);
    let (key, bytes) = (key("k"), pattern(10, 1));
    let new = attache::testing::buckets::properties();
    let old = put(&bucket, &key, &bytes).await.expect("put");
    fake.faults(|f| f.fail_next(Op::SetBlobMetadata, 1, 403, "AuthorizationFailure"));
    let set = bucket.set_properties(&key, &old.version, &new).await;
    set.expect_err("refused");
    let (now, _) = found(&bucket, &key).await.expect("it is there");
    assert_eq!(now.properties, old.properties);
    fake.faults(|f| f.fail_next(Op::SetBlobProperties, 1, 403, "AuthorizationFailure"));
    let set = bucket.set_properties(&key, &old.version, &new).await;
    set.expect_err("refused");
    let (now, _) = found(&bucket, &key).await.expect("it is there");
    assert_eq!(
        now.properties, new,
        "all of them, though the headers are the old ones"
    );
}

#[tokio::test]
async fn objects_of_other_programs_are_objects() {
    let fake = fake().await;
    let bucket = bucket_on(&fake);
    let bytes = pattern(100, 1);
    fake.put_blob(CONTAINER, "theirs", bytes.clone());
    fake.set_metadata(CONTAINER, "theirs", &[("Author", "Ada")]);
    let (entry, read) = found(&bucket, &key("theirs")).await.expect("it is there");
    assert!(read == bytes);
    let author = entry.properties.metadata.get("author");
    assert_eq!(author.map(String::as_str), Some("Ada"));
    assert!(
        entry.etag == tag(&bytes) || entry.etag.starts_with("0x"),
        "{}",
        entry.etag
    );
    let matches = new_if(Condition::Matches(entry.etag));
    let put = put_new(&bucket, &key("theirs"), &matches, &pattern(5, 5)).await;
    put.expect("the tag that was told matches");
}

#[tokio::test]
async fn what_attache_said_of_bytes_is_not_believed_of_others() {
    let fake = fake().await;
    let bucket = bucket_on(&fake);
    put(&bucket, &key("k"), &pattern(100, 1))
        .await
        .expect("put");
    let said = fake.blob(CONTAINER, "k").expect("it is there").metadata;
    let said: Vec<(&str, &str)> = said.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let other = pattern(50, 2);
    fake.put_blob(CONTAINER, "k", other.clone());
    fake.set_metadata(CONTAINER, "k", &said);
    let (entry, read) = read(&bucket, &key("k"), None).await.expect("get");
    assert!(read == other);
    assert_ne!(
        entry.etag,
        tag(&pattern(100, 1)),
        "that of the bytes before"
    );
    assert_eq!((entry.size, entry.crc64, entry.checksum), (50, None, None));
}

#[tokio::test]
async fn a_page_costs_one_call_although_a_client_names_the_last_key_alone() {
    let fake = fake().await;
    let bucket = bucket_on(&fake);
    for at in 0..50 {
        fake.put_blob(CONTAINER, &format!("{at:02}/x"), "bytes");
    }
    for delimiter in [None, Some("/")] {
        fake.reset_counts();
        let (mut after, mut pages) = (None, 0);
        loop {
            let page = page(&bucket, "", delimiter, after, 10).await;
            pages += 1;
            let Some(next) = page.next else { break };
            after = Some(After {
                token: None,
                ..next
            });
        }
        assert_eq!((pages, fake.counts().of(Op::ListBlobs)), (5, 5));
    }
    assert_eq!(all(&bucket, "").await.len(), 50);
    fake.reset_counts();
    assert_eq!(all(&bucket, "").await.len(), 50);
    assert_eq!(fake.counts().of(Op::ListBlobs), 1);
}

#[tokio::test]
async fn blocks_go_with_what_they_were_for_and_never_anything_else() {
    let fake = fake().await;
    let bucket = bucket_on(&fake);
    let staged = || fake.counts().uncommitted_blocks;
    let (alone, ..) = Parts::with_two(&bucket, &key("alone")).await;
    assert!(staged() > 0);
    alone.abort(&bucket).await;
    assert_eq!((staged(), fake.counts().blobs), (0, 0), "they are billed");
    // Beside another upload they stay, and count no more.
    let (one, ..) = Parts::with_two(&bucket, &key("k")).await;
    let (two, named, bytes) = Parts::with_two(&bucket, &key("k")).await;
    one.abort(&bucket).await;
    two.complete(&bucket, &named).await.expect("completed");
    let (_, read) = read(&bucket, &key("k"), None).await.expect("get");
    assert!(read == bytes);
    assert_eq!(staged(), 0);
}

#[tokio::test]
async fn another_process_goes_on_with_an_upload() {
    let fake = fake().await;
    let (parts, named, bytes) = Parts::with_two(&bucket_on(&fake), &key("k")).await;
    let other = bucket_on(&fake);
    assert_eq!(parts.stored(&other).await.expect("parts").len(), 2);
    parts.complete(&other, &named).await.expect("completed");
    parts
        .complete(&bucket_on(&fake), &named)
        .await
        .expect("again");
    let (_, read) = read(&other, &key("k"), None).await.expect("get");
    assert!(read == bytes);
}
