//! Pages of a listing, newest first: each is read from an index in its order.
//!
//! A kind of owners (`page:*`) is an equality in an index of its own: by statistics alone the planner walks millions of rows for some
//! kinds. Several patterns are read in one statement each way, of ids from the indexes alone, and their newest are merged. For a
//! prefix that is longer than a kind two ways take turns in steps that grow, as in SQLite.

use std::collections::BTreeSet;

use super::ask::Ask;
use super::failure::Failure;
use super::rows::{COLUMNS, attachment, get};
use super::shared::Shared;
use crate::attachment::Attachment;
use crate::catalog::Page;
use crate::catalog::range::{Place, Range, after, end, kind, ranges};

/// Entries that each of the two ways looks at in its first step. Walking or counting as many takes half a millisecond.
const STEP: i64 = 500;

/// How often a page is read again because some of it was retired meanwhile.
const TRIES: usize = 5;

pub(super) async fn page(database: &Shared, page: &Page) -> Result<Vec<Attachment>, Failure> {
    let ranges = ranges(page);
    let after = after(page);
    let limit = i64::from(page.limit);
    match ranges.as_slice() {
        [] => return Ok(Vec::new()),
        [Range::All] => return rows(database, "", None, &after, limit).await,
        [Range::Owner(owner)] => {
            return rows(database, " AND owner = $4", Some(owner), &after, limit).await;
        }
        [Range::Kind(of)] => {
            let clause = " AND split_part(owner, ':', 1) = $4";
            return rows(database, clause, Some(bare(of)), &after, limit).await;
        }
        _ => {}
    }
    let mut found = Vec::new();
    for _ in 0..TRIES {
        let newest = newest(database, &ranges, &after, limit).await?;
        found = whole(database, &newest).await?;
        if found.len() == newest.len() {
            break;
        }
    }
    Ok(found)
}

/// `page` of `page:`.
fn bare(kind: &str) -> &str {
    kind.strip_suffix(':').unwrap_or(kind)
}

/// The newest of a range after `after`, whole.
async fn rows(
    database: &Shared,
    clause: &str,
    of: Option<&str>,
    (ms, id): &Place,
    limit: i64,
) -> Result<Vec<Attachment>, Failure> {
    let mut ask = Ask::new(format!(
        "SELECT {COLUMNS} FROM attache.attachments WHERE state = 'ready' AND (created_at_ms, id) < ($1, $2){clause} \
         ORDER BY created_at_ms DESC, id DESC LIMIT $3"
    ))
    .int(*ms)
    .text(id)
    .int(limit)
    .long();
    if let Some(of) = of {
        ask = ask.text(of);
    }
    let rows = database.pool.ask(&ask).await?.rows;
    rows.iter().map(attachment).collect()
}

/// Where the newest of all ranges stand.
async fn newest(
    database: &Shared,
    ranges: &[Range<'_>],
    after: &Place,
    limit: i64,
) -> Result<Vec<Place>, Failure> {
    let (mut kinds, mut owners, mut prefixes) = (Vec::new(), Vec::new(), Vec::new());
    for range in ranges {
        match range {
            // Covers all others, so it is alone.
            Range::All => {}
            Range::Kind(kind) => kinds.push(bare(kind).to_owned()),
            Range::Owner(owner) => owners.push((*owner).to_owned()),
            Range::Prefix(prefix) => prefixes.push(*prefix),
        }
    }
    let mut newest = BTreeSet::new();
    newest.extend(of_each(database, "split_part(owner, ':', 1)", kinds, after, limit).await?);
    newest.extend(of_each(database, "owner", owners, after, limit).await?);
    for prefix in prefixes {
        newest.extend(race(database, prefix, after, limit).await?);
        while newest.len() > usize::try_from(limit).unwrap_or(usize::MAX) {
            newest.pop_first();
        }
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(newest.into_iter().rev().take(limit).collect())
}

/// Where the newest of several kinds, or of several owners, stand: the newest of each, from its index, and the newest of those.
async fn of_each(
    database: &Shared,
    column: &str,
    each: Vec<String>,
    (ms, id): &Place,
    limit: i64,
) -> Result<Vec<Place>, Failure> {
    if each.is_empty() {
        return Ok(Vec::new());
    }
    let ask = Ask::new(format!(
        "SELECT x.created_at_ms, x.id FROM unnest($4::text[]) AS each (one) CROSS JOIN LATERAL (
             SELECT created_at_ms, id FROM attache.attachments
             WHERE state = 'ready' AND {column} = each.one AND (created_at_ms, id) < ($1, $2)
             ORDER BY created_at_ms DESC, id DESC LIMIT $3
         ) x ORDER BY 1 DESC, 2 DESC LIMIT $3"
    ))
    .int(*ms)
    .text(id)
    .int(limit)
    .texts(each)
    .long();
    places(database, &ask).await
}

async fn places(database: &Shared, ask: &Ask) -> Result<Vec<Place>, Failure> {
    let rows = database.pool.ask(ask).await?.rows;
    rows.iter()
        .map(|row| Ok((get(row, 0)?, get(row, 1)?)))
        .collect()
}

/// The attachments at these places, in their order.
async fn whole(database: &Shared, places: &[Place]) -> Result<Vec<Attachment>, Failure> {
    let ask = Ask::new(format!(
        "SELECT {COLUMNS} FROM attache.attachments WHERE id = ANY($1) AND state = 'ready' \
         ORDER BY created_at_ms DESC, id DESC"
    ))
    .texts(places.iter().map(|(_, id)| id.clone()))
    .long();
    let rows = database.pool.ask(&ask).await?.rows;
    rows.iter().map(attachment).collect()
}

/// How many rows have a prefix, counted up to `$3`. `OFFSET 0` keeps the planner from another way.
const COUNT: &str = "SELECT count(*) FROM (
    SELECT 1 FROM attache.attachments WHERE state = 'ready' AND owner >= $1 AND owner < $2 OFFSET 0 LIMIT $3) x";

