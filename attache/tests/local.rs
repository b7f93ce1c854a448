//! What is promised of local disk alone: nothing is left of what fails, whether a write, the disk or the process.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use attache::ErrorKind;
use attache::attachment::ObjectKey;
use attache::storage::local::{LocalConfig, LocalStorage};
use attache::storage::multipart::Part;
use attache::storage::{Grant, Offer, Storage};
use attache::transfer::body::Digests;
use common::child::{self, Child};
use common::{
    BLOCK, SmallDisk, content, eventually, facts, fresh_key, get, interrupt_put, list, pattern,
    put, stalling_body,
};
use tempfile::TempDir;

#[tokio::test]
async fn an_upload_in_parts_survives_its_process_and_leaves_nothing_when_it_is_over() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().join("objects");
    let empty = {
        open(&root);
        files(&root)
    };
    for complete in [true, false] {
        let key = fresh_key();
        let content = content(facts(&key));
        let (one, two) = (pattern(3 * BLOCK, 1), pattern(10, 2));
        let (mut upload, mut receipts) = (None, Vec::new());
        for (number, bytes) in [(1, &one), (2, &two)] {
            // Each part by a process of its own, and somebody tidies in between.
            let store = open(&root);
            store.remove_temporary_files().await.expect("removed");
            let parts = store.multipart().expect("it takes parts");
            if upload.is_none() {
                upload = Some(parts.begin(&key, &content).await.expect("begun"));
            }
            let part = Part {
                number,
                offset: 0,
                size: bytes.len() as u64,
            };
            let upload = upload.as_ref().expect("begun");
            let put = parts.put_part(upload, part, &content.blocks, common::body(bytes));
            receipts.push(put.await.expect("a part"));
        }
        let (store, upload) = (open(&root), upload.expect("begun"));
        let parts = store.multipart().expect("it takes parts");
        match complete {
            true => {
                let completed = parts
                    .complete(&upload, &content, &receipts, &Digests::default())
                    .await;
                completed.expect("completed");
                let whole = get(&store, &key, None).await.expect("get");
                assert!(whole.bytes == [one, two].concat());
                store.delete(&key).await.expect("delete");
            }
            false => parts.abort(&upload).await.expect("aborted"),
        }
        assert_eq!(files(&root), empty);
    }
}

#[tokio::test]
async fn a_full_disk_is_storage_full_and_leaves_nothing() {
    let Some(disk) = SmallDisk::mount("1m") else {
        return;
    };
    let store = open(disk.root());
    let empty = files(disk.root());
    let first = fresh_key();
    put(&store, &first, &pattern(100_000, 1))
        .await
        .expect("it fits");
    let (mut full, mut before) = (0, files(disk.root()));
    // Each size runs out of space at another step: in the bytes, or after them in the facts.
    for size in (920_000..=960_000)
        .step_by(2_000)
        .chain([1_000_000, 3_000_000])
    {
        let key = fresh_key();
        match put(&store, &key, &pattern(size, 2)).await {
            Ok(_) => {
                let whole = get(&store, &key, None).await.expect("get");
                assert!(whole.bytes == pattern(size, 2));
                assert!(whole.info.facts.is_some());
                store
                    .delete(&key)
                    .await
                    .expect("a full disk can be emptied");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StorageFull, "{error:?}");
                assert!(error.detail().contains("storage.local.root"));
                let shown = error.to_string();
                let path = disk.root().display().to_string();
                assert!(!shown.contains(&path), "no path is shown: {shown}");
                full += 1;
            }
        }
        assert_eq!(files(disk.root()), before, "{size} bytes left something");
    }
    assert!(full > 2, "the disk was full");
    assert!(get(&store, &first, None).await.expect("get").bytes == pattern(100_000, 1));

    // With no byte free at all, probes say so and objects can still be deleted.
    let filler = disk.root().join("filler");
    let mut size = 1 << 20;
    while size > 0 {
        let more = vec![0; size];
        if append(&filler, &more).is_err() {
            size /= 2;
        }
    }
    store
        .delete(&first)
        .await
        .expect("a full disk can be emptied");
    fs::remove_file(&filler).expect("ours");
    before = files(disk.root());
    assert_eq!(before, empty);
    put(&store, &first, &pattern(100_000, 3))
        .await
        .expect("it fits again");
}

#[tokio::test]
async fn what_fails_or_is_dropped_leaves_no_file() {
    let (folder, store) = fresh();
    let empty = files(folder.path());
    let told = attache::Error::new(ErrorKind::ClientGone, "gone");
    let body = common::failing_body(&pattern(3 * BLOCK, 4), told);
    let key = fresh_key();
    store
        .put(&key, &content(facts(&key)), body)
        .await
        .expect_err("gone");
    assert_eq!(files(folder.path()), empty);

    interrupt_put(&store, &key, &pattern(3 * BLOCK, 5)).await;
    // A write that runs on its own thread ends first.
    eventually("the file goes", Duration::from_secs(2), || {
        files(folder.path()) == empty
    })
    .await;

    put(&store, &key, &pattern(10, 6)).await.expect("put");
    let one = files(folder.path());
    put(&store, &key, &pattern(3 * BLOCK, 7))
        .await
        .expect_err("it exists");
    assert_eq!(files(folder.path()), one);
    store.delete(&key).await.expect("delete");
    assert_eq!(files(folder.path()), empty);
}

