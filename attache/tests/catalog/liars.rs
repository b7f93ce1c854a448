//! The suite of catalogs, tested: catalogs that lie in one way each, and the promise that catches each of them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use attache::access::Owners;
use attache::attachment::{Attachment, AttachmentId, IdempotencyKey, ObjectKey};
use attache::catalog::moves::{MoveNote, MoveNotes};
use attache::catalog::sqlite::SqliteCatalog;
use attache::catalog::workers::Replica;
use attache::catalog::{Abandoned, Begun, Catalog, Draft, Page, Totals, Unfinished};
use attache::storage::Stored;
use attache::testing::catalog::{calls, deletions, listings, moves, quota, repair, uploads};
use attache::testing::rows::{Shared, draft};
use attache::testing::{Fresh, catalog_suite};
use attache::{Error, ErrorKind, Result};
use time::OffsetDateTime;

/// One way to lie.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    ProbesFail,
    CountsGhosts,
    CommitsOnce,
    TakesOtherBytesForARepetition,
    ReservesInAddition,
    HoldsDroppedReads,
    HalvesDroppedWrites,
    WorksAfterClose,
    FindsWhatIsRetired,
    FindsWhatIsPending,
    ForgetsWhatItRetires,
    LosesAuthors,
    RoundsTimes,
    ManglesNames,
    LosesCharsets,
    TakesIdsTwice,
    ReservesForNobody,
    IgnoresIdempotencyKeys,
    SaysRetryToNobody,
    SaysRetryToEverybody,
    KeepsKeysOfWhatIsRetired,
    IgnoresQuotas,
    ReservesBeyondQuotas,
    KeepsSharesOfWhatIsRetired,
    ListsOldestFirst,
    SkipsWhatIsOfOneMoment,
    ListsAllOwners,
    ListsWhatIsHidden,
    WalksBackwards,
    FinishesNothing,
    SweepsWhatIsWorkedOn,
    ForgetsWhatIsReady,
    AbandonsWhatIsReady,
    KeepsWhatIsAbandoned,
    TakesOverWhatIsWorkedOn,
    TakesOverNothing,
    IsNobody,
    NamesWhatIsReadyAlone,
    CountsNothingRestored,
    RestoresSilently,
    RenamesWhatItRestores,
    KeepsTheFirstTag,
    NotesWhatIsNotReady,
    NotesTheFirstTag,
    NotesWhoeverCameLast,
    NeverGoesBack,
    NamesNoUploads,
    NamesWhatIsUploaded,
    NotAtAll,
}

#[derive(Debug)]
struct Liar {
    lie: Lie,
    honest: SqliteCatalog,
    seen: Mutex<Seen>,
    reading: AtomicUsize,
}

/// What has happened.
#[derive(Debug, Default)]
struct Seen {
    committed: HashMap<AttachmentId, Attachment>,
    pending: HashMap<AttachmentId, Draft>,
    keys: HashSet<IdempotencyKey>,
    reserved: HashMap<AttachmentId, u64>,
    restored: HashSet<AttachmentId>,
}

impl Liar {
    fn lies(&self, lie: Lie) -> bool {
        self.lie == lie
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("not poisoned")
    }

    fn color(&self, mut row: Attachment) -> Attachment {
        match self.lie {
            Lie::LosesAuthors => row.created_by = None,
            Lie::RoundsTimes => {
                let second = row.created_at.replace_nanosecond(0);
                row.created_at = second.expect("a time") - Duration::from_secs(1);
            }
            Lie::ManglesNames => {
                let name = row.filename.as_str().replace(|c: char| !c.is_ascii(), "_");
                row.filename = name.parse().expect("still a name");
            }
            Lie::LosesCharsets => {
                row.content_type =
                    attache::attachment::media::essence(&row.content_type).to_owned();
            }
            _ => {}
        }
        row
    }
}

