//! What all connections share.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use stand_in::content::Retention;
use stand_in::scene::Scene;

use crate::account::ServiceAccount;
use crate::counts::Tally;
use crate::faults::Service;
use crate::op::Op;
use crate::state::Store;

/// Whose words the stand-in speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Amazon S3.
    #[default]
    S3,
    /// The XML API of Google Cloud Storage.
    Gcs,
}

/// How this store differs from the one that it stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    /// Conditions of writes are looked at.
    pub(crate) conditions: bool,
    /// Checksums that clients choose are compared, kept and shown.
    pub(crate) checksums: bool,
    /// Entity tags are MD5 sums, which they are not under a key of KMS.
    pub(crate) md5_etags: bool,
    /// A completed upload may be completed again.
    pub(crate) remembers_completed: bool,
    /// Least bytes of every part but the last.
    pub(crate) min_part_bytes: u64,
}

/// The account and the books.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) dialect: Dialect,
    pub(crate) region: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) retention: Retention,
    pub(crate) manners: Manners,
    pub(crate) store: Mutex<Store>,
    /// What the key has no right to do.
    pub(crate) denied: Mutex<BTreeSet<Op>>,
    pub(crate) scene: Arc<Scene<Op, Service>>,
    pub(crate) tally: Tally,
    pub(crate) account: ServiceAccount,
}

impl Core {
    pub(crate) fn store<T>(&self, with: impl FnOnce(&mut Store) -> T) -> T {
        with(&mut self.store.lock().expect("no holder of this lock panics"))
    }

    pub(crate) fn denied<T>(&self, with: impl FnOnce(&mut BTreeSet<Op>) -> T) -> T {
        with(&mut self.denied.lock().expect("no holder of this lock panics"))
    }

    /// Whether the key has the right to do this.
    pub(crate) fn may(&self, op: Op) -> bool {
        !self.denied(|denied| denied.contains(&op))
    }

    pub(crate) fn is_google(&self) -> bool {
        self.dialect == Dialect::Gcs
    }

    /// `x-amz-` or `x-goog-`: how the service's own headers begin.
    pub(crate) fn prefix(&self) -> &'static str {
        match self.dialect {
            Dialect::S3 => "x-amz-",
            Dialect::Gcs => "x-goog-",
        }
    }
}
