//! The suite, tested: stores that lie in one way each, and the promise that catches each of them.

use std::sync::Arc;

use async_trait::async_trait;
use attache::attachment::{ByteRange, ObjectKey};
use attache::storage::memory::MemoryStorage;
use attache::storage::{Content, ListedObject, Object, ObjectInfo, Probe, Storage, Stored};
use attache::testing::objects::Store;
use attache::testing::storage::{get, list, metadata, put};
use attache::transfer::body::Body;
use attache::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};

/// One way to lie.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    ProbesFail,
    CutsLongObjects,
    SwapsBlocks,
    IgnoresRanges,
    ServesEmptyRanges,
    InventsAbsentObjects,
    RefusesEmptyObjects,
    TrustsDeclaredSize,
    ComputesNoMd5,
    CommitsFailedBodies,
    RewordsBodyErrors,
    Overwrites,
    ShowsUnfinishedPuts,
    DeletesSilently,
    MissesDeletes,
    DiscardsNothing,
    TidiesTheObjectAway,
    ListsBackwards,
    ListsTwice,
    ListsFromTheStart,
    ListsStrangers,
    ForgetsStrangers,
    ListsAllWhateverThePrefix,
    ForgetsFacts,
    ManglesNames,
    ForgetsDigests,
    ForgetsCharsets,
    HeadsInventObjects,
    WritesNoFacts,
}

#[derive(Debug)]
struct Liar {
    lie: Lie,
    honest: MemoryStorage,
}

impl Liar {
    fn lies(&self, lie: Lie) -> bool {
        self.lie == lie
    }

    /// Every object, as if all were attachments.
    async fn everything(&self) -> Vec<Result<ObjectInfo>> {
        let all = self.honest.list_all("").expect("it can list all");
        let infos = all.and_then(async |object| {
            let key = ObjectKey::adopted(&object.name)?;
            let info = self.honest.head(&key).await?;
            info.ok_or_else(|| Error::internal("it is gone"))
        });
        infos.collect().await
    }

    fn color(&self, info: &mut ObjectInfo) {
        match self.lie {
            Lie::ForgetsFacts => info.facts = None,
            Lie::ForgetsDigests => info.sha256 = None,
            Lie::ForgetsCharsets => {
                if let Some(facts) = &mut info.facts {
                    facts.content_type =
                        attache::attachment::media::essence(&facts.content_type).to_owned();
                }
            }
            Lie::ManglesNames => {
                if let Some(facts) = &mut info.facts {
                    let name = facts
                        .filename
                        .as_str()
                        .replace(|c: char| !c.is_ascii(), "_");
                    facts.filename = name.parse().expect("still a name");
                }
            }
            _ => {}
        }
    }
}

