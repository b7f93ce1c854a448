//! A true bucket, and one lie over it.

use std::sync::Mutex;

use async_trait::async_trait;
use attache::attachment::ByteRange;
use attache::storage::bucket::{
    Bucket, ChecksumPlan, Condition, Entry, Key, ListPage, ListRequest, NamedPart, NewObject,
    NewPart, Opened, Part, PartOf, Properties, Upload, Version, WholeChecksum,
};
use attache::storage::{Grant, Offer, Probe};
use attache::testing::buckets::{Pail, all, tag};
use attache::testing::objects::{BLOCK, body as body_of, range};
use attache::transfer::body::Body;
use attache::transfer::budget::Budget;
use attache::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::{Barrier, Notify};

use super::Lie;

/// So many puts race in the promise about a single winner.
const RACERS: usize = 4;

#[derive(Debug)]
pub(super) struct Liar {
    lie: Lie,
    honest: Pail,
    begun: Mutex<Vec<Upload>>,
    aborted: Mutex<Vec<String>>,
    repeated: Mutex<bool>,
    runs: tokio::sync::Mutex<()>,
    all_have_looked: Barrier,
    was_read: Notify,
}

impl Liar {
    pub(super) fn new(lie: Lie, honest: Pail) -> Self {
        Self {
            lie,
            honest,
            begun: Mutex::default(),
            aborted: Mutex::default(),
            repeated: Mutex::default(),
            runs: tokio::sync::Mutex::default(),
            all_have_looked: Barrier::new(RACERS),
            was_read: Notify::new(),
        }
    }

    fn lies(&self, lie: Lie) -> bool {
        self.lie == lie
    }

    /// What this one says of an object, whoever asks.
    fn told(&self, mut entry: Entry) -> Entry {
        match self.lie {
            Lie::TagsWithVersions => entry.etag = format!("0x{}", entry.version.0),
            Lie::ForgetsChecksums => entry.checksum = None,
            _ => {}
        }
        entry
    }

    /// Under which key this one looks.
    fn named(&self, key: &Key) -> Key {
        match self.lie {
            Lie::TakesKeysForPaths => {
                let plain = key.as_str().replace("//", "/");
                plain.parse().expect("it is shorter, and not empty")
            }
            _ => key.clone(),
        }
    }

    /// The condition that the true one gets, and whether it held a moment ago.
    async fn looked(&self, key: &Key, condition: &Condition) -> Result<Condition> {
        let is_ignored = match self.lie {
            Lie::IgnoresAbsent => *condition == Condition::Absent,
            Lie::IgnoresMatches => matches!(condition, Condition::Matches(_)),
            Lie::LooksBeforeTheBytes | Lie::LetsAllWin => {
                let there = self.honest.head(key).await?;
                let holds = match condition {
                    Condition::None => true,
                    Condition::Absent => there.is_none(),
                    Condition::Matches(tag) => there.is_some_and(|entry| entry.etag == *tag),
                };
                if self.lies(Lie::LetsAllWin) {
                    self.all_have_looked.wait().await;
                }
                if !holds {
                    return Err(Error::new(ErrorKind::PreconditionFailed, "it does not"));
                }
                true
            }
            _ => false,
        };
        Ok(match is_ignored {
            true => Condition::None,
            false => condition.clone(),
        })
    }

    /// Whether a file system would say that a file is where a folder is wanted.
    async fn is_in_the_way(&self, key: &Key) -> bool {
        let below = format!("{key}/");
        let others = all(&self.honest, "").await;
        others.iter().any(|other| {
            other.key.as_str().starts_with(&below)
                || key.as_str().starts_with(&format!("{}/", other.key))
        })
    }

    /// Reads block by block, whatever is there then.
    async fn mixed(&self, key: &Key) -> Result<Opened> {
        let opened = self.honest.get(key, None, None).await?;
        let (honest, key, size) = (self.honest.clone(), key.clone(), opened.entry.size);
        let blocks = futures::stream::iter((0..size.div_ceil(BLOCK)).map(|n| n * BLOCK));
        let blocks = blocks.then(move |start| {
            let (honest, key) = (honest.clone(), key.clone());
            async move {
                let asked = range(start, start + BLOCK);
                let part = honest.get(&key, Some(asked), None).await?;
                part.body.collect(usize::MAX).await
            }
        });
        let body = Body::new(blocks.boxed());
        Ok(Opened { body, ..opened })
    }
}

/// What came of a body, and why it ended if it failed.
async fn drained(mut body: Body) -> (Bytes, Option<Error>) {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        match chunk {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(error) => return (bytes.into(), Some(error)),
        }
    }
    (bytes.into(), None)
}

