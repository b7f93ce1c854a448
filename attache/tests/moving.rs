//! A store is emptied into another one: nothing is lost, whatever happens meanwhile.

#[path = "moving/arrivals.rs"]
mod arrivals;
#[path = "moving/chain.rs"]
mod chain;
mod common;
#[path = "moving/old_store.rs"]
mod old_store;
#[path = "moving/overwritten.rs"]
mod overwritten;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attache::attachment::NewAttachment;
use attache::catalog::Catalog as _;
use attache::catalog::config::{CatalogConfig, CatalogUrl};
use attache::catalog::sqlite::SqliteCatalog;
use attache::config::load;
use attache::service::moving::{MoveOptions, MoveOutcome, Moved};
use attache::storage::config::{Backend, StorageSections};
use attache::storage::{Moving, Storage};
use attache::testing::objects::{get, list, pattern, put};
use attache::{Attache, Attachment, Config, ErrorKind};
use bytes::Bytes;
use common::{CONTAINER, fake, fresh_key, with_client_secret};
use fake_azure::FakeAzure;
use futures::TryStreamExt as _;

/// A service over a folder whose bytes go to a stand-in for Azure, or the other way round.
struct World {
    folder: tempfile::TempDir,
    fake: FakeAzure,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let fake = fake().await;
        Self { folder, fake }
    }

    fn sections(&self, backend: Backend) -> StorageSections {
        let mut sections = StorageSections {
            backend,
            ..StorageSections::default()
        };
        match backend {
            Backend::Azure => sections.azure = with_client_secret(&self.fake),
            _ => sections.local.root = self.folder.path().join("objects"),
        }
        sections
    }

    fn config(&self, to: Backend, from: Option<Backend>) -> Config {
        let storage = StorageSections {
            moving_from: from.map(|from| Box::new(self.sections(from))),
            ..self.sections(to)
        };
        config(self.folder.path(), storage)
    }

    async fn open(&self, to: Backend, from: Option<Backend>) -> Attache {
        let opened = Attache::open(self.config(to, from)).await;
        opened.expect("opens")
    }
}

/// With the catalog in this folder.
fn config(folder: &Path, storage: StorageSections) -> Config {
    Config {
        catalog: CatalogConfig::of(CatalogUrl::Sqlite(folder.join("attache.db"))),
        storage,
        ..Config::default()
    }
}

/// A service over a storage that is handed in, with the catalog in this folder.
async fn over(folder: &Path, sections: StorageSections, storage: Arc<dyn Storage>) -> Attache {
    let catalog = SqliteCatalog::open(&folder.join("attache.db")).expect("opens");
    let opened = Attache::with(config(folder, sections), storage, Arc::new(catalog)).await;
    opened.expect("opens")
}

async fn upload(attache: &Attache, bytes: Bytes) -> Attachment {
    let new = NewAttachment {
        filename: Some("a b.bin".parse().expect("a name")),
        ..NewAttachment::default()
    };
    let body = futures::stream::iter([Ok(bytes)]);
    let uploaded = attache.upload(new, body).await;
    uploaded.expect("stored").attachment
}

async fn read(attache: &Attache, attachment: &Attachment) -> Bytes {
    let whole = get(&*attache.parts().storage, &attachment.key, None).await;
    whole.expect("read").bytes
}

/// So many attachments of so many bytes, in the folder.
async fn in_the_folder(world: &World, attachments: u64, bytes: u64) -> Vec<Attachment> {
    let first = world.open(Backend::Local, None).await;
    let mut all = Vec::new();
    for seed in 0..attachments {
        all.push(upload(&first, pattern(bytes, seed)).await);
    }
    first.close(Duration::ZERO).await;
    all
}

async fn moved(attache: &Attache, options: MoveOptions) -> attache::Result<Vec<Moved>> {
    attache.move_objects(options).try_collect().await
}

async fn outcomes(attache: &Attache, options: MoveOptions) -> Vec<MoveOutcome> {
    let moved = moved(attache, options).await.expect("to its end");
    moved.into_iter().map(|moved| moved.outcome).collect()
}