#[async_trait]
impl Catalog for Liar {
    fn name(&self) -> &'static str {
        "liar"
    }

    async fn begin(&self, draft: &Draft) -> Result<Begun> {
        let mut told = draft.clone();
        match self.lie {
            Lie::IgnoresIdempotencyKeys => told.idempotency_key = None,
            Lie::IgnoresQuotas => told.quota = None,
            Lie::KeepsKeysOfWhatIsRetired => {
                if let Some(key) = &told.idempotency_key
                    && !self.seen().keys.insert(key.clone())
                {
                    return Err(Error::new(ErrorKind::Conflict, "used before"));
                }
            }
            Lie::HalvesDroppedWrites => {
                // Its share first, and the row in another transaction.
                let share = attache::testing::rows::draft();
                self.honest.begin(&share).await?;
                self.honest.retire(&share.id).await?;
                self.honest.forget(&share.id).await?;
            }
            _ => {}
        }
        let begun = match self.honest.begin(&told).await {
            Err(error) if error.kind() == ErrorKind::Conflict => match self.lie {
                Lie::TakesIdsTwice => Begun::New,
                Lie::SaysRetryToNobody => {
                    return Err(Error::new(ErrorKind::Conflict, "it runs"));
                }
                Lie::SaysRetryToEverybody => {
                    return Err(error.retry_after(Duration::from_secs(1)));
                }
                _ => return Err(error),
            },
            other => other?,
        };
        self.seen().pending.insert(draft.id.clone(), draft.clone());
        Ok(begun)
    }

    async fn reserve(&self, id: &AttachmentId, bytes: u64, quota: Option<u64>) -> Result<()> {
        let mut told = bytes;
        if self.lies(Lie::ReservesInAddition) {
            let mut seen = self.seen();
            let reserved = seen.reserved.entry(id.clone()).or_default();
            *reserved += bytes;
            told = *reserved;
        }
        let quota = quota.filter(|_| !self.lies(Lie::ReservesBeyondQuotas));
        match self.honest.reserve(id, told, quota).await {
            Err(error)
                if error.kind() == ErrorKind::NotFound && self.lies(Lie::ReservesForNobody) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    async fn commit(&self, id: &AttachmentId, stored: &Stored) -> Result<Attachment> {
        let before = self.seen().committed.get(id).cloned();
        match (before, self.lie) {
            (Some(_), Lie::CommitsOnce) => {
                return Err(Error::new(ErrorKind::NotFound, "not pending"));
            }
            (Some(before), Lie::TakesOtherBytesForARepetition) => return Ok(before),
            _ => {}
        }
        let row = self.honest.commit(id, stored).await?;
        self.seen().pending.remove(id);
        self.seen().committed.insert(id.clone(), row.clone());
        Ok(self.color(row))
    }

    async fn find(&self, id: &AttachmentId) -> Result<Attachment> {
        if self.lies(Lie::HoldsDroppedReads) && self.reading.fetch_add(1, Ordering::SeqCst) > 100 {
            return Err(Error::new(ErrorKind::Busy, "too many readers"));
        }
        let found = self.honest.find(id).await;
        self.reading.fetch_sub(1, Ordering::SeqCst);
        let known = match self.lie {
            Lie::FindsWhatIsRetired => self.seen().committed.get(id).cloned(),
            Lie::FindsWhatIsPending => self.seen().pending.get(id).map(|draft| Attachment {
                id: draft.id.clone(),
                key: draft.key.clone(),
                owner: draft.owner.clone(),
                filename: draft.filename.clone(),
                content_type: draft.content_type.clone(),
                size: 0,
                sha256: attache::attachment::Hex([0; 32]),
                md5: None,
                crc64: None,
                store_tag: None,
                created_by: draft.created_by.clone(),
                created_at: draft.created_at,
            }),
            _ => None,
        };
        match known {
            Some(known) => Ok(known),
            None => found.map(|row| self.color(row)),
        }
    }

    async fn list(&self, page: &Page) -> Result<Vec<Attachment>> {
        let mut page = page.clone();
        match self.lie {
            Lie::ListsAllOwners => page.owner = None,
            Lie::ListsWhatIsHidden => page.visible = Owners::all(),
            Lie::SkipsWhatIsOfOneMoment => {
                if let Some((_, id)) = &mut page.after {
                    *id = "-".parse().expect("the least id");
                }
            }
            _ => {}
        }
        let mut rows = self.honest.list(&page).await?;
        if self.lies(Lie::ListsOldestFirst) {
            rows.reverse();
        }
        Ok(rows)
    }

    async fn retire(&self, id: &AttachmentId) -> Result<Option<ObjectKey>> {
        let key = self.honest.retire(id).await?;
        match self.lie {
            Lie::ForgetsWhatItRetires => self.honest.forget(id).await?,
            Lie::KeepsSharesOfWhatIsRetired => drop(self.honest.begin(&draft()).await?),
            _ => {}
        }
        Ok(key)
    }

    async fn abandon(&self, id: &AttachmentId) -> Result<Abandoned> {
        if self.lies(Lie::AbandonsWhatIsReady)
            && let Some(key) = self.honest.retire(id).await?
        {
            return Ok(Abandoned::Retired(key));
        }
        let abandoned = self.honest.abandon(id).await?;
        match (self.lie, &abandoned) {
            (Lie::KeepsWhatIsAbandoned, Abandoned::Retired(_)) => Ok(Abandoned::Kept),
            _ => Ok(abandoned),
        }
    }

    async fn forget(&self, id: &AttachmentId) -> Result<()> {
        if self.lies(Lie::ForgetsWhatIsReady) {
            self.honest.retire(id).await?;
        }
        self.honest.forget(id).await
    }

    async fn unfinished(
        &self,
        after: Option<&AttachmentId>,
        limit: u32,
    ) -> Result<Vec<Unfinished>> {
        let mut rows = self.honest.unfinished(after, limit).await?;
        match self.lie {
            Lie::FinishesNothing => rows.clear(),
            Lie::SweepsWhatIsWorkedOn => {
                rows.extend(self.seen().pending.values().map(|draft| Unfinished {
                    id: draft.id.clone(),
                    key: draft.key.clone(),
                    upload: true,
                    is_ours: false,
                }));
            }
            _ => {}
        }
        Ok(rows)
    }

    async fn take_over(&self, id: &AttachmentId, now: OffsetDateTime) -> Result<bool> {
        let taken = self.honest.take_over(id, now).await?;
        Ok(match self.lie {
            Lie::TakesOverWhatIsWorkedOn => true,
            Lie::TakesOverNothing => false,
            _ => taken,
        })
    }

    async fn replicas(&self) -> Result<Vec<Replica>> {
        match self.lie {
            Lie::IsNobody => Ok(Vec::new()),
            _ => self.honest.replicas().await,
        }
    }

    async fn list_by_key(&self, after: Option<&ObjectKey>, limit: u32) -> Result<Vec<Attachment>> {
        let mut rows = self.honest.list_by_key(after, limit).await?;
        if self.lies(Lie::WalksBackwards) {
            rows.reverse();
        }
        Ok(rows)
    }

    async fn is_referenced(&self, key: &ObjectKey) -> Result<bool> {
        if self.lies(Lie::NamesWhatIsReadyAlone) {
            let rows = self.honest.list_by_key(None, 1000).await?;
            return Ok(rows.iter().any(|row| row.key == *key));
        }
        self.honest.is_referenced(key).await
    }

    async fn restore(&self, attachment: &Attachment) -> Result<()> {
        self.seen().restored.insert(attachment.id.clone());
        if self.lies(Lie::RenamesWhatItRestores) {
            let renamed = Attachment {
                key: ObjectKey::new(&attachment.id, attachment.owner.is_some(), None),
                ..attachment.clone()
            };
            return self.honest.restore(&renamed).await;
        }
        match self.honest.restore(attachment).await {
            Err(error)
                if error.kind() == ErrorKind::Conflict && self.lies(Lie::RestoresSilently) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    async fn note_store_tags(
        &self,
        mut tags: Vec<(AttachmentId, Option<String>)>,
    ) -> Result<Vec<bool>> {
        let asked = tags.len();
        match self.lie {
            Lie::KeepsTheFirstTag => return Ok(vec![true; asked]),
            Lie::NotesTheFirstTag => tags.truncate(1),
            _ => {}
        }
        let mut noted = self.honest.note_store_tags(tags).await?;
        noted.resize(asked, true);
        let lies = self.lies(Lie::NotesWhatIsNotReady);
        Ok(noted.into_iter().map(|noted| noted || lies).collect())
    }

    fn moves(&self) -> Option<&dyn MoveNotes> {
        Some(self)
    }

    async fn totals(&self) -> Result<Totals> {
        let mut totals = self.honest.totals().await?;
        match self.lie {
            Lie::CountsGhosts => totals.attachments += 1,
            Lie::CountsNothingRestored => {
                let restored = self.seen().restored.len() as u64;
                totals.attachments = totals.attachments.saturating_sub(restored);
            }
            _ => {}
        }
        Ok(totals)
    }

    async fn probe(&self) -> Result<()> {
        if self.lies(Lie::ProbesFail) {
            return Err(Error::internal("down"));
        }
        self.honest.probe().await
    }

    async fn close(&self) {
        if !self.lies(Lie::WorksAfterClose) {
            self.honest.close().await;
        }
    }
}

#[async_trait]
impl MoveNotes for Liar {
    async fn note_move(&self, note: &MoveNote) -> Result<()> {
        let mut told = note.clone();
        match self.lie {
            Lie::NotesWhoeverCameLast => told.is_whole = true,
            Lie::NeverGoesBack => told.is_whole = false,
            _ => {}
        }
        self.honest.note_move(&told).await
    }

    async fn noted_move(&self) -> Result<Option<MoveNote>> {
        self.honest.noted_move().await
    }

    async fn uploading(
        &self,
        after: Option<&AttachmentId>,
        limit: u32,
    ) -> Result<Vec<AttachmentId>> {
        let mut named = self.honest.uploading(after, limit).await?;
        match self.lie {
            Lie::NamesNoUploads => named.clear(),
            Lie::NamesWhatIsUploaded => named.extend(self.seen().committed.keys().cloned()),
            _ => {}
        }
        Ok(named)
    }
}

fn liar(lie: Lie) -> (Shared, tempfile::TempDir) {
    let (honest, folder) = crate::open::file();
    let liar = Liar {
        lie,
        honest,
        seen: Mutex::default(),
        reading: AtomicUsize::default(),
    };
    (Arc::new(liar), folder)
}

/// `$lie` breaks `$promise`, and its test says so.
macro_rules! caught {
    ($($lie:ident by $about:ident::$promise:ident;)*) => {$(
        #[tokio::test]
        #[allow(non_snake_case, reason = "the test is named as the lie")]
        async fn $lie() {
            let (liar, _folder) = liar(Lie::$lie);
            let judged = tokio::spawn(async move { $about::$promise(&liar).await });
            let verdict = judged.await.expect_err("the lie goes through");
            assert!(verdict.is_panic());
        }
    )*};
}

caught! {
    ProbesFail by calls::a_new_catalog_is_empty_and_answers;
    CountsGhosts by calls::a_new_catalog_is_empty_and_answers;
    CommitsOnce by calls::every_method_may_be_repeated;
    TakesOtherBytesForARepetition by calls::every_method_may_be_repeated;
    ReservesInAddition by calls::every_method_may_be_repeated;
    HoldsDroppedReads by calls::reads_that_are_dropped_are_in_nobodys_way;
    HalvesDroppedWrites by calls::writes_that_are_dropped_happen_or_do_not;
    WorksAfterClose by calls::nothing_works_after_close;
    FindsWhatIsRetired by uploads::an_attachment_is_there_between_commit_and_retire;
    FindsWhatIsPending by uploads::an_attachment_is_there_between_commit_and_retire;
    ForgetsWhatItRetires by uploads::an_attachment_is_there_between_commit_and_retire;
    LosesAuthors by uploads::what_was_drafted_is_what_is_found;
    RoundsTimes by uploads::what_was_drafted_is_what_is_found;
    ManglesNames by uploads::what_was_drafted_is_what_is_found;
    LosesCharsets by uploads::a_commit_settles_in_which_charset_a_text_is;
    TakesIdsTwice by uploads::begin_refuses_an_id_or_a_key_that_is_taken;
    ReservesForNobody by uploads::commit_and_reserve_need_a_pending_upload;
    IgnoresIdempotencyKeys by uploads::a_repeated_idempotency_key_returns_the_first_result;
    SaysRetryToNobody by uploads::an_idempotency_key_is_refused_while_its_upload_runs_or_for_another_file;
    SaysRetryToEverybody by uploads::an_idempotency_key_is_refused_while_its_upload_runs_or_for_another_file;
    KeepsKeysOfWhatIsRetired by uploads::retiring_frees_the_idempotency_key;
    IgnoresQuotas by quota::uploads_at_once_cannot_overshoot_the_quota_together;
    ReservesBeyondQuotas by quota::a_reservation_is_raised_within_the_quota_or_stays;
    KeepsSharesOfWhatIsRetired by quota::what_is_retired_frees_its_share_at_once;
    ListsOldestFirst by listings::pages_hold_every_attachment_once_newest_first;
    SkipsWhatIsOfOneMoment by listings::pages_hold_every_attachment_once_newest_first;
    ListsAllOwners by listings::pages_of_an_owner_hold_its_attachments_alone;
    ListsWhatIsHidden by listings::a_listing_holds_what_its_reader_may_see_and_nothing_else;
    WalksBackwards by listings::a_walk_holds_every_ready_attachment_once_in_the_order_of_keys;
    FinishesNothing by deletions::unfinished_names_what_is_retired_and_nothing_that_is_worked_on;
    SweepsWhatIsWorkedOn by deletions::unfinished_names_what_is_retired_and_nothing_that_is_worked_on;
    ForgetsWhatIsReady by deletions::unfinished_names_what_is_retired_and_nothing_that_is_worked_on;
    AbandonsWhatIsReady by deletions::a_process_abandons_its_own_uploads_and_no_attachment;
    KeepsWhatIsAbandoned by deletions::a_process_abandons_its_own_uploads_and_no_attachment;
    TakesOverWhatIsWorkedOn by deletions::nobody_takes_over_what_is_worked_on;
    TakesOverNothing by deletions::nobody_takes_over_what_is_worked_on;
    IsNobody by deletions::nobody_takes_over_what_is_worked_on;
    NamesWhatIsReadyAlone by deletions::names_knows_the_objects_of_rows_in_every_state;
    CountsNothingRestored by repair::what_is_restored_is_as_it_was_and_counts;
    RenamesWhatItRestores by repair::a_row_may_name_an_object_that_another_program_named;
    RestoresSilently by repair::restore_refuses_an_id_or_a_key_that_is_taken;
    KeepsTheFirstTag by repair::what_the_store_calls_a_version_is_kept_until_another_is_noted;
    NotesWhatIsNotReady by repair::what_the_store_calls_a_version_is_kept_until_another_is_noted;
    NotesTheFirstTag by repair::what_the_store_calls_a_version_is_kept_until_another_is_noted;
    NotesWhoeverCameLast by moves::the_furthest_of_several_who_move_is_what_is_noted;
    NeverGoesBack by moves::a_move_that_has_seen_all_or_goes_elsewhere_replaces_what_was_noted;
    NamesNoUploads by moves::uploads_in_progress_are_named_whatever_their_size_and_nothing_else_is;
    NamesWhatIsUploaded by moves::uploads_in_progress_are_named_whatever_their_size_and_nothing_else_is;
}

/// The wrapper itself breaks nothing: what is caught is the lie.
async fn honest() -> Fresh<dyn Catalog> {
    let (liar, folder) = liar(Lie::NotAtAll);
    Fresh::new(liar).on(folder)
}

catalog_suite!(without_a_lie: honest);
