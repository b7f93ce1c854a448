//! Which file a catalog is.

use std::path::{Path, PathBuf};

use super::schema;
use crate::error::{Error, ErrorKind, Result};

/// Which file a catalog is, so that one that was removed or replaced is noticed.
#[derive(Clone, Debug)]
pub(super) struct Place {
    path: PathBuf,
    file: Option<(u64, u64)>,
}

impl Place {
    pub(super) fn of(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: Self::file(path)?,
        })
    }

    #[cfg(unix)]
    fn file(path: &Path) -> std::io::Result<Option<(u64, u64)>> {
        use std::os::unix::fs::MetadataExt as _;
        let about = std::fs::metadata(path)?;
        Ok(Some((about.dev(), about.ino())))
    }

    #[cfg(not(unix))]
    fn file(_path: &Path) -> std::io::Result<Option<(u64, u64)>> {
        Ok(None)
    }

    pub(super) fn check(&self) -> Result<()> {
        match Self::file(&self.path) {
            Ok(file) if file == self.file => Ok(()),
            _ => Err(Error::new(
                ErrorKind::UpstreamUnavailable,
                "the file of the catalog was removed or replaced while attache runs; stop attache, put it back (`attache \
                 restore`, or `attache verify --repair`), and start again",
            )),
        }
    }

    /// Copies the log into the database and gives its room back; whether that could be done.
    pub(super) fn shorten_log(&self) -> bool {
        let shortened = schema::connect(&self.path).and_then(|connection| {
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                row.get::<_, i64>(0)
            })
        });
        match shortened {
            Ok(busy) => busy == 0,
            Err(error) => {
                tracing::warn!(%error, "cannot shorten the catalog's log");
                false
            }
        }
    }
}
