//! What `catalog.url` names, opened: attachments, tokens and keys are in one database.

use std::sync::Arc;

use super::Catalog;
use super::cached::CachedCatalog;
use super::config::CatalogUrl;
use super::sqlite::SqliteCatalog;
use crate::access::keys::KeyStore;
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

/// Opens a database, makes it if it does not exist, and brings its schema up to date.
///
/// # Errors
///
/// [`Misconfigured`](crate::ErrorKind::Misconfigured) if it cannot be used, naming what to change.
pub async fn open(url: &CatalogUrl) -> Result<Database> {
    let path = url.0.clone();
    let sqlite = tokio::task::spawn_blocking(move || SqliteCatalog::open(&path))
        .await
        .map_err(|error| Error::internal("opening the catalog failed").with_source(error))??;
    let sqlite = Arc::new(sqlite);
    Ok(Database {
        catalog: Arc::new(CachedCatalog::over(sqlite.clone())),
        tokens: sqlite.clone(),
        keys: sqlite,
    })
}
