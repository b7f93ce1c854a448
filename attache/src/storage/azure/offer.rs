//! A URL that opens one blob, and one that creates it.

use time::OffsetDateTime;

use super::inner::Inner;
use super::sign::Subject;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Grant, Offer, PutGrant, PutOffer};

/// The most that one Put Blob may have (<https://learn.microsoft.com/rest/api/storageservices/put-blob#remarks>).
const MAX_PUT_BYTES: u64 = 5000 * 1024 * 1024;

impl Inner {
    /// Signs a URL for the blob `name`, whether it is there or not.
    pub(super) async fn offer(&self, name: &str, grant: &Grant) -> Result<Offer> {
        let now = || OffsetDateTime::now_utc() + self.skew();
        let (url, expires_at) = self.signer.sign(&self.subject(name, &now), grant).await?;
        Ok(Offer::SignedUrl {
            url,
            // For whoever asked, on their clock.
            expires_at: expires_at - self.skew(),
        })
    }

    /// Signs a URL that creates the blob `name` by one Put Blob. With the permission `c` alone a blob that is there is not replaced
    /// (<https://learn.microsoft.com/rest/api/storageservices/create-user-delegation-sas#specify-permissions>).
    pub(super) async fn offer_put(&self, name: &str, grant: &PutGrant) -> Result<PutOffer> {
        if grant.size > MAX_PUT_BYTES {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "one PUT brings at most {MAX_PUT_BYTES} bytes; larger files come by POST /v1/uploads"
                ),
            ));
        }
        let now = || OffsetDateTime::now_utc() + self.skew();
        let subject = self.subject(name, &now);
        let (url, expires_at) = self.signer.sign_put(&subject, grant.lifetime).await?;
        let mut headers = vec![
            ("x-ms-blob-type", "BlockBlob".to_owned()),
            ("Content-Type", grant.content_type.clone()),
        ];
        if let Some(md5) = grant.md5 {
            headers.push(("Content-MD5", crate::base64::encode(md5)));
        }
        Ok(PutOffer {
            url,
            headers,
            expires_at: expires_at - self.skew(),
        })
    }

    fn skew(&self) -> time::Duration {
        self.transport.counts().skew().unwrap_or_default()
    }

    fn subject<'a>(
        &'a self,
        name: &'a str,
        now: &'a (dyn Fn() -> OffsetDateTime + Sync),
    ) -> Subject<'a> {
        let target = &self.target;
        Subject {
            account: &target.account,
            container: &target.container,
            public_endpoint: &target.public_endpoint,
            name,
            now,
        }
    }
}
