//! Both sides, walked together once, and the target corrected.

use std::cmp::Ordering;
use std::collections::HashSet;

use futures::future::try_join;

use super::access;
use super::progress::{Changes, Progress};
use super::walk::{PAGE, Walk};
use crate::attachment::AttachmentId;
use crate::catalog::bulk::{Bulk, Row};
use crate::error::Result;

pub(super) async fn pass(
    source: &dyn Bulk,
    target: &dyn Bulk,
    pass: u32,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Changes> {
    // First of all, because by it the next run knows the target for a copy of this source.
    access::keys(source, target).await?;
    let of = source.totals().await?.attachments;
    let (mut from, mut to) = (Walk::new(source), Walk::new(target));
    let mut work = Work::new(target);
    let mut rows = 0;
    loop {
        try_join(from.fill(), to.fill()).await?;
        let side = match (from.peek(), to.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(theirs), Some(ours)) => theirs.id.cmp(&ours.id),
        };
        let theirs = side.is_le().then(|| from.take()).flatten();
        let ours = side.is_ge().then(|| to.take()).flatten();
        match (theirs, ours) {
            (Some(theirs), ours) => {
                rows += 1;
                if ours.as_ref() != Some(&theirs) {
                    work.put.push(theirs);
                }
            }
            (None, Some(ours)) => work.remove.push(ours.id),
            (None, None) => {}
        }
        if work.is_full() {
            work.flush().await?;
        }
        if rows % PAGE as u64 == 0 {
            progress(Progress::Copying { pass, rows, of });
        }
    }
    work.flush().await?;
    // Last, so that a token which was made after the first of these rows comes along; what was revoked is noticed either way.
    access::tokens(source, target).await?;
    access::access_keys(source, target).await?;
    access::sessions(source, target).await?;
    Ok(work.done)
}

/// What is to be written, up to a page of each kind.
struct Work<'a> {
    target: &'a dyn Bulk,
    put: Vec<Row>,
    remove: Vec<AttachmentId>,
    done: Changes,
}

impl<'a> Work<'a> {
    fn new(target: &'a dyn Bulk) -> Self {
        Self {
            target,
            put: Vec::new(),
            remove: Vec::new(),
            done: Changes::default(),
        }
    }

    fn is_full(&self) -> bool {
        self.put.len() >= PAGE || self.remove.len() >= PAGE
    }

    async fn flush(&mut self) -> Result<()> {
        let (mut put, remove) = (
            std::mem::take(&mut self.put),
            std::mem::take(&mut self.remove),
        );
        free_keys(&mut put);
        let more = Changes {
            put: put.len() as u64,
            removed: remove.len() as u64,
        };
        // What is removed first, because it may have the Idempotency-Key of what is put.
        if !remove.is_empty() {
            self.target.remove_rows(remove).await?;
        }
        if !put.is_empty() {
            self.target.put_rows(put).await?;
        }
        self.done += more;
        Ok(())
    }
}

/// Of two rows with one Idempotency-Key, which were read at different moments, the source has deleted the one that was read first: the
/// next pass removes it.
fn free_keys(rows: &mut [Row]) {
    let mut seen = HashSet::new();
    for row in rows.iter_mut().rev() {
        if let Some(key) = &row.idempotency_key
            && !seen.insert(key.clone())
        {
            row.idempotency_key = None;
        }
    }
}
