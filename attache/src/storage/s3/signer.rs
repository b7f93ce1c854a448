//! Who signs URLs, and those that were signed a moment ago.

use std::sync::{Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;

use crate::bounded::Bounded;
use crate::error::Result;
use crate::secret::SignedUrl;
use crate::storage::Grant;

/// URLs that are remembered, of about a kilobyte each.
const REMEMBERED: usize = 2048;

/// Makes URLs, and gives out again what it made: within a step the same grant gives the same URL, and one that many ask for is signed
/// once.
pub(crate) struct Signer {
    pub(super) by: SignedBy,
    /// By bucket and key, the last of each.
    made: Mutex<Bounded<String, Made>>,
}

/// Who signs.
pub(crate) enum SignedBy {
    /// The access key that requests are signed by.
    Requests,
    /// The private key of an account, in Google's way.
    Account(Box<dyn AccountSigner>),
    /// Nobody: a token signs nothing.
    Nobody,
}

/// Signs in the name of an account.
pub(crate) trait AccountSigner: Send + Sync {
    /// Who that is.
    fn email(&self) -> &str;

    /// RSA with SHA-256 (PKCS #1), in hexadecimal.
    ///
    /// # Errors
    ///
    /// [`Internal`](crate::ErrorKind::Internal) if the key cannot sign.
    fn sign(&self, text: &str) -> Result<String>;
}

pub(super) struct Made {
    pub(super) grant: Grant,
    pub(super) at: OffsetDateTime,
    /// The access key that it is signed by.
    pub(super) by: String,
    pub(super) url: SignedUrl,
}

impl Signer {
    pub(crate) fn new(by: SignedBy) -> Self {
        Self {
            by,
            made: Mutex::new(Bounded::new(REMEMBERED)),
        }
    }

    pub(super) fn made(&self) -> MutexGuard<'_, Bounded<String, Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
