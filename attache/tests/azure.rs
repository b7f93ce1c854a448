//! What is promised of Azure alone: signed URLs, few tokens, and that nothing which breaks on the way breaks an object.

mod common;

use std::time::Duration;

use attache::attachment::{ByteRange, ObjectKey};
use attache::http::ClientConfig;
use attache::secret::Secret;
use attache::storage::azure::{AzureConfig, AzureStorage};
use attache::storage::multipart::Part;
use attache::storage::{Blocks, Content, Grant, ObjectInfo, Offer, Storage};
use attache::transfer::budget::Budget;
use attache::{Error, ErrorKind};
use bytes::Bytes;
use common::{
    BLOCK, CONTAINER, Reply, SECRET, ask, body, content, eventually, facts, failing_body, fake,
    fresh_key, get, interrupt_put, list, open, open_with, pattern, put, with_account_key,
    with_client_secret,
};
use fake_azure::{FakeAzure, Guard, Op};
use futures::StreamExt as _;
use futures::future::join_all;
use time::OffsetDateTime;

const MINUTE: Duration = Duration::from_secs(60);

// Signed URLs.

mod a_signed_url_opens_one_object_as_signed_and_nothing_else {
    use super::*;

    #[tokio::test]
    async fn by_a_delegation_key_on_the_fake() {
        let fake = fake().await;
        let store = open(&with_client_secret(&fake));
        holds(&store, Some(fake.ca_pem())).await;
        assert!(fake.counts().sas_requests > 0);
    }

    #[tokio::test]
    async fn by_the_account_key_on_the_fake() {
        let fake = fake().await;
        let store = open(&with_account_key(&fake));
        holds(&store, Some(fake.ca_pem())).await;
        assert_eq!(fake.counts().delegation_key_requests, 0);
    }

    #[tokio::test]
    async fn by_a_delegation_key_on_azurite() {
        let entra = fake().await;
        if let Some(config) = common::azurite_with_client_secret(&entra).await {
            holds(&open(&config), config.ca_pem.as_deref()).await;
        }
    }

    #[tokio::test]
    async fn by_the_account_key_on_azurite() {
        if let Some(config) = common::azurite_with_connection_string().await {
            holds(&open(&config), None).await;
        }
    }

    async fn holds(store: &AzureStorage, ca: Option<&str>) {
        let (key, other) = (fresh_key(), fresh_key());
        let bytes = pattern(3 * BLOCK, 1);
        put(store, &key, &bytes).await.expect("put");
        put(store, &other, &bytes).await.expect("put");
        let grant = Grant {
            lifetime: 2 * MINUTE,
            step: MINUTE,
            disposition: "inline; filename=\"a b_.txt\"; filename*=UTF-8''a%20b%25%E5%86%99.txt"
                .to_owned(),
            content_type: "text/plain; charset=utf-8".to_owned(),
            cache_control: Some("private, max-age=120, immutable".to_owned()),
        };
        let (url, expires_at) = signed(store, &key, &grant).await;
        let left = expires_at - OffsetDateTime::now_utc();
        assert!(
            left > MINUTE - Duration::from_secs(1) && left <= 2 * MINUTE,
            "{left}"
        );

        let reply = ask("GET", &url, ca).await;
        assert_eq!(reply.status, 200, "{}", text(&reply));
        assert!(reply.body == bytes, "other bytes");
        assert_eq!(reply.header("content-type"), grant.content_type);
        assert_eq!(reply.header("content-disposition"), grant.disposition);

        let later = |seconds| {
            let at = OffsetDateTime::now_utc() + Duration::from_secs(seconds);
            let at = at.replace_nanosecond(0).expect("in range");
            let rfc3339 = time::format_description::well_known::Rfc3339;
            at.format(&rfc3339).expect("a time").replace(':', "%3A")
        };
        let forged = [
            url.replace(key.as_str(), other.as_str()),
            with(&url, "se", &later(3600)),
            with(&url, "sp", "rw"),
            with(&url, "spr", "https%2Chttp%2C"),
            with(&url, "rsct", "text%2Fhtml"),
            with(&url, "rscd", "inline"),
            with(&url, "sr", "c"),
            without(&url, "rsct"),
            without(&url, "rscd"),
            without(&url, "sig"),
        ];
        for forged in forged {
            assert_ne!(forged, url, "nothing was changed");
            let reply = ask("GET", &forged, ca).await;
            assert!(
                matches!(reply.status, 401 | 403),
                "{} for {forged}",
                reply.status
            );
            assert!(reply.body != bytes);
        }
        for method in ["PUT", "DELETE"] {
            // Azurite finds these requests malformed before it looks at the permission.
            let status = ask(method, &url, ca).await.status;
            assert!(matches!(status, 400 | 403), "{status} for {method}");
        }
        assert!(get(store, &key, None).await.expect("get").bytes == bytes);
    }
}

#[tokio::test]
async fn a_signed_url_expires() {
    let fake = fake().await;
    for config in [with_client_secret(&fake), with_account_key(&fake)] {
        let (store, key) = (open(&config), fresh_key());
        put(&store, &key, &pattern(10, 2)).await.expect("put");
        let (url, _) = signed(&store, &key, &grant()).await;
        assert_eq!(ask("GET", &url, Some(fake.ca_pem())).await.status, 200);
        fake.faults(|f| f.clock_skew_seconds = 121);
        assert_eq!(ask("GET", &url, Some(fake.ca_pem())).await.status, 403);
        fake.faults(|f| f.clear());
    }
}

#[tokio::test]
async fn signed_urls_are_made_for_the_public_endpoint() {
    let fake = fake().await;
    for config in [with_client_secret(&fake), with_account_key(&fake)] {
        let config = AzureConfig {
            public_endpoint: Some("https://files.example".to_owned()),
            ..config
        };
        let key = fresh_key();
        let (url, _) = signed(&open(&config), &key, &grant()).await;
        let base = format!("https://files.example/{CONTAINER}/{key}?");
        assert!(url.starts_with(&base), "{url}");
    }
}

