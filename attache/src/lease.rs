//! One expiring value, renewed ahead of time, fetched once for all callers.
//!
//! Entra tokens and user delegation keys are both a [`Lease`]. Asking either service on every request is what
//! brought down the system that attache replaces: 20,000 redirects cost 20,000 token and 20,000 key requests.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures::future::{BoxFuture, FutureExt, Shared};
use tokio::time::Instant;

use crate::error::{Error, ErrorKind, Result};

/// A value is renewed in the background once this share of its life has passed.
const RENEW_AT: f64 = 0.7;

/// First wait after a failed fetch; doubles up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_secs(1);

/// Longest wait after failed fetches.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// A fetch that takes longer is a failed fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// A value that follows a rejected one within this time, and is rejected too, widens the gap to the next fetch:
/// the value is not what the service objects to.
const REJECTION_MEMORY: Duration = Duration::from_secs(300);

/// What a fetch returns: the value, and for how long the *service* granted it.
#[derive(Debug)]
pub struct Granted<T> {
    /// The value.
    pub value: T,
    /// How long it is good for, from the moment the fetch began.
    pub life: Duration,
}

/// A value together with its life. Hold it as long as you need it.
pub struct Held<T> {
    value: T,
    generation: u64,
    fetched: Instant,
    expires: Instant,
}

impl<T> Held<T> {
    /// The value.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// How long the value is still good for. Measured on a clock that never jumps.
    pub fn remaining(&self) -> Duration {
        self.expires.saturating_duration_since(Instant::now())
    }

    fn renew_from(&self) -> Instant {
        self.fetched + (self.expires - self.fetched).mul_f64(RENEW_AT)
    }
}

impl<T> fmt::Debug for Held<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("generation", &self.generation)
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

/// Counts of one lease, for metrics and the status page.
#[derive(Debug, Default)]
pub struct LeaseCounts {
    /// Answers from the value at hand.
    pub hits: AtomicU64,
    /// Answers that had to wait for a fetch.
    pub waited: AtomicU64,
    /// Callers that got an error.
    pub failed: AtomicU64,
    /// Fetches that brought a value.
    pub fetches_ok: AtomicU64,
    /// Fetches that failed.
    pub fetches_failed: AtomicU64,
}

type Fetch<T> = dyn Fn() -> BoxFuture<'static, Result<Granted<T>>> + Send + Sync;
type Fetching<T> = Shared<BoxFuture<'static, Result<Arc<Held<T>>, Arc<Error>>>>;

/// A shared, self-renewing value. Cheap to clone; clones share it.
///
/// - While the value is good for what a caller needs, [`get`](Self::get) takes no lock and does no I/O.
/// - From 70 % of its life a call starts one renewal in the background and returns the old value.
/// - Callers wait only if the value is too short for them, all on one fetch that runs in a task of its own:
///   dropping a waiting `get` cancels nobody else.
/// - A failed fetch is not repeated before 1 s, doubling to 60 s, with jitter; the old value serves meanwhile.
/// - Nothing is fetched while nobody asks.
pub struct Lease<T>(Arc<Inner<T>>);

struct Inner<T> {
    name: &'static str,
    current: ArcSwapOption<Held<T>>,
    state: Mutex<State<T>>,
    fetch: Box<Fetch<T>>,
    counts: LeaseCounts,
}

struct State<T> {
    fetching: Option<Fetching<T>>,
    generation: u64,
    failures: u32,
    not_before: Option<Instant>,
    last_error: Option<Arc<Error>>,
    rejections: u32,
    last_rejection: Option<Instant>,
}

