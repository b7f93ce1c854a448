//! What `catalog.url` names, opened: attachments, tokens and keys of all kinds are in one database.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use tokio::time::Instant;

use super::Catalog;
use super::bulk::Bulk;
use super::cached::CachedCatalog;
use super::config::{CatalogConfig, CatalogUrl, PostgresUrl};
use super::postgres::{PostgresCatalog, START_TIME};
use super::sqlite::{self, SqliteCatalog};
use crate::access::access_keys::AccessKeys;
use crate::access::config::SecretsConfig;
use crate::access::keys::{self, KeyStore};
use crate::access::sealed::{SealedKeys, SealedStore};
use crate::access::tokens::TokenStore;
use crate::error::{Error, ErrorKind, Result};
use crate::lease::Lease;
use crate::secret::Secret;

/// One database, by what is kept in it. Close it by closing its catalog.
#[derive(Clone, Debug)]
pub struct Database {
    /// Attachments, and which process works on what.
    pub catalog: Arc<dyn Catalog>,
    /// API tokens and ended sessions.
    pub tokens: Arc<dyn TokenStore>,
    /// What signs links and sessions.
    pub keys: Arc<dyn KeyStore>,
    /// Ids and secrets for programs that speak S3.
    pub access_keys: Arc<AccessKeys>,
}

impl Database {
    fn of<D: Bulk>(database: Arc<D>, keys: Arc<SealedKeys<D>>) -> Self {
        let access_keys = AccessKeys::new(database.clone(), keys.sealer());
        Self {
            catalog: Arc::new(CachedCatalog::over(database.clone())),
            tokens: database,
            keys,
            access_keys: Arc::new(access_keys),
        }
    }
}

/// Opens a database, makes it if it does not exist, and brings its schema up to date; its keys are opened with the key that
/// `secrets` names, which is made if it is missing and the database holds nothing sealed. `token` is the password of PostgreSQL
/// where `catalog.credential` is "entra".
///
/// # Errors
///
/// [`Misconfigured`](crate::ErrorKind::Misconfigured) if database or key cannot be used, naming what to change.
pub async fn open(
    catalog: &CatalogConfig,
    secrets: &SecretsConfig,
    token: Option<Lease<Secret>>,
) -> Result<Database> {
    match &catalog.url {
        CatalogUrl::Sqlite(file) => {
            let (sqlite, keys) = sqlite_with_keys(file, catalog, secrets).await?;
            Ok(Database::of(sqlite, keys))
        }
        CatalogUrl::Postgres(url) => {
            let (postgres, keys) = postgres_with_keys(url, catalog, secrets, token).await?;
            Ok(Database::of(postgres, keys))
        }
    }
}

/// Opens again and again while the database is away, for as long as a start waits for one that is coming up. Each try waits for
/// it, too.
async fn patiently<T, F: Future<Output = Result<T>>>(open: impl Fn() -> F) -> Result<T> {
    let end = Instant::now() + START_TIME;
    loop {
        match open().await {
            Err(error)
                if error.kind() == ErrorKind::UpstreamUnavailable && Instant::now() < end => {}
            outcome => return outcome,
        }
    }
}

/// Opens a database as [`open`] does, to be copied from. Its keys are as sealed as they are, and it is certain that `secrets` opens
/// them.
///
/// # Errors
///
/// As [`open`].
pub async fn open_source(
    catalog: &CatalogConfig,
    secrets: &SecretsConfig,
    token: Option<Lease<Secret>>,
) -> Result<Arc<dyn Bulk>> {
    Ok(match &catalog.url {
        CatalogUrl::Sqlite(file) => sqlite_with_keys(file, catalog, secrets).await?.0,
        CatalogUrl::Postgres(url) => postgres_with_keys(url, catalog, secrets, token).await?.0,
    })
}

/// Opens a database to be copied into: makes it if it does not exist, and no key in it.
///
/// # Errors
///
/// [`Misconfigured`](crate::ErrorKind::Misconfigured) if it cannot be used, naming what to change.
pub async fn open_target(
    catalog: &CatalogConfig,
    token: Option<Lease<Secret>>,
) -> Result<Arc<dyn Bulk>> {
    Ok(match &catalog.url {
        CatalogUrl::Sqlite(file) => open_sqlite(file).await?,
        CatalogUrl::Postgres(url) => Arc::new(PostgresCatalog::open(url, catalog, token).await?),
    })
}

async fn open_sqlite(file: &Path) -> Result<Arc<SqliteCatalog>> {
    let path = file.to_owned();
    let sqlite = tokio::task::spawn_blocking(move || SqliteCatalog::open(&path)).await;
    let sqlite = sqlite
        .map_err(|error| Error::internal("opening the catalog failed").with_source(error))??;
    Ok(Arc::new(sqlite))
}

async fn sqlite_with_keys(
    file: &Path,
    catalog: &CatalogConfig,
    secrets: &SecretsConfig,
) -> Result<(Arc<SqliteCatalog>, Arc<SealedKeys<SqliteCatalog>>)> {
    let sqlite = open_sqlite(file).await?;
    let keys = async {
        let keys = open_keys(&sqlite, catalog, secrets).await?;
        sqlite::take_over_key(&keys, file).await?;
        with_key(keys).await
    };
    let keys = keys.await;
    or_closed(sqlite, keys).await
}

async fn postgres_with_keys(
    url: &PostgresUrl,
    catalog: &CatalogConfig,
    secrets: &SecretsConfig,
    token: Option<Lease<Secret>>,
) -> Result<(Arc<PostgresCatalog>, Arc<SealedKeys<PostgresCatalog>>)> {
    let postgres = Arc::new(PostgresCatalog::open(url, catalog, token).await?);
    let keys = || async { with_key(open_keys(&postgres, catalog, secrets).await?).await };
    let keys = patiently(keys).await;
    or_closed(postgres, keys).await
}

/// What was opened, or closed again if its keys cannot be.
async fn or_closed<D: Catalog>(
    database: Arc<D>,
    keys: Result<Arc<SealedKeys<D>>>,
) -> Result<(Arc<D>, Arc<SealedKeys<D>>)> {
    match keys {
        Ok(keys) => Ok((database, keys)),
        Err(error) => {
            database.close().await;
            Err(error)
        }
    }
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
async fn with_key<S: SealedStore>(keys: SealedKeys<S>) -> Result<Arc<SealedKeys<S>>> {
    keys.key(keys::LINKS).await?;
    Ok(Arc::new(keys))
}