#[async_trait]
impl Storage for Liar {
    fn name(&self) -> &'static str {
        "liar"
    }

    fn computes_md5(&self) -> bool {
        self.lies(Lie::ComputesNoMd5)
    }

    async fn put(&self, key: &ObjectKey, content: &Content, mut body: Body) -> Result<Stored> {
        let mut chunks = Vec::new();
        if self.lies(Lie::ShowsUnfinishedPuts) {
            let early = body.next().await.transpose()?.unwrap_or_default();
            self.honest
                .put(key, content, Body::from_bytes(early.clone()))
                .await?;
            chunks.push(early);
        }
        while let Some(chunk) = body.next().await {
            match chunk {
                Ok(chunk) => chunks.push(chunk),
                Err(_) if self.lies(Lie::CommitsFailedBodies) => break,
                Err(_) if self.lies(Lie::RewordsBodyErrors) => {
                    return Err(Error::internal("reading failed"));
                }
                Err(error) => return Err(error),
            }
        }
        match self.lie {
            Lie::CutsLongObjects => chunks.truncate(20),
            Lie::SwapsBlocks if chunks.len() > 2 => chunks.swap(1, 2),
            Lie::RefusesEmptyObjects if chunks.is_empty() => {
                return Err(Error::bad_request("empty"));
            }
            Lie::TrustsDeclaredSize if content.size.is_none() => chunks.truncate(0),
            Lie::Overwrites | Lie::ShowsUnfinishedPuts => self.honest.delete(key).await?,
            _ => {}
        }
        let whole = Body::from_bytes(chunks.concat()).hashed(!self.computes_md5());
        self.honest.put(key, content, whole).await
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object> {
        let range = range.filter(|_| !self.lies(Lie::IgnoresRanges));
        let mut object = match self.honest.get(key, range).await {
            Err(error)
                if error.kind() == ErrorKind::NotFound && self.lies(Lie::InventsAbsentObjects) =>
            {
                return Err(Error::internal("no such file"));
            }
            Err(error)
                if error.kind() == ErrorKind::BadRange && self.lies(Lie::ServesEmptyRanges) =>
            {
                let mut object = self.honest.get(key, None).await?;
                object.body = Body::from_bytes(Bytes::new());
                object
            }
            other => other?,
        };
        self.color(&mut object.info);
        Ok(object)
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>> {
        match self.honest.head(key).await? {
            None if self.lies(Lie::HeadsInventObjects) => Err(Error::internal("no such file")),
            found => Ok(found),
        }
    }

    async fn write_facts(
        &self,
        key: &ObjectKey,
        content: &Content,
        stored: &Stored,
    ) -> Result<Option<String>> {
        match self.lies(Lie::WritesNoFacts) {
            true => Ok(None),
            false => self.honest.write_facts(key, content, stored).await,
        }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        if self.lies(Lie::DeletesSilently) {
            return Ok(());
        }
        if self.lies(Lie::MissesDeletes) {
            self.honest.get(key, None).await?;
        }
        self.honest.delete(key).await
    }

    async fn discard(&self, key: &ObjectKey) -> Result<()> {
        if self.lies(Lie::DiscardsNothing) {
            return Ok(());
        }
        self.honest.delete(key).await
    }

    async fn tidy_up(&self, key: &ObjectKey) -> Result<()> {
        match self.lies(Lie::TidiesTheObjectAway) {
            true => self.honest.delete(key).await,
            false => self.honest.tidy_up(key).await,
        }
    }

    fn list_all(&self, prefix: &str) -> Option<BoxStream<'_, Result<ListedObject>>> {
        let prefix = if self.lies(Lie::ListsAllWhateverThePrefix) {
            ""
        } else {
            prefix
        };
        let forgets = self.lies(Lie::ForgetsStrangers);
        let honest = self.honest.list_all(prefix)?.try_filter(move |object| {
            let is_own = object.name.parse::<ObjectKey>().is_ok();
            std::future::ready(is_own || !forgets)
        });
        Some(honest.boxed())
    }

    fn list(&self, after: Option<ObjectKey>) -> BoxStream<'_, Result<ObjectInfo>> {
        let after = after.filter(|_| !self.lies(Lie::ListsFromTheStart));
        let honest = self.honest.list(after);
        futures::stream::once(async move {
            let mut infos: Vec<_> = honest.collect().await;
            if self.lies(Lie::ListsStrangers) {
                infos = self.everything().await;
            }
            for info in infos.iter_mut().flatten() {
                self.color(info);
            }
            match self.lie {
                Lie::ListsBackwards => infos.reverse(),
                Lie::ListsTwice => {
                    if let Some(Ok(last)) = infos.last() {
                        let last = last.clone();
                        infos.push(Ok(last));
                    }
                }
                _ => {}
            }
            futures::stream::iter(infos)
        })
        .flatten()
        .boxed()
    }

    async fn probe(&self) -> Result<Probe> {
        if self.lies(Lie::ProbesFail) {
            return Err(Error::internal("down"));
        }
        self.honest.probe().await
    }
}

