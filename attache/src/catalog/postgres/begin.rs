//! Uploads that begin, and what they reserve.

use async_trait::async_trait;
use futures::future::join_all;
use tokio::time::Instant;

use super::ask::Ask;
use super::failure::Failure;
use super::lane::Write;
use super::rows::{COLUMNS, attachment, get};
use super::shared::Shared;
use crate::attachment::AttachmentId;
use crate::catalog::{Begun, Draft, millis, refusal, signed, unsigned};
use crate::error::{Error, Result};

/// How often an answer that says nothing is asked for again. A row that another transaction made after the statement's look at the
/// tables is seen by the next statement.
const LOOKS: usize = 20;

/// Writes that cannot be done together, at a time.
const SINGLES: usize = 8;

/// Rows first and the counter last, so that it is locked for the shortest time. If not all fit, the counter becomes NULL, which
/// undoes the statement.
const BEGIN: &str = "
    WITH new AS (
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int8[], $7::text[], $8::int8[],
                             $9::int8[], $10::text[])
            AS new (id, object_key, owner, filename, content_type, created_at_ms, created_by, reserve, demand, idempotency_key)
    ), ins AS (
        INSERT INTO attache.attachments (id, object_key, state, owner, filename, content_type, created_at_ms, created_by,
                                         charged_bytes, worker, idempotency_key)
        SELECT id, object_key, 'pending', owner, filename, content_type, created_at_ms, created_by, reserve, $11, idempotency_key
        FROM new ORDER BY idempotency_key, id
        ON CONFLICT DO NOTHING RETURNING id
    ), due AS (
        SELECT count(*) AS rows, coalesce(sum(reserve), 0) AS reserve, coalesce(sum(demand), 0) AS demand
        FROM ins JOIN new USING (id)
    ), paid AS (
        UPDATE attache.usage u
        SET reserved_bytes = CASE WHEN u.ready_bytes + u.reserved_bytes + due.demand <= $12
                             THEN (u.reserved_bytes + due.reserve)::int8 END
        FROM due WHERE u.slot = 0 AND due.rows > 0 RETURNING 1
    )
    SELECT id FROM ins";

pub(super) struct Begin(pub(super) Draft);

#[async_trait]
impl Write for Begin {
    type Done = Begun;

    const NAME: &'static str = "begin";

    fn id(&self) -> &AttachmentId {
        &self.0.id
    }

    async fn all(
        database: &Shared,
        writes: &[Self],
        end: Instant,
    ) -> Result<Vec<Result<Begun>>, Failure> {
        let drafts: Vec<&Draft> = writes.iter().map(|begin| &begin.0).collect();
        let (made, repeated) = match insert(database, &drafts, end).await {
            Ok(done) => done,
            // Not all of them fit together, or their sum cannot be counted.
            Err(Failure::Quota | Failure::Other(_)) if drafts.len() > 1 => (Vec::new(), false),
            Err(Failure::Quota) => return Ok(vec![Err(no_room(database, drafts[0], end).await?)]),
            Err(failure) => return Err(failure),
        };
        let mut outcomes = Vec::with_capacity(drafts.len());
        for some in drafts.chunks(SINGLES) {
            let mut asked = Vec::with_capacity(some.len());
            for draft in some {
                asked.push(settle(
                    database,
                    draft,
                    made.contains(&draft.id),
                    repeated,
                    end,
                ));
            }
            outcomes.extend(join_all(asked).await);
        }
        Ok(outcomes)
    }
}

async fn settle(
    database: &Shared,
    draft: &Draft,
    is_new: bool,
    repeated: bool,
    end: Instant,
) -> Result<Begun> {
    match is_new {
        true => Ok(Begun::New),
        false => single(database, draft, repeated, end)
            .await
            .unwrap_or_else(|failure| Err(failure.into_error(Begin::NAME))),
    }
}