fn outcome_of(moved: &[Moved], attachment: &Attachment) -> MoveOutcome {
    let found = moved.iter().find(|one| one.attachment.id == attachment.id);
    found.expect("told").outcome
}

const LOOK: MoveOptions = MoveOptions {
    rate: None,
    only_look: true,
};

#[tokio::test]
async fn bytes_that_are_not_what_was_uploaded_are_not_brought_and_all_others_are() {
    let world = World::new().await;
    let all = in_the_folder(&world, 3, 1000).await;
    let path = |at: usize| {
        world
            .folder
            .path()
            .join("objects")
            .join(all[at].key.as_str())
    };
    std::fs::write(path(0), pattern(1000, 99)).expect("other bytes of the same length");
    std::fs::remove_file(path(1)).expect("gone");
    let attache = world.open(Backend::Azure, Some(Backend::Local)).await;
    let moved = moved(&attache, MoveOptions::default()).await;
    let moved = moved.expect("to its end");
    let of = |attachment| outcome_of(&moved, attachment);
    assert_eq!(of(&all[0]), MoveOutcome::Differs);
    assert_eq!(of(&all[1]), MoveOutcome::Missing);
    assert_eq!(of(&all[2]), MoveOutcome::Moved);
    assert!(world.fake.blob(CONTAINER, all[0].key.as_str()).is_none());
    let left = outcomes(&attache, LOOK).await;
    assert_eq!(left.iter().filter(|one| one.is_left()).count(), 2);
}

#[tokio::test]
async fn several_moves_at_once_and_deletions_meanwhile_lose_nothing_and_leave_nothing() {
    let world = World::new().await;
    let first = world.open(Backend::Local, None).await;
    let mut all = Vec::new();
    for seed in 0..60 {
        let bytes = pattern(2000, seed);
        all.push((upload(&first, bytes.clone()).await, bytes));
    }
    first.close(Duration::ZERO).await;
    let attache = world.open(Backend::Azure, Some(Backend::Local)).await;
    let deleted = async {
        for (attachment, _) in all.iter().step_by(3) {
            let gone = attache.delete(&attachment.id).await;
            gone.expect("deleted");
        }
    };
    let (one, two, three, ()) = futures::join!(
        outcomes(&attache, MoveOptions::default()),
        outcomes(&attache, MoveOptions::default()),
        outcomes(&attache, MoveOptions::default()),
        deleted,
    );
    let left = [one, two, three].concat();
    assert!(left.iter().all(|one| !one.is_left()), "{left:?}");
    let parts = attache.parts();
    let moving = parts.storage.moving().expect("two stores");
    let new = list(&**moving.to(), None).await.expect("listed");
    let old = list(&**moving.from(), None).await.expect("listed");
    let mut kept = 0;
    for (at, (attachment, bytes)) in all.iter().enumerate() {
        let is_there = |listed: &[attache::storage::ObjectInfo]| {
            listed.iter().any(|object| object.key == attachment.key)
        };
        if at % 3 == 0 {
            assert!(!is_there(&new) && !is_there(&old), "{at} was deleted");
            continue;
        }
        kept += 1;
        assert!(is_there(&new) && is_there(&old), "{at}");
        assert!(read(&attache, attachment).await == bytes);
    }
    assert_eq!((new.len(), old.len()), (kept, kept));
}

