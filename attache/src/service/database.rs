//! The database of a configuration, with what it needs of the others: a password that the identity of the store obtains.

use std::sync::Arc;

use crate::catalog::bulk::Bulk;
use crate::catalog::config::{CatalogConfig, DatabaseCredential};
use crate::catalog::open::{self, Database};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::http::ClientConfig;
use crate::lease::Lease;
use crate::secret::Secret;
use crate::storage::azure::database_token;

/// Opens the catalog, the tokens and the keys that `config` names; for programs that need no store.
///
/// # Errors
///
/// [`Misconfigured`](crate::ErrorKind::Misconfigured), naming what to change.
pub async fn open_database(config: &Config) -> Result<Database> {
    let token = token_for(config, &config.catalog).await?;
    open::open(&config.catalog, &config.secrets, token).await
}

/// Opens the catalog that `config` names to be copied from, and the one that `target` names to be copied into
/// ([`copy`](crate::catalog::copy::copy)). Close both.
///
/// # Errors
///
/// [`Misconfigured`](crate::ErrorKind::Misconfigured), naming what to change; nothing was made at the target if the source cannot be
/// opened.
pub async fn open_for_copy(
    config: &Config,
    target: &CatalogConfig,
) -> Result<(Arc<dyn Bulk>, Arc<dyn Bulk>)> {
    let token = token_for(config, &config.catalog).await?;
    let source = open::open_source(&config.catalog, &config.secrets, token).await?;
    let target = async { open::open_target(target, token_for(config, target).await?).await };
    match target.await {
        Ok(target) => Ok((source, target)),
        Err(error) => {
            source.close().await;
            Err(error.during("open", "target of the copy"))
        }
    }
}

async fn token_for(config: &Config, catalog: &CatalogConfig) -> Result<Option<Lease<Secret>>> {
    match catalog.credential {
        DatabaseCredential::Password => Ok(None),
        DatabaseCredential::Entra => {
            let azure = config.storage.azure.clone();
            let client = ClientConfig {
                route: config.network.clone(),
                ..ClientConfig::default()
            };
            let made = tokio::task::spawn_blocking(move || database_token(&azure, &client)).await;
            let made = made.map_err(|error| {
                Error::internal("reading the root certificates failed").with_source(error)
            })?;
            made.map(Some)
        }
    }
}
