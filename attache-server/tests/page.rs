//! The page in a real browser: choose a file, see it, fetch it, delete it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use support::{Server, noise};
use test_support::Chromium;
use test_support::fantoccini::{Client, Locator};

const WAIT: Duration = Duration::from_secs(30);

fn hook(name: &str) -> String {
    format!("[data-test=\"{name}\"]")
}

async fn find(client: &Client, name: &str) -> test_support::fantoccini::elements::Element {
    client
        .wait()
        .at_most(WAIT)
        .for_element(Locator::Css(&hook(name)))
        .await
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_chosen_seen_fetched_linked_and_deleted() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let server = Server::start(&[]);
    let client = chromium.client();
    client
        .goto(&format!("http://{}/", server.address))
        .await
        .unwrap();
    find(client, "empty").await;

    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("<b>写真 & \"1\".txt");
    let bytes = noise(500_000);
    std::fs::write(&path, &bytes).unwrap();
    let input = client
        .find(Locator::Css(&hook("file-input")))
        .await
        .unwrap();
    input.send_keys(path.to_str().unwrap()).await.unwrap();

    let item = find(client, "item").await;
    let id = item.attr("data-id").await.unwrap().unwrap();
    let name = item
        .find(Locator::Css(&hook("name")))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(name, "<b>写真 & \"1\".txt", "text, never markup");
    let stored = server.get(&format!("/v1/attachments/{id}")).json();
    assert_eq!(stored["filename"], "<b>写真 & \"1\".txt");
    assert!(server.get(&format!("/download/{id}")).body == bytes);

    item.find(Locator::Css(&hook("copy-link")))
        .await
        .unwrap()
        .click()
        .await
        .unwrap();
    let output = find(client, "link-output").await;
    let link = output.prop("value").await.unwrap().unwrap();
    let target = link
        .strip_prefix(&format!("http://{}", server.address))
        .unwrap();
    assert!(server.get(target).body == bytes, "the copied link works");

    // It is still there after a reload, because it is stored.
    client.refresh().await.unwrap();
    let item = find(client, "item").await;
    item.find(Locator::Css(&hook("delete")))
        .await
        .unwrap()
        .click()
        .await
        .unwrap();
    find(client, "confirm-delete").await.click().await.unwrap();
    find(client, "empty").await;
    server.assert_empty("deleted on the page");
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_file_says_why() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let server = Server::start(&[("ATTACHE_UPLOAD__MAX_FILE_BYTES", "10KiB")]);
    let client = chromium.client();
    client
        .goto(&format!("http://{}/", server.address))
        .await
        .unwrap();
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("large.bin");
    std::fs::write(&path, noise(50_000)).unwrap();
    let input = client
        .find(Locator::Css(&hook("file-input")))
        .await
        .unwrap();
    input.send_keys(path.to_str().unwrap()).await.unwrap();
    let failed = client
        .wait()
        .at_most(WAIT)
        .for_element(Locator::Css(
            "[data-test=\"upload\"][data-state=\"failed\"]",
        ))
        .await
        .unwrap();
    let text = failed.text().await.unwrap();
    assert!(text.contains("at most 10 KiB"), "{text}");
    server.assert_empty("refused on the page");
    chromium.close().await;
}