#[tokio::test]
async fn the_very_first_url_works_while_our_clock_is_off() {
    // Tokens come from the true time, and are not good for a store that lags far behind it.
    for skew in [-240_i32, 1800] {
        let fake = fake().await;
        fake.faults(|f| f.clock_skew_seconds = skew.into());
        let (store, key) = (open(&with_client_secret(&fake)), fresh_key());
        fake.put_blob(CONTAINER, key.as_str(), "bytes");
        let (url, expires_at) = signed(&store, &key, &grant()).await;
        let reply = ask("GET", &url, Some(fake.ca_pem())).await;
        assert_eq!(reply.status, 200, "{skew} s: {}", text(&reply));
        let left = expires_at - OffsetDateTime::now_utc();
        assert!(left.abs() <= 2 * MINUTE, "told on our clock: {left}");
        let told = store.probe().await.expect("a token serves").clock_skew_s;
        let told = told.expect("the answer had a date");
        assert!((told - f64::from(skew)).abs() < 5.0, "{told} for {skew}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_offers_and_reads_cost_one_token_and_one_delegation_key() {
    let fake = fake().await;
    let (store, key) = (open(&with_client_secret(&fake)), fresh_key());
    fake.put_blob(CONTAINER, key.as_str(), "bytes");
    futures::stream::iter(0..1000)
        .map(|_| async {
            signed(&store, &key, &grant()).await;
            get(&store, &key, None).await.expect("get");
        })
        .buffer_unordered(100)
        .collect::<Vec<()>>()
        .await;
    let counts = fake.counts();
    assert_eq!(
        (counts.token_requests, counts.delegation_key_requests),
        (1, 1)
    );
    assert_eq!(counts.of(Op::GetBlob), 1000);
}

// Credentials.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_tokens_cost_everybody_together_one_new_one() {
    let fake = fake().await;
    let (store, key) = (open(&with_client_secret(&fake)), fresh_key());
    let bytes = pattern(3 * BLOCK, 3);
    put(&store, &key, &bytes).await.expect("put");
    fake.revoke_tokens();
    let (new, readers) = (fresh_key(), (0..50).map(|_| get(&store, &key, None)));
    let (written, read) = futures::future::join(put(&store, &new, &bytes), join_all(readers)).await;
    written.expect("the body is sent again");
    for outcome in read {
        assert!(outcome.expect("healed").bytes == bytes);
    }
    assert!(get(&store, &new, None).await.expect("get").bytes == bytes);
    assert_eq!(fake.counts().token_requests, 2);
}

#[tokio::test]
async fn what_is_configured_wrongly_is_named_and_no_secret_is() {
    const CANARY: &str = "canary~8Q~dGhlIHNlY3JldA";
    let fake = fake().await;
    let secret = with_client_secret(&fake);
    let key = with_account_key(&fake);
    // Well-formed, and not the key.
    let other_key = "Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5";
    let string = fake
        .connection_string()
        .replace(fake.account_key(), other_key);
    let cases = [
        (
            "storage.azure.client_secret",
            AzureConfig {
                client_secret: Some(Secret::new(CANARY)),
                ..secret.clone()
            },
        ),
        (
            "storage.azure.client_id",
            AzureConfig {
                client_id: Some("00000000-0000-4000-8000-000000000001".into()),
                ..secret.clone()
            },
        ),
        (
            "storage.azure.tenant_id",
            AzureConfig {
                tenant_id: Some("00000000-0000-4000-8000-000000000002".into()),
                ..secret.clone()
            },
        ),
        (
            "storage.azure.container",
            AzureConfig {
                container: Some("elsewhere".into()),
                ..secret.clone()
            },
        ),
        (
            "storage.azure.account",
            AzureConfig {
                account: Some("other".into()),
                endpoint: Some(fake.blob_endpoint().replace("/acme", "/other")),
                ..secret.clone()
            },
        ),
        (
            "storage.azure.account_key",
            AzureConfig {
                account_key: Some(Secret::new(other_key)),
                ..key.clone()
            },
        ),
        (
            "storage.azure.connection_string",
            AzureConfig {
                connection_string: Some(Secret::new(string)),
                credential: attache::storage::azure::CredentialKind::ConnectionString,
                ca_pem: key.ca_pem.clone(),
                container: key.container.clone(),
                ..AzureConfig::default()
            },
        ),
    ];
    for (named, config) in cases {
        let store = open(&config);
        for (operation, error) in every_operation(&store).await {
            let report = format!("{error} | {error:?} | {}", error.report());
            let expected = match named {
                "storage.azure.container" => ErrorKind::ContainerNotFound,
                _ => ErrorKind::UpstreamRefused,
            };
            assert_eq!(error.kind(), expected, "{operation}: {report}");
            assert!(
                error.detail().contains(named),
                "{operation}: {named} is not named: {report}"
            );
            for hidden in [CANARY, SECRET, other_key, fake.account_key()] {
                assert!(!report.contains(hidden), "{operation}: {report}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_reached_is_unavailable_and_says_what_to_check() {
    let fake = fake().await;
    let config = with_client_secret(&fake);
    // A port that was free a moment ago: connections are refused.
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("an address").port()
    };
    let cases = [
        (
            "storage.azure.endpoint",
            AzureConfig {
                endpoint: Some(format!("https://127.0.0.1:{closed}")),
                ..config.clone()
            },
        ),
        (
            "storage.azure.account",
            AzureConfig {
                endpoint: Some("https://acme.blob.invalid".into()),
                ..config.clone()
            },
        ),
        (
            "storage.azure.authority_host",
            AzureConfig {
                authority_host: Some(format!("https://127.0.0.1:{closed}")),
                ..config.clone()
            },
        ),
        (
            "storage.azure.ca_file",
            AzureConfig {
                ca_pem: None,
                ..config.clone()
            },
        ),
        (
            "storage.azure.ca_file",
            AzureConfig {
                ca_pem: None,
                ..with_account_key(&fake)
            },
        ),
    ];
    join_all(cases.map(|(named, config)| async move {
        let error = open(&config).probe().await.expect_err("nobody answers");
        let report = error.report();
        assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{report}");
        assert!(
            error.detail().contains(named),
            "{named} is not named: {report}"
        );
        assert!(error.retry_hint().is_some(), "{report}");
        assert!(!report.contains(SECRET), "{report}");
    }))
    .await;
}

#[tokio::test]
async fn a_store_that_refuses_connections_is_unavailable_and_heals_by_itself() {
    let fake = fake().await;
    let store = open(&with_client_secret(&fake));
    store.probe().await.expect("it works");
    fake.faults(|f| f.refuse_connections = true);
    fake.drop_connections();
    let error = store.probe().await.expect_err("no connection");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{error:?}");
    fake.faults(|f| f.clear());
    store.probe().await.expect("it works again");
}

#[tokio::test]
async fn an_outage_of_entra_is_no_fault_of_the_configuration() {
    let fake = fake().await;
    fake.faults(|f| f.entra = fake_azure::Entra::Unavailable);
    let store = open(&with_client_secret(&fake));
    let error = store.probe().await.expect_err("no token");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{error:?}");
    assert!(!error.report().contains(SECRET));
}

#[tokio::test]
async fn a_clock_that_is_an_hour_off_is_named() {
    for skew in [-3600, 3600] {
        let fake = fake().await;
        fake.faults(|f| f.clock_skew_seconds = skew);
        let error = open(&with_account_key(&fake)).probe().await;
        let error = error.expect_err("a signature from another hour");
        assert_eq!(error.kind(), ErrorKind::UpstreamRefused, "{error:?}");
        let direction = if skew > 0 { "behind" } else { "ahead" };
        for word in ["clock", "NTP", direction] {
            assert!(error.detail().contains(word), "{word}: {error:?}");
        }
        assert!(!error.report().contains(fake.account_key()));
    }
}

// Uploads.

#[tokio::test]
async fn an_object_carries_its_type_and_disposition() {
    let fake = fake().await;
    let store = open(&with_client_secret(&fake));
    for size in [10, 3 * BLOCK] {
        let key = fresh_key();
        put(&store, &key, &pattern(size, 4)).await.expect("put");
        let blob = fake.blob(CONTAINER, key.as_str()).expect("it is there");
        let content = content(facts(&key));
        assert_eq!(blob.content_type, Some(content.content_type));
        assert_eq!(blob.content_disposition, Some(content.disposition));
    }
}

#[tokio::test]
async fn a_put_succeeds_although_its_answer_was_lost() {
    let fake = fake().await;
    let store = open(&with_client_secret(&fake));
    for (size, op) in [
        (10, Op::PutBlob),
        (5 * BLOCK, Op::PutBlock),
        (5 * BLOCK, Op::PutBlockList),
    ] {
        let (key, bytes) = (fresh_key(), pattern(size, 5));
        fake.faults(|f| f.lose_answer(op, 1));
        let fired = fake.counts().faults_fired;
        put(&store, &key, &bytes).await.expect("it was done");
        assert_eq!(fake.counts().faults_fired, fired + 1, "{op}");
        assert!(get(&store, &key, None).await.expect("get").bytes == bytes);
        // The same for an object of somebody else is still a conflict.
        fake.faults(|f| f.lose_answer(op, 1));
        let error = put(&store, &key, &bytes).await.expect_err("it exists");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{op}");
        fake.faults(|f| f.clear());
    }
}

#[tokio::test]
async fn a_delete_succeeds_although_its_answer_was_lost() {
    let fake = fake().await;
    let (store, key) = (open(&with_client_secret(&fake)), fresh_key());
    put(&store, &key, &pattern(10, 6)).await.expect("put");
    fake.faults(|f| f.lose_answer(Op::DeleteBlob, 1));
    store.delete(&key).await.expect("it was done");
    assert_eq!(fake.counts().blobs, 0);
}

#[tokio::test]
async fn throttling_is_waited_out_and_counted() {
    let fake = fake().await;
    let (store, key) = (open(&with_client_secret(&fake)), fresh_key());
    let bytes = pattern(5 * BLOCK, 7);
    fake.faults(|f| f.busy_next(Op::PutBlock, 2, Duration::from_secs(1)));
    put(&store, &key, &bytes).await.expect("tried again");
    assert!(get(&store, &key, None).await.expect("get").bytes == bytes);
    let retries = store.vitals().retries;
    assert!(retries.contains(&("throttled", 2)), "{retries:?}");
}

#[tokio::test]
async fn reads_are_asked_for_again_while_the_store_may_recover() {
    let fake = fake().await;
    let (store, key) = (open(&with_client_secret(&fake)), fresh_key());
    let bytes = pattern(10_000, 8);
    put(&store, &key, &bytes).await.expect("put");
    let retries = || store.vitals().retries;

    fake.faults(|f| f.busy_next(Op::GetBlob, 1, Duration::from_secs(1)));
    let asked = std::time::Instant::now();
    assert!(get(&store, &key, None).await.expect("get").bytes == bytes);
    assert!(asked.elapsed() >= Duration::from_secs(1), "not waited");
    assert!(retries().contains(&("throttled", 1)), "{:?}", retries());

    fake.faults(|f| f.fail_next(Op::GetBlob, 1, 500, "InternalError"));
    assert!(get(&store, &key, None).await.expect("get").bytes == bytes);
    assert!(retries().contains(&("server_error", 1)), "{:?}", retries());

    fake.faults(|f| f.disconnect_next(Op::GetBlob, 1));
    assert!(get(&store, &key, None).await.expect("get").bytes == bytes);
    assert!(retries().contains(&("disconnected", 1)), "{:?}", retries());
}

#[tokio::test]
async fn reads_that_cannot_succeed_are_asked_for_once() {
    let fake = fake().await;
    let (store, key) = (open(&with_client_secret(&fake)), fresh_key());
    put(&store, &key, &pattern(10, 8)).await.expect("put");
    let outcome_of = async |status: u16, code: &str| {
        fake.reset_counts();
        fake.faults(|f| f.fail_next(Op::GetBlob, 1, status, code));
        let error = store.get(&key, None).await.expect_err("refused");
        assert_eq!(fake.counts().of(Op::GetBlob), 1, "{status}");
        error.kind()
    };
    let refused = outcome_of(403, "AuthorizationFailure").await;
    assert_eq!(refused, ErrorKind::UpstreamRefused);
    let gone = outcome_of(404, "BlobNotFound").await;
    assert_eq!(gone, ErrorKind::NotFound);
    let strange = outcome_of(204, "").await;
    assert_eq!(strange, ErrorKind::Internal);

    // More patience than a caller has.
    fake.reset_counts();
    fake.faults(|f| f.busy_next(Op::GetBlob, 1, Duration::from_secs(120)));
    let error = store.get(&key, None).await.expect_err("busy");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    assert_eq!(fake.counts().of(Op::GetBlob), 1);
}

/// Refuses every request, and never comes to the end of why.
async fn endless_refusals() -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}/acme", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = client.read(&mut [0; 4096]).await;
                let head = "HTTP/1.1 403 No\r\nx-ms-error-code: AuthorizationFailure\r\n\
                            transfer-encoding: chunked\r\n\r\n";
                let mut told = client.write_all(head.as_bytes()).await;
                while told.is_ok() {
                    told = client.write_all(b"8\r\nbecause \r\n").await;
                }
            });
        }
    });
    Ok(endpoint)
}

