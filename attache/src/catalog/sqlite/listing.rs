//! Pages of a listing, newest first: each is read from an index in its order, so that a page costs what is on it and not what
//! could be.
//!
//! Several patterns of owners are several such reads, of ids alone, whose newest are merged. A prefix that is longer than a
//! kind (`page:2026-*`) has no index in the order of a page; for it two ways race in steps that grow: to walk what is newest
//! of its kind, which is fast where the prefix is common, and to sort all that has the prefix, which is fast where it is
//! rare. That needs no statistics, which SQLite would have only after an `ANALYZE`.

use std::collections::BTreeSet;

use rusqlite::{Connection, Row, params};

use super::failure::Failure;
use super::rows::{COLUMNS, attachment, ready};
use crate::attachment::Attachment;
use crate::catalog::Page;
use crate::catalog::range::{Place, Range, after, end, kind, ranges};

/// Entries that each of the two ways looks at before the other has its turn, at first; then four times as many. Measured on
/// a million rows: 2,000 are walked or counted in about 0.2 ms.
const STEP: u32 = 2_000;

pub(super) fn page(connection: &Connection, page: &Page) -> Result<Vec<Attachment>, Failure> {
    let ranges = ranges(page);
    let after = after(page);
    let limit = page.limit;
    // One statement is one look at the database by itself.
    match ranges.as_slice() {
        [] => return Ok(Vec::new()),
        [Range::All] => return rows(connection, ALL, &after, limit, None),
        [Range::Owner(owner)] => return rows(connection, OWNER, &after, limit, Some(owner)),
        [Range::Kind(kind)] => return rows(connection, KIND, &after, limit, Some(kind)),
        _ => {}
    }
    // Of several it is one, whatever is written meanwhile.
    let transaction = connection.unchecked_transaction()?;
    let mut newest = BTreeSet::new();
    for range in &ranges {
        newest.extend(match range {
            Range::All => places(&transaction, ALL, &after, limit, None)?,
            Range::Owner(owner) => places(&transaction, OWNER, &after, limit, Some(owner))?,
            Range::Kind(kind) => places(&transaction, KIND, &after, limit, Some(kind))?,
            Range::Prefix(prefix) => race(&transaction, prefix, &after, limit)?,
        });
        while newest.len() > limit as usize {
            newest.pop_first();
        }
    }
    let found = newest
        .into_iter()
        .rev()
        .map(|(_, id)| ready(&transaction, &id.parse()?))
        .collect::<Result<_, Failure>>()?;
    transaction.finish()?;
    Ok(found)
}

const ALL: &str = "";
const OWNER: &str = " AND owner = ?4";
const KIND: &str = " AND substr(owner, 1, instr(owner, ':')) = ?4";

/// The statement that reads `columns` of a range in the order of a listing.
fn statement(columns: &str, range: &str) -> String {
    format!(
        "SELECT {columns} FROM attachments WHERE state = 'ready' AND (created_at_ms, id) < (?1, ?2){range} \
         ORDER BY created_at_ms DESC, id DESC LIMIT ?3"
    )
}

/// The newest of a range after `after`, whole.
fn rows(
    connection: &Connection,
    range: &str,
    after: &Place,
    limit: u32,
    of: Option<&str>,
) -> Result<Vec<Attachment>, Failure> {
    select(
        connection,
        &statement(COLUMNS, range),
        after,
        limit,
        of,
        attachment,
    )
}

