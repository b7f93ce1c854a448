//! Uploads that no process owns: the promises of [`PartialUploads`], and what becomes of their bytes.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attache::attachment::{AttachmentId, Hex, NewAttachment, ObjectKey};
use attache::catalog::sqlite::SqliteCatalog;
use attache::catalog::{Catalog, Draft, partial::PartialUploads};
use attache::service::{Append, Appended, NewPartial};
use attache::storage::local::{LocalConfig, LocalStorage};
use attache::storage::multipart::{Part, UploadRef};
use attache::storage::{Storage, Stored};
use attache::transfer::body::Digests;
use attache::{Attache, Config, ErrorKind};
use bytes::Bytes;
use common::{body, content, get, pattern};
use futures::future::join_all;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn catalog(folder: &Path) -> SqliteCatalog {
    SqliteCatalog::open(&folder.join("attache.db")).expect("a catalog")
}

fn draft() -> Draft {
    let id = AttachmentId::generate();
    Draft {
        key: ObjectKey::new(&id, true, Some("txt")),
        id,
        owner: Some("page:1".parse().expect("an owner")),
        filename: "a.txt".parse().expect("a file name"),
        content_type: "text/plain".to_owned(),
        created_by: Some("user:7".parse().expect("an author")),
        created_at: OffsetDateTime::now_utc()
            .replace_nanosecond(0)
            .expect("a time"),
        size: None,
        reserve: 100,
        quota: None,
        idempotency_key: None,
    }
}

fn upload(draft: &Draft) -> UploadRef {
    UploadRef::new(draft.key.clone(), "abc".to_owned()).expect("a name")
}

fn later() -> OffsetDateTime {
    (OffsetDateTime::now_utc() + HOUR)
        .replace_nanosecond(0)
        .expect("a time")
}

fn earlier() -> OffsetDateTime {
    OffsetDateTime::now_utc() - HOUR
}

async fn suspended(catalog: &SqliteCatalog, expires_at: OffsetDateTime) -> Draft {
    let draft = draft();
    catalog.begin(&draft).await.expect("begun");
    let upload = upload(&draft);
    let suspend = catalog.suspend(&draft.id, &upload, expires_at);
    suspend.await.expect("suspended");
    draft
}

#[tokio::test]
async fn an_upload_that_was_let_go_is_taken_up_by_another_process_as_it_was_begun() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = catalog(folder.path());
    let until = later();
    let draft = suspended(&one, until).await;
    one.suspend(&draft.id, &upload(&draft), until)
        .await
        .expect("repeated");
    one.close().await;
    drop(one);
    let other = catalog(folder.path());
    let totals = other.totals().await.expect("totals");
    assert_eq!(totals.reserved_bytes, 100, "it keeps its share");
    let found = other.resume(&draft.id).await.expect("taken up");
    assert_eq!(
        (found.key, &found.upload),
        (draft.key.clone(), &upload(&draft))
    );
    assert_eq!((found.owner, found.filename), (draft.owner, draft.filename));
    assert_eq!(
        (found.content_type, found.created_by, found.created_at),
        (draft.content_type, draft.created_by, draft.created_at)
    );
    assert_eq!((found.reserved, found.expires_at), (100, until));
    other.reserve(&draft.id, 200, None).await.expect("more");
    let stored = Stored {
        size: 150,
        sha256: Some(Hex([1; 32])),
        md5: None,
        crc64: None,
        utf8: None,
        store_tag: None,
    };
    let attachment = other.commit(&draft.id, &stored).await.expect("committed");
    assert_eq!(attachment.size, 150);
    assert_eq!(other.upload_of(&draft.id).await.expect("read"), None);
    let error = other.resume(&draft.id).await.expect_err("it is over");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn one_of_several_takes_an_upload_up_and_the_others_are_told_to_wait() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalogs: Vec<_> = (0..4).map(|_| catalog(folder.path())).collect();
    let draft = suspended(&catalogs[0], later()).await;
    let outcomes = join_all(catalogs.iter().map(|catalog| catalog.resume(&draft.id))).await;
    let (taken, refused): (Vec<_>, Vec<_>) =
        outcomes.into_iter().partition(std::result::Result::is_ok);
    assert_eq!((taken.len(), refused.len()), (1, 3));
    for error in refused {
        assert_eq!(error.expect_err("refused").kind(), ErrorKind::Conflict);
    }
}

#[tokio::test]
async fn an_upload_whose_process_has_died_is_there_to_be_taken_up_and_no_sweep_removes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = catalog(folder.path());
    let draft = suspended(&one, later()).await;
    one.resume(&draft.id).await.expect("taken up");
    let other = catalog(folder.path());
    let error = other.resume(&draft.id).await.expect_err("it is worked on");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    drop(one);
    assert_eq!(other.unfinished(None, 10).await.expect("read"), []);
    other.resume(&draft.id).await.expect("taken up");
}