/// All that has a prefix, sorted.
const SORT: &str = "SELECT created_at_ms, id FROM (
    SELECT created_at_ms, id FROM attache.attachments WHERE state = 'ready' AND owner >= $4 AND owner < $5 OFFSET 0) x
    WHERE (created_at_ms, id) < ($1, $2) ORDER BY created_at_ms DESC, id DESC LIMIT $3";

/// The next `$5` entries of a kind: those of them that have the prefix, how many there were, and the last one.
const WALK: &str = "
    WITH walked AS (
        SELECT created_at_ms, id, owner FROM attache.attachments
        WHERE state = 'ready' AND split_part(owner, ':', 1) = $4 AND (created_at_ms, id) < ($1, $2)
        ORDER BY created_at_ms DESC, id DESC LIMIT $5
    )
    (SELECT created_at_ms, id, true, 0::int8 FROM walked WHERE starts_with(owner, $6)
     ORDER BY created_at_ms DESC, id DESC LIMIT $3)
    UNION ALL
    (SELECT created_at_ms, id, false, (SELECT count(*) FROM walked) FROM walked ORDER BY created_at_ms, id LIMIT 1)";

/// The newest with a prefix that is longer than a kind. Costs a few times what the cheaper of the two ways costs.
async fn race(
    database: &Shared,
    prefix: &str,
    after: &Place,
    limit: i64,
) -> Result<Vec<Place>, Failure> {
    let end = end(prefix);
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut found, mut at, mut step, mut walked_so_far) = (Vec::new(), after.clone(), STEP, 0);
    loop {
        let count = Ask::new(COUNT).text(prefix).text(&end).int(step + 1).long();
        let counted = database.pool.ask(&count).await?;
        let rows: i64 = counted.rows.first().map_or(Ok(0), |row| get(row, 0))?;
        if rows <= step {
            let sort = Ask::new(SORT)
                .int(after.0)
                .text(&after.1)
                .int(limit)
                .text(prefix)
                .text(&end)
                .long();
            return places(database, &sort).await;
        }
        let walk = Ask::new(WALK)
            .int(at.0)
            .text(&at.1)
            .int(limit)
            .text(bare(kind(prefix)))
            .int(step)
            .text(prefix)
            .long();
        let walked = database.pool.ask(&walk).await?;
        let mut last = None;
        for row in &walked.rows {
            let place: Place = (get(row, 0)?, get(row, 1)?);
            match get(row, 2)? {
                true => found.push(place),
                false => last = Some((place, get::<i64>(row, 3)?)),
            }
        }
        found.truncate(wanted);
        match last {
            Some((place, rows)) if rows == step && found.len() < wanted => at = place,
            _ => return Ok(found),
        }
        walked_so_far += step;
        step = next_step(step, walked_so_far, found.len(), wanted);
    }
}

/// How many entries to look at next: four times as many, or, where some were found, about as many as the rest should take, but no more
/// than sixteen times as many.
fn next_step(step: i64, walked: i64, found: usize, wanted: usize) -> i64 {
    let most = step.saturating_mul(4);
    let Ok(found) = i64::try_from(found) else {
        return most;
    };
    let missing = i64::try_from(wanted)
        .unwrap_or(i64::MAX)
        .saturating_sub(found);
    match walked.checked_div(found) {
        // A quarter more, because they lie unevenly.
        Some(apart) => missing.saturating_mul(apart).saturating_mul(5) / 4,
        None => most,
    }
    .clamp(STEP, step.saturating_mul(16))
}
