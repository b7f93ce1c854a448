//! Whether the counter of a catalog is what its rows say. The server's own tests use it, too.

use test_support::Database;

/// The numbers of one row.
pub(crate) async fn numbers(database: &Database, sql: &str) -> Vec<i64> {
    let rows = database.admin(sql).await;
    let row = rows.into_iter().next().expect("a row");
    let number = |text: Option<String>| text.expect("not NULL").parse().expect("a number");
    row.into_iter().map(number).collect()
}

/// That the counter is what the rows say, in one look; how many bytes are used.
pub(crate) async fn check(database: &Database) -> u64 {
    let all = numbers(
        database,
        "SELECT u.attachments, u.ready_bytes, u.reserved_bytes, r.attachments, r.ready_bytes, r.reserved_bytes FROM
         (SELECT count(*) FILTER (WHERE state = 'ready') AS attachments,
              coalesce(sum(charged_bytes) FILTER (WHERE state = 'ready'), 0)::int8 AS ready_bytes,
              coalesce(sum(charged_bytes) FILTER (WHERE state <> 'ready'), 0)::int8 AS reserved_bytes
          FROM attache.attachments) r, attache.usage u",
    )
    .await;
    assert_eq!(all[..3], all[3..], "the books");
    u64::try_from(all[1] + all[2]).expect("not negative")
}
