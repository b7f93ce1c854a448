//! PostgreSQL and PgBouncer come up, keep what they promise, and go.

use std::net::TcpStream;

use test_support::{Database, PgBouncer, Postgres};
use tokio_postgres::NoTls;

#[tokio::test]
async fn a_database_is_reached_with_its_url_and_by_nobody_without_the_password() {
    let Some(postgres) = Postgres::shared().await else {
        return;
    };
    let database = postgres.database().await;
    let client = connect(&database.url()).await;
    client
        .batch_execute("CREATE TABLE t (v TEXT); INSERT INTO t VALUES ('a'), ('B')")
        .await
        .expect("the role owns it");
    // As people sort, not as bytes do.
    assert_eq!(
        database.admin("SELECT v FROM t ORDER BY v").await,
        [[Some("a".to_owned())], [Some("B".to_owned())]]
    );

    let wrong = database.url_without_password().replace('@', ":wrong@");
    let refused = tokio_postgres::connect(&wrong, NoTls).await.err();
    let refused = refused.expect("a wrong password is refused");
    assert_eq!(
        refused.code(),
        Some(&tokio_postgres::error::SqlState::INVALID_PASSWORD)
    );
    let kept = std::fs::read_to_string(database.password_file()).expect("the file");
    assert_eq!(kept.trim_end(), database.password());
}

#[tokio::test]
async fn databases_of_two_tests_do_not_see_each_other_and_go_when_dropped() {
    let Some(postgres) = Postgres::shared().await else {
        return;
    };
    let (one, other) = (postgres.database().await, postgres.database().await);
    one.admin("CREATE TABLE t ()").await;
    other.admin("CREATE TABLE t ()").await;
    let listed = format!("SELECT 1 FROM pg_database WHERE datname = '{}'", one.name());
    assert_eq!(postgres.admin(&listed).await.len(), 1);
    drop(one);
    let gone = async {
        while !postgres.admin(&listed).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), gone)
        .await
        .expect("it goes");
}

#[tokio::test]
async fn version_18_starts() {
    let Some(postgres) = Postgres::shared_18().await else {
        return;
    };
    let database = postgres.database().await;
    connect(&database.url()).await;
    let version = postgres.admin("SHOW server_version").await;
    let version = version[0][0].clone().expect("a version");
    assert!(version.starts_with("18."), "{version}");
}

#[tokio::test]
async fn a_server_that_is_stopped_refuses_and_has_its_rows_when_it_is_started_again() {
    let Some(mut postgres) = Postgres::start().await else {
        return;
    };
    let database = postgres.database().await;
    let client = connect(&database.url()).await;
    client
        .batch_execute("CREATE TABLE t (v INT); INSERT INTO t VALUES (7)")
        .await
        .expect("committed");

    postgres.stop_immediately();
    client.query("SELECT 1", &[]).await.expect_err("cut off");
    TcpStream::connect(("127.0.0.1", postgres.port())).expect_err("nobody listens");

    postgres.start_again().await;
    let client = connect(&database.url()).await;
    let rows = client.query("SELECT v FROM t", &[]).await.expect("a row");
    assert_eq!(rows[0].get::<_, i32>(0), 7);
}

#[tokio::test]
async fn a_dropped_server_is_gone_with_its_folder() {
    let Some(postgres) = Postgres::start().await else {
        return;
    };
    let database = postgres.database().await;
    let port = postgres.port();
    assert!(database.password_file().is_file());
    drop(postgres);
    TcpStream::connect(("127.0.0.1", port)).expect_err("nobody listens");
    assert!(!database.password_file().exists());
}

#[tokio::test]
async fn with_tls_the_role_is_not_let_in_without_it() {
    let Some(postgres) = Postgres::start_tls().await else {
        return;
    };
    assert!(postgres.ca_file().is_some_and(std::path::Path::is_file));
    let database = postgres.database().await;
    let plain = format!("{}?sslmode=disable", database.url());
    tokio_postgres::connect(&plain, NoTls)
        .await
        .err()
        .expect("a connection without TLS is refused");
    // PgBouncer speaks TLS by itself.
    let Some(pool) = PgBouncer::before(&postgres).await else {
        return;
    };
    connect(&pool.url(&database)).await;
    let secured = "SELECT count(*) FROM pg_stat_ssl WHERE ssl";
    assert_eq!(postgres.admin(secured).await, [[Some("1".to_owned())]]);
}

#[tokio::test]
async fn settings_of_a_test_win() {
    let Some(postgres) = Postgres::start_with(&["max_connections=20"]).await else {
        return;
    };
    let shown = postgres.admin("SHOW max_connections").await;
    assert_eq!(shown, [[Some("20".to_owned())]]);
}

#[tokio::test]
async fn pgbouncer_serves_twenty_tasks_over_eight_connections() {
    let (Some(postgres), Some(pool)) = (Postgres::shared().await, PgBouncer::shared().await) else {
        return;
    };
    let database = postgres.database().await;
    database.admin("CREATE TABLE t (v INT)").await;
    database.admin("GRANT ALL ON t TO attache").await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..20 {
        let url = pool.url(&database);
        tasks.spawn(async move {
            let client = connect(&url).await;
            for _ in 0..5 {
                let sql = format!("BEGIN; INSERT INTO t VALUES ({task}); COMMIT");
                client.batch_execute(&sql).await.expect("inserted");
            }
            client
        });
    }
    let clients = tasks.join_all().await;
    assert_eq!(clients.len(), 20);
    let rows = database.admin("SELECT count(*) FROM t").await;
    assert_eq!(rows, [[Some("100".to_owned())]]);
    assert!(connections(&database).await <= 8);
}

#[tokio::test]
async fn pgbouncer_in_statement_mode_takes_no_transaction() {
    let Some(postgres) = Postgres::shared().await else {
        return;
    };
    let lines = &["pool_mode = statement"];
    let Some(pool) = PgBouncer::before_with(postgres, lines).await else {
        return;
    };
    let database = postgres.database().await;
    let client = connect(&pool.url(&database)).await;
    client.batch_execute("SELECT 1").await.expect("a statement");
    client.batch_execute("BEGIN").await.expect_err("refused");
    let pools = pool.admin("SHOW POOLS").await;
    let name = Some(database.name().to_owned());
    assert!(pools.iter().any(|row| row[0] == name), "{pools:?}");
}

async fn connections(database: &Database) -> usize {
    let sql =
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND usename = 'attache'";
    database.admin(sql).await.len()
}

/// A client whose connection is driven until it is dropped.
async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .unwrap_or_else(|error| panic!("{url}: {error:?}"));
    tokio::spawn(connection);
    client
}
