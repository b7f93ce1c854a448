//! `Attache::adopt` over stores that other programs have filled, and `verify` over what became of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;

use attache::access::Owners;
use attache::attachment::AttachmentId;
use attache::catalog::Page;
use attache::catalog::config::{CatalogConfig, CatalogUrl};
use attache::service::adopt::{AdoptOptions, Adopted, Adoption, Refusal};
use attache::service::verify::VerifyOptions;
use attache::storage::config::Backend;
use attache::{Attache, Config, ErrorKind};
use common::{CONTAINER, SmallDisk, fake, fake_gcs, fake_s3, on_gcs, on_s3, with_client_secret};
use fake_azure::{BlobKind, FakeAzure, Guard, Op};
use fake_s3::{FakeS3, Op as S3Op};
use futures::TryStreamExt as _;

/// A service over a folder, or over a stand-in for Azure.
struct World {
    attache: Attache,
    config: Config,
    folder: tempfile::TempDir,
}

impl World {
    async fn open(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config {
            catalog: CatalogConfig::of(CatalogUrl::Sqlite(folder.path().join("attache.db"))),
            ..Config::default()
        };
        config.storage.local.root = folder.path().join("objects");
        change(&mut config);
        let attache = Attache::open(config.clone()).await.unwrap();
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

    /// Over a stand-in for Amazon S3, or for Google Cloud Storage.
    async fn on_bucket(backend: Backend, fake: &FakeS3) -> Self {
        Self::open(|config| {
            config.storage.backend = backend;
            match backend {
                Backend::Gcs => config.storage.gcs = on_gcs(fake),
                _ => config.storage.s3 = on_s3(fake),
            }
        })
        .await
    }

    /// Writes a file into the folder, as another program does.
    fn write(&self, name: &str, bytes: &str) {
        let path = self.config.storage.local.root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    async fn adopt(&self, options: AdoptOptions) -> Vec<Adopted> {
        let walk = self.attache.adopt(options).await.unwrap();
        walk.try_collect().await.unwrap()
    }

    /// How many attachments there are.
    async fn count(&self) -> u64 {
        let page = Page {
            owner: None,
            visible: Owners::all(),
            after: None,
            limit: 100,
        };
        self.attache.list(&page).await.unwrap().attachments.len() as u64
    }

    async fn findings(&self) -> Vec<String> {
        let options = VerifyOptions {
            deep: true,
            repair: false,
        };
        let walk = self.attache.verify(options);
        let all: Vec<_> = walk.try_collect().await.unwrap();
        let found = all.into_iter().filter_map(|verified| {
            let finding = verified.finding?;
            Some(format!("{} {finding:?}", verified.key))
        });
        found.collect()
    }
}

fn all() -> AdoptOptions {
    AdoptOptions::default()
}

/// Name and outcome of each, in the order in which they came.
fn outcomes(adopted: &[Adopted]) -> Vec<(&str, String)> {
    let each = adopted.iter().map(|one| {
        let outcome = match &one.outcome {
            Adoption::Adopted(attachment) => attachment.id.to_string(),
            Adoption::Adoptable { id, .. } => format!("would be {id}"),
            Adoption::Known => "known".to_owned(),
            Adoption::Folder => "folder".to_owned(),
            Adoption::Refused(refusal) => format!("refused: {}", refusal.code()),
        };
        (one.name.as_str(), outcome)
    });
    each.collect()
}

/// Every file of a folder with its bytes, and when it was written.
fn state(folder: &Path) -> Vec<(String, Vec<u8>, std::time::SystemTime)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let written = path.metadata().unwrap().modified().unwrap();
                let bytes = std::fs::read(&path).unwrap();
                found.push((path.display().to_string(), bytes, written));
            }
        }
    }
    found.sort();
    found
}

const GROWI: &str = "d41d8cd98f00b204e9800998ecf8427e";

