//! Access keys, as sealed as they are.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Row;

use super::PostgresCatalog;
use super::access::CHANGED;
use super::ask::Ask;
use super::failure::Failure;
use super::rows::{each, get};
use crate::access::access_keys::{
    AccessKeyId, AccessKeyRow, AccessKeyStore, SealedAccessKey, refusal,
};
use crate::error::{Error, ErrorKind, Result};

/// How often another replica may take the place that was free, before it is given up. Each time one of the two places of the name is
/// taken, so more than two times is only if some are revoked meanwhile.
const TRIES: usize = 5;

#[async_trait]
impl AccessKeyStore for PostgresCatalog {
    async fn access_keys(&self) -> Result<Vec<SealedAccessKey>> {
        let ask = Ask::new(
            "SELECT id, name, buckets, prefix, scopes, created_at, expires_at, sealed FROM attache.access_keys",
        )
        .long();
        let rows = self.read("access_keys", &ask).await?;
        let rows = each("access_keys", &rows, columns)?;
        let understood = rows.into_iter().filter_map(AccessKeyRow::understood);
        Ok(understood.collect())
    }

    async fn insert_access_key(&self, key: &SealedAccessKey) -> Result<()> {
        for _ in 0..TRIES {
            let row = AccessKeyRow::of(key);
            let place = self.place(&row).await?;
            let Some(place) = place else { return Ok(()) };
            let ask = Ask::new(format!(
                "WITH done AS (
                     INSERT INTO attache.access_keys (id, name, place, buckets, prefix, scopes, created_at, expires_at, sealed)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING RETURNING id
                 ), {CHANGED} SELECT id FROM done"
            ))
            .text(row.id)
            .text(row.name)
            .int(place)
            .text(row.buckets)
            .text(row.prefix)
            .text(row.scopes)
            .int(row.created_at)
            .some_int(row.expires_at)
            .bytes(row.sealed);
            if !self.write("insert_access_key", ask).await?.is_empty() {
                return Ok(());
            }
            // It was there after a lost answer, or another replica has taken the place: a second look says which.
        }
        Err(Error::new(
            ErrorKind::Busy,
            "access keys of this name are made and revoked all the time; try again",
        )
        .retry_after(Duration::from_secs(1)))
    }

    async fn revoke_access_key(&self, id: &AccessKeyId) -> Result<bool> {
        let ask = Ask::new(format!(
            "WITH done AS (DELETE FROM attache.access_keys WHERE id = $1 RETURNING id), {CHANGED} SELECT id FROM done"
        ))
        .text(id.as_str());
        Ok(!self.write("revoke_access_key", ask).await?.is_empty())
    }
}

impl PostgresCatalog {
    /// Which of the places of its name is free for an access key; `None` if it is there already.
    async fn place(&self, row: &AccessKeyRow) -> Result<Option<i64>> {
        let look = Ask::new(
            "SELECT count(*) FILTER (WHERE id = $1), count(*), count(*) FILTER (WHERE name = $2),
                    count(*) FILTER (WHERE name = $2 AND place = 0)
             FROM attache.access_keys",
        )
        .text(&row.id)
        .text(&row.name);
        let rows = self.read("insert_access_key", &look).await?;
        let counts = each("insert_access_key", &rows, |found| {
            Ok((
                get(found, 0)?,
                get(found, 1)?,
                get(found, 2)?,
                get(found, 3)?,
            ))
        })?;
        let counts: Option<(i64, i64, i64, i64)> = counts.into_iter().next();
        let (itself, kept, of_its_name, in_the_first) =
            counts.ok_or_else(|| Error::internal("the database answered nothing"))?;
        if itself > 0 {
            return Ok(None);
        }
        match refusal(&row.name, kept, of_its_name) {
            Some(refusal) => Err(refusal),
            None => Ok(Some(in_the_first)),
        }
    }
}

fn columns(row: &Row) -> Result<AccessKeyRow, Failure> {
    Ok(AccessKeyRow {
        id: get(row, 0)?,
        name: get(row, 1)?,
        buckets: get(row, 2)?,
        prefix: get(row, 3)?,
        scopes: get(row, 4)?,
        created_at: get(row, 5)?,
        expires_at: get(row, 6)?,
        sealed: get(row, 7)?,
    })
}
