//! Catalogs of very many attachments, made in seconds.
//!
//! Rows are copies of one that attache itself has written, each with an id, a key and a time of its own, put into the SQLite file
//! while no server has it open. So they have every column and every index as of the version that is measured; what they do not have is
//! the order of disk pages that years of deleting leave behind.

use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

use crate::Outcome;

/// A catalog that is filled by copies of one row.
pub struct Catalog {
    path: PathBuf,
    /// The attachment that attache stored.
    pub model: String,
    /// Rows, with that of the model.
    pub rows: u64,
}

impl Catalog {
    /// The catalog of the attache that keeps what it keeps in `folder`, where it has stored `model` and nothing else.
    pub fn of(folder: &Path, model: String) -> Self {
        Self {
            path: folder.join("attache-data/attache.db"),
            model,
            rows: 1,
        }
    }

    /// Adds copies until there are `rows`. No server may be running.
    pub fn fill(&mut self, rows: u64) -> Outcome<()> {
        let mut connection = Connection::open(&self.path)?;
        // No log and no waiting for the disk: what is half written when this breaks off is thrown away with the run.
        connection.execute_batch(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -262144;",
        )?;
        let transaction = connection.transaction()?;
        {
            let mut copy = transaction.prepare(&copy_statement(&transaction)?)?;
            for number in self.rows - 1..rows - 1 {
                let id = id_of(number);
                copy.execute(params![
                    id,
                    key_of(&id),
                    i64::try_from(made_at(number))?,
                    self.model
                ])?;
            }
            // What the transactions of attache keep beside the rows.
            transaction.execute(
                "UPDATE usage SET attachments = ?1, ready_bytes = ?1 * (SELECT size FROM attachments WHERE id = ?2)",
                params![i64::try_from(rows)?, self.model],
            )?;
        }
        transaction.commit()?;
        connection.execute_batch("PRAGMA journal_mode = WAL;")?;
        drop(connection);
        // What is still to be written is written now, and not while something is measured.
        File::open(&self.path)?.sync_all()?;
        self.rows = rows;
        Ok(())
    }

    /// One of the copies, at random, the same for the same `draw`.
    pub fn any(rows: u64, draw: u64) -> String {
        id_of(mixed(draw) % (rows - 1))
    }
}

/// All columns of the model, but for those that tell rows apart.
fn copy_statement(connection: &Connection) -> Outcome<String> {
    let mut columns = connection.prepare("SELECT name FROM pragma_table_info('attachments')")?;
    let columns: Vec<String> = columns
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let values: Vec<&str> = columns
        .iter()
        .map(|column| match column.as_str() {
            "id" => "?1",
            "object_key" => "?2",
            "created_at_ms" => "?3",
            column => column,
        })
        .collect();
    Ok(format!(
        "INSERT INTO attachments ({}) SELECT {} FROM attachments WHERE id = ?4",
        columns.join(", "),
        values.join(", ")
    ))
}

/// The key that attache gives to an attachment without an owner whose name ends in `.bin`.
fn key_of(id: &str) -> String {
    format!("user/{id}.bin")
}

/// The id of the n-th copy: a UUID of version 7 (RFC 9562 section 5.7), whose random bits are the same in every run.
pub fn id_of(number: u64) -> String {
    let (at, random) = (made_at(number), mixed(number));
    format!(
        "{:08x}-{:04x}-7{:03x}-{:04x}-{:012x}",
        at >> 16,
        at & 0xffff,
        random >> 52,
        0x8000 | (random >> 36) & 0x3fff,
        mixed(random) >> 16
    )
}

/// Milliseconds since 1970: one each from 2023-11-14 on, before everything that is stored during a run.
fn made_at(number: u64) -> u64 {
    1_700_000_000_000 + number
}

/// SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>): numbers that look random, and are the same in every run.
pub fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