#[tokio::test]
async fn an_object_is_a_file_under_its_key_where_a_web_server_finds_it() {
    let (folder, store) = fresh();
    let (key, bytes) = (fresh_key(), pattern(3 * BLOCK, 8));
    put(&store, &key, &bytes).await.expect("put");
    let grant = Grant {
        lifetime: Duration::from_secs(60),
        step: Duration::from_secs(30),
        disposition: "inline".to_owned(),
        content_type: "text/plain".to_owned(),
        cache_control: None,
    };
    let Some(Offer::InternalPath(path)) = store.offer(&key, &grant).await.expect("an offer") else {
        panic!("no internal path");
    };
    assert!(fs::read(folder.path().join(path)).expect("a file") == bytes);
}

#[tokio::test]
async fn another_process_finds_objects_with_their_facts() {
    let (folder, store) = fresh();
    let (key, bytes) = (fresh_key(), pattern(1000, 9));
    let stored = put(&store, &key, &bytes).await.expect("put");
    drop(store);
    let listed = list(&open(folder.path()), None).await.expect("list");
    let [info] = listed.as_slice() else {
        panic!("one object: {listed:?}");
    };
    let found = info.facts.as_ref().expect("its facts");
    assert_eq!(
        (&found.id, &found.filename),
        (&key.id(), &facts(&key).filename)
    );
    assert_eq!((info.size, info.sha256), (1000, stored.sha256));
}

#[tokio::test]
async fn an_object_whose_facts_are_lost_or_damaged_is_still_an_object() {
    let (folder, store) = fresh();
    let (key, bytes) = (fresh_key(), pattern(1000, 10));
    put(&store, &key, &bytes).await.expect("put");
    let sidecar = folder.path().join(format!(".facts/{key}.json"));
    for damage in [Some("{\"id\":"), Some("null"), Some(""), None] {
        match damage {
            Some(text) => fs::write(&sidecar, text).expect("written"),
            None => fs::remove_file(&sidecar).expect("removed"),
        }
        let whole = get(&store, &key, None).await.expect("get");
        assert!(whole.bytes == bytes);
        assert_eq!((whole.info.facts, whole.info.size), (None, 1000));
        assert_eq!(list(&store, None).await.expect("list").len(), 1);
    }
    store.delete(&key).await.expect("delete");
    assert_eq!(list(&store, None).await.expect("list"), []);
}

#[tokio::test]
async fn facts_without_bytes_are_tidied_once_no_put_can_be_between_the_two() {
    let (folder, store) = fresh();
    let (kept, orphan, young) = (fresh_key(), fresh_key(), fresh_key());
    for key in [&kept, &orphan, &young] {
        put(&store, key, &pattern(10, 11)).await.expect("put");
    }
    let sidecar = |key: &ObjectKey| folder.path().join(format!(".facts/{key}.json"));
    for key in [&kept, &orphan] {
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        let file = fs::File::options()
            .write(true)
            .open(sidecar(key))
            .expect("facts");
        file.set_modified(hour_ago).expect("an older file");
    }
    for key in [&orphan, &young] {
        fs::remove_file(folder.path().join(key.as_str())).expect("bytes");
    }
    assert_eq!(store.remove_temporary_files().await.expect("removed"), 1);
    let left = [&kept, &orphan, &young].map(|key| sidecar(key).exists());
    assert_eq!(left, [true, false, true]);
    assert!(
        get(&store, &kept, None)
            .await
            .expect("get")
            .info
            .facts
            .is_some()
    );
}

#[tokio::test]
async fn files_of_a_living_writer_survive_tidy_and_those_of_a_dead_one_go() {
    let (folder, store) = fresh();
    let mut child = Child::start("child_writes_until_it_is_killed", folder.path());
    assert_eq!(child.line(), "writing");
    assert_eq!(store.remove_temporary_files().await.expect("removed"), 0);
    assert_eq!(in_progress(folder.path()).len(), 1, "it is being written");
    child.kill();
    assert_eq!(store.remove_temporary_files().await.expect("removed"), 1);
    assert_eq!(in_progress(folder.path()), [] as [PathBuf; 0]);
    assert_eq!(store.remove_temporary_files().await.expect("removed"), 0);
}

/// The other side of the test above: runs only as its child.
#[tokio::test]
async fn child_writes_until_it_is_killed() {
    let Some(root) = child::argument() else {
        return;
    };
    let (store, key) = (open(&root), fresh_key());
    let (body, asked) = stalling_body(&pattern(3 * BLOCK, 12));
    let content = content(facts(&key));
    let teller = async {
        asked.await.expect("the body is alive");
        child::say("writing");
        std::future::pending::<()>().await
    };
    let _ = futures::future::join(store.put(&key, &content, body), teller).await;
}

