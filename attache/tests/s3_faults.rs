//! A fault at each request of each operation on S3 and Google Cloud Storage: an answer that is lost, a connection that breaks, an outage, a
//! refusal. What is done then is done whole, what is not is not there, and one discard leaves nothing, as the sweep does it.

mod common;
#[path = "common/points.rs"]
mod points;

use attache::attachment::ObjectKey;
use attache::storage::Storage;
use attache::storage::multipart::Part;
use attache::storage::s3::S3Storage;
use attache::transfer::body::Digests;
use attache::{ErrorKind, Result};
use bytes::Bytes;
use common::{
    BLOCK, body, content, facts, fake_gcs, fake_s3, fresh_key, get, on_gcs, on_s3, open_gcs,
    open_s3, pattern, put,
};
use fake_s3::{FakeS3, Versioning};
use points::{Fault, at_every_request};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ground {
    S3,
    Versions,
    Google,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    SmallPut,
    LongPut,
    Parts,
    Facts,
    Delete,
}

async fn ground(ground: Ground) -> (FakeS3, S3Storage) {
    match ground {
        Ground::Google => {
            let fake = fake_gcs().await;
            let store = open_gcs(&on_gcs(&fake));
            (fake, store)
        }
        _ => {
            let fake = fake_s3().await;
            if ground == Ground::Versions {
                fake.set_versioning(common::CONTAINER, Versioning::Enabled);
            }
            let store = open_s3(&on_s3(&fake));
            (fake, store)
        }
    }
}

/// What the object is to be.
fn bytes_of(operation: Operation) -> Bytes {
    match operation {
        Operation::SmallPut => pattern(100, 1),
        _ => pattern(3 * BLOCK + 7, 2),
    }
}

async fn run(operation: Operation, store: &S3Storage, key: &ObjectKey) -> Result<()> {
    let bytes = bytes_of(operation);
    match operation {
        Operation::SmallPut | Operation::LongPut => put(store, key, &bytes).await.map(drop),
        Operation::Parts => in_parts(store, key, &bytes).await,
        Operation::Facts => {
            let stored = Digests::default().into();
            let content = content(facts(key));
            store.write_facts(key, &content, &stored).await.map(drop)
        }
        Operation::Delete => store.delete(key).await,
    }
}

/// Large parts and small ones, of which some must be joined.
async fn in_parts(store: &S3Storage, key: &ObjectKey, bytes: &Bytes) -> Result<()> {
    let content = content(facts(key));
    let parts = store.multipart().expect("it takes parts");
    let upload = parts.begin(key, &content).await?;
    let mut receipts = Vec::new();
    let (mut at, mut number) = (0, 0);
    for size in [BLOCK, 5, BLOCK / 2, 2 * BLOCK] {
        let end = (at + size).min(bytes.len() as u64);
        let piece = bytes.slice(at as usize..end as usize);
        number += 1;
        let part = Part {
            number,
            offset: at,
            size: end - at,
        };
        receipts.push(
            parts
                .put_part(&upload, part, &content.blocks, body(&piece))
                .await?,
        );
        at = end;
    }
    assert_eq!(at, bytes.len() as u64);
    let known = Digests::default();
    parts
        .complete(&upload, &content, &receipts, &known)
        .await
        .map(drop)
}

/// Once; whether the fault happened.
async fn strike(operation: Operation, on: Ground, fault: Fault, skip: u64) -> bool {
    let what = format!("{operation:?} on {on:?}, {fault:?} at {skip}");
    let (fake, store) = ground(on).await;
    let (key, bytes) = (fresh_key(), bytes_of(operation));
    if matches!(operation, Operation::Facts | Operation::Delete) {
        put(&store, &key, &bytes).await.expect("before");
    }
    // A token is at hand: how it is fetched again is the lease's.
    store.probe().await.expect("reached");
    let fired = fake.counts().faults_fired;
    fake.faults(|f| f.answers.push(fault.at(skip)));
    let outcome = run(operation, &store, &key).await;
    let struck = fake.counts().faults_fired > fired;
    fake.faults(|f| f.clear());
    // What passes is tried again.
    if fault != Fault::Refusal {
        outcome
            .as_ref()
            .unwrap_or_else(|error| panic!("{what}: {error:?}"));
    }
    let found = get(&store, &key, None).await;
    match (operation, &found, outcome) {
        (Operation::Delete, Err(error), _) => {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{what}");
        }
        (Operation::Delete, Ok(found), outcome) => {
            outcome.expect_err(&what);
            assert!(found.bytes == bytes, "{what}: half deleted");
        }
        (_, Ok(found), _) => {
            assert!(found.bytes == bytes, "{what}: other bytes");
            assert_eq!(
                found.info.facts.as_ref().map(|facts| &facts.id),
                Some(&key.id()),
                "{what}"
            );
        }
        (Operation::Facts, Err(error), _) => panic!("{what}: {error:?}"),
        (_, Err(error), outcome) => {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{what}");
            outcome.expect_err(&what);
        }
    }
    // As the sweep does it.
    store
        .discard(&key)
        .await
        .unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let left: Vec<String> = fake
        .versions()
        .into_iter()
        .map(|version| version.key)
        .collect();
    assert_eq!(left, Vec::<String>::new(), "{what}: left");
    assert_eq!(fake.counts().uploads, 0, "{what}: an upload is left");
    struck
}

macro_rules! faults {
    ($($name:ident: $operation:ident on $ground:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let strike = |fault, skip| strike(Operation::$operation, Ground::$ground, fault, skip);
            at_every_request(strike).await;
        }
    )*};
}

faults! {
    a_small_put_on_s3: SmallPut on S3;
    a_small_put_in_a_bucket_with_versions: SmallPut on Versions;
    a_small_put_at_google: SmallPut on Google;
    a_long_put_on_s3: LongPut on S3;
    a_long_put_in_a_bucket_with_versions: LongPut on Versions;
    a_long_put_at_google: LongPut on Google;
    an_upload_in_parts_on_s3: Parts on S3;
    an_upload_in_parts_at_google: Parts on Google;
    facts_on_s3: Facts on S3;
    facts_at_google: Facts on Google;
    a_deletion_on_s3: Delete on S3;
    a_deletion_in_a_bucket_with_versions: Delete on Versions;
    a_deletion_at_google: Delete on Google;
}
