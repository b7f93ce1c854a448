//! The suite of buckets, tested: buckets that lie in one way each, and the promise that catches each of them.

#[path = "liar.rs"]
mod liar;

use std::sync::Arc;

use attache::storage::bucket::Bucket;
use attache::testing::bucket::{conditions, get, keys, list, parts, properties, put, whole};
use attache::testing::buckets::Pail;
use attache::testing::{Fresh, LIMIT, bucket_suite};
use liar::Liar;

/// `$lie` breaks `$promise`, and its test says so.
macro_rules! caught {
    ($($lie:ident by $about:ident::$promise:ident;)*) => {
        /// One way to lie.
        #[derive(Clone, Copy, Debug, PartialEq)]
        enum Lie {
            NotAtAll,
            $($lie,)*
        }

        $(
            #[tokio::test]
            #[allow(non_snake_case, reason = "the test is named as the lie")]
            async fn $lie() {
                let (liar, _folder) = liar(Lie::$lie).await;
                let judged = tokio::spawn(async move { $about::$promise(&liar).await });
                let judged = tokio::time::timeout(LIMIT, judged).await.expect("it is judged");
                let verdict = judged.expect_err("the lie goes through");
                assert!(verdict.is_panic());
            }
        )*
    };
}

caught! {
    TagsWithVersions by put::an_object_comes_back_as_it_was_put_by_get_head_and_list;
    KeepsOldProperties by put::an_object_is_replaced_with_all_that_belongs_to_it;
    CommitsFailedBodies by put::a_put_changes_nothing_when_its_body_fails;
    RewordsBodyErrors by put::a_put_changes_nothing_when_its_body_fails;
    ShowsUnfinishedPuts by put::a_put_dropped_at_any_moment_is_done_or_not_done;
    DeletesBeforeItReplaces by put::readers_see_the_old_object_or_the_new_one;
    RefusesWhatRuns by put::two_puts_at_once_leave_one_of_them_whole;
    DeletesNothing by put::a_deleted_object_is_gone_and_nothing_else_and_an_absent_one_is_success;
    DeletesFolders by put::a_deleted_object_is_gone_and_nothing_else_and_an_absent_one_is_success;
    InventsAbsentObjects by put::a_deleted_object_is_gone_and_nothing_else_and_an_absent_one_is_success;
    MissesDeletes by put::a_deleted_object_is_gone_and_nothing_else_and_an_absent_one_is_success;
    IgnoresAbsent by conditions::an_object_that_must_be_absent_is_made_once;
    LetsAllWin by conditions::two_that_must_be_absent_have_one_winner;
    IgnoresMatches by conditions::an_object_that_must_match_replaces_that_one_alone;
    LooksBeforeTheBytes by conditions::a_condition_must_hold_until_the_bytes_have_come;
    IgnoresRanges by get::any_range_is_read_and_one_across_the_end_is_cut;
    ServesEmptyRanges by get::a_range_behind_the_end_is_bad_range_and_an_absent_object_not_found;
    IgnoresVersions by get::a_version_is_read_while_it_is_there;
    MixesVersions by get::what_is_read_is_of_one_version;
    ProbesFail by get::an_offer_needs_no_object_and_a_probe_succeeds;
    ForgetsProperties by properties::all_properties_come_back_as_they_were;
    TrimsValues by properties::unusual_properties_come_back_as_they_were;
    ForgetsChecksums by properties::a_checksum_that_the_body_computed_is_kept;
    SetsNothing by properties::properties_are_replaced_and_the_bytes_stay;
    MergesProperties by properties::properties_are_replaced_and_the_bytes_stay;
    SetsAnyVersion by properties::properties_are_replaced_of_the_version_that_is_meant;
    TakesKeysForPaths by keys::any_key_names_an_object_of_its_own;
    HasFoldersInTheWay by keys::a_key_may_be_the_front_of_another;
    TakesPrefixesForFolders by keys::a_prefix_is_what_unusual_keys_begin_with;
    ListsBackwards by list::pages_of_any_size_have_all_in_order_each_once;
    SkipsBetweenPages by list::pages_of_any_size_have_all_in_order_each_once;
    ForgetsWhereItWas by list::a_page_after_any_key_begins_behind_it;
    BeginsAtTheKey by list::a_page_after_any_key_begins_behind_it;
    ListsPrefixesTwice by list::what_has_the_delimiter_behind_the_prefix_is_one_common_prefix;
    RepeatsCommonPrefixes by list::a_listing_goes_on_behind_a_common_prefix;
    AlwaysHasMore by list::an_empty_listing_has_no_next_page;
    NeedsWhatItListed by list::what_was_removed_meanwhile_does_not_stop_a_listing;
    ShowsUnfinishedUploads by parts::parts_that_came_in_any_order_become_one_object;
    ForgetsParts by parts::parts_are_told_in_order_a_few_at_a_time;
    TellsPartsBackwards by parts::parts_are_told_in_order_a_few_at_a_time;
    TellsAllParts by parts::parts_are_told_in_order_a_few_at_a_time;
    KeepsTheFirstPart by parts::a_part_that_is_put_again_takes_the_place_of_the_first;
    LetsOlderPartsWin by parts::a_part_that_was_begun_later_stays_although_it_ends_first;
    KeepsFailedParts by parts::a_part_whose_body_fails_leaves_the_one_that_was_there;
    ShowsUnfinishedParts by parts::a_part_dropped_at_any_moment_does_no_harm;
    RefusesEmptyParts by parts::an_empty_part_is_a_part;
    HasOneUploadAKey by parts::two_uploads_of_one_key_do_not_mix;
    AbortsNothing by parts::an_aborted_upload_is_gone;
    AbortsOnce by parts::an_aborted_upload_is_gone;
    AbortsObjects by parts::aborting_leaves_what_is_under_the_key;
    TellsOneUploadAKey by parts::uploads_that_run_are_told_or_none;
    ForgetsPlannedChecksums by parts::an_upload_that_runs_is_told_with_its_checksum_or_not_at_all;
    IgnoresTagsOfParts by whole::parts_that_were_not_stored_so_change_nothing;
    KeepsUnnamedParts by whole::parts_that_are_not_named_are_given_up;
    CompletesOnce by whole::what_was_completed_can_be_completed_again;
    ReplacesWhatItMayNot by whole::completing_replaces_what_is_there_if_it_may;
    TrustsChecksumsOfWholes by whole::the_checksum_of_a_whole_is_kept_and_must_be_the_one_that_was_expected;
    TakesAnythingForARepetition by whole::a_put_meanwhile_ends_an_upload_or_does_not_touch_it;
}

/// Over a true one, of a folder that must be kept.
async fn liar(lie: Lie) -> (Pail, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let honest = super::bucket(&folder);
    honest.create().await.expect("made");
    (Arc::new(Liar::new(lie, honest)), folder)
}

/// The wrapper itself breaks nothing: what is caught is the lie.
async fn honest() -> Fresh<dyn Bucket> {
    let (liar, folder) = liar(Lie::NotAtAll).await;
    Fresh::new(liar).on(folder)
}

bucket_suite!(without_a_lie: honest);
