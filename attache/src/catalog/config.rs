//! `[catalog]`: where attachments are recorded.

use std::path::PathBuf;

use crate::config::value::{Count, FilePath, Optional, Own, Words};
use crate::section;

pub use super::url::{CatalogUrl, PostgresUrl};

section! {
    /// `[catalog]`
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct CatalogConfig in "catalog" {
        /// The database of attachments: "sqlite://PATH", or "postgres://USER@HOST/DATABASE?sslmode=verify-full" where several
        /// replicas share it. Read at start only.
        #[start_only = true]
        url: CatalogUrl = CatalogUrl::Sqlite(PathBuf::from("attache-data/attache.db")) => Own,
        /// PostgreSQL: a file that holds the password alone. Read anew for each connection, so that it may change.
        #[start_only = true]
        #[example = "\"/run/secrets/attache-database\""]
        password_file: Option<PathBuf> = None => Optional(FilePath),
        /// PostgreSQL: a PEM file of certificates that are trusted besides those of the system; the same as sslrootcert in the URL.
        #[start_only = true]
        #[example = "\"/etc/attache/database-ca.pem\""]
        ca_file: Option<PathBuf> = None => Optional(FilePath),
        /// PostgreSQL: connections of this replica at most.
        #[start_only = true]
        connections: usize = 8 => Count,
        /// PostgreSQL: "password", or "entra": the password is a token of Entra ID, fetched by the identity of [storage.azure].
        #[start_only = true]
        credential: DatabaseCredential = DatabaseCredential::Password => DatabaseCredential::WORDS,
    }
}

impl CatalogConfig {
    /// The database at `url`, and everything else as by default.
    pub fn of(url: CatalogUrl) -> Self {
        Self {
            url,
            ..Self::default()
        }
    }
}

/// `catalog.credential`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseCredential {
    /// The one of the URL or of `catalog.password_file`.
    Password,
    /// A token of Entra ID.
    Entra,
}

impl DatabaseCredential {
    const WORDS: Words<Self> = Words(&[("password", Self::Password), ("entra", Self::Entra)]);
}
