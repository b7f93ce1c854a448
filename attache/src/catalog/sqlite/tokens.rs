//! What is in a row of a token.

use rusqlite::{Connection, Row, params};
use time::OffsetDateTime;

use super::failure::Failure;
use crate::access::tokens::{StoredToken, Token};
use crate::access::{Owners, Scopes};
use crate::error::Result;

pub(super) const COLUMNS: &str =
    "id, hash, name, scopes, owners, created_at, expires_at, last_used";

/// Keeps a token, unless there is one of this id.
pub(super) fn keep(connection: &Connection, stored: &StoredToken) -> Result<(), Failure> {
    let token = &stored.token;
    connection
        .prepare_cached(
            "INSERT INTO tokens (id, hash, name, scopes, owners, created_at, expires_at, last_used) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            token.id.as_str(),
            stored.hash,
            token.name,
            token.scopes.to_string(),
            words(&token.owners),
            token.created_at.unix_timestamp(),
            token.expires_at.map(OffsetDateTime::unix_timestamp),
            token.last_used.map(OffsetDateTime::unix_timestamp),
        ])?;
    Ok(())
}

/// Tells all processes to read the tokens again.
pub(super) fn changed(connection: &Connection) -> Result<(), Failure> {
    connection
        .prepare_cached("UPDATE access_version SET version = version + 1")?
        .execute([])?;
    Ok(())
}

/// The token in a row of [`COLUMNS`]; `None` if it cannot be understood.
pub(super) fn stored(row: &Row<'_>) -> Option<StoredToken> {
    let text = |column: usize| row.get::<_, String>(column).ok();
    let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).ok();
    let scopes = text(3)?;
    let owners = text(4)?;
    let scopes: Result<Scopes> = scopes.split_whitespace().map(str::parse).collect();
    let owners: Result<Owners> = owners.split_whitespace().map(str::parse).collect();
    let expires_at: Option<i64> = row.get(6).ok()?;
    let last_used: Option<i64> = row.get(7).ok()?;
    Some(StoredToken {
        hash: row.get(1).ok()?,
        token: Token {
            id: text(0)?.parse().ok()?,
            name: text(2)?,
            scopes: scopes.ok()?,
            owners: owners.ok()?,
            created_at: at(row.get(5).ok()?)?,
            // An end that cannot be read is not "never".
            expires_at: expires_at.map(at).map_or(Some(None), |end| end.map(Some))?,
            last_used: last_used.and_then(at),
        },
    })
}

/// Owners hold no space, so a space keeps them apart.
fn words(owners: &Owners) -> String {
    let words: Vec<String> = owners.patterns().iter().map(ToString::to_string).collect();
    words.join(" ")
}
