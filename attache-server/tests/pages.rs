//! Pages of an application that is not served from attache's own origin, in Chromium: what they show, and what their forms
//! send.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use support::Server;
use support::bucket;
use test_support::Chromium;
use test_support::fantoccini::{Client, Locator};

/// A web server of one page, on a port of its own.
fn serve_page(page: &[u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    answer_all(listener, page.to_vec());
    address
}

fn answer_all(listener: TcpListener, page: Vec<u8>) {
    std::thread::spawn(move || {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            page.len()
        );
        let answer = [head.as_bytes(), &page].concat();
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let answer = answer.clone();
            // Browsers connect ahead, and say nothing.
            std::thread::spawn(move || {
                if matches!(client.read(&mut [0; 8192]), Ok(1..)) {
                    let _ = client.write_all(&answer);
                }
            });
        }
    });
}

/// A second of silence: PCM of 16 bits, 8 kHz.
fn wav() -> Vec<u8> {
    let mut file = b"RIFF\xA4\x3E\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1F\0\0\x80\x3E\0\0\x02\0\x10\0data\x80\x3E\0\0".to_vec();
    file.resize(file.len() + 16_000, 0);
    file
}

/// A page of nothing.
fn pdf() -> Vec<u8> {
    let mut file = b"%PDF-1.4\n%\xE2\xE3\xCF\xD3\n".to_vec();
    let objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>",
    ];
    let mut table = String::from("xref\n0 4\n0000000000 65535 f \n");
    for (n, object) in (1..).zip(objects) {
        table.push_str(&format!("{:010} 00000 n \n", file.len()));
        file.extend_from_slice(format!("{n} 0 obj{object}endobj\n").as_bytes());
    }
    let start = file.len();
    let end = format!("{table}trailer<</Size 4/Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n");
    file.extend_from_slice(end.as_bytes());
    file
}

/// Half a second of a canvas, as Chromium records it: no encoder is needed elsewhere.
const RECORD: &str = "
    const done = arguments[0];
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 64;
    const context = canvas.getContext('2d');
    const paint = setInterval(() => { context.fillStyle = '#' + Math.random().toString(16).slice(2, 8); context.fillRect(0, 0, 64, 64); }, 20);
    const recorder = new MediaRecorder(canvas.captureStream(30), { mimeType: 'video/webm;codecs=vp8' });
    const pieces = [];
    recorder.ondataavailable = (event) => pieces.push(event.data);
    recorder.onstop = async () => {
        clearInterval(paint);
        const bytes = new Uint8Array(await new Blob(pieces).arrayBuffer());
        done(btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join('')));
    };
    recorder.start();
    setTimeout(() => recorder.stop(), 500);
";

/// Shows `arguments[0]`, URLs by element, and tells what came of each.
const SHOW: &str = "
    const [urls, done] = arguments;
    const show = (name, good) => new Promise((told) => {
        const element = document.createElement(name);
        element.addEventListener(good, () => told(element.naturalWidth ?? element.duration ?? 'loaded'));
        element.addEventListener('error', () => told('error'));
        element.muted = true;
        element.src = urls[name];
        document.body.append(element);
    });
    Promise.all([show('img', 'load'), show('video', 'loadeddata'), show('audio', 'loadedmetadata'), show('iframe', 'load')])
        .then(done);
";

fn link(server: &Server, stored: &Value) -> String {
    format!(
        "http://{}/attachment/{}",
        server.address,
        stored["id"].as_str().unwrap()
    )
}

fn put(server: &Server, query: &str, content_type: &str, bytes: &[u8]) -> Value {
    tokio::task::block_in_place(|| server.put(query, content_type, bytes))
}