#[tokio::test]
async fn a_refusal_without_end_is_read_no_further_than_refusals_are_long() {
    let fake = fake().await;
    let store = open(&AzureConfig {
        endpoint: Some(endless_refusals().await.expect("a socket")),
        ..with_account_key(&fake)
    });
    let key = fresh_key();
    // The first by a request of our own, the second by one of Microsoft's client.
    let both = async { (store.get(&key, None).await, store.delete(&key).await) };
    let (read, deleted) = tokio::time::timeout(MINUTE, both)
        .await
        .expect("it does not listen for ever");
    for error in [read.map(|_| ()), deleted].map(|outcome| outcome.expect_err("refused")) {
        assert_eq!(error.kind(), ErrorKind::UpstreamRefused, "{error:?}");
    }
}

#[tokio::test]
async fn an_empty_object_is_read_by_one_request() {
    let fake = fake().await;
    let (store, key) = (open(&with_client_secret(&fake)), fresh_key());
    put(&store, &key, &Bytes::new()).await.expect("put");
    fake.reset_counts();
    assert!(get(&store, &key, None).await.expect("get").bytes.is_empty());
    assert_eq!(fake.counts().of(Op::GetBlob), 1);
}

#[tokio::test]
async fn bytes_that_change_on_their_way_are_refused_and_leave_nothing() {
    let fake = fake().await;
    let store = open(&with_client_secret(&fake));
    for (size, hashed) in [(1000, false), (5 * BLOCK, false), (5 * BLOCK, true)] {
        let (key, bytes) = (fresh_key(), pattern(size, 8));
        let plan = content(facts(&key));
        let body = match hashed {
            true => body(&bytes),
            false => attache::transfer::body::Body::from_bytes(bytes.clone()),
        };
        fake.faults(|f| f.corrupt_request(500, 1));
        let error = store.put(&key, &plan, body).await;
        let error = error.expect_err("one bit was turned");
        assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{error:?}");
        assert_nothing_is_left(&fake);
    }
}

