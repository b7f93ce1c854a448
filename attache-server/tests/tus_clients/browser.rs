//! In Chromium, on a page of another origin.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use test_support::Chromium;
use test_support::fantoccini::Client;

use crate::ground::{Ground, Where};
use crate::{Happens, NAME, SIZE, support};

/// What is done to an upload that is in its middle, besides what happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    Nothing,
    /// The page is loaded again, and the same file is chosen again.
    Reloaded,
    /// By the buttons of Uppy.
    PausedAndResumed,
    Cancelled,
}

#[rustfmt::skip]
const TUS_JS: [(Happens, Done); 6] = [
    (Happens::Nothing,        Done::Nothing),
    (Happens::Cuts(3),        Done::Nothing),
    (Happens::LastAnswerLost, Done::Nothing),
    (Happens::CreationLost,   Done::Nothing),
    (Happens::ServerKilled,   Done::Nothing),
    (Happens::ClientKilled,   Done::Reloaded),
];

#[rustfmt::skip]
const UPPY: [(Happens, Done); 7] = [
    (Happens::Nothing,        Done::Nothing),
    (Happens::Cuts(3),        Done::Nothing),
    (Happens::LastAnswerLost, Done::Nothing),
    (Happens::CreationLost,   Done::Nothing),
    (Happens::ServerKilled,   Done::Nothing),
    (Happens::ClientKilled,   Done::PausedAndResumed),
    (Happens::ClientKilled,   Done::Cancelled),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tus_js_client_on_a_page_of_another_origin() {
    try_page("tus-js-client", &TUS_JS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uppy_on_a_page_of_another_origin() {
    try_page("uppy", &UPPY).await;
}

async fn try_page(way: &str, cases: &[(Happens, Done)]) {
    let Some(script) = script() else { return };
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let bytes = support::noise(SIZE);
    let page = serve(&script, &bytes);
    for (happens, done) in cases {
        let what = format!("{way}: {happens:?}, {done:?}");
        try_case(chromium.client(), page, way, *happens, *done, &bytes, &what).await;
    }
    chromium.close().await;
}

async fn try_case(
    client: &Client,
    page: SocketAddr,
    way: &str,
    happens: Happens,
    done: Done,
    bytes: &[u8],
    what: &str,
) {
    let url = format!("http://{page}");
    let origins = [("ATTACHE_SERVER__CORS_ORIGINS", url.clone())];
    let plan = happens.plan(bytes.len() as u64);
    let mut ground = Ground::start(Where::Direct, plan, &origins).expect("it needs nothing");
    let begin = format!("page.begin('{way}', '{}')", ground.endpoint());
    client.goto(&url).await.unwrap();
    client.execute(&begin, Vec::new()).await.unwrap();
    let press = async |button: &str| {
        let pressed = client
            .execute(&format!("page.{button}()"), Vec::new())
            .await;
        pressed.unwrap();
    };
    match (happens, done) {
        (Happens::ServerKilled, _) => ground.kill_and_restart(),
        (_, Done::Reloaded) => {
            ground.proxy.await_hold();
            client.refresh().await.unwrap();
            ground.proxy.release();
            client.execute(&begin, Vec::new()).await.unwrap();
        }
        (_, Done::PausedAndResumed) => {
            ground.proxy.await_hold();
            press("pause").await;
            ground.proxy.release();
            press("resume").await;
        }
        (_, Done::Cancelled) => {
            ground.proxy.await_hold();
            press("cancel").await;
            // Its DELETE goes out while the PATCH is still held.
            ground.await_seen("DELETE /v1/uploads/", "-> 204");
            ground.proxy.release();
        }
        _ => {}
    }
    let ended = client.execute_async("page.end.then(arguments[0])", Vec::new());
    let ended: [Value; 2] = serde_json::from_value(ended.await.unwrap()).unwrap();
    let [url, error] = &ended;
    assert_eq!(*error, Value::Null, "{what}\n{}", ground.seen());
    assert!(ground.proxy.is_done(), "{what}\n{}", ground.seen());
    if done == Done::Cancelled {
        assert_eq!(*url, json!("cancelled"), "{what}\n{}", ground.seen());
        ground.assert_left(&[], 0);
        return;
    }
    let url = url.as_str().unwrap();
    let json = ground.assert_stored(url, bytes);
    assert_eq!(json["filename"], NAME, "{what}");
    // Chromium sends a request again by itself when its connection ends before an answer, also one that creates.
    let orphans = ground.proxy.created() - 1;
    let lost = happens == Happens::CreationLost;
    assert_eq!(orphans > 0, lost, "{what}\n{}", ground.seen());
    ground.assert_left(&[url], orphans as u64);
}

/// The clients and what a page does with them, as one script; `None` where they are not installed.
fn script() -> Option<Vec<u8>> {
    let packages = test_support::tus_node()?;
    let modules = packages.ancestors().nth(2)?;
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("page.js");
    let built = Command::new(test_support::node()?)
        .arg(modules.join("esbuild/bin/esbuild"))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tus_clients/page.mjs"))
        .args(["--bundle", "--format=iife", "--log-level=warning"])
        .arg(format!("--outfile={}", made.display()))
        .env("NODE_PATH", modules)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    Some(std::fs::read(made).unwrap())
}

/// Serves the page, its script and the file that it uploads.
fn serve(script: &[u8], file: &[u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (script, file) = (script.to_owned(), file.to_owned());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (script, file) = (script.clone(), file.clone());
            std::thread::spawn(move || answer(stream, &script, &file));
        }
    });
    address
}

fn answer(mut stream: TcpStream, script: &[u8], file: &[u8]) {
    let mut line = String::new();
    let mut reader = std::io::BufReader::new(&stream);
    if std::io::BufRead::read_line(&mut reader, &mut line).is_err() {
        return;
    }
    let html = b"<!DOCTYPE html><meta charset=utf-8><script src=/page.js></script>";
    let (content_type, body): (_, &[u8]) = match line.split(' ').nth(1) {
        Some("/page.js") => ("text/javascript;charset=utf-8", script),
        Some("/file") => ("application/octet-stream", file),
        _ => ("text/html", html),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
    // Closing before everything is read would reset the connection.
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}
