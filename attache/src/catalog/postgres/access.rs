//! Tokens and ended sessions, beside the attachments that they are about.

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::PostgresCatalog;
use super::ask::Ask;
use super::failure::Failure;
use super::rows::{array, each, get};
use crate::access::sealed::SealedStore;
use crate::access::tokens::{MAX_TOKENS, StoredToken, Token, TokenId, TokenStore};
use crate::access::{Owners, Scopes};
use crate::error::{Error, ErrorKind, Result};

/// Tells all replicas to read the tokens again, whatever `done` brought.
const CHANGED: &str =
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
        let token = &stored.token;
        let owners: Vec<String> = token
            .owners
            .patterns()
            .iter()
            .map(ToString::to_string)
            .collect();
        let ask = Ask::new(format!(
            "WITH room AS (SELECT count(*) < $9 AS is FROM attache.tokens WHERE id <> $1),
             done AS (
                 INSERT INTO attache.tokens (id, hash, name, scopes, owners, created_at, expires_at, last_used)
                 SELECT $1, $2, $3, $4, $5, $6, $7, $8 FROM room WHERE room.is ON CONFLICT DO NOTHING
             ), {CHANGED} SELECT room.is FROM room"
        ))
        .text(token.id.as_str())
        .bytes(stored.hash)
        .text(&token.name)
        .text(token.scopes.to_string())
        // Owners hold no space, so a space keeps them apart.
        .text(owners.join(" "))
        .int(token.created_at.unix_timestamp())
        .some_int(token.expires_at.map(OffsetDateTime::unix_timestamp))
        .some_int(token.last_used.map(OffsetDateTime::unix_timestamp))
        .int(i64::try_from(MAX_TOKENS).unwrap_or(i64::MAX));
        let rows = self.write("insert", ask).await?;
        let room = rows.first().map_or(Ok(false), |row| get(row, 0));
        match room.map_err(|failure| failure.into_error("insert"))? {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Conflict,
                format!("there are {MAX_TOKENS} tokens already; revoke those that nobody uses"),
            )),
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
    let text = |column: usize| get::<String>(row, column).ok();
    let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).ok();
    let (scopes, owners) = (text(3)?, text(4)?);
    let scopes: Result<Scopes> = scopes.split_whitespace().map(str::parse).collect();
    let owners: Result<Owners> = owners.split_whitespace().map(str::parse).collect();
    let expires_at: Option<i64> = get(row, 6).ok()?;
    let last_used: Option<i64> = get(row, 7).ok()?;
    Some(StoredToken {
        hash: array(get(row, 1).ok()?).ok()?,
        token: Token {
            id: text(0)?.parse().ok()?,
            name: text(2)?,
            scopes: scopes.ok()?,
            owners: owners.ok()?,
            created_at: at(get(row, 5).ok()?)?,
            // An end that cannot be read is not "never".
            expires_at: expires_at.map(at).map_or(Some(None), |end| end.map(Some))?,
            last_used: last_used.and_then(at),
        },
    })
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
