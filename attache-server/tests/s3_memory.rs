//! How much memory uploads through the S3 endpoint take, over a stand-in for Azure that keeps no bytes: it says of which they were by
//! checksum, and gives back the same pattern that was sent.
//!
//! The part is small by default; `ATTACHE_TEST_FULL=1` sends the 5 GiB that the documentation states.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(
    clippy::print_stdout,
    reason = "the documentation quotes the figures; `--nocapture` shows them"
)]

mod support;

use std::io::{Cursor, Read, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use fake_azure::{FakeAzure, Op, Retention, fill_pattern};
use md5::{Digest as _, Md5};
use support::bucket::{Client, element, hex};
use support::{Answer, Server, connect, read_answer};

const MIB: u64 = 1024 * 1024;

/// What all transfers may hold together.
const TRANSFER: u64 = 64 * MIB;

/// What the process may have resident besides, at any time: the program itself, its allocator, connections and their buffers. At rest
/// it has 29 MiB as released, and 36 MiB in a debug build.
const BESIDES: u64 = 64 * MIB;

struct World {
    azure: FakeAzure,
    server: Server,
    client: Client,
}

impl World {
    async fn start() -> Self {
        let azure = FakeAzure::builder()
            .container("files")
            .secret("a-secret")
            .retention(Retention::DiscardPattern)
            .start()
            .await
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let owned = support::on_azure(&azure, folder.path());
        let mut variables = support::borrowed(&owned);
        let transfer = TRANSFER.to_string();
        variables.extend([
            ("ATTACHE_MEMORY__TRANSFER_BYTES", transfer.as_str()),
            ("ATTACHE_S3__LISTEN", "127.0.0.1:0"),
            ("ATTACHE_S3__BUCKETS__FILES__CONTAINER", "files"),
        ]);
        let server = tokio::task::block_in_place(|| Server::start_in(folder, &variables, &[]));
        let (address, folder) = (server.s3_address(), server.folder.path());
        let client = tokio::task::block_in_place(|| {
            Client::new(address, folder, &variables, &["--bucket", "files"])
        });
        Self {
            azure,
            server,
            client,
        }
    }

    /// Sends the pattern from `offset` on, after a leave to do so, as boto3 does.
    fn put(&self, path: &str, query: &str, offset: u64, size: u64) -> Answer {
        let length = size.to_string();
        let headers = [
            ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
            ("content-length", length.as_str()),
            ("expect", "100-continue"),
        ];
        let head = self.client.signed("PUT", path, query, &headers, b"");
        let mut stream = connect(self.client.address);
        stream.write_all(&head).unwrap();
        let said = read_head(&mut stream);
        if !said.starts_with(b"HTTP/1.1 100") {
            return read_answer(&mut Cursor::new(said).chain(stream));
        }
        for piece in pattern(offset, size) {
            // One that is refused has its answer before.
            if stream.write_all(&piece).is_err() {
                break;
            }
        }
        read_answer(&mut stream)
    }

    /// As [`put`](Self::put), again and again while there is no memory; how often it was told to come back.
    fn put_in_the_end(&self, path: &str, query: &str, offset: u64, size: u64) -> (Answer, u64) {
        for refused in 0..1000 {
            let answer = self.put(path, query, offset, size);
            match answer.status {
                200 => return (answer, refused),
                _ => assert_eq!(
                    element(&answer.text(), "Code").as_deref(),
                    Some("SlowDown"),
                    "{answer:?}\n{}",
                    self.server.log_end()
                ),
            }
        }
        panic!("{path} was never stored");
    }

    /// Reads an object and compares each byte with the pattern.
    fn assert_whole(&self, path: &str, size: u64) {
        let request = self.client.signed("GET", path, "", &[], b"");
        let mut stream = connect(self.client.address);
        stream.write_all(&request).unwrap();
        let head = read_head(&mut stream);
        let head = String::from_utf8_lossy(&head).to_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(
            head.contains(&format!("\r\ncontent-length: {size}\r\n")),
            "{head}"
        );
        for (n, piece) in pattern(0, size).enumerate() {
            let mut got = vec![0; piece.len()];
            stream.read_exact(&mut got).unwrap();
            assert!(got == piece, "{path} differs in MiB {n}");
        }
    }
}

/// The pattern from `offset` on, in pieces of a MiB.
fn pattern(offset: u64, size: u64) -> impl Iterator<Item = Vec<u8>> {
    (0..size.div_ceil(MIB)).map(move |piece| {
        let length = (size - piece * MIB).min(MIB);
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        fill_pattern(offset + piece * MIB, &mut bytes);
        bytes
    })
}

fn md5_of(offset: u64, size: u64) -> [u8; 16] {
    let mut md5 = Md5::new();
    for piece in pattern(offset, size) {
        md5.update(&piece);
    }
    md5.finalize().into()
}

/// The head of an answer, and no byte more.
fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend_from_slice(&byte);
    }
    head
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_uploads_at_once_have_the_transfer_memory_and_64_mib() {
    let (world, size) = (World::start().await, 100_000_000);
    tokio::task::block_in_place(|| {
        let (rest, start) = (world.server.resident(), Instant::now());
        let md5 = format!("\"{}\"", hex(&md5_of(0, size)));
        let refused: u64 = std::thread::scope(|scope| {
            let upload = |number: u64| {
                let path = format!("/files/{number}");
                let (answer, refused) = world.put_in_the_end(&path, "", 0, size);
                assert_eq!(answer.header("etag"), Some(md5.as_str()));
                refused
            };
            let all: Vec<_> = (0..40)
                .map(|number| scope.spawn(move || upload(number)))
                .collect();
            all.into_iter().map(|upload| upload.join().unwrap()).sum()
        });
        let (peak, took) = (world.server.resident_peak(), start.elapsed());
        println!(
            "40 uploads of {size} bytes: {} MiB resident at rest, {} MiB at most, {took:?}, told {refused} times to come back, {} blocks",
            rest / MIB,
            peak / MIB,
            world.azure.counts().of(Op::PutBlock),
        );
        assert!(peak <= TRANSFER + BESIDES, "{peak} bytes at most");
        assert_eq!(world.azure.counts().uncommitted_blocks, 0);
        assert_eq!(world.azure.counts().blobs, 40);
        world.assert_whole("/files/39", size);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_is_larger_than_all_memory_becomes_many_blocks() {
    let world = World::start().await;
    let size = match std::env::var_os("ATTACHE_TEST_FULL") {
        Some(_) => 5 * 1024 * MIB,
        None => 256 * MIB,
    };
    tokio::task::block_in_place(|| {
        let (rest, start) = (world.server.resident(), Instant::now());
        let send = |method, query: &str, body: &[u8]| {
            world.client.send(method, "/files/big", query, &[], body)
        };
        let upload = element(&send("POST", "uploads", b"").text(), "UploadId").unwrap();
        let parts = [(0, size), (size, 1234)];
        let mut named = String::new();
        for (number, (offset, size)) in (1..).zip(parts) {
            let query = format!("partNumber={number}&uploadId={upload}");
            let (answer, _) = world.put_in_the_end("/files/big", &query, offset, size);
            let tag = answer.header("etag").unwrap();
            named.push_str(&format!(
                "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
            ));
        }
        let sent = start.elapsed();
        let body = format!("<CompleteMultipartUpload>{named}</CompleteMultipartUpload>");
        let done = send("POST", &format!("uploadId={upload}"), body.as_bytes());
        let mut md5 = Md5::new();
        for (offset, size) in parts {
            md5.update(md5_of(offset, size));
        }
        let tag = format!("\"{}-2\"", hex(&md5.finalize()));
        assert_eq!(element(&done.text(), "ETag"), Some(tag.clone()), "{done:?}");
        let head = send("HEAD", "", b"");
        let all = size + 1234;
        assert_eq!(head.header("etag"), Some(tag.as_str()));
        assert_eq!(
            head.header("content-length"),
            Some(all.to_string().as_str())
        );
        world.assert_whole("/files/big", all);
        let peak = world.server.resident_peak();
        println!(
            "a part of {size} bytes: {} MiB resident at rest, {} MiB at most, {sent:?} to send, {:?} with reading it back, {} blocks",
            rest / MIB,
            peak / MIB,
            start.elapsed(),
            world.azure.counts().of(Op::PutBlock),
        );
        assert!(peak <= TRANSFER + BESIDES, "{peak} bytes at most");
    });
}
