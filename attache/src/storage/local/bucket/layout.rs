//! Which file an object lies in.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::attachment::Hex;
use crate::private;
use crate::storage::bucket::Key;

/// What is ours, in the folder of a bucket; no key names it.
const OURS: &str = ".attache";

/// Most bytes of a name in the file systems that there are (`NAME_MAX`).
const MAX_NAME: usize = 255;

/// The folder of a bucket.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn ours(&self, folder: &str) -> PathBuf {
        self.root.join(OURS).join(folder)
    }

    /// Where files are written before they have their place.
    pub(super) fn temp(&self) -> PathBuf {
        self.ours("tmp")
    }

    /// Where uploads in parts are.
    pub(super) fn uploads(&self) -> PathBuf {
        self.ours("uploads")
    }

    /// Where objects are whose keys no file can have.
    pub(super) fn odd_folder(&self) -> PathBuf {
        self.ours("odd")
    }

    /// The file that a key names; `None` if no file can have this name. Never one outside of the folder, nor one of ours.
    pub(super) fn plain(&self, key: &Key) -> Option<PathBuf> {
        let names = || key.as_str().split('/');
        let good = names().all(is_plain) && !names().next().is_some_and(is_ours);
        good.then(|| self.root.join(key.as_str()))
    }

    /// Where the object lies if its key cannot name its file, or something else has that name.
    pub(super) fn odd(&self, key: &Key) -> PathBuf {
        self.odd_folder().join(hashed(key))
    }

    /// What is known of the object.
    pub(super) fn about(&self, key: &Key) -> PathBuf {
        let hash = hashed(key);
        self.ours("about").join(format!("{}.json", hash.display()))
    }

    /// Takes the turn of a key, against all processes on this folder. Whoever has it writes a few small files.
    pub(super) fn turn(&self, key: &Key) -> io::Result<std::fs::File> {
        let folder = self.ours("turns");
        private::make_folder(&folder)?;
        let hash = hashed(key);
        let stripe = hash.components().next();
        let stripe = stripe.map(|part| part.as_os_str().to_owned());
        let file = private::open_file(&folder.join(stripe.unwrap_or_default()))?;
        let end = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(std::fs::TryLockError::WouldBlock) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(std::fs::TryLockError::WouldBlock) => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(std::fs::TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

/// How long one waits for the turn of a key.
const PATIENCE: Duration = Duration::from_secs(30);

/// `ab/cdef…`: 256 folders, so that none has too many files.
fn hashed(key: &Key) -> PathBuf {
    let hash: [u8; 32] = Sha256::digest(key.as_str()).into();
    let hex = Hex(hash).to_string();
    let (folder, name) = hex.split_at(2);
    Path::new(folder).join(name)
}

/// Whether a name in the folder of a bucket may be that of what is ours: there are file systems to which its case says nothing.
pub(super) fn is_ours(name: &str) -> bool {
    name.eq_ignore_ascii_case(OURS)
}

fn is_plain(name: &str) -> bool {
    let reserved = |c: char| cfg!(windows) && (c < ' ' || r#"\:*?"<>|"#.contains(c));
    !name.is_empty()
        && name != "."
        && name != ".."
        && name.len() <= MAX_NAME
        && !name.contains(reserved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_leaves_the_folder_or_names_what_is_ours() {
        let layout = Layout::new(PathBuf::from("/bucket"));
        let plain = |key: &str| layout.plain(&key.parse().expect("a key"));
        assert_eq!(plain("a/b.png"), Some(PathBuf::from("/bucket/a/b.png")));
        assert_eq!(plain("..a"), Some(PathBuf::from("/bucket/..a")));
        let long = "a".repeat(256);
        for odd in [
            "..",
            "../a",
            "a/../b",
            "/a",
            "a//b",
            "a/",
            ".",
            "./a",
            ".attache/about/x",
            ".attache",
            ".Attache/tmp/x",
            ".ATTACHE",
            &long,
        ] {
            assert_eq!(plain(odd), None, "{odd}");
        }
    }
}
