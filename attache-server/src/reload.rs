//! Loading the configuration again: on SIGHUP, on request, and when its file or a file that it names has changed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use attache::{Attache, Config, Error, ReloadReport, Result};

use crate::auth::Auth;
use crate::tls::{self, Tls};

/// How often files are looked at. Contents are compared, not times, so that renames and the symlink swaps of mounted
/// secrets count, on every file system.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Where the configuration comes from, besides the environment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    /// The file that was named.
    pub(crate) file: Option<PathBuf>,
    /// `--listen`
    pub(crate) listen: Option<SocketAddr>,
}

impl Source {
    /// Loads what is there now.
    pub(crate) fn load(&self) -> Result<Config> {
        let listen = self
            .listen
            .map(|address| ("server.listen", address.to_string()));
        Config::load(self.file.as_deref(), listen.as_slice())
    }
}

/// Loads the configuration again, and remembers what it tried.
#[derive(Debug)]
pub(crate) struct Reloader {
    source: Source,
    /// The certificate in use.
    pub(crate) tls: Tls,
    /// What was last tried, and so need not be tried again: a configuration, or the words of its faults.
    tried: Mutex<Result<Config, String>>,
}

impl Reloader {
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`](attache::ErrorKind::Misconfigured) if the certificate cannot be used.
    pub(crate) fn new(source: Source, config: Config) -> Result<Self> {
        Ok(Self {
            source,
            tls: Tls::new(&config.server.tls)?,
            tried: Mutex::new(Ok(config)),
        })
    }

    /// Loads and swaps in; the old configuration serves on if anything is wrong.
    pub(crate) async fn reload(&self, attache: &Attache) -> Result<ReloadReport> {
        let loaded = self.load().await;
        self.apply(attache, loaded).await
    }

    /// Looks at the files until the future is dropped, and reloads when what they say has changed.
    pub(crate) async fn watch(&self, attache: &Attache) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let loaded = self.load().await;
            let news = match (&loaded, &*self.tried()) {
                (Ok(now), Ok(before)) => now != before,
                (Err(now), Err(before)) => now.to_string() != *before,
                _ => true,
            };
            if news {
                tracing::info!("the configuration has changed");
                // Logged where it is decided.
                let _ = self.apply(attache, loaded).await;
            }
        }
    }

    async fn load(&self) -> Result<Config> {
        let source = self.source.clone();
        tokio::task::spawn_blocking(move || source.load())
            .await
            .unwrap_or_else(|error| Err(Error::internal("loading failed").with_source(error)))
    }

    async fn apply(&self, attache: &Attache, loaded: Result<Config>) -> Result<ReloadReport> {
        *self.tried() = match &loaded {
            Ok(config) => Ok(config.clone()),
            Err(error) => Err(error.to_string()),
        };
        // Not in `load`, which looks every few seconds: this reads certificates and keys.
        let checked = loaded.and_then(|config| {
            Auth::check(&config.auth)?;
            Ok((tls::load(&config.server.tls)?, config))
        });
        match checked {
            Ok((tls, config)) => {
                let report = attache.reload(config).await?;
                self.tls.replace(tls);
                Ok(report)
            }
            Err(error) => {
                attache.reload_failed(&error);
                Err(error)
            }
        }
    }

    fn tried(&self) -> std::sync::MutexGuard<'_, Result<Config, String>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
