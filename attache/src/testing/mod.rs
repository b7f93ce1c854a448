//! The promises of [`Storage`], [`Multipart`](crate::storage::Multipart), [`Bucket`], [`Catalog`],
//! [`TokenStore`](crate::access::tokens::TokenStore), [`KeyStore`](crate::access::keys::KeyStore) and
//! [`AccessKeyStore`](crate::access::access_keys::AccessKeyStore), as tests for a backend of your own (feature `testing`).
//!
//! A trait of attache states what every implementation promises; here each promise is a case, named as the promise. Bind a backend
//! with a closure or a function that opens an empty one, for each case another:
//!
//! ```
//! # fn main() {}
//! # use attache::storage::memory::MemoryStorage as Mine;
//! use attache::testing::{Fresh, storage_suite};
//!
//! storage_suite!(mine: async || Fresh::storage(Mine::default()), multipart);
//! ```
//!
//! `cargo test` then says `mine::put_commits_nothing_when_the_body_fails ... ok`, and so on. A store that stands on something
//! hands it to [`Fresh::on`], which keeps it until the case is over; one that needs what is not there today is `None`, and is
//! skipped:
//!
//! ```
//! # fn main() {}
//! use attache::storage::Storage;
//! use attache::storage::local::{LocalConfig, LocalStorage};
//! use attache::testing::{Fresh, storage_suite};
//!
//! async fn open() -> Option<Fresh<dyn Storage>> {
//!     let folder = tempfile::tempdir().ok()?;
//!     let root = folder.path().join("objects");
//!     let storage = LocalStorage::open(&LocalConfig { root }).expect("a writable folder");
//!     Some(Fresh::storage(storage).on(folder))
//! }
//!
//! storage_suite!(on_disk: open, multipart);
//! ```
//!
//! Cases run on a runtime of Tokio with two threads, which they bring along, and one that takes longer than [`LIMIT`] fails.
//!
//! [`storage_suite!`], [`bucket_suite!`], [`catalog_suite!`] and [`access_suite!`] say more. Promises are plain functions, too: a test of your own can ask
//! one of them of what is [`Fresh`] in another way. What they are written in is in [`objects`], [`buckets`], [`rows`] and [`processes`].

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::Catalog;
use crate::storage::Storage;
use crate::storage::bucket::Bucket;
use processes::Process;

pub mod access;
pub mod bucket;
pub mod buckets;
pub mod catalog;
pub mod objects;
pub mod processes;
pub mod rows;
pub mod storage;

#[doc(inline)]
pub use crate::__access_suite as access_suite;
#[doc(inline)]
pub use crate::__bucket_suite as bucket_suite;
#[doc(inline)]
pub use crate::__catalog_suite as catalog_suite;
#[doc(inline)]
pub use crate::__storage_suite as storage_suite;

/// How long one promise may take to be kept: far more than any needs, so that a case that hangs says which it is.
pub const LIMIT: Duration = Duration::from_secs(120);

/// What a promise is asked of: new, empty, and used by nobody else. With what it stands on.
pub struct Fresh<T: ?Sized> {
    subject: Arc<T>,
    ground: Vec<Box<dyn Any + Send>>,
}

impl Fresh<dyn Storage> {
    /// An empty store.
    pub fn storage(storage: impl Storage) -> Self {
        Self::new(Arc::new(storage))
    }
}

impl Fresh<dyn Bucket> {
    /// An empty bucket.
    pub fn bucket(bucket: impl Bucket) -> Self {
        Self::new(Arc::new(bucket))
    }
}

impl Fresh<dyn Catalog> {
    /// An empty catalog.
    pub fn catalog(catalog: impl Catalog) -> Self {
        Self::new(Arc::new(catalog))
    }
}

impl Fresh<[Process]> {
    /// An empty database of tokens and keys, as two processes or more have it open.
    pub fn processes(processes: impl IntoIterator<Item = Process>) -> Self {
        Self::new(processes.into_iter().collect())
    }
}

impl<T: ?Sized> Fresh<T> {
    /// As [`storage`](Fresh::storage), [`bucket`](Fresh::bucket) and [`catalog`](Fresh::catalog), for what is shared already.
    pub fn new(subject: Arc<T>) -> Self {
        let ground = Vec::new();
        Self { subject, ground }
    }

    /// Keeps `ground`, a temporary folder or a server for tests, until the case is over.
    #[must_use]
    pub fn on(mut self, ground: impl Any + Send) -> Self {
        self.ground.push(Box::new(ground));
        self
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Fresh<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fresh").field(&self.subject).finish()
    }
}

/// Runs one case: asks `promise` of what `open` opens, if it opens anything.
///
/// # Panics
///
/// If the promise is broken.
#[doc(hidden)]
pub fn keep<T: ?Sized, O: Into<Option<Fresh<T>>>>(
    open: impl AsyncFnOnce() -> O,
    promise: impl AsyncFnOnce(&Arc<T>),
) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let case = async {
            if let Some(fresh) = open().await.into() {
                promise(&fresh.subject).await;
            }
        };
        let kept = tokio::time::timeout(LIMIT, case).await;
        assert!(kept.is_ok(), "not kept within {LIMIT:?}");
    });
}

/// A test for each promise of a suite.
#[doc(hidden)]
#[macro_export]
macro_rules! __promises {
    ($suite:ident $open:expr; $($about:ident { $($promise:ident)* })*) => {
        $($(
            #[test]
            fn $promise() {
                $crate::testing::keep($open, $crate::testing::$suite::$about::$promise);
            }
        )*)*
    };
}
