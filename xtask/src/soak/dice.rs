//! Numbers that look random, the same ones for the same seed.

/// xorshift64 (<https://www.jstatsoft.org/article/view/v008i14>).
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        // Zero would stay zero, and small seeds would begin alike.
        let mut dice = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        dice.next();
        dice
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `end`, which is above zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        // The remainder fits, because `end` does.
        (self.next() % end as u64) as usize
    }

    /// From zero to one.
    #[cfg(test)]
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
