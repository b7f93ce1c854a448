//! The key of links in a file of its own, for catalogs that keep no keys.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::keys::{self, KeyStore, SigningKey};
use crate::error::{Error, ErrorKind, Result};

/// Name of the file that holds the key of links.
pub const KEY_FILE: &str = "link.key";

/// Keys in files of a folder, readable by their owner only: `link.key`.
#[derive(Clone, Debug)]
pub struct FileKeys(PathBuf);

impl FileKeys {
    /// Keys in `folder`, which is made when the first one is.
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        match name {
            keys::LINKS => self.0.join(KEY_FILE),
            name => self.0.join(format!("{name}.key")),
        }
    }
}

#[async_trait]
impl KeyStore for FileKeys {
    async fn key(&self, name: &'static str) -> Result<SigningKey> {
        let path = self.path(name);
        blocking(move || open(&path)).await
    }

    async fn replace(&self, name: &'static str) -> Result<()> {
        let path = self.path(name);
        blocking(move || match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(wrong(&path, &error)),
            _ => Ok(()),
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("reading a key failed").with_source(error))?
}

fn wrong(path: &Path, error: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        format!(
            "cannot use the key of temporary links, {}: {error}",
            path.display()
        ),
    )
}

/// Reads the key, or makes one. Safe when several processes start at once: one key wins.
fn open(path: &Path) -> Result<SigningKey> {
    let wrong = |error: std::io::Error| wrong(path, &error);
    if !path.exists() {
        crate::private::make_file_once(path, &*keys::generate()).map_err(wrong)?;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path).map_err(wrong)?.permissions().mode();
        if mode & 0o077 != 0 {
            tracing::warn!(
                mode = format!("{:o}", mode & 0o777),
                "others on this machine can read link.key, and so make links and sessions: chmod 600 it, and delete it to \
                 end those that were made"
            );
        }
    }
    read(path).map_err(wrong)?.ok_or_else(|| {
        Error::new(
            ErrorKind::Misconfigured,
            format!(
                "{} is not a key of 32 bytes; delete it, and a new one is made",
                path.display()
            ),
        )
    })
}

/// The key in a file; `None` if that holds something else.
pub(crate) fn read(path: &Path) -> std::io::Result<Option<SigningKey>> {
    let bytes = Zeroizing::new(std::fs::read(path)?);
    Ok(bytes.as_slice().try_into().ok().map(Zeroizing::new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_key_survives_a_restart_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = FileKeys::new(folder.path().to_owned());
        let first = keys.key(keys::LINKS).await.expect("made");
        assert_eq!(first, keys.key(keys::LINKS).await.expect("read"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let meta = std::fs::metadata(folder.path().join(KEY_FILE)).expect("exists");
            assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        }
        keys.replace(keys::LINKS).await.expect("removed");
        assert_ne!(first, keys.key(keys::LINKS).await.expect("made"));
    }
}
