//! The suite of buckets, tested: buckets that lie in one way each, and the promise that catches each of them.

use std::sync::Arc;

use async_trait::async_trait;
use attache::attachment::ByteRange;
use attache::storage::bucket::{
    Bucket, BucketPlace, Condition, Entry, Key, ListPage, ListRequest, NamedPart, NewObject,
    NewPart, Opened, Part, PartOf, Properties, Upload, Version, WholeChecksum,
};
use attache::storage::local::{LocalConfig, LocalStorage};
use attache::storage::{Grant, Offer, Probe, Storage as _};
use attache::testing::bucket::{conditions, get, keys, list, parts, properties, put, whole};
use attache::testing::buckets::Pail;
use attache::transfer::body::Body;
use attache::{Error, ErrorKind, Result};

/// One way to lie.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    ProbesFail,
    KeepsFailedBodies,
    IgnoresAbsence,
    IgnoresTags,
    IgnoresRanges,
    IgnoresVersions,
    InventsAbsentObjects,
    ForgetsProperties,
    ForgetsChecksums,
    KeepsOldProperties,
    ChangesOtherVersions,
    FoldsKeys,
    SkipsTheFirst,
    ListsBackwards,
    ForgetsWhereItWas,
    MissesDeletes,
    DeletesNothing,
    ForgetsParts,
    KeepsTheFirstPart,
    AbortsNothing,
    BelievesTags,
    CompletesOnce,
    IgnoresTheConditionOfCompletion,
}

struct Liar {
    lie: Lie,
    honest: Pail,
    _folder: tempfile::TempDir,
}

impl std::fmt::Debug for Liar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Liar").field(&self.lie).finish()
    }
}

impl Liar {
    async fn telling(lie: Lie) -> Pail {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("objects");
        let storage = LocalStorage::open(&LocalConfig { root }).expect("a writable folder");
        let container = "files".to_owned();
        let bucket = storage.bucket(&BucketPlace { container });
        let honest = bucket.expect("a place").expect("buckets");
        honest.create().await.expect("made");
        Arc::new(Self {
            lie,
            honest,
            _folder: folder,
        })
    }

    fn lies(&self, lie: Lie) -> bool {
        self.lie == lie
    }

    fn key(&self, key: &Key) -> Key {
        match self.lies(Lie::FoldsKeys) {
            true => key
                .as_str()
                .to_lowercase()
                .replace("//", "/")
                .parse()
                .expect("a key"),
            false => key.clone(),
        }
    }

    fn color(&self, mut entry: Entry) -> Entry {
        match self.lie {
            Lie::ForgetsProperties => entry.properties.metadata.clear(),
            Lie::ForgetsChecksums => entry.checksum = None,
            _ => {}
        }
        entry
    }
}

#[async_trait]
impl Bucket for Liar {
    fn name(&self) -> &'static str {
        self.honest.name()
    }

    async fn put(&self, key: &Key, new: &NewObject, body: Body) -> Result<Entry> {
        let mut new = new.clone();
        let absent = new.condition == Condition::Absent;
        if (self.lies(Lie::IgnoresAbsence) && absent) || (self.lies(Lie::IgnoresTags) && !absent) {
            new.condition = Condition::None;
        }
        if self.lies(Lie::KeepsFailedBodies) {
            let mut body = body;
            let mut bytes = Vec::new();
            while let Some(Ok(chunk)) = body.next().await {
                bytes.extend_from_slice(&chunk);
            }
            let body = Body::from_bytes(bytes).with_md5().with_crc64();
            return self.honest.put(key, &new, body).await;
        }
        let entry = self.honest.put(&self.key(key), &new, body).await;
        entry.map(|entry| self.color(entry))
    }

    async fn get(
        &self,
        key: &Key,
        range: Option<ByteRange>,
        version: Option<&Version>,
    ) -> Result<Opened> {
        let range = range.filter(|_| !self.lies(Lie::IgnoresRanges));
        let version = version.filter(|_| !self.lies(Lie::IgnoresVersions));
        let mut opened = self.honest.get(&self.key(key), range, version).await?;
        opened.entry = self.color(opened.entry);
        Ok(opened)
    }

    async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        let found = self.honest.head(&self.key(key)).await?;
        if found.is_none() && self.lies(Lie::InventsAbsentObjects) {
            let first = ListRequest {
                limit: 1,
                ..ListRequest::default()
            };
            return Ok(self.honest.list(&first).await?.entries.into_iter().next());
        }
        Ok(found.map(|entry| self.color(entry)))
    }

    async fn set_properties(
        &self,
        key: &Key,
        version: &Version,
        properties: &Properties,
    ) -> Result<Entry> {
        let there = self.honest.head(key).await?;
        let there = there.ok_or_else(|| Error::new(ErrorKind::NotFound, "absent"))?;
        if self.lies(Lie::KeepsOldProperties) {
            return Ok(there);
        }
        let version = match self.lies(Lie::ChangesOtherVersions) {
            true => &there.version,
            false => version,
        };
        self.honest.set_properties(key, version, properties).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        if self.lies(Lie::MissesDeletes) && self.honest.head(key).await?.is_none() {
            return Err(Error::new(ErrorKind::NotFound, "absent"));
        }
        if self.lies(Lie::DeletesNothing) {
            return Ok(());
        }
        self.honest.delete(&self.key(key)).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        let mut request = request.clone();
        if self.lies(Lie::ForgetsWhereItWas) {
            request.after = None;
        }
        let mut page = self.honest.list(&request).await?;
        if self.lies(Lie::SkipsTheFirst) && !page.entries.is_empty() {
            page.entries.remove(0);
        }
        if self.lies(Lie::ListsBackwards) {
            page.entries.reverse();
        }
        Ok(page)
    }

    async fn offer(&self, key: &Key, grant: &Grant) -> Result<Option<Offer>> {
        self.honest.offer(key, grant).await
    }

    async fn probe(&self) -> Result<Probe> {
        match self.lies(Lie::ProbesFail) {
            true => Err(Error::internal("down")),
            false => self.honest.probe().await,
        }
    }

    async fn begin(&self, key: &Key, properties: &Properties) -> Result<String> {
        self.honest.begin(key, properties).await
    }

    async fn put_part(&self, upload: &PartOf<'_>, part: NewPart, body: Body) -> Result<Part> {
        if self.lies(Lie::KeepsTheFirstPart) {
            let there = self.honest.parts(upload, part.number - 1, 1).await?;
            if let Some(there) = there.into_iter().find(|there| there.number == part.number) {
                return Ok(there);
            }
        }
        self.honest.put_part(upload, part, body).await
    }

    async fn parts(&self, upload: &PartOf<'_>, after: u16, limit: usize) -> Result<Vec<Part>> {
        let mut parts = self.honest.parts(upload, after, limit).await?;
        if self.lies(Lie::ForgetsParts) {
            parts.pop();
        }
        Ok(parts)
    }

    async fn uploads(
        &self,
        prefix: &str,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<Upload>> {
        self.honest.uploads(prefix, after, limit).await
    }

    async fn complete(
        &self,
        upload: &PartOf<'_>,
        parts: &[NamedPart],
        checksum: Option<WholeChecksum>,
        condition: &Condition,
    ) -> Result<Entry> {
        let mut parts = parts.to_vec();
        if self.lies(Lie::BelievesTags) {
            for there in self.honest.parts(upload, 0, 10_000).await? {
                for named in parts
                    .iter_mut()
                    .filter(|named| named.number == there.number)
                {
                    named.etag.clone_from(&there.etag);
                    named.checksum = None;
                }
            }
        }
        if self.lies(Lie::CompletesOnce) {
            // What was completed is not there any more.
            self.honest.parts(upload, 0, 1).await?;
        }
        let none = Condition::None;
        let condition = match self.lies(Lie::IgnoresTheConditionOfCompletion) {
            true => &none,
            false => condition,
        };
        self.honest
            .complete(upload, &parts, checksum, condition)
            .await
    }

    async fn abort(&self, upload: &PartOf<'_>) -> Result<()> {
        match self.lies(Lie::AbortsNothing) {
            true => Ok(()),
            false => self.honest.abort(upload).await,
        }
    }
}

