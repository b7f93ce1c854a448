//! `Attache::verify` over stores that other tools have worked on.

mod common;

use attache::attachment::{NewAttachment, ObjectKey};
use attache::catalog::config::{CatalogConfig, CatalogUrl};
use attache::service::verify::{Finding, Verified, VerifyOptions};
use attache::storage::config::Backend;
use attache::{Attache, Attachment, Config, ErrorKind, Result};
use bytes::Bytes;
use common::{CONTAINER, fake, fake_s3, on_s3, with_client_secret};
use fake_azure::{FakeAzure, Guard, Op};
use futures::TryStreamExt as _;

const SHALLOW: VerifyOptions = VerifyOptions {
    deep: false,
    repair: false,
};
const DEEP: VerifyOptions = VerifyOptions {
    deep: true,
    repair: false,
};
const REPAIR: VerifyOptions = VerifyOptions {
    deep: false,
    repair: true,
};

/// A service over a stand-in for Azure, and one over a folder.
struct World {
    attache: Attache,
    config: Config,
    folder: tempfile::TempDir,
}

impl World {
    async fn open(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config {
            catalog: CatalogConfig::of(CatalogUrl::Sqlite(folder.path().join("attache.db"))),
            ..Config::default()
        };
        config.storage.local.root = folder.path().join("objects");
        change(&mut config);
        let attache = Attache::open(config.clone()).await.expect("opens");
        Self {
            attache,
            config,
            folder,
        }
    }

    async fn on(fake: &FakeAzure) -> Self {
        Self::open(|config| {
            config.storage.backend = Backend::Azure;
            config.storage.azure = with_client_secret(fake);
        })
        .await
    }

    /// The same store with an empty catalog.
    async fn with_the_catalog_lost(self) -> Self {
        let mut config = self.config.clone();
        config.catalog.url = CatalogUrl::Sqlite(self.folder.path().join("fresh.db"));
        Self {
            attache: Attache::open(config).await.expect("opens"),
            ..self
        }
    }

    async fn store(&self, bytes: &'static str) -> Attachment {
        let new = NewAttachment {
            filename: Some("a b.txt".parse().expect("a name")),
            owner: Some("page:1".parse().expect("an owner")),
            ..NewAttachment::default()
        };
        let body = futures::stream::iter([Ok(Bytes::from_static(bytes.as_bytes()))]);
        let uploaded = self.attache.upload(new, body).await;
        uploaded.expect("stored").attachment
    }

    async fn findings(&self, options: VerifyOptions) -> Vec<(ObjectKey, Finding)> {
        let all: Vec<Verified> = self.try_verify(options).await.expect("to its end");
        let found = all
            .into_iter()
            .filter_map(|one| Some((one.key, one.finding?)));
        found.collect()
    }

    async fn try_verify(&self, options: VerifyOptions) -> Result<Vec<Verified>> {
        self.attache.verify(options).try_collect().await
    }
}

#[tokio::test]
async fn an_object_that_another_tool_replaced_by_one_of_the_same_length_is_found() {
    let fake = fake().await;
    let world = World::on(&fake).await;
    let attachment = world.store("hello").await;
    assert_eq!(world.findings(SHALLOW).await, []);
    // As rclone does: other bytes, the metadata of the old ones.
    let key = attachment.key.as_str();
    let metadata = fake.blob(CONTAINER, key).expect("there").metadata;
    let metadata: Vec<(&str, &str)> = metadata.iter().map(|(a, b)| (&**a, &**b)).collect();
    fake.put_blob(CONTAINER, key, "HELLO");
    fake.set_metadata(CONTAINER, key, &metadata);
    assert_eq!(
        world.findings(SHALLOW).await,
        [(attachment.key.clone(), Finding::Replaced)]
    );
    let deep = world.findings(DEEP).await;
    assert!(
        matches!(deep[..], [(_, Finding::WrongDigest { .. })]),
        "{deep:?}"
    );
    // To repair it is beyond us, and nothing is written beside bytes that are wrong.
    let tag = fake.blob(CONTAINER, key).expect("there").etag;
    let repair = world.findings(REPAIR).await;
    assert!(
        matches!(repair[..], [(_, Finding::WrongDigest { .. })]),
        "{repair:?}"
    );
    assert_eq!(fake.blob(CONTAINER, key).expect("there").etag, tag);
}

