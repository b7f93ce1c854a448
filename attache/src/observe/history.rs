//! What a process remembers of itself: the last hour in steps of five seconds, the last day in steps of two minutes, in
//! rings of a fixed size. No database; a restart forgets.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

/// How often a sample is taken.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// Samples of the last hour, and of the last day. About 250 KiB together when they are full.
const HOUR: usize = 720;
const DAY: usize = 720;

/// Samples of the hour that become one of the day.
const PER_DAY_SAMPLE: u32 = 24;

/// A trend of less than this time says nothing.
const MIN_TREND: Duration = Duration::from_secs(10 * 60);

/// The state of the process at a time, and what happened since the sample before.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// In milliseconds since 1970.
    pub at_ms: i64,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Memory that is allocated on the heap, in bytes; 0 if nobody counts it.
    pub heap_bytes: u64,
    /// Bytes in transfer buffers.
    pub transfer_bytes: u64,
    /// Uploads that run.
    pub uploads: u64,
    /// Relayed downloads that run.
    pub downloads: u64,
    /// Bytes a second from clients.
    pub in_per_s: f64,
    /// Bytes a second to clients.
    pub out_per_s: f64,
    /// Operations a second that succeeded.
    pub ok_per_s: f64,
    /// Operations a second that were answered with the caller's own mistake.
    pub refused_per_s: f64,
    /// Operations that failed, by cause. Only causes that occurred.
    pub failed: Vec<(&'static str, u64)>,
    /// Connections to the store.
    pub connections: u64,
    /// Median and 99th percentile of the time to the store's first byte, in milliseconds. None if nothing was asked.
    pub upstream_ms: Option<(f64, f64)>,
    /// How long tokens and keys at hand are good for, in seconds.
    pub leases: Vec<(&'static str, f64)>,
}

/// How far to look back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The last hour, every five seconds.
    Hour,
    /// The last day, every two minutes.
    Day,
}

/// The rings.
#[derive(Debug, Default)]
pub struct History(Mutex<Rings>);

#[derive(Debug, Default)]
struct Rings {
    hour: VecDeque<Sample>,
    day: VecDeque<Sample>,
    taken: u32,
}

impl History {
    /// Keeps a sample; the oldest goes.
    pub fn push(&self, sample: Sample) {
        let mut rings = self.lock();
        rings.taken = rings.taken.wrapping_add(1);
        if rings.taken.is_multiple_of(PER_DAY_SAMPLE) {
            let recent = rings.hour.iter().rev().take(PER_DAY_SAMPLE as usize - 1);
            let merged = merge(recent.chain([&sample]), &sample);
            keep(&mut rings.day, merged, DAY);
        }
        keep(&mut rings.hour, sample, HOUR);
    }

    /// The samples of a window, oldest first.
    pub fn samples(&self, window: Window) -> Vec<Sample> {
        let rings = self.lock();
        let ring = match window {
            Window::Hour => &rings.hour,
            Window::Day => &rings.day,
        };
        ring.iter().cloned().collect()
    }

    /// The newest samples, newest first.
    pub fn recent(&self, count: usize) -> Vec<Sample> {
        self.lock().hour.iter().rev().take(count).cloned().collect()
    }

    /// How resident memory grows, in bytes an hour: the slope of a line through the samples of the last hour (least
    /// squares). `None` before there are ten minutes of them.
    pub fn trend_per_hour(&self) -> Option<f64> {
        let rings = self.lock();
        let (first, last) = (rings.hour.front()?, rings.hour.back()?);
        let span = u64::try_from(last.at_ms - first.at_ms).ok()?;
        if Duration::from_millis(span) < MIN_TREND {
            return None;
        }
        let origin = first.at_ms;
        let points = rings.hour.iter().map(|sample| {
            let hours = (sample.at_ms - origin) as f64 / 3_600_000.0;
            (hours, sample.resident_bytes as f64)
        });
        slope(points)
    }

    fn lock(&self) -> MutexGuard<'_, Rings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep(ring: &mut VecDeque<Sample>, sample: Sample, most: usize) {
    if ring.len() == most {
        ring.pop_front();
    }
    ring.push_back(sample);
}

