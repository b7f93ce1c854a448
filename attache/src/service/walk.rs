//! Walks over everything that a store or a catalog has, as streams that own what they walk over.

use std::collections::VecDeque;

use futures::FutureExt as _;
use futures::channel::mpsc;
use futures::stream::{self, BoxStream, Stream, StreamExt as _};

use crate::attachment::Attachment;
use crate::catalog::Catalog;
use crate::error::Result;

/// Rows that are read at a time.
const PAGE: u32 = 1000;

/// What `walk` finds, then its error. A listing borrows its store, so a walk that owns the store is one future; what it sends comes
/// through a queue of one. Whoever listens no more has dropped the walk, too.
pub(super) fn walked<T, W>(walk: impl FnOnce(mpsc::Sender<T>) -> W) -> BoxStream<'static, Result<T>>
where
    T: Send + 'static,
    W: Future<Output = Result<()>> + Send + 'static,
{
    let (found, queue) = mpsc::channel(0);
    let end = walk(found).into_stream();
    let end = end.filter_map(async |outcome| outcome.err());
    stream::select(queue.map(Ok), end.map(Err)).boxed()
}

/// All ready rows in ascending order of their keys, a page in memory at a time.
pub(super) fn ready_rows(catalog: &dyn Catalog) -> impl Stream<Item = Result<Attachment>> + '_ {
    let start = (VecDeque::new(), None, false);
    stream::try_unfold(start, async |(mut page, mut after, mut last)| {
        if page.is_empty() && !last {
            page = catalog.list_by_key(after.as_ref(), PAGE).await?.into();
            last = page.len() < PAGE as usize;
        }
        let Some(row): Option<Attachment> = page.pop_front() else {
            return Ok(None);
        };
        after = Some(row.key.clone());
        Ok(Some((row, (page, after, last))))
    })
}