#[tokio::test]
async fn what_a_killed_move_brought_and_did_not_note_the_next_one_notes() {
    let world = World::new().await;
    let all = in_the_folder(&world, 3, 2000).await;
    let attache = world.open(Backend::Azure, Some(Backend::Local)).await;
    let moved = outcomes(&attache, MoveOptions::default()).await;
    assert_eq!(moved, [MoveOutcome::Moved; 3]);
    let listed = list(&*attache.parts().storage, None).await.expect("listed");
    attache.close(Duration::ZERO).await;
    // As rows are whose objects came, and nobody was there any more to note it.
    let catalog = SqliteCatalog::open(&world.folder.path().join("attache.db")).expect("opens");
    let tags = all.iter().map(|row| (row.id.clone(), None));
    let noted = catalog.note_store_tags(tags.collect()).await;
    assert_eq!(noted.expect("noted"), [true; 3]);
    catalog.close().await;

    let attache = world.open(Backend::Azure, Some(Backend::Local)).await;
    // The last run notes, too, which is often one that only looks.
    let looked = outcomes(&attache, LOOK).await;
    assert_eq!(looked, [MoveOutcome::There; 3]);
    for object in &listed {
        let row = attache.find(&object.key.id()).await.expect("find");
        assert!(object.store_tag.is_some());
        assert_eq!(row.store_tag, object.store_tag);
    }
}

#[tokio::test]
async fn a_listing_of_both_stores_is_in_order_and_has_each_object_once() {
    let new: Arc<dyn Storage> = Arc::new(attache::storage::memory::MemoryStorage::new());
    let old: Arc<dyn Storage> = Arc::new(attache::storage::memory::MemoryStorage::new());
    let mut keys = Vec::new();
    for at in 0..30_u64 {
        let key = fresh_key();
        let bytes = pattern(10 + at, at);
        if at % 3 != 0 {
            put(&*new, &key, &bytes).await.expect("put");
        }
        if at % 3 != 1 {
            put(&*old, &key, &bytes).await.expect("put");
        }
        keys.push(key);
    }
    keys.sort();
    let both = Moving::new(new, old);
    let listed = list(&both, None).await.expect("listed");
    let listed: Vec<_> = listed.into_iter().map(|object| object.key).collect();
    assert_eq!(listed, keys);
    let behind = list(&both, Some(&keys[9])).await.expect("listed");
    assert_eq!(behind.len(), 20);
}

#[tokio::test]
async fn an_old_store_that_is_down_is_named_and_what_has_moved_is_read_without_it() {
    let world = World::new().await;
    let first = world.open(Backend::Azure, None).await;
    let old = upload(&first, pattern(100, 1)).await;
    first.close(Duration::ZERO).await;
    let attache = world.open(Backend::Local, Some(Backend::Azure)).await;
    let new = upload(&attache, pattern(100, 2)).await;
    world.fake.faults(|faults| {
        faults.fail_next(fake_azure::Op::GetBlob, 100, 403, "AuthorizationFailure")
    });
    assert_eq!(read(&attache, &new).await, pattern(100, 2));
    let storage = attache.parts().storage.clone();
    let error = get(&*storage, &old.key, None).await.map(|_| ());
    let error = error.expect_err("it is down");
    assert!(
        error.detail().starts_with("storage.moving_from: "),
        "{error}"
    );
    let moved = moved(&attache, MoveOptions::default()).await;
    let error = moved.expect_err("an outage ends the move");
    assert!(error.to_string().contains("storage.moving_from"), "{error}");
    // What a store that is gone has said is not "there is none": the row stays, and the next move brings it.
    world
        .fake
        .faults(|faults| *faults = fake_azure::Faults::default());
    let outcome = outcomes(&attache, MoveOptions::default()).await;
    assert!(outcome.contains(&MoveOutcome::Moved), "{outcome:?}");
}

#[tokio::test]
async fn a_new_store_whose_disk_is_gone_is_not_begun_again() {
    // Also one that attachments were stored in before.
    for used in [false, true] {
        let world = World::new().await;
        let first = world.open(Backend::Azure, None).await;
        upload(&first, pattern(100, 1)).await;
        first.close(Duration::ZERO).await;
        let root = world.folder.path().join("objects");
        if used {
            std::fs::create_dir_all(root.join(".attache")).expect("a store");
        }
        let attache = world.open(Backend::Local, Some(Backend::Azure)).await;
        upload(&attache, pattern(100, 2)).await;
        attache.close(Duration::ZERO).await;
        // As the mount point of a disk that is not mounted.
        std::fs::remove_dir_all(&root).expect("gone");
        let attache = world.open(Backend::Local, Some(Backend::Azure)).await;
        let body = futures::stream::iter([Ok(pattern(10, 3))]);
        let refused = attache.upload(NewAttachment::default(), body).await;
        let error = refused.expect_err("it would be lost");
        assert!(error.detail().contains("is its disk mounted"), "{error}");
        let moved = moved(&attache, MoveOptions::default()).await;
        moved.expect_err("nor is anything moved there");
    }
}