/// Two minutes as one sample: levels at their highest, rates on average, failures added up.
fn merge<'a>(samples: impl Iterator<Item = &'a Sample>, last: &Sample) -> Sample {
    let mut merged = last.clone();
    let mut count = 0.0_f64;
    let mut sums = [0.0; 4];
    merged.failed.clear();
    for sample in samples {
        count += 1.0;
        merged.resident_bytes = merged.resident_bytes.max(sample.resident_bytes);
        merged.heap_bytes = merged.heap_bytes.max(sample.heap_bytes);
        merged.transfer_bytes = merged.transfer_bytes.max(sample.transfer_bytes);
        merged.uploads = merged.uploads.max(sample.uploads);
        merged.downloads = merged.downloads.max(sample.downloads);
        merged.connections = merged.connections.max(sample.connections);
        let rates = [
            sample.in_per_s,
            sample.out_per_s,
            sample.ok_per_s,
            sample.refused_per_s,
        ];
        for (sum, rate) in sums.iter_mut().zip(rates) {
            *sum += rate;
        }
        for (cause, number) in &sample.failed {
            match merged.failed.iter_mut().find(|(known, _)| known == cause) {
                Some((_, sum)) => *sum += number,
                None => merged.failed.push((cause, *number)),
            }
        }
        merged.upstream_ms = match (merged.upstream_ms, sample.upstream_ms) {
            (Some((p50, p99)), Some((more50, more99))) => Some((p50.max(more50), p99.max(more99))),
            (one, other) => one.or(other),
        };
    }
    let [input, output, ok, refused] = sums.map(|sum| sum / count.max(1.0));
    (merged.in_per_s, merged.out_per_s) = (input, output);
    (merged.ok_per_s, merged.refused_per_s) = (ok, refused);
    merged
}

/// The slope of the line with the least squares of distances to the points. `None` for less than two places.
pub fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> Option<f64> {
    let mut count = 0.0;
    let (mut sum_x, mut sum_y) = (0.0, 0.0);
    for (x, y) in points.clone() {
        count += 1.0;
        sum_x += x;
        sum_y += y;
    }
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let (mut covariance, mut variance) = (0.0, 0.0);
    for (x, y) in points {
        covariance += (x - mean_x) * (y - mean_y);
        variance += (x - mean_x) * (x - mean_x);
    }
    (variance > 0.0).then(|| covariance / variance)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(step: i64, resident_bytes: u64) -> Sample {
        Sample {
            at_ms: step * 5000,
            resident_bytes,
            ..Sample::default()
        }
    }

    #[test]
    fn the_rings_keep_an_hour_and_a_day_and_no_more() {
        let history = History::default();
        for step in 0..30_000 {
            history.push(sample(step, u64::try_from(step).expect("positive")));
        }
        let (hour, day) = (history.samples(Window::Hour), history.samples(Window::Day));
        assert_eq!((hour.len(), day.len()), (HOUR, DAY));
        let span = |samples: &[Sample]| samples[samples.len() - 1].at_ms - samples[0].at_ms;
        assert_eq!(span(&hour), (HOUR as i64 - 1) * 5000);
        assert_eq!(span(&day), (DAY as i64 - 1) * 120_000);
        assert_eq!(history.recent(2)[0].at_ms, 29_999 * 5000);
    }

    #[test]
    fn a_sample_of_the_day_has_the_highest_levels_the_average_rates_and_all_failures() {
        let history = History::default();
        for step in 0..24_u32 {
            history.push(Sample {
                resident_bytes: u64::from(step % 7),
                ok_per_s: f64::from(step),
                failed: if step % 2 == 0 {
                    vec![("internal", 2)]
                } else {
                    Vec::new()
                },
                upstream_ms: (step == 3).then_some((1.0, 9.0)),
                ..sample(i64::from(step), 0)
            });
        }
        let day = history.samples(Window::Day);
        assert_eq!(day.len(), 1);
        assert_eq!(day[0].resident_bytes, 6);
        assert!((day[0].ok_per_s - 11.5).abs() < 1e-9);
        assert_eq!(day[0].failed, [("internal", 24)]);
        assert_eq!(day[0].upstream_ms, Some((1.0, 9.0)));
    }

    #[test]
    fn a_trend_is_the_slope_of_an_hour_and_needs_ten_minutes() {
        let history = History::default();
        for step in 0..120 {
            history.push(sample(step, 1_000_000));
        }
        assert_eq!(history.trend_per_hour(), None);
        for step in 120..720_i64 {
            history.push(sample(step, 1_000_000));
        }
        assert_eq!(history.trend_per_hour(), Some(0.0));
        for step in 720..1440_i64 {
            // A megabyte an hour, and noise that has none.
            let noise = if step % 2 == 0 { 5000 } else { 0 };
            let grown = (step - 720) * 1_000_000 / 720;
            history.push(sample(
                step,
                u64::try_from(1_000_000 + grown + noise).expect("positive"),
            ));
        }
        let trend = history.trend_per_hour().expect("there is one");
        assert!((trend - 1_000_000.0).abs() < 20_000.0, "{trend}");
    }
}
