//! How long something takes, as counts in buckets: cheap to note, and good enough to tell a median from a tail.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Four buckets for each doubling, from 64 µs to 2 minutes: a quantile is off by a tenth at most.
const PER_OCTAVE: u32 = 4;
const FIRST_US: u64 = 64;
const OCTAVES: u32 = 21;
const BUCKETS: usize = (PER_OCTAVE * OCTAVES) as usize + 1;

/// Counts since the start of the process.
#[derive(Debug)]
pub struct Latency([AtomicU64; BUCKETS]);

/// The counts at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyCounts(Vec<u64>);

impl Default for Latency {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Latency {
    /// Notes one.
    pub fn note(&self, took: Duration) {
        self.0[bucket(took)].fetch_add(1, Ordering::Relaxed);
    }

    /// The counts now.
    pub fn counts(&self) -> LatencyCounts {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        LatencyCounts(counts.collect())
    }
}

impl LatencyCounts {
    /// What came after `before`, which was taken from the same place earlier; all of it if it was taken elsewhere.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let newer = self.0.iter().zip(&before.0);
        let differences: Option<Vec<u64>> = newer
            .map(|(now, before)| now.checked_sub(*before))
            .collect();
        Self(differences.unwrap_or_else(|| self.0.clone()))
    }

    /// The time below which the share `q` of all lies, in milliseconds. `None` if there are none.
    pub fn quantile_ms(&self, q: f64) -> Option<f64> {
        let total: u64 = self.0.iter().sum();
        if total == 0 {
            return None;
        }
        let rank = q * total as f64;
        let mut below = 0;
        for (number, count) in self.0.iter().enumerate() {
            below += count;
            if below as f64 >= rank && *count > 0 {
                return Some(middle_ms(number));
            }
        }
        None
    }
}

fn bucket(took: Duration) -> usize {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if us < FIRST_US {
        return 0;
    }
    let octave = (us / FIRST_US).ilog2();
    // The two bits behind the first tell the quarter of the octave.
    let quarter = us >> (us.ilog2() - 2) & 3;
    let number = octave as usize * PER_OCTAVE as usize + quarter as usize + 1;
    number.min(BUCKETS - 1)
}

fn middle_ms(number: usize) -> f64 {
    if number == 0 {
        return FIRST_US as f64 / 2000.0;
    }
    let (octave, quarter) = (
        (number - 1) / PER_OCTAVE as usize,
        (number - 1) % PER_OCTAVE as usize,
    );
    let base = FIRST_US as f64 * f64::from(1_u32 << octave.min(31));
    base * (1.0 + (quarter as f64 + 0.5) / f64::from(PER_OCTAVE)) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_off_by_a_tenth_at_most() {
        for ms in [0.1, 0.5, 1.0, 3.3, 10.0, 99.0, 1234.0, 30_000.0] {
            let latency = Latency::default();
            latency.note(Duration::from_secs_f64(ms / 1000.0));
            let told = latency.counts().quantile_ms(0.5).expect("one");
            assert!((told / ms - 1.0).abs() < 0.13, "{ms}: {told}");
        }
    }

    #[test]
    fn a_tail_shows_in_the_high_quantile_only_and_windows_are_differences() {
        let latency = Latency::default();
        for _ in 0..1000 {
            latency.note(Duration::from_secs(5));
        }
        let before = latency.counts();
        assert_eq!(latency.counts().since(&before).quantile_ms(0.5), None);
        for n in 0..100 {
            latency.note(Duration::from_millis(if n < 95 { 2 } else { 400 }));
        }
        let window = latency.counts().since(&before);
        assert!(window.quantile_ms(0.5).expect("some") < 3.0);
        assert!(window.quantile_ms(0.99).expect("some") > 300.0);
        let elsewhere = Latency::default().counts();
        assert_eq!(
            elsewhere.since(&before),
            elsewhere,
            "a new client begins anew"
        );
    }

    #[test]
    fn what_is_too_short_or_too_long_has_a_place() {
        let latency = Latency::default();
        for took in [Duration::ZERO, Duration::from_secs(3600), Duration::MAX] {
            latency.note(took);
        }
        assert!(latency.counts().quantile_ms(1.0).expect("some") > 100_000.0);
    }
}
