//! What is in a row of a token.

use rusqlite::{Connection, Row, params};

use super::failure::Failure;
use crate::access::tokens::{StoredToken, TokenRow};

pub(super) const COLUMNS: &str =
    "id, hash, name, scopes, owners, created_at, expires_at, last_used";

/// Keeps a token, unless there is one of this id.
pub(super) fn keep(connection: &Connection, stored: &StoredToken) -> Result<(), Failure> {
    let row = TokenRow::of(stored);
    connection
        .prepare_cached(
            "INSERT INTO tokens (id, hash, name, scopes, owners, created_at, expires_at, last_used) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            row.id,
            row.hash,
            row.name,
            row.scopes,
            row.owners,
            row.created_at,
            row.expires_at,
            row.last_used,
        ])?;
    Ok(())
}

/// Tells all processes to read tokens and access keys again.
pub(super) fn changed(connection: &Connection) -> Result<(), Failure> {
    connection
        .prepare_cached("UPDATE access_version SET version = version + 1")?
        .execute([])?;
    Ok(())
}

/// The token in a row of [`COLUMNS`]; `None` if it cannot be understood.
pub(super) fn stored(row: &Row<'_>) -> Option<StoredToken> {
    let read = || -> rusqlite::Result<TokenRow> {
        Ok(TokenRow {
            id: row.get(0)?,
            hash: row.get(1)?,
            name: row.get(2)?,
            scopes: row.get(3)?,
            owners: row.get(4)?,
            created_at: row.get(5)?,
            expires_at: row.get(6)?,
            last_used: row.get(7)?,
        })
    };
    read().ok()?.understood()
}
