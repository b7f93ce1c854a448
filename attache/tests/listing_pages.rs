//! Pages of a listing: whoever follows `next` sees everything once, and no page is empty.

use std::collections::BTreeSet;
use std::sync::Arc;

use attache::access::Owners;
use attache::attachment::NewAttachment;
use attache::catalog::config::{CatalogConfig, CatalogUrl};
use attache::catalog::sqlite::SqliteCatalog;
use attache::catalog::{Catalog as _, Page};
use attache::service::MAX_PAGE;
use attache::storage::memory::MemoryStorage;
use attache::{Attache, Config, ErrorKind};
use futures::{StreamExt as _, TryStreamExt as _};

/// How many are on each page, up to the one that promises no other.
async fn pages(attache: &Attache, limit: u32) -> Vec<usize> {
    let mut page = Page {
        owner: None,
        visible: Owners::all(),
        after: None,
        limit,
    };
    let (mut sizes, mut seen) = (Vec::new(), BTreeSet::new());
    loop {
        let listing = attache.list(&page).await.expect("a page");
        sizes.push(listing.attachments.len());
        for attachment in listing.attachments {
            assert!(seen.insert(attachment.id), "twice");
        }
        match listing.next {
            Some(next) => page.after = Some(next),
            None => return sizes,
        }
    }
}

#[tokio::test]
async fn a_next_page_is_promised_only_where_something_is_on_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = CatalogUrl::Sqlite(folder.path().join("attache.db"));
    let catalog =
        Arc::new(SqliteCatalog::open(&folder.path().join("attache.db")).expect("a catalog"));
    let config = Config {
        catalog: CatalogConfig::of(url),
        ..Config::default()
    };
    let storage = Arc::new(MemoryStorage::default());
    let attache = Attache::with(config, storage, catalog.clone())
        .await
        .expect("opened");
    assert_eq!(pages(&attache, 1).await, [0], "the first one may be empty");

    let store = || attache.upload(NewAttachment::default(), futures::stream::empty());
    let stored = futures::stream::iter(0..=MAX_PAGE).map(|_| store());
    let stored: Vec<_> = stored
        .buffer_unordered(64)
        .try_collect()
        .await
        .expect("stored");
    assert_eq!(pages(&attache, MAX_PAGE).await, [1000, 1], "one more");
    assert_eq!(pages(&attache, 143).await, [143; 7], "1,001 in sevens");

    attache
        .delete(&stored[500].attachment.id)
        .await
        .expect("deleted");
    assert_eq!(pages(&attache, MAX_PAGE).await, [1000], "exactly the limit");
    assert_eq!(pages(&attache, 500).await, [500, 500], "twice the limit");

    for limit in [0, MAX_PAGE + 1, u32::MAX] {
        let page = Page {
            owner: None,
            visible: Owners::all(),
            after: None,
            limit,
        };
        let error = attache.list(&page).await.expect_err("out of bounds");
        assert_eq!(error.kind(), ErrorKind::BadRequest);
    }
    catalog.close().await;
}