#[tokio::test]
async fn a_failed_put_leaves_no_blocks_behind() {
    let fake = fake().await;
    let store = open(&with_client_secret(&fake));
    let bytes = pattern(6 * BLOCK, 9);

    let (key, told) = (fresh_key(), Error::new(ErrorKind::ClientGone, "gone"));
    let outcome = store
        .put(&key, &content(facts(&key)), failing_body(&bytes, told))
        .await;
    assert_eq!(outcome.expect_err("gone").kind(), ErrorKind::ClientGone);
    assert!(fake.counts().of(Op::PutBlock) > 0);
    assert_nothing_is_left(&fake);

    for (op, skip) in [(Op::PutBlock, 3), (Op::PutBlockList, 0)] {
        fake.faults(|f| {
            f.fail_next(op, 1, 403, "AuthorizationPermissionMismatch");
            f.answers[0].skip = skip;
        });
        let error = put(&store, &fresh_key(), &bytes)
            .await
            .expect_err("on order");
        assert_eq!(error.kind(), ErrorKind::UpstreamRefused, "{error:?}");
        assert!(error.detail().contains("Storage Blob Data Contributor"));
        assert_nothing_is_left(&fake);
        fake.faults(|f| f.clear());
    }

    // The answer of the very call that clears up is lost.
    fake.faults(|f| f.lose_answer(Op::PutBlob, 1));
    let told = Error::new(ErrorKind::ClientGone, "gone");
    let outcome = store
        .put(&key, &content(facts(&key)), failing_body(&bytes, told))
        .await;
    assert_eq!(outcome.expect_err("gone").kind(), ErrorKind::ClientGone);
    assert_nothing_is_left(&fake);
}

#[tokio::test]
async fn parts_of_an_upload_are_a_few_blocks_each_and_abort_leaves_none() {
    let fake = fake().await;
    let (store, key) = (open(&with_client_secret(&fake)), fresh_key());
    let content = content(facts(&key));
    let parts = store.multipart().expect("it takes parts");
    let upload = parts.begin(&key, &content).await.expect("begun");
    // 40 blocks of the size that is set would use up the blob's 50,000 with 1,250 parts.
    let bytes = pattern(40 * BLOCK, 1);
    let part = Part {
        number: 10_000,
        offset: 0,
        size: 40 * BLOCK,
    };
    let put = parts.put_part(&upload, part, &content.blocks, body(&bytes));
    put.await.expect("a part");
    assert_eq!(fake.counts().uncommitted_blocks, 5);
    // What somebody may ask for before anything is known of it.
    parts.abort(&upload).await.expect("aborted");
    assert_nothing_is_left(&fake);
}

#[tokio::test]
async fn blocks_of_a_dropped_put_are_discarded() {
    let fake = fake().await;
    let (store, key) = (open(&with_client_secret(&fake)), fresh_key());
    interrupt_put(&store, &key, &pattern(6 * BLOCK, 10)).await;
    assert!(
        fake.counts().uncommitted_blocks > 0,
        "there is something to discard"
    );
    eventually("its connections close", Duration::from_secs(2), || {
        fake.counts().open_writes == 0
    })
    .await;
    store.discard(&key).await.expect("discard");
    assert_nothing_is_left(&fake);
}

#[tokio::test]
async fn a_file_that_fits_one_block_takes_one_call() {
    let fake = fake().await;
    let store = open(&with_client_secret(&fake));
    for size in [Some(BLOCK), None] {
        let key = fresh_key();
        let content = Content {
            size,
            ..content(facts(&key))
        };
        let before = fake.counts().blob_requests();
        let stored = store.put(&key, &content, body(&pattern(BLOCK, 11))).await;
        stored.expect("put");
        assert_eq!(fake.counts().blob_requests(), before + 1);
    }
}

// Downloads.