#[tokio::test]
async fn how_far_a_move_is_is_noted_and_told_by_whoever_has_the_catalog_open() {
    let world = World::new().await;
    let all = in_the_folder(&world, 6, 1000).await;
    let mover = world.open(Backend::Azure, Some(Backend::Local)).await;
    let server = world.open(Backend::Azure, Some(Backend::Local)).await;
    let told = async || {
        server
            .status(None)
            .await
            .storage
            .moving
            .expect("two stores")
    };
    let before = told().await;
    assert_eq!((before.objects, before.changed_s), (None, None));
    assert!(before.from.starts_with("local /"), "{}", before.from);
    assert!(
        before.to.starts_with("azure container \"files\""),
        "{}",
        before.to
    );
    let sentence = server.status(None).await.health.sentence;
    assert!(sentence.ends_with("nobody has begun to."), "{sentence}");
    // Its first object is noted at once, and stays when it goes.
    let mut walk = mover.move_objects(MoveOptions::default());
    walk.try_next().await.expect("moves").expect("one");
    drop(walk);
    let begun = told().await;
    let counts = (
        begun.objects,
        begun.total_objects,
        begun.bytes,
        begun.total_bytes,
    );
    assert_eq!(counts, (Some(1), Some(6), Some(1000), Some(6000)));
    assert!(begun.changed_s.is_some_and(|age| age < 60.0), "{begun:?}");
    let status = server.status(None).await;
    let sentence = &status.health.sentence;
    assert!(sentence.contains("1 of 6 objects"), "{sentence}");
    assert!(sentence.contains("last change"), "{sentence}");
    let figures = server.metrics_text().await;
    assert!(figures.contains("attache_move_objects{state=\"moved\"} 1\n"));
    assert!(figures.contains("attache_move_objects{state=\"left\"} 5\n"));
    assert!(figures.contains("attache_move_bytes{state=\"left\"} 5000\n"));
    // What cannot be moved is left.
    let root = world.folder.path().join("objects");
    std::fs::remove_file(root.join(all[5].key.as_str())).expect("lost");
    // The walk that was given up may have brought it.
    let parts = mover.parts();
    let moving = parts.storage.moving().expect("two stores");
    moving.to().delete(&all[5].key).await.expect("lost, too");
    drop(parts);
    outcomes(&mover, MoveOptions::default()).await;
    let missing = told().await;
    assert_eq!((missing.objects, missing.total_objects), (Some(5), Some(6)));
    let figures = mover.metrics_text().await;
    let line = "attache_moved_objects_total{outcome=\"missing\"} 1\n";
    assert!(figures.contains(line), "{figures}");
    server.delete(&all[5].id).await.expect("deleted");
    outcomes(&mover, MoveOptions::default()).await;
    let whole = told().await;
    assert_eq!((whole.objects, whole.total_objects), (Some(5), Some(5)));
    // What comes now goes to the new store, and is not left.
    upload(&server, pattern(1000, 9)).await;
    let later = told().await;
    assert_eq!((later.objects, later.total_objects), (Some(5), Some(5)));
    // Of the way back nothing is known, and where nothing is moved there is nothing to tell.
    let back = world.open(Backend::Local, Some(Backend::Azure)).await;
    let moving = back.status(None).await.storage.moving.expect("two stores");
    assert_eq!((moving.objects, moving.total_objects), (None, None));
    let alone = world.open(Backend::Azure, None).await;
    assert!(alone.status(None).await.storage.moving.is_none());
    let figures = alone.metrics_text().await;
    assert!(figures.contains("attache_move_objects{state=\"moved\"} 0\n"));
}