#[tokio::test]
async fn what_was_only_touched_is_no_longer_suspect_once_its_bytes_were_read() {
    let fake = fake().await;
    let mut attachment = None;
    // Without an MD5 the version is all that there is.
    let world = World::open(|config| {
        config.storage.backend = Backend::Azure;
        config.storage.azure = with_client_secret(&fake);
        config.upload.md5 = attache::transfer::config::Md5::Never;
        config.upload.block_bytes = 64 * 1024;
    })
    .await;
    let long: &'static str = "x".repeat(200_000).leak();
    let attachment = attachment.insert(world.store(long).await);
    let key = attachment.key.as_str();
    let metadata = fake.blob(CONTAINER, key).expect("there").metadata;
    let metadata: Vec<(&str, &str)> = metadata.iter().map(|(a, b)| (&**a, &**b)).collect();
    fake.set_metadata(CONTAINER, key, &metadata);
    let suspect = [(attachment.key.clone(), Finding::Replaced)];
    assert_eq!(world.findings(SHALLOW).await, suspect);
    assert_eq!(world.findings(DEEP).await, []);
    assert_eq!(world.findings(REPAIR).await, []);
    assert_eq!(world.findings(SHALLOW).await, []);
}

#[tokio::test]
async fn objects_that_lost_their_facts_are_found_and_given_them_again() {
    let fake = fake().await;
    let world = World::on(&fake).await;
    let attachment = world.store("hello").await;
    let key = attachment.key.as_str();
    // As a copy through a disk leaves it.
    fake.put_blob(CONTAINER, key, "hello");
    let lost = [(attachment.key.clone(), Finding::NoFacts)];
    assert_eq!(world.findings(DEEP).await, lost);
    let written = [(attachment.key.clone(), Finding::FactsWritten)];
    assert!(!written[0].1.remains());
    assert_eq!(world.findings(REPAIR).await, written);
    assert_eq!(world.findings(SHALLOW).await, []);
    // And they are what they were: the catalog can be rebuilt from them.
    let world = world.with_the_catalog_lost().await;
    assert_eq!(
        world.findings(REPAIR).await,
        [(attachment.key.clone(), Finding::Restored)]
    );
    let found = world.attache.find(&attachment.id).await.expect("back");
    assert_eq!(
        found,
        Attachment {
            store_tag: found.store_tag.clone(),
            ..attachment
        }
    );
}

#[tokio::test]
async fn one_object_that_cannot_be_read_is_a_finding_and_never_the_end_of_a_rebuild() {
    let fake = fake().await;
    let world = World::on(&fake).await;
    let [first, archived, foreign, last] = [
        world.store("first").await,
        world.store("archived").await,
        world.store("foreign").await,
        world.store("last").await,
    ];
    fake.set_tier(CONTAINER, archived.key.as_str(), "Archive");
    fake.guard_blob(CONTAINER, foreign.key.as_str(), Some(Guard::CustomerKey));
    let unreadable = (
        foreign.key.clone(),
        Finding::Unreadable {
            code: "customer_key",
        },
    );
    for options in [SHALLOW, DEEP] {
        let found = world.findings(options).await;
        assert_eq!(found[0], (archived.key.clone(), Finding::Archived));
        // The listing keeps the metadata of that one to itself.
        let foreign_one = match options.deep {
            true => unreadable.clone(),
            false => (foreign.key.clone(), Finding::NoFacts),
        };
        assert_eq!(found[1..], [foreign_one]);
    }
    for options in [
        REPAIR,
        VerifyOptions {
            deep: true,
            repair: true,
        },
    ] {
        let fresh = World::on(&fake).await;
        let found = fresh.findings(options).await;
        assert_eq!(
            found,
            [
                (first.key.clone(), Finding::Restored),
                (archived.key.clone(), Finding::Restored),
                unreadable.clone(),
                (last.key.clone(), Finding::Restored),
            ]
        );
        assert_eq!(
            fresh.attache.find(&archived.id).await.expect("back").sha256,
            archived.sha256
        );
    }
}

#[tokio::test]
async fn an_object_in_a_bucket_that_only_its_writer_can_read_is_a_finding_too() {
    let fake = fake_s3().await;
    let world = World::open(|config| {
        config.storage.backend = Backend::S3;
        config.storage.s3 = on_s3(&fake);
    })
    .await;
    let [first, foreign, last] = [
        world.store("first").await,
        world.store("foreign").await,
        world.store("last").await,
    ];
    fake.encrypt_with_customer_key(CONTAINER, foreign.key.as_str());
    fake.delete_object(CONTAINER, last.key.as_str());
    let unreadable = Finding::Unreadable {
        code: "customer_key",
    };
    // What comes behind it is looked at.
    let missing = (last.key.clone(), Finding::Missing);
    assert_eq!(
        world.findings(SHALLOW).await,
        [(foreign.key.clone(), Finding::NoFacts), missing.clone()]
    );
    assert_eq!(
        world.findings(DEEP).await,
        [(foreign.key.clone(), unreadable.clone()), missing]
    );
    let world = world.with_the_catalog_lost().await;
    assert_eq!(
        world.findings(REPAIR).await,
        [(first.key, Finding::Restored), (foreign.key, unreadable)]
    );
}

