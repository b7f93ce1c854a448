//! The promises of [`attache::storage::Storage`], kept by every backend.
//!
//! `storage/promises.rs` holds one function per promise; `storage/multipart.rs` those of uploads in parts. [`bind!`] makes a test of each for one backend; a new backend
//! is bound by a function that opens an empty store, and one line. `storage/liars.rs` shows that the promises can be
//! broken: stores that lie in one way each are caught.

mod common;
#[path = "storage/liars.rs"]
mod liars;
#[path = "storage/multipart.rs"]
mod multipart;
#[path = "storage/multipart_liars.rs"]
mod multipart_liars;
#[path = "storage/promises.rs"]
mod promises;

use attache::storage::local::{LocalConfig, LocalStorage};
use attache::storage::memory::MemoryStorage;
use common::Backend;

/// One test per promise, for the backend that `$open` opens; `None` skips.
macro_rules! bind {
    ($($backend:ident)*) => {$(
        mod $backend {
            bind!(@each $backend promises:
                probe_succeeds
                get_returns_what_was_put_whole_and_any_range
                a_range_behind_the_end_is_bad_range_and_one_across_it_is_cut
                get_of_an_absent_object_is_not_found
                an_empty_object_can_be_put_listed_read_and_deleted
                a_body_of_unknown_length_is_stored_whole
                put_commits_nothing_when_the_body_fails
                put_refuses_to_overwrite_and_leaves_the_first_object_alone
                two_puts_at_once_have_one_winner
                many_puts_at_once_share_a_small_budget
                a_put_dropped_at_any_moment_is_done_or_not_done
                dropping_a_put_leaves_nothing_visible
                discard_removes_what_an_interrupted_put_left
                discard_removes_an_object_and_nothing_is_success
                readers_at_once_do_not_disturb_each_other
                dropping_a_get_frees_the_storage
                delete_removes_one_object_for_good
                delete_of_an_absent_object_is_success
                list_is_ascending_complete_each_once_and_resumes_after_a_key
                facts_digests_and_unusual_names_travel_with_the_object
                the_charset_of_a_text_travels_with_it_once_all_of_it_has_passed
                head_tells_what_get_tells_and_is_nothing_for_an_absent_object
                facts_can_be_written_again_and_the_bytes_stay
                an_offer_needs_no_object
                tidy_takes_nothing_that_is_in_use
            );
            bind!(@each $backend multipart:
                parts_that_came_in_any_order_become_one_object
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
            );
        }
    )*};
    (@each $backend:ident $file:ident: $($promise:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            if let Some(backend) = crate::open::$backend().await {
                crate::$file::$promise(&backend.storage).await;
            }
        }
    )*};
}

bind!(memory local fake_azure_with_client_secret fake_azure_with_account_key azurite_with_client_secret azurite_with_connection_string);

/// An empty store of each backend.
mod open {
    use super::*;

    pub(crate) async fn memory() -> Option<Backend> {
        Some(Backend::new(MemoryStorage::new(), ()))
    }

    pub(crate) async fn local() -> Option<Backend> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("objects");
        let storage = LocalStorage::open(&LocalConfig { root }).expect("a writable folder");
        Some(Backend::new(storage, folder))
    }

    pub(crate) async fn fake_azure_with_client_secret() -> Option<Backend> {
        let fake = common::fake().await;
        let storage = common::open(&common::with_client_secret(&fake));
        Some(Backend::new(storage, fake))
    }

    pub(crate) async fn fake_azure_with_account_key() -> Option<Backend> {
        let fake = common::fake().await;
        let storage = common::open(&common::with_account_key(&fake));
        Some(Backend::new(storage, fake))
    }

    pub(crate) async fn azurite_with_client_secret() -> Option<Backend> {
        let entra = common::fake().await;
        let config = common::azurite_with_client_secret(&entra).await?;
        Some(Backend::new(common::open(&config), entra))
    }

    pub(crate) async fn azurite_with_connection_string() -> Option<Backend> {
        let config = common::azurite_with_connection_string().await?;
        Some(Backend::new(common::open(&config), ()))
    }
}