#[tokio::test]
async fn only_who_works_on_an_upload_lets_go_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, other) = (catalog(folder.path()), catalog(folder.path()));
    let draft = draft();
    one.begin(&draft).await.expect("begun");
    let error = other.suspend(&draft.id, &upload(&draft), later()).await;
    assert_eq!(error.expect_err("not its").kind(), ErrorKind::NotFound);
    let id = AttachmentId::generate();
    let error = one.suspend(&id, &upload(&draft), later()).await;
    assert_eq!(error.expect_err("absent").kind(), ErrorKind::NotFound);
    let error = one.resume(&draft.id).await;
    assert_eq!(
        error.expect_err("in one request").kind(),
        ErrorKind::NotFound
    );
}

#[tokio::test]
async fn what_has_expired_is_found_page_by_page_and_cannot_be_taken_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = catalog(folder.path());
    let kept = suspended(&catalog, later()).await;
    let mut gone = Vec::new();
    for _ in 0..3 {
        gone.push(suspended(&catalog, earlier()).await.id);
    }
    gone.sort();
    let now = OffsetDateTime::now_utc();
    let first = catalog.expired(now, None, 2).await.expect("read");
    let rest = catalog.expired(now, first.last(), 2).await.expect("read");
    assert_eq!([first, rest].concat(), gone);
    let error = catalog.resume(&gone[0]).await.expect_err("expired");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    catalog.resume(&kept.id).await.expect("taken up");
    let much_later = now + 2 * HOUR;
    let found = catalog.expired(much_later, None, 10).await.expect("read");
    assert_eq!(found, gone, "what is worked on is left alone");
}

#[tokio::test]
async fn an_upload_that_is_retired_gives_its_share_back_and_says_which_parts_to_remove() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = catalog(folder.path());
    let draft = suspended(&catalog, later()).await;
    let key = catalog.retire(&draft.id).await.expect("retired");
    assert_eq!(key.as_ref(), Some(&draft.key));
    assert_eq!(catalog.totals().await.expect("totals").reserved_bytes, 0);
    let parts = catalog.upload_of(&draft.id).await.expect("read");
    assert_eq!(parts, Some(upload(&draft)));
    catalog.forget(&draft.id).await.expect("forgotten");
    assert_eq!(catalog.upload_of(&draft.id).await.expect("read"), None);
}

/// Store and catalog on disk, opened anew for each step as by one process after another.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn storage(&self) -> LocalStorage {
        let root = self.folder.path().join("objects");
        LocalStorage::open(&LocalConfig { root }).expect("a folder")
    }

    async fn service(&self) -> Attache {
        let mut config = Config::default();
        config.catalog.url =
            attache::catalog::config::CatalogUrl::Sqlite(self.folder.path().join("attache.db"));
        let (storage, catalog) = (self.storage(), catalog(self.folder.path()));
        Attache::with(config, Arc::new(storage), Arc::new(catalog))
            .await
            .expect("opened")
    }

    /// Begins an upload and puts one part of it.
    async fn begin(&self, draft: &Draft, bytes: &Bytes, until: OffsetDateTime) {
        let (storage, catalog) = (self.storage(), catalog(self.folder.path()));
        let store = storage.multipart().expect("takes parts");
        catalog.begin(draft).await.expect("begun");
        let content = content(common::facts(&draft.key));
        let upload = store.begin(&draft.key, &content).await.expect("begun");
        let part = Part {
            number: 1,
            offset: 0,
            size: bytes.len() as u64,
        };
        let put = store.put_part(&upload, part, &content.blocks, body(bytes));
        let receipt = put.await.expect("a part");
        let text = serde_json::to_string(&receipt).expect("as text");
        std::fs::write(self.folder.path().join("receipt"), text).expect("written");
        let suspend = catalog.suspend(&draft.id, &upload, until);
        suspend.await.expect("suspended");
    }

    fn files(&self) -> usize {
        let mut folders = vec![self.folder.path().join("objects")];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => files += 1,
                }
            }
        }
        files
    }
}

#[tokio::test]
async fn an_upload_survives_sweeps_and_restarts_and_becomes_an_attachment() {
    let world = World {
        folder: tempfile::tempdir().expect("a folder"),
    };
    let (draft, bytes) = (draft(), pattern(100_000, 1));
    world.begin(&draft, &bytes, later()).await;
    let service = world.service().await;
    let report = service.sweep().await.expect("swept");
    assert_eq!((report.uploads_removed, report.failed), (0, 0));
    service.close(Duration::ZERO).await;
    let (storage, catalog) = (world.storage(), catalog(world.folder.path()));
    let found = catalog.resume(&draft.id).await.expect("taken up");
    let receipt = std::fs::read_to_string(world.folder.path().join("receipt")).expect("kept");
    let receipts = [serde_json::from_str(&receipt).expect("a receipt")];
    let content = content(common::facts(&draft.key));
    let store = storage.multipart().expect("takes parts");
    let known = Digests {
        sha256: Some(Hex(Sha256::digest(&bytes).into())),
        ..Digests::default()
    };
    let complete = store.complete(&found.upload, &content, &receipts, &known);
    let stored = complete.await.expect("completed");
    catalog.commit(&draft.id, &stored).await.expect("committed");
    let object = get(&storage, &draft.key, None).await.expect("there");
    assert!(object.bytes == bytes);
    let attachment = catalog.find(&draft.id).await.expect("there");
    assert_eq!(attachment.size, bytes.len() as u64);
}