fn trimmed(properties: &Properties) -> Properties {
    let mut properties = properties.clone();
    for value in properties.metadata.values_mut() {
        *value = value.trim().to_owned();
    }
    properties
}

#[async_trait]
impl Bucket for Liar {
    fn name(&self) -> &'static str {
        "liar"
    }

    async fn put(&self, key: &Key, new: &NewObject, body: Body) -> Result<Entry> {
        let (key, mut new, mut body) = (&self.named(key), new.clone(), body);
        new.condition = self.looked(key, &new.condition).await?;
        let only_one = self.runs.try_lock();
        match self.lie {
            Lie::RefusesWhatRuns => {
                if only_one.is_err() {
                    return Err(Error::new(ErrorKind::Busy, "another one runs"));
                }
                tokio::task::yield_now().await;
            }
            Lie::KeepsOldProperties => {
                if let Some(old) = self.honest.head(key).await? {
                    new.properties = old.properties;
                }
            }
            Lie::ForgetsProperties => new.properties = Properties::default(),
            Lie::TrimsValues => new.properties = trimmed(&new.properties),
            Lie::HasFoldersInTheWay if self.is_in_the_way(key).await => {
                return Err(Error::new(ErrorKind::Conflict, "is a folder"));
            }
            Lie::CommitsFailedBodies => {
                let (bytes, failed) = drained(body).await;
                let made = self.honest.put(key, &new, body_of(&bytes)).await?;
                return failed.map_or(Ok(made), Err);
            }
            Lie::RewordsBodyErrors => {
                let (bytes, failed) = drained(body).await;
                if failed.is_some() {
                    return Err(Error::internal("reading failed"));
                }
                body = body_of(&bytes);
            }
            Lie::ShowsUnfinishedPuts => {
                let bytes = body.collect(usize::MAX).await?;
                let half = bytes.slice(..bytes.len() / 2);
                let begun = NewObject {
                    size: None,
                    ..new.clone()
                };
                self.honest.put(key, &begun, body_of(&half)).await?;
                for _ in 0..4 {
                    tokio::task::yield_now().await;
                }
                body = body_of(&bytes);
            }
            Lie::DeletesBeforeItReplaces if self.honest.head(key).await?.is_some() => {
                self.honest.delete(key).await?;
                // One read may be remembered, and one may have begun before; the third finds nothing.
                for _ in 0..3 {
                    self.was_read.notified().await;
                }
            }
            _ => {}
        }
        let made = self.honest.put(key, &new, body).await?;
        Ok(self.told(made))
    }

    async fn get(
        &self,
        key: &Key,
        range: Option<ByteRange>,
        version: Option<&Version>,
    ) -> Result<Opened> {
        let key = &self.named(key);
        let opened = match self.lie {
            Lie::IgnoresRanges => self.honest.get(key, None, version).await,
            Lie::IgnoresVersions => self.honest.get(key, range, None).await,
            Lie::MixesVersions if range.is_none() => self.mixed(key).await,
            _ => self.honest.get(key, range, version).await,
        };
        self.was_read.notify_one();
        let mut opened = match opened {
            Err(error)
                if self.lies(Lie::ServesEmptyRanges) && error.kind() == ErrorKind::BadRange =>
            {
                let whole = self.honest.get(key, None, version).await?;
                let body = Body::from_bytes(Bytes::new());
                Opened { body, ..whole }
            }
            other => other?,
        };
        opened.entry = self.told(opened.entry);
        Ok(opened)
    }

    async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        let there = self.honest.head(&self.named(key)).await?;
        if there.is_none() && self.lies(Lie::InventsAbsentObjects) {
            return Ok(all(&self.honest, "").await.into_iter().next());
        }
        Ok(there.map(|entry| self.told(entry)))
    }

    async fn set_properties(
        &self,
        key: &Key,
        version: &Version,
        properties: &Properties,
    ) -> Result<Entry> {
        let (mut version, mut properties) = (version.clone(), properties.clone());
        let there = self.honest.head(key).await?;
        match (self.lie, there) {
            (Lie::SetsNothing, Some(there)) => return Ok(there),
            (Lie::SetsAnyVersion, Some(there)) => version = there.version,
            (Lie::MergesProperties, Some(there)) => {
                let old = there.properties.metadata.into_iter();
                properties.metadata = old.chain(properties.metadata).collect();
            }
            (Lie::TrimsValues, _) => properties = trimmed(&properties),
            _ => {}
        }
        let set = self.honest.set_properties(key, &version, &properties).await;
        set.map(|entry| self.told(entry))
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let key = &self.named(key);
        match self.lie {
            Lie::DeletesNothing => return Ok(()),
            Lie::MissesDeletes if self.honest.head(key).await?.is_none() => {
                return Err(Error::new(ErrorKind::NotFound, "there is none"));
            }
            Lie::DeletesFolders => {
                for below in all(&self.honest, &format!("{key}/")).await {
                    self.honest.delete(&below.key).await?;
                }
            }
            _ => {}
        }
        self.honest.delete(key).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        let after = request.after.as_ref().map(|after| after.key.clone());
        let last: Option<Key> = after.as_ref().and_then(|key| key.parse().ok());
        let mut request = request.clone();
        if self.lies(Lie::ForgetsWhereItWas) {
            request.after = None;
        }
        let mut page = self.honest.list(&request).await?;
        match (self.lie, last) {
            (Lie::ListsBackwards, _) => page.entries.reverse(),
            (Lie::SkipsBetweenPages, Some(_)) if !page.entries.is_empty() => {
                page.entries.remove(0);
            }
            (Lie::BeginsAtTheKey, Some(last)) => {
                if let Some(again) = self.honest.head(&last).await? {
                    page.entries.insert(0, again);
                }
            }
            (Lie::NeedsWhatItListed, Some(last)) if self.honest.head(&last).await?.is_none() => {
                return Err(Error::new(ErrorKind::NotFound, "where was I?"));
            }
            (Lie::RepeatsCommonPrefixes, Some(last)) => {
                let is_prefix = (request.delimiter.as_deref())
                    .is_some_and(|delimiter| last.as_str().ends_with(delimiter));
                // Once, for otherwise its pages would never end.
                let mut repeated = self.repeated.lock().expect("not poisoned");
                if is_prefix && !std::mem::replace(&mut *repeated, true) {
                    page.prefixes.insert(0, last.to_string());
                }
            }
            (Lie::ListsPrefixesTwice, _) => {
                let prefixes = page.prefixes.iter();
                page.prefixes = prefixes
                    .flat_map(|one| [one.clone(), one.clone()])
                    .collect();
            }
            (Lie::AlwaysHasMore, _) => {
                let token = None;
                let key = request.prefix.clone();
                page.next = Some(attache::storage::bucket::After { key, token });
            }
            (Lie::TakesPrefixesForFolders, _) if !request.prefix.is_empty() => {
                let prefix = request.prefix.trim_end_matches('/');
                let folder = format!("{prefix}/");
                page.entries.retain(|entry| {
                    entry.key.as_str() == prefix || entry.key.as_str().starts_with(&folder)
                });
            }
            _ => {}
        }
        let entries = page.entries.into_iter();
        page.entries = entries.map(|entry| self.told(entry)).collect();
        Ok(page)
    }

    async fn offer(&self, key: &Key, grant: &Grant) -> Result<Option<Offer>> {
        self.honest.offer(key, grant).await
    }

    async fn probe(&self) -> Result<Probe> {
        if self.lies(Lie::ProbesFail) {
            return Err(Error::internal("down"));
        }
        self.honest.probe().await
    }

    async fn create(&self) -> Result<()> {
        self.honest.create().await
    }

    async fn begin(
        &self,
        key: &Key,
        properties: &Properties,
        checksum: Option<ChecksumPlan>,
    ) -> Result<String> {
        let known = || self.begun.lock().expect("not poisoned");
        if self.lies(Lie::HasOneUploadAKey)
            && let Some(first) = known().iter().find(|known| known.key == *key)
        {
            return Ok(first.upload.clone());
        }
        let upload = self.honest.begin(key, properties, checksum).await?;
        known().push(Upload {
            key: key.clone(),
            upload: upload.clone(),
            begun: time::OffsetDateTime::now_utc(),
            checksum,
        });
        Ok(upload)
    }

    async fn put_part(&self, upload: &PartOf<'_>, part: NewPart, body: Body) -> Result<Part> {
        let mut body = body;
        match self.lie {
            Lie::RefusesEmptyParts if part.size == Some(0) => {
                return Err(Error::bad_request("a part must have bytes"));
            }
            // It is begun when its bytes are there.
            Lie::LetsOlderPartsWin => body = body_of(&body.collect(usize::MAX).await?),
            Lie::KeepsFailedParts => {
                let (bytes, failed) = drained(body).await;
                let part = NewPart { size: None, ..part };
                let stored = self.honest.put_part(upload, part, body_of(&bytes)).await?;
                return failed.map_or(Ok(stored), Err);
            }
            Lie::KeepsTheFirstPart => {
                let stored = self.honest.parts(upload, part.number - 1, 1).await?;
                if let Some(first) = stored.into_iter().find(|one| one.number == part.number) {
                    let bytes = body.collect(usize::MAX).await?;
                    return Ok(Part {
                        size: bytes.len() as u64,
                        etag: tag(&bytes),
                        ..first
                    });
                }
            }
            Lie::ShowsUnfinishedUploads => {
                let bytes = body.collect(usize::MAX).await?;
                let shown = attache::testing::buckets::new();
                self.honest.put(upload.key, &shown, body_of(&bytes)).await?;
                body = body_of(&bytes);
            }
            Lie::ShowsUnfinishedParts => {
                let bytes = body.collect(usize::MAX).await?;
                let half = body_of(&bytes.slice(..bytes.len() / 2));
                let begun = NewPart {
                    size: None,
                    ..part.clone()
                };
                self.honest.put_part(upload, begun, half).await?;
                for _ in 0..4 {
                    tokio::task::yield_now().await;
                }
                body = body_of(&bytes);
            }
            _ => {}
        }
        self.honest.put_part(upload, part, body).await
    }

    async fn parts(&self, upload: &PartOf<'_>, after: u16, limit: usize) -> Result<Vec<Part>> {
        let limit = match self.lie {
            Lie::TellsAllParts => usize::from(u16::MAX),
            _ => limit,
        };
        let mut parts = self.honest.parts(upload, after, limit).await?;
        match self.lie {
            Lie::TellsPartsBackwards => parts.reverse(),
            Lie::ForgetsParts => drop(parts.pop()),
            _ => {}
        }
        Ok(parts)
    }

    async fn uploads(
        &self,
        prefix: &str,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<Upload>> {
        let mut uploads = self.honest.uploads(prefix, after, limit).await?;
        match self.lie {
            Lie::TellsOneUploadAKey => uploads.dedup_by(|next, before| next.key == before.key),
            Lie::ForgetsPlannedChecksums => {
                uploads.iter_mut().for_each(|upload| upload.checksum = None);
            }
            _ => {}
        }
        Ok(uploads)
    }

    async fn complete(
        &self,
        upload: &PartOf<'_>,
        parts: &[NamedPart],
        checksum: Option<WholeChecksum>,
        condition: &Condition,
        budget: &Budget,
    ) -> Result<Entry> {
        let (mut parts, mut checksum) = (parts.to_vec(), checksum);
        let mut condition = condition.clone();
        match self.lie {
            Lie::IgnoresTagsOfParts | Lie::KeepsUnnamedParts => {
                let stored = self.honest.parts(upload, 0, usize::from(u16::MAX)).await;
                let stored = stored.unwrap_or_default();
                let by_name = |part: &NamedPart| {
                    let part = stored.iter().find(|known| known.number == part.number);
                    part.map(attache::testing::buckets::name)
                };
                parts = match self.lies(Lie::KeepsUnnamedParts) && !stored.is_empty() {
                    true => (stored.iter().map(attache::testing::buckets::name)).collect(),
                    false => (parts.into_iter())
                        .map(|part| by_name(&part).unwrap_or(part))
                        .collect(),
                };
            }
            Lie::ReplacesWhatItMayNot => condition = Condition::None,
            Lie::TrustsChecksumsOfWholes => {
                checksum = checksum.map(|wanted| WholeChecksum {
                    expected: None,
                    ..wanted
                });
            }
            Lie::CompletesOnce => {
                let running = self.honest.uploads("", None, 1000).await?;
                if !running.iter().any(|known| known.upload == upload.upload) {
                    return Err(Error::new(ErrorKind::UploadNotFound, "no such upload"));
                }
            }
            Lie::TakesAnythingForARepetition => {
                if let Some(there) = self.honest.head(upload.key).await? {
                    return Ok(there);
                }
            }
            _ => {}
        }
        let made = (self.honest)
            .complete(upload, &parts, checksum, &condition, budget)
            .await?;
        Ok(self.told(made))
    }

    async fn abort(&self, upload: &PartOf<'_>) -> Result<()> {
        let again = {
            let mut aborted = self.aborted.lock().expect("not poisoned");
            aborted.push(upload.upload.to_owned());
            let same = aborted.iter().filter(|known| **known == upload.upload);
            same.count() > 1
        };
        match self.lie {
            Lie::AbortsNothing => return Ok(()),
            Lie::AbortsOnce if again => {
                return Err(Error::new(ErrorKind::UploadNotFound, "no such upload"));
            }
            Lie::AbortsObjects => self.honest.delete(upload.key).await?,
            _ => {}
        }
        self.honest.abort(upload).await
    }

    async fn sweep(&self) -> Result<u64> {
        self.honest.sweep().await
    }
}
