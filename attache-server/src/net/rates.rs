//! How fast requests may follow each other, for each of many.

use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::limits::Rate;
use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

/// Clients and callers whose rate is remembered at a time. Those that have been quiet long enough are forgotten first;
/// while that does not help, strangers share one rate.
const MAX_REMEMBERED: usize = 100_000;

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, DefaultClock>;

/// The rates of many, all with one limit, which may change.
#[derive(Debug)]
pub(super) struct Rates<K: Clone + Eq + std::hash::Hash>(Mutex<Option<Arc<Pace<K>>>>);

/// The rates under one limit.
#[derive(Debug)]
struct Pace<K: Clone + Eq + std::hash::Hash> {
    rate: Rate,
    each: Limiter<K>,
    /// While as many are remembered as may be, those who are not known share rates by their hash: an attack from a hundred
    /// thousand places slows others down, and shuts nobody out.
    shared: Limiter<u16>,
    began: Instant,
    /// When those that have been quiet were last forgotten, in milliseconds since it began: looking at all of them costs
    /// milliseconds, too much for every request.
    cleaned: AtomicU64,
    hasher: RandomState,
}

/// How often it is looked for those that can be forgotten.
const CLEAN_EVERY: Duration = Duration::from_secs(1);

impl<K: Clone + Eq + std::hash::Hash> Default for Rates<K> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<K: Clone + Eq + std::hash::Hash> Rates<K> {
    pub(super) fn step(&self, rate: Option<Rate>, key: K) -> Result<(), Duration> {
        match rate {
            None => Ok(()),
            Some(rate) => self.of(rate).step(key, MAX_REMEMBERED),
        }
    }

    fn of(&self, rate: Rate) -> Arc<Pace<K>> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some(pace) if pace.rate == rate => pace.clone(),
            _ => {
                let pace = Arc::new(Pace::new(rate));
                *current = Some(pace.clone());
                pace
            }
        }
    }
}

impl<K: Clone + Eq + std::hash::Hash> Pace<K> {
    fn new(rate: Rate) -> Self {
        let burst = NonZero::new(rate.burst).unwrap_or(NonZero::<u32>::MIN);
        let quota = Quota::with_period(rate.period)
            .unwrap_or(Quota::per_second(NonZero::<u32>::MIN))
            .allow_burst(burst);
        Self {
            rate,
            each: Limiter::hashmap(quota),
            shared: Limiter::hashmap(quota),
            began: Instant::now(),
            cleaned: AtomicU64::new(0),
            hasher: RandomState::new(),
        }
    }

    fn step(&self, key: K, most: usize) -> Result<(), Duration> {
        if self.each.len() >= most {
            self.clean();
        }
        let outcome = match self.each.len() >= most {
            true => {
                let [low, high, ..] = self.hasher.hash_one(&key).to_le_bytes();
                self.shared.check_key(&u16::from_le_bytes([low, high]))
            }
            false => self.each.check_key(&key),
        };
        outcome.map_err(|early| early.wait_time_from(DefaultClock::default().now()))
    }

    fn clean(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let every = u64::try_from(CLEAN_EVERY.as_millis()).unwrap_or(u64::MAX);
        let last = self.cleaned.load(Ordering::Relaxed);
        let due = last == 0 || now >= last + every;
        let ours = due
            && self
                .cleaned
                .compare_exchange(last, now.max(1), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if ours {
            self.each.retain_recent();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_too_many_are_remembered_strangers_share_rates_and_nobody_is_shut_out() {
        let pace = Pace::<u64>::new("1/h, burst 2".parse().expect("a rate"));
        for client in 0..10 {
            pace.step(client, 10).expect("within the burst");
        }
        let refused = (10..1010).filter(|client| pace.step(*client, 10).is_err());
        assert!(refused.count() < 100, "few share a rate with others");
        assert_eq!(pace.each.len(), 10, "no more are remembered");
    }
}
