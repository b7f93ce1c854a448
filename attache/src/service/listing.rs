//! A page of what there is, and whether there is another one.

use super::Attache;
use crate::attachment::{Attachment, AttachmentId};
use crate::catalog::{Page, millis};
use crate::error::{Error, Result};

/// Most attachments of one page of a listing.
pub const MAX_PAGE: u32 = 1000;

/// A page of a listing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// What is on it, newest first.
    pub attachments: Vec<Attachment>,
    /// Where the next page begins, for [`Page::after`]; `None` on the last one. A page that is promised has something on it,
    /// unless that is deleted meanwhile.
    pub next: Option<(i64, AttachmentId)>,
}

impl Attache {
    /// Attachments, newest first.
    ///
    /// # Errors
    ///
    /// [`BadRequest`](crate::ErrorKind::BadRequest) if the page is larger than [`MAX_PAGE`] or empty.
    pub async fn list(&self, page: &Page) -> Result<Listing> {
        if !(1..=MAX_PAGE).contains(&page.limit) {
            return Err(Error::bad_request(format!("limit is 1 to {MAX_PAGE}")));
        }
        let (parts, started) = (self.parts(), self.start("list"));
        // One more shows whether there is a next page.
        let and_one = Page {
            limit: page.limit + 1,
            ..page.clone()
        };
        let outcome = self.0.catalog.list(&and_one).await;
        self.count("list", &parts, started, &outcome);
        let mut attachments = outcome?;
        let more = attachments.len() > page.limit as usize;
        attachments.truncate(page.limit as usize);
        let next = attachments.last().filter(|_| more).map(place);
        Ok(Listing { attachments, next })
    }
}

/// Where an attachment stands in the order of a listing.
fn place(attachment: &Attachment) -> (i64, AttachmentId) {
    (millis(attachment.created_at), attachment.id.clone())
}
