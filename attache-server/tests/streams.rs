//! Every stream ends, and memory has a bound: against a stand-in for Azure that cuts, falls silent, throttles and revokes.
//!
//! The sizes are small by default; `ATTACHE_TEST_FULL=1` runs the sizes that the documentation states.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(
    clippy::print_stdout,
    reason = "the documentation quotes the figures; `--nocapture` shows them"
)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use fake_azure::{BodyFault, BodyFaultKind, FakeAzure, Op, Retention};
use support::{Server, noise, read_answer};

const MIB: usize = 1024 * 1024;

struct World {
    azure: FakeAzure,
    server: Server,
}

impl World {
    async fn start(retention: Retention, more: &[(&str, &str)]) -> Self {
        let azure = FakeAzure::builder()
            .account("acme")
            .container("files")
            .secret("a-secret")
            .retention(retention)
            .start()
            .await
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), azure.ca_pem()).unwrap();
        let (endpoint, authority) = (azure.blob_endpoint(), azure.authority_host());
        let mut variables = vec![
            ("ATTACHE_STORAGE__BACKEND", "azure"),
            ("ATTACHE_DELIVERY__MODE", "relay"),
            ("AZURE_STORAGE_ACCOUNT_NAME", "acme"),
            ("AZURE_STORAGE_CONTAINER_NAME", "files"),
            ("AZURE_TENANT_ID", azure.tenant_id()),
            ("AZURE_CLIENT_ID", azure.client_id()),
            ("AZURE_CLIENT_SECRET", "a-secret"),
            ("ATTACHE_STORAGE__AZURE__CA_FILE", "ca.pem"),
            ("ATTACHE_STORAGE__AZURE__ENDPOINT", &endpoint),
            ("AZURE_AUTHORITY_HOST", &authority),
        ];
        variables.extend_from_slice(more);
        let server = tokio::task::block_in_place(|| Server::start_in(folder, &variables, &[]));
        Self { azure, server }
    }

    fn upload(&self, bytes: &[u8]) -> String {
        let json = self
            .server
            .put("filename=a.bin", "application/octet-stream", bytes);
        json["id"].as_str().unwrap().to_owned()
    }

    /// Begins a download, reads a little of it, and keeps the connection.
    fn begin(&self, id: &str) -> TcpStream {
        self.begin_with(id, "")
    }

    /// The same, with more lines in its head.
    fn begin_with(&self, id: &str, lines: &str) -> TcpStream {
        let mut stream = self.server.connect();
        write!(
            stream,
            "GET /download/{id} HTTP/1.1\r\nhost: a\r\n{lines}\r\n"
        )
        .unwrap();
        let mut some = [0; 1000];
        stream.read_exact(&mut some).unwrap();
        assert!(
            some.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&some)
        );
        stream
    }

    /// Of attachments, to all clients so far.
    fn bytes_sent(&self) -> u64 {
        self.server
            .figure("attache_transferred_bytes_total{direction=\"out\"}")
    }

    fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.server.pid());
        std::fs::read_dir(folder).unwrap().count()
    }

    fn resident(&self) -> usize {
        usize::try_from(self.server.resident()).unwrap()
    }

    fn resident_peak(&self) -> usize {
        usize::try_from(self.server.resident_peak()).unwrap()
    }
}

fn full() -> bool {
    std::env::var_os("ATTACHE_TEST_FULL").is_some()
}

