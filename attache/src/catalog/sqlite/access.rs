//! Tokens, ended sessions and signing keys, beside the attachments that they are about.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, params};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::SqliteCatalog;
use super::tokens::{COLUMNS, changed, keep, stored};
use crate::access::keys::{self, KeyStore, SigningKey};
use crate::access::tokens::{MAX_TOKENS, StoredToken, TokenId, TokenStore};
use crate::error::{Error, ErrorKind, Result};

#[async_trait]
impl TokenStore for SqliteCatalog {
    async fn version(&self) -> Result<i64> {
        self.read("version", |connection| {
            Ok(connection
                .prepare_cached("SELECT version FROM access_version")?
                .query_row([], |row| row.get(0))?)
        })
        .await
    }

    async fn tokens(&self) -> Result<Vec<StoredToken>> {
        self.read_many("tokens", |connection| {
            let mut statement =
                connection.prepare_cached(&format!("SELECT {COLUMNS} FROM tokens"))?;
            let mut rows = statement.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                match stored(row) {
                    Some(token) => found.push(token),
                    // One that cannot be understood opens nothing; the others go on.
                    None => tracing::warn!("a token in the database cannot be read and is ignored"),
                }
            }
            Ok(found)
        })
        .await
    }

    async fn insert(&self, token: &StoredToken) -> Result<()> {
        let token = token.clone();
        self.write("insert", move |connection| {
            let count: i64 = connection
                .prepare_cached("SELECT count(*) FROM tokens WHERE id <> ?1")?
                .query_row([token.token.id.as_str()], |row| row.get(0))?;
            if count >= i64::try_from(MAX_TOKENS).unwrap_or(i64::MAX) {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("there are {MAX_TOKENS} tokens already; revoke those that nobody uses"),
                )
                .into());
            }
            keep(connection, &token)?;
            changed(connection)
        })
        .await
    }

    async fn revoke(&self, id: &TokenId) -> Result<bool> {
        let id = id.clone();
        self.write("revoke", move |connection| {
            let removed = connection
                .prepare_cached("DELETE FROM tokens WHERE id = ?1")?
                .execute([id.as_str()])?;
            changed(connection)?;
            Ok(removed > 0)
        })
        .await
    }

    async fn note_used(&self, used: Vec<(TokenId, i64)>) -> Result<()> {
        if used.is_empty() {
            return Ok(());
        }
        // One transaction: a flush for each of thousands would keep a revocation from being seen for as long.
        self.write("note_used", move |connection| {
            let mut statement =
                connection.prepare_cached("UPDATE tokens SET last_used = ?2 WHERE id = ?1")?;
            for (id, at) in &used {
                statement.execute(params![id.as_str(), at])?;
            }
            Ok(())
        })
        .await
    }

    async fn ended_sessions(&self) -> Result<Vec<[u8; 32]>> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        self.read_many("ended_sessions", move |connection| {
            let mut statement =
                connection.prepare_cached("SELECT hash FROM ended_sessions WHERE expires > ?1")?;
            let hashes = statement.query_map([now], |row| row.get(0))?;
            Ok(hashes.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn end_sessions(&self, ended: Vec<([u8; 32], i64)>) -> Result<()> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        self.write("end_sessions", move |connection| {
            connection
                .prepare_cached("DELETE FROM ended_sessions WHERE expires <= ?1")?
                .execute([now])?;
            let mut statement = connection.prepare_cached(
                "INSERT INTO ended_sessions (hash, expires) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            )?;
            for (hash, expires) in &ended {
                statement.execute(params![hash, expires])?;
            }
            changed(connection)
        })
        .await
    }
}

#[async_trait]
impl KeyStore for SqliteCatalog {
    async fn key(&self, name: &'static str) -> Result<SigningKey> {
        let fresh = keys::generate();
        self.write("key", move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO signing_keys (name, key) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                )?
                .execute(params![name, *fresh])?;
            let key: Option<[u8; 32]> = connection
                .prepare_cached("SELECT key FROM signing_keys WHERE name = ?1")?
                .query_row([name], |row| row.get(0))
                .optional()?;
            let key = key.ok_or_else(|| Error::internal("the key that was kept is not there"))?;
            Ok(Zeroizing::new(key))
        })
        .await
    }

    async fn replace(&self, name: &'static str) -> Result<()> {
        self.write("replace", move |connection| {
            connection
                .prepare_cached("DELETE FROM signing_keys WHERE name = ?1")?
                .execute([name])?;
            Ok(())
        })
        .await
    }
}
