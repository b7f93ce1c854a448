//! What `catalog.url` names, opened: attachments, tokens and keys are in one database.

use std::sync::Arc;

use super::Catalog;
use super::cached::CachedCatalog;
use super::config::CatalogConfig;
use super::sqlite::{self, SqliteCatalog};
use crate::access::config::SecretsConfig;
use crate::access::keys::{self, KeyStore};
use crate::access::sealed::{SealedKeys, SealedStore};
use crate::access::tokens::TokenStore;
use crate::error::{Error, Result};

/// One database, by what is kept in it. Close it by closing its catalog.
#[derive(Clone, Debug)]
pub struct Database {
    /// Attachments, and which process works on what.
    pub catalog: Arc<dyn Catalog>,
    /// API tokens and ended sessions.
    pub tokens: Arc<dyn TokenStore>,
    /// What signs links and sessions.
    pub keys: Arc<dyn KeyStore>,
}

/// Opens a database, makes it if it does not exist, and brings its schema up to date; its keys are opened with the key that
/// `secrets` names, which is made if it is missing and the database holds nothing sealed.
///
/// # Errors
///
/// [`Misconfigured`](crate::ErrorKind::Misconfigured) if database or key cannot be used, naming what to change.
pub async fn open(catalog: &CatalogConfig, secrets: &SecretsConfig) -> Result<Database> {
    let path = catalog.url.0.clone();
    let sqlite = tokio::task::spawn_blocking(move || SqliteCatalog::open(&path))
        .await
        .map_err(|error| Error::internal("opening the catalog failed").with_source(error))??;
    let sqlite = Arc::new(sqlite);
    let keys = async {
        let keys = open_keys(&sqlite, catalog, secrets).await?;
        sqlite::take_over_key(&keys, &catalog.url.0).await?;
        with_key(keys).await
    };
    let keys = match keys.await {
        Ok(keys) => keys,
        Err(error) => {
            sqlite.close().await;
            return Err(error);
        }
    };
    Ok(Database {
        catalog: Arc::new(CachedCatalog::over(sqlite.clone())),
        tokens: sqlite,
        keys,
    })
}

async fn open_keys<S: SealedStore>(
    store: &Arc<S>,
    catalog: &CatalogConfig,
    secrets: &SecretsConfig,
) -> Result<SealedKeys<S>> {
    let file = secrets.file(&catalog.url.folder());
    SealedKeys::open(store.clone(), file).await
}

/// There is a key from the first start on: by it each later one sees whether it has the right `secrets.key_file`.
async fn with_key<S: SealedStore>(keys: SealedKeys<S>) -> Result<Arc<dyn KeyStore>> {
    keys.key(keys::LINKS).await?;
    Ok(Arc::new(keys))
}