fn within(limit: Duration, what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < limit,
            "{what} does not hold after {limit:?}"
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn leavers_free_their_streams_descriptors_and_memory() {
    let world = World::start(Retention::DiscardPattern, &[]).await;
    tokio::task::block_in_place(|| {
        let (leavers, size) = if full() {
            (1000, 100 * MIB)
        } else {
            (200, 20 * MIB)
        };
        let id = world.upload(&noise(size));
        // Warm: as many connections as there will be at a time.
        let leave_all = || {
            for wave in 0..leavers / 50 {
                let streams: Vec<_> = (0..50).map(|_| world.begin(&id)).collect();
                drop(streams);
                within(
                    Duration::from_secs(1),
                    &format!("upstream reads end, wave {wave}"),
                    || world.azure.counts().open_reads == 0,
                );
            }
            world.server.await_status("streams end", |status| {
                status["streams"]["downloads_open"] == 0
            });
        };
        leave_all();
        let descriptors = world.descriptors();
        // What is kept for ever is kept in every round; what an allocator keeps for later is not.
        let rounds = (0..3).map(|_| {
            let resident = world.resident();
            leave_all();
            within(Duration::from_secs(5), "descriptors are back", || {
                world.descriptors() <= descriptors + 2
            });
            world.resident().saturating_sub(resident) / leavers
        });
        let kept = rounds.min().unwrap();
        assert!(kept < 4096, "{kept} bytes kept for each leaver");
        println!(
            "leavers: {leavers}, descriptors {descriptors} -> {}, {kept} bytes kept each",
            world.descriptors()
        );
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn half_of_all_reads_are_cut_and_every_download_is_whole() {
    let world = World::start(Retention::Keep, &[]).await;
    tokio::task::block_in_place(|| {
        let bytes = noise(3 * MIB);
        let id = world.upload(&bytes);
        // At bytes that differ from one read to the next.
        world.azure.faults(|faults| {
            for at in [0, 1, 70_000, 999_999, 2 * MIB as u64] {
                faults.responses.push(BodyFault {
                    op: Some(Op::GetBlob),
                    rate: 0.13,
                    after_bytes: at,
                    ..BodyFault::default()
                });
            }
        });
        for _ in 0..100 {
            let answer = world.server.get(&format!("/download/{id}"));
            assert!(answer.status == 200 && !answer.truncated && answer.body == bytes);
        }
        let cut = world.azure.counts().faults_fired;
        assert!(cut > 30, "{cut} reads were cut");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_silent_store_ends_in_time_resumed_or_broken() {
    let world = World::start(Retention::Keep, &[("ATTACHE_DOWNLOAD__IDLE_TIMEOUT", "1s")]).await;
    tokio::task::block_in_place(|| {
        let bytes = noise(2 * MIB);
        let id = world.upload(&bytes);
        world
            .azure
            .faults(|faults| faults.silence_response(500_000, 1));
        let answer = world.server.get(&format!("/download/{id}"));
        assert!(answer.body == bytes && !answer.truncated, "it was resumed");
        // For good: it ends as broken, and never as complete.
        world.azure.faults(|faults| {
            faults.clear();
            faults.responses.push(BodyFault {
                op: Some(Op::GetBlob),
                after_bytes: 0,
                kind: BodyFaultKind::Silence,
                ..BodyFault::default()
            });
        });
        let answer = world.server.get(&format!("/download/{id}"));
        answer.assert_problem(504, "upstream_timeout", "silence before the first byte");
        world.azure.faults(|faults| faults.clear());
        world.server.await_status("streams end", |status| {
            status["streams"]["downloads_open"] == 0
        });
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bytes_that_are_damaged_on_their_way_never_look_complete() {
    let world = World::start(Retention::Keep, &[]).await;
    tokio::task::block_in_place(|| {
        let id = world.upload(&noise(MIB));
        world
            .azure
            .faults(|faults| faults.corrupt_response(700_000, 1));
        let answer = world.server.get(&format!("/download/{id}"));
        assert!(answer.truncated, "the last byte is held back");
        // Of a small one nothing has left yet, if it came at once.
        let id = world.upload(&noise(40_000));
        world
            .azure
            .faults(|faults| faults.corrupt_response(30_000, 1));
        let answer = world.server.get(&format!("/download/{id}"));
        if !answer.truncated {
            answer.assert_problem(500, "bytes_missing", "a small one that is damaged");
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_revoked_in_the_middle_of_a_transfer_is_replaced() {
    let world = World::start(
        Retention::Discard,
        &[("ATTACHE_UPLOAD__BLOCK_BYTES", "1MiB")],
    )
    .await;
    tokio::task::block_in_place(|| {
        let pieces = if full() { 2048 } else { 32 };
        let piece = noise(MIB);
        let mut stream = world.server.connect();
        write!(
            stream,
            "POST /v1/attachments HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
            pieces * MIB
        )
        .unwrap();
        for sent in 0..pieces {
            if sent == pieces / 2 {
                world.azure.revoke_tokens();
            }
            stream.write_all(&piece).unwrap();
        }
        let answer = read_answer(&mut stream);
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(world.azure.counts().token_requests, 2, "one refetch");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_uploads_at_once_stay_within_the_transfer_memory() {
    let world = World::start(
        Retention::Discard,
        &[("ATTACHE_MEMORY__TRANSFER_BYTES", "64MiB")],
    )
    .await;
    tokio::task::block_in_place(|| {
        let (uploads, size) = if full() {
            (200, 100 * MIB)
        } else {
            (40, 20 * MIB)
        };
        let piece = noise(MIB);
        let (mut stored, mut busy) = (0, 0);
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..uploads)
                .map(|_| {
                    scope.spawn(|| {
                        let mut stream = world.server.connect();
                        let head = format!("POST /v1/attachments HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n");
                        stream.write_all(head.as_bytes()).unwrap();
                        for _ in 0..size / MIB {
                            if stream.write_all(&piece).is_err() {
                                break;
                            }
                        }
                        read_answer(&mut stream)
                    })
                })
                .collect();
            for thread in all {
                let answer = thread.join().unwrap();
                if answer.status == 201 {
                    stored += 1;
                } else {
                    answer.assert_problem(503, "busy", "no memory");
                    assert!(answer.header("retry-after").is_some());
                    busy += 1;
                }
            }
        });
        let peak = world.resident_peak();
        println!(
            "uploads: {stored} stored, {busy} told to come back, peak resident {} MiB",
            peak / MIB
        );
        assert!(stored > 0);
        // 64 MiB and 64 MiB, as released. A debug build is larger by its own code and frees later: about 125 MiB at rest of
        // the machine, a little more when it is busy.
        let bound = if cfg!(debug_assertions) { 160 } else { 128 };
        assert!(peak < bound * MIB, "peak resident {} MiB", peak / MIB);
        assert_eq!(world.azure.counts().uncommitted_blocks, 0);
    });
}

mod slow_readers_hold_little_memory_each_and_leave_none {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_blobs() {
        hold(World::start(Retention::DiscardPattern, &[]).await);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_files() {
        hold(World::start(Retention::Keep, &[("ATTACHE_STORAGE__BACKEND", "local")]).await);
    }

    fn hold(world: World) {
        tokio::task::block_in_place(|| {
            let (readers, size) = if full() {
                (2000, 100 * MIB)
            } else {
                (200, 20 * MIB)
            };
            // Warm: what every first upload and download adds is none of the readers'.
            drop(world.begin(&world.upload(&noise(MIB))));
            let before = world.resident();
            let more = || world.resident().saturating_sub(before);
            let id = world.upload(&noise(size));
            within(
                Duration::from_secs(60),
                "the upload's memory goes back",
                || more() < 4 * MIB,
            );
            let streams: Vec<_> = (0..readers).map(|_| world.begin(&id)).collect();
            // Every buffer on the way is full when no byte moves any more.
            let mut sent = world.bytes_sent();
            loop {
                std::thread::park_timeout(Duration::from_millis(300));
                let now = world.bytes_sent();
                if now == sent {
                    break;
                }
                sent = now;
            }
            let held = more();
            let each = held / readers;
            println!("slow readers: {readers}, {} KiB each", each / 1024);
            // Futures are larger without optimisation.
            let bound = if cfg!(debug_assertions) { 160 } else { 96 };
            assert!(each < bound * 1024, "{} KiB each", each / 1024);
            drop(streams);
            world.server.await_status("streams end", |status| {
                status["streams"]["downloads_open"] == 0
            });
            within(Duration::from_secs(60), "most of it goes back", || {
                more() < held / 4
            });
            println!("slow readers: {} KiB left in all", more() / 1024);
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sender_that_falls_silent_is_cut_and_leaves_nothing() {
    let world = World::start(Retention::Keep, &[("ATTACHE_UPLOAD__IDLE_TIMEOUT", "1s")]).await;
    tokio::task::block_in_place(|| {
        let mut stream = world.server.connect();
        write!(
            stream,
            "POST /v1/attachments HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nhello"
        )
        .unwrap();
        read_answer(&mut stream).assert_problem(408, "client_timeout", "silence");
        assert_eq!(world.azure.blobs().len(), 0);
        let status = world.server.get("/v1/status").json();
        assert_eq!(status["catalog"]["reserved_bytes"], 0);
        // A head that never ends is cut, too; hyper closes without a word.
        let mut slow = world.server.connect();
        slow.set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nx-slow: ").unwrap();
        let start = Instant::now();
        let mut rest = Vec::new();
        let _ = slow.read_to_end(&mut rest);
        assert!(
            start.elapsed() < Duration::from_secs(45),
            "{:?}",
            start.elapsed()
        );
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_takes_nothing_is_cut() {
    let world = World::start(
        Retention::DiscardPattern,
        &[("ATTACHE_DOWNLOAD__IDLE_TIMEOUT", "1s")],
    )
    .await;
    tokio::task::block_in_place(|| {
        let id = world.upload(&noise(40 * MIB));
        let stalled = world.begin(&id);
        within(Duration::from_secs(20), "the stalled download ends", || {
            world.azure.counts().open_reads == 0
        });
        drop(stalled);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_stands_still_holds_no_read_of_the_store_and_gets_every_byte_when_it_goes_on()
{
    // Suspended after 5 s, cut after 30.
    let limit = ("ATTACHE_DOWNLOAD__IDLE_TIMEOUT", "30s");
    let world = World::start(Retention::Keep, &[limit]).await;
    tokio::task::block_in_place(|| {
        let bytes = noise(40 * MIB);
        let (kept, deleted) = (world.upload(&bytes), world.upload(&bytes));
        let gets = world.azure.counts().of(Op::GetBlob);
        let begin = |id| world.begin_with(id, "connection: close\r\n");
        let (mut reader, mut loser) = (begin(&kept), begin(&deleted));
        assert_eq!(world.azure.counts().open_reads, 2);
        within(Duration::from_secs(20), "both are let go of", || {
            world.azure.counts().open_reads == 0
        });
        let status = world.server.get("/v1/status").json();
        assert_eq!(status["streams"]["downloads_open"], 2);
        let delete = format!("/v1/attachments/{deleted}");
        assert_eq!(
            world.server.request("DELETE", &delete, &[], b"").status,
            204
        );

        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert!(
            rest.ends_with(&bytes[bytes.len() - 39 * MIB..]),
            "{}",
            rest.len()
        );
        assert_eq!(world.azure.counts().of(Op::GetBlob), gets + 3);

        let went_on = Instant::now();
        let mut lost = Vec::new();
        let _ = loser.read_to_end(&mut lost);
        assert!(
            went_on.elapsed() < Duration::from_secs(10),
            "it was not cut"
        );
        assert!(lost.len() < bytes.len() - MIB, "{}", lost.len());
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_of_http_2_that_is_given_no_room_holds_no_read_of_the_store_either() {
    let limit = ("ATTACHE_DOWNLOAD__IDLE_TIMEOUT", "30s");
    let world = World::start(Retention::Keep, &[limit]).await;
    let bytes = noise(40 * MIB);
    let id = tokio::task::block_in_place(|| world.upload(&bytes));
    let gets = world.azure.counts().of(Op::GetBlob);
    let stream = tokio::net::TcpStream::connect(world.server.address);
    let (client, connection) = h2::client::handshake(stream.await.unwrap()).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let request = http::Request::get(format!("http://a/download/{id}"));
    let (answer, _) = client
        .send_request(request.body(()).unwrap(), true)
        .unwrap();
    let mut body = answer.await.unwrap().into_body();
    let mut all = body.data().await.unwrap().unwrap().to_vec();
    assert_eq!(world.azure.counts().open_reads, 1);
    tokio::task::block_in_place(|| {
        within(Duration::from_secs(20), "it is let go of", || {
            world.azure.counts().open_reads == 0
        });
    });
    // What has come takes room until it is said to be taken.
    let mut taken = all.len();
    loop {
        body.flow_control().release_capacity(taken).unwrap();
        let Some(piece) = body.data().await else {
            break;
        };
        let piece = piece.unwrap();
        taken = piece.len();
        all.extend_from_slice(&piece);
    }
    assert!(all == bytes, "{}", all.len());
    assert_eq!(world.azure.counts().of(Op::GetBlob), gets + 2);
    connection.abort();
}
