//! The promises of [`attache::catalog::Catalog`], which are in [`attache::testing`], bound to every catalog; then what is promised
//! of the SQLite file alone: it survives a killed process, and is refused when it is newer than we are.

mod common;
#[path = "catalog/liars.rs"]
mod liars;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attache::ErrorKind;
use attache::attachment::AttachmentId;
use attache::catalog::cached::{CachedCatalog, MAX_STALENESS};
use attache::catalog::sqlite::SqliteCatalog;
use attache::catalog::{Catalog, Draft};
use attache::testing::rows::{Shared, draft, fill, newest, stored, totals, unfinished};
use attache::testing::{Fresh, catalog_suite};
use common::child::{self, Child};
use futures::future::join_all;

catalog_suite!(sqlite: open::sqlite);
catalog_suite!(recent: open::recent);

/// A new catalog of each kind, and what it stands on.
mod open {
    use super::*;

    pub(crate) async fn sqlite() -> Fresh<dyn Catalog> {
        let (catalog, folder) = file();
        Fresh::catalog(catalog).on(folder)
    }

    pub(crate) async fn recent() -> Fresh<dyn Catalog> {
        let (catalog, folder) = file();
        Fresh::catalog(CachedCatalog::over(Arc::new(catalog))).on(folder)
    }

    pub(crate) fn file() -> (SqliteCatalog, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let catalog = open_file(&folder.path().join("data/catalog.sqlite"));
        (catalog, folder)
    }
}

// What is promised of the file.

#[tokio::test]
async fn a_catalog_of_the_first_version_is_brought_up_to_date_with_its_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("attache.db");
    let connection = rusqlite::Connection::open(&path).expect("made");
    let schema = include_str!("../migrations/sqlite/0001_attachments.sql");
    connection.execute_batch(schema).expect("the first version");
    connection
        .pragma_update(None, "user_version", 1)
        .expect("noted");
    connection
        .execute_batch(
            "INSERT INTO attachments (id, object_key, state, filename, content_type, created_at_ms, charged_bytes, size, sha256, \
             worker) VALUES ('old', 'user/old', 'ready', 'a', 'a/b', 0, 5, 5, zeroblob(32), 'gone');
             UPDATE usage SET attachments = 1, ready_bytes = 5",
        )
        .expect("a row");
    drop(connection);
    // As often as it is opened.
    for _ in 0..2 {
        let catalog = SqliteCatalog::open(&path).expect("opens");
        let found = catalog.find(&"old".parse().expect("an id")).await;
        let found = found.expect("still there");
        assert_eq!((found.size, found.store_tag), (5, None));
        catalog.close().await;
    }
}

#[tokio::test]
async fn what_is_committed_is_there_after_close_and_open() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    let first: Shared = Arc::new(open_file(&path));
    let made = fill(&first, 5, |n| n).await;
    first.close().await;
    drop(first);
    // All of it is in one file, beside the space that is kept for deletions.
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| {
            let name = name.to_string_lossy();
            !name.ends_with("-workers") && !name.ends_with("-reserve")
        })
        .collect();
    assert_eq!(names, ["catalog.sqlite"]);
    let second: Shared = Arc::new(open_file(&path));
    assert_eq!(newest(&second, None).await, made);
}

#[tokio::test]
async fn a_second_process_leaves_alone_what_a_living_one_works_on() {
    // Two catalogs in one process are two workers, as two processes are.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    let first = open_file(&path);
    let second: Shared = Arc::new(open_file(&path));
    let draft = draft();
    first.begin(&draft).await.expect("begin");
    assert_eq!(unfinished(&second).await, []);
    drop(first);
    assert_eq!(unfinished(&second).await, [draft.id]);
}

/// A copy must not take a catalog for its own because it cannot see the others.
#[tokio::test]
async fn who_has_the_catalog_open_is_told_or_said_to_be_unknown() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    let (first, second) = (open_file(&path), open_file(&path));
    assert_eq!(first.replicas().await.expect("told").len(), 2);
    drop(second);
    assert_eq!(first.replicas().await.expect("told").len(), 1);
    let workers = folder.path().join("catalog.sqlite-workers");
    std::fs::rename(&workers, folder.path().join("elsewhere")).expect("moved");
    first.replicas().await.expect_err("unknown");
}