impl<T: Send + Sync + 'static> Lease<T> {
    /// A lease that is empty until somebody asks. `name` is its label in metrics and messages.
    pub fn new<F, Fut>(name: &'static str, fetch: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Granted<T>>> + Send + 'static,
    {
        Self(Arc::new(Inner {
            name,
            current: ArcSwapOption::empty(),
            state: Mutex::new(State {
                fetching: None,
                generation: 0,
                failures: 0,
                not_before: None,
                last_error: None,
                rejections: 0,
                last_rejection: None,
            }),
            fetch: Box::new(move || fetch().boxed()),
            counts: LeaseCounts::default(),
        }))
    }

    /// The value, good for at least `need` longer. Safe to drop at any time.
    ///
    /// # Errors
    ///
    /// What the fetch said, if the value at hand is too short; between tries the same error again, with a
    /// [hint](Error::retry_hint) when the next try is due. [`ErrorKind::Internal`] if the service grants
    /// less than `need` at all.
    pub async fn get(&self, need: Duration) -> Result<Arc<Held<T>>> {
        let inner = &self.0;
        if let Some(held) = inner.current.load_full() {
            let now = Instant::now();
            if held.expires > now + need {
                inner.counts.hits.fetch_add(1, Ordering::Relaxed);
                if now >= held.renew_from() {
                    self.renew(need);
                }
                return Ok(held);
            }
        }
        let outcome = match self.fetching(need) {
            Ok(fetching) => fetching.await.map_err(|error| error.to_shared()),
            Err(error) => Err(error),
        };
        let outcome = outcome.and_then(|held| {
            if held.remaining() >= need {
                return Ok(held);
            }
            Err(Error::internal(format!(
                "the service grants the {} for {} s only, but {} s are needed",
                inner.name.replace('_', " "),
                held.remaining().as_secs(),
                need.as_secs()
            )))
        });
        let count = match outcome {
            Ok(_) => &inner.counts.waited,
            Err(_) => &inner.counts.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        outcome
    }

    /// The value at hand if it is good for at least `need` longer; never waits, never fetches, but starts a
    /// renewal that is due.
    pub fn peek(&self, need: Duration) -> Option<Arc<Held<T>>> {
        let held = self.0.current.load_full()?;
        let now = Instant::now();
        if held.expires <= now + need {
            return None;
        }
        self.0.counts.hits.fetch_add(1, Ordering::Relaxed);
        if now >= held.renew_from() {
            self.renew(need);
        }
        Some(held)
    }

    /// The service refused `seen` (401, 403): drops exactly that value, so that the next [`get`](Self::get) fetches.
    ///
    /// Returns whether another try makes sense: a newer value is there, or will be fetched. It is `false` if
    /// values were rejected so often that the value cannot be the reason; the gap between forced fetches
    /// starts at one second and doubles to 60.
    pub fn reject(&self, seen: &Arc<Held<T>>) -> bool {
        let mut state = self.0.lock();
        let current = self.0.current.load();
        if current
            .as_ref()
            .is_none_or(|held| held.generation != seen.generation)
        {
            // Somebody else rejected it already, or it was renewed meanwhile.
            return true;
        }
        let now = Instant::now();
        if let Some(last) = state.last_rejection {
            if now - last > REJECTION_MEMORY {
                state.rejections = 0;
            } else if now - last < backoff(state.rejections) {
                return false;
            }
        }
        state.rejections += 1;
        state.last_rejection = Some(now);
        self.0.current.store(None);
        true
    }

    /// How long the value at hand is still good for; `None` if there is none.
    pub fn remaining(&self) -> Option<Duration> {
        self.0.current.load().as_ref().map(|held| held.remaining())
    }

    /// Why the last fetch failed, until one succeeds.
    pub fn last_error(&self) -> Option<String> {
        let state = self.0.lock();
        state.last_error.as_ref().map(|error| error.to_string())
    }

    /// Its label in metrics and messages.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// What happened so far.
    pub fn counts(&self) -> &LeaseCounts {
        &self.0.counts
    }

    /// Starts a background fetch unless one runs or the last failure is too recent.
    fn renew(&self, need: Duration) {
        // Whoever holds the state is starting or ending a fetch; nothing is lost by leaving it to them.
        if let Ok(mut state) = self.0.state.try_lock() {
            let due = self
                .0
                .current
                .load()
                .as_ref()
                .is_none_or(|held| Instant::now() >= held.renew_from());
            let waits = state.not_before.is_some_and(|at| Instant::now() < at);
            if due && state.fetching.is_none() && !waits {
                tracing::debug!(
                    lease = self.0.name,
                    need_s = need.as_secs(),
                    "renewing ahead"
                );
                // It runs in its own task; whoever needs the outcome finds it in the state.
                drop(self.start(&mut state));
            }
        }
    }

    /// The fetch that runs, or a new one; an error while the last failure is too recent.
    fn fetching(&self, need: Duration) -> Result<Fetching<T>> {
        let mut state = self.0.lock();
        if let Some(fetching) = &state.fetching {
            return Ok(fetching.clone());
        }
        // A fetch may have ended between the caller's look and this lock.
        if let Some(held) = self.0.current.load_full()
            && held.remaining() > need
        {
            return Ok(futures::future::ready(Ok(held)).boxed().shared());
        }
        if let (Some(at), Some(error)) = (state.not_before, &state.last_error) {
            let now = Instant::now();
            if now < at {
                return Err(error.to_shared().retry_after(at - now));
            }
        }
        Ok(self.start(&mut state))
    }

    fn start(&self, state: &mut State<T>) -> Fetching<T> {
        let inner = self.0.clone();
        let task = tokio::spawn(async move {
            let started = Instant::now();
            let granted = tokio::time::timeout(FETCH_TIMEOUT, (inner.fetch)())
                .await
                .unwrap_or_else(|_| {
                    Err(Error::new(
                        ErrorKind::UpstreamTimeout,
                        format!(
                            "timed out after {} s fetching the {}",
                            FETCH_TIMEOUT.as_secs(),
                            inner.name.replace('_', " ")
                        ),
                    ))
                });
            inner.finish(started, granted)
        });
        let inner = self.0.clone();
        let fetching = async move {
            match task.await {
                Ok(outcome) => outcome,
                // The fetch panicked, or the runtime is going away.
                Err(error) => {
                    let error = Error::internal(format!("fetching the {} failed", inner.name))
                        .with_source(error);
                    inner.fail(&mut inner.lock(), error)
                }
            }
        }
        .boxed()
        .shared();
        state.fetching = Some(fetching.clone());
        fetching
    }
}

impl<T> Inner<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing in here can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(
        &self,
        started: Instant,
        granted: Result<Granted<T>>,
    ) -> Result<Arc<Held<T>>, Arc<Error>> {
        let mut state = self.lock();
        match granted {
            Ok(Granted { value, life }) => {
                self.counts.fetches_ok.fetch_add(1, Ordering::Relaxed);
                state.fetching = None;
                state.failures = 0;
                state.not_before = None;
                state.last_error = None;
                state.generation += 1;
                let held = Arc::new(Held {
                    value,
                    generation: state.generation,
                    fetched: started,
                    expires: started + life,
                });
                self.current.store(Some(held.clone()));
                tracing::debug!(lease = self.name, life_s = life.as_secs(), "fetched");
                Ok(held)
            }
            Err(error) => self.fail(&mut state, error),
        }
    }

    fn fail(&self, state: &mut State<T>, error: Error) -> Result<Arc<Held<T>>, Arc<Error>> {
        self.counts.fetches_failed.fetch_add(1, Ordering::Relaxed);
        let wait = backoff(state.failures).mul_f64(0.8 + 0.4 * rand::random::<f64>());
        state.fetching = None;
        state.failures = state.failures.saturating_add(1);
        state.not_before = Some(Instant::now() + wait);
        tracing::warn!(
            lease = self.name,
            error = error.report(),
            next_try_s = wait.as_secs_f32(),
            "fetch failed"
        );
        let error = Arc::new(error.retry_after(wait));
        state.last_error = Some(error.clone());
        Err(error)
    }
}

fn backoff(failures: u32) -> Duration {
    MIN_BACKOFF
        .saturating_mul(1 << failures.min(6))
        .min(MAX_BACKOFF)
}

impl<T> Clone for Lease<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for Lease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("name", &self.0.name)
            .field("current", &*self.0.current.load())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
