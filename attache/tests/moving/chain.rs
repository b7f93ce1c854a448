//! Through all five stores: each is emptied into the next one and given up, until the first is reached again.

use attache::http::ClientConfig;
use attache::service::adopt::{AdoptOptions, Adoption};
use attache::service::verify::VerifyOptions;
use attache::storage::memory::MemoryStorage;
use fake_s3::FakeS3;

use super::common::{fake_gcs, fake_s3, on_gcs, on_s3};
use super::*;

/// One block of the mover.
const BLOCK: u64 = 4 * 1024 * 1024;

/// A store of each kind, and the catalog of what is in them.
struct Stores {
    /// The folder, and Azure.
    world: World,
    s3: FakeS3,
    gcs: FakeS3,
    memory: Arc<dyn Storage>,
}

impl Stores {
    async fn new() -> Self {
        Self {
            world: World::new().await,
            s3: fake_s3().await,
            gcs: fake_gcs().await,
            memory: Arc::new(MemoryStorage::new()),
        }
    }

    fn sections(&self, store: Backend) -> StorageSections {
        let mut sections = self.world.sections(store);
        match store {
            Backend::S3 => sections.s3 = on_s3(&self.s3),
            Backend::Gcs => sections.gcs = on_gcs(&self.gcs),
            Backend::Local | Backend::Azure | Backend::Memory => {}
        }
        sections
    }

    fn store(&self, store: Backend) -> Arc<dyn Storage> {
        if store == Backend::Memory {
            return self.memory.clone();
        }
        let config = self.sections(store).chosen(ClientConfig::default());
        config.open().expect("opens")
    }

    async fn open(&self, to: Backend, from: Option<Backend>) -> Attache {
        let sections = StorageSections {
            moving_from: from.map(|from| Box::new(self.sections(from))),
            ..self.sections(to)
        };
        let folder = self.world.folder.path();
        if to != Backend::Memory && from != Some(Backend::Memory) {
            let opened = Attache::open(config(folder, sections)).await;
            return opened.expect("opens");
        }
        // What is in the memory of a process no configuration names.
        let storage: Arc<dyn Storage> = match from {
            None => self.store(to),
            Some(from) => Arc::new(Moving::new(self.store(to), self.store(from))),
        };
        over(folder, sections, storage).await
    }

    /// Attachments in the folder, of which another program has put two there in folders of their own.
    async fn filled(&self) -> Vec<(Attachment, Bytes)> {
        let first = self.open(Backend::Local, None).await;
        let mut all = Vec::new();
        for size in [0, 1, 1000, 70_000, 2 * BLOCK + 1024 * 1024 + 1] {
            let bytes = pattern(size, size);
            all.push((upload(&first, bytes.clone()).await, bytes));
        }
        let others = [
            ("attachment/5f0c/c0ffee.bin", pattern(1000, 7)),
            ("years/2019/Bericht 1.tar.gz", pattern(BLOCK + 1, 8)),
        ];
        for (name, bytes) in &others {
            let path = self.world.folder.path().join("objects").join(name);
            let folder = path.parent().expect("it has one");
            std::fs::create_dir_all(folder).expect("made");
            std::fs::write(&path, bytes).expect("written");
        }
        let walk = first.adopt(AdoptOptions::default()).await;
        let adopted: Vec<_> = walk
            .expect("begins")
            .try_collect()
            .await
            .expect("to its end");
        for (name, bytes) in others {
            let one = adopted.iter().find(|one| one.name == name);
            match one.map(|one| &one.outcome) {
                Some(Adoption::Adopted(row)) => all.push(((**row).clone(), bytes)),
                other => panic!("{name}: {other:?}"),
            }
        }
        first.close(Duration::ZERO).await;
        all
    }

    /// A store is gone, with all that was in it.
    fn give_up(&mut self, store: Backend) {
        match store {
            Backend::Local => {
                let root = self.world.folder.path().join("objects");
                std::fs::remove_dir_all(root).expect("removed");
            }
            Backend::Azure => self.world.fake.delete_container(CONTAINER),
            Backend::S3 => self.s3.delete_bucket(CONTAINER),
            Backend::Gcs => self.gcs.delete_bucket(CONTAINER),
            Backend::Memory => self.memory = Arc::new(MemoryStorage::new()),
        }
    }
}

/// Brings everything into `to` while it is read and added to, and a second and a third run find it there.
async fn moved_into(to: &Attache, all: &mut Vec<(Attachment, Bytes)>, step: &str) {
    // What is written meanwhile goes to the new store.
    let late = pattern(500, all.len() as u64);
    all.push((upload(to, late.clone()).await, late));
    for (attachment, bytes) in all.iter() {
        assert!(
            read(to, attachment).await == bytes,
            "{step}: {} before it moves",
            attachment.key
        );
    }
    let outcome = outcomes(to, MoveOptions::default()).await;
    let count = |wanted: MoveOutcome| outcome.iter().filter(|one| **one == wanted).count();
    assert_eq!(
        (count(MoveOutcome::Moved), count(MoveOutcome::There)),
        (all.len() - 1, 1),
        "{step}: {outcome:?}"
    );
    let again = outcomes(to, MoveOptions::default()).await;
    assert_eq!(again, vec![MoveOutcome::There; all.len()], "{step}");
    assert_eq!(outcomes(to, LOOK).await, again, "{step}");
}

/// All that was ever stored is in this store alone, byte for byte, with its facts.
async fn nothing_is_missed(alone: &Attache, all: &[(Attachment, Bytes)], step: &str) {
    for (attachment, bytes) in all {
        let key = &attachment.key;
        let whole = get(&*alone.parts().storage, key, None).await;
        let whole = whole.unwrap_or_else(|error| panic!("{step}: {key}: {error}"));
        assert!(whole.bytes == bytes, "{step}: {key} has other bytes");
        assert_eq!(whole.info.sha256, Some(attachment.sha256), "{step}: {key}");
        let facts = whole.info.facts.expect("facts");
        assert_eq!(
            (facts.id, facts.filename),
            (attachment.id.clone(), attachment.filename.clone()),
            "{step}: {key}"
        );
    }
    for deep in [false, true] {
        let wrong: Vec<_> = alone
            .verify(VerifyOptions {
                deep,
                repair: false,
            })
            .try_filter(|one| std::future::ready(one.finding.is_some()))
            .try_collect()
            .await
            .expect("to its end");
        assert_eq!(wrong, [], "{step}");
    }
}

async fn through(stores: [Backend; 6]) {
    let mut world = Stores::new().await;
    let mut all = world.filled().await;
    for (from, to) in stores.into_iter().zip(stores.into_iter().skip(1)) {
        let step = format!("{from} to {to}");
        let attache = world.open(to, Some(from)).await;
        moved_into(&attache, &mut all, &step).await;
        attache.close(Duration::ZERO).await;
        world.give_up(from);
        let alone = world.open(to, None).await;
        nothing_is_missed(&alone, &all, &step).await;
        alone.close(Duration::ZERO).await;
    }
}

#[tokio::test]
async fn everything_goes_from_each_store_to_the_next_and_a_second_run_moves_nothing() {
    through([
        Backend::Local,
        Backend::Azure,
        Backend::S3,
        Backend::Gcs,
        Backend::Memory,
        Backend::Local,
    ])
    .await;
}

#[tokio::test]
async fn everything_goes_the_other_way_round_and_a_second_run_moves_nothing() {
    through([
        Backend::Local,
        Backend::Memory,
        Backend::Gcs,
        Backend::S3,
        Backend::Azure,
        Backend::Local,
    ])
    .await;
}
