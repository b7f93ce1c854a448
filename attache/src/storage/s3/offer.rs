//! A URL that opens one object, and one that creates it.

use super::dialect::Dialect;
use super::inner::Inner;
use super::put::MAX_PUT_BYTES;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Grant, Offer, PutGrant, PutOffer};

impl Inner {
    /// Signs a URL for the object `key`, whether it is there or not.
    pub(super) async fn offer(&self, key: &str, grant: &Grant) -> Result<Option<Offer>> {
        let signed = self.sign_get(key, grant).await?;
        Ok(signed.map(|(url, expires_at)| Offer::SignedUrl {
            url,
            // For whoever asked, on their clock.
            expires_at: expires_at - self.skew(),
        }))
    }

    /// Signs a URL that creates the object `key` by one PUT of exactly so many bytes. `None` if nobody can sign, or the store would replace
    /// what is there.
    pub(super) async fn offer_put(&self, key: &str, grant: &PutGrant) -> Result<Option<PutOffer>> {
        if grant.size > MAX_PUT_BYTES {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "one PUT brings at most {MAX_PUT_BYTES} bytes; larger files come by POST /v1/uploads"
                ),
            ));
        }
        if !self.place.conditional_writes {
            return Ok(None);
        }
        let size = grant.size.to_string();
        let mut headers = vec![("content-type", grant.content_type.clone())];
        // Clients send the length by themselves; that it is this one is signed.
        let mut signed = Vec::new();
        match self.place.dialect {
            Dialect::S3 => {
                headers.push(("if-none-match", "*".to_owned()));
                signed.push(("content-length", size));
            }
            Dialect::Gcs => {
                headers.push(("x-goog-if-generation-match", "0".to_owned()));
                headers.push(("x-goog-content-length-range", format!("{size},{size}")));
            }
        }
        if let Some(md5) = grant.md5 {
            headers.push(("content-md5", crate::base64::encode(md5)));
        }
        signed.extend(headers.iter().cloned());
        let made = self.sign_put(key, &signed, grant.lifetime).await?;
        Ok(made.map(|(url, expires_at)| PutOffer {
            url,
            headers,
            expires_at: expires_at - self.skew(),
        }))
    }
}
