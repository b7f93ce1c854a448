//! How large the blocks of an upload are, within what the target takes and memory allows.

use crate::error::{Error, ErrorKind, Result};
use crate::storage::Blocks;

/// What a target takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLimits {
    /// Fewest bytes of every block but the last.
    pub min_bytes: u64,
    /// Most bytes of a block.
    pub max_bytes: u64,
    /// Most blocks of one object.
    pub max_blocks: u32,
    /// All blocks but the last must be of one size.
    pub alike: bool,
}

/// How large each block of an upload is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    base: u64,
    /// What memory and target allow.
    largest: u64,
    limits: BlockLimits,
}

impl Sizes {
    /// Of a body whose length is `size`, if that is known.
    pub(super) fn new(blocks: &Blocks, limits: BlockLimits, size: Option<u64>) -> Result<Self> {
        let largest = blocks.budget.largest_block().min(limits.max_bytes);
        if largest < limits.min_bytes {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                format!(
                    "the store takes blocks of at least {} bytes, and there is memory for {largest}; raise \
                     memory.transfer_bytes",
                    limits.min_bytes
                ),
            )
            .for_operator());
        }
        let mut sizes = Self {
            base: blocks.bytes.clamp(limits.min_bytes, largest),
            largest,
            limits,
        };
        if let Some(size) = size.filter(|size| *size > sizes.reach()) {
            let least = size.div_ceil(u64::from(limits.max_blocks).max(1));
            sizes.base = least.clamp(sizes.base, largest);
        }
        Ok(sizes)
    }

    /// The size of block `number`.
    pub(super) fn of(&self, number: u64) -> u64 {
        let step = (u64::from(self.limits.max_blocks) / SIZES).max(1);
        let doublings = match self.limits.alike {
            true => 0,
            false => u32::try_from(number / step).unwrap_or(u32::MAX),
        };
        self.base
            .saturating_mul(2_u64.saturating_pow(doublings))
            .min(self.largest)
    }

    /// Most blocks of one object.
    pub(super) fn max_blocks(&self) -> u32 {
        self.limits.max_blocks
    }

    /// How long a body can be.
    fn reach(&self) -> u64 {
        let (blocks, mut reach, mut number) = (u64::from(self.limits.max_blocks), 0_u64, 0);
        let step = (blocks / SIZES).max(1);
        while number < blocks {
            let alike = step.min(blocks - number);
            reach = reach.saturating_add(self.of(number).saturating_mul(alike));
            number += alike;
        }
        reach
    }
}

/// After this share of the blocks that a target allows, the size of a block doubles, so that a body of unknown length
/// reaches far: 8 MiB blocks that double four times carry 2.3 TiB in the 50,000 blocks of Azure.
const SIZES: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BlockLimits = BlockLimits {
        min_bytes: 1,
        max_bytes: 4_000 * 1024 * 1024,
        max_blocks: 50_000,
        alike: false,
    };

    #[test]
    fn block_sizes_double_and_stay_within_their_share() {
        let mib = 1024 * 1024;
        let sizes = |largest| Sizes {
            base: 8 * mib,
            largest,
            limits: LIMITS,
        };
        assert_eq!(sizes(1024 * mib).of(0), 8 * mib);
        assert_eq!(sizes(1024 * mib).of(10_000), 16 * mib);
        assert_eq!(sizes(1024 * mib).of(49_999), 128 * mib);
        assert_eq!(sizes(56 * mib).of(49_999), 56 * mib);
        assert_eq!(
            sizes(1024 * mib).reach(),
            10_000 * (8 + 16 + 32 + 64 + 128) * mib
        );
    }

    #[test]
    fn blocks_that_must_be_alike_are_so() {
        let sizes = Sizes {
            base: 8,
            largest: 1000,
            limits: BlockLimits {
                alike: true,
                ..LIMITS
            },
        };
        assert_eq!(sizes.of(49_999), 8);
        assert_eq!(sizes.reach(), 8 * 50_000);
    }
}
