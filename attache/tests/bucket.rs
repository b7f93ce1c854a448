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
bucket_suite!(s3_on_moto: open::s3_on_moto, of an emulator);
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
