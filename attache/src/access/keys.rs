//! Signing keys: made when they are first needed, the same for all processes that share a database.

use std::fmt;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::error::Result;

/// A key of 32 bytes.
pub type SigningKey = Zeroizing<[u8; 32]>;

/// Signs attache's own links, and the sessions of the page.
pub const LINKS: &str = "links";

/// Seals the names of uploads in parts that clients get.
pub const UPLOADS: &str = "uploads";

/// Keeps signing keys.
#[async_trait]
pub trait KeyStore: fmt::Debug + Send + Sync + 'static {
    /// The key of this name; a new one if there is none. Safe when several processes ask at once: one key wins.
    async fn key(&self, name: &'static str) -> Result<SigningKey>;

    /// Puts a new key in its place: what the old one has signed is good for nothing, for every process that asks after this.
    async fn replace(&self, name: &'static str) -> Result<()>;
}

/// A new key.
pub fn generate() -> SigningKey {
    Zeroizing::new(rand::random())
}