async fn text_of(client: &Client) -> String {
    let body = client.find(Locator::Css("body")).await.unwrap();
    body.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_page_elsewhere_shows_pictures_film_sound_and_pdf_where_it_may() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let client = chromium.client();
    let page = serve_page(b"<!doctype html><title>wiki</title><body>");
    client.goto(&format!("http://{page}/")).await.unwrap();
    let film = client.execute_async(RECORD, Vec::new()).await.unwrap();
    let film = STANDARD.decode(film.as_str().unwrap()).unwrap();
    for (embed, shown) in [("same-site", false), ("cross-origin", true)] {
        let server = Server::start(&[("ATTACHE_DELIVERY__EMBED", embed)]);
        let picture = include_bytes!("../../docs/page.png");
        let picture = put(&server, "filename=a.png", "image/png", picture);
        let film = put(&server, "filename=a.webm", "", &film);
        assert_eq!(film["content_type"], "video/webm");
        let sound = put(&server, "filename=a.wav", "audio/wav", &wav());
        let paper = put(&server, "filename=a.pdf", "application/pdf", &pdf());
        let urls = json!({
            "img": link(&server, &picture),
            "video": link(&server, &film),
            "audio": link(&server, &sound),
            "iframe": link(&server, &paper),
        });
        // Another port of an address, and another site.
        for host in ["127.0.0.1", "localhost"] {
            let url = format!("http://{host}:{}/", page.port());
            client.goto(&url).await.unwrap();
            let told = client
                .execute_async(SHOW, vec![urls.clone()])
                .await
                .unwrap();
            let what = format!("{embed}, {host}: {told}");
            let [picture, film, sound, paper] = told.as_array().unwrap().as_slice() else {
                panic!("{what}");
            };
            if shown {
                assert!(picture.as_u64().is_some_and(|width| width > 100), "{what}");
                assert_ne!(film, "error", "{what}");
                assert_eq!(*sound, 1, "{what}");
            } else {
                assert_eq!(
                    (picture, film, sound),
                    (&json!("error"), &json!("error"), &json!("error")),
                    "{what}"
                );
            }
            // Frames are not subject to the policy.
            assert_eq!(paper, "loaded", "{what}");
            client.clone().enter_frame(0).await.unwrap();
            let kind = client
                .execute("return document.contentType", Vec::new())
                .await
                .unwrap();
            assert_eq!(kind, "application/pdf", "{what}");
            client.clone().enter_parent_frame().await.unwrap();
        }
    }
    assert!(
        !chromium.downloads().exists(),
        "nothing was saved instead of shown"
    );
    chromium.close().await;
}

/// What a script of a page learns of `arguments[0]`, by `fetch` with the reader's cookies.
const FETCH: &str = "
    const [base, target, method, done] = arguments;
    const options = { method, credentials: 'include', headers: { 'Content-Type': 'text/plain', 'X-Request-Id': 'of-the-page' } };
    if (method === 'POST') options.body = 'hello';
    fetch(base + target, options)
        .then(async (response) => done([response.status, response.headers.get('X-Request-Id'), await response.text()]))
        .catch((error) => done(['blocked', error.message]));
";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn scripts_of_a_listed_page_use_the_api_and_no_others_do() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let client = chromium.client();
    let page = serve_page(b"<!doctype html><title>wiki</title><body>");
    let listed = format!("http://localhost:{}", page.port());
    let server = Server::start(&[("ATTACHE_SERVER__CORS_ORIGINS", &listed)]);
    let base = json!(format!("http://{}", server.address));
    let ask = async |target: &str, method: &str| {
        let arguments = vec![base.clone(), json!(target), json!(method)];
        client.execute_async(FETCH, arguments).await.unwrap()
    };
    client.goto(&listed).await.unwrap();
    let stored = ask("/v1/attachments?filename=a.txt", "POST").await;
    assert_eq!(
        (&stored[0], &stored[1]),
        (&json!(201), &json!("of-the-page")),
        "{stored}"
    );
    let stored: Value = serde_json::from_str(stored[2].as_str().unwrap()).unwrap();
    let inline = stored["links"]["inline"].as_str().unwrap();
    assert_eq!(
        ask(inline, "GET").await,
        json!([200, "of-the-page", "hello"])
    );
    let failed = ask("/v1/attachments?limit=0", "GET").await;
    assert_eq!(failed[0], 400, "{failed}");
    assert!(
        failed[2].as_str().unwrap().contains("limit is 1 to 1000"),
        "{failed}"
    );
    let found = stored["id"].as_str().unwrap();
    let gone = ask(&format!("/v1/attachments/{found}"), "DELETE").await;
    assert_eq!(gone[0], 204, "{gone}");
    // The same page under its other name is not listed.
    client.goto(&format!("http://{page}/")).await.unwrap();
    for (target, method) in [
        ("/v1/attachments", "GET"),
        ("/v1/attachments?filename=b", "POST"),
    ] {
        assert_eq!(ask(target, method).await[0], "blocked", "{method}");
    }
    let left = tokio::task::block_in_place(|| server.get("/v1/attachments").json());
    assert_eq!(left["items"], json!([]));
    chromium.close().await;
}