#[tokio::test]
async fn a_move_without_an_old_store_says_which_key_names_it() {
    let world = World::new().await;
    let attache = world.open(Backend::Local, None).await;
    let moved = moved(&attache, MoveOptions::default()).await;
    let error = moved.expect_err("nothing to move");
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.detail().contains("storage.moving_from"), "{error}");
}

#[tokio::test]
async fn a_move_goes_no_faster_than_it_is_told() {
    let world = World::new().await;
    in_the_folder(&world, 4, 500_000).await;
    let attache = world.open(Backend::Azure, Some(Backend::Local)).await;
    let started = std::time::Instant::now();
    let rate = MoveOptions {
        rate: Some(1_000_000),
        only_look: false,
    };
    assert_eq!(outcomes(&attache, rate).await, [MoveOutcome::Moved; 4]);
    // Two megabytes, less the last chunks, for which nobody waits.
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(1500), "{took:?}");
}

#[test]
fn the_old_store_is_a_section_of_the_same_form_in_the_file_and_in_the_environment() {
    let file = "[storage]\nbackend = \"azure\"\n[storage.azure]\naccount = \"files\"\ncontainer = \"new\"\naccount_key = \"a2V5\"\n\
                [storage.moving_from]\nbackend = \"local\"\n[storage.moving_from.local]\nroot = \"/srv/old\"\n";
    let config: Config = load::from_parts(Some(file), []).expect("valid");
    let from = config.storage.moving_from.as_ref().expect("set");
    assert_eq!(from.backend, Backend::Local);
    assert_eq!(from.local.root, std::path::Path::new("/srv/old"));
    // What is shown can be read again, and shows no secret.
    let shown = config.to_toml();
    assert!(!shown.contains("a2V5"), "{shown}");
    assert!(
        shown.contains("moving_from = { backend = \"local\", local = { root = \"/srv/old\" } }"),
        "{shown}"
    );
    let environment = [
        ("ATTACHE_STORAGE__MOVING_FROM__BACKEND", "local"),
        ("ATTACHE_STORAGE__MOVING_FROM__LOCAL__ROOT", "/srv/older"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config: Config = load::from_parts(None, environment).expect("valid");
    let from = config.storage.moving_from.as_ref().expect("set");
    assert_eq!(from.local.root, std::path::Path::new("/srv/older"));
}

#[test]
fn a_delegation_to_one_cloud_is_refused_while_bytes_are_in_another() {
    let file = "[storage]\nbackend = \"local\"\n[delivery]\nmode = \"delegate\"\n[storage.moving_from]\nbackend = \"azure\"\n\
                azure = { account = \"a\", container = \"old\", account_key = \"a2V5\" }\n";
    let config: attache::Result<Config> = load::from_parts(Some(file), []);
    let error = config.expect_err("the web server would ask the wrong host");
    assert!(error.to_string().contains("delivery.mode"), "{error}");
}

#[test]
fn what_is_wrong_with_the_old_store_is_said_with_its_key() {
    let faults = |from: &str| {
        let file = format!("[storage.local]\nroot = \"/srv/new\"\n[storage.moving_from]\n{from}");
        let config: attache::Result<Config> = load::from_parts(Some(&file), []);
        config.expect_err(from).to_string()
    };
    for (from, said) in [
        ("", "storage.moving_from has no backend"),
        (
            "backend = \"memory\"",
            "memory of a process cannot be moved",
        ),
        ("backend = \"azure\"", "storage.moving_from.azure."),
        (
            "backend = \"local\"\nlocal = { root = \"/srv/new\" }",
            "is the same place as storage",
        ),
        (
            "backend = \"local\"\nlocal = { rot = \"/srv/old\" }",
            "local.rot: unknown key",
        ),
        (
            "backend = \"local\"\nmoving_from = { backend = \"local\" }",
            "moving_from",
        ),
        (
            "backend = \"azure\"\nazure = { client_secret_file = \"/no/such\" }",
            "azure.client_secret_file names a file that cannot be read",
        ),
    ] {
        let told = faults(from);
        assert!(told.contains(said), "{from}: {told}");
    }
}