#[tokio::test]
async fn a_download_that_breaks_goes_on_where_it_broke_with_the_same_version() {
    let fake = fake().await;
    let (store, key) = (open(&with_client_secret(&fake)), fresh_key());
    let bytes = pattern(1024 * 1024, 12);
    put(&store, &key, &bytes).await.expect("put");
    let part = ByteRange {
        start: 100_000,
        end: 900_001,
    };
    for range in [None, Some(part)] {
        fake.reset_counts();
        fake.faults(|f| f.cut_response(200_000, 3));
        let whole = get(&store, &key, range).await.expect("get");
        let wanted = range.map_or(bytes.clone(), |r| {
            bytes.slice(r.start as usize..r.end as usize)
        });
        assert!(whole.bytes == wanted, "other bytes");

        let calls = fake.calls();
        assert_eq!(calls.len(), 4, "{calls:?}");
        let etag = fake
            .blob(CONTAINER, key.as_str())
            .expect("it is there")
            .etag;
        let pins: Vec<_> = calls.iter().map(|call| call.if_match.as_ref()).collect();
        assert_eq!(pins, [None, Some(&etag), Some(&etag), Some(&etag)]);
        let starts: Vec<u64> = calls
            .iter()
            .map(|call| start_of(call.range.as_deref()))
            .collect();
        assert!(starts.is_sorted_by(|a, b| a < b), "{starts:?}");
        assert!(starts[1] <= starts[0] + 200_000, "{starts:?}");
    }
    let retries = store.vitals().retries;
    assert!(retries.contains(&("resumed", 6)), "{retries:?}");
}

#[tokio::test]
async fn a_download_that_falls_silent_goes_on_elsewhere() {
    let fake = fake().await;
    let store = open_with(
        &with_client_secret(&fake),
        MINUTE,
        Duration::from_millis(300),
    );
    let (key, bytes) = (fresh_key(), pattern(1024 * 1024, 13));
    put(&store, &key, &bytes).await.expect("put");
    fake.faults(|f| f.silence_response(200_000, 1));
    let whole = get(&store, &key, None).await.expect("get");
    assert!(whole.bytes == bytes, "other bytes");
    assert_eq!(fake.counts().of(Op::GetBlob), 2);
}

#[tokio::test]
async fn a_download_that_breaks_for_ever_is_an_error_and_not_an_end() {
    let fake = fake().await;
    let (store, key) = (open(&with_client_secret(&fake)), fresh_key());
    put(&store, &key, &pattern(1024 * 1024, 14))
        .await
        .expect("put");
    fake.faults(|f| f.cut_response(20_000, 1_000_000));
    let error = get(&store, &key, None).await.err().expect("it never ends");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{error:?}");
}

#[tokio::test]
async fn an_object_that_changes_during_a_download_is_an_error_and_not_a_mixture() {
    let fake = fake().await;
    let store = open(&with_client_secret(&fake));
    let (old, new) = (pattern(1024 * 1024, 15), pattern(1024 * 1024, 16));
    for (replacement, kind) in [
        (Some(new), ErrorKind::PreconditionFailed),
        (None, ErrorKind::NotFound),
    ] {
        let key = fresh_key();
        put(&store, &key, &old).await.expect("put");
        fake.faults(|f| f.cut_response(300_000, 1));
        let mut object = store.get(&key, None).await.expect("get");
        object.body.next().await.expect("a chunk").expect("bytes");
        match replacement {
            Some(bytes) => fake.put_blob(CONTAINER, key.as_str(), bytes),
            None => fake.delete_blob(CONTAINER, key.as_str()),
        }
        let error = object
            .body
            .collect(usize::MAX)
            .await
            .expect_err("it changed");
        assert_eq!(error.kind(), kind, "{error:?}");
    }
}

#[tokio::test]
async fn dropping_a_download_closes_its_connection_within_a_second() {
    let fake = fake().await;
    let (store, key) = (open(&with_client_secret(&fake)), fresh_key());
    put(&store, &key, &pattern(4 * 1024 * 1024, 17))
        .await
        .expect("put");
    fake.faults(|f| f.download_bytes_per_second = Some(100_000));
    let mut object = store.get(&key, None).await.expect("get");
    object.body.next().await.expect("a chunk").expect("bytes");
    assert_eq!(fake.counts().open_reads, 1);
    drop(object);
    let second = Duration::from_secs(1);
    eventually("the read ends at the store", second, || {
        fake.counts().open_reads == 0
    })
    .await;
    // What is left is idle and may serve again.
    eventually("no request is in flight", second, || {
        let vitals = store.vitals();
        vitals.connections_open == vitals.connections_idle
    })
    .await;
}

// Connections.

#[tokio::test]
async fn idle_connections_close_after_their_time() {
    let fake = fake().await;
    let config = with_client_secret(&fake);
    let (store, key) = (
        open_with(&config, Duration::from_secs(1), MINUTE),
        fresh_key(),
    );
    put(&store, &key, &pattern(6 * BLOCK, 18))
        .await
        .expect("put");
    assert!(fake.counts().connections_open > 0);
    assert!(store.vitals().connections_open > 0);
    eventually("idle connections close", Duration::from_secs(4), || {
        store.vitals().connections_open == 0
            && fake.counts().connections_open == 0
            && fake.counts().entra_connections_open == 0
    })
    .await;
    get(&store, &key, None).await.expect("new ones are made");
}

#[tokio::test]
async fn a_store_that_is_dropped_closes_its_connections() {
    let fake = fake().await;
    let store = open(&with_client_secret(&fake));
    store.probe().await.expect("it works");
    assert!(fake.counts().connections_open > 0);
    drop(store);
    eventually("all connections close", Duration::from_secs(1), || {
        fake.counts().connections_open == 0
    })
    .await;
}

// Deletion and lists.

#[tokio::test]
async fn delete_takes_snapshots_along() {
    let fake = fake().await;
    let store = open(&with_client_secret(&fake));
    let (deleted, discarded) = (fresh_key(), fresh_key());
    for key in [&deleted, &discarded] {
        put(&store, key, &pattern(10, 19)).await.expect("put");
        fake.put_snapshot(CONTAINER, key.as_str())
            .expect("a snapshot");
    }
    assert_eq!(fake.blobs().len(), 4);
    store.delete(&deleted).await.expect("delete");
    store.discard(&discarded).await.expect("discard");
    assert_nothing_is_left(&fake);
}

