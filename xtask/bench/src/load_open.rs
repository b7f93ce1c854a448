//! Requests that come when they are due, whether or not those before them were answered: how long people wait.
//!
//! A load that sends the next request after the last answer asks less of a server just when it is slow, and does not count those who
//! would have come meanwhile. So here each request has its moment, and its time is counted from then on.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::load::{Connection, Load};

/// Connections that requests find free: far more than are busy at once at half load. Were all of them busy, a request would wait,
/// and its time would still count from when it was due.
pub const CONNECTIONS: usize = 64;

/// Sends the requests of `load`, `rate` a second, and tells how long each took, in no order.
pub async fn run(load: &Load, rate: f64) -> Outcome<Vec<Duration>> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = Connection::open(load.address).await?;
        // Not the first that anybody asks of it.
        connection.send(&(load.head)(0), load.sends).await?;
        connection.receive(&load.wants).await?;
        connections.push(connection);
    }
    let due = Arc::new(Semaphore::new(0));
    let next = Arc::new(AtomicU64::new(0));
    // Nobody is late for the first.
    let start = Instant::now() + Duration::from_millis(20);
    let at = move |turn: u64| start + Duration::from_secs_f64(turn as f64 / rate);
    let mut senders = JoinSet::new();
    for mut connection in connections {
        let (load, due, next) = (load.clone(), due.clone(), next.clone());
        senders.spawn(async move {
            let mut took = Vec::new();
            loop {
                due.acquire().await?.forget();
                let turn = next.fetch_add(1, Ordering::Relaxed);
                if turn >= load.requests {
                    return Outcome::Ok(took);
                }
                connection.send(&(load.head)(turn), load.sends).await?;
                connection.receive(&load.wants).await?;
                took.push(at(turn).elapsed());
            }
        });
    }
    let requests = load.requests;
    // A thread of its own: timers of tokio have steps of a millisecond, which is longer than most answers take.
    let clock = std::thread::spawn(move || {
        // Without it the kernel lets a thread sleep 50 µs longer, to save power (`man 2 prctl`, PR_SET_TIMERSLACK).
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        for turn in 0..requests {
            let wait = at(turn).saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
            due.add_permits(1);
        }
        // All go home.
        due.add_permits(CONNECTIONS);
    });
    let mut all = Vec::new();
    while let Some(ended) = senders.join_next().await {
        all.extend(ended??);
    }
    clock.join().map_err(|_| "the clock panicked")?;
    Ok(all)
}
