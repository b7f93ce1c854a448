//! The promises of [`TokenStore`] and [`KeyStore`], over the database that `catalog.url` names; and what becomes of the files in
//! which earlier versions kept tokens and key.

use std::path::Path;

use attache::access::keys;
use attache::access::tokens::{MAX_OWNERS, StoredToken, Token, TokenId};
use attache::access::{OwnerPattern, Owners, Scopes};
use attache::catalog::config::CatalogUrl;
use attache::catalog::open::{Database, open};
use futures::future::join_all;
use rusqlite::{Connection, params};
use time::OffsetDateTime;

async fn database(folder: &Path) -> Database {
    let url = CatalogUrl(folder.join("attache.db"));
    open(&url).await.expect("opened")
}

fn token(name: &str) -> StoredToken {
    let scopes: Scopes = ["read", "write"]
        .map(|scope| scope.parse().expect("a scope"))
        .into_iter()
        .collect();
    let owners = ["page:*", "user:7"].map(|owner| owner.parse().expect("a pattern"));
    let expires = OffsetDateTime::from_unix_timestamp(4_000_000_000).expect("a time");
    let made = Token::generate(name, scopes, owners.into_iter().collect(), Some(expires));
    made.expect("few owners").0
}

#[tokio::test]
async fn tokens_are_found_as_they_were_made_until_they_are_revoked() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, other) = (
        database(folder.path()).await.tokens,
        database(folder.path()).await.tokens,
    );
    assert_eq!(one.tokens().await.expect("read"), []);
    let token = token("wiki");
    one.insert(&token).await.expect("kept");
    one.insert(&token).await.expect("repeated");
    assert_eq!(
        other.tokens().await.expect("read"),
        std::slice::from_ref(&token)
    );
    let id = &token.token.id;
    let used = vec![(id.clone(), 1_000), (TokenId::generate(), 1_000)];
    one.note_used(used).await.expect("noted");
    let found = other.tokens().await.expect("read");
    let last_used = found[0].token.last_used.map(OffsetDateTime::unix_timestamp);
    assert_eq!(last_used, Some(1_000));
    assert!(other.revoke(id).await.expect("revoked"));
    assert!(!other.revoke(id).await.expect("there is none"));
    assert_eq!(one.tokens().await.expect("read"), []);
}

#[tokio::test]
async fn the_version_changes_with_what_any_process_makes_revokes_or_ends_and_not_with_use() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, other) = (
        database(folder.path()).await.tokens,
        database(folder.path()).await.tokens,
    );
    let mut seen = vec![one.version().await.expect("read")];
    let token = token("wiki");
    other.insert(&token).await.expect("kept");
    seen.push(one.version().await.expect("read"));
    let id = token.token.id;
    other
        .note_used(vec![(id.clone(), 1_000)])
        .await
        .expect("noted");
    assert_eq!(Some(&one.version().await.expect("read")), seen.last());
    other.revoke(&id).await.expect("revoked");
    seen.push(one.version().await.expect("read"));
    other
        .end_sessions(vec![([1; 32], i64::MAX)])
        .await
        .expect("ended");
    seen.push(one.version().await.expect("read"));
    seen.dedup();
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[tokio::test]
async fn ended_sessions_are_known_until_they_would_have_ended_by_themselves() {
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = database(folder.path()).await.tokens;
    let later = OffsetDateTime::now_utc().unix_timestamp() + 60;
    let ended = vec![([1; 32], later), ([2; 32], 1)];
    tokens.end_sessions(ended.clone()).await.expect("ended");
    tokens.end_sessions(ended).await.expect("repeated");
    assert_eq!(tokens.ended_sessions().await.expect("read"), [[1; 32]]);
}

#[tokio::test]
async fn a_key_is_the_same_for_everybody_until_it_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let databases = join_all((0..4).map(|_| database(folder.path()))).await;
    let asked = databases
        .iter()
        .map(|database| database.keys.key(keys::LINKS));
    let keys: Vec<_> = join_all(asked)
        .await
        .into_iter()
        .map(|key| key.expect("a key"))
        .collect();
    assert!(keys.iter().all(|key| *key == keys[0]));
    let other = databases[0].keys.key("another").await.expect("a key");
    assert_ne!(other, keys[0]);
    databases[1]
        .keys
        .replace(keys::LINKS)
        .await
        .expect("replaced");
    let fresh = databases[2].keys.key(keys::LINKS).await.expect("a key");
    assert_ne!(fresh, keys[0]);
    let kept = databases[3].keys.key("another").await.expect("a key");
    assert_eq!(kept, other);
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

#[tokio::test]
async fn a_key_of_another_length_is_refused_and_not_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("link.key"), [9; 31]).expect("written");
    let url = CatalogUrl(folder.path().join("attache.db"));
    let error = open(&url).await.expect_err("not a key");
    assert!(error.to_string().contains("link.key"), "{error}");
    assert!(folder.path().join("link.key").exists());
}
