//! A URL that opens one blob.

use time::OffsetDateTime;

use super::inner::Inner;
use super::sign::Subject;
use crate::error::Result;
use crate::storage::{Grant, Offer};

impl Inner {
    /// Signs a URL for the blob `name`, whether it is there or not.
    pub(super) async fn offer(&self, name: &str, grant: &Grant) -> Result<Offer> {
        let target = &self.target;
        let skew = || self.transport.counts().skew().unwrap_or_default();
        let subject = Subject {
            account: &target.account,
            container: &target.container,
            public_endpoint: &target.public_endpoint,
            name,
            now: &|| OffsetDateTime::now_utc() + skew(),
        };
        let (url, expires_at) = self.signer.sign(&subject, grant).await?;
        Ok(Offer::SignedUrl {
            url,
            // For whoever asked, on their clock.
            expires_at: expires_at - skew(),
        })
    }
}
