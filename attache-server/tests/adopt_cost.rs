//! What `attache adopt` takes of its store and of the machine, measured:
//! `cargo test --release -p attache-server --test adopt_cost -- --ignored --nocapture`. Run by hand, because it takes minutes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "figures are what it is for")]

mod support;
#[path = "move_store/used.rs"]
mod used;

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use fake_azure::FakeAzure;
use fake_s3::FakeS3;
use support::{borrowed, command, on_azure, on_s3};
use used::{Used, used};

const MIB: u64 = 1024 * 1024;

/// Less than a page of Azure's listing.
const FEW: usize = 1000;

const OBJECTS: usize = 100_000;

/// What the process may have resident at most when it adopts many, beside what it has for few: a page of Azure's listing that is full, as
/// it comes and as it is read, and what the catalog keeps of its database.
const MORE: u64 = 32 * MIB;

/// Fewer are a trial of the test itself.
fn objects() -> usize {
    let asked = std::env::var("ATTACHE_TEST_OBJECTS").ok();
    asked.map_or(OBJECTS, |text| text.parse().unwrap())
}

/// A store that another program fills.
enum Store {
    Azure(FakeAzure),
    S3(FakeS3),
}

impl Store {
    async fn azure() -> Self {
        let fake = FakeAzure::builder().container("files").secret("a-secret");
        Self::Azure(fake.start().await.unwrap())
    }

    async fn s3() -> Self {
        let fake = FakeS3::builder().bucket("files");
        Self::S3(fake.start().await.unwrap())
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Azure(_) => "azure",
            Self::S3(_) => "s3",
        }
    }

    /// How many names a page of a listing has
    /// (<https://learn.microsoft.com/rest/api/storageservices/list-blobs>,
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>).
    fn page(&self) -> usize {
        match self {
            Self::Azure(_) => 5000,
            Self::S3(_) => 1000,
        }
    }

    /// Puts the objects of these numbers there.
    fn fill(&self, numbers: Range<usize>) {
        for number in numbers {
            let name = format!("attachment/{:03}/{number:08}.txt", number % 500);
            let bytes = format!("object {number} of another program");
            match self {
                Self::Azure(fake) => fake.put_blob("files", &name, bytes),
                Self::S3(fake) => fake.put_object("files", &name, bytes),
            }
        }
    }

    fn variables(&self, folder: &Path) -> Vec<(&'static str, String)> {
        match self {
            Self::Azure(fake) => on_azure(fake, folder),
            Self::S3(fake) => on_s3(fake, folder),
        }
    }

    /// Pages that were asked for since this was last asked.
    fn pages(&self) -> u64 {
        match self {
            Self::Azure(fake) => {
                let pages = fake.counts().of(fake_azure::Op::ListBlobs);
                fake.reset_counts();
                pages
            }
            Self::S3(fake) => {
                let pages = fake.counts().of(fake_s3::Op::ListObjectsV2);
                fake.reset_counts();
                pages
            }
        }
    }
}

/// Adopts everything that is in the store, so many objects, into a catalog of its own.
fn adopted(store: &Store, objects: usize) -> Used {
    let folder = tempfile::tempdir().unwrap();
    let variables = store.variables(folder.path());
    let told = folder.path().join("told");
    store.pages();
    let mut adopt = command(folder.path(), &borrowed(&variables));
    adopt.args(["adopt", "--json"]);
    adopt.stdout(File::create(&told).unwrap());
    let cost = used(adopt.spawn().unwrap());
    println!(
        "{}: {objects} objects: {:.1?}, {:.2?} of CPU, {:.1} MiB at most",
        store.name(),
        cost.took,
        cost.cpu,
        cost.peak_bytes as f64 / MIB as f64
    );
    let told = std::fs::read_to_string(told).unwrap();
    let adopted = told.lines().filter(|line| {
        let one: serde_json::Value = serde_json::from_str(line).unwrap();
        one["outcome"] == "adopted"
    });
    assert_eq!(adopted.count(), objects, "{}", store.name());
    let pages = objects.div_ceil(store.page());
    assert_eq!(store.pages(), pages as u64, "{}", store.name());
    cost
}

#[ignore = "adopts 100,000 objects of Azure and of S3, which takes minutes"]
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_objects_are_listed_once_and_take_32_mib_more_than_a_thousand_at_most() {
    for store in [Store::azure().await, Store::s3().await] {
        store.fill(0..FEW);
        let few = adopted(&store, FEW).peak_bytes;
        store.fill(FEW..objects());
        let many = adopted(&store, objects()).peak_bytes;
        assert!(
            many <= few + MORE,
            "{}: {} MiB for few, {} MiB for many",
            store.name(),
            few / MIB,
            many / MIB
        );
    }
}
