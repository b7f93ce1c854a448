//! One token and one signing key per lifetime, whatever is asked for at the same time: the whole service against a
//! stand-in that counts.

mod common;

use std::time::Duration;

use attache::attachment::AttachmentId;
use attache::attachment::NewAttachment;
use attache::attachment::filename::Disposition;
use attache::catalog::config::CatalogUrl;
use attache::delivery::config::DeliveryMode;
use attache::delivery::lifetime::UrlLifetime;
use attache::delivery::{Delivery, DeliveryRequest};
use attache::storage::config::Backend;
use attache::{Attache, Config};
use bytes::Bytes;
use futures::StreamExt;

/// A token must live 10 s longer, a key 10 s (`url_lifetime` and a margin): they are of use for 4 s.
const LIFETIME: Duration = Duration::from_secs(14);

async fn store(attache: &Attache) -> AttachmentId {
    let bytes = futures::stream::iter([Ok(Bytes::from_static(b"hello"))]);
    let uploaded = attache.upload(NewAttachment::default(), bytes).await;
    uploaded.expect("stored").attachment.id
}

/// What users ask for, in turn.
async fn ask(attache: &Attache, id: &AttachmentId, number: usize) {
    match number % 4 {
        0 | 1 => {
            let found = attache.find(id).await.expect("found");
            let delivery = attache
                .deliver(&found, &DeliveryRequest::default())
                .await
                .expect("delivered");
            assert!(
                matches!(delivery, Delivery::Redirect { .. }),
                "{delivery:?}"
            );
        }
        2 => {
            let url = attache
                .url(id, None, Disposition::Attachment, "http://h")
                .await;
            url.expect("signed");
        }
        _ => {
            let request = DeliveryRequest {
                via: Some(DeliveryMode::Relay),
                ..DeliveryRequest::default()
            };
            let found = attache.find(id).await.expect("found");
            let Ok(Delivery::Relay {
                body: Some(body), ..
            }) = attache.deliver(&found, &request).await
            else {
                panic!("no relay");
            };
            assert_eq!((*body).collect(100).await.expect("whole"), "hello");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_requests_a_thousand_of_them_at_expiry_take_one_token_and_one_key_a_lifetime()
{
    let fake = common::fake().await;
    fake.faults(|faults| {
        faults.token_lifetime = LIFETIME;
        faults.delegation_key_lifetime = LIFETIME;
    });
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config {
        catalog: attache::catalog::config::CatalogConfig::of(CatalogUrl::Sqlite(
            folder.path().join("attache.db"),
        )),
        ..Config::default()
    };
    config.storage.backend = Backend::Azure;
    config.storage.azure = common::with_client_secret(&fake);
    config.delivery.url_lifetime = UrlLifetime::Fixed(Duration::from_secs(5));
    let attache = Attache::open(config).await.expect("opens");
    let id = store(&attache).await;
    attache
        .url(&id, None, Disposition::Inline, "http://h")
        .await
        .expect("signed");
    let began = std::time::Instant::now();

    futures::stream::iter(0..4000)
        .map(|number| ask(&attache, &id, number))
        .buffer_unordered(64)
        .collect::<()>()
        .await;
    let counts = fake.counts();
    // Unless this machine took so long that the first lifetime ended meanwhile.
    if began.elapsed() < Duration::from_secs(3) {
        assert_eq!(
            (counts.token_requests, counts.delegation_key_requests),
            (1, 1)
        );
    }

    // Both die unused; nothing is fetched while nobody asks.
    let dead =
        |lease: &attache::storage::LeaseVitals| lease.remaining_s.is_none_or(|left| left < 9.0);
    while !attache.parts().storage.vitals().leases.iter().all(dead) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = fake.counts();
    let all = (0..1000).map(|number| ask(&attache, &id, number));
    futures::future::join_all(all).await;
    let after = fake.counts();
    assert_eq!(after.token_requests - before.token_requests, 1);
    assert_eq!(
        after.delegation_key_requests - before.delegation_key_requests,
        1
    );
    attache.close(Duration::from_secs(5)).await;
}
