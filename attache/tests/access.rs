//! The promises of tokens and keys, which are in [`attache::testing`], over the database that `catalog.url` names; and what becomes
//! of the files in which earlier versions kept them.

#[path = "access/liars.rs"]
mod liars;

use std::path::Path;

use attache::access::access_keys::{AccessKeys, MAX_ACCESS_KEYS, NewAccessKey};
use attache::access::config::SecretsConfig;
use attache::access::keys::{self, KeyStore};
use attache::access::sealed::SealedKeys;
use attache::access::tokens::{MAX_OWNERS, StoredToken, Token};
use attache::access::{OwnerPattern, Owners, Scope, Scopes};
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
        access_keys: database.access_keys.store().clone(),
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

fn new_access_key(name: &str) -> NewAccessKey {
    NewAccessKey {
        name: name.to_owned(),
        buckets: vec!["media".to_owned()],
        prefix: "wiki/".to_owned(),
        scopes: [Scope::Read, Scope::Write].into_iter().collect(),
        expires_at: None,
    }
}

#[tokio::test]
async fn access_keys_open_in_every_process_with_the_secret_that_was_shown_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, other) = (database(folder.path()).await, database(folder.path()).await);
    let before = other.access_keys.version().await.expect("read");
    let mut made = Vec::new();
    for name in ["a", "b", "b"] {
        made.push(one.access_keys.create(new_access_key(name)).await);
    }
    let mut made: Vec<_> = made.into_iter().map(|made| made.expect("made")).collect();
    assert_ne!(other.access_keys.version().await.expect("read"), before);
    let mut found = other.access_keys.list().await.expect("read");
    made.sort_by(|a, b| a.0.id.cmp(&b.0.id));
    found.sort_by(|a, b| a.0.id.cmp(&b.0.id));
    assert_eq!(found, made);
    let third = other.access_keys.create(new_access_key("b")).await;
    let third = third.expect_err("a third").to_string();
    assert!(third.contains("attache key rm"), "{third}");
    let wrong = NewAccessKey {
        scopes: Scopes::all(),
        ..new_access_key("c")
    };
    let wrong = other.access_keys.create(wrong).await.expect_err("admin");
    assert_eq!(wrong.kind(), ErrorKind::BadRequest);
    for (key, _) in &made {
        assert!(other.access_keys.revoke(&key.id).await.expect("revoked"));
    }
    assert_eq!(one.access_keys.list().await.expect("read"), []);
    assert!(!one.access_keys.revoke(&made[0].0.id).await.expect("none"));
}

#[tokio::test]
async fn no_file_of_the_catalog_holds_the_secret_of_an_access_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = database(folder.path()).await;
    let made = database.access_keys.create(new_access_key("wiki")).await;
    let (key, secret) = made.expect("made");
    // With the log, and without it.
    for _ in 0..2 {
        let holding = |text: &str| holding(folder.path(), text.as_bytes());
        assert_eq!(holding(secret.expose()), Vec::<String>::new());
        assert!(
            !holding(key.id.as_str()).is_empty(),
            "looked at the wrong files"
        );
        database.catalog.close().await;
    }
    let shown = format!("{:?} {secret:?} {key:?}", database.access_keys);
    assert!(!shown.contains(secret.expose()), "{shown}");
}

#[tokio::test]
async fn an_access_key_that_cannot_be_opened_opens_nothing_and_can_be_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = database(folder.path()).await;
    let mut ids = Vec::new();
    for name in ["whole", "taken", "cut", "odd"] {
        let made = database.access_keys.create(new_access_key(name)).await;
        ids.push(made.expect("made").0.id);
    }
    let file = Connection::open(folder.path().join("attache.db")).expect("opened");
    let change = |sql: &str| assert_eq!(file.execute(sql, []).expect("changed"), 1, "{sql}");
    // Somebody who writes to the catalog puts a secret that he knows into the row of another one.
    change(
        "UPDATE access_keys SET sealed = (SELECT sealed FROM access_keys WHERE name = 'whole') WHERE name = 'taken'",
    );
    change("UPDATE access_keys SET sealed = x'01' WHERE name = 'cut'");
    change("UPDATE access_keys SET scopes = 'read everything' WHERE name = 'odd'");
    let found = database.access_keys.list().await.expect("read");
    let found: Vec<_> = found.into_iter().map(|(key, _)| key.id).collect();
    assert_eq!(found, ids[..1]);
    for id in &ids {
        assert!(database.access_keys.revoke(id).await.expect("removed"));
    }
}

#[tokio::test]
async fn a_database_that_is_full_of_access_keys_takes_no_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = database(folder.path()).await;
    let made = database.access_keys.create(new_access_key("first")).await;
    let first = made.expect("made").0;
    let file = Connection::open(folder.path().join("attache.db")).expect("opened");
    file.execute(
        "INSERT INTO access_keys (id, name, place, buckets, prefix, scopes, created_at, sealed)
         WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         SELECT printf('ATTA%016d', i), 'n' || i, 0, 'media', '', 'read', 0, x'' FROM n",
        [i64::try_from(MAX_ACCESS_KEYS).expect("fits")],
    )
    .expect("filled");
    let full = database.access_keys.create(new_access_key("more")).await;
    let full = full.expect_err("full");
    assert_eq!(full.kind(), ErrorKind::Conflict, "{full}");
    assert!(
        database
            .access_keys
            .revoke(&first.id)
            .await
            .expect("removed")
    );
    let made = database.access_keys.create(new_access_key("more")).await;
    made.expect("room again");
}

/// What docs/operating.md says for a key file that is lost for good. An access key that is not deleted with them opens nothing.
#[tokio::test]
async fn a_catalog_whose_sealed_keys_were_deleted_opens_with_a_new_key_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = database(folder.path()).await;
    let kept = token("wiki");
    first.tokens.insert(&kept).await.expect("kept");
    let lost = first.access_keys.create(new_access_key("lost")).await;
    lost.expect("made");
    first.catalog.close().await;
    std::fs::remove_file(folder.path().join("secrets.key")).expect("lost");
    Connection::open(folder.path().join("attache.db"))
        .expect("opened")
        .execute("DELETE FROM signing_keys", [])
        .expect("deleted");
    let again = database(folder.path()).await;
    assert_eq!(again.tokens.tokens().await.expect("read"), [kept]);
    let opened = async |keys: &AccessKeys| keys.list().await.expect("read").len();
    assert_eq!(opened(&again.access_keys).await, 0);
    let made = again.access_keys.create(new_access_key("lost")).await;
    made.expect("a new one in its place");
    assert_eq!(opened(&again.access_keys).await, 1);
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
