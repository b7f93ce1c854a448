//! Rows that no living replica works on, and how one of the others takes them over.

use time::OffsetDateTime;

use super::ask::Ask;
use super::failure::Failure;
use super::rows::get;
use super::shared::Shared;
use super::worker::DEAD_AFTER;
use crate::attachment::{AttachmentId, ObjectKey};
use crate::catalog::workers::Replica;
use crate::catalog::{Unfinished, millis};

/// Whether the process of the row `a` is dead, and this one, `$me`, fit to tell.
pub(super) fn is_dead(me: &str) -> String {
    format!(
        "(NOT EXISTS (SELECT FROM attache.workers w WHERE w.id = a.worker AND w.seen_at > clock_timestamp() - {DEAD_AFTER})
          AND EXISTS (SELECT FROM attache.workers m WHERE m.id = {me} AND m.seen_at > clock_timestamp() - {DEAD_AFTER}
                      AND m.alive_since < clock_timestamp() - {DEAD_AFTER}))"
    )
}

/// Rows that no living process works on, and retired ones of this process.
pub(super) async fn unfinished(
    database: &Shared,
    after: &str,
    limit: u32,
) -> Result<Vec<Unfinished>, Failure> {
    let ask = Ask::new(format!(
        "SELECT id, object_key, state, worker FROM attache.attachments a WHERE state <> 'ready' AND id > $1
         AND (state = 'retired' AND worker = $2
              OR (state = 'retired' OR state = 'pending' AND upload IS NULL) AND worker <> $2 AND {})
         ORDER BY id LIMIT $3",
        is_dead("$2")
    ))
    .text(after)
    .text(database.me())
    .int(i64::from(limit))
    .long();
    let rows = database.pool.ask(&ask).await?.rows;
    let each = rows.iter().map(|row| {
        Ok(Unfinished {
            id: get::<String>(row, 0)?.parse()?,
            key: ObjectKey::recorded(&get::<String>(row, 1)?)?,
            upload: get::<&str>(row, 2)? == "pending",
            is_ours: get::<&str>(row, 3)? == database.me(),
        })
    });
    each.collect()
}

/// Makes an unfinished row one of this process: one statement, so that of several one gets it.
pub(super) async fn take_over(
    database: &Shared,
    id: &AttachmentId,
    now: OffsetDateTime,
) -> Result<bool, Failure> {
    let ask = Ask::new(format!(
        "UPDATE attache.attachments a SET state = CASE a.state WHEN 'partial' THEN 'pending' ELSE a.state END, worker = $2
         WHERE a.id = $1 AND (a.state = 'retired' AND a.worker = $2
             OR a.state = 'partial' AND a.upload_expires_ms <= $3
             OR a.state IN ('pending', 'retired') AND a.worker <> $2 AND {})
         RETURNING a.id",
        is_dead("$2")
    ))
    .text(id.as_str())
    .text(database.me())
    .int(millis(now));
    let answer = database.pool.ask(&ask).await?;
    if !answer.rows.is_empty() || !answer.repeated {
        return Ok(!answer.rows.is_empty());
    }
    // The first try may have happened, and its answer was lost.
    let ask = Ask::new(
        "SELECT id FROM attache.attachments WHERE id = $1 AND state IN ('pending', 'retired') AND worker = $2",
    )
    .text(id.as_str())
    .text(database.me());
    Ok(!database.pool.ask(&ask).await?.rows.is_empty())
}

/// The replicas that live.
pub(super) async fn replicas(database: &Shared) -> Result<Vec<Replica>, Failure> {
    let ask = Ask::new(format!(
        "SELECT id FROM attache.workers WHERE seen_at > clock_timestamp() - {DEAD_AFTER} ORDER BY started_at, id"
    ));
    let rows = database.pool.ask(&ask).await?.rows;
    let each = rows.iter().map(|row| {
        let id: String = get(row, 0)?;
        Ok(Replica {
            is_this: id == database.me(),
            id,
        })
    });
    each.collect()
}
