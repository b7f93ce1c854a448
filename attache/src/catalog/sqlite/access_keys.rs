//! Access keys, as sealed as they are.

use async_trait::async_trait;
use rusqlite::{Row, params};

use super::SqliteCatalog;
use super::tokens::changed;
use crate::access::access_keys::{
    AccessKeyId, AccessKeyRow, AccessKeyStore, SealedAccessKey, refusal,
};
use crate::error::Result;

#[async_trait]
impl AccessKeyStore for SqliteCatalog {
    async fn access_keys(&self) -> Result<Vec<SealedAccessKey>> {
        let rows: Vec<AccessKeyRow> = self
            .read_many("access_keys", |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT id, name, buckets, prefix, scopes, created_at, expires_at, sealed FROM access_keys",
                )?;
                let rows = statement.query_map([], columns)?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await?;
        let understood = rows.into_iter().filter_map(AccessKeyRow::understood);
        Ok(understood.collect())
    }

    async fn insert_access_key(&self, key: &SealedAccessKey) -> Result<()> {
        let row = AccessKeyRow::of(key);
        self.write("insert_access_key", move |connection| {
            let (others, of_its_name): (i64, i64) = connection
                .prepare_cached("SELECT count(*), count(*) FILTER (WHERE name = ?2) FROM access_keys WHERE id <> ?1")?
                .query_row([&row.id, &row.name], |found| Ok((found.get(0)?, found.get(1)?)))?;
            if let Some(refusal) = refusal(&row.name, others, of_its_name) {
                return Err(refusal.into());
            }
            // Either of the two places is free, or this very key is in the other one.
            connection
                .prepare_cached(
                    "INSERT INTO access_keys (id, name, place, buckets, prefix, scopes, created_at, expires_at, sealed) \
                     SELECT ?1, ?2, EXISTS (SELECT 1 FROM access_keys WHERE name = ?2 AND place = 0), ?3, ?4, ?5, ?6, ?7, ?8 \
                     ON CONFLICT DO NOTHING",
                )?
                .execute(params![
                    row.id,
                    row.name,
                    row.buckets,
                    row.prefix,
                    row.scopes,
                    row.created_at,
                    row.expires_at,
                    row.sealed,
                ])?;
            changed(connection)
        })
        .await
    }

    async fn revoke_access_key(&self, id: &AccessKeyId) -> Result<bool> {
        let id = id.clone();
        self.write("revoke_access_key", move |connection| {
            let removed = connection
                .prepare_cached("DELETE FROM access_keys WHERE id = ?1")?
                .execute([id.as_str()])?;
            changed(connection)?;
            Ok(removed > 0)
        })
        .await
    }
}

fn columns(row: &Row<'_>) -> rusqlite::Result<AccessKeyRow> {
    Ok(AccessKeyRow {
        id: row.get(0)?,
        name: row.get(1)?,
        buckets: row.get(2)?,
        prefix: row.get(3)?,
        scopes: row.get(4)?,
        created_at: row.get(5)?,
        expires_at: row.get(6)?,
        sealed: row.get(7)?,
    })
}
