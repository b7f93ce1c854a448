//! The promises of [`attache::storage::bucket::Bucket`], kept by every backend.

mod common;

use std::sync::Arc;

use attache::storage::Storage;
use attache::storage::azure::{AzureConfig, AzureStorage};
use attache::storage::bucket::{Bucket, BucketPlace};
use attache::testing::{Fresh, bucket_suite};

bucket_suite!(fake_azure_with_client_secret: open::fake_azure_with_client_secret);
bucket_suite!(fake_azure_with_account_key: open::fake_azure_with_account_key);
bucket_suite!(azurite_with_client_secret: open::azurite_with_client_secret);
bucket_suite!(azurite_with_connection_string: open::azurite_with_connection_string);
/// All but what moto cannot keep: it looks at no conditions when an upload is completed, and has no names for some keys.
mod s3_on_moto {
    use super::open::s3_on_moto as open;

    attache::__promises! { bucket open;
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
}

bucket_suite!(fake_s3: open::fake_s3);
bucket_suite!(fake_s3_with_versions: open::fake_s3_with_versions);
bucket_suite!(fake_gcs: open::fake_gcs);

/// An empty bucket of each backend.
mod open {
    use super::*;

    /// The container of this configuration.
    fn bucket_of(config: &AzureConfig) -> Arc<dyn Bucket> {
        let storage: AzureStorage = common::open(config);
        beside(&storage, config.container.as_deref().expect("a container"))
    }

    pub(crate) async fn fake_azure_with_client_secret() -> Option<Fresh<dyn Bucket>> {
        let fake = common::fake().await;
        let bucket = bucket_of(&common::with_client_secret(&fake));
        Some(Fresh::new(bucket).on(fake))
    }

    pub(crate) async fn fake_azure_with_account_key() -> Option<Fresh<dyn Bucket>> {
        let fake = common::fake().await;
        let bucket = bucket_of(&common::with_account_key(&fake));
        Some(Fresh::new(bucket).on(fake))
    }

    pub(crate) async fn azurite_with_client_secret() -> Option<Fresh<dyn Bucket>> {
        let entra = common::fake().await;
        let config = common::azurite_with_client_secret(&entra).await?;
        Some(Fresh::new(bucket_of(&config)).on(entra))
    }

    pub(crate) async fn azurite_with_connection_string() -> Option<Fresh<dyn Bucket>> {
        let config = common::azurite_with_connection_string().await?;
        Some(Fresh::new(bucket_of(&config)))
    }

    /// The bucket of such a store.
    fn beside(storage: &impl Storage, name: &str) -> Arc<dyn Bucket> {
        let container = name.to_owned();
        let bucket = storage.bucket(&BucketPlace { container });
        bucket.expect("a name").expect("it has buckets")
    }

    pub(crate) async fn s3_on_moto() -> Option<Fresh<dyn Bucket>> {
        let config = common::s3_on_moto().await?;
        let name = config.bucket.clone().expect("a bucket");
        Some(Fresh::new(beside(&common::open_s3(&config), &name)))
    }

    pub(crate) async fn fake_s3() -> Option<Fresh<dyn Bucket>> {
        let fake = common::fake_s3().await;
        let storage = common::open_s3(&common::on_s3(&fake));
        Some(Fresh::new(beside(&storage, common::CONTAINER)).on(fake))
    }

    pub(crate) async fn fake_s3_with_versions() -> Option<Fresh<dyn Bucket>> {
        let fake = common::fake_s3().await;
        fake.set_versioning(common::CONTAINER, ::fake_s3::Versioning::Enabled);
        let storage = common::open_s3(&common::on_s3(&fake));
        Some(Fresh::new(beside(&storage, common::CONTAINER)).on(fake))
    }

    pub(crate) async fn fake_gcs() -> Option<Fresh<dyn Bucket>> {
        let fake = common::fake_gcs().await;
        let storage = common::open_gcs(&common::on_gcs(&fake));
        Some(Fresh::new(beside(&storage, common::CONTAINER)).on(fake))
    }
}
