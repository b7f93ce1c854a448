//! Where requests ask whether something is to go wrong with them.

use std::time::Duration;

use tokio::sync::watch;

use crate::faults::{Action, BodyFault, BodyFaultKind, Faults, Service, Stage};
use crate::operation::Operation;

/// The faults with the dice, behind the lock that the caller holds.
#[derive(Debug)]
pub struct Desk<O: Operation, S: Service> {
    faults: Faults<O, S>,
    dice: u64,
    changed: watch::Sender<bool>,
}

impl<O: Operation, S: Service> Desk<O, S> {
    pub fn new() -> Self {
        let faults = Faults::default();
        Self {
            dice: faults.seed,
            faults,
            changed: watch::Sender::new(false),
        }
    }

    pub fn faults(&self) -> &Faults<O, S> {
        &self.faults
    }

    pub fn change<T>(&mut self, change: impl FnOnce(&mut Faults<O, S>) -> T) -> T {
        let seed = self.faults.seed;
        let result = change(&mut self.faults);
        if self.faults.seed != seed {
            self.dice = self.faults.seed;
        }
        self.changed.send_replace(self.faults.silences());
        result
    }

    /// Tells whether anything is silenced; a silenced party waits for `false`.
    pub fn silence(&self) -> watch::Receiver<bool> {
        self.changed.subscribe()
    }

    pub fn answer(&mut self, op: O) -> Option<(Stage, Action)> {
        for rule in &mut self.faults.answers {
            if rule.op.is_some_and(|wanted| wanted != op) || rule.remaining == Some(0) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            if roll(&mut self.dice, rule.rate) {
                spend(&mut rule.remaining);
                return Some((rule.stage, rule.action.clone()));
            }
        }
        None
    }

    pub fn response(&mut self, op: O) -> Option<(BodyFaultKind, u64)> {
        body(&mut self.faults.responses, &mut self.dice, op)
    }

    pub fn request(&mut self, op: O) -> Option<(BodyFaultKind, u64)> {
        body(&mut self.faults.requests, &mut self.dice, op)
    }

    pub fn latency(&self, op: O) -> Duration {
        self.faults
            .latency_of_ms
            .get(&op)
            .map_or(self.faults.latency, |ms| Duration::from_millis(*ms))
    }
}

fn body<O: Operation>(
    rules: &mut [BodyFault<O>],
    dice: &mut u64,
    op: O,
) -> Option<(BodyFaultKind, u64)> {
    for rule in rules {
        let matches = rule.op.is_none_or(|wanted| wanted == op) && rule.remaining != Some(0);
        if matches && roll(dice, rule.rate) {
            spend(&mut rule.remaining);
            return Some((rule.kind, rule.after_bytes));
        }
    }
    None
}

fn spend(remaining: &mut Option<u64>) {
    if let Some(left) = remaining {
        *left -= 1;
    }
}

fn roll(dice: &mut u64, rate: f64) -> bool {
    if rate >= 1.0 {
        return true;
    }
    *dice = dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
    // 53 bits make every f64 between 0 and 1 equally likely.
    let unit = (mix(*dice) >> 11) as f64 / (1_u64 << 53) as f64;
    unit < rate
}

/// SplitMix64's output function: enough randomness for faults and patterns, and the same on every run.
pub(crate) const fn mix(seed: u64) -> u64 {
    let z = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
#[allow(unreachable_pub, reason = "what the macro makes is public")]
mod tests {
    use super::*;

    crate::operations! {
        /// Two are enough.
        busy = "Busy";
        /// One.
        Get,
        /// Another.
        Put,
    }

    #[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
    struct Nothing {}

    impl Service for Nothing {
        fn silences(&self) -> bool {
            false
        }
    }

    #[test]
    fn a_seed_replays_the_same_failures() {
        let run = || {
            let mut desk = Desk::<Op, Nothing>::new();
            desk.change(|f| {
                f.seed = 7;
                f.fail(Op::Get, 0.3, 500, "InternalError");
            });
            (0..100)
                .map(|_| desk.answer(Op::Get).is_some())
                .collect::<Vec<_>>()
        };
        let first = run();
        assert_eq!(first, run());
        let failed = first.iter().filter(|failed| **failed).count();
        assert!((15..45).contains(&failed), "{failed}");
    }

    #[test]
    fn a_rule_is_spent_after_its_last_call() {
        let mut desk = Desk::<Op, Nothing>::new();
        desk.change(|f| f.fail_next(Op::Put, 2, 500, "InternalError"));
        assert!(desk.answer(Op::Get).is_none());
        assert!(desk.answer(Op::Put).is_some());
        assert!(desk.answer(Op::Put).is_some());
        assert!(desk.answer(Op::Put).is_none());
    }
}