#[tokio::test]
async fn a_sweep_removes_what_has_expired_with_its_parts_and_so_does_a_deletion() {
    let world = World {
        folder: tempfile::tempdir().expect("a folder"),
    };
    let (first, second, bytes) = (draft(), draft(), pattern(100_000, 1));
    let service = world.service().await;
    let empty = world.files();
    world.begin(&first, &bytes, earlier()).await;
    world.begin(&second, &bytes, later()).await;
    assert!(world.files() > empty);
    let report = service.sweep().await.expect("swept");
    assert_eq!((report.uploads_removed, report.failed), (1, 0));
    service.delete(&second.id).await.expect("deleted");
    assert_eq!(world.files(), empty);
    let limits = service.limits(None).await.expect("read");
    assert_eq!(limits.used_bytes, 0);
}

/// A body that brings `bytes`, and then nothing until it is told to go on.
fn pausing(
    bytes: Bytes,
) -> (
    impl futures::Stream<Item = attache::Result<Bytes>> + Send,
    Go,
) {
    let (go, waits) = tokio::sync::oneshot::channel::<Bytes>();
    let rest = futures::stream::once(async { Ok(waits.await.unwrap_or_default()) });
    let first = futures::stream::iter([Ok(bytes)]);
    (futures::StreamExt::chain(first, rest), go)
}

type Go = tokio::sync::oneshot::Sender<Bytes>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_another_process_ends_the_one_that_runs_which_stores_what_it_has() {
    let world = World {
        folder: tempfile::tempdir().expect("a folder"),
    };
    let (one, other) = (world.service().await, world.service().await);
    let bytes = pattern(100_000, 1);
    let new = NewPartial {
        new: NewAttachment {
            size: Some(bytes.len() as u64),
            ..NewAttachment::default()
        },
        ..NewPartial::default()
    };
    let created = one.create_upload(new).await.expect("created");
    let id = created.id.clone();
    let (body, _go) = pausing(bytes.slice(..30_000));
    let running = tokio::spawn({
        let one = one.clone();
        async move { one.append(created, Append::default(), body).await }
    });
    let found = loop {
        let found = other.find_upload(&id).await.expect("there");
        if found.is_held {
            break found;
        }
        tokio::task::yield_now().await;
    };
    // What it has read is in no figure before it is stored; so it is asked until it was read.
    let began = std::time::Instant::now();
    let told = other.upload_progress(found).await.expect("told");
    assert!(began.elapsed() < Duration::from_secs(1), "within a second");
    let ended = running.await.expect("no panic").expect("ended");
    assert!(matches!(ended, Appended::Taken), "{ended:?}");
    assert!([0, 30_000].contains(&told.offset), "{}", told.offset);
    let rest = bytes.slice(usize::try_from(told.offset).expect("small")..);
    let append = Append {
        offset: told.offset,
        ..Append::default()
    };
    let body = futures::stream::iter([Ok(rest)]);
    let done = other.append(told, append, body).await.expect("stored");
    let Appended::Completed(_, attachment) = done else {
        panic!("{done:?}");
    };
    assert_eq!(attachment.sha256, Hex(Sha256::digest(&bytes).into()));
    assert_eq!(one.find(&id).await.expect("there"), *attachment);
    one.close(Duration::ZERO).await;
    other.close(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_uploads_that_wait_are_looked_through_within_a_second() {
    let world = World {
        folder: tempfile::tempdir().expect("a folder"),
    };
    let service = world.service().await;
    let new = || NewPartial {
        new: NewAttachment {
            size: Some(1_000_000),
            ..NewAttachment::default()
        },
        metadata: "filename YS50eHQ=".to_owned(),
        caller: "token:wiki".to_owned(),
    };
    for _ in 0..100 {
        let some = (0..100).map(|_| service.create_upload(new()));
        for created in join_all(some).await {
            created.expect("created");
        }
    }
    let began = std::time::Instant::now();
    let report = service.sweep().await.expect("swept");
    let took = began.elapsed();
    assert_eq!(report.uploads_removed, 0);
    assert!(took < Duration::from_secs(1), "{took:?}");
    service.close(Duration::ZERO).await;
}
