//! A delivery asks the catalog once: for the row that it begins with.

#[path = "common/counting.rs"]
mod counting;

use std::sync::Arc;

use attache::attachment::NewAttachment;
use attache::catalog::Catalog as _;
use attache::catalog::config::{CatalogConfig, CatalogUrl};
use attache::catalog::sqlite::SqliteCatalog;
use attache::delivery::{Delivery, DeliveryRequest};
use attache::storage::memory::MemoryStorage;
use attache::{Attache, Config, ErrorKind};
use bytes::Bytes;
use counting::Counting;

#[tokio::test]
async fn whoever_has_found_an_attachment_delivers_it_without_another_look_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = CatalogUrl::Sqlite(folder.path().join("attache.db"));
    let catalog = SqliteCatalog::open(&folder.path().join("attache.db")).expect("a catalog");
    let catalog = Arc::new(Counting::over(catalog));
    let config = Config {
        catalog: CatalogConfig::of(url),
        ..Config::default()
    };
    let storage = Arc::new(MemoryStorage::default());
    let attache = Attache::with(config, storage, catalog.clone())
        .await
        .expect("opened");
    let bytes = futures::stream::iter([Ok(Bytes::from_static(b"0123456789"))]);
    let uploaded = attache.upload(NewAttachment::default(), bytes).await;
    let id = uploaded.expect("stored").attachment.id;
    catalog.look_ups();

    let found = attache
        .find_for(&id, &DeliveryRequest::default())
        .await
        .expect("found");
    let some = |text: &str| Some(text.to_owned());
    let requests = [
        (DeliveryRequest::default(), Ok("0123456789")),
        (
            DeliveryRequest {
                range: some("bytes=2-3"),
                ..DeliveryRequest::default()
            },
            Ok("23"),
        ),
        (
            DeliveryRequest {
                head: true,
                ..DeliveryRequest::default()
            },
            Ok(""),
        ),
        (
            DeliveryRequest {
                if_none_match: some("*"),
                ..DeliveryRequest::default()
            },
            Ok(""),
        ),
        (
            DeliveryRequest {
                range: some("bytes=10-"),
                ..DeliveryRequest::default()
            },
            Err(ErrorKind::BadRange),
        ),
    ];
    for (request, expected) in requests {
        let bytes = match attache.deliver(&found, &request).await {
            Ok(Delivery::Relay {
                body: Some(body), ..
            }) => Ok((*body).collect(100).await.expect("whole")),
            Ok(_) => Ok(Bytes::new()),
            Err(error) => Err(error.kind()),
        };
        assert_eq!(bytes, expected.map(Bytes::from), "{request:?}");
    }
    assert_eq!(catalog.look_ups(), 1);

    // What was deleted since is not there; the catalog says so.
    attache.delete(&id).await.expect("deleted");
    let gone = attache.deliver(&found, &DeliveryRequest::default()).await;
    assert_eq!(
        gone.expect_err("deleted").kind(),
        ErrorKind::NotFound,
        "and not a fault of the store"
    );
    assert_eq!(catalog.look_ups(), 1);
    catalog.close().await;
}