#[tokio::test]
async fn a_row_is_forgotten_only_by_the_process_that_retired_it_last() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    let (first, second): (Shared, Shared) =
        (Arc::new(open_file(&path)), Arc::new(open_file(&path)));
    let draft = draft();
    first.begin(&draft).await.expect("begin");
    first.commit(&draft.id, &stored(1)).await.expect("commit");
    first.retire(&draft.id).await.expect("retire");
    // Somebody deletes it elsewhere, too, and may still work under its key.
    second.retire(&draft.id).await.expect("retire");
    first.forget(&draft.id).await.expect("nothing to do");
    assert_eq!(unfinished(&second).await, std::slice::from_ref(&draft.id));
    second.forget(&draft.id).await.expect("forget");
    assert_eq!(unfinished(&second).await, []);
}

#[tokio::test]
async fn what_a_living_process_retired_is_left_to_it_and_what_a_dead_one_retired_is_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    let (first, second): (Shared, Shared) =
        (Arc::new(open_file(&path)), Arc::new(open_file(&path)));
    let draft = draft();
    first.begin(&draft).await.expect("begin");
    first.retire(&draft.id).await.expect("retire");
    assert_eq!(unfinished(&second).await, []);
    assert_eq!(unfinished(&first).await, std::slice::from_ref(&draft.id));
    drop(first);
    assert_eq!(unfinished(&second).await, [draft.id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_at_the_same_time_finds_the_same_process_dead() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    let workers = folder.path().join("catalog.sqlite-workers");
    let first = open_file(&path);
    let file = std::fs::read_dir(&workers).expect("a folder").next();
    let file = file.expect("that of the first").expect("an entry").path();
    let draft = draft();
    first.begin(&draft).await.expect("begin");
    drop(first);
    let second: Shared = Arc::new(open_file(&path));
    for _ in 0..300 {
        // As a killed process leaves it.
        std::fs::write(&file, "").expect("a file");
        let asked = (0..4).map(|_| {
            let second = second.clone();
            tokio::spawn(async move { unfinished(&second).await })
        });
        for answer in futures::future::join_all(asked).await {
            assert_eq!(answer.expect("an answer"), std::slice::from_ref(&draft.id));
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_process_that_cannot_be_told_to_be_dead_is_alive() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    let workers = folder.path().join("catalog.sqlite-workers");
    let (first, second): (Shared, Shared) =
        (Arc::new(open_file(&path)), Arc::new(open_file(&path)));
    let draft = draft();
    first.begin(&draft).await.expect("begin");
    // Like too many open files: its file is there, and cannot be opened.
    for entry in std::fs::read_dir(&workers).expect("a folder") {
        let file = entry.expect("an entry").path();
        std::fs::remove_file(&file).expect("ours");
        std::os::unix::fs::symlink(&file, &file).expect("a link to itself");
    }
    assert_eq!(unfinished(&second).await, []);
}

#[tokio::test]
async fn killed_processes_leave_no_files_for_ever() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    let workers = folder.path().join("catalog.sqlite-workers");
    let alive = open_file(&path);
    for left in ["0123", ".4567"] {
        std::fs::write(workers.join(left), "").expect("what a killed process leaves");
    }
    let count = || std::fs::read_dir(&workers).expect("a folder").count();
    assert_eq!(count(), 3);
    let another = open_file(&path);
    assert_eq!(count(), 2, "that of the dead is gone");
    drop((alive, another));
    assert_eq!(count(), 0);
}

#[tokio::test]
async fn a_killed_process_leaves_what_it_committed_and_names_what_it_did_not_finish() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    let ours: Shared = Arc::new(open_file(&path));
    let mut child = Child::start("child_commits_until_it_is_killed", &path);
    let pending: AttachmentId = child.line().parse().expect("an id");
    let mut committed: Vec<AttachmentId> = Vec::new();
    while committed.len() < 30 {
        committed.push(child.line().parse().expect("an id"));
    }
    let alive = unfinished(&ours).await;
    assert_eq!(alive, [], "the process lives and works on them");
    committed.extend(child.kill().iter().map(|line| line.parse().expect("an id")));

    let rows = ours.unfinished(None, 1000).await.expect("unfinished");
    let ids: Vec<_> = rows.iter().map(|row| &row.id).collect();
    assert!(ids.contains(&&pending), "{ids:?}");
    assert!(rows.iter().all(|row| row.upload), "interrupted uploads");
    // At most the one that it was in the middle of comes to it.
    assert!(ids.len() <= 2, "{ids:?}");
    for id in &committed {
        catalog_has(&ours, id).await;
    }
    let (attachments, bytes, _) = totals(&ours).await;
    let listed = newest(&ours, None).await.len() as u64;
    assert_eq!((attachments, bytes), (listed, listed * 7));
    assert!(attachments >= committed.len() as u64);
    for row in &rows {
        ours.retire(&row.id).await.expect("retire");
        ours.forget(&row.id).await.expect("forget");
    }
    assert_eq!(
        totals(&ours).await,
        (attachments, bytes, 0),
        "their share is free"
    );
}

/// The other side of the test above: runs only as its child.
#[tokio::test]
async fn child_commits_until_it_is_killed() {
    let Some(path) = child::argument() else {
        return;
    };
    let catalog: Shared = Arc::new(open_file(&path));
    let pending = draft();
    catalog.begin(&pending).await.expect("begin");
    child::say(pending.id.as_str());
    loop {
        let draft = draft();
        catalog.begin(&draft).await.expect("begin");
        catalog.commit(&draft.id, &stored(7)).await.expect("commit");
        // Said only when it is on disk.
        child::say(draft.id.as_str());
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_process_retires_is_believed_for_a_moment_and_no_longer() {
    let (theirs, _folder) = open::file();
    let theirs: Shared = Arc::new(theirs);
    let ours: Shared = Arc::new(CachedCatalog::over(theirs.clone()));
    let draft = draft();
    ours.begin(&draft).await.expect("begin");
    ours.commit(&draft.id, &stored(7)).await.expect("commit");
    let found = ours.find(&draft.id).await.expect("it is there");
    theirs.retire(&draft.id).await.expect("retire");
    tokio::time::advance(MAX_STALENESS / 2).await;
    assert_eq!(ours.find(&draft.id).await.expect("remembered"), found);
    tokio::time::advance(MAX_STALENESS / 2).await;
    let error = ours.find(&draft.id).await.expect_err("long enough");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_now_is_told_and_corrects_what_is_remembered() {
    let (theirs, _folder) = open::file();
    let theirs: Shared = Arc::new(theirs);
    let ours: Shared = Arc::new(CachedCatalog::over(theirs.clone()));
    let draft = draft();
    ours.begin(&draft).await.expect("begin");
    ours.commit(&draft.id, &stored(7)).await.expect("commit");
    ours.find(&draft.id).await.expect("it is there");
    theirs.retire(&draft.id).await.expect("retire");
    ours.find_uncached(&draft.id).await.expect_err("retired");
    ours.find(&draft.id).await.expect_err("known now");
}

#[tokio::test]
async fn a_retirement_that_is_not_awaited_to_its_end_is_known_all_the_same() {
    let (theirs, _folder) = open::file();
    let theirs: Shared = Arc::new(theirs);
    let ours: Shared = Arc::new(CachedCatalog::over(theirs.clone()));
    let draft = draft();
    ours.begin(&draft).await.expect("begin");
    ours.commit(&draft.id, &stored(7)).await.expect("commit");
    ours.find(&draft.id).await.expect("it is there");
    // Polled once: the write is on its way, and nobody waits for it.
    assert!(futures::poll!(ours.retire(&draft.id)).is_pending());
    // Behind it in the line of writes.
    theirs.retire(&draft.id).await.expect("retire");
    ours.find(&draft.id).await.expect_err("not remembered");
}

#[tokio::test]
async fn a_catalog_of_a_newer_version_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    let catalog: Shared = Arc::new(open_file(&path));
    catalog.close().await;
    drop(catalog);
    let sqlite = rusqlite::Connection::open(&path).expect("the file");
    sqlite
        .pragma_update(None, "user_version", 99)
        .expect("written");
    drop(sqlite);
    let error = SqliteCatalog::open(&path).expect_err("newer than we are");
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    for word in ["99", "catalog.url"] {
        assert!(error.detail().contains(word), "{error}");
    }
    let sqlite = rusqlite::Connection::open(&path).expect("the file");
    let version: i64 = sqlite
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .expect("a version");
    assert_eq!(version, 99);
}

#[tokio::test]
async fn a_file_that_is_no_catalog_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    std::fs::write(
        &path,
        "This is no database, and was here before us.".repeat(100),
    )
    .expect("written");
    let error = SqliteCatalog::open(&path).expect_err("no database");
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error:?}");
    let error = SqliteCatalog::open(folder.path()).expect_err("a folder");
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error:?}");
}

