//! Rows that go: out of sight, then forgotten.

use std::collections::HashMap;

use async_trait::async_trait;
use tokio::time::Instant;

use super::ask::Ask;
use super::failure::Failure;
use super::lane::Write;
use super::rows::get;
use super::shared::Shared;
use crate::attachment::{AttachmentId, ObjectKey};
use crate::catalog::Abandoned;
use crate::error::Result;

/// Retires what `old` names, and gives its share back.
const UP_AND_PAID: &str = "
    up AS (
        UPDATE attache.attachments a
        SET state = 'retired', charged_bytes = 0, idempotency_key = NULL, worker = $2
        FROM gone WHERE a.id = gone.id RETURNING 1
    ), paid AS (
        UPDATE attache.usage u
        SET attachments = u.attachments - due.ready, ready_bytes = (u.ready_bytes - due.ready_bytes)::int8,
            reserved_bytes = (u.reserved_bytes - due.reserved_bytes)::int8
        FROM (
            SELECT count(*) FILTER (WHERE state <> 'retired') AS rows, count(*) FILTER (WHERE state = 'ready') AS ready,
                coalesce(sum(charged_bytes) FILTER (WHERE state = 'ready'), 0) AS ready_bytes,
                coalesce(sum(charged_bytes) FILTER (WHERE state IN ('pending', 'partial')), 0) AS reserved_bytes
            FROM gone
        ) due WHERE u.slot = 0 AND due.rows > 0 RETURNING 1
    )";

pub(super) struct Retire(pub(super) AttachmentId);

#[async_trait]
impl Write for Retire {
    type Done = Option<ObjectKey>;

    const NAME: &'static str = "retire";

    fn id(&self) -> &AttachmentId {
        &self.0
    }

    async fn all(
        database: &Shared,
        writes: &[Self],
        end: Instant,
    ) -> Result<Vec<Result<Option<ObjectKey>>>, Failure> {
        // The lock gives the newest version of a row, so there is no row only if there is none.
        let ask = Ask::new(format!(
            "WITH gone AS (
                SELECT id, object_key, state, charged_bytes FROM attache.attachments
                WHERE id = ANY($1) ORDER BY id FOR UPDATE
            ), {UP_AND_PAID}
            SELECT id, object_key FROM gone"
        ))
        .texts(writes.iter().map(|write| write.0.to_string()))
        .text(database.me());
        let mut keys: HashMap<String, ObjectKey> = HashMap::new();
        for row in &database.pool.ask_until(&ask, end).await?.rows {
            keys.insert(get(row, 0)?, ObjectKey::recorded(&get::<String>(row, 1)?)?);
        }
        let outcomes = writes.iter().map(|write| Ok(keys.remove(write.0.as_str())));
        Ok(outcomes.collect())
    }
}

pub(super) struct Forget(pub(super) AttachmentId);

#[async_trait]
impl Write for Forget {
    type Done = ();

    const NAME: &'static str = "forget";

    fn id(&self) -> &AttachmentId {
        &self.0
    }

    async fn all(
        database: &Shared,
        writes: &[Self],
        end: Instant,
    ) -> Result<Vec<Result<()>>, Failure> {
        let ask = Ask::new(
            "DELETE FROM attache.attachments WHERE id = ANY($1) AND state = 'retired' AND worker = $2",
        )
        .texts(writes.iter().map(|write| write.0.to_string()))
        .text(database.me());
        database.pool.ask_until(&ask, end).await?;
        Ok(writes.iter().map(|_| Ok(())).collect())
    }
}

/// Retires what this process may give up.
pub(super) async fn abandon(database: &Shared, id: &AttachmentId) -> Result<Abandoned, Failure> {
    let ask = Ask::new(format!(
        "WITH old AS (
            SELECT id, object_key, state, charged_bytes, worker FROM attache.attachments WHERE id = $1 FOR UPDATE
        ), gone AS (
            SELECT * FROM old WHERE state = 'retired' OR state = 'pending' AND worker = $2
        ), {UP_AND_PAID}
        SELECT object_key, EXISTS (SELECT FROM gone) FROM old"
    ))
    .text(id.as_str())
    .text(database.me());
    let rows = database.pool.ask(&ask).await?.rows;
    let Some(row) = rows.first() else {
        return Ok(Abandoned::Gone);
    };
    Ok(match get(row, 1)? {
        true => Abandoned::Retired(ObjectKey::recorded(&get::<String>(row, 0)?)?),
        false => Abandoned::Kept,
    })
}
