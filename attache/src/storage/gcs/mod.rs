//! Objects in one bucket of Google Cloud Storage, by its XML API: [`S3Storage`] with other words, and who we are at Google.

mod account;
mod config;
mod credential;

use bytes::Bytes;

pub use config::{GcsConfig, GcsCredentialKind};

use super::s3::authority::Authority;
use super::s3::signer::SignedBy;
use super::s3::{Built, MIN_PART_BYTES, S3Storage, open_signed_url};
use crate::error::Result;
use crate::http::ClientConfig;
use crate::secret::SignedUrl;

/// Builds the client, whose connections behave as `client` says; talks to nobody yet.
///
/// # Errors
///
/// [`Misconfigured`](crate::ErrorKind::Misconfigured), naming every key that is missing or wrong.
pub fn open(config: &GcsConfig, client: &ClientConfig) -> Result<S3Storage> {
    open_with_parts_from(config, client, MIN_PART_BYTES)
}

/// As [`open`], where an upload may be cut into pieces of fewer than [`MIN_PART_BYTES`], so that it needs less memory: Google makes
/// objects of pieces of any size.
///
/// # Errors
///
/// As [`open`].
pub fn open_with_parts_from(
    config: &GcsConfig,
    client: &ClientConfig,
    min_part_bytes: u64,
) -> Result<S3Storage> {
    let (place, account) = config.checked()?;
    let lease = credential::lease(config, account.as_ref(), client)?;
    let signed_by = match account {
        Some(account) => match account.signer() {
            Some(signer) => SignedBy::Account(Box::new(signer)),
            None => SignedBy::Nobody,
        },
        None => SignedBy::Nobody,
    };
    let built = Built {
        place,
        authority: Authority::Token(lease),
        signed_by,
        min_part_bytes,
    };
    built.open(config.ca_pem.as_deref(), client)
}

impl GcsConfig {
    /// Opens a URL that this store signed as a browser would, without a credential, and reads `most` bytes at most.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub(in crate::storage) async fn open_signed_url(
        &self,
        client: &ClientConfig,
        url: &SignedUrl,
        most: usize,
    ) -> Result<Bytes> {
        let (place, _) = self.checked()?;
        open_signed_url(&place, self.ca_pem.as_deref(), client, url, most).await
    }
}
