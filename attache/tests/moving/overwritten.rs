//! An object of the old store that another program overwrites while it is read: that one is left, all others come, and nothing is lost.

use std::sync::Mutex;

use async_trait::async_trait;
use attache::attachment::{ByteRange, ObjectKey};
use attache::storage::memory::MemoryStorage;
use attache::storage::{Content, Object, ObjectInfo, Probe, Stored};
use attache::transfer::body::Body;
use fake_s3::FakeS3;
use futures::stream::BoxStream;

use super::common::{fake_gcs, fake_s3, on_gcs, on_s3, open, open_gcs, open_s3};
use super::*;

const MIB: u64 = 1024 * 1024;

/// A stand-in for each store that resumes a download, as another program sees it.
#[derive(Debug)]
enum Other {
    Azure(FakeAzure),
    S3(FakeS3),
    Gcs(FakeS3),
}

impl Other {
    fn store(&self) -> Arc<dyn Storage> {
        match self {
            Self::Azure(fake) => Arc::new(open(&with_client_secret(fake))),
            Self::S3(fake) => Arc::new(open_s3(&on_s3(fake))),
            Self::Gcs(fake) => Arc::new(open_gcs(&on_gcs(fake))),
        }
    }

    fn put(&self, key: &ObjectKey, bytes: Bytes) {
        match self {
            Self::Azure(fake) => fake.put_blob(CONTAINER, key.as_str(), bytes),
            Self::S3(fake) | Self::Gcs(fake) => fake.put_object(CONTAINER, key.as_str(), bytes),
        }
    }

    fn bytes(&self, key: &ObjectKey) -> Option<Bytes> {
        match self {
            Self::Azure(fake) => fake.blob_bytes(CONTAINER, key.as_str()),
            Self::S3(fake) | Self::Gcs(fake) => fake.object_bytes(CONTAINER, key.as_str()),
        }
    }

    /// Breaks off every download behind so many bytes, until [`mend`](Self::mend).
    fn break_off(&self, after_bytes: u64) {
        match self {
            Self::Azure(fake) => fake.faults(|faults| faults.cut_response(after_bytes, u64::MAX)),
            Self::S3(fake) | Self::Gcs(fake) => {
                fake.faults(|faults| faults.cut_response(after_bytes, u64::MAX))
            }
        }
    }

    fn mend(&self) {
        match self {
            Self::Azure(fake) => fake.faults(|faults| faults.clear()),
            Self::S3(fake) | Self::Gcs(fake) => fake.faults(|faults| faults.clear()),
        }
    }

    /// How many requests were refused because an object is not the version that they ask for.
    fn unmet_conditions(&self) -> u64 {
        let answers = match self {
            Self::Azure(fake) => fake.counts().answers,
            Self::S3(fake) | Self::Gcs(fake) => fake.counts().answers,
        };
        answers.get(&412).copied().unwrap_or_default()
    }
}

/// The old store, one object of which is overwritten when its first bytes are at hand.
#[derive(Debug)]
struct Overwritten {
    inner: Arc<dyn Storage>,
    other: Arc<Other>,
    /// With what; it happens once.
    change: Mutex<Option<(ObjectKey, Bytes)>>,
}

#[async_trait]
impl Storage for Overwritten {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn put(&self, key: &ObjectKey, content: &Content, body: Body) -> attache::Result<Stored> {
        self.inner.put(key, content, body).await
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> attache::Result<Object> {
        let object = self.inner.get(key, range).await?;
        let change = {
            let mut change = self.change.lock().expect("not poisoned");
            change.take_if(|(changed, _)| *changed == *key)
        };
        if let Some((changed, bytes)) = change {
            self.other.put(&changed, bytes);
        }
        Ok(object)
    }

    async fn head(&self, key: &ObjectKey) -> attache::Result<Option<ObjectInfo>> {
        self.inner.head(key).await
    }

    async fn delete(&self, key: &ObjectKey) -> attache::Result<()> {
        self.inner.delete(key).await
    }

    fn list(&self, after: Option<ObjectKey>) -> BoxStream<'_, attache::Result<ObjectInfo>> {
        self.inner.list(after)
    }

    async fn probe(&self) -> attache::Result<Probe> {
        self.inner.probe().await
    }
}

#[tokio::test]
async fn one_that_is_overwritten_while_it_is_read_is_left_and_all_others_come() {
    for other in [
        Other::Azure(fake().await),
        Other::S3(fake_s3().await),
        Other::Gcs(fake_gcs().await),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let other = Arc::new(other);
        let old = other.store();
        let name = old.name();
        let first = over(folder.path(), StorageSections::default(), old.clone()).await;
        let mut all = Vec::new();
        for (size, seed) in [(MIB, 1), (MIB, 2), (1000, 3), (0, 4)] {
            let bytes = pattern(size, seed);
            all.push((upload(&first, bytes.clone()).await, bytes));
        }
        first.close(Duration::ZERO).await;
        let (changed, uploaded) = all[0].clone();
        let written = pattern(MIB, 99);
        // Behind the bytes that are at hand when it is overwritten. What is long and stays is resumed.
        other.break_off(300_000);
        let from = Overwritten {
            inner: old,
            other: other.clone(),
            change: Mutex::new(Some((changed.key.clone(), written.clone()))),
        };
        let new: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let both = Arc::new(Moving::new(new.clone(), Arc::new(from)));
        let attache = over(folder.path(), StorageSections::default(), both).await;

        let told = moved(&attache, MoveOptions::default()).await;
        let told = told.unwrap_or_else(|error| panic!("{name}: it ends the move: {error}"));
        assert_eq!(told.len(), all.len(), "{name}");
        for one in &told {
            let expected = match one.attachment.id == changed.id {
                true => MoveOutcome::Failed("precondition_failed"),
                false => MoveOutcome::Moved,
            };
            assert_eq!(one.outcome, expected, "{name}: {}", one.attachment.key);
        }
        // The rest was asked for, of the version that was begun, and refused.
        assert_eq!(other.unmet_conditions(), 1, "{name}");
        for (attachment, bytes) in &all[1..] {
            let whole = get(&*new, &attachment.key, None).await.expect("it came");
            assert!(whole.bytes == bytes, "{name}: {}", attachment.key);
        }
        // Nothing of it came, the row stays, and so does what the other program wrote.
        let come = new.head(&changed.key).await.expect("asked");
        assert!(come.is_none(), "{name}: {come:?}");
        attache.find(&changed.id).await.expect("the row stays");
        assert!(other.bytes(&changed.key) == Some(written), "{name}");
        let left = outcomes(&attache, LOOK).await;
        let left = left.iter().filter(|one| one.is_left()).count();
        assert_eq!(left, 1, "{name}: the old store has to stay");

        other.mend();
        let again = outcomes(&attache, MoveOptions::default()).await;
        assert!(again.contains(&MoveOutcome::Differs), "{name}: {again:?}");
        // What was uploaded is put in its place, as out of a backup.
        other.put(&changed.key, uploaded.clone());
        let again = outcomes(&attache, MoveOptions::default()).await;
        assert!(again.contains(&MoveOutcome::Moved), "{name}: {again:?}");
        assert!(again.iter().all(|one| !one.is_left()), "{name}: {again:?}");
        let whole = get(&*new, &changed.key, None).await.expect("it came");
        assert!(whole.bytes == uploaded, "{name}");
        attache.close(Duration::ZERO).await;
    }
}
