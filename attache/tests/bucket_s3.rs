//! What is promised of buckets on S3 and Google Cloud Storage alone: pieces that nobody sees, objects of other programs, what a page costs,
//! and a fault at each request of each operation.

mod common;
#[path = "common/points.rs"]
mod points;

use attache::storage::bucket::{
    After, Bucket, BucketPlace, Condition, ListRequest, NewObject, Properties,
};
use attache::storage::{Offer, Storage};
use attache::testing::buckets::{
    Parts, all, found, grant, key, name, new, new_if, page, properties, put, put_new, read, tag,
};
use attache::{ErrorKind, Result};
use bytes::Bytes;
use common::{
    BLOCK, CONTAINER, ask, fake_gcs, fake_s3, on_gcs, on_s3, open_gcs, open_s3, pattern, started,
};
use fake_s3::{FakeS3, Op};
use points::{Fault, at_every_request};
use std::sync::Arc;

type Pail = Arc<dyn Bucket>;

fn bucket(storage: &impl Storage, container: &str) -> Pail {
    let container = container.to_owned();
    let bucket = storage.bucket(&BucketPlace { container });
    bucket.expect("a name").expect("it has buckets")
}

async fn s3() -> (FakeS3, Pail) {
    let fake = fake_s3().await;
    let bucket = bucket(&open_s3(&on_s3(&fake)), CONTAINER);
    (fake, bucket)
}

async fn google() -> (FakeS3, Pail) {
    let fake = fake_gcs().await;
    let bucket = bucket(&open_gcs(&on_gcs(&fake)), CONTAINER);
    (fake, bucket)
}

/// The keys of all objects at the store, with those that no client sees.
fn lying(fake: &FakeS3) -> Vec<String> {
    fake.objects()
        .into_iter()
        .map(|object| object.key)
        .collect()
}

#[tokio::test]
async fn a_bucket_that_cannot_be_is_refused() {
    let fake = fake_s3().await;
    let storage = open_s3(&on_s3(&fake));
    for container in ["", "A", "a/b", "../x"] {
        let container = container.to_owned();
        let error = storage.bucket(&BucketPlace { container });
        let error = error.expect_err("no such name");
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.detail().contains("s3.buckets"), "{error:?}");
    }
    let missing = bucket(&storage, "nothing-there").probe().await;
    let error = missing.expect_err("no such bucket");
    assert_eq!(error.kind(), ErrorKind::ContainerNotFound, "{error:?}");
}

#[tokio::test]
async fn urls_open_one_object_of_the_bucket_that_is_meant() {
    for (fake, one, two) in [
        {
            let fake = fake_s3().await;
            fake.create_bucket("other");
            let storage = open_s3(&on_s3(&fake));
            let both = (bucket(&storage, CONTAINER), bucket(&storage, "other"));
            (fake, both.0, both.1)
        },
        {
            let fake = fake_gcs().await;
            fake.create_bucket("other");
            let storage = open_gcs(&on_gcs(&fake));
            let both = (bucket(&storage, CONTAINER), bucket(&storage, "other"));
            (fake, both.0, both.1)
        },
    ] {
        let grant = grant();
        for (seed, bucket) in [(1, &one), (2, &two)] {
            for text in ["a", "a b+c%20?#&", "a//b", "/a", "../..", "写真/é", "a\\b"] {
                let bytes = pattern(100, seed);
                put(bucket, &key(text), &bytes).await.expect("put");
                let offer = bucket.offer(&key(text), &grant).await.expect("offer");
                let Some(Offer::SignedUrl { url, .. }) = offer else {
                    panic!("{offer:?}");
                };
                let reply = ask("GET", url.expose(), Some(fake.ca_pem())).await;
                assert_eq!(reply.status, 200, "{text}");
                assert!(reply.body == bytes, "{text}: of another bucket or key");
            }
        }
    }
}

