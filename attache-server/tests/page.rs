//! The page in a real browser: choose a file, see it, fetch it, delete it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;
#[path = "page/uploads.rs"]
mod uploads;

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

/// The list says that there is nothing.
async fn find_empty(client: &Client) {
    let shown = Locator::Css("[data-test=empty]:not([hidden])");
    client
        .wait()
        .at_most(WAIT)
        .for_element(shown)
        .await
        .unwrap();
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
    find_empty(client).await;

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
    find_empty(client).await;
    server.assert_empty("deleted on the page");
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_file_says_why() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let limits = [
        ("ATTACHE_UPLOAD__MAX_FILE_BYTES", "60KiB"),
        ("ATTACHE_UPLOAD__TOTAL_BYTES", "10KiB"),
    ];
    let server = Server::start(&limits);
    let client = chromium.client();
    client
        .goto(&format!("http://{}/", server.address))
        .await
        .unwrap();
    let files = tempfile::tempdir().unwrap();
    // Before it is sent, and by the server in its own words.
    for (size, why) in [
        (70_000, "at most 60 KiB"),
        (50_000, "raise upload.total_bytes"),
    ] {
        let path = files.path().join("large.bin");
        std::fs::write(&path, noise(size)).unwrap();
        let input = find(client, "file-input").await;
        input.send_keys(path.to_str().unwrap()).await.unwrap();
        let failed = Locator::Css("[data-test=upload][data-state=failed]");
        let failed = client.wait().at_most(WAIT).for_element(failed);
        let text = failed.await.unwrap().text().await.unwrap();
        assert!(text.contains(why), "{text}");
        find(client, "dismiss").await.click().await.unwrap();
    }
    server.assert_empty("refused on the page");
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_signs_in_with_a_token_and_shows_what_it_is_good_for() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let mode = [("ATTACHE_AUTH__MODE", "token")];
    let folder = tempfile::tempdir().unwrap();
    let arguments = "token create --name reader --scope read,write --owner page:*";
    let made = support::command(folder.path(), &mode)
        .args(arguments.split(' '))
        .output()
        .unwrap();
    let token = String::from_utf8(made.stdout).unwrap();
    let server = Server::start_in(folder, &mode, &[]);
    let client = chromium.client();
    let url = format!("http://{}/?owner=page:1", server.address);
    client.goto(&url).await.unwrap();
    let field = find(client, "sign-in-token").await;
    field.send_keys("att_wrong").await.unwrap();
    find(client, "sign-in-confirm").await.click().await.unwrap();
    let said = Locator::Css("[data-test=sign-in-error]:not(:empty)");
    client.wait().at_most(WAIT).for_element(said).await.unwrap();
    field.clear().await.unwrap();
    field.send_keys(token.trim()).await.unwrap();
    find(client, "sign-in-confirm").await.click().await.unwrap();
    find_empty(client).await;

    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("a.txt");
    std::fs::write(&path, "hello").unwrap();
    let input = find(client, "file-input").await;
    input.send_keys(path.to_str().unwrap()).await.unwrap();
    let item = find(client, "item").await;
    let id = item.attr("data-id").await.unwrap().unwrap();
    // The cookie opens what the page links to, and scripts cannot read it.
    let script = "const [id, done] = arguments; \
                  fetch(`/attachment/${id}`).then((answer) => answer.text()).then((text) => done([document.cookie, text]));";
    let seen = client.execute_async(script, vec![id.into()]).await.unwrap();
    assert_eq!(seen, serde_json::json!(["", "hello"]));
    let status = client
        .find(Locator::Css("[data-test=status]"))
        .await
        .unwrap();
    assert!(
        !status.is_displayed().await.unwrap(),
        "that needs the scope admin"
    );

    find(client, "sign-out").await.click().await.unwrap();
    find(client, "sign-in-token").await;
    let asks = Locator::Css("[data-test=sign-in][open]");
    client.wait().at_most(WAIT).for_element(asks).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_page_says_whether_all_is_well_and_draws_what_was() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("attache.toml"), "# Nothing yet.\n").unwrap();
    let server = Server::start_in(folder, &[], &["--config", "attache.toml"]);
    server.put("filename=a.txt", "text/plain", b"hello");
    let client = chromium.client();
    let url = format!("http://{}/status", server.address);
    client.goto(&url).await.unwrap();
    let well = Locator::Css("[data-test=health][data-level=ok]");
    let health = client.wait().at_most(WAIT).for_element(well);
    assert!(
        health
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
            .contains("All is well.")
    );
    // The second sample is the first that is kept; the page asks every five seconds.
    let drawn = Locator::Css("[data-test=charts] canvas");
    client
        .wait()
        .at_most(WAIT)
        .for_element(drawn)
        .await
        .unwrap();
    let memory = client
        .find(Locator::Css("[aria-label^=Memory]"))
        .await
        .unwrap();
    let told = memory.attr("aria-label").await.unwrap().unwrap();
    assert!(told.contains("Resident") && told.contains("MiB"), "{told}");
    // What does not work is said, with what to do.
    std::fs::write(server.folder.path().join("attache.toml"), "[server").unwrap();
    let attention = Locator::Css("[data-test=health][data-level=attention]");
    let health = client.wait().at_most(WAIT).for_element(attention);
    let said = health.await.unwrap().text().await.unwrap();
    assert!(
        said.contains("configuration on disk is not in effect"),
        "{said}"
    );
    assert!(said.contains("stays in effect"), "{said}");
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_page_says_how_far_a_move_is() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let mut server = Server::start(&[]);
    for name in ["a", "b", "c"] {
        server.put(&format!("filename={name}.txt"), "text/plain", b"hello");
    }
    let variables = [
        ("ATTACHE_STORAGE__LOCAL__ROOT", "attache-data/new"),
        ("ATTACHE_STORAGE__MOVING_FROM__BACKEND", "local"),
        (
            "ATTACHE_STORAGE__MOVING_FROM__LOCAL__ROOT",
            "attache-data/objects",
        ),
    ];
    server.restart(&variables);
    let client = chromium.client();
    let url = format!("http://{}/status", server.address);
    let sentence = async || {
        client.goto(&url).await.unwrap();
        let well = Locator::Css("[data-test=health][data-level=ok]");
        let health = client.wait().at_most(WAIT).for_element(well);
        health.await.unwrap().text().await.unwrap()
    };
    let before = sentence().await;
    assert!(before.contains("nobody has begun to"), "{before}");
    let moved = support::command(server.folder.path(), &variables)
        .arg("move")
        .output()
        .unwrap();
    assert_eq!(moved.status.code(), Some(0), "{moved:?}");
    let after = sentence().await;
    assert!(after.contains("attache-data/objects to local /"), "{after}");
    assert!(after.contains("3 of 3 objects, 15 B of 15 B"), "{after}");
    assert!(after.contains("attache move --finish"), "{after}");
    chromium.close().await;
}