#[tokio::test]
async fn what_turns_out_to_be_archived_only_when_it_is_read_is_restored_from_its_facts() {
    let fake = fake().await;
    let world = World::on(&fake).await;
    let attachment = world.store("hello").await;
    fake.faults(|f| f.fail(Op::GetBlob, 1.0, 409, "BlobArchived"));
    let archived = [(attachment.key.clone(), Finding::Archived)];
    assert_eq!(world.findings(DEEP).await, archived);
    let restored = [(attachment.key.clone(), Finding::Restored)];
    let deep = VerifyOptions {
        deep: true,
        repair: true,
    };
    for options in [REPAIR, deep] {
        let fresh = World::on(&fake).await;
        assert_eq!(fresh.findings(options).await, restored);
    }
}

#[tokio::test]
async fn a_container_that_is_gone_is_never_a_store_in_which_all_is_missing() {
    let fake = fake().await;
    let world = World::on(&fake).await;
    world.store("hello").await;
    fake.delete_container(CONTAINER);
    for options in [SHALLOW, DEEP, REPAIR] {
        let error = world.try_verify(options).await.expect_err("no walk");
        assert_eq!(error.kind(), ErrorKind::ContainerNotFound);
    }
}

#[tokio::test]
async fn a_file_that_was_cut_is_not_restored_as_a_whole_one() {
    let world = World::open(|_| {}).await;
    let attachment = world.store("a file of some length").await;
    let path = world
        .config
        .storage
        .local
        .root
        .join(attachment.key.as_str());
    std::fs::write(&path, "a file").expect("cut");
    let world = world.with_the_catalog_lost().await;
    let cut = Finding::WrongSize {
        expected: 21,
        actual: 6,
    };
    assert_eq!(world.findings(REPAIR).await, [(attachment.key, cut)]);
    let error = world.attache.find(&attachment.id).await;
    assert_eq!(error.expect_err("no row").kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn facts_of_files_that_were_lost_or_broken_are_written_again() {
    let world = World::open(|_| {}).await;
    let (lost, broken) = (world.store("lost").await, world.store("broken").await);
    let root = &world.config.storage.local.root;
    let facts = |attachment: &Attachment| {
        let found = walk(root).into_iter().find(|path| {
            let text = path.to_string_lossy();
            text.contains(attachment.id.as_str()) && text.ends_with(".json")
        });
        found.expect("its facts")
    };
    std::fs::remove_file(facts(&lost)).expect("removed");
    std::fs::write(facts(&broken), "{").expect("broken");
    let each = |finding: Finding| {
        [
            (lost.key.clone(), finding.clone()),
            (broken.key.clone(), finding),
        ]
    };
    assert_eq!(world.findings(SHALLOW).await, each(Finding::NoFacts));
    assert_eq!(world.findings(REPAIR).await, each(Finding::FactsWritten));
    assert_eq!(world.findings(DEEP).await, []);
    let (lost, broken) = (lost.clone(), broken.clone());
    let world = world.with_the_catalog_lost().await;
    let restored = [
        (lost.key, Finding::Restored),
        (broken.key, Finding::Restored),
    ];
    assert_eq!(world.findings(REPAIR).await, restored);
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => walk(&path),
            false => vec![path],
        })
        .collect()
}

#[tokio::test]
async fn of_two_objects_of_one_id_the_one_that_its_metadata_lead_to_comes_back() {
    let world = World::open(|_| ()).await;
    let attachment = world.store("hello").await;
    let root = world.folder.path().join("objects");
    // A copy that comes first in the order of keys, and one that comes later.
    let copies = [
        format!("attachment/{}", attachment.id),
        format!("user/{}.txt", attachment.id),
    ];
    for copy in &copies {
        std::fs::copy(root.join(attachment.key.as_str()), root.join(copy)).expect("copied");
        let facts = |key: &str| root.join(format!(".facts/{key}.json"));
        std::fs::copy(facts(attachment.key.as_str()), facts(copy)).expect("copied");
    }
    let world = world.with_the_catalog_lost().await;
    let unknown = Finding::Unknown { restorable: false };
    let expected = [
        (copies[0].parse().expect("a key"), unknown.clone()),
        (attachment.key.clone(), Finding::Restored),
        (copies[1].parse().expect("a key"), unknown),
    ];
    assert_eq!(world.findings(REPAIR).await, expected);
    let found = world.attache.find(&attachment.id).await.expect("back");
    assert_eq!(found.key, attachment.key);
}