/// What a script of a page learns of a request to a bucket: status, entity tag and text of the response.
const ASK_BUCKET: &str = "
    const [url, method, text, fields, done] = arguments;
    let body = method === 'GET' ? undefined : text;
    if (fields !== null) {
        body = new FormData();
        for (const [name, value] of fields) body.append(name, value);
        body.append('file', new Blob([text], { type: 'text/plain' }), 'a.txt');
    }
    fetch(url, { method, body })
        .then(async (response) => done([response.status, response.headers.get('ETag'), await response.text()]))
        .catch((error) => done(['blocked', error.message]));
";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn scripts_of_a_listed_page_use_a_bucket_by_forms_and_urls_and_no_others_do() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let client = chromium.client();
    let page = serve_page(b"<!doctype html><title>wiki</title><body>");
    let listed = format!("http://localhost:{}", page.port());
    let variables = [
        ("ATTACHE_S3__LISTEN", "127.0.0.1:0"),
        ("ATTACHE_S3__BUCKETS__FILES__CONTAINER", "files"),
        ("ATTACHE_S3__BUCKETS__FILES__CORS_ORIGINS", &listed),
    ];
    let server = Server::start(&variables);
    let key = tokio::task::block_in_place(|| {
        let folder = server.folder.path();
        bucket::Client::new(
            server.s3_address(),
            folder,
            &variables,
            &["--bucket", "files"],
        )
    });
    let ask = async |method: &str, target: &str, text: &str, fields: Value| {
        let url = format!("http://{}{target}", key.address);
        let arguments = vec![json!(url), json!(method), json!(text), fields];
        client.execute_async(ASK_BUCKET, arguments).await.unwrap()
    };
    let post = async |name: &str, text: &str| {
        let fields = json!(key.form("files", name));
        ask("POST", "/files", text, fields).await
    };
    let put = async |name: &str, text: &str| {
        let target = key.presigned("PUT", &format!("/files/{name}"), "", 60);
        ask("PUT", &target, text, Value::Null).await
    };
    let get = async |name: &str| {
        let target = key.presigned("GET", &format!("/files/{name}"), "", 60);
        ask("GET", &target, "", Value::Null).await
    };
    let there = |name: &str| {
        let path = format!("/files/{name}");
        tokio::task::block_in_place(|| key.send("HEAD", &path, "", &[], b"").status)
    };

    client.goto(&listed).await.unwrap();
    // The MD5 of "hello", and of "world".
    let hello = json!("\"5d41402abc4b2a76b9719d911017c592\"");
    let world = json!("\"7d793037a0760186574b0282f2f435e7\"");
    let posted = post("form", "hello").await;
    assert_eq!((&posted[0], &posted[1]), (&json!(201), &hello), "{posted}");
    assert_eq!(put("url", "world").await, json!([200, world, ""]));
    assert_eq!(get("form").await, json!([200, hello, "hello"]));
    assert_eq!(get("url").await, json!([200, world, "world"]));
    // The page learns of what is refused, too.
    let missing = get("missing").await;
    assert_eq!(missing[0], 404, "{missing}");
    assert!(
        missing[2].as_str().unwrap().contains("NoSuchKey"),
        "{missing}"
    );

    // The same page under its other name is not listed: it reads nothing, and its PUT never comes.
    client.goto(&format!("http://{page}/")).await.unwrap();
    assert_eq!(get("form").await[0], "blocked");
    assert_eq!(put("other", "hello").await[0], "blocked");
    assert_eq!(there("other"), 404);
    // Browsers send forms anywhere without asking, and this one has a policy that allows it; the page sees nothing of the answer.
    assert_eq!(post("sent", "hello").await[0], "blocked");
    assert_eq!(there("sent"), 200);
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn texts_are_read_in_the_encoding_that_they_are_in() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let client = chromium.client();
    let server = Server::start(&[]);
    // Chromium takes a few bytes of EUC-JP for other encodings; a paragraph it knows.
    let text = "これは日本語のテキストです。ブラウザーが文字コードを正しく判定できるように、ひらがなとカタカナと漢字をふつうに使っています。\
                写真や動画を貼り付けるだけでなく、ログファイルやメモもそのまま読めるはずです。";
    let utf8 = text.as_bytes().to_vec();
    let sjis = encoding_rs::SHIFT_JIS.encode(text).0.into_owned();
    let eucjp = encoding_rs::EUC_JP.encode(text).0.into_owned();
    let jis = encoding_rs::ISO_2022_JP.encode(text).0.into_owned();
    for (name, claim, bytes) in [
        ("a.txt", "text/plain", &sjis),
        ("a.txt", "text/plain; charset=Shift_JIS", &sjis),
        ("a.txt", "", &eucjp),
        ("a.txt", "text/plain", &jis),
        ("a.md", "text/markdown", &utf8),
        ("a.log", "text/x-log", &sjis),
        // Nothing in the first bytes tells it.
        (
            "late.txt",
            "text/plain",
            &[&b"a b c\n".repeat(2000)[..], &utf8].concat(),
        ),
        (
            "late.txt",
            "text/plain",
            &[&b"a b c\n".repeat(2000)[..], &sjis].concat(),
        ),
    ] {
        let stored = put(&server, &format!("filename={name}"), claim, bytes);
        client.goto(&link(&server, &stored)).await.unwrap();
        let read = text_of(client).await;
        assert!(read.ends_with(text), "{name} as {claim}: {read:?}");
    }
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_form_of_a_page_in_shift_jis_keeps_the_name_of_its_file() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let client = chromium.client();
    let folder = tempfile::tempdir().unwrap();
    let names = ["見積書.docx", "表ソ.txt", "写真.png"];
    for charset in ["", "<input type=hidden name=_charset_>"] {
        // The page is on another port, so it must be listed; and it must know where to send the form.
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", holder.local_addr().unwrap());
        let server = Server::start(&[("ATTACHE_SERVER__CORS_ORIGINS", &origin)]);
        let html = format!(
            "<!doctype html><meta charset=shift_jis><title>添付</title>\
             <form method=post enctype=multipart/form-data action=http://{}/v1/attachments>\
             {charset}<input type=file name=file><input type=submit name=go value=送信></form>",
            server.address
        );
        let html = encoding_rs::SHIFT_JIS.encode(&html).0.into_owned();
        answer_all(holder, html);
        for name in names {
            let path = folder.path().join(name);
            std::fs::write(&path, b"hello").unwrap();
            client.goto(&origin).await.unwrap();
            let file = client.find(Locator::Css("input[type=file]")).await.unwrap();
            file.send_keys(path.to_str().unwrap()).await.unwrap();
            let send = client
                .find(Locator::Css("input[type=submit]"))
                .await
                .unwrap();
            send.click().await.unwrap();
            client
                .wait()
                .for_url(
                    &format!("http://{}/v1/attachments", server.address)
                        .parse()
                        .unwrap(),
                )
                .await
                .unwrap();
            let answer: Value = serde_json::from_str(&text_of(client).await).unwrap();
            assert_eq!(answer["filename"], name, "{charset}: {answer:#}");
        }
    }
    chromium.close().await;
}
