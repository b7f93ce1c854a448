//! The promises of tokens and keys, which are in [`attache::testing`], over the database that `catalog.url` names; and what becomes
//! of the files in which earlier versions kept them.

#[path = "access/liars.rs"]
mod liars;

use std::path::Path;

use attache::access::config::SecretsConfig;
use attache::access::keys::{self, KeyStore};
use attache::access::sealed::SealedKeys;
use attache::access::tokens::{MAX_OWNERS, StoredToken, Token};
use attache::access::{OwnerPattern, Owners, Scopes};
use attache::catalog::config::{CatalogConfig, CatalogUrl};
use attache::catalog::open::{self, Database};
use attache::catalog::sqlite::SqliteCatalog;
use attache::testing::processes::{Process, token};
use attache::testing::{Fresh, access_suite};
use attache::{ErrorKind, Result};
use futures::future::join_all;
use rusqlite::{Connection, params};
use time::OffsetDateTime;

access_suite!(sqlite: several_processes);

async fn several_processes() -> Fresh<[Process]> {
    let folder = tempfile::tempdir().expect("a folder");
    Fresh::processes(processes(folder.path()).await).on(folder)
}

async fn processes(folder: &Path) -> Vec<Process> {
    let databases = join_all((0..4).map(|_| database(folder))).await;
    let processes = databases.into_iter().map(|database| Process {
        tokens: database.tokens,
        keys: database.keys,
    });
    processes.collect()
}

async fn database(folder: &Path) -> Database {
    open(folder, None).await.expect("opened")
}

/// With the key file of this name, or the one beside the catalog.
async fn open(folder: &Path, key_file: Option<&str>) -> Result<Database> {
    let catalog = CatalogConfig::of(CatalogUrl::Sqlite(folder.join("attache.db")));
    let secrets = SecretsConfig {
        key_file: key_file.map(|name| folder.join(name)),
    };
    open::open(&catalog, &secrets, None).await
}

#[test]
fn a_token_has_a_bounded_number_of_owners() {
    let owners = |count: usize| -> Owners {
        (0..count)
            .map(|n| format!("page:{n}").parse::<OwnerPattern>().expect("fits"))
            .collect()
    };
    let make = |owners| Token::generate("x", Scopes::default(), owners, None);
    assert!(make(owners(MAX_OWNERS)).is_ok());
    assert!(make(owners(MAX_OWNERS + 1)).is_err());
}

/// As the version before wrote them.
fn write_as_before(folder: &Path, token: &StoredToken) {
    let old = Connection::open(folder.join("tokens.db")).expect("made");
    old.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE tokens (id TEXT PRIMARY KEY, hash BLOB NOT NULL, name TEXT NOT NULL, scopes TEXT NOT NULL,
             owners TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER, last_used INTEGER) STRICT;
         CREATE TABLE ended_sessions (hash BLOB PRIMARY KEY, expires INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
    )
    .expect("a schema");
    let about = &token.token;
    old.execute(
        "INSERT INTO tokens VALUES (?1, ?2, ?3, 'read write', 'page:* user:7', ?4, ?5, NULL)",
        params![
            about.id.as_str(),
            token.hash,
            about.name,
            about.created_at.unix_timestamp(),
            about.expires_at.map(OffsetDateTime::unix_timestamp)
        ],
    )
    .expect("kept");
    old.execute(
        "INSERT INTO ended_sessions VALUES (?1, ?2)",
        params![[7_u8; 32], i64::MAX],
    )
    .expect("kept");
    std::fs::write(folder.join("link.key"), [9; 32]).expect("written");
}

#[tokio::test]
async fn what_earlier_versions_left_beside_the_catalog_is_taken_over_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let before = token("wiki");
    write_as_before(folder.path(), &before);
    let opened = join_all((0..2).map(|_| database(folder.path()))).await;
    let tokens = &opened[1].tokens;
    assert_eq!(
        tokens.tokens().await.expect("read"),
        std::slice::from_ref(&before)
    );
    assert_eq!(tokens.ended_sessions().await.expect("read"), [[7; 32]]);
    let key = opened[0].keys.key(keys::LINKS).await.expect("a key");
    assert_eq!(*key, [9; 32]);
    for file in ["tokens.db", "link.key"] {
        let path = folder.path().join(file);
        assert!(!path.exists(), "{file}");
        assert!(folder.path().join(format!("{file}.imported")).exists());
    }
    assert!(tokens.revoke(&before.token.id).await.expect("revoked"));
    for database in &opened {
        database.catalog.close().await;
    }
    let again = database(folder.path()).await;
    assert_eq!(again.tokens.tokens().await.expect("read"), [], "stays away");
}

