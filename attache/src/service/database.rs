//! The database of a configuration, with what it needs of the others: a password that the identity of the store obtains.

use crate::catalog::config::DatabaseCredential;
use crate::catalog::open::{self, Database};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::http::ClientConfig;
use crate::storage::azure::database_token;

/// Opens the catalog, the tokens and the keys that `config` names; for programs that need no store.
///
/// # Errors
///
/// [`Misconfigured`](crate::ErrorKind::Misconfigured), naming what to change.
pub async fn open_database(config: &Config) -> Result<Database> {
    let token = match config.catalog.credential {
        DatabaseCredential::Password => None,
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
            Some(made?)
        }
    };
    open::open(&config.catalog, &config.secrets, token).await
}
