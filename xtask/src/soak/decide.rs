//! Whether memory grows with the work that was done.
//!
//! # The statistics
//!
//! A line is fitted by least squares through points of (operations done, bytes on the heap). Points that follow each other
//! resemble each other (a pool that is large now is large a moment later), so the plain standard error would be too small
//! and chance would look like a leak. Hence two steps:
//!
//! 1. The points are cut into up to [`BLOCKS`] blocks of neighbours, and the line goes through the means of the blocks,
//!    which resemble each other less than the points do (the method of batch means).
//! 2. What resemblance is left is measured (the correlation `r` of each residual with the next), and the standard error is
//!    multiplied by `sqrt((1 + r) / (1 - r))` where `r` is above zero, as for a process that forgets exponentially.
//!
//! The interval is the slope plus and minus that error times Student's t for 95 % and as many degrees of freedom as there
//! are blocks less two. A leak is told only if the whole interval lies above the limit: a slope that noise explains is
//! none, and a short or noisy run proves nothing rather than something wrong.

/// Most growth that is no leak, in bytes per operation. The process remembers an hour of samples for its status page, which
/// is about 20 bytes a second while the ring fills; a leak of one small object per operation is 16 bytes and more.
pub(crate) const LIMIT: f64 = 1.0;

/// Blocks of neighbours.
const BLOCKS: usize = 12;

/// A line through points, and how sure its slope is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fit {
    /// Bytes per operation.
    pub(crate) slope: f64,
    /// Bytes at no operation.
    pub(crate) intercept: f64,
    /// Ends of the 95 % confidence interval of the slope.
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) points: usize,
    pub(crate) blocks: usize,
    /// How much a residual resembles the one before it, 0 to 0.9.
    pub(crate) resemblance: f64,
}

impl Fit {
    /// The growth is there beyond reasonable doubt.
    pub(crate) fn leaks(&self) -> bool {
        self.low > LIMIT
    }

    /// The interval is narrow enough to have seen a leak of ten times the limit.
    pub(crate) fn would_have_seen(&self) -> bool {
        self.high - self.slope < 9.0 * LIMIT
    }
}

/// Fits the line. `None` if there are fewer than six points, or no work between them.
pub(crate) fn fit(points: &[(f64, f64)]) -> Option<Fit> {
    if points.len() < 6 {
        return None;
    }
    let means = block_means(points);
    let n = means.len() as f64;
    let mean_x = means.iter().map(|(x, _)| x).sum::<f64>() / n;
    let mean_y = means.iter().map(|(_, y)| y).sum::<f64>() / n;
    let spread: f64 = means.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if spread <= 0.0 {
        return None;
    }
    let together: f64 = means.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let slope = together / spread;
    let intercept = mean_y - slope * mean_x;
    let residuals: Vec<f64> = means
        .iter()
        .map(|(x, y)| y - intercept - slope * x)
        .collect();
    let squares: f64 = residuals.iter().map(|r| r * r).sum();
    let resemblance = resemblance(&residuals, squares);
    let freedom = means.len() - 2;
    let error = (squares / freedom as f64 / spread).sqrt()
        * ((1.0 + resemblance) / (1.0 - resemblance)).sqrt();
    let reach = error * student(freedom);
    Some(Fit {
        slope,
        intercept,
        low: slope - reach,
        high: slope + reach,
        points: points.len(),
        blocks: means.len(),
        resemblance,
    })
}

/// Blocks of as equal length as can be.
fn block_means(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let blocks = BLOCKS.min(points.len());
    (0..blocks)
        .map(|block| {
            let from = block * points.len() / blocks;
            let to = (block + 1) * points.len() / blocks;
            let of = &points[from..to];
            let n = of.len() as f64;
            (
                of.iter().map(|(x, _)| x).sum::<f64>() / n,
                of.iter().map(|(_, y)| y).sum::<f64>() / n,
            )
        })
        .collect()
}

