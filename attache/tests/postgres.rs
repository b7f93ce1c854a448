//! The promises of catalogs, tokens and keys, over PostgreSQL: of the oldest version that is supported, directly and behind a pooler
//! that hands out connections by transaction, and of the newest one.

#[path = "postgres/ground.rs"]
mod ground;

use std::sync::Arc;

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
        let tokens = ground.open().await;
        let keys = SealedKeys::open(tokens.clone(), folder.path().join("secrets.key")).await;
        let keys = Arc::new(keys.expect("one key file"));
        all.push(Process { tokens, keys });
    }
    Some(Fresh::processes(all).on(ground).on(folder))
}
