//! New connections: who we are, and whom we trust.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool_postgres::Connect;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::{CancelToken, Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::catalog::config::CatalogConfig;
use crate::catalog::url::PostgresUrl;
use crate::error::{Error, ErrorKind, Result};
use crate::http::roots::Trust;
use crate::lease::Lease;
use crate::secret::Secret;

/// How long one connection may take to be made.
pub(super) const CONNECT_TIME: Duration = Duration::from_secs(3);

/// A token for the database must live this much longer, so that it does not die on its way.
const TOKEN_NEED: Duration = Duration::from_secs(30);

/// Makes connections; one of the pool's own for each.
#[derive(Clone)]
pub(super) struct Connector(Arc<Inner>);

struct Inner {
    tls: Option<MakeRustlsConnect>,
    password: Password,
    /// Why there was no password: the driver's error cannot carry one of ours.
    fault: Mutex<Option<Error>>,
}

/// Where the password of a new connection comes from.
enum Password {
    /// The URL has it, or none is needed.
    OfUrl,
    /// This file, read each time.
    OfFile(PathBuf),
    /// A token of Entra ID.
    Token(Lease<Secret>),
}

type Connecting<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Connector {
    pub(super) fn new(
        url: &PostgresUrl,
        config: &CatalogConfig,
        token: Option<Lease<Secret>>,
    ) -> Result<Self> {
        let tls = match url.is_encrypted() {
            true => {
                let file = config.ca_file.as_deref().or(url.root_certificates());
                Some(MakeRustlsConnect::new(trust(file)?.into_tls()))
            }
            false => None,
        };
        let password = match (token, &config.password_file) {
            (Some(_), _) if !url.is_encrypted() => {
                return Err(wrong(
                    "catalog.credential \"entra\" sends a token in clear text inside of TLS: set sslmode=verify-full in catalog.url",
                ));
            }
            (Some(token), _) => Password::Token(token),
            (None, Some(_)) if url.has_password() => {
                return Err(wrong(
                    "catalog.url holds a password, and catalog.password_file is set: take one away",
                ));
            }
            (None, Some(file)) => {
                // At start, so that a wrong path is said before anything is served.
                read_password(file)?;
                Password::OfFile(file.clone())
            }
            (None, None) => Password::OfUrl,
        };
        Ok(Self(Arc::new(Inner {
            tls,
            password,
            fault: Mutex::default(),
        })))
    }

    /// The password of a connection that is about to be made.
    async fn password(&self) -> Result<Option<Secret>> {
        match &self.0.password {
            Password::OfUrl => Ok(None),
            Password::OfFile(file) => {
                let file = file.clone();
                tokio::task::spawn_blocking(move || read_password(&file))
                    .await
                    .map_err(|error| {
                        Error::internal("reading the password failed").with_source(error)
                    })?
                    .map(Some)
            }
            Password::Token(lease) => {
                let held = lease.get(TOKEN_NEED).await?;
                Ok(Some(held.value().clone()))
            }
        }
    }

    fn fault(&self) -> MutexGuard<'_, Option<Error>> {
        self.0.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why there was no password for the last connection that could not be made.
    pub(super) fn take_fault(&self) -> Option<Error> {
        self.fault().take()
    }

    /// Asks the database to end a statement for which nobody waits any more, on a connection of its own.
    pub(super) fn cancel(&self, token: CancelToken) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let tls = self.0.tls.clone();
        runtime.spawn(timeout(CONNECT_TIME, async move {
            let _ = match tls {
                Some(tls) => token.cancel_query(tls).await,
                None => token.cancel_query(NoTls).await,
            };
        }));
    }

    /// The database refused what [`password`](Self::password) gave: a token that is taken back is not used again. Whether there can
    /// be another one.
    pub(super) fn refused(&self) -> bool {
        match &self.0.password {
            Password::Token(lease) => match lease.peek(Duration::ZERO) {
                Some(held) => lease.reject(&held),
                None => false,
            },
            _ => false,
        }
    }
}

impl Connect for Connector {
    fn connect(
        &self,
        config: &Config,
    ) -> Connecting<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        let mut config = config.clone();
        Box::pin(async move {
            match self.password().await {
                Ok(Some(password)) => {
                    config.password(password.expose());
                }
                Ok(None) => {}
                Err(error) => *self.fault() = Some(error),
            }
            match &self.0.tls {
                Some(tls) => {
                    let (client, connection) = config.connect(tls.clone()).await?;
                    Ok((client, tokio::spawn(drive(connection))))
                }
                None => {
                    let (client, connection) = config.connect(NoTls).await?;
                    Ok((client, tokio::spawn(drive(connection))))
                }
            }
        })
    }
}

/// Runs a connection to its end. Whoever waits for an answer on it is told.
async fn drive(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the database of the catalog ended");
    }
}

fn trust(file: Option<&Path>) -> Result<Trust> {
    let Some(file) = file else {
        return Trust::roots();
    };
    let pem = std::fs::read_to_string(file).map_err(|error| {
        wrong(format!(
            "cannot read the certificates that catalog.ca_file or sslrootcert names, {}: {error}",
            file.display()
        ))
    })?;
    Trust::roots_and(&pem, "catalog.ca_file")
}

fn read_password(file: &Path) -> Result<Secret> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        wrong(format!(
            "cannot read catalog.password_file {}: {error}",
            file.display()
        ))
    })?;
    let password = text.trim_end_matches(['\n', '\r']);
    match password.is_empty() {
        true => Err(wrong(format!(
            "catalog.password_file {} is empty",
            file.display()
        ))),
        false => Ok(Secret::new(password)),
    }
}

fn wrong(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Misconfigured, what)
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}
