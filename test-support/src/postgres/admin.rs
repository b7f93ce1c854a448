//! SQL past attache and its pools, as superuser.

use tokio_postgres::{Config, NoTls, SimpleQueryMessage};

pub(crate) const SUPERUSER: &str = "postgres";
pub(crate) const SUPERUSER_PASSWORD: &str = "superuser";

/// Runs `sql` on a connection of its own and gives the rows of all statements, as texts. Panics with what the server says
/// if it refuses.
pub(crate) async fn run(port: u16, database: &str, sql: &str) -> Vec<Vec<Option<String>>> {
    attempt(port, database, sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
}

/// As [`run`], with the error for whoever expects one.
pub(super) async fn attempt(
    port: u16,
    database: &str,
    sql: &str,
) -> Result<Vec<Vec<Option<String>>>, tokio_postgres::Error> {
    let (client, connection) = Config::new()
        .host("127.0.0.1")
        .port(port)
        .user(SUPERUSER)
        .password(SUPERUSER_PASSWORD)
        .dbname(database)
        .connect(NoTls)
        .await?;
    let connection = tokio::spawn(connection);
    let messages = client.simple_query(sql).await;
    drop(client);
    // It says goodbye, so that nothing of this is still connected afterwards.
    let _ = connection.await;
    Ok(messages?.iter().filter_map(row).collect())
}

/// The statement that makes a role with a password.
pub(super) fn create_role(name: &str, password: &str) -> String {
    let password = password.replace('\'', "''");
    format!("CREATE ROLE {name} LOGIN PASSWORD '{password}'")
}

fn row(message: &SimpleQueryMessage) -> Option<Vec<Option<String>>> {
    match message {
        SimpleQueryMessage::Row(row) => Some(
            (0..row.len())
                .map(|column| row.get(column).map(str::to_owned))
                .collect(),
        ),
        _ => None,
    }
}
