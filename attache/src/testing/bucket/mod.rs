//! The promises of [`Bucket`](crate::storage::bucket::Bucket), a function each, by what they are about.
//!
//! Each gets an empty bucket of its own, and panics if the bucket breaks what the function is named for.
#![allow(missing_docs, reason = "a promise is its name")]

pub mod conditions;
pub mod get;
pub mod keys;
pub mod list;
pub mod parts;
pub mod properties;
pub mod put;
pub mod whole;

/// Binds a bucket to the promises of [`Bucket`](crate::storage::bucket::Bucket): makes a module with a test for each of them.
///
/// `bucket_suite!(name: open)` makes `mod name`. `open` is an async function or closure that opens an empty bucket which nobody else
/// uses, and returns a [`Fresh`](crate::testing::Fresh) bucket, or an `Option` of one: `None` skips the test. It is called once a
/// test. Items beside the macro can be named in it.
///
/// `bucket_suite!(name: open, of an emulator)` leaves out what emulators of S3 do not do: they look at no conditions when an upload in
/// parts is completed, and have no names for some keys.
#[doc(hidden)]
#[macro_export]
macro_rules! __bucket_suite {
    ($suite:ident: $open:expr, of an emulator) => {
        #[cfg(test)]
        mod $suite {
            #[allow(
                unused_imports,
                reason = "what opens a backend may name nothing of the file around it"
            )]
            use super::*;
            $crate::testing::bucket_suite!(@most $open);
        }
    };
    ($suite:ident: $open:expr) => {
        #[cfg(test)]
        mod $suite {
            #[allow(
                unused_imports,
                reason = "what opens a backend may name nothing of the file around it"
            )]
            use super::*;
            $crate::testing::bucket_suite!(@most $open);
            $crate::__promises! { bucket $open;
                conditions {
                    two_that_must_be_absent_have_one_winner
                    a_condition_must_hold_until_the_bytes_have_come
                }
                keys {
                    any_key_names_an_object_of_its_own
                    a_prefix_is_what_unusual_keys_begin_with
                }
            }
        }
    };
    (@most $open:expr) => {
        $crate::__promises! { bucket $open;
            put {
                an_object_comes_back_as_it_was_put_by_get_head_and_list
                an_object_is_replaced_with_all_that_belongs_to_it
                a_put_changes_nothing_when_its_body_fails
                a_put_dropped_at_any_moment_is_done_or_not_done
                readers_see_the_old_object_or_the_new_one
                two_puts_at_once_leave_one_of_them_whole
                a_deleted_object_is_gone_and_nothing_else_and_an_absent_one_is_success
            }
            conditions {
                an_object_that_must_be_absent_is_made_once
                an_object_that_must_match_replaces_that_one_alone
            }
            get {
                any_range_is_read_and_one_across_the_end_is_cut
                a_range_behind_the_end_is_bad_range_and_an_absent_object_not_found
                a_version_is_read_while_it_is_there
                what_is_read_is_of_one_version
                an_offer_needs_no_object_and_a_probe_succeeds
            }
            properties {
                all_properties_come_back_as_they_were
                unusual_properties_come_back_as_they_were
                a_checksum_that_the_body_computed_is_kept
                properties_are_replaced_and_the_bytes_stay
                properties_are_replaced_of_the_version_that_is_meant
            }
            keys {
                a_key_may_be_the_front_of_another
            }
            list {
                pages_of_any_size_have_all_in_order_each_once
                a_page_after_any_key_begins_behind_it
                what_has_the_delimiter_behind_the_prefix_is_one_common_prefix
                a_listing_goes_on_behind_a_common_prefix
                an_empty_listing_has_no_next_page
                what_was_removed_meanwhile_does_not_stop_a_listing
            }
            parts {
                parts_that_came_in_any_order_become_one_object
                parts_are_told_in_order_a_few_at_a_time
                a_part_that_is_put_again_takes_the_place_of_the_first
                a_part_that_was_begun_later_stays_although_it_ends_first
                a_part_whose_body_fails_leaves_the_one_that_was_there
                a_part_dropped_at_any_moment_does_no_harm
                an_empty_part_is_a_part
                two_uploads_of_one_key_do_not_mix
                an_aborted_upload_is_gone
                aborting_leaves_what_is_under_the_key
                uploads_that_run_are_told_or_none
                an_upload_that_runs_is_told_with_its_checksum_or_not_at_all
            }
            whole {
                parts_that_were_not_stored_so_change_nothing
                parts_that_are_not_named_are_given_up
                what_was_completed_can_be_completed_again
                completing_replaces_what_is_there_if_it_may
                the_checksum_of_a_whole_is_kept_and_must_be_the_one_that_was_expected
                a_put_meanwhile_ends_an_upload_or_does_not_touch_it
            }
        }
    };
}
