//! The promises of [`Catalog`](crate::catalog::Catalog), a function each, by what they are about.
//!
//! Each gets an empty catalog of its own, and panics if the catalog breaks what the function is named for.
#![allow(missing_docs, reason = "a promise is its name")]

pub mod calls;
pub mod deletions;
pub mod listings;
pub mod moves;
pub mod partial;
pub mod quota;
pub mod repair;
pub mod uploads;

/// Binds a catalog to the promises of [`Catalog`](crate::catalog::Catalog): makes a module with a test for each of them.
///
/// `catalog_suite!(name: open)` makes `mod name`. `open` is an async function or closure that opens an empty catalog which nobody
/// else uses, and returns a [`Fresh`](crate::testing::Fresh) catalog, or an `Option` of one: `None` skips the test. It is called
/// once a test. Items beside the macro can be named in it.
///
/// ```
/// # fn main() {}
/// # use attache::catalog::sqlite::SqliteCatalog as Mine;
/// use attache::catalog::Catalog;
/// use attache::testing::{Fresh, catalog_suite};
///
/// async fn open() -> Fresh<dyn Catalog> {
///     let folder = tempfile::tempdir().expect("a temporary folder");
///     let catalog = Mine::open(&folder.path().join("mine.db")).expect("a new file");
///     Fresh::catalog(catalog).on(folder)
/// }
///
/// catalog_suite!(mine: open);
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! __catalog_suite {
    ($suite:ident: $open:expr) => {
        #[cfg(test)]
        mod $suite {
            #[allow(
                unused_imports,
                reason = "what opens a backend may name nothing of the file around it"
            )]
            use super::*;
            $crate::__promises! { catalog $open;
                calls {
                    a_new_catalog_is_empty_and_answers
                    every_method_may_be_repeated
                    reads_that_are_dropped_are_in_nobodys_way
                    writes_that_are_dropped_happen_or_do_not
                    nothing_works_after_close
                }
                uploads {
                    an_attachment_is_there_between_commit_and_retire
                    what_was_drafted_is_what_is_found
                    a_commit_settles_in_which_charset_a_text_is
                    begin_refuses_an_id_or_a_key_that_is_taken
                    commit_and_reserve_need_a_pending_upload
                    a_repeated_idempotency_key_returns_the_first_result
                    an_idempotency_key_is_refused_while_its_upload_runs_or_for_another_file
                    retiring_frees_the_idempotency_key
                }
                quota {
                    uploads_at_once_cannot_overshoot_the_quota_together
                    a_reservation_is_raised_within_the_quota_or_stays
                    what_is_retired_frees_its_share_at_once
                }
                listings {
                    pages_hold_every_attachment_once_newest_first
                    pages_of_an_owner_hold_its_attachments_alone
                    a_listing_holds_what_its_reader_may_see_and_nothing_else
                    a_walk_holds_every_ready_attachment_once_in_the_order_of_keys
                }
                deletions {
                    unfinished_names_what_is_retired_and_nothing_that_is_worked_on
                    names_knows_the_objects_of_rows_in_every_state
                    a_process_abandons_its_own_uploads_and_no_attachment
                    nobody_takes_over_what_is_worked_on
                }
                partial {
                    what_was_created_is_found_as_it_was_and_costs_what_it_reserves
                    create_refuses_what_could_never_fit_and_a_key_that_is_taken
                    each_request_has_a_new_epoch_and_what_a_former_one_writes_does_not_count
                    a_step_counts_its_bytes_once_and_keeps_what_it_says
                    a_step_beyond_the_quota_changes_nothing
                    whoever_holds_an_upload_learns_that_it_was_taken_or_is_gone
                    an_upload_that_is_whole_is_named_until_it_is_an_attachment
                    how_far_a_completed_upload_was_is_remembered_for_a_while
                    what_has_expired_is_not_there_and_what_is_retired_neither
                    of_a_direct_upload_it_is_known_when_it_was_begun_until_it_is_forgotten
                    what_has_expired_is_named_unless_a_request_works_on_it
                    an_upload_in_parts_is_in_progress_while_a_request_holds_it
                    uploads_that_wait_are_counted_and_listed_in_the_order_of_their_beginnings
                }
                moves {
                    the_furthest_of_several_who_move_is_what_is_noted
                    a_move_that_has_seen_all_or_goes_elsewhere_replaces_what_was_noted
                    uploads_in_progress_are_named_whatever_their_size_and_nothing_else_is
                }
                repair {
                    what_is_restored_is_as_it_was_and_counts
                    a_row_may_name_an_object_that_another_program_named
                    restore_refuses_an_id_or_a_key_that_is_taken
                    what_the_store_calls_a_version_is_kept_until_another_is_noted
                }
            }
        }
    };
}