#[test]
fn a_folder_of_an_earlier_version_counts_as_a_catalog_for_those_who_revoke() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = folder.path().join("attache.db");
    assert!(!attache::catalog::sqlite::exists(&catalog));
    write_as_before(folder.path(), &token("wiki"));
    assert!(attache::catalog::sqlite::exists(&catalog));
}

#[tokio::test]
async fn a_copy_of_tokens_that_were_taken_over_brings_nothing_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let before = token("wiki");
    write_as_before(folder.path(), &before);
    let first = database(folder.path()).await;
    first
        .tokens
        .revoke(&before.token.id)
        .await
        .expect("revoked");
    first.catalog.close().await;
    let (copy, aside) = ("tokens.db", "tokens.db.imported");
    std::fs::copy(folder.path().join(aside), folder.path().join(copy)).expect("put back");
    let error = open(folder.path(), None)
        .await
        .expect_err("refused")
        .to_string();
    assert!(error.contains("would come back"), "{error}");
    std::fs::remove_file(folder.path().join(copy)).expect("moved away");
    let again = database(folder.path()).await;
    assert_eq!(again.tokens.tokens().await.expect("read"), []);
}

#[cfg(unix)]
#[tokio::test]
async fn the_database_holds_no_secret_of_a_token_and_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = database(folder.path()).await.tokens;
    let made = Token::generate("ci", Scopes::default(), Owners::all(), None);
    let (stored, text) = made.expect("few owners");
    tokens.insert(&stored).await.expect("kept");
    // The last part may hold the sign that parts them.
    let secret = text.expose().splitn(3, '_').nth(2).expect("parts");
    let secret = secret.as_bytes();
    let mut looked = 0;
    for entry in std::fs::read_dir(folder.path()).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            continue;
        }
        let bytes = std::fs::read(&path).expect("readable");
        let found = bytes.windows(secret.len()).any(|part| part == secret);
        assert!(!found, "{}", path.display());
        let mode = std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
        looked += 1;
    }
    assert!(looked > 1, "the database and its log");
}

/// Earlier versions made it readable for everybody, when it held no key.
#[cfg(unix)]
#[tokio::test]
async fn a_catalog_that_others_could_read_is_closed_to_them() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("attache.db");
    let open_to_all = |path: &Path| {
        let all = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(path, all).expect("changed");
    };
    // As a killed process leaves it, with its log.
    std::mem::forget(database(folder.path()).await);
    for end in ["", "-wal", "-shm"] {
        open_to_all(&folder.path().join(format!("attache.db{end}")));
    }
    let opened = database(folder.path()).await;
    opened.keys.key(keys::LINKS).await.expect("a key");
    for end in ["", "-wal", "-shm"] {
        let file = folder.path().join(format!("attache.db{end}"));
        let mode = std::fs::metadata(&file)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{}", file.display());
    }
    assert!(path.exists());
}

#[tokio::test]
async fn a_key_of_another_length_is_refused_and_not_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("link.key"), [9; 31]).expect("written");
    let error = open(folder.path(), None).await.expect_err("not a key");
    assert!(error.to_string().contains("link.key"), "{error}");
    assert!(folder.path().join("link.key").exists());
}

/// The keys of the catalog as they are in its file.
fn rows(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let file = Connection::open(folder.join("attache.db")).expect("opened");
    let mut statement = file
        .prepare("SELECT name, key FROM signing_keys")
        .expect("a table");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.expect("read")
        .collect::<rusqlite::Result<_>>()
        .expect("rows")
}

/// Files of the folder that hold these bytes.
fn holding(folder: &Path, wanted: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            let bytes = std::fs::read(&path).expect("readable");
            let name = path.file_name().expect("a name").to_string_lossy();
            let holds = bytes.windows(wanted.len()).any(|part| part == wanted);
            found.extend(holds.then(|| name.into_owned()));
        }
    }
    found
}

