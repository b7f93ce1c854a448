//! The promises of catalogs, tokens and keys, over PostgreSQL: of the oldest version that is supported, directly and behind a pooler
//! that hands out connections by transaction, and of the newest one.

#[path = "postgres/ground.rs"]
mod ground;

use std::sync::Arc;

use attache::ErrorKind;
use attache::access::Scope;
use attache::access::access_keys::{AccessKeys, MAX_ACCESS_KEYS, NewAccessKey};
use attache::access::sealed::SealedKeys;
use attache::catalog::Catalog;
use attache::catalog::cached::CachedCatalog;
use attache::testing::processes::Process;
use attache::testing::{Fresh, access_suite, catalog_suite};
use ground::Ground;

catalog_suite!(direct: async || catalog(Ground::new().await).await);
catalog_suite!(pooled: async || catalog(Ground::pooled().await).await);
catalog_suite!(newest: async || catalog(Ground::newest().await).await);
catalog_suite!(recent: async || recent(Ground::new().await).await);
access_suite!(access: async || processes(Ground::new().await).await);
access_suite!(access_pooled: async || processes(Ground::pooled().await).await);
access_suite!(access_newest: async || processes(Ground::newest().await).await);

async fn catalog(ground: Option<Ground>) -> Option<Fresh<dyn Catalog>> {
    let ground = ground?;
    let catalog = ground.open().await;
    Some(Fresh::new(catalog as Arc<dyn Catalog>).on(ground))
}

async fn recent(ground: Option<Ground>) -> Option<Fresh<dyn Catalog>> {
    let ground = ground?;
    let catalog = CachedCatalog::over(ground.open().await);
    Some(Fresh::catalog(catalog).on(ground))
}

async fn processes(ground: Option<Ground>) -> Option<Fresh<[Process]>> {
    let ground = ground?;
    let folder = tempfile::tempdir().expect("a folder");
    let mut all = Vec::new();
    for _ in 0..3 {
        let catalog = ground.open().await;
        let keys = SealedKeys::open(catalog.clone(), folder.path().join("secrets.key")).await;
        let keys = Arc::new(keys.expect("one key file"));
        all.push(Process {
            tokens: catalog.clone(),
            keys,
            access_keys: catalog,
        });
    }
    Some(Fresh::processes(all).on(ground).on(folder))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_holds_no_secret_of_an_access_key_and_a_full_one_takes_no_more() {
    let Some(ground) = Ground::new().await else {
        return;
    };
    let catalog = ground.open().await;
    let folder = tempfile::tempdir().expect("a folder");
    let keys = SealedKeys::open(catalog.clone(), folder.path().join("secrets.key")).await;
    let keys = AccessKeys::new(catalog.clone(), keys.expect("opened").sealer());
    let new = |name: &str| NewAccessKey {
        name: name.to_owned(),
        buckets: vec!["media".to_owned()],
        prefix: String::new(),
        scopes: [Scope::Read].into_iter().collect(),
        expires_at: None,
    };
    let (key, secret) = keys.create(new("wiki")).await.expect("made");
    assert_eq!(
        keys.list().await.expect("read"),
        [(key.clone(), secret.clone())]
    );
    let holding = async |text: &str| {
        let text = text.replace('\'', "''");
        let rows = format!(
            "SELECT count(*) FROM attache.access_keys k
             WHERE position(convert_to('{text}', 'UTF8') IN k.sealed) > 0 OR position('{text}' IN k::text) > 0"
        );
        ground.number(&rows).await
    };
    assert_eq!(holding(secret.expose()).await, 0);
    assert_eq!(holding(key.id.as_str()).await, 1);
    let more = format!(
        "INSERT INTO attache.access_keys (id, name, place, buckets, prefix, scopes, created_at, sealed)
         SELECT 'ATTA' || lpad(i::text, 16, '0'), 'n' || i, 0, 'media', '', 'read', 0, '' FROM generate_series(2, {MAX_ACCESS_KEYS}) i"
    );
    ground.run(&more).await;
    let full = keys.create(new("more")).await.expect_err("full");
    assert_eq!(full.kind(), ErrorKind::Conflict, "{full}");
    assert!(keys.revoke(&key.id).await.expect("revoked"));
    keys.create(new("more")).await.expect("room again");
    catalog.close().await;
}
