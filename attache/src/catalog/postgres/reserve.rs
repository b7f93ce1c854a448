//! Reservations that grow while an upload of unknown length does.

use async_trait::async_trait;
use tokio::time::Instant;

use super::ask::Ask;
use super::begin::{full, limit};
use super::failure::Failure;
use super::lane::Write;
use super::rows::get;
use super::shared::Shared;
use crate::attachment::AttachmentId;
use crate::catalog::{refusal, signed, unsigned};
use crate::error::{Error, Result};

const RESERVE: &str = "
    WITH new AS (
        SELECT * FROM unnest($1::text[], $2::int8[]) AS new (id, bytes)
    ), old AS (
        SELECT a.id, a.charged_bytes FROM attache.attachments a JOIN new ON new.id = a.id
        WHERE a.state = 'pending' AND a.worker = $3 ORDER BY a.id FOR UPDATE OF a
    ), up AS (
        UPDATE attache.attachments a SET charged_bytes = new.bytes FROM old JOIN new ON new.id = old.id
        WHERE a.id = old.id AND old.charged_bytes < new.bytes RETURNING new.bytes - old.charged_bytes AS more
    ), due AS (
        SELECT count(*) AS rows, coalesce(sum(more), 0) AS more FROM up
    ), paid AS (
        UPDATE attache.usage u
        SET reserved_bytes = CASE WHEN u.ready_bytes + u.reserved_bytes + due.more <= $4
                             THEN (u.reserved_bytes + due.more)::int8 END
        FROM due WHERE u.slot = 0 AND due.rows > 0 RETURNING 1
    )
    SELECT id, charged_bytes FROM old";

pub(super) struct Reserve {
    pub(super) id: AttachmentId,
    pub(super) bytes: u64,
    pub(super) quota: Option<u64>,
}

#[async_trait]
impl Write for Reserve {
    type Done = ();

    const NAME: &'static str = "reserve";

    fn id(&self) -> &AttachmentId {
        &self.id
    }

    async fn all(
        database: &Shared,
        writes: &[Self],
        end: Instant,
    ) -> Result<Vec<Result<()>>, Failure> {
        match raise(database, writes, end).await {
            Ok(raised) => return Ok(judge(writes, &raised)),
            Err(Failure::Quota | Failure::Other(_)) if writes.len() > 1 => {}
            Err(Failure::Quota) => return Ok(vec![Err(no_room(database, &writes[0], end).await?)]),
            Err(failure) => return Err(failure),
        }
        // Not all of them fit together.
        let mut outcomes = Vec::new();
        for write in writes {
            let one = std::slice::from_ref(write);
            outcomes.push(match raise(database, one, end).await {
                Ok(raised) => judge(one, &raised).remove(0),
                Err(Failure::Quota) => Err(no_room(database, write, end).await?),
                Err(failure) => Err(failure.into_error(Self::NAME)),
            });
        }
        Ok(outcomes)
    }
}

/// Raises all of them; gives the rows that there are.
async fn raise(
    database: &Shared,
    writes: &[Reserve],
    end: Instant,
) -> Result<Vec<String>, Failure> {
    let mut bytes = Vec::new();
    for write in writes {
        bytes.push(signed(write.bytes)?);
    }
    let quota = writes.iter().filter_map(|write| write.quota).min();
    let ask = Ask::new(RESERVE)
        .texts(writes.iter().map(|write| write.id.to_string()))
        .ints(bytes)
        .text(database.me())
        .int(limit(quota));
    let rows = database.pool.ask_until(&ask, end).await?.rows;
    rows.iter().map(|row| get(row, 0)).collect()
}

fn judge(writes: &[Reserve], raised: &[String]) -> Vec<Result<()>> {
    let outcomes =
        writes.iter().map(
            |write| match raised.iter().any(|id| id == write.id.as_str()) {
                true => Ok(()),
                false => Err(refusal::not_pending()),
            },
        );
    outcomes.collect()
}

async fn no_room(database: &Shared, write: &Reserve, end: Instant) -> Result<Error, Failure> {
    let ask = Ask::new("SELECT charged_bytes FROM attache.attachments WHERE id = $1")
        .text(write.id.as_str());
    let rows = database.pool.ask_until(&ask, end).await?.rows;
    let before: i64 = rows.first().map_or(Ok(0), |row| get(row, 0))?;
    full(database, unsigned(before), write.bytes, write.quota, end).await
}