#[tokio::test]
async fn no_file_of_the_catalog_holds_a_key_that_can_be_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = database(folder.path()).await;
    let mut keys = vec![database.keys.key(keys::LINKS).await.expect("a key")];
    database.keys.replace(keys::LINKS).await.expect("replaced");
    keys.push(database.keys.key(keys::LINKS).await.expect("a key"));
    // With the log, and without it.
    for _ in 0..2 {
        for key in &keys {
            assert_eq!(holding(folder.path(), &**key), Vec::<String>::new());
        }
        database.catalog.close().await;
    }
}

#[tokio::test]
async fn keys_of_an_earlier_version_are_sealed_at_the_first_start_and_stay_what_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = SqliteCatalog::open(&folder.path().join("attache.db")).expect("made");
    attache::catalog::Catalog::close(&catalog).await;
    drop(catalog);
    let old = Connection::open(folder.path().join("attache.db")).expect("opened");
    for (name, byte) in [("links", 171_u8), ("another", 172)] {
        old.execute(
            "INSERT INTO signing_keys VALUES (?1, ?2)",
            params![name, [byte; 32]],
        )
        .expect("kept");
    }
    drop(old);
    assert!(!holding(folder.path(), &[171; 32]).is_empty());
    let opened = join_all((0..2).map(|_| database(folder.path()))).await;
    for database in &opened {
        let key = database.keys.key(keys::LINKS).await.expect("a key");
        assert_eq!(*key, [171; 32]);
        let key = database.keys.key("another").await.expect("a key");
        assert_eq!(*key, [172; 32]);
    }
    for database in &opened {
        database.catalog.close().await;
    }
    assert!(rows(folder.path()).iter().all(|(_, key)| key.len() > 32));
    for byte in [171, 172] {
        assert_eq!(holding(folder.path(), &[byte; 32]), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_process_with_another_key_file_is_refused_and_harms_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = database(folder.path()).await;
    let key = first.keys.key(keys::LINKS).await.expect("a key");
    let before = rows(folder.path());
    let error = open(folder.path(), Some("another.key")).await;
    let error = error.expect_err("another key");
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    for word in ["secrets.key_file", "another.key"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    assert_eq!(rows(folder.path()), before);
    assert_eq!(first.keys.key(keys::LINKS).await.expect("a key"), key);
    first.catalog.close().await;
    let again = database(folder.path()).await;
    assert_eq!(again.keys.key(keys::LINKS).await.expect("a key"), key);
}

/// Also after sessions were ended, which makes a new key.
#[tokio::test]
async fn a_key_file_that_is_missing_beside_a_sealed_catalog_is_refused_and_not_made_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("secrets.key");
    let aside = folder.path().join("aside");
    let first = database(folder.path()).await;
    first.keys.replace(keys::LINKS).await.expect("replaced");
    let key = first.keys.key(keys::LINKS).await.expect("a key");
    first.catalog.close().await;
    std::fs::rename(&file, &aside).expect("moved away");
    let error = open(folder.path(), None).await.expect_err("no key");
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("is missing"), "{error}");
    assert!(!file.exists());
    std::fs::rename(&aside, &file).expect("put back");
    let again = database(folder.path()).await;
    assert_eq!(again.keys.key(keys::LINKS).await.expect("a key"), key);
}

/// What docs/operating.md says for a key file that is lost for good.
#[tokio::test]
async fn a_catalog_whose_sealed_keys_were_deleted_opens_with_a_new_key_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = database(folder.path()).await;
    let kept = token("wiki");
    first.tokens.insert(&kept).await.expect("kept");
    first.catalog.close().await;
    std::fs::remove_file(folder.path().join("secrets.key")).expect("lost");
    Connection::open(folder.path().join("attache.db"))
        .expect("opened")
        .execute("DELETE FROM signing_keys", [])
        .expect("deleted");
    let again = database(folder.path()).await;
    assert_eq!(again.tokens.tokens().await.expect("read"), [kept]);
}

#[tokio::test]
async fn neither_keys_nor_their_sealer_print() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = SqliteCatalog::open(&folder.path().join("attache.db")).expect("made");
    let file = folder.path().join("secrets.key");
    let keys = SealedKeys::open(catalog.into(), file.clone()).await;
    let keys = keys.expect("opened");
    keys.key(keys::LINKS).await.expect("a key");
    let secret = std::fs::read_to_string(file).expect("text");
    let shown = format!("{keys:?} {:?}", keys.sealer());
    assert!(!shown.contains(secret.trim()) && shown.contains("[redacted]"));
}