/// Makes the rows of drafts that nothing is in the way of; which, and whether an earlier try may have made others.
async fn insert(
    database: &Shared,
    drafts: &[&Draft],
    end: Instant,
) -> Result<(Vec<AttachmentId>, bool), Failure> {
    let each = || drafts.iter();
    let mut reserves = Vec::new();
    let mut demands = Vec::new();
    for draft in drafts {
        reserves.push(signed(draft.reserve)?);
        demands.push(signed(draft.reserve.max(draft.size.unwrap_or(0)))?);
    }
    let quota = each().filter_map(|draft| draft.quota).min();
    let ask = Ask::new(BEGIN)
        .texts(each().map(|draft| draft.id.to_string()))
        .texts(each().map(|draft| draft.key.to_string()))
        .some_texts(each().map(|draft| draft.owner.as_ref().map(ToString::to_string)))
        .texts(each().map(|draft| draft.filename.to_string()))
        .texts(each().map(|draft| draft.content_type.clone()))
        .ints(each().map(|draft| millis(draft.created_at)))
        .some_texts(each().map(|draft| draft.created_by.as_ref().map(ToString::to_string)))
        .ints(reserves)
        .ints(demands)
        .some_texts(each().map(|draft| {
            let key = draft.idempotency_key.as_ref();
            key.map(|key| key.as_str().to_owned())
        }))
        .text(database.me())
        .int(limit(quota));
    let answer = database.pool.ask_until(&ask, end).await?;
    let ids = answer
        .rows
        .iter()
        .map(|row| Ok(get::<String>(row, 0)?.parse()?));
    Ok((ids.collect::<Result<_, Failure>>()?, answer.repeated))
}

/// Begins one upload, or says why not.
async fn single(
    database: &Shared,
    draft: &Draft,
    mut repeated: bool,
    end: Instant,
) -> Result<Result<Begun>, Failure> {
    for _ in 0..LOOKS {
        if let Some(outcome) = in_the_way(database, draft, repeated, end).await? {
            return Ok(outcome);
        }
        match insert(database, &[draft], end).await {
            Ok((made, _)) if !made.is_empty() => return Ok(Ok(Begun::New)),
            Ok((_, again)) => repeated |= again,
            Err(Failure::Quota) => return Ok(Err(no_room(database, draft, end).await?)),
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::Busy(
        "others begin and end uploads with the same Idempotency-Key",
        "no answer".into(),
    ))
}

/// What the row says that keeps this one from being made; `None` if there is none.
async fn in_the_way(
    database: &Shared,
    draft: &Draft,
    repeated: bool,
    end: Instant,
) -> Result<Option<Result<Begun>>, Failure> {
    let key = draft.idempotency_key.as_ref();
    let ask = Ask::new(format!(
        "SELECT {COLUMNS}, state, worker, coalesce(idempotency_key = $3, false) FROM attache.attachments \
         WHERE id = $1 OR object_key = $2 OR idempotency_key = $3 ORDER BY 16 DESC LIMIT 1"
    ))
    .text(draft.id.as_str())
    .text(draft.key.as_str())
    .some_text(key.map(|key| key.as_str().to_owned()));
    let rows = database.pool.ask_until(&ask, end).await?.rows;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let (id, state, worker): (String, String, String) =
        (get(row, 0)?, get(row, 13)?, get(row, 14)?);
    let by_key: bool = get(row, 15)?;
    // The answer to an earlier try of this very call was lost.
    if repeated && id == draft.id.as_str() && state == "pending" && worker == database.me() {
        return Ok(Some(Ok(Begun::New)));
    }
    Ok(Some(match (by_key, state.as_str()) {
        (false, _) => Err(refusal::id_taken(&draft.id)),
        (true, "ready") => refusal::repeated(draft, attachment(row)?),
        (true, _) => Err(refusal::key_in_progress()),
    }))
}

/// The sentence for a file that does not fit.
async fn no_room(database: &Shared, draft: &Draft, end: Instant) -> Result<Error, Failure> {
    let wanted = draft.reserve.max(draft.size.unwrap_or(0));
    full(database, 0, wanted, draft.quota, end).await
}

/// The sentence for a share of `wanted` bytes that does not fit where one of `before` did.
pub(super) async fn full(
    database: &Shared,
    before: u64,
    wanted: u64,
    quota: Option<u64>,
    end: Instant,
) -> Result<Error, Failure> {
    let ask = Ask::new("SELECT ready_bytes + reserved_bytes FROM attache.usage WHERE slot = 0");
    let rows = database.pool.ask_until(&ask, end).await?.rows;
    let used: i64 = rows.first().map_or(Ok(0), |row| get(row, 0))?;
    let used = unsigned(used).saturating_sub(before);
    Ok(refusal::quota_exceeded(
        used,
        wanted,
        quota.unwrap_or(u64::MAX),
    ))
}

/// A quota as the statements compare it.
pub(super) fn limit(quota: Option<u64>) -> i64 {
    quota.map_or(i64::MAX, |quota| i64::try_from(quota).unwrap_or(i64::MAX))
}
