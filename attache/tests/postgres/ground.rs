//! A database of its own for a test, and replicas on it.
#![allow(
    dead_code,
    reason = "each of the tests that share it uses a part of it"
)]

#[path = "books.rs"]
mod books;

use std::sync::Arc;

use attache::catalog::config::{CatalogConfig, CatalogUrl};
use attache::catalog::postgres::PostgresCatalog;
use attache::{Error, Result};
use test_support::{Database, PgBouncer, Postgres};

/// A new database, and how replicas reach it.
pub(crate) struct Ground {
    database: Database,
    url: String,
}

impl Ground {
    /// In PostgreSQL 15.
    pub(crate) async fn new() -> Option<Self> {
        Some(Self::of(Postgres::shared().await?.database().await))
    }

    /// In PostgreSQL 15, behind PgBouncer in transaction mode.
    pub(crate) async fn pooled() -> Option<Self> {
        let (postgres, pooler) = (Postgres::shared().await?, PgBouncer::shared().await?);
        let database = postgres.database().await;
        let url = pooler.url(&database);
        Some(Self { database, url })
    }

    /// In PostgreSQL 18.
    pub(crate) async fn newest() -> Option<Self> {
        Some(Self::of(Postgres::shared_18().await?.database().await))
    }

    pub(crate) fn of(database: Database) -> Self {
        let url = database.url();
        Self { database, url }
    }

    /// The database itself.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// One more replica.
    pub(crate) async fn open(&self) -> Arc<PostgresCatalog> {
        Arc::new(open(&self.url).await.expect("opened"))
    }

    /// As an operator would.
    pub(crate) async fn run(&self, sql: &str) {
        self.database.admin(sql).await;
    }

    /// One number.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        books::numbers(&self.database, sql).await[0]
    }

    /// That the counter is what the rows say, in one look; how many bytes are used.
    pub(crate) async fn check_books(&self) -> u64 {
        books::check(&self.database).await
    }
}

/// A replica on the database at `url`.
pub(crate) async fn open(url: &str) -> Result<PostgresCatalog> {
    open_with(url, |_| {}).await
}

/// A replica that is configured otherwise.
pub(crate) async fn open_with(
    url: &str,
    configure: impl FnOnce(&mut CatalogConfig),
) -> Result<PostgresCatalog> {
    let url: CatalogUrl = url.parse().map_err(Error::bad_request)?;
    let mut config = CatalogConfig::of(url.clone());
    configure(&mut config);
    match url {
        CatalogUrl::Postgres(url) => PostgresCatalog::open(&url, &config, None).await,
        CatalogUrl::Sqlite(_) => panic!("a URL of PostgreSQL"),
    }
}
