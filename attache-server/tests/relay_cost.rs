//! What relays from one store cost beside those from another, measured:
//! `cargo test --release -p attache-server --test relay_cost -- --ignored --nocapture`. Run by hand, because only a release shows it and it
//! wants the machine for itself.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "figures are what it is for")]

mod support;

use std::io::Write as _;

use fake_azure::FakeAzure;
use fake_s3::{Dialect, FakeS3};
use support::{Server, borrowed, cpu_of, noise, on_gcs, on_s3, read_answer};

const ROUNDS: usize = 7;

/// An attachment, and the server that relays it.
struct Subject<'a> {
    server: &'a Server,
    id: String,
}

impl<'a> Subject<'a> {
    fn with(server: &'a Server, bytes: &[u8]) -> Self {
        let made = server.put("filename=a.bin", "application/octet-stream", bytes);
        let id = made["id"].as_str().unwrap().to_owned();
        Self { server, id }
    }

    /// CPU seconds of `times` relays over one connection that is kept; every byte is compared.
    fn relays(&self, times: usize, bytes: &[u8]) -> f64 {
        let mut stream = self.server.connect();
        let request = format!("GET /attachment/{} HTTP/1.1\r\nhost: a\r\n\r\n", self.id);
        let before = cpu_of(self.server.pid()).unwrap();
        for _ in 0..times {
            stream.write_all(request.as_bytes()).unwrap();
            let answer = read_answer(&mut stream);
            assert_eq!(answer.status, 200, "{}", answer.head);
            assert!(answer.body == bytes, "other bytes");
        }
        (cpu_of(self.server.pid()).unwrap() - before).as_secs_f64()
    }
}

async fn server_on(dialect: Dialect) -> (FakeS3, Server) {
    let fake = FakeS3::builder().dialect(dialect).bucket("files");
    let fake = fake.start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut variables = match dialect {
        Dialect::S3 => on_s3(&fake, folder.path()),
        Dialect::Gcs => on_gcs(&fake, folder.path()),
    };
    variables.push(("ATTACHE_DELIVERY__MODE", "relay".to_owned()));
    let server = Server::start_in(folder, &borrowed(&variables), &[]);
    (fake, server)
}

#[ignore = "a figure of a release, which wants the machine for itself"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_from_s3_costs_at_most_a_tenth_more_than_one_from_azure() {
    let azure = FakeAzure::builder()
        .account("acme")
        .container("files")
        .secret("a-secret");
    let azure = azure.start().await.unwrap();
    let (_s3, on_s3) = server_on(Dialect::S3).await;
    let (_gcs, on_gcs) = server_on(Dialect::Gcs).await;
    tokio::task::block_in_place(|| {
        let on_azure = Server::start_on(&azure, &[("ATTACHE_DELIVERY__MODE", "relay")]);
        for (size, times) in [(64 * 1024, 3000), (64 * 1024 * 1024, 16)] {
            let bytes = noise(size);
            let subjects = [("azure", &on_azure), ("s3", &on_s3), ("gcs", &on_gcs)]
                .map(|(name, server)| (name, Subject::with(server, &bytes)));
            for (_, subject) in &subjects {
                subject.relays(times / 8, &bytes);
            }
            let mut rounds: [Vec<f64>; 3] = Default::default();
            for _ in 0..ROUNDS {
                for ((_, subject), took) in subjects.iter().zip(&mut rounds) {
                    took.push(subject.relays(times, &bytes));
                }
            }
            let medians = rounds.map(|mut took| {
                took.sort_by(f64::total_cmp);
                took[ROUNDS / 2]
            });
            for ((name, _), median) in subjects.iter().zip(medians) {
                let each = median / times as f64;
                println!(
                    "{size} bytes from {name}: {:.0} us of CPU each, {:.2} times Azure's",
                    each * 1e6,
                    median / medians[0]
                );
            }
            assert!(medians[1] <= 1.1 * medians[0], "{size} bytes: {medians:?}");
        }
    });
}
