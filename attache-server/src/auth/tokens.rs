//! API tokens: made by `attache token create`, shown once, kept as a hash.
//!
//! They are stored in a database of their own beside the catalog, so that a catalog that is lost and rebuilt from the store
//! takes nobody's access along. A server holds all of them in memory and looks for changes every second: a request
//! costs no I/O, and a token that was revoked works for a second more at most.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use attache::access::{Owners, Scopes};
use attache::private;
use attache::secret::Secret;
use attache::{Error, ErrorKind, Result};
use rusqlite::{Connection, OpenFlags, params};
use time::OffsetDateTime;

use super::caller::Caller;
use super::known::{Kept, Known};
use super::session::Ended;
use super::token::{self, MAX_OWNERS, Token, TokenId};

/// Most tokens there may be; all are held in memory.
const MAX_TOKENS: i64 = 10_000;

/// How often a server looks whether tokens were made or revoked, and notes which were used.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const NOTE_EVERY: u32 = 60;

/// Name of the database, beside the catalog.
pub(crate) const FILE: &str = "tokens.db";

/// All tokens.
pub(crate) struct Tokens {
    path: PathBuf,
    known: Known,
}

impl Tokens {
    /// Opens the tokens in `folder`. Nothing is made before the first token is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] if they cannot be read.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let tokens = Self {
            path: folder.join(FILE),
            known: Known::default(),
        };
        if let Some(connection) = tokens.connect()? {
            tokens.load(&connection)?;
        }
        Ok(tokens)
    }

    /// Makes a token; its text is nowhere else.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] if there are as many as there may be.
    pub(crate) fn create(
        &self,
        name: &str,
        scopes: Scopes,
        owners: Owners,
        expires_at: Option<OffsetDateTime>,
    ) -> Result<(Token, Secret)> {
        if owners.patterns().len() > MAX_OWNERS {
            return Err(Error::bad_request(format!(
                "a token has at most {MAX_OWNERS} patterns of owners; a pattern such as \"page:*\" stands for many"
            )));
        }
        let connection = self.make()?;
        let count: i64 = connection
            .query_row("SELECT count(*) FROM tokens", [], |row| row.get(0))
            .map_err(|error| self.wrong(error))?;
        if count >= MAX_TOKENS {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("there are {MAX_TOKENS} tokens already; revoke those that nobody uses"),
            ));
        }
        let id = TokenId::generate();
        let text = token::text(&id);
        let token = Token {
            id,
            name: name.to_owned(),
            scopes,
            owners,
            created_at: OffsetDateTime::now_utc(),
            expires_at,
            last_used: None,
        };
        connection
            .execute(
                "INSERT INTO tokens (id, hash, name, scopes, owners, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    token.id.0,
                    token::hash(text.expose()),
                    token.name,
                    token.scopes.to_string(),
                    token::owner_words(&token.owners),
                    token.created_at.unix_timestamp(),
                    token.expires_at.map(OffsetDateTime::unix_timestamp),
                ],
            )
            .map_err(|error| self.wrong(error))?;
        Ok((token, text))
    }

    /// Those there are, oldest first.
    pub(crate) fn list(&self) -> Result<Vec<Token>> {
        let Some(connection) = self.connect()? else {
            return Ok(Vec::new());
        };
        self.load(&connection)?;
        Ok(self.known.list())
    }

    /// Ends a token. `false` if there was none.
    pub(crate) fn revoke(&self, id: &TokenId) -> Result<bool> {
        let Some(connection) = self.connect()? else {
            return Ok(false);
        };
        let removed = connection.execute("DELETE FROM tokens WHERE id = ?1", [&id.0]);
        removed
            .map(|rows| rows > 0)
            .map_err(|error| self.wrong(error))
    }

    /// Ends sessions before their time, for every server on this database. One that is over by itself is forgotten.
    pub(crate) fn end_sessions(&self, ended: &[Ended]) -> Result<()> {
        let Some(connection) = self.connect()? else {
            return Ok(());
        };
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let write = || -> rusqlite::Result<()> {
            let transaction = connection.unchecked_transaction()?;
            transaction.execute("DELETE FROM ended_sessions WHERE expires <= ?1", [now])?;
            for (hash, expires) in ended {
                transaction.execute(
                    "INSERT INTO ended_sessions (hash, expires) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                    params![hash, expires],
                )?;
            }
            transaction.commit()
        };
        write().map_err(|error| self.wrong(error))?;
        self.load(&connection)
    }

    /// Whether somebody signed out of this session.
    pub(super) fn has_ended(&self, session: &Ended) -> bool {
        self.known.has_ended(session)
    }

    /// Whose token this is.
    pub(super) fn check(&self, text: &str) -> Option<Caller> {
        self.known.check(text)
    }

    /// The caller of a token that has not ended.
    pub(super) fn find(&self, id: &TokenId) -> Option<Caller> {
        self.known.find(id)
    }

    /// Keeps a server's memory of them true, until the future is dropped.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut connection: Option<Connection> = None;
        let mut version = None;
        for round in 1_u32.. {
            tokio::time::sleep(LOOK_EVERY).await;
            let tokens = self.clone();
            let note = round.is_multiple_of(NOTE_EVERY);
            let looked = tokio::task::spawn_blocking(move || {
                let outcome = tokens.look(&mut connection, &mut version, note);
                (connection, version, outcome)
            });
            let outcome;
            (connection, version, outcome) = match looked.await {
                Ok(looked) => looked,
                Err(_) => return,
            };
            if let Err(error) = outcome {
                // Once a minute is enough for what is wrong all the time.
                if note || round == 1 {
                    tracing::warn!(
                        error = error.report(),
                        "cannot read tokens; those already loaded stay valid"
                    );
                }
                (connection, version) = (None, None);
            }
        }
    }

    fn look(
        &self,
        connection: &mut Option<Connection>,
        version: &mut Option<i64>,
        note: bool,
    ) -> Result<()> {
        if connection.is_none() {
            *connection = self.connect()?;
        }
        let Some(connection) = connection else {
            return Ok(());
        };
        // Changes whenever another connection has changed the database (<https://sqlite.org/pragma.html#pragma_data_version>).
        let now: i64 = connection
            .query_row("PRAGMA data_version", [], |row| row.get(0))
            .map_err(|error| self.wrong(error))?;
        if *version != Some(now) {
            self.load(connection)?;
            *version = Some(now);
        }
        if note {
            self.note_use(connection)?;
        }
        Ok(())
    }

    /// Writes down when tokens were last used.
    fn note_use(&self, connection: &Connection) -> Result<()> {
        let used = self.known.take_used();
        // One transaction: a flush for each of thousands would keep a revocation from being seen for as long.
        let write = || -> rusqlite::Result<()> {
            let transaction = connection.unchecked_transaction()?;
            for (id, at) in used {
                transaction
                    .prepare_cached("UPDATE tokens SET last_used = ?2 WHERE id = ?1")?
                    .execute(params![id.0, at])?;
            }
            transaction.commit()
        };
        write().map_err(|error| self.wrong(error))
    }

    /// Notes what was used since the last time, before the process ends.
    pub(crate) fn close(&self) {
        if !self.known.has_used() {
            return;
        }
        let noted = self.connect().and_then(|connection| match connection {
            Some(connection) => self.note_use(&connection),
            None => Ok(()),
        });
        if let Err(error) = noted {
            tracing::warn!(
                error = error.report(),
                "cannot record when tokens were last used"
            );
        }
    }

    /// `None` if there are no tokens yet.
    fn connect(&self) -> Result<Option<Connection>> {
        if !self.path.exists() {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags);
        let connection = connection.map_err(|error| self.wrong(error))?;
        let prepared = connection
            .busy_timeout(Duration::from_secs(5))
            .and_then(|()| connection.execute_batch(SCHEMA));
        prepared.map_err(|error| self.wrong(error))?;
        Ok(Some(connection))
    }

    /// The database, made if need be, for its owner's eyes only.
    fn make(&self) -> Result<Connection> {
        let made = private::make_folder(self.path.parent().unwrap_or(Path::new("")))
            .and_then(|()| private::open_file(&self.path));
        made.map_err(|error| self.wrong(error))?;
        self.connect()?
            .ok_or_else(|| Error::internal("the token database was removed"))
    }

    fn load(&self, connection: &Connection) -> Result<()> {
        let read = || -> rusqlite::Result<Vec<Option<Kept>>> {
            let mut statement = connection.prepare(
                "SELECT id, hash, name, scopes, owners, created_at, expires_at, last_used FROM tokens",
            )?;
            let rows = statement.query_map([], |row| {
                let row: Row = (
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                    row.get(5)?,
                    row.get(6)?,
                    row.get(7)?,
                );
                Ok(kept(row))
            })?;
            rows.collect()
        };
        let rows = read().map_err(|error| self.wrong(error))?;
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let ended = || -> rusqlite::Result<HashSet<[u8; 32]>> {
            let mut statement =
                connection.prepare("SELECT hash FROM ended_sessions WHERE expires > ?1")?;
            statement.query_map([now], |row| row.get(0))?.collect()
        };
        let ended = ended().map_err(|error| self.wrong(error))?;
        let mut known = HashMap::with_capacity(rows.len());
        for row in rows {
            match row {
                Some(kept) => {
                    known.insert(kept.token.id.clone(), kept);
                }
                // One that cannot be understood opens nothing; the others go on.
                None => tracing::warn!("a token in the database cannot be read and is ignored"),
            }
        }
        self.known.replace(known, ended);
        Ok(())
    }

    fn wrong(&self, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        // The path is for the operator's log alone.
        let source = std::io::Error::other(format!("{}: {error}", self.path.display()));
        Error::new(
            ErrorKind::Misconfigured,
            "cannot use the token database beside the catalog (tokens.db)",
        )
        .with_source(source)
    }

    /// Whether there is any.
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS tokens (
        id TEXT PRIMARY KEY,
        hash BLOB NOT NULL,
        name TEXT NOT NULL,
        scopes TEXT NOT NULL,
        owners TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER,
        last_used INTEGER
    ) STRICT;
    CREATE TABLE IF NOT EXISTS ended_sessions (
        hash BLOB PRIMARY KEY,
        expires INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

type Row = (
    String,
    Vec<u8>,
    String,
    String,
    String,
    i64,
    Option<i64>,
    Option<i64>,
);

fn kept((id, hash, name, scopes, owners, created_at, expires_at, last_used): Row) -> Option<Kept> {
    let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).ok();
    let scopes: Result<Scopes> = scopes.split_whitespace().map(str::parse).collect();
    let owners: Result<Owners> = owners.split_whitespace().map(str::parse).collect();
    let token = Token {
        id: id.parse().ok()?,
        name,
        scopes: scopes.ok()?,
        owners: owners.ok()?,
        created_at: at(created_at)?,
        // An end that cannot be read is not "never".
        expires_at: expires_at.map(at).map_or(Some(None), |end| end.map(Some))?,
        last_used: last_used.and_then(at),
    };
    Some(Kept {
        hash: hash.try_into().ok()?,
        caller: Caller {
            name: format!("token:{}", token.name).into(),
            scopes: token.scopes,
            owners: token.owners.clone(),
        },
        token,
    })
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::token::PREFIX;
    use super::*;

    fn scopes(text: &str) -> Scopes {
        text.split(' ')
            .map(|scope| scope.parse().expect("a scope"))
            .collect()
    }

    #[test]
    fn a_token_opens_until_it_ends_or_is_revoked_and_nothing_like_it_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let tokens = Tokens::open(folder.path()).expect("opened");
        assert!(!folder.path().join(FILE).exists(), "nothing is made yet");
        let owners: Owners = ["page:*".parse().expect("a pattern")].into_iter().collect();
        let make = |name, expires| {
            tokens
                .create(name, scopes("read write"), owners.clone(), expires)
                .expect("created")
        };
        let now = OffsetDateTime::now_utc();
        let (token, text) = make("ci", None);
        let (_, ended) = make("old", Some(now - Duration::from_secs(1)));
        let (other, _) = make("other", Some(now + Duration::from_secs(60)));
        assert_eq!(tokens.list().expect("listed").len(), 3);

        let caller = tokens.check(text.expose()).expect("known");
        assert_eq!(&*caller.name, "token:ci");
        assert_eq!(
            (caller.scopes, caller.owners),
            (scopes("read write"), owners.clone())
        );
        assert!(tokens.check(ended.expose()).is_none());
        let secret = text.expose().rsplit_once('_').expect("parts").1;
        let mixed = format!("{PREFIX}{}_{secret}", other.id);
        let unknown = format!("{PREFIX}{}_{secret}", TokenId::generate());
        for wrong in [
            &mixed,
            &unknown,
            &text.expose()[..text.expose().len() - 1],
            "att_",
            "",
        ] {
            assert!(tokens.check(wrong).is_none(), "{wrong}");
        }
        assert!(tokens.revoke(&token.id).expect("revoked"));
        assert!(!tokens.revoke(&token.id).expect("nothing to do"));
        tokens.list().expect("listed");
        assert!(tokens.check(text.expose()).is_none());
    }

    #[test]
    fn the_database_holds_no_secret_and_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let tokens = Tokens::open(folder.path()).expect("opened");
        let (_, text) = tokens
            .create("ci", scopes("admin"), Owners::all(), None)
            .expect("created");
        let secret = text.expose().rsplit_once('_').expect("parts").1;
        for file in std::fs::read_dir(folder.path()).expect("a folder") {
            let path = file.expect("a file").path();
            let bytes = std::fs::read(&path).expect("readable");
            let found = bytes
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!found, "{}", path.display());
            let mode = std::fs::metadata(&path)
                .expect("there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o077, 0, "{}", path.display());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_sees_what_another_process_makes_and_revokes_and_notes_what_was_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Arc::new(Tokens::open(folder.path()).expect("opened"));
        let watch = tokio::spawn(server.clone().watch());
        let cli = Tokens::open(folder.path()).expect("opened");
        let (token, text) = cli
            .create("ci", scopes("read"), Owners::all(), None)
            .expect("created");
        while server.check(text.expose()).is_none() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        while cli.list().expect("listed")[0].last_used.is_none() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        cli.revoke(&token.id).expect("revoked");
        while server.check(text.expose()).is_some() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        watch.abort();
    }
}
