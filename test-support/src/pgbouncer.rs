//! PgBouncer, a pool of connections between attache and PostgreSQL.

use std::process::Command;

use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::daemon::{Daemon, Started, free_port};
use crate::postgres::{Database, Postgres, SUPERUSER, SUPERUSER_PASSWORD, database_url, run_sql};
use crate::tool;
use crate::unprivileged::Unprivileged;

/// A running [PgBouncer](https://www.pgbouncer.org) on a free port of 127.0.0.1, before any database of one server.
///
/// It pools transactions: a client has a connection of the server only while a transaction runs, so nothing that belongs to
/// a session (`SET`, `LISTEN`, advisory locks of sessions, prepared statements) is there the next time. 8 connections to
/// the server for each database, 300 clients. What it remembers of a server that did not let it in is tried again after 1 s.
#[derive(Debug)]
pub struct PgBouncer {
    port: u16,
    // Dropped in this order: the process first, then the folder that it runs in.
    _process: Daemon,
    _folder: TempDir,
}

impl PgBouncer {
    /// Starts one before `postgres`. Panics if it does not start.
    pub async fn before(postgres: &Postgres) -> Option<Self> {
        Self::before_with(postgres, &[]).await
    }

    /// Starts one with lines of its own in the section `[pgbouncer]`, such as `pool_mode = statement`; they win over those
    /// of this type. Panics if it does not start.
    pub async fn before_with(postgres: &Postgres, lines: &[&str]) -> Option<Self> {
        let pgbouncer = tool::pgbouncer()?;
        let folder = TempDir::with_prefix("attache-pgbouncer-").expect("a temporary folder");
        let user = Unprivileged::in_folder(folder.path());
        let (users, file) = (folder.path().join("users"), folder.path().join("ini"));
        // Passwords as they are: with those it answers clients by SCRAM, and signs in to the server by SCRAM.
        let role = format!("\"{}\" \"{}\"\n", Postgres::ROLE, Postgres::PASSWORD);
        let superuser = format!("\"{SUPERUSER}\" \"{SUPERUSER_PASSWORD}\"\n");
        std::fs::write(&users, role + &superuser).expect("a folder of ours");
        user.give(&users);
        loop {
            let port = free_port();
            let text = configuration(postgres.port(), port, lines);
            std::fs::write(&file, text).expect("a folder of ours");
            user.give(&file);
            let mut command = Command::new("sh");
            command
                .args(["-c", STARTED_AGAIN])
                .arg(&pgbouncer)
                .arg(&file);
            // In all versions `TERM` ends it without waiting for clients.
            let process = Daemon::start(user, folder.path(), &command, "TERM", started).await;
            if let Some(process) = process {
                return Some(Self {
                    port,
                    _process: process,
                    _folder: folder,
                });
            }
        }
    }

    /// The one before [`Postgres::shared`] that all tests of this binary share.
    pub async fn shared() -> Option<&'static Self> {
        static SHARED: OnceCell<Option<PgBouncer>> = OnceCell::const_new();
        let start = async || Self::before(Postgres::shared().await?).await;
        SHARED.get_or_init(start).await.as_ref()
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of `database`, which must be of the server behind, through this pool.
    pub fn url(&self, database: &Database) -> String {
        database_url(Some(Postgres::PASSWORD), self.port, database.name())
    }

    /// Runs a command of its console, such as `SHOW POOLS`; gives the rows as texts.
    ///
    /// Panics with what PgBouncer says if it refuses.
    pub async fn admin(&self, command: &str) -> Vec<Vec<Option<String>>> {
        run_sql(self.port, "pgbouncer", command).await
    }
}

/// `$0` PgBouncer, `$1` its file. As whatever looks after services does, it starts it again when it failed after it had run for a while.
/// 1.18, which Debian 12 has, sometimes ends by itself ("bad client state", <https://github.com/pgbouncer/pgbouncer/issues/801>, mended in
/// 1.20), and took all tests behind it along.
const STARTED_AGAIN: &str = r#"
trap 'kill "$server"; wait "$server"; exit 0' TERM
while :; do
    begun=$(date +%s)
    "$0" "$1" &
    server=$!
    wait "$server"
    [ $(($(date +%s) - begun)) -ge 1 ] || exit 1
done
"#;

fn configuration(postgres: u16, port: u16, lines: &[&str]) -> String {
    format!(
        "[databases]\n\
         * = host=127.0.0.1 port={postgres}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = scram-sha-256\n\
         auth_file = users\n\
         admin_users = {SUPERUSER}\n\
         pool_mode = transaction\n\
         default_pool_size = 8\n\
         max_client_conn = 300\n\
         server_login_retry = 1\n\
         server_tls_sslmode = prefer\n\
         {}\n",
        lines.join("\n")
    )
}

fn started(line: &str) -> Option<Started> {
    if line.contains("process up") {
        Some(Started::Listens)
    } else if line.contains("Address already in use") {
        Some(Started::PortIsTaken)
    } else {
        None
    }
}
