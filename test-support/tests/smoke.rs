//! The tools come up, answer, and go.

use std::process::Command;
use std::time::{Duration, Instant};

use test_support::{Azurite, Chromium, azurite_token};

#[tokio::test]
async fn azurite_over_http_takes_the_account_key() {
    let Some(azurite) = Azurite::shared_plain().await else {
        return;
    };

    azurite.create_container("smoke").await;
    azurite.create_container("smoke").await;

    assert!(azurite.endpoint().starts_with("http://127.0.0.1:"));
    assert!(azurite.ca_pem().is_none());
    assert!(azurite.connection_string().contains(azurite.endpoint()));
}

#[tokio::test]
async fn azurite_over_https_takes_a_bearer_token_and_gives_a_delegation_key() {
    let Some(azurite) = Azurite::shared_oauth().await else {
        return;
    };
    azurite.create_container("smoke").await;
    let token = azurite_token();

    let listed = azurite
        .exchange(&format!(
            "GET /devstoreaccount1?comp=list HTTP/1.1\r\nHost: localhost\r\nx-ms-version: 2026-04-06\r\n\
             Authorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        ))
        .await
        .expect("an answer");
    assert!(listed.starts_with("HTTP/1.1 200"), "{listed}");
    assert!(listed.contains("<Name>smoke</Name>"), "{listed}");

    let day = |days: i64| (time::OffsetDateTime::now_utc() + time::Duration::days(days)).date();
    let body = format!(
        "<?xml version=\"1.0\"?><KeyInfo><Start>{}T00:00:00Z</Start><Expiry>{}T00:00:00Z</Expiry></KeyInfo>",
        day(-1),
        day(1)
    );
    let key = azurite
        .exchange(&format!(
            "POST /devstoreaccount1?restype=service&comp=userdelegationkey HTTP/1.1\r\nHost: localhost\r\n\
             x-ms-version: 2026-04-06\r\nAuthorization: Bearer {token}\r\nContent-Type: application/xml\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ))
        .await
        .expect("an answer");
    assert!(key.starts_with("HTTP/1.1 200"), "{key}");
    assert!(key.contains("<SignedOid>"), "{key}");
}

#[tokio::test]
async fn an_unsigned_request_is_refused() {
    let Some(azurite) = Azurite::shared_plain().await else {
        return;
    };
    let answer = azurite
        .exchange("GET /devstoreaccount1?comp=list HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[tokio::test]
async fn a_dropped_azurite_is_gone() {
    let Some(azurite) = Azurite::start_plain().await else {
        return;
    };
    let address = azurite
        .endpoint()
        .trim_start_matches("http://")
        .trim_end_matches("/devstoreaccount1")
        .to_owned();
    std::net::TcpStream::connect(&address).expect("it listens");
    drop(azurite);
    std::net::TcpStream::connect(&address).expect_err("nobody listens");
}

#[tokio::test]
async fn chromium_opens_a_page_and_goes_when_dropped() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let client = chromium.client();
    client
        .goto("data:text/html,<title>hello</title>")
        .await
        .expect("the page opens");
    assert_eq!(client.title().await.expect("a title"), "hello");

    let profile = chromium.profile().display().to_string();
    assert!(runs(&profile), "the browser runs with its own profile");
    drop(chromium);
    let deadline = Instant::now() + Duration::from_secs(10);
    while runs(&profile) {
        assert!(Instant::now() < deadline, "the browser outlived its owner");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a process has `text` in its command line.
fn runs(text: &str) -> bool {
    let output = Command::new("ps").args(["-eo", "args"]).output();
    let output = output.expect("ps runs");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .any(|line| line.contains(text) && !line.starts_with("ps "))
}