/// `$lie` breaks `$promise`, and its test says so.
macro_rules! caught {
    ($($lie:ident by $about:ident::$promise:ident;)*) => {$(
        #[tokio::test]
        #[allow(non_snake_case, reason = "the test is named as the lie")]
        async fn $lie() {
            let honest = MemoryStorage::new();
            let liar: Store = Arc::new(Liar { lie: Lie::$lie, honest });
            let judged = tokio::spawn(async move { attache::testing::storage::$about::$promise(&liar).await });
            let verdict = judged.await.expect_err("the lie goes through");
            assert!(verdict.is_panic());
        }
    )*};
}

caught! {
    ProbesFail by metadata::probe_succeeds;
    CutsLongObjects by get::get_returns_what_was_put_whole_and_any_range;
    SwapsBlocks by get::get_returns_what_was_put_whole_and_any_range;
    IgnoresRanges by get::get_returns_what_was_put_whole_and_any_range;
    ServesEmptyRanges by get::a_range_behind_the_end_is_bad_range_and_one_across_it_is_cut;
    InventsAbsentObjects by get::get_of_an_absent_object_is_not_found;
    RefusesEmptyObjects by put::an_empty_object_can_be_put_listed_read_and_deleted;
    TrustsDeclaredSize by put::a_body_of_unknown_length_is_stored_whole;
    ComputesNoMd5 by put::a_store_that_computes_md5_tells_and_keeps_that_of_what_came_in_one_block;
    CommitsFailedBodies by put::put_commits_nothing_when_the_body_fails;
    RewordsBodyErrors by put::put_commits_nothing_when_the_body_fails;
    Overwrites by put::put_refuses_to_overwrite_and_leaves_the_first_object_alone;
    ShowsUnfinishedPuts by put::dropping_a_put_leaves_nothing_visible;
    DeletesSilently by delete::delete_removes_one_object_for_good;
    MissesDeletes by delete::delete_of_an_absent_object_is_success;
    DiscardsNothing by delete::discard_removes_an_object_and_nothing_is_success;
    TidiesTheObjectAway by delete::tidying_up_leaves_the_object_and_where_there_is_none_it_is_success;
    ListsBackwards by list::list_is_ascending_complete_each_once_and_resumes_after_a_key;
    ListsTwice by list::list_is_ascending_complete_each_once_and_resumes_after_a_key;
    ListsFromTheStart by list::list_is_ascending_complete_each_once_and_resumes_after_a_key;
    ListsStrangers by list::what_other_programs_stored_is_listed_apart_in_order_each_once;
    ForgetsStrangers by list::what_other_programs_stored_is_listed_apart_in_order_each_once;
    ListsAllWhateverThePrefix by list::what_other_programs_stored_is_listed_apart_in_order_each_once;
    ForgetsFacts by metadata::facts_digests_and_unusual_names_travel_with_the_object;
    ManglesNames by metadata::facts_digests_and_unusual_names_travel_with_the_object;
    ForgetsDigests by metadata::facts_digests_and_unusual_names_travel_with_the_object;
    ForgetsCharsets by metadata::the_charset_of_a_text_travels_with_it_once_all_of_it_has_passed;
    HeadsInventObjects by metadata::head_tells_what_get_tells_and_is_nothing_for_an_absent_object;
    WritesNoFacts by metadata::facts_can_be_written_again_and_the_bytes_stay;
}

/// The wrapper itself breaks nothing: what is caught is the lie.
#[tokio::test]
async fn a_liar_without_a_chance_to_lie_passes() {
    let store = || -> Store {
        let honest = MemoryStorage::new();
        // This one lies about its probe alone.
        let lie = Lie::ProbesFail;
        Arc::new(Liar { lie, honest })
    };
    get::get_returns_what_was_put_whole_and_any_range(&store()).await;
    put::put_commits_nothing_when_the_body_fails(&store()).await;
    put::dropping_a_put_leaves_nothing_visible(&store()).await;
    metadata::facts_digests_and_unusual_names_travel_with_the_object(&store()).await;
    list::list_is_ascending_complete_each_once_and_resumes_after_a_key(&store()).await;
}
