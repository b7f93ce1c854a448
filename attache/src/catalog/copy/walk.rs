//! A catalog row by row, in the order of ids, read a page at a time.

use std::collections::VecDeque;

use crate::attachment::AttachmentId;
use crate::catalog::bulk::{Bulk, Row};
use crate::error::Result;

/// Rows of a page: enough that neither a flush of the log nor a round trip counts, and less than 1 MB.
pub(super) const PAGE: usize = 500;

pub(super) struct Walk<'a> {
    of: &'a dyn Bulk,
    page: VecDeque<Row>,
    after: Option<AttachmentId>,
    is_over: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(of: &'a dyn Bulk) -> Self {
        Self {
            of,
            page: VecDeque::new(),
            after: None,
            is_over: false,
        }
    }

    /// Reads the next page if the last one is used up.
    pub(super) async fn fill(&mut self) -> Result<()> {
        if !self.page.is_empty() || self.is_over {
            return Ok(());
        }
        let limit = u32::try_from(PAGE).unwrap_or(u32::MAX);
        let page = self.of.rows(self.after.as_ref(), limit).await?;
        match page.last() {
            Some(last) => self.after = Some(last.id.clone()),
            None => self.is_over = true,
        }
        self.page = page.into();
        Ok(())
    }

    /// The next row, once it was [read](Self::fill).
    pub(super) fn peek(&self) -> Option<&Row> {
        self.page.front()
    }

    pub(super) fn take(&mut self) -> Option<Row> {
        self.page.pop_front()
    }
}
