#!/usr/bin/env bash
# A statement that rusqlite's `prepare_cached` keeps is compiled again by SQLite every time it is used, if its LIMIT is a bound value.
#
# One would guess: a cached statement is compiled once, which is what the cache is for; and a bound LIMIT is how everybody writes a page.
# What happens: the planner of newer versions looks at the value of a bound LIMIT. rusqlite clears all values when it puts a statement back
#   into its cache, and to SQLite each next value is another one: 100 pages with the same LIMIT, 100 compilations. A literal LIMIT costs none;
#   `SQLITE_DBCONFIG_ENABLE_QPSG`, off by default, keeps the planner from looking.
# Versions: rusqlite 0.43.0 with the SQLite 3.54.1 that it brings.
# Why it matters: listings and sweeps of a catalog page like this; compiling was some 4 % of the CPU of a page of 100 rows.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
rusqlite = { version = "=0.43.0", features = ["bundled"] }
TOML
cat >src/main.rs <<'RUST'
use rusqlite::{config::DbConfig, Connection, StatementStatus};

/// How often one statement was compiled again for 100 pages.
fn compiled_again(sql: &str, stable: bool) -> i32 {
    let db = Connection::open_in_memory().expect("a database");
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, stable).expect("set");
    db.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT); CREATE INDEX i ON t (name);").expect("a table");
    let mut again = 0;
    for _ in 0..100 {
        let mut page = db.prepare_cached(sql).expect("compiled");
        if page.parameter_count() == 2 {
            page.raw_bind_parameter(2, 100).expect("bound");
        }
        page.raw_bind_parameter(1, "m").expect("bound");
        let mut rows = page.raw_query();
        while rows.next().expect("a row").is_some() {}
        drop(rows);
        again += page.reset_status(StatementStatus::RePrepare);
    }
    again
}

fn main() {
    let (bound, literal) = ("SELECT id FROM t WHERE name > ?1 ORDER BY name LIMIT ?2", "SELECT id FROM t WHERE name > ?1 ORDER BY name LIMIT 100");
    let seen = [compiled_again(bound, false), compiled_again(literal, false), compiled_again(bound, true)];
    println!("SQLite {}: compiled again for 100 pages: {} times with LIMIT ?, {} with LIMIT 100, {} with LIMIT ? and QPSG",
        rusqlite::version(), seen[0], seen[1], seen[2]);
    std::process::exit((seen[0] < 90 || seen[1] != 0 || seen[2] != 0).into());
}
RUST
export CARGO_TARGET_DIR="$dir/target"
cargo build --quiet
cargo tree --quiet | grep -oE '\b(rusqlite|libsqlite3-sys) v[0-9.]+' | sort -u
target/debug/finding || { echo "the behaviour has changed"; exit 1; }