/// `$lie` breaks `$promise`, and its test says so.
macro_rules! caught {
    ($($lie:ident by $about:ident::$promise:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[allow(non_snake_case, reason = "the test is named as the lie")]
        async fn $lie() {
            // One that lies elsewhere keeps this promise: what is caught is the lie.
            let elsewhere = match Lie::$lie {
                Lie::ProbesFail => Lie::SkipsTheFirst,
                _ => Lie::ProbesFail,
            };
            $about::$promise(&Liar::telling(elsewhere).await).await;
            let liar = Liar::telling(Lie::$lie).await;
            let judged = tokio::spawn(async move { $about::$promise(&liar).await });
            let verdict = judged.await.expect_err("the lie goes through");
            assert!(verdict.is_panic());
        }
    )*};
}

caught! {
    ProbesFail by get::an_offer_needs_no_object_and_a_probe_succeeds;
    KeepsFailedBodies by put::a_put_changes_nothing_when_its_body_fails;
    IgnoresAbsence by conditions::an_object_that_must_be_absent_is_made_once;
    IgnoresTags by conditions::an_object_that_must_match_replaces_that_one_alone;
    IgnoresRanges by get::any_range_is_read_and_one_across_the_end_is_cut;
    IgnoresVersions by get::a_version_is_read_while_it_is_there;
    InventsAbsentObjects by put::a_deleted_object_is_gone_and_nothing_else_and_an_absent_one_is_success;
    ForgetsProperties by properties::all_properties_come_back_as_they_were;
    ForgetsChecksums by properties::a_checksum_that_the_body_computed_is_kept;
    KeepsOldProperties by properties::properties_are_replaced_and_the_bytes_stay;
    ChangesOtherVersions by properties::properties_are_replaced_of_the_version_that_is_meant;
    FoldsKeys by keys::any_key_names_an_object_of_its_own;
    SkipsTheFirst by list::pages_of_any_size_have_all_in_order_each_once;
    ListsBackwards by list::pages_of_any_size_have_all_in_order_each_once;
    ForgetsWhereItWas by list::a_page_after_any_key_begins_behind_it;
    MissesDeletes by put::a_deleted_object_is_gone_and_nothing_else_and_an_absent_one_is_success;
    DeletesNothing by put::a_deleted_object_is_gone_and_nothing_else_and_an_absent_one_is_success;
    ForgetsParts by parts::parts_are_told_in_order_a_few_at_a_time;
    KeepsTheFirstPart by parts::a_part_that_is_put_again_takes_the_place_of_the_first;
    AbortsNothing by parts::an_aborted_upload_is_gone;
    BelievesTags by whole::parts_that_were_not_stored_so_change_nothing;
    CompletesOnce by whole::what_was_completed_can_be_completed_again;
    IgnoresTheConditionOfCompletion by whole::completing_replaces_what_is_there_if_it_may;
}
