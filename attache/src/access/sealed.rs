//! Signing keys in a catalog that cannot read them: it keeps bytes, and what opens them is outside of it.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::keys::{self, KeyStore, SigningKey};
use super::seal::Sealer;
use super::secrets_file;
use crate::error::{Error, ErrorKind, Result};

/// Keeps signing keys as bytes that it does not understand, by their names; shared by all processes of a catalog.
///
/// Whoever implements this gets a [`KeyStore`] by [`SealedKeys`]. Both calls are atomic, and may be repeated.
#[async_trait]
pub trait SealedStore: std::fmt::Debug + Send + Sync + 'static {
    /// All of them, each with its name: a handful.
    async fn all(&self) -> Result<Vec<(String, Vec<u8>)>>;

    /// Keeps `new` under `name` if what is there is exactly `old` (`None`: nothing). What is there afterwards: `new`, or what
    /// somebody else has put there. `old` may be readable, and is overwritten and not only given up; in a write-ahead log, by
    /// its next checkpoint.
    async fn swap(&self, name: &str, old: Option<Vec<u8>>, new: Vec<u8>) -> Result<Vec<u8>>;
}

/// The signing keys of a catalog, sealed with the key of `secrets.key_file`.
#[derive(Debug)]
pub struct SealedKeys<S> {
    store: Arc<S>,
    sealer: Arc<Sealer>,
}

impl<S: SealedStore> SealedKeys<S> {
    /// Opens them with the key in `file`, which is made if it is missing and nothing is sealed yet. Keys of earlier versions,
    /// which are not sealed, are sealed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] if the file cannot be used, is missing, or is not the one that the catalog was sealed with;
    /// nothing was changed then. Those of the store.
    pub async fn open(store: Arc<S>, file: PathBuf) -> Result<Self> {
        let kept = store.all().await?;
        let (raw, sealed): (Vec<_>, Vec<_>) =
            kept.into_iter().partition(|(_, bytes)| is_raw(bytes));
        let has_sealed = !sealed.is_empty();
        let sealer = tokio::task::spawn_blocking(move || secrets_file::open(file, has_sealed))
            .await
            .map_err(|error| {
                Error::internal("reading secrets.key_file failed").with_source(error)
            })??;
        let sealer = Arc::new(sealer);
        let keys = Self { store, sealer };
        for (name, bytes) in &sealed {
            keys.unseal(name, bytes)?;
        }
        for (name, bytes) in raw {
            let bytes = Zeroizing::new(bytes);
            let new = keys.sealer.seal(&sealed_name(&name), &bytes);
            let kept = keys.store.swap(&name, Some(bytes.to_vec()), new).await?;
            keys.unseal(&name, &kept)?;
            tracing::info!(
                name,
                "a key of an earlier version was sealed in the catalog"
            );
        }
        Ok(keys)
    }

    /// What seals the other secrets of the catalog.
    pub fn sealer(&self) -> Arc<Sealer> {
        self.sealer.clone()
    }

    /// Takes a key over from elsewhere, unless there is one of this name. The one that is there.
    ///
    /// # Errors
    ///
    /// As [`key`](KeyStore::key).
    pub async fn keep(&self, name: &'static str, key: &SigningKey) -> Result<SigningKey> {
        let sealed = self.sealer.seal(&sealed_name(name), &**key);
        let kept = self.store.swap(name, None, sealed).await?;
        self.unseal(name, &kept)
    }

    fn unseal(&self, name: &str, sealed: &[u8]) -> Result<SigningKey> {
        let name = sealed_name(name);
        let key = self.sealer.open(&name, sealed)?;
        key.as_slice().try_into().map(Zeroizing::new).map_err(|_| {
            Error::new(
                ErrorKind::Misconfigured,
                format!("{name} in the catalog is not a key of 32 bytes"),
            )
        })
    }
}

#[async_trait]
impl<S: SealedStore> KeyStore for SealedKeys<S> {
    async fn key(&self, name: &'static str) -> Result<SigningKey> {
        self.keep(name, &keys::generate()).await
    }

    /// Never without a key in between: it is by a key that the next process sees whether its `secrets.key_file` fits.
    async fn replace(&self, name: &'static str) -> Result<()> {
        let kept = self.store.all().await?;
        let old = kept.into_iter().find(|(known, _)| known == name);
        let new = self.sealer.seal(&sealed_name(name), &*keys::generate());
        // If another process was faster, its key is as new as ours.
        self.store
            .swap(name, old.map(|(_, bytes)| bytes), new)
            .await?;
        Ok(())
    }
}

/// What a signing key is sealed as.
fn sealed_name(name: &str) -> String {
    format!("signing_key:{name}")
}

/// Whether this is a key as earlier versions kept it. A sealed one is longer.
fn is_raw(bytes: &[u8]) -> bool {
    bytes.len() == size_of::<[u8; 32]>()
}
