//! Tokens, ended sessions and sealed signing keys, beside the attachments that they are about.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, params};
use time::OffsetDateTime;

use super::SqliteCatalog;
use super::tokens::{COLUMNS, changed, keep, stored};
use crate::access::sealed::SealedStore;
use crate::access::tokens::{MAX_TOKENS, StoredToken, TokenId, TokenStore, too_many};
use crate::error::{Error, Result};

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
                return Err(too_many().into());
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
impl SealedStore for SqliteCatalog {
    async fn all(&self) -> Result<Vec<(String, Vec<u8>)>> {
        self.read("keys", |connection| {
            let mut statement = connection.prepare_cached("SELECT name, key FROM signing_keys")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn swap(&self, name: &str, old: Option<Vec<u8>>, new: Vec<u8>) -> Result<Vec<u8>> {
        let name = name.to_owned();
        self.write("swap_key", move |connection| {
            match &old {
                None => connection
                    .prepare_cached(
                        "INSERT INTO signing_keys (name, key) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                    )?
                    .execute(params![name, new])?,
                Some(old) => connection
                    .prepare_cached("UPDATE signing_keys SET key = ?2 WHERE name = ?1 AND key = ?3")?
                    .execute(params![name, new, old])?,
            };
            let kept: Option<Vec<u8>> = connection
                .prepare_cached("SELECT key FROM signing_keys WHERE name = ?1")?
                .query_row([&name], |row| row.get(0))
                .optional()?;
            Ok(kept.ok_or_else(|| Error::internal("a signing key was removed by something else"))?)
        })
        .await
    }
}
