//! The threads that serve connections: one a core, each with a runtime of its own.
//!
//! A connection stays on the thread that it is given, and with it all that it waits for: its request's task, its connection
//! to the store, their timers. So nothing wakes a second thread, which took more than a quarter of the CPU of a small relay where one
//! runtime moved tasks between its threads. What runs for all connections stays on the runtime that accepts them.
//!
//! Connections are dealt out, each to the thread that has the fewest. `SO_REUSEPORT` would let the kernel choose, by a hash: of 16 connections one of
//! two threads then gets 11 or more every fifth time, and a second process could listen on the same port unnoticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use attache::{Error, Result};
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use crate::allocator;

/// Threads that serve, until this is dropped.
pub(crate) struct Threads {
    threads: Vec<Thread>,
    stop: CancellationToken,
}

struct Thread {
    handle: Handle,
    /// Connections that it serves.
    seats: Arc<AtomicUsize>,
    ends: Option<JoinHandle<()>>,
}

/// A connection's place on a thread; free again when dropped.
pub(crate) struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Threads {
    /// Starts one for each core that this process may use.
    ///
    /// # Errors
    ///
    /// What keeps the system from starting threads.
    pub(crate) fn start() -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let stop = CancellationToken::new();
        let mut threads = Vec::with_capacity(cores);
        for number in 0..cores {
            threads.push(Thread::start(number, stop.clone()).map_err(|error| {
                Error::internal("cannot start a thread that serves").with_source(error)
            })?);
        }
        Ok(Self { threads, stop })
    }

    /// The thread with the fewest connections, and a place on it.
    pub(crate) fn seat(&self) -> (Handle, Seat) {
        let by_seats = |thread: &&Thread| thread.seats.load(Ordering::Relaxed);
        match self.threads.iter().min_by_key(by_seats) {
            Some(thread) => {
                thread.seats.fetch_add(1, Ordering::Relaxed);
                (thread.handle.clone(), Seat(thread.seats.clone()))
            }
            // There is always one; and this one would do.
            None => (Handle::current(), Seat(Arc::new(AtomicUsize::new(1)))),
        }
    }
}

impl Drop for Threads {
    /// Ends what still runs on them, and waits for them.
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in &mut self.threads {
            if let Some(ends) = thread.ends.take() {
                let _ = ends.join();
            }
        }
    }
}

impl Thread {
    fn start(number: usize, stop: CancellationToken) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .on_thread_park(allocator::collect_when_idle)
            .build()?;
        let handle = runtime.handle().clone();
        let ends = std::thread::Builder::new()
            .name(format!("serve-{number}"))
            .spawn(move || {
                // 0 is everybody else's.
                attache::http::keep_connections_apart(number + 1);
                runtime.block_on(stop.cancelled());
                // A thread that waits for a disk is not waited for.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            handle,
            seats: Arc::default(),
            ends: Some(ends),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_gets_the_thread_with_the_fewest_and_gives_its_place_back() {
        let threads = Threads::start().expect("threads");
        let count = threads.threads.len();
        let taken = || -> Vec<usize> {
            let seats = threads.threads.iter().map(|thread| &thread.seats);
            seats.map(|seats| seats.load(Ordering::Relaxed)).collect()
        };
        let mut seats: Vec<Seat> = (0..3 * count).map(|_| threads.seat().1).collect();
        assert_eq!(taken(), vec![3; count]);
        seats.truncate(count);
        let more: Vec<Seat> = (0..count).map(|_| threads.seat().1).collect();
        assert_eq!(taken(), vec![2; count]);
        drop((seats, more));
        assert_eq!(taken(), vec![0; count]);
    }

    #[test]
    fn what_is_given_to_a_thread_runs_there_until_the_threads_are_ended() {
        struct Ended(std::sync::mpsc::Sender<Option<String>>);
        impl Drop for Ended {
            fn drop(&mut self) {
                let _ = self
                    .0
                    .send(std::thread::current().name().map(str::to_owned));
            }
        }
        let threads = Threads::start().expect("threads");
        let (ended, ends) = std::sync::mpsc::channel();
        let (thread, _seat) = threads.seat();
        let (begun, begins) = std::sync::mpsc::channel();
        thread.spawn(async move {
            let _ended = Ended(ended);
            let _ = begun.send(());
            std::future::pending::<()>().await;
        });
        begins.recv().expect("it runs");
        drop(threads);
        let name = ends.recv().expect("it is dropped");
        assert!(name.is_some_and(|name| name.starts_with("serve-")));
    }
}