#[tokio::test]
async fn a_list_is_as_long_as_it_takes_and_leaves_out_what_is_no_attachment() {
    let fake = fake().await;
    let store = open(&with_client_secret(&fake));
    // More than the 5,000 that the service lists at a time.
    let keys: Vec<ObjectKey> = (0..5050)
        .map(|n| format!("attachment/{n:05}").parse().expect("a key"))
        .collect();
    for key in &keys {
        fake.put_blob(CONTAINER, key.as_str(), "");
    }
    for foreign in [
        "readme.txt",
        "attachment/a/b",
        "attachment/x.tar.gz",
        "other/00001",
        "user/ä",
    ] {
        fake.put_blob(CONTAINER, foreign, "");
    }
    let listed = list(&store, None).await.expect("list");
    assert!(fake.counts().of(Op::ListBlobs) > 1);
    let listed: Vec<_> = listed.into_iter().map(|info| info.key).collect();
    assert!(listed == keys, "{} instead of {}", listed.len(), keys.len());
    let after = list(&store, Some(&keys[5040])).await.expect("list");
    assert_eq!(after.len(), 9);
}

// Helpers.

// What keeps an object as it is, or from being read.

#[tokio::test]
async fn what_is_archived_or_under_a_foreign_key_is_told_apart_from_a_failure() {
    let fake = fake().await;
    let store = open(&with_client_secret(&fake));
    let (archived, foreign) = (fresh_key(), fresh_key());
    for key in [&archived, &foreign] {
        put(&store, key, &pattern(10, 1)).await.expect("put");
    }
    fake.set_tier(CONTAINER, archived.as_str(), "Archive");
    fake.guard_blob(CONTAINER, foreign.as_str(), Some(Guard::CustomerKey));
    let kind = async |key| {
        get(&store, key, None)
            .await
            .map(|_| ())
            .map_err(|e| e.kind())
    };
    assert_eq!(kind(&archived).await, Err(ErrorKind::Archived));
    assert_eq!(kind(&foreign).await, Err(ErrorKind::CustomerKey));
    assert!(ErrorKind::Archived.is_expected() && ErrorKind::CustomerKey.is_expected());
    // What is known of an archived one is known all the same, from a look as from the listing.
    let head = store.head(&archived).await.expect("head").expect("there");
    let listed = list(&store, None).await.expect("list");
    let listed = listed.iter().find(|info| info.key == archived);
    assert!(head.archived && head.facts.is_some() && head.sha256.is_some());
    assert_eq!(listed, Some(&head));
    let error = store.head(&foreign).await.expect_err("not even its facts");
    assert_eq!(error.kind(), ErrorKind::CustomerKey);
    assert_eq!(store.head(&fresh_key()).await.expect("head"), None);
    for key in [&archived, &foreign] {
        store.delete(key).await.expect("they can be deleted");
    }
    assert_nothing_is_left(&fake);
}

#[tokio::test]
async fn a_deletion_that_the_store_refuses_says_why_and_succeeds_later() {
    let fake = fake().await;
    let store = open(&with_client_secret(&fake));
    for (guard, why) in [
        (Guard::RetentionPolicy, "a retention policy"),
        (Guard::LegalHold, "a legal hold"),
        (Guard::Leased, "lease"),
    ] {
        let key = fresh_key();
        put(&store, &key, &pattern(10, 1)).await.expect("put");
        fake.guard_blob(CONTAINER, key.as_str(), Some(guard));
        for error in [
            store.delete(&key).await.expect_err("kept"),
            store.discard(&key).await.expect_err("kept"),
        ] {
            assert_eq!(error.kind(), ErrorKind::Retained, "{error}");
            assert!(error.detail().contains(why), "{error}");
        }
        fake.guard_blob(CONTAINER, key.as_str(), None);
        store.discard(&key).await.expect("free again");
    }
    assert_nothing_is_left(&fake);
}

#[tokio::test]
async fn where_deletions_are_refused_a_failed_put_leaves_blocks_and_no_blob() {
    // A policy on the container, and something that refuses every deletion whatever the account says of itself.
    for by_policy in [true, false] {
        let fake = fake().await;
        let store = open(&with_client_secret(&fake));
        let key = fresh_key();
        match by_policy {
            true => fake.guard_container(CONTAINER, Some(Guard::RetentionPolicy)),
            false => fake.faults(|f| {
                f.fail(Op::DeleteBlob, 1.0, 409, "BlobImmutableDueToPolicy");
            }),
        }
        let content = content(facts(&key));
        let failing = failing_body(&pattern(6 * BLOCK, 1), Error::bad_request("gone"));
        let error = store.put(&key, &content, failing).await;
        assert_eq!(
            error.expect_err("the body fails").kind(),
            ErrorKind::BadRequest
        );
        interrupt_put(&store, &key, &pattern(6 * BLOCK, 2)).await;
        store
            .discard(&key)
            .await
            .expect("the blocks go by themselves");
        let left = fake.blob(CONTAINER, key.as_str()).expect("blocks");
        assert!(!left.committed && left.uncommitted_blocks > 0, "{left:?}");
        assert_eq!(fake.counts().blobs, 0, "by policy: {by_policy}");
    }
}

#[tokio::test]
async fn nobody_waits_for_as_long_as_the_service_asks_when_that_is_minutes() {
    let fake = fake().await;
    let (store, key) = (open(&with_client_secret(&fake)), fresh_key());
    put(&store, &key, &pattern(10, 1)).await.expect("put");
    fake.faults(|f| f.busy_next(None, u64::MAX, 5 * MINUTE));
    let began = std::time::Instant::now();
    for (what, error) in every_operation(&store).await {
        assert_eq!(
            error.kind(),
            ErrorKind::UpstreamUnavailable,
            "{what}: {error}"
        );
        // Whoever asks us is not sent back sooner than we were.
        assert!(error.retry_hint() >= Some(5 * MINUTE), "{what}: {error}");
    }
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn nobody_waits_for_as_long_as_entra_id_asks_either() {
    let fake = fake().await;
    let store = open(&with_client_secret(&fake));
    fake.faults(|f| f.busy_next(Op::Token, u64::MAX, 5 * MINUTE));
    let began = std::time::Instant::now();
    let error = store.probe().await.expect_err("no token");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable, "{error}");
}

