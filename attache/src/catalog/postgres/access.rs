//! Tokens and ended sessions, beside the attachments that they are about.

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::PostgresCatalog;
use super::ask::Ask;
use super::failure::Failure;
use super::rows::{array, each, get};
use crate::access::sealed::SealedStore;
use crate::access::tokens::{MAX_TOKENS, StoredToken, TokenId, TokenRow, TokenStore, too_many};
use crate::error::{Error, Result};

/// Tells all replicas to read tokens and access keys again, whatever `done` brought.
pub(super) const CHANGED: &str =
    "changed AS (UPDATE attache.access_version SET version = version + 1 RETURNING version)";

#[async_trait]
impl TokenStore for PostgresCatalog {
    async fn version(&self) -> Result<i64> {
        let ask = Ask::new("SELECT version FROM attache.access_version");
        let rows = self.read("version", &ask).await?;
        match rows.first() {
            Some(row) => get(row, 0).map_err(|failure| failure.into_error("version")),
            None => Err(Error::internal("the version of the tokens is lost")),
        }
    }

    async fn tokens(&self) -> Result<Vec<StoredToken>> {
        let ask = Ask::new(
            "SELECT id, hash, name, scopes, owners, created_at, expires_at, last_used FROM attache.tokens",
        )
        .long();
        let mut found = Vec::new();
        for row in &self.read("tokens", &ask).await? {
            match stored(row) {
                Some(token) => found.push(token),
                // One that cannot be understood opens nothing; the others go on.
                None => tracing::warn!("a token in the database cannot be read and is ignored"),
            }
        }
        Ok(found)
    }

    async fn insert(&self, stored: &StoredToken) -> Result<()> {
        let row = TokenRow::of(stored);
        let ask = Ask::new(format!(
            "WITH room AS (SELECT count(*) < $9 AS is FROM attache.tokens WHERE id <> $1),
             done AS (
                 INSERT INTO attache.tokens (id, hash, name, scopes, owners, created_at, expires_at, last_used)
                 SELECT $1, $2, $3, $4, $5, $6, $7, $8 FROM room WHERE room.is ON CONFLICT DO NOTHING
             ), {CHANGED} SELECT room.is FROM room"
        ))
        .text(row.id)
        .bytes(row.hash)
        .text(row.name)
        .text(row.scopes)
        .text(row.owners)
        .int(row.created_at)
        .some_int(row.expires_at)
        .some_int(row.last_used)
        .int(i64::try_from(MAX_TOKENS).unwrap_or(i64::MAX));
        let rows = self.write("insert", ask).await?;
        let room = rows.first().map_or(Ok(false), |row| get(row, 0));
        match room.map_err(|failure| failure.into_error("insert"))? {
            true => Ok(()),
            false => Err(too_many()),
        }
    }

    async fn revoke(&self, id: &TokenId) -> Result<bool> {
        let ask = Ask::new(format!(
            "WITH done AS (DELETE FROM attache.tokens WHERE id = $1 RETURNING id), {CHANGED} SELECT id FROM done"
        ))
        .text(id.as_str());
        Ok(!self.write("revoke", ask).await?.is_empty())
    }

    async fn note_used(&self, used: Vec<(TokenId, i64)>) -> Result<()> {
        if used.is_empty() {
            return Ok(());
        }
        let ask = Ask::new(
            "UPDATE attache.tokens t SET last_used = used.at FROM unnest($1::text[], $2::int8[]) AS used (id, at)
             WHERE t.id = used.id AND t.last_used IS DISTINCT FROM used.at",
        )
        .texts(used.iter().map(|(id, _)| id.as_str().to_owned()))
        .ints(used.iter().map(|(_, at)| *at));
        self.write("note_used", ask).await?;
        Ok(())
    }

    async fn ended_sessions(&self) -> Result<Vec<[u8; 32]>> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let ask = Ask::new("SELECT hash FROM attache.ended_sessions WHERE expires > $1")
            .int(now)
            .long();
        let rows = self.read("ended_sessions", &ask).await?;
        let hashes = rows.iter().map(|row| array(get(row, 0)?));
        hashes
            .collect::<Result<_, Failure>>()
            .map_err(|failure| failure.into_error("ended_sessions"))
    }

    async fn end_sessions(&self, ended: Vec<([u8; 32], i64)>) -> Result<()> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let ask = Ask::new(format!(
            "WITH old AS (DELETE FROM attache.ended_sessions WHERE expires <= $3),
             done AS (INSERT INTO attache.ended_sessions (hash, expires) SELECT * FROM unnest($1::bytea[], $2::int8[])
                      ON CONFLICT DO NOTHING),
             {CHANGED} SELECT"
        ))
        .all_bytes(ended.iter().map(|(hash, _)| hash.to_vec()))
        .ints(ended.iter().map(|(_, expires)| *expires))
        .int(now);
        self.write("end_sessions", ask).await?;
        Ok(())
    }
}

/// The token in a row; `None` if it cannot be understood.
fn stored(row: &Row) -> Option<StoredToken> {
    let read = || -> Result<TokenRow, Failure> {
        Ok(TokenRow {
            id: get(row, 0)?,
            hash: get(row, 1)?,
            name: get(row, 2)?,
            scopes: get(row, 3)?,
            owners: get(row, 4)?,
            created_at: get(row, 5)?,
            expires_at: get(row, 6)?,
            last_used: get(row, 7)?,
        })
    };
    read().ok()?.understood()
}

#[async_trait]
impl SealedStore for PostgresCatalog {
    async fn all(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let ask = Ask::new("SELECT name, key FROM attache.signing_keys");
        let rows = self.read("keys", &ask).await?;
        each("keys", &rows, |row| Ok((get(row, 0)?, get(row, 1)?)))
    }

    async fn swap(&self, name: &str, old: Option<Vec<u8>>, new: Vec<u8>) -> Result<Vec<u8>> {
        let change = match old {
            None => Ask::new("INSERT INTO attache.signing_keys (name, key) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                .text(name)
                .bytes(new),
            Some(old) => Ask::new("UPDATE attache.signing_keys SET key = $2 WHERE name = $1 AND key = $3")
                .text(name)
                .bytes(new)
                .bytes(old),
        };
        self.write("swap_key", change).await?;
        // In a statement of its own, which sees what another replica has put there meanwhile.
        let look = Ask::new("SELECT key FROM attache.signing_keys WHERE name = $1").text(name);
        let rows = self.read("swap_key", &look).await?;
        let kept = each("swap_key", &rows, |row| get(row, 0))?
            .into_iter()
            .next();
        kept.ok_or_else(|| Error::internal("a signing key was removed by something else"))
    }
}
