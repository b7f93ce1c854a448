//! Uploads on the page: each goes on where it was, whatever came between.

use std::path::{Path, PathBuf};
use std::time::Instant;

use test_support::Chromium;
use test_support::fantoccini::elements::Element;
use test_support::fantoccini::{Client, Locator};

use super::support::gate::Gate;
use super::support::nginx::Nginx;
use super::support::{Server, noise};
use super::{WAIT, find, find_empty, hook};

const MIB: usize = 1024 * 1024;

/// A file to upload, in a folder of its own.
struct Sample {
    bytes: Vec<u8>,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Sample {
    fn new(size: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (bytes, path) = (noise(size), folder.path().join("写真.bin"));
        std::fs::write(&path, &bytes).unwrap();
        Self {
            bytes,
            path,
            _folder: folder,
        }
    }
}

async fn open(client: &Client, address: std::net::SocketAddr) {
    client.goto(&format!("http://{address}/")).await.unwrap();
    find_empty(client).await;
}

async fn choose(client: &Client, paths: &[&Path]) {
    let paths: Vec<&str> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    let input = find(client, "file-input").await;
    input.send_keys(&paths.join("\n")).await.unwrap();
}

async fn click(client: &Client, name: &str) {
    find(client, name).await.click().await.unwrap();
}

/// The one upload on the page, when it is in this state.
async fn upload_in(client: &Client, state: &str) -> Element {
    let row = format!("{}[data-state={state}]", hook("upload"));
    let row = client.wait().at_most(WAIT).for_element(Locator::Css(&row));
    row.await.unwrap_or_else(|error| panic!("{state}: {error}"))
}

/// Bytes of files that the server has read since it was started.
fn brought(server: &Server) -> usize {
    let bytes = server.figure("attache_transferred_bytes_total{direction=\"in\"}");
    usize::try_from(bytes).unwrap()
}

/// Waits until the server has read so many bytes.
async fn await_brought(server: &Server, bytes: usize) {
    until(server, &format!("{bytes} bytes"), || {
        brought(server) >= bytes
    })
    .await;
}

async fn until(server: &Server, what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < WAIT, "{what}\n{}", server.log_end());
        tokio::task::yield_now().await;
    }
}

/// The sample is in the list, and at the server, and nothing is remembered of its upload.
async fn assert_stored(client: &Client, server: &Server, sample: &Sample) {
    let item = find(client, "item").await;
    let id = item.attr("data-id").await.unwrap().unwrap();
    assert!(server.get(&format!("/download/{id}")).body == sample.bytes);
    let stored = server.get(&format!("/v1/attachments/{id}")).json();
    assert_eq!(stored["filename"], "写真.bin");
    assert_nothing_is_left(client, server).await;
}

