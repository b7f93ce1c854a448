//! A database of one test.

use std::path::{Path, PathBuf};

use super::{Postgres, admin};

/// An empty database with a name of its own. Dropping it drops the database soon afterwards, whoever is connected.
///
/// So it has to be held as long as its URL is used: a thousand databases that stay would fill a small disk (7 MB each).
#[derive(Debug)]
#[must_use = "the database goes when this is dropped"]
pub struct Database {
    port: u16,
    name: String,
    password_file: PathBuf,
}

impl Database {
    /// `postgres://attache:PASSWORD@127.0.0.1:PORT/NAME`.
    pub fn url(&self) -> String {
        url(Some(Postgres::PASSWORD), self.port, &self.name)
    }

    /// The same without the password.
    pub fn url_without_password(&self) -> String {
        url(None, self.port, &self.name)
    }

    /// The password of [`Postgres::ROLE`], as it is typed and not as a URL has it.
    pub fn password(&self) -> &'static str {
        Postgres::PASSWORD
    }

    /// A file with [`password`](Self::password) and a line feed, which only its owner can read, there as long as the server.
    pub fn password_file(&self) -> &Path {
        &self.password_file
    }

    /// Its name: lower-case letters, digits and underscores.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `sql`, one or more statements, as superuser in this database; gives the rows as texts.
    ///
    /// Without TLS, and past any pool. Panics with what PostgreSQL says if it refuses.
    pub async fn admin(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        admin::run(self.port, &self.name, sql).await
    }

    pub(super) async fn create(port: u16, password_file: PathBuf) -> Self {
        let name = format!("test_{:016x}", rand::random::<u64>());
        let owner = Postgres::ROLE;
        // Without `fsync` the other way, through the log, takes half as long again; with it, both take the same.
        let sql =
            format!("CREATE DATABASE {name} OWNER {owner} TEMPLATE template0 STRATEGY file_copy");
        admin::run(port, "postgres", &sql).await;
        Self {
            port,
            name,
            password_file,
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (port, sql) = (
            self.port,
            format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name),
        );
        // In a thread of its own: the runtime of the test may be ending. Where the server is gone, so is the database.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            if let Ok(runtime) = runtime {
                let _ = runtime.block_on(admin::attempt(port, "postgres", &sql));
            }
        });
    }
}

/// The URL of a database, with [`Postgres::ROLE`] as its user.
pub(crate) fn url(password: Option<&str>, port: u16, name: &str) -> String {
    let password = password.map(|password| format!(":{}", escaped(password)));
    format!(
        "postgres://{}{}@127.0.0.1:{port}/{name}",
        Postgres::ROLE,
        password.unwrap_or_default()
    )
}

/// Everything but unreserved characters, percent-encoded (RFC 3986, section 2).
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