#[tokio::test]
async fn files_of_another_program_become_attachments_where_they_are() {
    let world = World::open(|_| {}).await;
    // As GROWI names them: a hash, and the extension as the file had it; of old, below the page.
    world.write(&format!("attachment/{GROWI}.PNG"), "\u{89}PNG no picture");
    world.write(
        "attachment/5f0c/0123456789abcdef0123456789abcdef.txt",
        "Grüße",
    );
    world.write("user/ffffffffffffffffffffffffffffffff.jpg", "x");
    world.write("years/2019/Bericht 1.tar.gz", "packed");
    let before = state(&world.config.storage.local.root);

    let planned = world.adopt(dry()).await;
    assert!(
        outcomes(&planned)
            .iter()
            .all(|(_, outcome)| outcome.starts_with("would be "))
    );
    assert_eq!(world.count().await, 0);

    let adopted = world.adopt(all()).await;
    let derived = AttachmentId::derived("years/2019/Bericht 1.tar.gz").to_string();
    assert_eq!(
        outcomes(&adopted),
        [
            (
                "attachment/5f0c/0123456789abcdef0123456789abcdef.txt",
                "0123456789abcdef0123456789abcdef".to_owned()
            ),
            (format!("attachment/{GROWI}.PNG").as_str(), GROWI.to_owned()),
            ("user/ffffffffffffffffffffffffffffffff.jpg", "f".repeat(32)),
            ("years/2019/Bericht 1.tar.gz", derived.clone()),
        ]
    );
    let planned: Vec<_> = outcomes(&planned)
        .into_iter()
        .map(|(name, id)| (name, id.replace("would be ", "")))
        .collect();
    assert_eq!(planned, outcomes(&adopted));
    let row = world.attache.find(&derived.parse().unwrap()).await.unwrap();
    assert_eq!(row.filename.as_str(), "Bericht 1.tar.gz");
    let text = world
        .attache
        .find(&"0123456789abcdef0123456789abcdef".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(text.content_type, "text/plain; charset=utf-8");
    assert_eq!(text.sha256.to_string(), sha256("Grüße"));

    // Again, nothing is new, and nothing in the folder has changed.
    let again = world.adopt(all()).await;
    assert!(
        outcomes(&again)
            .iter()
            .all(|(_, outcome)| outcome == "known"),
        "{again:?}"
    );
    let after = state(&world.config.storage.local.root);
    let ours = |name: &str| {
        ["/objects/.attache", "/objects/.tmp/", "/objects/.facts/"]
            .iter()
            .any(|ours| name.contains(ours))
    };
    let after: Vec<_> = after.into_iter().filter(|(name, ..)| !ours(name)).collect();
    assert_eq!(after, before);
    assert_eq!(world.findings().await, Vec::<String>::new());

    // A row that is lost comes back with the same id.
    let mut config = world.config.clone();
    config.catalog.url = CatalogUrl::Sqlite(world.folder.path().join("fresh.db"));
    let fresh = World {
        attache: Attache::open(config).await.unwrap(),
        ..world
    };
    assert_eq!(outcomes(&fresh.adopt(all()).await), outcomes(&adopted));
    fresh
        .attache
        .delete(&derived.parse().unwrap())
        .await
        .unwrap();
    assert!(
        !fresh
            .config
            .storage
            .local
            .root
            .join("years/2019/Bericht 1.tar.gz")
            .exists()
    );
}

fn sha256(text: &str) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn of_two_files_that_say_the_same_id_the_first_has_it_whenever_that_is_asked() {
    let world = World::open(|_| {}).await;
    for name in ["a/x.png", "b/x.png", "b/x.txt"] {
        world.write(name, name);
    }
    let adopted = world.adopt(all()).await;
    let derived = |name: &str| AttachmentId::derived(name).to_string();
    assert_eq!(
        outcomes(&adopted),
        [
            ("a/x.png", "x".to_owned()),
            ("b/x.png", derived("b/x.png")),
            ("b/x.txt", derived("b/x.txt")),
        ]
    );
    assert_eq!(world.findings().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_owner_is_made_of_folders_and_what_does_not_fit_is_refused() {
    let world = World::open(|_| {}).await;
    for name in [
        "attachment/5f0c/a.png",
        "attachment/b.png",
        "attachment/no owner/c.png",
        "other/d.png",
    ] {
        world.write(name, name);
    }
    let options = AdoptOptions {
        prefix: "attachment/".to_owned(),
        owner: Some("page:{2}".parse().unwrap()),
        dry_run: false,
    };
    let adopted = world.adopt(options).await;
    assert_eq!(
        outcomes(&adopted),
        [
            ("attachment/5f0c/a.png", "a".to_owned()),
            ("attachment/b.png", "refused: owner".to_owned()),
            ("attachment/no owner/c.png", "refused: owner".to_owned()),
        ]
    );
    let row = world.attache.find(&"a".parse().unwrap()).await.unwrap();
    assert_eq!(row.owner.unwrap().as_str(), "page:5f0c");
}

#[cfg(unix)]
#[tokio::test]
async fn links_hidden_files_and_names_that_are_no_text_are_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let world = World::open(|_| {}).await;
    let root = world.config.storage.local.root.clone();
    world.write("secret", "outside");
    std::fs::create_dir_all(root.join("in")).unwrap();
    std::os::unix::fs::symlink(root.join("secret"), root.join("in/link")).unwrap();
    std::os::unix::fs::symlink(&root, root.join("in/loop")).unwrap();
    world.write("in/.hidden", "x");
    world.write("in/new\nline", "x");
    std::fs::write(
        root.join("in")
            .join(std::ffi::OsStr::from_bytes(b"latin\xfc")),
        "x",
    )
    .unwrap();
    let options = AdoptOptions {
        prefix: "in/".to_owned(),
        ..all()
    };
    let adopted = world.adopt(options).await;
    assert_eq!(
        outcomes(&adopted),
        [
            ("in/.hidden", "refused: name".to_owned()),
            ("in/latin\u{fffd}", "refused: name".to_owned()),
            ("in/link", "refused: special_file".to_owned()),
            ("in/loop", "refused: special_file".to_owned()),
            ("in/new\nline", "refused: name".to_owned()),
        ]
    );
}

#[tokio::test]
async fn blobs_of_every_kind_are_adopted_or_refused_with_a_reason_and_verify_goes_on() {
    let fake = fake().await;
    let world = World::on(&fake).await;
    for name in [
        "append", "archived", "customer", "gzip", "leased", "page", "plain", "snapped",
    ] {
        fake.put_blob(CONTAINER, &format!("attachment/{name}.TXT"), "hello");
    }
    let of = |name: &str| format!("attachment/{name}.TXT");
    fake.set_kind(CONTAINER, &of("append"), BlobKind::Append);
    fake.set_kind(CONTAINER, &of("page"), BlobKind::Page);
    fake.set_tier(CONTAINER, &of("archived"), "Archive");
    fake.guard_blob(CONTAINER, &of("customer"), Some(Guard::CustomerKey));
    fake.guard_blob(CONTAINER, &of("leased"), Some(Guard::Leased));
    fake.put_snapshot(CONTAINER, &of("snapped"));
    fake.set_headers(
        CONTAINER,
        &of("gzip"),
        [Some("text/plain"), None, Some("gzip")],
    );
    fake.set_headers(
        CONTAINER,
        &of("plain"),
        [
            Some("text/csv"),
            Some("inline;filename*=UTF-8''%E3%81%82%20b.txt"),
            None,
        ],
    );
    // As azcopy puts a folder, and as a hierarchical account lists one.
    fake.put_blob(CONTAINER, "attachment/sub", "");
    fake.set_metadata(CONTAINER, "attachment/sub", &[("hdi_isfolder", "true")]);
    fake.put_blob(CONTAINER, "attachment/sub/", "");

    fake.reset_counts();
    let adopted = world.adopt(all()).await;
    let refused = |code: &str| format!("refused: {code}");
    let expected = [
        (of("append"), refused("append_blob")),
        (of("archived"), refused("archived")),
        (of("customer"), refused("customer_key")),
        (of("gzip"), refused("content_encoding")),
        (of("leased"), "leased".to_owned()),
        (of("page"), refused("page_blob")),
        (of("plain"), "plain".to_owned()),
        (of("snapped"), "snapped".to_owned()),
        ("attachment/sub".to_owned(), "folder".to_owned()),
        ("attachment/sub/".to_owned(), "folder".to_owned()),
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, outcome)| (name.as_str(), outcome.clone()))
        .collect();
    assert_eq!(outcomes(&adopted), expected);
    assert_eq!(fake.counts().of(Op::ListBlobs), 1);
    assert_eq!(fake.counts().of(Op::GetBlob), 3);
    for one in &adopted {
        if let Adoption::Refused(refusal) = &one.outcome {
            assert!(
                refusal.to_string().contains("; "),
                "{refusal} says what to do"
            );
        }
    }
    let row = world.attache.find(&"plain".parse().unwrap()).await.unwrap();
    assert_eq!(row.filename.as_str(), "あ b.txt");
    assert_eq!(row.content_type, "text/csv; charset=utf-8");

    // The walk does not end at what cannot be read.
    fake.set_tier(CONTAINER, &of("plain"), "Archive");
    let findings = world.findings().await;
    assert_eq!(findings, [format!("{} Archived", of("plain"))]);

    // What may not be deleted is hidden, kept, and tried again.
    let error = world
        .attache
        .delete(&"leased".parse().unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retained);
    fake.guard_blob(CONTAINER, &of("leased"), None);
    world.attache.sweep().await.unwrap();
    assert!(fake.blob(CONTAINER, &of("leased")).is_none());
}

#[tokio::test]
async fn an_attachment_whose_row_is_lost_is_left_to_verify() {
    let world = World::open(|_| {}).await;
    let new = attache::attachment::NewAttachment::default();
    let body = futures::stream::iter([Ok(bytes::Bytes::from_static(b"ours"))]);
    world.attache.upload(new, body).await.unwrap();
    assert_eq!(outcomes(&world.adopt(all()).await)[0].1, "known");
    let mut config = world.config.clone();
    config.catalog.url = CatalogUrl::Sqlite(world.folder.path().join("fresh.db"));
    let fresh = World {
        attache: Attache::open(config).await.unwrap(),
        ..world
    };
    let adopted = fresh.adopt(all()).await;
    assert_eq!(adopted[0].outcome, Adoption::Refused(Refusal::Lost));
}

#[tokio::test]
async fn an_outage_ends_the_walk_and_the_next_one_goes_on_where_it_ended() {
    let fake = fake().await;
    let world = World::on(&fake).await;
    for name in 0..12 {
        fake.put_blob(CONTAINER, &format!("a/{name:02}"), "hello");
    }
    fake.faults(|f| {
        f.answers.push(fake_azure::AnswerFault {
            op: Some(Op::GetBlob),
            skip: 6,
            action: fake_azure::Action::Answer {
                status: 403,
                code: "AuthorizationPermissionMismatch".to_owned(),
                retry_after_seconds: None,
            },
            ..fake_azure::AnswerFault::default()
        });
    });
    let walk = world.attache.adopt(all()).await.unwrap();
    walk.try_collect::<Vec<_>>().await.unwrap_err();
    let done = world.count().await;
    assert!((1..=6).contains(&done), "{done}");
    fake.faults(|f| f.clear());
    let rest = world.adopt(all()).await;
    assert_eq!((known(&rest), rest.len()), (done, 12));
    assert_eq!(world.count().await, 12);
}

#[tokio::test]
async fn a_long_listing_is_read_once_and_no_further_than_objects_are_taken() {
    const OBJECTS: usize = 11_000;
    let fake = fake().await;
    let world = World::on(&fake).await;
    for n in 0..OBJECTS {
        fake.put_blob(CONTAINER, &format!("a/{n:06}"), "");
    }
    fake.reset_counts();
    let mut walk = world.attache.adopt(dry()).await.unwrap();
    let first = walk.try_next().await.unwrap().unwrap();
    assert_eq!(first.name, "a/000000");
    // A page has 5,000 names; the next one is asked for when these are through.
    assert_eq!(fake.counts().of(Op::ListBlobs), 1);
    let mut taken = 1;
    while let Some(one) = walk.try_next().await.unwrap() {
        assert_eq!(one.name, format!("a/{taken:06}"));
        taken += 1;
        if taken % 1_000 == 0 {
            let pages = fake.counts().of(Op::ListBlobs) as usize;
            assert!(pages <= taken / 5_000 + 1, "{pages} pages after {taken}");
        }
    }
    assert_eq!((taken, fake.counts().of(Op::ListBlobs)), (OBJECTS, 3));
    assert_eq!(fake.counts().of(Op::GetBlob), 0);
}

/// How many had a row before.
fn known(adopted: &[Adopted]) -> u64 {
    let outcomes = outcomes(adopted);
    let known = outcomes.iter().filter(|(_, outcome)| outcome == "known");
    known.count() as u64
}

/// Everything, and no row is made.
fn dry() -> AdoptOptions {
    AdoptOptions {
        dry_run: true,
        ..all()
    }
}

/// A bucket at Amazon and one at Google, each with its stand-in.
async fn buckets() -> [(Backend, FakeS3); 2] {
    let (s3, gcs) = (fake_s3().await, fake_gcs().await);
    [(Backend::S3, s3), (Backend::Gcs, gcs)]
}

#[tokio::test]
async fn objects_of_other_programs_in_a_bucket_are_adopted_or_refused_with_a_reason() {
    for (backend, fake) in buckets().await {
        let world = World::on_bucket(backend, &fake).await;
        for name in ["archived", "customer", "deep", "locked", "page/5f0c/a b+c%"] {
            fake.put_object(CONTAINER, &format!("{name}.TXT"), "hello");
        }
        fake.set_storage_class(CONTAINER, "archived.TXT", "GLACIER");
        fake.set_storage_class(CONTAINER, "deep.TXT", "DEEP_ARCHIVE");
        fake.encrypt_with_customer_key(CONTAINER, "customer.TXT");
        fake.lock_object(CONTAINER, "locked.TXT", true);
        let stored: &[(&'static str, &str)] = &[
            ("content-type", "text/csv"),
            (
                "content-disposition",
                "inline;filename*=UTF-8''%E3%81%82%20b.txt",
            ),
        ];
        fake.put_object_with(CONTAINER, "plain.TXT", "a,b", stored, &[]);
        let gzip = &[("content-encoding", "gzip")];
        fake.put_object_with(CONTAINER, "zipped.TXT", "hello", gzip, &[]);
        // What an upload that was interrupted has left is nobody's, and neither is a folder of a console.
        fake.put_object(CONTAINER, "attache/parts/attachment/x/y/00001", "piece");
        fake.put_object(
            CONTAINER,
            "attache/uploads/x/y/00001-0-piece-00000",
            "piece",
        );
        fake.put_object(CONTAINER, "page/", "");
        fake.put_object(CONTAINER, "page/\u{1}control", "hello");

        fake.reset_counts();
        let adopted = world.adopt(all()).await;
        let refused = |code: &str| format!("refused: {code}");
        let derived = AttachmentId::derived("page/5f0c/a b+c%.TXT").to_string();
        // Google reads what it archives, as Amazon does not.
        let archived = |name: &str| match backend {
            Backend::Gcs => name.to_owned(),
            _ => refused("archived"),
        };
        assert_eq!(
            outcomes(&adopted),
            [
                ("archived.TXT", archived("archived")),
                ("customer.TXT", refused("customer_key")),
                ("deep.TXT", archived("deep")),
                ("locked.TXT", "locked".to_owned()),
                ("page/", "folder".to_owned()),
                ("page/\u{1}control", refused("name")),
                ("page/5f0c/a b+c%.TXT", derived.clone()),
                ("plain.TXT", "plain".to_owned()),
                ("zipped.TXT", refused("content_encoding")),
            ]
        );
        assert_eq!(fake.counts().of(S3Op::ListObjectsV2), 1, "{backend:?}");
        for one in &adopted {
            if let Adoption::Refused(refusal) = &one.outcome {
                assert!(refusal.to_string().contains("; "), "{refusal}");
            }
        }
        let row = world.attache.find(&"plain".parse().unwrap()).await.unwrap();
        assert_eq!(row.filename.as_str(), "あ b.txt");
        assert_eq!(row.content_type, "text/csv; charset=utf-8");
        let row = world.attache.find(&derived.parse().unwrap()).await.unwrap();
        assert_eq!(row.filename.as_str(), "a b+c%.TXT");
        let there = fake.object(CONTAINER, "page/5f0c/a b+c%.TXT").unwrap();
        assert!(there.metadata.is_empty(), "it stays as it is: {there:?}");
        assert_eq!(row.sha256.to_string(), sha256("hello"));

        // Again nothing is new, and it is read by its own name.
        let again = world.adopt(all()).await;
        let known = outcomes(&again)
            .iter()
            .filter(|(_, outcome)| outcome == "known")
            .count();
        assert_eq!(known as u64, world.count().await, "{again:?}");
        assert_eq!(world.findings().await, Vec::<String>::new(), "{backend:?}");
        world
            .attache
            .delete(&derived.parse().unwrap())
            .await
            .unwrap();
        assert!(fake.object(CONTAINER, "page/5f0c/a b+c%.TXT").is_none());
    }
}

#[tokio::test]
async fn an_attachment_in_a_bucket_whose_row_is_lost_is_left_to_verify() {
    for (backend, fake) in buckets().await {
        let world = World::on_bucket(backend, &fake).await;
        let new = attache::attachment::NewAttachment::default();
        let body = futures::stream::iter([Ok(bytes::Bytes::from_static(b"ours"))]);
        world.attache.upload(new, body).await.unwrap();
        assert_eq!(outcomes(&world.adopt(all()).await)[0].1, "known");
        let mut config = world.config.clone();
        config.catalog.url = CatalogUrl::Sqlite(world.folder.path().join("fresh.db"));
        let fresh = Attache::open(config).await.unwrap();
        let walk = fresh.adopt(all()).await.unwrap();
        let adopted: Vec<Adopted> = walk.try_collect().await.unwrap();
        assert_eq!(adopted[0].outcome, Adoption::Refused(Refusal::Lost));
    }
}

#[tokio::test]
async fn whatever_breaks_on_the_way_to_a_bucket_is_tried_again_or_ends_the_walk_and_loses_nothing()
{
    for (backend, fake) in buckets().await {
        let world = World::on_bucket(backend, &fake).await;
        for name in 0..12 {
            fake.put_object(CONTAINER, &format!("a/{name:02}"), "hello");
        }
        // What passes is not noticed.
        for op in [S3Op::ListObjectsV2, S3Op::HeadObject] {
            fake.faults(|f| {
                f.fail_next(op, 1, 503, "SlowDown");
                f.disconnect_next(op, 1);
            });
            assert_eq!(world.adopt(dry()).await.len(), 12, "{backend:?} {op:?}");
            fake.faults(|f| f.clear());
        }
        // What does not pass ends the walk, and the next one goes on where it ended.
        for (op, skip) in [
            (S3Op::ListObjectsV2, 0),
            (S3Op::HeadObject, 3),
            (S3Op::GetObject, 3),
        ] {
            let answer = fake_s3::Action::Answer {
                status: 403,
                code: "AccessDenied".to_owned(),
                retry_after_seconds: None,
            };
            fake.faults(|f| {
                f.answers.push(fake_s3::AnswerFault {
                    op: Some(op),
                    skip,
                    action: answer,
                    ..fake_s3::AnswerFault::default()
                });
            });
            let walk = world.attache.adopt(all()).await.unwrap();
            let error = walk.try_collect::<Vec<_>>().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UpstreamRefused, "{error}");
            fake.faults(|f| f.clear());
            assert!(world.count().await < 12, "{backend:?} {op:?}");
        }
        let done = world.count().await;
        let rest = world.adopt(all()).await;
        assert_eq!((known(&rest), rest.len()), (done, 12));
        assert_eq!(world.count().await, 12);
    }
}

#[tokio::test]
async fn a_long_listing_of_a_bucket_is_read_a_page_at_a_time_and_no_further_than_objects_are_taken()
{
    const OBJECTS: usize = 2_500;
    for (backend, fake) in buckets().await {
        let world = World::on_bucket(backend, &fake).await;
        for n in 0..OBJECTS {
            fake.put_object(CONTAINER, &format!("a/{n:06}"), "");
        }
        fake.reset_counts();
        let mut walk = world.attache.adopt(dry()).await.unwrap();
        let mut taken = 0;
        while let Some(one) = walk.try_next().await.unwrap() {
            assert_eq!(one.name, format!("a/{taken:06}"));
            taken += 1;
            // A page has 1,000 names; the next one is asked for when these are through.
            if taken % 100 == 0 {
                let pages = fake.counts().of(S3Op::ListObjectsV2) as usize;
                assert!(pages <= (taken + 200) / 1_000 + 1, "{pages} after {taken}");
            }
        }
        assert_eq!(taken, OBJECTS);
        assert_eq!(fake.counts().of(S3Op::ListObjectsV2), 3);
        assert_eq!(fake.counts().of(S3Op::HeadObject), OBJECTS as u64);
        assert_eq!(fake.counts().of(S3Op::GetObject), 0);
    }
}

/// A disk that notes such times: most cut them short.
#[tokio::test]
async fn a_file_of_a_time_that_no_calendar_has_is_adopted_as_of_now() {
    const YEAR: u64 = 31_556_952;
    let Some(disk) = SmallDisk::mount("4m") else {
        return;
    };
    let world = World::open(|config| config.storage.local.root = disk.root().join("objects")).await;
    let epoch = std::time::SystemTime::UNIX_EPOCH;
    let far = |years: u64| std::time::Duration::from_secs(years * YEAR);
    let times = [
        ("after", epoch + far(10_000)),
        ("before", epoch - far(100)),
        ("within", epoch + far(40)),
    ];
    for (name, time) in times {
        world.write(name, "hello");
        let file = std::fs::File::options()
            .write(true)
            .open(world.config.storage.local.root.join(name))
            .unwrap();
        file.set_modified(time).unwrap();
        let noted = file.metadata().unwrap().modified().unwrap();
        assert_eq!(noted, time, "the disk notes it");
    }
    let adopted = world.adopt(all()).await;
    assert_eq!(adopted.len(), 3, "{adopted:?}");
    for (name, is_now) in [("after", true), ("before", true), ("within", false)] {
        let row = world.attache.find(&name.parse().unwrap()).await.unwrap();
        let age = time::OffsetDateTime::now_utc() - row.created_at;
        assert_eq!(age < time::Duration::hours(1), is_now, "{name}: {age}");
    }
}