#[tokio::test]
async fn whatever_a_killed_process_acknowledged_is_whole() {
    let (folder, store) = fresh();
    let mut child = Child::start("child_puts_until_it_is_killed", folder.path());
    let mut acknowledged: Vec<String> = (0..20).map(|_| child.line()).collect();
    acknowledged.extend(child.kill());
    let listed = list(&store, None).await.expect("list");
    for key in &acknowledged {
        let key: ObjectKey = key.parse().expect("a key");
        assert!(listed.iter().any(|info| info.key == key), "{key} is lost");
    }
    for info in listed {
        let whole = get(&store, &info.key, None).await.expect("get");
        assert!(
            whole.bytes == pattern(3 * BLOCK, 13),
            "{} is a part",
            info.key
        );
        assert!(whole.info.facts.is_some() && whole.info.sha256.is_some());
    }
    store.remove_temporary_files().await.expect("removed");
    assert_eq!(in_progress(folder.path()), [] as [PathBuf; 0]);
}

/// The other side of the test above: runs only as its child.
#[tokio::test]
async fn child_puts_until_it_is_killed() {
    let Some(root) = child::argument() else {
        return;
    };
    let (store, bytes) = (open(&root), pattern(3 * BLOCK, 13));
    loop {
        let key = fresh_key();
        put(&store, &key, &bytes).await.expect("put");
        child::say(key.as_str());
    }
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_read_is_an_error_and_not_an_end() {
    let (folder, store) = fresh();
    let key = fresh_key();
    put(&store, &key, &pattern(4 << 20, 14)).await.expect("put");
    let mut object = store.get(&key, None).await.expect("get");
    object.body.next().await.expect("a chunk").expect("bytes");
    let file = fs::File::options()
        .write(true)
        .open(folder.path().join(key.as_str()));
    file.expect("the file").set_len(1 << 20).expect("shorter");
    let error = object
        .body
        .collect(usize::MAX)
        .await
        .expect_err("bytes are missing");
    assert_eq!(error.kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn files_that_are_no_attachments_are_left_out_and_left_alone() {
    let (folder, store) = fresh();
    let key = fresh_key();
    put(&store, &key, &pattern(10, 15)).await.expect("put");
    let foreign = [
        "readme.txt",
        "attachment/.hidden",
        "attachment/a.tar.gz",
        "user/写真.png",
    ];
    for name in foreign {
        fs::write(folder.path().join(name), "not ours").expect("written");
    }
    let listed = list(&store, None).await.expect("list");
    assert_eq!(
        listed.iter().map(|info| &info.key).collect::<Vec<_>>(),
        [&key]
    );
    store.remove_temporary_files().await.expect("removed");
    for name in foreign {
        assert!(folder.path().join(name).exists(), "{name}");
    }
}

#[tokio::test]
async fn more_objects_than_one_piece_of_the_listing_are_all_listed() {
    let (folder, store) = fresh();
    // More than the 1,000 that are held in memory at a time, over the border between the folders.
    let names = |folder: &'static str| (0..1500).map(move |n| format!("{folder}/{n:04}"));
    let expected: Vec<String> = names("attachment").chain(names("user")).collect();
    for name in expected.iter().rev() {
        fs::write(folder.path().join(name), "x").expect("written");
    }
    let listed = list(&store, None).await.expect("list");
    assert!(
        listed
            .iter()
            .map(|info| info.key.as_str())
            .eq(expected.iter())
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn dropped_readers_and_writers_close_their_files() {
    let (folder, store) = fresh();
    let key = fresh_key();
    put(&store, &key, &pattern(4 << 20, 16)).await.expect("put");
    for _ in 0..10 {
        let mut object = store.get(&key, None).await.expect("get");
        object.body.next().await.expect("a chunk").expect("bytes");
        interrupt_put(&store, &fresh_key(), &pattern(3 * BLOCK, 17)).await;
    }
    let root = folder.path().canonicalize().expect("it exists");
    let open = || {
        let handles = fs::read_dir("/proc/self/fd").expect("our handles");
        let files = handles.filter_map(|handle| fs::read_link(handle.ok()?.path()).ok());
        files.filter(|file| file.starts_with(&root)).count()
    };
    eventually("all files are closed", Duration::from_secs(2), || {
        open() == 0
    })
    .await;
}

#[test]
fn a_root_that_cannot_be_a_folder_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("written");
    let error = LocalStorage::open(&LocalConfig { root: file }).expect_err("a file");
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.detail().contains("storage.local.root"));
}

// Helpers.

fn fresh() -> (TempDir, LocalStorage) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path());
    (folder, store)
}

fn open(root: &Path) -> LocalStorage {
    let root = root.to_owned();
    LocalStorage::open(&LocalConfig { root }).expect("a writable folder")
}

/// Every file below `root`, hidden ones too, in order.
fn files(root: &Path) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![root.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    files
}

fn in_progress(root: &Path) -> Vec<PathBuf> {
    files(&root.join(".tmp"))
}

fn append(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = fs::File::options().create(true).append(true).open(path)?;
    std::io::Write::write_all(&mut file, bytes)
}
