//! The promises of [`Storage`](crate::storage::Storage), a function each, by what they are about; those of
//! [`Multipart`](crate::storage::Multipart) are in [`multipart`].
//!
//! Each gets an empty store of its own, and panics if the store breaks what the function is named for.
#![allow(missing_docs, reason = "a promise is its name")]

use super::objects::Store;

pub mod delete;
pub mod get;
pub mod list;
pub mod metadata;
pub mod multipart;
pub mod put;

/// For a store that is bound without `multipart`: what it cannot do it does not offer.
pub async fn no_parts_are_offered_without_the_suite_of_parts(store: &Store) {
    assert!(
        store.multipart().is_none(),
        "it takes parts: bind it as `storage_suite!(name: open, multipart)`"
    );
}

/// Binds a store to the promises of [`Storage`](crate::storage::Storage): makes a module with a test for each of them.
///
/// `storage_suite!(name: open)` makes `mod name`. `open` is an async function or closure that opens an empty store which nobody
/// else uses, and returns a [`Fresh`](crate::testing::Fresh) store, or an `Option` of one: `None` skips the test. It is called
/// once a test. Items beside the macro can be named in it.
///
/// `storage_suite!(name: open, multipart)` adds the promises of [`Multipart`](crate::storage::Multipart), for a store that takes
/// uploads in parts.
#[doc(hidden)]
#[macro_export]
macro_rules! __storage_suite {
    ($suite:ident: $open:expr) => {
        #[cfg(test)]
        mod $suite {
            #[allow(unused_imports, reason = "what opens a backend may name nothing of the file around it")]
            use super::*;
            $crate::testing::storage_suite!(@whole $open);
            #[test]
            fn no_parts_are_offered_without_the_suite_of_parts() {
                $crate::testing::keep(
                    $open,
                    $crate::testing::storage::no_parts_are_offered_without_the_suite_of_parts,
                );
            }
        }
    };
    ($suite:ident: $open:expr, multipart) => {
        #[cfg(test)]
        mod $suite {
            #[allow(unused_imports, reason = "what opens a backend may name nothing of the file around it")]
            use super::*;
            $crate::testing::storage_suite!(@whole $open);
            $crate::__promises! { storage $open;
                multipart {
                    parts_that_came_in_any_order_become_one_object
                    bytes_in_memory_are_a_part_as_those_of_a_body_are
                    what_is_known_of_the_whole_is_kept_with_it
                    an_upload_without_parts_is_an_empty_object
                    what_names_an_upload_and_its_parts_survives_as_text
                    a_part_that_is_put_again_replaces_the_first
                    a_part_whose_body_fails_or_has_another_length_is_not_there
                    a_part_dropped_at_any_moment_does_no_harm
                    what_was_completed_can_be_completed_again
                    completing_leaves_an_object_alone_that_is_there_already
                    an_aborted_upload_is_gone_and_its_key_free
                    aborting_what_was_completed_leaves_the_object
                    tidy_leaves_an_upload_alone
                    numbers_that_do_not_ascend_are_refused
                }
            }
        }
    };
    (@whole $open:expr) => {
        $crate::__promises! { storage $open;
            put {
                an_empty_object_can_be_put_listed_read_and_deleted
                a_body_of_unknown_length_is_stored_whole
                a_store_that_computes_md5_tells_and_keeps_that_of_what_came_in_one_block
                put_commits_nothing_when_the_body_fails
                put_refuses_to_overwrite_and_leaves_the_first_object_alone
                two_puts_at_once_have_one_winner
                many_puts_at_once_share_a_small_budget
                a_put_dropped_at_any_moment_is_done_or_not_done
                dropping_a_put_leaves_nothing_visible
            }
            get {
                get_returns_what_was_put_whole_and_any_range
                a_range_behind_the_end_is_bad_range_and_one_across_it_is_cut
                open_has_the_bytes_of_get_and_a_file_another_version_once_it_is_another_one
                get_of_an_absent_object_is_not_found
                readers_at_once_do_not_disturb_each_other
                a_body_that_is_suspended_goes_on_where_it_was
                dropping_a_get_frees_the_storage
            }
            delete {
                discard_removes_what_an_interrupted_put_left
                discard_removes_an_object_and_nothing_is_success
                tidying_up_leaves_the_object_and_where_there_is_none_it_is_success
                delete_removes_one_object_for_good
                delete_of_an_absent_object_is_success
                tidy_takes_nothing_that_is_in_use
            }
            list {
                list_is_ascending_complete_each_once_and_resumes_after_a_key
                what_other_programs_stored_is_listed_apart_in_order_each_once
            }
            metadata {
                probe_succeeds
                facts_digests_and_unusual_names_travel_with_the_object
                the_charset_of_a_text_travels_with_it_once_all_of_it_has_passed
                head_tells_what_get_tells_and_is_nothing_for_an_absent_object
                facts_can_be_written_again_and_the_bytes_stay
                an_offer_needs_no_object
            }
        }
    };
}
