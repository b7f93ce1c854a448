//! Buckets in a folder: the promises, and what a folder has besides.
//!
//! `bucket/liars.rs` shows that the promises can be broken: buckets that lie in one way each are caught.

#[path = "bucket/liars.rs"]
mod liars;

use std::sync::Arc;

use attache::storage::Storage as _;
use attache::storage::bucket::{Bucket, BucketPlace, Key, ListRequest, Properties};
use attache::storage::local::{LocalConfig, LocalStorage};
use attache::testing::buckets::{put, tag};
use attache::testing::{Fresh, bucket_suite};

fn bucket(folder: &tempfile::TempDir) -> Arc<dyn Bucket> {
    let root = folder.path().join("objects");
    let storage = LocalStorage::open(&LocalConfig { root }).expect("a writable folder");
    let place = BucketPlace {
        container: "files".to_owned(),
    };
    let bucket = storage.bucket(&place).expect("a place");
    bucket.expect("local storage has buckets")
}

async fn open() -> Fresh<dyn Bucket> {
    let folder = tempfile::tempdir().expect("a folder");
    let bucket = bucket(&folder);
    bucket.create().await.expect("made");
    Fresh::new(bucket).on(folder)
}

bucket_suite!(local: open);

/// As an application wrote it, long before.
#[tokio::test]
async fn files_that_are_there_already_are_objects() {
    let folder = tempfile::tempdir().expect("a folder");
    let bucket = bucket(&folder);
    bucket.create().await.expect("made");
    let root = folder.path().join("buckets/files");
    std::fs::create_dir_all(root.join("attachment")).expect("made");
    std::fs::write(root.join("attachment/5e07.PNG"), "png").expect("written");
    std::os::unix::fs::symlink("/etc/hostname", root.join("link")).expect("made");
    let page = bucket
        .list(&ListRequest {
            limit: 10,
            ..ListRequest::default()
        })
        .await
        .expect("listed");
    let keys: Vec<&str> = page
        .entries
        .iter()
        .map(|entry| entry.key.as_str())
        .collect();
    assert_eq!(keys, ["attachment/5e07.PNG"]);
    let entry = &page.entries[0];
    assert_eq!(entry.size, 3);
    assert!(
        entry.etag.parse::<attache::attachment::Hex<16>>().is_err(),
        "{}",
        entry.etag
    );
    let key = "attachment/5e07.PNG".parse().expect("a key");
    let read = bucket.get(&key, None, None).await.expect("read").body;
    assert_eq!(read.collect(10).await.expect("read"), "png");
    let link = "link".parse().expect("a key");
    assert!(bucket.head(&link).await.expect("looked").is_none());
    // What another program writes over one of ours is not taken for ours.
    let ours = put(&bucket, &key, &"ours".into()).await.expect("put");
    assert_eq!(ours.etag, tag(b"ours"));
    std::fs::write(root.join("attachment/5e07.PNG"), "them").expect("written");
    let theirs = bucket.head(&key).await.expect("looked").expect("there");
    assert_ne!(theirs.etag, ours.etag);
}

#[tokio::test]
async fn objects_lie_where_their_keys_say_and_leave_no_folders_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let bucket = bucket(&folder);
    let root = folder.path().join("buckets/files");
    let key = "a/b/c.txt".parse().expect("a key");
    put(&bucket, &key, &"c".into()).await.expect("put");
    assert_eq!(std::fs::read(root.join("a/b/c.txt")).expect("a file"), b"c");
    bucket.delete(&key).await.expect("deleted");
    assert!(!root.join("a").exists());
}

#[tokio::test]
async fn what_clients_and_processes_left_is_swept_when_it_is_old() {
    let folder = tempfile::tempdir().expect("a folder");
    let bucket = bucket(&folder);
    let key: Key = "k".parse().expect("a key");
    let old = bucket
        .begin(&key, &Properties::default(), None)
        .await
        .expect("begun");
    let young = bucket
        .begin(&key, &Properties::default(), None)
        .await
        .expect("begun");
    let ours = folder.path().join("buckets/files/.attache");
    std::fs::create_dir_all(ours.join("tmp")).expect("made");
    std::fs::write(ours.join("tmp/put-dead"), "half").expect("written");
    let uploads = ours.join("uploads");
    let week = std::time::Duration::from_secs(7 * 24 * 60 * 60 + 60);
    let then = std::time::SystemTime::now() - week;
    let aged = std::fs::File::open(uploads.join(&old)).expect("a folder");
    let times = std::fs::FileTimes::new().set_modified(then);
    aged.set_times(times).expect("aged");
    assert_eq!(bucket.sweep().await.expect("swept"), 2);
    assert!(!uploads.join(&old).exists() && uploads.join(&young).exists());
    assert_eq!(bucket.sweep().await.expect("swept"), 0);
}

#[test]
fn a_bucket_is_a_folder_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("objects");
    let storage = LocalStorage::open(&LocalConfig { root }).expect("a writable folder");
    for bad in ["", "..", ".", "a/b", "../objects"] {
        let container = bad.to_owned();
        let error = storage
            .bucket(&BucketPlace { container })
            .expect_err("no place");
        assert_eq!(error.kind(), attache::ErrorKind::Misconfigured, "{bad:?}");
    }
}
