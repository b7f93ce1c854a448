//! What all connections of one stand-in share.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use time::OffsetDateTime;
use tokio::sync::watch;

use crate::answer::{Answer, Fail, Stop};
use crate::desk::Desk;
use crate::faults::{Action, Faults, Service, Stage};
use crate::operation::Operation;

/// The faults, the clock that they may turn, and the traffic.
#[derive(Debug)]
pub struct Scene<O: Operation, S: Service> {
    desk: Mutex<Desk<O, S>>,
    /// Bytes and bodies under way.
    pub traffic: Traffic,
    hang_up: watch::Sender<()>,
}

impl<O: Operation, S: Service> Scene<O, S> {
    /// Nothing is broken, nothing was counted.
    pub fn new() -> Self {
        Self {
            desk: Mutex::new(Desk::new()),
            traffic: Traffic::default(),
            hang_up: watch::Sender::new(()),
        }
    }

    /// The desk at which requests ask what is to go wrong with them.
    pub fn desk<T>(&self, with: impl FnOnce(&mut Desk<O, S>) -> T) -> T {
        with(&mut self.desk.lock().expect("no holder of this lock panics"))
    }

    /// Looks at the faults.
    pub fn faults<T>(&self, look: impl FnOnce(&Faults<O, S>) -> T) -> T {
        self.desk(|desk| look(desk.faults()))
    }

    /// Changes the faults, and wakes those that they silenced.
    pub fn change<T>(&self, change: impl FnOnce(&mut Faults<O, S>) -> T) -> T {
        self.desk(|desk| desk.change(change))
    }

    /// Now, as the service's clock has it.
    pub fn now(&self) -> OffsetDateTime {
        let skew = self.faults(|f| f.clock_skew_seconds);
        OffsetDateTime::now_utc() + time::Duration::seconds(skew)
    }

    /// Waits until no rule silences anything.
    pub async fn silence_over(&self) {
        let mut silence = self.desk(|desk| desk.silence());
        // An error means that the stand-in is gone, which ends the silence too.
        let _ = silence.wait_for(|silenced| !silenced).await;
    }

    /// Waits as long as the faults keep a call waiting, and says what is to go wrong with it.
    pub async fn admit(&self, op: O) -> Option<(Stage, Action)> {
        let (latency, fault) = self.desk(|desk| (desk.latency(op), desk.answer(op)));
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        fault
    }

    /// Does what a fault rule says instead of answering.
    ///
    /// # Errors
    ///
    /// Always: with the answer that was ordered, or with the end of the connection.
    pub async fn spoil(&self, action: Action) -> Result<Answer, Stop> {
        self.traffic.fault_fired();
        match action {
            Action::Answer {
                status,
                code,
                retry_after_seconds,
            } => {
                let mut fail = Fail::new(status, &code, "This answer was ordered by a test.");
                if let Some(seconds) = retry_after_seconds {
                    fail = fail.header("retry-after", seconds.to_string());
                }
                Err(fail.into())
            }
            Action::Disconnect => Err(Stop::Disconnect),
            Action::Hang => {
                self.silence_over().await;
                Err(Stop::Disconnect)
            }
        }
    }

    /// Closes every connection, idle or busy, without a word.
    pub fn hang_up(&self) {
        self.hang_up.send_replace(());
    }

    /// Changes when every connection is to be closed.
    pub fn hung_up(&self) -> watch::Receiver<()> {
        self.hang_up.subscribe()
    }
}

impl<O: Operation, S: Service> Default for Scene<O, S> {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes and bodies of a service, counted without a lock.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bodies of objects on their way out.
    pub reads: Gauge,
    /// Bodies on their way in.
    pub writes: Gauge,
    /// Bytes of request bodies.
    pub bytes_in: AtomicU64,
    /// Bytes of objects handed to the network.
    pub bytes_out: AtomicU64,
    requests: AtomicU64,
    faults_fired: AtomicU64,
}

impl Traffic {
    /// A number that no other request has.
    pub fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// One fault took effect.
    pub fn fault_fired(&self) {
        self.faults_fired.fetch_add(1, Ordering::Relaxed);
    }

    /// How many faults took effect.
    pub fn faults_fired(&self) -> u64 {
        self.faults_fired.load(Ordering::Relaxed)
    }

    /// Counts from zero again; gauges and request numbers stay.
    pub fn reset(&self) {
        for counter in [&self.bytes_in, &self.bytes_out, &self.faults_fired] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

/// Something that opens and closes.
#[derive(Debug, Default)]
pub struct Gauge {
    total: AtomicU64,
    open: AtomicU64,
}

impl Gauge {
    /// One more.
    pub fn open(&self) {
        self.total.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn close(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many are open.
    pub fn open_now(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// How many were opened since the start or the last reset.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Counts those that are opened from zero again.
    pub fn reset_total(&self) {
        self.total.store(0, Ordering::Relaxed);
    }
}
