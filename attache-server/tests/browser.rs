//! What Chromium makes of attachments: it seeks in media by ranges, and shows what may be shown under its policy.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use support::Server;
use test_support::Chromium;
use test_support::fantoccini::Locator;

/// Passes connections on, and keeps what clients say.
struct Tap {
    address: SocketAddr,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let said = Arc::<Mutex<Vec<u8>>>::default();
        let kept = said.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(server).unwrap());
                let (answers, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let kept = kept.clone();
                std::thread::spawn(move || {
                    pass(client, server, |bytes| {
                        kept.lock().unwrap().extend_from_slice(bytes)
                    })
                });
                std::thread::spawn(move || pass(answers, to, |_| {}));
            }
        });
        Self { address, said }
    }

    /// The first bytes of all ranges that were asked for.
    fn ranges(&self) -> Vec<u64> {
        let said = self.said.lock().unwrap();
        let text = String::from_utf8_lossy(&said).to_lowercase();
        text.split("range: bytes=")
            .skip(1)
            .filter_map(|rest| rest.split('-').next()?.parse().ok())
            .collect()
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, keep: impl Fn(&[u8])) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(got @ 1..) = from.read(&mut buffer) {
        keep(&buffer[..got]);
        if to.write_all(&buffer[..got]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Silence: PCM of 16 bits, two channels, 48 kHz.
fn wav(seconds: u32) -> Vec<u8> {
    const RATE: u32 = 48_000 * 4;
    let length = seconds * RATE;
    let mut file = b"RIFF".to_vec();
    file.extend_from_slice(&(36 + length).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x02\0");
    file.extend_from_slice(&48_000_u32.to_le_bytes());
    file.extend_from_slice(&RATE.to_le_bytes());
    file.extend_from_slice(b"\x04\0\x10\0data");
    file.extend_from_slice(&length.to_le_bytes());
    file.resize(file.len() + length as usize, 0);
    file
}

/// Loads `arguments[0]` into a video, goes to second `arguments[1]`, and tells where it is then.
const SEEK: &str = "
    const [url, second, done] = arguments;
    const video = document.createElement('video');
    video.preload = 'metadata';
    video.muted = true;
    video.onerror = () => done(['error', video.error.message]);
    video.onloadedmetadata = () => { video.currentTime = second; };
    video.onseeked = () => done([video.duration, video.currentTime, video.seekable.length]);
    video.src = url;
    document.body.append(video);
";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_video_seeks_by_a_range_and_does_not_load_what_lies_between() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let server = Server::start(&[]);
    let tap = Tap::before(server.address);
    let json = tokio::task::block_in_place(|| server.put("filename=a.wav", "audio/wav", &wav(240)));
    assert_eq!(json["content_type"], "audio/wav");
    let size = json["size"].as_u64().unwrap();
    let client = chromium.client();
    client
        .goto(&format!("http://{}/", tap.address))
        .await
        .unwrap();
    let url = format!("/attachment/{}", json["id"].as_str().unwrap());
    let arguments = vec![serde_json::json!(url), serde_json::json!(200)];
    let told = client.execute_async(SEEK, arguments).await.unwrap();
    assert_eq!(told, serde_json::json!([240, 200, 1]));
    let ranges = tap.ranges();
    let wanted = size / 240 * 200;
    let near = |start: &u64| start.abs_diff(wanted) < size / 20;
    assert!(ranges.iter().any(near), "{wanted} of {size}: {ranges:?}");
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_may_be_shown_shows_under_its_policy_and_scripts_in_it_do_not_run() {
    let Some(chromium) = Chromium::start().await else {
        return;
    };
    let server = Server::start(&[]);
    let client = chromium.client();
    let open = async |query: &str, content_type: &str, bytes: &[u8]| {
        let json = tokio::task::block_in_place(|| server.put(query, content_type, bytes));
        let id = json["id"].as_str().unwrap().to_owned();
        let url = format!("http://{}/attachment/{id}", server.address);
        client.goto(&url).await.unwrap();
    };
    open(
        "filename=a.png",
        "image/png",
        include_bytes!("../../docs/page.png"),
    )
    .await;
    let ask = async |script: &str| client.execute(script, Vec::new()).await.unwrap();
    let width = ask("return document.images[0].naturalWidth").await;
    assert!(width.as_u64().is_some_and(|width| width > 100), "{width}");

    open("filename=a.wav", "audio/wav", &wav(2)).await;
    let start = std::time::Instant::now();
    loop {
        let media = "const media = document.querySelector('video, audio'); return [media.duration, media.error?.message]";
        let told = ask(media).await;
        if told == serde_json::json!([2, null]) {
            break;
        }
        assert!(
            start.elapsed() < std::time::Duration::from_secs(30),
            "{told}"
        );
    }

    let markup = b"<!DOCTYPE html><title>ran</title><script>document.title = 'ran'</script>";
    open("filename=a.txt", "text/plain", markup).await;
    let text = client
        .find(Locator::Css("body"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(text.starts_with("<!DOCTYPE html>"), "{text}");
    assert_ne!(client.title().await.unwrap(), "ran");
    chromium.close().await;
}
