//! `[catalog]`: where attachments are recorded.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::config::value::Own;
use crate::section;

section! {
    /// `[catalog]`
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct CatalogConfig in "catalog" {
        /// The database of attachments. Read at start only.
        #[start_only = true]
        url: CatalogUrl = CatalogUrl(PathBuf::from("attache-data/attache.db")) => Own,
    }
}

/// `catalog.url`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogUrl(
    /// The file of the SQLite database.
    pub PathBuf,
);

impl CatalogUrl {
    /// The folder of what attache keeps for itself beside the database.
    pub fn folder(&self) -> PathBuf {
        match self.0.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        }
    }
}

impl fmt::Display for CatalogUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sqlite://{}", self.0.display())
    }
}

impl FromStr for CatalogUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("sqlite://") {
            Some(path) if !path.is_empty() => Ok(Self(PathBuf::from(path))),
            // Never shown: a database URL holds a password.
            _ => {
                Err("must be \"sqlite://PATH\"; this version supports no other catalog".to_owned())
            }
        }
    }
}