#[tokio::test]
async fn the_web_site_of_an_account_is_a_container_that_is_warned_of() {
    let builder = FakeAzure::builder().container("$web").secret(SECRET);
    let fake = builder.start().await.expect("a free port");
    let config = AzureConfig {
        container: Some("$web".to_owned()),
        ..with_client_secret(&fake)
    };
    let (store, key) = (open(&config), fresh_key());
    put(&store, &key, &pattern(10, 1)).await.expect("put");
    let remarks = store.remarks(&key).await;
    let said = remarks.iter().find(|remark| remark.about == "container");
    assert!(
        said.expect("a warning").text.contains("everybody"),
        "{remarks:?}"
    );
}

#[tokio::test]
async fn a_container_that_is_gone_says_nothing_of_what_was_in_it() {
    let fake = fake().await;
    let (store, key) = (open(&with_client_secret(&fake)), fresh_key());
    put(&store, &key, &pattern(10, 1)).await.expect("put");
    fake.delete_container(CONTAINER);
    for (what, error) in every_operation(&store).await {
        assert_eq!(
            error.kind(),
            ErrorKind::ContainerNotFound,
            "{what}: {error}"
        );
    }
    let error = store.head(&key).await.expect_err("not \"it is not there\"");
    assert_eq!(error.kind(), ErrorKind::ContainerNotFound);
    // Nor does a 404 that no store gives.
    fake.create_container(CONTAINER);
    for code in ["", "NotFound", "ResourceNotFound"] {
        fake.faults(|f| {
            f.clear();
            f.fail(None, 1.0, 404, code);
        });
        let error = store.delete(&key).await.expect_err("no proof");
        assert_eq!(error.kind(), ErrorKind::UpstreamRefused, "{code}");
    }
}

#[tokio::test]
async fn what_was_put_is_known_by_the_name_that_the_store_gave_to_that_version() {
    let fake = fake().await;
    let store = open(&with_client_secret(&fake));
    // In one call, in blocks, and with the answer lost, so that the tag is asked for.
    for (blocks, lost) in [(0, false), (3, false), (0, true), (3, true)] {
        let key = fresh_key();
        if lost {
            fake.faults(|f| {
                f.lose_answer(Op::PutBlob, 1);
                f.lose_answer(Op::PutBlockList, 1);
            });
        }
        let stored = put(&store, &key, &pattern(blocks * BLOCK + 5, 1))
            .await
            .expect("put");
        fake.faults(|f| f.clear());
        let blob = fake.blob(CONTAINER, key.as_str()).expect("there");
        let tag = Some(blob.etag.trim_matches('"').to_owned());
        assert_eq!(stored.store_tag, tag, "{blocks} blocks, lost: {lost}");
        assert_eq!(
            get(&store, &key, None).await.expect("get").info.store_tag,
            tag
        );
        let listed = list(&store, None).await.expect("list");
        assert_eq!(listed[0].store_tag, tag);
        // Other tools write names of metadata with capitals.
        let capitals: Vec<(String, String)> = blob
            .metadata
            .iter()
            .map(|(name, value)| (name[..1].to_uppercase() + &name[1..], value.clone()))
            .collect();
        let capitals: Vec<(&str, &str)> = capitals
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        fake.set_metadata(CONTAINER, key.as_str(), &capitals);
        let again = list(&store, None).await.expect("list");
        assert_eq!(again[0].facts, listed[0].facts);
        assert!(again[0].facts.is_some() && again[0].sha256 == listed[0].sha256);
        assert_ne!(again[0].store_tag, tag);
        store.delete(&key).await.expect("delete");
    }
}

#[tokio::test]
async fn facts_that_another_tool_dropped_are_written_again() {
    let fake = fake().await;
    let (store, key) = (open(&with_client_secret(&fake)), fresh_key());
    let stored = put(&store, &key, &pattern(10, 1)).await.expect("put");
    let before = list(&store, None).await.expect("list");
    fake.put_blob(CONTAINER, key.as_str(), pattern(10, 1));
    assert_eq!(list(&store, None).await.expect("list")[0].facts, None);
    let content = content(before[0].facts.clone().expect("facts"));
    let tag = store
        .write_facts(&key, &content, &stored)
        .await
        .expect("written");
    let after = list(&store, None).await.expect("list");
    assert_eq!(after[0].store_tag, tag);
    assert_eq!(
        after[0],
        ObjectInfo {
            store_tag: tag,
            ..before[0].clone()
        }
    );
    let blob = fake.blob(CONTAINER, key.as_str()).expect("there");
    assert_eq!(
        blob.content_type.as_deref(),
        Some("application/octet-stream")
    );
    assert!(
        blob.content_disposition
            .is_some_and(|text| text.starts_with("attachment"))
    );
}

// Connections that fell silent.

fn patient(config: &AzureConfig, response: Duration, reused: Duration) -> AzureStorage {
    let client = ClientConfig {
        response_timeout: response,
        reused_timeout: reused,
        ..ClientConfig::default()
    };
    AzureStorage::new(config, &client).expect("a complete configuration")
}

