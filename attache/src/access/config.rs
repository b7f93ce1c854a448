//! `[secrets]`: the key that seals what is secret in the catalog.

use std::path::{Path, PathBuf};

use crate::config::value::{FilePath, Optional};
use crate::section;

/// Name of the key file that nobody has named otherwise.
pub const SECRETS_FILE: &str = "secrets.key";

section! {
    /// `[secrets]`
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct SecretsConfig in "secrets" {
        /// The file with the key that seals secrets in the catalog: 64 hexadecimal digits, made at the first start. All
        /// processes of one catalog need the same, and a backup without it opens no link and no session. If it is not set:
        /// `secrets.key` in the folder of the catalog. Read at start only.
        #[start_only = true] #[example = "\"attache-data/secrets.key\""]
        key_file: Option<PathBuf> = None => Optional(FilePath),
    }
}

impl SecretsConfig {
    /// The file, where `folder` is that of the catalog ([`CatalogUrl::folder`](crate::catalog::config::CatalogUrl::folder)).
    ///
    /// Beside the catalog and not in the working directory, which a service may be forbidden to write to.
    pub fn file(&self, folder: &Path) -> PathBuf {
        let named = self.key_file.clone();
        named.unwrap_or_else(|| folder.join(SECRETS_FILE))
    }
}