/// The correlation of neighbours, without what a fitted line makes of it by chance: residuals of `n` independent points
/// correlate by about `-2 / n`.
fn resemblance(residuals: &[f64], squares: f64) -> f64 {
    if squares <= 0.0 {
        return 0.0;
    }
    let neighbours: f64 = residuals.windows(2).map(|pair| pair[0] * pair[1]).sum();
    (neighbours / squares + 2.0 / residuals.len() as f64).clamp(0.0, 0.9)
}

/// Student's t for a two-sided interval of 95 % (Abramowitz and Stegun, 26.7.5; exact to 1 % from three degrees on).
fn student(freedom: usize) -> f64 {
    match freedom {
        0 => f64::INFINITY,
        1 => 12.706,
        2 => 4.303,
        _ => {
            let (z, v) = (1.959_964_f64, freedom as f64);
            z + (z.powi(3) + z) / (4.0 * v)
                + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * v * v)
                + (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z)
                    / (384.0 * v.powi(3))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::dice::Dice;

    /// 40 points over 200,000 operations, noise of about 40 KB that forgets with `memory`, and a slope.
    fn run(seed: u64, slope: f64, memory: f64) -> Vec<(f64, f64)> {
        let mut dice = Dice::new(seed);
        let mut noise = 0.0;
        (0..40)
            .map(|point| {
                let ops = f64::from(point) * 5_000.0;
                // Twelve uniform numbers make a normal one.
                let normal: f64 = (0..12).map(|_| dice.share()).sum::<f64>() - 6.0;
                noise = memory * noise + (1.0 - memory * memory).sqrt() * normal;
                (ops, 5e6 + slope * ops + 40e3 * noise)
            })
            .collect()
    }

    fn alarms(slope: f64, memory: f64) -> usize {
        (1..=400)
            .filter(|seed| fit(&run(*seed, slope, memory)).is_some_and(|fit| fit.leaks()))
            .count()
    }

    #[test]
    fn a_leak_of_three_bytes_an_operation_is_seen() {
        assert!(alarms(3.0, 0.0) >= 398);
        assert!(alarms(3.0, 0.5) >= 360);
    }

    #[test]
    fn noise_is_no_leak() {
        assert_eq!(alarms(0.0, 0.0), 0);
        // A quarter of a percent of the runs whose noise remembers is what the limit leaves to chance.
        assert!(alarms(0.0, 0.7) <= 4);
    }

    #[test]
    fn growth_at_the_limit_is_told_as_rarely_as_promised() {
        // 2.5 % of 400 above the interval, and what chance adds; what remembers is allowed twice that.
        assert!(alarms(LIMIT, 0.0) <= 20, "{}", alarms(LIMIT, 0.0));
        assert!(alarms(LIMIT, 0.5) <= 40, "{}", alarms(LIMIT, 0.5));
    }

    #[test]
    fn an_interval_holds_the_slope_that_it_was_made_from() {
        let held = (1..=400)
            .filter(|seed| {
                let fit = fit(&run(*seed, 2.0, 0.3)).expect("enough points");
                (fit.low..fit.high).contains(&2.0)
            })
            .count();
        assert!(held >= 368, "{held} of 400");
    }

    #[test]
    fn too_little_proves_nothing() {
        assert_eq!(fit(&run(1, 9.0, 0.0)[..5]), None);
        assert_eq!(fit(&[(1.0, 2.0); 12]), None);
        let short = fit(&run(1, 0.0, 0.0)[..6]).expect("a line");
        assert!(short.high - short.low > 1.0 && !short.leaks());
    }

    #[test]
    fn a_perfect_line_is_certain() {
        let points: Vec<_> = (0..12)
            .map(|x| (f64::from(x), f64::from(x) * 2.0))
            .collect();
        let fit = fit(&points).expect("a line");
        assert!((fit.slope - 2.0).abs() < 1e-9 && fit.leaks());
    }
}
