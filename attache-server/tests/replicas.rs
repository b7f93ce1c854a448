//! Several replicas on one PostgreSQL and one store, as processes that are killed, stopped, and left without their database:
//! nothing that was acknowledged is lost, nothing that was not stays, and what one of them knows all of them know.
//!
//! `ATTACHE_TEST_KILLS` sets how often one is killed (12), `ATTACHE_TEST_PAUSES` how often one is stopped (4),
//! `ATTACHE_TEST_UPLOADS` and `ATTACHE_TEST_UPLOAD_BYTES` how many uploads of several requests there are, and how large (12 of 2 MB),
//! `ATTACHE_TEST_SEED` repeats the choices of a run. Whoever sets one of the first two sees real time: the dead count as dead when
//! the others find it out.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(
    clippy::print_stdout,
    reason = "`--nocapture` shows the seed and the figures"
)]

#[path = "replicas/chaos.rs"]
mod chaos;
#[path = "crash/client.rs"]
mod client;
#[path = "replicas/ground.rs"]
mod ground;
#[path = "replicas/moving.rs"]
mod moving;
#[path = "replicas/outage.rs"]
mod outage;
#[path = "replicas/paused.rs"]
mod paused;
mod support;
#[path = "replicas/together.rs"]
mod together;
#[path = "replicas/uploads.rs"]
mod uploads;

use std::time::{Duration, Instant};

/// Lets time pass, all of it: somebody else may wake this thread up.
fn pass(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::thread::park_timeout(end.saturating_duration_since(Instant::now()));
    }
}

/// A number of the environment.
fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

/// Of the choices of this run.
fn seed() -> u64 {
    let seed = setting("ATTACHE_TEST_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_micros() as u64
    });
    seed | 1
}
