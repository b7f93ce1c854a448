//! Which files were found to be what the catalog says a while ago, so that the kernel may send them unread.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::attachment::AttachmentId;
use crate::bounded::Bounded;
use crate::storage::FileVersion;

/// How long it is believed of a file that nobody has written to. What goes wrong on a disk is seen when the file is read from it again, which is
/// when the page cache dropped it; this is how long that goes unseen at most.
const BELIEVED_FOR: Duration = Duration::from_secs(10 * 60);

/// How many are remembered: some 150 bytes each, 2.5 MB in all.
const REMEMBERED: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Checked(Mutex<Bounded<AttachmentId, (FileVersion, Instant)>>);

impl Default for Checked {
    fn default() -> Self {
        Self(Mutex::new(Bounded::new(REMEMBERED)))
    }
}

impl Checked {
    /// Whether the bytes of this version had their checksum when they were last read, and that was a short while ago.
    pub(super) fn is(&self, id: &AttachmentId, version: FileVersion) -> bool {
        let checked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        checked
            .get(id)
            .is_some_and(|(checked, at)| *checked == version && at.elapsed() < BELIEVED_FOR)
    }

    /// The bytes of this version have their checksum.
    pub(super) fn note(&self, id: AttachmentId, version: FileVersion) {
        let mut checked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        checked.insert(id, (version, Instant::now()));
    }
}