#[tokio::test]
async fn pieces_of_uploads_are_seen_by_nobody_and_written_by_nobody() {
    for (fake, bucket) in [s3().await, google().await] {
        for text in ["a", "attache/a", "attache/v", "b"] {
            put(&bucket, &key(text), &pattern(1, 1)).await.expect("put");
        }
        let (parts, named, bytes) = Parts::with_two(&bucket, &key("attache/x")).await;
        assert!(lying(&fake).len() > 5, "pieces are there");
        let keys = |entries: Vec<attache::storage::bucket::Entry>| -> Vec<String> {
            let entries = entries.into_iter();
            entries.map(|entry| entry.key.to_string()).collect()
        };
        let listed = keys(all(&bucket, "").await);
        assert_eq!(listed, ["a", "attache/a", "attache/v", "b"]);
        assert_eq!(
            keys(all(&bucket, "attache/uploads").await),
            Vec::<String>::new()
        );
        // A page at a time, from before them to behind.
        for limit in 1..5 {
            let (mut after, mut paged) = (None, Vec::new());
            loop {
                let page = page(&bucket, "", None, after, limit).await;
                assert!(page.next.is_none() || page.entries.len() == limit);
                paged.extend(keys(page.entries));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(paged, listed, "{limit}");
        }
        // The names that are nearest to theirs are nobody's but their clients', on one page with pieces or on the next.
        let near = [
            "attache/uploads",
            "attache/uploads-",
            "attache/uploads0",
            "attache/uploadsx",
        ];
        for text in near {
            put(&bucket, &key(text), &pattern(1, 1)).await.expect("put");
        }
        for limit in 1..12 {
            let (mut after, mut paged) = (None, Vec::new());
            loop {
                let page = page(&bucket, "attache/", Some("/"), after, limit).await;
                assert_eq!(page.prefixes, Vec::<String>::new());
                paged.extend(keys(page.entries));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            let mut whole = ["attache/a", "attache/v"].to_vec();
            whole.extend(near);
            whole.sort_unstable();
            assert_eq!(paged, whole, "{limit}");
            assert_eq!(keys(all(&bucket, "attache/").await), whole);
        }
        for text in near {
            bucket.delete(&key(text)).await.expect("deleted");
        }
        for text in ["attache/a", "attache/v"] {
            bucket.delete(&key(text)).await.expect("deleted");
        }
        // Nothing else is in the folder now.
        let page = page(&bucket, "", Some("/"), None, 2).await;
        assert_eq!((page.prefixes, page.next), (Vec::new(), None));
        assert_eq!(keys(page.entries), ["a", "b"]);
        let last = page_at(&bucket, "a", 1).await;
        assert_eq!(keys(last), ["b"]);
        for text in ["attache/uploads/", "attache/uploads/x"] {
            let error = put(&bucket, &key(text), &pattern(1, 1)).await;
            let error = error.expect_err("not for clients");
            assert_eq!(error.kind(), ErrorKind::BadRequest, "{error:?}");
            let error = read(&bucket, &key(text), None).await;
            assert_eq!(
                error.expect_err("not for clients").kind(),
                ErrorKind::BadRequest
            );
        }
        parts.complete(&bucket, &named).await.expect("completed");
        let (_, now) = found(&bucket, &key("attache/x"))
            .await
            .expect("it is there");
        assert!(now == bytes);
        assert_eq!(lying(&fake), ["a", "attache/x", "b"], "no piece is left");
    }
}

async fn page_at(bucket: &Pail, after: &str, limit: usize) -> Vec<attache::storage::bucket::Entry> {
    let after = After {
        key: after.to_owned(),
        token: None,
    };
    let listed = page(bucket, "", Some("/"), Some(after), limit).await;
    assert_eq!(listed.next, None);
    listed.entries
}

#[tokio::test]
async fn pieces_that_nobody_went_on_with_for_a_week_are_swept_and_no_others() {
    for (fake, bucket) in [s3().await, google().await] {
        let (parts, named, bytes) = Parts::with_two(&bucket, &key("k")).await;
        let running = lying(&fake).len();
        fake.faults(|f| f.clock_skew_seconds = -8 * 86_400);
        let old = format!("attache/uploads/{}/1/00001-0-piece-00000", "0".repeat(64));
        fake.put_object(CONTAINER, &old, pattern(5, 1));
        fake.put_object(CONTAINER, "theirs", pattern(5, 1));
        fake.faults(|f| f.clock_skew_seconds = 0);
        assert_eq!(bucket.sweep().await.expect("swept"), 1);
        assert_eq!(lying(&fake).len(), running + 1);
        parts.complete(&bucket, &named).await.expect("completed");
        let (_, read) = found(&bucket, &key("k")).await.expect("it is there");
        assert!(read == bytes);
        assert_eq!(bucket.sweep().await.expect("swept"), 0);
    }
}

#[tokio::test]
async fn a_try_at_a_part_whose_pieces_are_gone_does_not_hide_the_try_before() {
    for (fake, bucket) in [s3().await, google().await] {
        let parts = Parts::begin(&bucket, &key("k"), &properties()).await;
        let bytes = pattern(1000, 1);
        let first = parts.put(&bucket, 1, &bytes).await.expect("a part");
        let before = lying(&fake);
        let later = pattern(3 * BLOCK, 2);
        parts.put(&bucket, 1, &later).await.expect("a longer part");
        // As if the marker had arrived after its sender had given up, and had removed the pieces.
        let after = lying(&fake).into_iter();
        let pieces: Vec<String> = after
            .filter(|name| !before.contains(name) && name.contains("-piece-"))
            .collect();
        assert!(pieces.len() > 1, "{pieces:?}");
        for piece in &pieces {
            fake.delete_object(CONTAINER, piece);
        }
        let stored = parts.stored(&bucket).await.expect("listed");
        assert_eq!(stored, std::slice::from_ref(&first));
        let whole = parts.complete(&bucket, &[name(&first)]).await;
        assert_eq!(whole.expect("completed").size, 1000);
        let (_, read) = found(&bucket, &key("k")).await.expect("it is there");
        assert!(read == bytes);
        assert_eq!(lying(&fake), ["k"], "no piece and no marker is left");
    }
}

#[tokio::test]
async fn objects_of_other_programs_are_objects() {
    for (fake, bucket) in [s3().await, google().await] {
        let bytes = pattern(100, 1);
        let headers = [("content-type", "image/png"), ("cache-control", "no-cache")];
        fake.put_object_with(
            CONTAINER,
            "theirs",
            bytes.clone(),
            &headers,
            &[("author", "Ada")],
        );
        let (entry, read) = found(&bucket, &key("theirs")).await.expect("it is there");
        assert!(read == bytes);
        assert_eq!(entry.etag, tag(&bytes));
        let wanted = Properties {
            content_type: Some("image/png".to_owned()),
            cache_control: Some("no-cache".to_owned()),
            metadata: [("author".to_owned(), "Ada".to_owned())].into(),
            ..Properties::default()
        };
        assert_eq!(entry.properties, wanted);
        let (theirs, new) = (key("theirs"), properties());
        let set = bucket.set_properties(&theirs, &entry.version, &new).await;
        assert_eq!(set.expect("set").properties, new);
        // What attache said of other bytes is not believed.
        put(&bucket, &key("ours"), &bytes).await.expect("put");
        let kept = fake
            .object(CONTAINER, "ours")
            .expect("it is there")
            .metadata;
        let kept: Vec<(&str, &str)> = kept.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let other = pattern(100, 2);
        fake.put_object_with(CONTAINER, "ours", other.clone(), &[], &kept);
        let (entry, read) = found(&bucket, &key("ours")).await.expect("it is there");
        assert!(read == other);
        assert_eq!((entry.etag, entry.crc64), (tag(&other), None));
    }
}

#[tokio::test]
async fn what_the_client_says_is_said_to_other_programs_where_headers_hold_it() {
    let (fake, bucket) = s3().await;
    let with = NewObject {
        properties: properties(),
        ..new()
    };
    for size in [10, 3 * BLOCK] {
        put_new(&bucket, &key("k"), &with, &pattern(size, 1))
            .await
            .expect("put");
        let there = fake.object(CONTAINER, "k").expect("it is there");
        assert_eq!(
            there.content_type.as_deref(),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(
            there.metadata.get("author").map(String::as_str),
            Some("Ada")
        );
    }
}

#[tokio::test]
async fn metadata_that_the_store_does_not_keep_are_refused_before_the_bytes_come() {
    let (fake, bucket) = s3().await;
    let with = NewObject {
        properties: Properties {
            metadata: [("long".to_owned(), "x".repeat(2044))].into(),
            ..Properties::default()
        },
        ..new()
    };
    fake.reset_counts();
    let error = put_new(&bucket, &key("k"), &with, &pattern(5 * BLOCK, 1)).await;
    let error = error.expect_err("too much");
    assert_eq!(error.kind(), ErrorKind::BadRequest);
    assert!(error.detail().contains("keeps 2048"), "{error:?}");
    let begun = bucket.begin(&key("k"), &with.properties, None).await;
    assert_eq!(begun.expect_err("too much").kind(), ErrorKind::BadRequest);
    assert_eq!(fake.counts().requests(), 0);
}

#[tokio::test]
async fn a_page_costs_one_request_and_one_for_each_object_of_parts() {
    let (fake, bucket) = s3().await;
    for n in 0..40 {
        put(&bucket, &key(&format!("small/{n:02}")), &pattern(5, n))
            .await
            .expect("put");
    }
    for n in 0..3 {
        let large = format!("small/large-{n}");
        put(&bucket, &key(&large), &pattern(3 * BLOCK, n))
            .await
            .expect("put");
    }
    fake.reset_counts();
    let request = ListRequest {
        prefix: "small/".to_owned(),
        limit: 1000,
        ..ListRequest::default()
    };
    let page = bucket.list(&request).await.expect("a page");
    assert_eq!(page.entries.len(), 43);
    let counts = fake.counts();
    assert_eq!(
        (counts.of(Op::ListObjectsV2), counts.of(Op::HeadObject)),
        (1, 3)
    );
}

/// Of a store that ignores conditions, attache looks itself.
#[tokio::test]
async fn a_store_without_conditions_is_looked_at_before_and_afterwards() {
    let fake = started(FakeS3::builder().without_conditions()).await;
    let mut config = on_s3(&fake);
    config.conditional_writes = false;
    let bucket = bucket(&open_s3(&config), CONTAINER);
    for size in [10, 3 * BLOCK] {
        let (key, bytes) = (key(&format!("k{size}")), pattern(size, 1));
        let made = put_new(&bucket, &key, &new_if(Condition::Absent), &bytes).await;
        made.expect("nothing is there");
        for wrong in [Condition::Absent, Condition::Matches(tag(b"another"))] {
            let error = put_new(&bucket, &key, &new_if(wrong), &pattern(size, 2)).await;
            let error = error.expect_err("it does not hold");
            assert_eq!(error.kind(), ErrorKind::PreconditionFailed, "{error:?}");
        }
        let matches = new_if(Condition::Matches(tag(&bytes)));
        put_new(&bucket, &key, &matches, &pattern(size, 3))
            .await
            .expect("it matches");
    }
}

#[tokio::test]
#[ignore = "makes twenty thousand requests, which takes minutes; run by hand"]
async fn an_upload_of_more_pieces_than_an_object_may_have_is_joined_part_by_part() {
    let (fake, bucket) = s3().await;
    let parts = Parts::begin(&bucket, &key("k"), &properties()).await;
    // As if each part had come in thousands of pieces: 5,001 each of two parts, by names that say so.
    let bytes = pattern(2 * BLOCK, 1);
    let first = parts.put(&bucket, 1, &bytes).await.expect("a part");
    let folder = lying(&fake)[0]
        .rsplit_once('/')
        .map(|(folder, _)| format!("{folder}/"));
    let folder = folder.expect("a folder");
    let piece = pattern(BLOCK, 2);
    let mut named = vec![name(&first)];
    for number in [2, 3] {
        let whole: Vec<u8> = piece.repeat(5001);
        let front = format!("{folder}{number:05}-00000000000000ff-");
        for index in 0..5001 {
            fake.put_object(
                CONTAINER,
                &format!("{front}piece-{index:05}"),
                piece.clone(),
            );
        }
        let marker = format!("{front}parts-5001-{}-{}", whole.len(), tag(&whole));
        fake.put_object(CONTAINER, &marker, Bytes::new());
        named.push(attache::storage::bucket::NamedPart {
            number,
            etag: tag(&whole),
            checksum: None,
        });
    }
    let done = parts.complete(&bucket, &named).await.expect("completed");
    assert_eq!(done.size, 2 * BLOCK + 2 * 5001 * BLOCK);
    let end = attache::attachment::ByteRange {
        start: done.size - BLOCK,
        end: done.size,
    };
    let (_, last) = read(&bucket, &key("k"), Some(end)).await.expect("read");
    assert!(last == piece);
    assert_eq!(lying(&fake), ["k"], "no piece is left");
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    SmallPut,
    LongPut,
    PutIfAbsent,
    PutIfItMatches,
    InParts,
    Properties,
    Delete,
}

async fn run(operation: Operation, bucket: &Pail, bytes: &Bytes, before: &Bytes) -> Result<()> {
    let key = key("k");
    match operation {
        Operation::SmallPut | Operation::LongPut => put(bucket, &key, bytes).await.map(drop),
        Operation::PutIfAbsent => {
            let made = put_new(bucket, &key, &new_if(Condition::Absent), bytes).await;
            made.map(drop)
        }
        Operation::PutIfItMatches => {
            let matches = new_if(Condition::Matches(tag(before)));
            put_new(bucket, &key, &matches, bytes).await.map(drop)
        }
        Operation::InParts => {
            let parts = Parts::begin(bucket, &key, &properties()).await;
            let mut named = Vec::new();
            let middle = bytes.len() / 2;
            for (number, piece) in [(1, bytes.slice(..middle)), (2, bytes.slice(middle..))] {
                named.push(name(&parts.put(bucket, number, &piece).await?));
            }
            parts.complete(bucket, &named).await.map(drop)
        }
        Operation::Properties => {
            let Some(now) = bucket.head(&key).await? else {
                panic!("it was put")
            };
            let new = properties();
            let set = bucket.set_properties(&key, &now.version, &new).await;
            set.map(drop)
        }
        Operation::Delete => bucket.delete(&key).await,
    }
}

/// Once; whether the fault happened.
async fn strike(operation: Operation, on_google: bool, fault: Fault, skip: u64) -> bool {
    // What passes is tried again.
    let passes = fault != Fault::Refusal;
    let what = format!("{operation:?}, Google: {on_google}, {fault:?} at {skip}");
    let (fake, bucket) = match on_google {
        true => google().await,
        false => s3().await,
    };
    let before = pattern(10, 9);
    let bytes = match operation {
        Operation::SmallPut | Operation::PutIfItMatches => pattern(100, 1),
        _ => pattern(3 * BLOCK + 7, 2),
    };
    let was_there = operation != Operation::PutIfAbsent;
    if was_there {
        put(&bucket, &key("k"), &before).await.expect("before");
    }
    // A token is at hand: how it is fetched again is the lease's.
    bucket.probe().await.expect("reached");
    let fired = fake.counts().faults_fired;
    fake.faults(|f| f.answers.push(fault.at(skip)));
    let outcome = run(operation, &bucket, &bytes, &before).await;
    let struck = fake.counts().faults_fired > fired;
    fake.faults(|f| f.clear());
    if passes {
        outcome
            .as_ref()
            .unwrap_or_else(|error| panic!("{what}: {error:?}"));
    }
    let now = found(&bucket, &key("k")).await;
    let is_done = match (operation, &now) {
        (Operation::Delete, now) => now.is_none(),
        (Operation::Properties, Some((entry, read))) => {
            assert!(*read == before, "{what}: other bytes");
            entry.properties == properties()
        }
        (_, Some((_, read))) => {
            assert!(
                *read == bytes || (was_there && *read == before),
                "{what}: a mixture"
            );
            *read == bytes
        }
        (_, None) => {
            assert!(!was_there, "{what}: it is gone");
            false
        }
    };
    assert!(is_done || outcome.is_err(), "{what}: told as done");
    assert!(outcome.is_ok() || !passes || is_done, "{what}");
    struck
}

macro_rules! faults {
    ($($s3:ident $google:ident: $operation:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $s3() {
            let strike = |fault, skip| strike(Operation::$operation, false, fault, skip);
            at_every_request(strike).await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $google() {
            let strike = |fault, skip| strike(Operation::$operation, true, fault, skip);
            at_every_request(strike).await;
        }
    )*};
}

faults! {
    a_small_put_on_s3_is_done_or_not_whatever_breaks
        a_small_put_at_google_is_done_or_not_whatever_breaks: SmallPut;
    a_long_put_on_s3_is_done_or_not_whatever_breaks
        a_long_put_at_google_is_done_or_not_whatever_breaks: LongPut;
    a_put_if_absent_on_s3_is_done_or_not_whatever_breaks
        a_put_if_absent_at_google_is_done_or_not_whatever_breaks: PutIfAbsent;
    a_put_if_it_matches_on_s3_is_done_or_not_whatever_breaks
        a_put_if_it_matches_at_google_is_done_or_not_whatever_breaks: PutIfItMatches;
    an_upload_in_parts_on_s3_is_done_or_not_whatever_breaks
        an_upload_in_parts_at_google_is_done_or_not_whatever_breaks: InParts;
    properties_on_s3_are_old_or_new_whatever_breaks
        properties_at_google_are_old_or_new_whatever_breaks: Properties;
    a_deletion_on_s3_is_done_or_not_whatever_breaks
        a_deletion_at_google_is_done_or_not_whatever_breaks: Delete;
}
