//! How far a copy is, and what it changed.

use std::ops::AddAssign;

/// What a copy is about to do or has done, for whoever waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A process that was killed a moment ago may count as one that lives; it is waited for.
    Waiting,
    /// A pass has come so far.
    Copying {
        /// The first is 1.
        pass: u32,
        /// Rows of the source that were looked at in this pass.
        rows: u64,
        /// About as many there are.
        of: u64,
    },
    /// A pass has ended, and changed so much at the target.
    Passed {
        /// The first is 1.
        pass: u32,
        /// What it changed.
        changes: Changes,
    },
    /// Both sides are read again.
    Comparing {
        /// Rows that were read.
        rows: u64,
        /// About as many there are.
        of: u64,
    },
}

/// What was changed at a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Rows that were written, new ones or others than before.
    pub put: u64,
    /// Rows that were removed, as the source does not have them any more.
    pub removed: u64,
}

impl Changes {
    /// Rows that were changed.
    pub fn rows(&self) -> u64 {
        self.put + self.removed
    }
}

impl AddAssign for Changes {
    fn add_assign(&mut self, more: Self) {
        self.put += more.put;
        self.removed += more.removed;
    }
}