async fn assert_nothing_is_left(client: &Client, server: &Server) {
    let none = || server.figure("attache_uploads_partial") == 0;
    until(server, "no upload is left", none).await;
    let kept = client.execute("return Object.keys(localStorage)", Vec::new());
    assert_eq!(kept.await.unwrap(), serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_files_are_uploaded_the_empty_one_and_the_one_of_several_pieces_too() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let server = Server::start(&[]);
    let client = chromium.client();
    open(client, server.address).await;
    let samples = [0, 5, 100_000, 3 * MIB, 20 * MIB].map(Sample::new);
    let paths: Vec<&Path> = samples.iter().map(|sample| sample.path.as_path()).collect();
    choose(client, &paths).await;
    let last = Locator::Css("[data-test=item]:nth-child(5)");
    client.wait().at_most(WAIT).for_element(last).await.unwrap();
    let listed = server.get("/v1/attachments").json();
    let mut listed: Vec<(usize, Vec<u8>)> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            let size = item["size"].as_u64().unwrap();
            let body = server.get(&format!("/download/{}", item["id"].as_str().unwrap()));
            (usize::try_from(size).unwrap(), body.body)
        })
        .collect();
    listed.sort();
    for (sample, (size, body)) in samples.iter().zip(&listed) {
        assert_eq!(sample.bytes.len(), *size);
        assert!(&sample.bytes == body);
    }
    assert_eq!(
        brought(&server),
        samples
            .iter()
            .map(|sample| sample.bytes.len())
            .sum::<usize>()
    );
    assert_nothing_is_left(client, &server).await;
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_upload_goes_on_where_it_was() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let server = Server::start(&[]);
    let gate = Gate::before(server.address);
    let client = chromium.client();
    open(client, gate.address).await;
    let sample = Sample::new(8 * MIB);
    gate.stop_after(2 * MIB as u64);
    choose(client, &[&sample.path]).await;
    await_brought(&server, MIB).await;
    click(client, "pause").await;
    upload_in(client, "paused").await;
    gate.open();
    let focused = "return document.activeElement.dataset.test";
    let focused = client.execute(focused, Vec::new()).await.unwrap();
    assert_eq!(focused, "resume", "the keyboard stays where it was");
    click(client, "resume").await;
    assert_stored(client, &server, &sample).await;
    assert_eq!(brought(&server), sample.bytes.len(), "nothing came twice");
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_by_itself_when_its_connection_broke() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let server = Server::start(&[]);
    let gate = Gate::before(server.address);
    let client = chromium.client();
    open(client, gate.address).await;
    let sample = Sample::new(8 * MIB);
    gate.stop_after(2 * MIB as u64);
    choose(client, &[&sample.path]).await;
    await_brought(&server, MIB).await;
    gate.open();
    assert_stored(client, &server, &sample).await;
    assert_eq!(brought(&server), sample.bytes.len(), "nothing came twice");
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_reload_the_same_file_goes_on_where_it_was_and_another_one_does_not() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let server = Server::start(&[]);
    let gate = Gate::before(server.address);
    let client = chromium.client();
    open(client, gate.address).await;
    let sample = Sample::new(8 * MIB);
    gate.stop_after(2 * MIB as u64);
    choose(client, &[&sample.path]).await;
    await_brought(&server, MIB).await;
    client.refresh().await.unwrap();
    gate.open();
    let row = upload_in(client, "unfinished").await;
    let text = row.text().await.unwrap();
    assert!(
        text.contains("写真.bin") && text.contains("of 8 MiB arrived"),
        "{text}"
    );

    let other = Sample::new(7 * MIB);
    let again = find(client, "choose-again").await;
    again.send_keys(other.path.to_str().unwrap()).await.unwrap();
    let row = upload_in(client, "unfinished").await;
    let text = row.text().await.unwrap();
    assert!(text.contains("another file"), "{text}");
    let again = find(client, "choose-again").await;
    again
        .send_keys(sample.path.to_str().unwrap())
        .await
        .unwrap();
    assert_stored(client, &server, &sample).await;
    assert_eq!(brought(&server), sample.bytes.len(), "nothing came twice");
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_of_an_earlier_page_is_found_by_its_file_can_be_given_up_and_is_forgotten_when_it_is_gone()
 {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let server = Server::start(&[]);
    let gate = Gate::before(server.address);
    let client = chromium.client();
    open(client, gate.address).await;
    let sample = Sample::new(8 * MIB);
    let begin = async || {
        gate.stop_after(2 * MIB as u64);
        let before = brought(&server);
        choose(client, &[&sample.path]).await;
        await_brought(&server, before + MIB).await;
        client.refresh().await.unwrap();
        gate.open();
        upload_in(client, "unfinished").await
    };
    begin().await;
    click(client, "give-up").await;
    assert_nothing_is_left(client, &server).await;

    begin().await;
    let waiting = server.get("/v1/admin/uploads").json();
    let id = waiting["items"][0]["id"].as_str().unwrap();
    let tus = [("Tus-Resumable", "1.0.0")];
    let gone = server.request("DELETE", &format!("/v1/uploads/{id}"), &tus, b"");
    assert_eq!(gone.status, 204);
    client.refresh().await.unwrap();
    let empty = "return Object.keys(localStorage).length === 0 && document.getElementById('uploads').hidden";
    let start = Instant::now();
    while client.execute(empty, Vec::new()).await.unwrap() != true {
        assert!(start.elapsed() < WAIT, "it is shown still");
    }

    // The field for all files knows it, too.
    begin().await;
    let before = brought(&server);
    choose(client, &[&sample.path]).await;
    assert_stored(client, &server, &sample).await;
    let came = brought(&server) - before;
    assert!(came < sample.bytes.len(), "{came}: all of it came again");
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_by_itself_when_the_server_was_killed_and_started_again() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let variables = [("ATTACHE_UPLOAD__BLOCK_BYTES", "64KiB")];
    let mut server = Server::start(&variables);
    let gate = Gate::before(server.address);
    let client = chromium.client();
    open(client, gate.address).await;
    let sample = Sample::new(8 * MIB);
    gate.stop_after(2 * MIB as u64);
    choose(client, &[&sample.path]).await;
    await_brought(&server, MIB).await;
    // Nothing passes, so the page cannot go on before the offset is known.
    gate.stop_after(0);
    server.restart_there(&variables);
    let waiting = server.get("/v1/admin/uploads").json();
    let offset = waiting["items"][0]["offset"].as_u64().unwrap();
    let offset = usize::try_from(offset).unwrap();
    assert!(offset > 0, "{waiting}");
    gate.open();
    assert_stored(client, &server, &sample).await;
    assert_eq!(
        brought(&server),
        sample.bytes.len() - offset,
        "only the rest came"
    );
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_web_server_that_lets_less_through_pieces_are_smaller() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let variables = [("ATTACHE_SERVER__TRUSTED_PROXIES", "127.0.0.1")];
    let server = Server::start(&variables);
    let objects = server.folder.path().join("attache-data/objects");
    let Some(nginx) = Nginx::with_its_own_body_limit(server.address, &objects) else {
        return;
    };
    let client = chromium.client();
    open(client, nginx.address).await;
    let sample = Sample::new(3 * MIB);
    choose(client, &[&sample.path]).await;
    assert_stored(client, &server, &sample).await;
    assert_eq!(brought(&server), sample.bytes.len());
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_upload_leaves_nothing() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let server = Server::start(&[]);
    let gate = Gate::before(server.address);
    let client = chromium.client();
    open(client, gate.address).await;
    let sample = Sample::new(8 * MIB);
    gate.stop_after(2 * MIB as u64);
    choose(client, &[&sample.path]).await;
    await_brought(&server, MIB).await;
    assert_eq!(server.figure("attache_uploads_partial"), 1);
    click(client, "abort").await;
    upload_in(client, "cancelled").await;
    assert_nothing_is_left(client, &server).await;
    server.assert_empty("cancelled on the page");
    gate.open();
    // Again, from its beginning.
    click(client, "retry").await;
    assert_stored(client, &server, &sample).await;
    chromium.close().await;
}