/// The newest of a range after `after`: where they stand.
fn places(
    connection: &Connection,
    range: &str,
    after: &Place,
    limit: u32,
    of: Option<&str>,
) -> Result<Vec<Place>, Failure> {
    let statement = statement("created_at_ms, id", range);
    select(connection, &statement, after, limit, of, |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}

fn select<T>(
    connection: &Connection,
    statement: &str,
    (ms, id): &Place,
    limit: u32,
    of: Option<&str>,
    read: impl Fn(&Row<'_>) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let mut statement = connection.prepare_cached(statement)?;
    let mut rows = match of {
        Some(of) => statement.query(params![ms, id, limit, of])?,
        None => statement.query(params![ms, id, limit])?,
    };
    let mut list = Vec::new();
    while let Some(row) = rows.next()? {
        list.push(read(row)?);
    }
    Ok(list)
}

/// Whether at most `?3` rows have a prefix. From one index alone.
const COUNT: &str = "SELECT count(*) FROM (SELECT 1 FROM attachments INDEXED BY attachments_of_owner \
                     WHERE state = 'ready' AND owner >= ?1 AND owner < ?2 LIMIT ?3)";

/// All that has a prefix, sorted.
const SORT: &str = "SELECT created_at_ms, id FROM attachments INDEXED BY attachments_of_owner \
                    WHERE state = 'ready' AND owner >= ?4 AND owner < ?5 AND (created_at_ms, id) < (?1, ?2) \
                    ORDER BY created_at_ms DESC, id DESC LIMIT ?3";

/// What is newest of a kind, with its owners.
const WALK: &str = "SELECT created_at_ms, id, owner FROM attachments INDEXED BY attachments_of_kind \
                    WHERE state = 'ready' AND substr(owner, 1, instr(owner, ':')) = ?3 \
                    AND (created_at_ms, id) < (?1, ?2) ORDER BY created_at_ms DESC, id DESC";

/// The newest with a prefix that is longer than a kind. Costs at most about twice what the cheaper of the two ways costs.
fn race(
    connection: &Connection,
    prefix: &str,
    (ms, id): &Place,
    limit: u32,
) -> Result<Vec<Place>, Failure> {
    let end = end(prefix);
    let mut walk = connection.prepare_cached(WALK)?;
    let mut walked = walk.query(params![ms, id, kind(prefix)])?;
    let mut found = Vec::new();
    let mut step = STEP;
    loop {
        let rows: u32 = connection
            .prepare_cached(COUNT)?
            .query_row(params![prefix, end, step + 1], |row| row.get(0))?;
        if rows <= step {
            let mut sort = connection.prepare_cached(SORT)?;
            let rows = sort.query_map(params![ms, id, limit, prefix, end], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
            return Ok(rows.collect::<rusqlite::Result<_>>()?);
        }
        for _ in 0..step {
            let Some(row) = walked.next()? else {
                return Ok(found);
            };
            if row
                .get_ref(2)?
                .as_bytes()
                .is_ok_and(|owner| owner.starts_with(prefix.as_bytes()))
            {
                found.push((row.get(0)?, row.get(1)?));
                if found.len() == limit as usize {
                    return Ok(found);
                }
            }
        }
        step = step.saturating_mul(4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_read_a_page_follows_an_index_and_none_but_the_rare_prefix_sorts() {
        let folder = tempfile::tempdir().expect("a folder");
        let catalog = super::super::SqliteCatalog::open(&folder.path().join("c.db")).expect("made");
        let connection = super::super::connect(&folder.path().join("c.db")).expect("opened");
        let plan = |sql: &str| -> String {
            let mut explain = connection
                .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
                .expect("valid");
            for parameter in 1..=explain.parameter_count() {
                explain.raw_bind_parameter(parameter, "1").expect("bound");
            }
            let mut rows = explain.raw_query();
            let mut lines = Vec::new();
            while let Some(row) = rows.next().expect("a row") {
                lines.push(row.get::<_, String>(3).expect("text"));
            }
            lines.join("\n")
        };
        for (range, index) in [
            (ALL, "attachments_newest"),
            (OWNER, "attachments_of_owner"),
            (KIND, "attachments_of_kind"),
        ] {
            for columns in [COLUMNS, "created_at_ms, id"] {
                let plan = plan(&statement(columns, range));
                assert!(plan.contains(&format!("INDEX {index} ")), "{plan}");
                assert!(
                    !plan.contains("TEMP B-TREE") && !plan.contains("SCAN"),
                    "{plan}"
                );
            }
        }
        for (sql, index) in [
            (COUNT, "COVERING INDEX attachments_of_owner "),
            (SORT, "COVERING INDEX attachments_of_owner "),
            (WALK, "COVERING INDEX attachments_of_kind "),
        ] {
            let plan = plan(sql);
            assert!(plan.contains(index), "{plan}");
            assert_eq!(plan.contains("TEMP B-TREE"), sql == SORT, "{plan}");
        }
        drop(catalog);
    }
}
