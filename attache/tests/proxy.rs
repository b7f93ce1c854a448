//! The way to the store and to Entra ID through a real proxy (tinyproxy).
//!
//! The stand-in for both listens on loopback, which is never reached through a proxy. So it is called by names that only the
//! proxy knows; see [`Tinyproxy`].

mod common;

use attache::ErrorKind;
use attache::http::ClientConfig;
use attache::http::network::Route;
use attache::storage::Storage as _;
use attache::storage::azure::{AzureConfig, AzureStorage};
use common::{CONTAINER, SECRET, fresh_key, get, pattern, put, with_client_secret};
use fake_azure::FakeAzure;
use test_support::Tinyproxy;

const STORE: &str = "files.store.test";
const LOGIN: &str = "login.store.test";

async fn proxy(more: &str) -> Option<Tinyproxy> {
    Tinyproxy::start(&[STORE, LOGIN], more).await
}

async fn named_fake() -> FakeAzure {
    let builder = FakeAzure::builder().container(CONTAINER).secret(SECRET);
    let builder = builder.host_name(STORE).host_name(LOGIN);
    builder.start().await.expect("a free port")
}

/// The stand-in by names that only the proxy knows.
fn by_name(fake: &FakeAzure) -> AzureConfig {
    let named = |url: String, name: &str| url.replace("127.0.0.1", name);
    AzureConfig {
        endpoint: Some(named(fake.blob_endpoint(), STORE)),
        authority_host: Some(named(fake.authority_host(), LOGIN)),
        ..with_client_secret(fake)
    }
}

fn open(config: &AzureConfig, route: Route) -> AzureStorage {
    let client = ClientConfig {
        route,
        ..ClientConfig::default()
    };
    AzureStorage::new(config, &client).expect("a complete configuration")
}

fn through(text: &str) -> Route {
    Route {
        proxy: Some(text.parse().expect("a proxy")),
        ..Route::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_and_entra_id_are_reached_through_the_proxy_and_what_is_here_is_not() {
    let Some(proxy) = proxy("").await else {
        return;
    };
    let fake = named_fake().await;
    let route = through(&format!("http://{}", proxy.address()));
    let store = open(&by_name(&fake), route.clone());
    let probe = store.probe().await.expect("through the proxy");
    let address = proxy.address();
    assert!(
        probe
            .summary
            .contains(&format!("through the proxy {address}")),
        "{probe:?}"
    );
    let (key, bytes) = (fresh_key(), pattern(300_000, 1));
    put(&store, &key, &bytes).await.expect("put");
    assert!(get(&store, &key, None).await.expect("get").bytes == bytes);
    store.delete(&key).await.expect("delete");
    assert!(
        proxy.connected(STORE) > 0 && proxy.connected(LOGIN) > 0,
        "{}",
        proxy.log()
    );
    // The same stand-in under its own address is loopback.
    let before = proxy.log();
    let store = open(&with_client_secret(&fake), route.clone());
    let probe = store.probe().await.expect("without the proxy");
    assert!(!probe.summary.contains("proxy"), "{probe:?}");
    assert_eq!(proxy.log(), before);
    // And a listed name is looked up here, where nobody knows it.
    let route = Route {
        no_proxy: "store.test".parse().expect("a list"),
        ..route
    };
    let error = open(&by_name(&fake), route)
        .probe()
        .await
        .expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
    assert!(!error.detail().contains("through the proxy"), "{error}");
    assert_eq!(proxy.log(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_wants_a_password_gets_it_and_nobody_else_sees_it() {
    let Some(proxy) = proxy("BasicAuth wiki hunter2").await else {
        return;
    };
    let fake = named_fake().await;
    let url = |credentials: &str| format!("http://{credentials}{}", proxy.address());
    let store = open(&by_name(&fake), through(&url("wiki:hunter2@")));
    let probe = store.probe().await.expect("let in");
    assert!(!format!("{probe:?} {store:?}").contains("hunter2"));
    // A wrong password gets 401 from this proxy, where RFC 9110 section 15.5.8 has 407; so the hint is the wider one.
    for (credentials, hint) in [
        ("", "it requires a user and a password: set network.proxy"),
        ("wiki:hunter3@", "check user and password in network.proxy"),
    ] {
        let store = open(&by_name(&fake), through(&url(credentials)));
        let error = store.probe().await.expect_err("kept out");
        assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
        assert!(error.detail().contains(hint), "{error}");
        assert!(!error.report().contains("hunter3"), "{}", error.report());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_refuses_or_does_not_answer_is_named() {
    // Connects nobody to any port but 1.
    let Some(proxy) = proxy("ConnectPort 1").await else {
        return;
    };
    let fake = named_fake().await;
    let refusing = through(&format!("http://{}", proxy.address()));
    let absent = through("http://127.0.0.1:1");
    for (route, said) in [
        (refusing, "it refuses to connect there"),
        (absent, "the proxy itself does not respond"),
    ] {
        let address = route.proxy.as_ref().expect("a proxy").address().to_owned();
        let error = open(&by_name(&fake), route)
            .probe()
            .await
            .expect_err("no way");
        assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
        let named = format!("through the proxy {address}; {said}");
        assert!(error.detail().contains(&named), "{error}");
    }
}
