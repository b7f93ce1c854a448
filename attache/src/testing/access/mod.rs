//! The promises of [`TokenStore`](crate::access::tokens::TokenStore), [`KeyStore`](crate::access::keys::KeyStore) and
//! [`AccessKeyStore`](crate::access::access_keys::AccessKeyStore), a function each.
//!
//! Each gets an empty database that several processes have open, and panics if it breaks what the function is named for.
#![allow(missing_docs, reason = "a promise is its name")]

pub mod access_keys;
pub mod keys;
pub mod tokens;

/// Binds tokens and keys to the promises of [`TokenStore`](crate::access::tokens::TokenStore),
/// [`KeyStore`](crate::access::keys::KeyStore) and [`AccessKeyStore`](crate::access::access_keys::AccessKeyStore): makes a module with a
/// test for each of them.
///
/// `access_suite!(name: open)` makes `mod name`. `open` is an async function or closure that opens an empty database as two
/// processes or more would, and returns [`Fresh::processes`](crate::testing::Fresh::processes), or an `Option` of it: `None` skips
/// the test. It is called once a test. Items beside the macro can be named in it.
///
/// ```
/// # fn main() {}
/// # use attache::catalog::sqlite::SqliteCatalog as Mine;
/// use std::sync::Arc;
///
/// use attache::access::sealed::SealedKeys;
/// use attache::testing::processes::Process;
/// use attache::testing::{Fresh, access_suite};
///
/// async fn open() -> Fresh<[Process]> {
///     let folder = tempfile::tempdir().expect("a temporary folder");
///     let mut processes = Vec::new();
///     for _ in 0..2 {
///         let mine = Mine::open(&folder.path().join("mine.db")).expect("one database");
///         let mine = Arc::new(mine);
///         let keys = SealedKeys::open(mine.clone(), folder.path().join("secrets.key"));
///         let keys = Arc::new(keys.await.expect("one key"));
///         processes.push(Process {
///             tokens: mine.clone(),
///             keys,
///             access_keys: mine,
///         });
///     }
///     Fresh::processes(processes).on(folder)
/// }
///
/// access_suite!(mine: open);
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! __access_suite {
    ($suite:ident: $open:expr) => {
        #[cfg(test)]
        mod $suite {
            #[allow(
                unused_imports,
                reason = "what opens a backend may name nothing of the file around it"
            )]
            use super::*;
            $crate::__promises! { access $open;
                tokens {
                    tokens_are_found_as_they_were_made_until_they_are_revoked
                    the_version_changes_with_what_any_process_makes_revokes_or_ends_and_not_with_use
                    ended_sessions_are_known_until_they_would_have_ended_by_themselves
                }
                keys {
                    a_key_is_the_same_for_everybody_until_it_is_replaced
                }
                access_keys {
                    access_keys_are_found_as_they_were_made_until_they_are_revoked
                    the_version_changes_with_every_access_key_that_any_process_makes_or_revokes
                    two_access_keys_at_a_time_have_one_name_however_many_are_made
                }
            }
        }
    };
}
