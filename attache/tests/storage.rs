//! The promises of [`attache::storage::Storage`], kept by every backend.
//!
//! The promises are in [`attache::testing`]; a new backend is bound by a function that opens an empty store, and one line.
//! `storage/liars.rs` shows that the promises can be broken: stores that lie in one way each are caught.

mod common;
#[path = "storage/liars.rs"]
mod liars;
#[path = "storage/multipart_liars.rs"]
mod multipart_liars;

use std::sync::Arc;

use attache::storage::local::{LocalConfig, LocalStorage};
use attache::storage::memory::MemoryStorage;
use attache::storage::{Moving, Storage};
use attache::testing::{Fresh, storage_suite};

storage_suite!(memory: open::memory, multipart);
storage_suite!(local: open::local, multipart);
storage_suite!(memory_while_a_folder_is_moved_into_it: open::moving, multipart);
storage_suite!(fake_azure_with_client_secret: open::fake_azure_with_client_secret, multipart);
storage_suite!(fake_azure_with_account_key: open::fake_azure_with_account_key, multipart);
storage_suite!(azurite_with_client_secret: open::azurite_with_client_secret, multipart);
storage_suite!(azurite_with_connection_string: open::azurite_with_connection_string, multipart);
storage_suite!(s3_on_moto: open::s3_on_moto, multipart);
storage_suite!(fake_s3: open::fake_s3, multipart);
storage_suite!(fake_s3_with_versions: open::fake_s3_with_versions, multipart);
storage_suite!(fake_gcs: open::fake_gcs, multipart);

/// An empty store of each backend.
mod open {
    use super::*;

    pub(crate) async fn memory() -> Option<Fresh<dyn Storage>> {
        Some(Fresh::storage(MemoryStorage::new()))
    }

    pub(crate) async fn local() -> Option<Fresh<dyn Storage>> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("objects");
        let storage = LocalStorage::open(&LocalConfig { root }).expect("a writable folder");
        Some(Fresh::storage(storage).on(folder))
    }

    pub(crate) async fn moving() -> Option<Fresh<dyn Storage>> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("objects");
        let from = LocalStorage::open(&LocalConfig { root }).expect("a writable folder");
        let storage = Moving::new(Arc::new(MemoryStorage::new()), Arc::new(from));
        Some(Fresh::storage(storage).on(folder))
    }

    pub(crate) async fn fake_azure_with_client_secret() -> Option<Fresh<dyn Storage>> {
        let fake = common::fake().await;
        let storage = common::open(&common::with_client_secret(&fake));
        Some(Fresh::storage(storage).on(fake))
    }

    pub(crate) async fn fake_azure_with_account_key() -> Option<Fresh<dyn Storage>> {
        let fake = common::fake().await;
        let storage = common::open(&common::with_account_key(&fake));
        Some(Fresh::storage(storage).on(fake))
    }

    pub(crate) async fn azurite_with_client_secret() -> Option<Fresh<dyn Storage>> {
        let entra = common::fake().await;
        let config = common::azurite_with_client_secret(&entra).await?;
        Some(Fresh::storage(common::open(&config)).on(entra))
    }

    pub(crate) async fn azurite_with_connection_string() -> Option<Fresh<dyn Storage>> {
        let config = common::azurite_with_connection_string().await?;
        Some(Fresh::storage(common::open(&config)))
    }

    pub(crate) async fn fake_s3() -> Option<Fresh<dyn Storage>> {
        let fake = common::fake_s3().await;
        let storage = common::open_s3(&common::on_s3(&fake));
        Some(Fresh::storage(storage).on(fake))
    }

    pub(crate) async fn fake_s3_with_versions() -> Option<Fresh<dyn Storage>> {
        let fake = common::fake_s3().await;
        fake.set_versioning(common::CONTAINER, ::fake_s3::Versioning::Enabled);
        let storage = common::open_s3(&common::on_s3(&fake));
        Some(Fresh::storage(storage).on(fake))
    }

    pub(crate) async fn fake_gcs() -> Option<Fresh<dyn Storage>> {
        let fake = common::fake_gcs().await;
        let storage = common::open_gcs(&common::on_gcs(&fake));
        Some(Fresh::storage(storage).on(fake))
    }

    pub(crate) async fn s3_on_moto() -> Option<Fresh<dyn Storage>> {
        let config = common::s3_on_moto().await?;
        Some(Fresh::storage(common::open_s3(&config)))
    }
}