#[tokio::test]
async fn a_read_that_finds_a_pooled_connection_silent_takes_a_new_one() {
    let fake = fake().await;
    let config = with_client_secret(&fake);
    // Nothing but the shorter time can help.
    let store = patient(&config, MINUTE, Duration::from_millis(300));
    let key = fresh_key();
    put(&store, &key, &pattern(10, 1)).await.expect("put");
    let before = fake.counts().connections_accepted;
    fake.faults(|f| f.swallow_next(Op::GetBlob, 1));
    let began = std::time::Instant::now();
    assert_eq!(
        get(&store, &key, None).await.expect("get").bytes,
        pattern(10, 1)
    );
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(fake.counts().connections_accepted, before + 1, "a new one");
    // A look that goes through Microsoft's client, too.
    fake.faults(|f| f.swallow_next(Op::GetBlobProperties, 1));
    assert!(store.head(&key).await.expect("head").is_some());
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_new_connection_is_given_the_time_that_the_service_takes() {
    let fake = fake().await;
    let store = patient(
        &with_client_secret(&fake),
        MINUTE,
        Duration::from_millis(50),
    );
    let key = fresh_key();
    fake.put_blob(CONTAINER, key.as_str(), "bytes");
    fake.faults(|f| {
        f.latency_of_ms.insert(Op::GetBlob, 500);
    });
    // Found silent too soon on the connection of the token, it is asked once more, and then waited for.
    assert_eq!(get(&store, &key, None).await.expect("get").bytes, "bytes");
    assert!(fake.counts().of(Op::GetBlob) <= 2);
}

#[tokio::test]
async fn a_block_whose_response_never_comes_is_sent_again_when_its_time_is_over() {
    let fake = fake().await;
    let time = Duration::from_millis(500);
    let (store, key) = (patient(&with_client_secret(&fake), time, time), fresh_key());
    fake.faults(|f| f.swallow_next(Op::PutBlock, 1));
    let began = std::time::Instant::now();
    let bytes = pattern(3 * BLOCK, 1);
    put(&store, &key, &bytes).await.expect("put");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(get(&store, &key, None).await.expect("get").bytes, bytes);
}

#[tokio::test]
async fn a_body_that_moves_slowly_is_not_a_silent_one() {
    let fake = fake().await;
    // Long for a machine that does other things, too; the body takes more than twice as long.
    let patience = Duration::from_secs(3);
    let config = with_client_secret(&fake);
    let (store, key) = (patient(&config, patience, patience), fresh_key());
    // Blocks of far more than the buffers of a connection take at once.
    let size = 48 * 1024 * 1024;
    fake.faults(|f| f.upload_bytes_per_second = Some(size / 7));
    let content = content(facts(&key));
    let content = Content {
        size: Some(size),
        blocks: Blocks {
            bytes: size,
            budget: Budget::new(4 * size),
            ..content.blocks
        },
        ..content
    };
    let stored = store.put(&key, &content, body(&pattern(size, 1))).await;
    stored.expect("it moves all the time");
    let again = store.vitals().retries;
    assert!(again.iter().all(|(_, number)| *number == 0), "{again:?}");
}

/// Azurite's answer to `bytes=3-` of a blob that has 3 bytes by now.
#[tokio::test]
async fn a_part_that_begins_at_the_end_is_no_part() {
    let fake = fake().await;
    for (range, size) in [("bytes 3-2/3", 3), ("bytes 0--1/0", 0), ("bytes 5-2/9", 9)] {
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\ncontent-range: {range}\r\ncontent-length: 0\r\nx-size: {size}\r\n\r\n"
        );
        let endpoint = answering(head).await.expect("a free port");
        let config = AzureConfig {
            endpoint: Some(endpoint),
            ..with_account_key(&fake)
        };
        let store = open(&config);
        let wanted = ByteRange { start: 3, end: 9 };
        let error = store.get(&fresh_key(), Some(wanted)).await.map(|_| ());
        let error = error.expect_err("nothing is not what was asked for");
        let expected = match size {
            9 => ErrorKind::Internal,
            _ => ErrorKind::BadRange,
        };
        assert_eq!(error.kind(), expected, "{range}: {error}");
    }
}

/// A server that gives every request this answer.
async fn answering(head: String) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}/acme", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                let _ = stream.write_all(head.as_bytes()).await;
            }
        }
    });
    Ok(endpoint)
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_told_as_that_and_not_as_one_to_trust() {
    // At the same time: each try is repeated, and waits in between.
    let told = async |from, to, by_key| {
        let builder = FakeAzure::builder().container(CONTAINER);
        let builder = builder.certificate_days(from, to);
        let fake = builder.start().await.expect("a free port");
        let config = match by_key {
            true => with_account_key(&fake),
            false => with_client_secret(&fake),
        };
        open(&config).probe().await.expect_err("not trusted")
    };
    let early = " (its certificate is not valid yet by this machine's clock: set the clock, NTP)";
    let late = " (its certificate has expired by this machine's clock: check the clock, then the certificate)";
    let cases = [(1, 3, early), (-3, -1, late)];
    let cases = cases
        .into_iter()
        .flat_map(|case| [(case, true), (case, false)]);
    join_all(cases.map(|((from, to, said), by_key)| async move {
        let error = told(from, to, by_key).await;
        assert!(error.detail().ends_with(said), "{error}");
    }))
    .await;
}

fn grant() -> Grant {
    Grant {
        lifetime: 2 * MINUTE,
        step: MINUTE,
        disposition: "attachment; filename=\"a.txt\"".to_owned(),
        content_type: "text/plain".to_owned(),
        cache_control: None,
    }
}

async fn signed(store: &AzureStorage, key: &ObjectKey, grant: &Grant) -> (String, OffsetDateTime) {
    match store.offer(key, grant).await.expect("an offer") {
        Some(Offer::SignedUrl { url, expires_at }) => (url.expose().to_owned(), expires_at),
        other => panic!("no signed URL: {other:?}"),
    }
}

/// The URL with another value, as it stands in a query, for one of its parameters.
fn with(url: &str, name: &str, value: &str) -> String {
    let (base, query) = url.split_once('?').expect("a query");
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((this, _)) if this == name => format!("{name}={value}"),
        _ => pair.to_owned(),
    });
    format!("{base}?{}", pairs.collect::<Vec<_>>().join("&"))
}

fn without(url: &str, name: &str) -> String {
    let (base, query) = url.split_once('?').expect("a query");
    let pairs = query
        .split('&')
        .filter(|pair| !pair.starts_with(&format!("{name}=")));
    format!("{base}?{}", pairs.collect::<Vec<_>>().join("&"))
}

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

/// What each operation says that must reach the account.
async fn every_operation(store: &AzureStorage) -> Vec<(&'static str, Error)> {
    let (key, bytes) = (fresh_key(), pattern(3 * BLOCK, 20));
    vec![
        ("probe", store.probe().await.expect_err("refused")),
        (
            "put",
            put(store, &key, &Bytes::from_static(b"x"))
                .await
                .expect_err("refused"),
        ),
        (
            "put in blocks",
            put(store, &key, &bytes).await.expect_err("refused"),
        ),
        ("get", store.get(&key, None).await.expect_err("refused")),
        ("delete", store.delete(&key).await.expect_err("refused")),
        ("discard", store.discard(&key).await.expect_err("refused")),
        ("list", list(store, None).await.expect_err("refused")),
    ]
}

fn assert_nothing_is_left(fake: &FakeAzure) {
    let left = fake.blobs();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(fake.counts().uncommitted_blocks, 0);
}

/// Where a range like `bytes=5-9` starts; without one, it is all.
fn start_of(range: Option<&str>) -> u64 {
    let Some(range) = range else { return 0 };
    let start = range
        .strip_prefix("bytes=")
        .and_then(|r| r.split('-').next());
    start.and_then(|start| start.parse().ok()).expect("a range")
}
