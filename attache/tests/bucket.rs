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

/// An empty bucket of each backend.
mod open {
    use super::*;

    /// The container of this configuration.
    fn bucket_of(config: &AzureConfig) -> Arc<dyn Bucket> {
        let storage: AzureStorage = common::open(config);
        let container = config.container.clone().expect("a container");
        let bucket = storage.bucket(&BucketPlace { container });
        bucket.expect("a name").expect("it has buckets")
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
}