#[tokio::test]
async fn processes_that_start_together_make_one_catalog() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("catalog.sqlite");
    let opens = (0..8).map(|_| {
        let path = path.clone();
        tokio::task::spawn_blocking(move || open_file(&path))
    });
    let mut catalogs: Vec<Shared> = Vec::new();
    for opened in join_all(opens).await {
        catalogs.push(Arc::new(opened.expect("every one opens it")));
    }
    let tries = catalogs.iter().map(|catalog| async {
        let draft = Draft {
            size: None,
            reserve: 10,
            quota: Some(50),
            ..draft()
        };
        catalog.begin(&draft).await.is_ok()
    });
    let begun = join_all(tries)
        .await
        .into_iter()
        .filter(|begun| *begun)
        .count();
    assert_eq!(begun, 5, "they share one quota");
}

// Helpers.

fn open_file(path: &Path) -> SqliteCatalog {
    SqliteCatalog::open(path).expect("a catalog")
}

async fn catalog_has(catalog: &Shared, id: &AttachmentId) {
    let found = catalog.find(id).await.expect("it was committed");
    assert_eq!(found.size, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_another_program_holds_the_write_lock_everybody_who_waits_is_told_to_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("catalog.db");
    let catalog: Shared = Arc::new(open_file(&path));
    let other = rusqlite::Connection::open(&path).expect("opened");
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let start = std::time::Instant::now();
    let id = AttachmentId::generate();
    let drafts: Vec<Draft> = (0..100).map(|_| draft()).collect();
    let begun = join_all(drafts.iter().map(|draft| catalog.begin(draft)));
    let (begun, retired, probed) = futures::join!(begun, catalog.retire(&id), catalog.probe());
    let errors = begun.into_iter().map(|begun| begun.expect_err("held"));
    let errors = errors.chain([retired.expect_err("held"), probed.expect_err("held")]);
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}");
        assert!(error.retry_hint().is_some(), "{error:?}");
    }
    // They waited for the same thing, and not one after the other.
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    other.execute_batch("ROLLBACK").expect("free");
    catalog.begin(&draft()).await.expect("free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_into_a_catalog_whose_file_was_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("catalog.db");
    let catalog: Shared = Arc::new(open_file(&path));
    catalog.begin(&draft()).await.expect("begun");
    std::fs::remove_file(&path).expect("removed");
    let refused = [
        catalog.begin(&draft()).await.map(|_| ()),
        catalog.probe().await,
        catalog.totals().await.map(|_| ()),
    ];
    for outcome in refused {
        assert_eq!(
            outcome.expect_err("removed").kind(),
            ErrorKind::UpstreamUnavailable
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_can_be_emptied() {
    let Some(disk) = common::SmallDisk::mount("5m") else {
        return;
    };
    let catalog: Shared = Arc::new(open_file(&disk.root().join("catalog.db")));
    let ids = fill(&catalog, 60, |n| n).await;
    let filler = disk.root().join("filler");
    let fill_up = || {
        let mut size = 1 << 20;
        while size > 0 {
            let mut file = std::fs::File::options();
            let file = file.create(true).append(true).open(&filler);
            let written =
                file.and_then(|mut file| std::io::Write::write_all(&mut file, &vec![0; size]));
            if written.is_err() {
                size /= 2;
            }
        }
    };
    fill_up();
    // Some writes find room in the log that is there already.
    let mut full = None;
    for _ in 0..1000 {
        match catalog.begin(&draft()).await {
            Ok(_) => {}
            Err(error) => {
                full = Some(error);
                break;
            }
        }
    }
    assert_eq!(full.expect("it is full").kind(), ErrorKind::StorageFull);
    for id in &ids {
        catalog
            .retire(id)
            .await
            .expect("a full disk can be emptied");
        catalog
            .forget(id)
            .await
            .expect("a full disk can be emptied");
    }
    // With room again there is something to give up the next time, too.
    std::fs::remove_file(&filler).expect("removed");
    let more = fill(&catalog, 2, |n| n).await;
    catalog.retire(&more[0]).await.expect("retired");
    catalog.forget(&more[0]).await.expect("forgotten");
    assert!(disk.root().join("catalog.db-reserve").exists());
}
