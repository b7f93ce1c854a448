//! PostgreSQL, a server of the tests' own.

mod admin;
mod cluster;
mod database;

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::certificate::Certificate;
use crate::daemon::{Daemon, free_port};
use crate::tool;
use crate::unprivileged::Unprivileged;
pub(crate) use admin::{SUPERUSER, SUPERUSER_PASSWORD, run as run_sql};
pub use database::Database;
pub(crate) use database::url as database_url;

/// A running PostgreSQL on a free port of 127.0.0.1. Its data lies in a temporary folder and goes with it.
///
/// It asks for passwords (`scram-sha-256`). [`ROLE`](Self::ROLE) owns the databases that [`database`](Self::database) makes
/// and is no superuser; [`admin`](Self::admin) is. Up to 300 connections; `fsync` is on unless an instance says otherwise.
///
/// On the version that Debian has, text is sorted as people sort it (ICU, `en-US`: `a` before `B`), as on most servers of
/// companies; on 18 by bytes. What relies on either shows on the other.
#[derive(Debug)]
pub struct Postgres {
    bin: PathBuf,
    port: u16,
    user: Unprivileged,
    settings: Vec<String>,
    certificate: Option<Certificate>,
    // Dropped in this order: the process first, then the folder that it runs in.
    process: Option<Daemon>,
    folder: TempDir,
}

impl Postgres {
    /// The role that attache signs in as.
    pub const ROLE: &str = "attache";

    /// Its password. It has characters that a URL has to escape.
    pub const PASSWORD: &str = "p@ss/w:rd 7%?#";

    /// Starts the version that Debian has: 15 on Debian 12.
    pub async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// Starts it with settings of its own, as `name=value`; they win over those of this type.
    pub async fn start_with(settings: &[&str]) -> Option<Self> {
        Some(Self::run(&tool::postgres()?, settings, false).await)
    }

    /// Starts it with a certificate for `127.0.0.1` and `localhost`. [`ROLE`](Self::ROLE) is let in over TLS only.
    ///
    /// The certificate is its own root: hand [`ca_file`](Self::ca_file) to whoever connects.
    pub async fn start_tls() -> Option<Self> {
        Some(Self::run(&tool::postgres()?, &[], true).await)
    }

    /// Starts version 18.
    pub async fn start_18() -> Option<Self> {
        Self::start_18_with(&[]).await
    }

    /// Starts version 18 with settings of its own, as [`start_with`](Self::start_with) does.
    pub async fn start_18_with(settings: &[&str]) -> Option<Self> {
        Some(Self::run(&tool::postgres_18()?, settings, false).await)
    }

    /// The instance that all tests of this binary share, without `fsync`. Use a database of your own in it.
    pub async fn shared() -> Option<&'static Self> {
        static SHARED: OnceCell<Option<Postgres>> = OnceCell::const_new();
        let start = || Self::start_with(FOR_MANY_TESTS);
        SHARED.get_or_init(start).await.as_ref()
    }

    /// The instance of version 18 that all tests of this binary share, without `fsync`. Use a database of your own in it.
    pub async fn shared_18() -> Option<&'static Self> {
        static SHARED: OnceCell<Option<Postgres>> = OnceCell::const_new();
        let start = || Self::start_18_with(FOR_MANY_TESTS);
        SHARED.get_or_init(start).await.as_ref()
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The root certificate to trust, as PEM, there as long as this instance; `None` without TLS.
    pub fn ca_file(&self) -> Option<&Path> {
        self.certificate
            .as_ref()
            .map(|certificate| certificate.file.as_path())
    }

    /// Makes an empty database, which [`ROLE`](Self::ROLE) owns. Panics if the server does not.
    pub async fn database(&self) -> Database {
        Database::create(self.port, self.folder.path().join(cluster::PASSWORD_FILE)).await
    }

    /// Runs `sql`, one or more statements, as superuser in the database `postgres`; gives the rows as texts.
    ///
    /// Without TLS, and past any pool. Panics with what PostgreSQL says if it refuses.
    pub async fn admin(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        admin::run(self.port, "postgres", sql).await
    }

    /// Ends every process of it at once and closes all connections, as a crash would; the next start recovers from the log.
    ///
    /// What was committed stays. Returns once nothing listens any more; does nothing if it is stopped.
    pub fn stop_immediately(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.keep_folder();
        }
    }

    /// Starts it again on the same port and data, and returns once it takes connections.
    ///
    /// Panics if it runs, or if somebody else has taken the port.
    pub async fn start_again(&mut self) {
        assert!(self.process.is_none(), "PostgreSQL runs");
        self.process = self.serve().await;
        assert!(
            self.process.is_some(),
            "port {} was taken while PostgreSQL was stopped",
            self.port
        );
    }

    async fn run(postgres: &Path, settings: &[&str], tls: bool) -> Self {
        let folder = TempDir::with_prefix("attache-postgres-").expect("a temporary folder");
        let user = Unprivileged::in_folder(folder.path());
        let certificate = tls.then(|| Certificate::make(folder.path()));
        if let Some(certificate) = &certificate {
            user.give(&certificate.key);
        }
        let bin = postgres.parent().unwrap_or(Path::new("/")).to_owned();
        cluster::create(&bin, user, folder.path(), tls);
        let mut this = Self {
            bin,
            port: 0,
            user,
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            certificate,
            process: None,
            folder,
        };
        // PostgreSQL does not choose a port itself, so somebody may be faster.
        while this.process.is_none() {
            this.port = free_port();
            this.process = this.serve().await;
        }
        this.admin(&admin::create_role(Self::ROLE, Self::PASSWORD))
            .await;
        this
    }

    /// `None` if the port is taken.
    async fn serve(&self) -> Option<Daemon> {
        let command = cluster::command(
            &self.bin,
            self.folder.path(),
            self.port,
            self.certificate.as_ref(),
            &self.settings,
        );
        // `QUIT` is an immediate shutdown: <https://www.postgresql.org/docs/current/server-shutdown.html>.
        let folder = self.folder.path();
        Daemon::start(self.user, folder, &command, "QUIT", cluster::started).await
    }
}

/// No test of a shared instance is about power that fails. Its log of changes stays small beside many databases.
const FOR_MANY_TESTS: &[&str] = &["fsync=off", "full_page_writes=off", "max_wal_size=128MB"];
