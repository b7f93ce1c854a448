//! All objects of a folder, in the order of their keys: each folder is read once, and memory does not grow with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use futures::stream::{self, BoxStream, StreamExt};

use super::place::{FACTS, FOLDERS, Place, TEMP, blocking, read_error};
use super::sidecar::{info, read_sidecar};
use super::sorted::{Sorted, Sorting};
use crate::attachment::ObjectKey;
use crate::error::Result;
use crate::storage::ObjectInfo;

pub(super) fn list(
    place: &Place,
    after: Option<ObjectKey>,
) -> BoxStream<'static, Result<ObjectInfo>> {
    let root = place.0.clone();
    let folders: Vec<&'static str> = FOLDERS
        .into_iter()
        .filter(|folder| {
            let of = after
                .as_ref()
                .and_then(|key| key.as_str().split('/').next());
            of.is_none_or(|of| *folder >= of)
        })
        .collect();
    // Folders ascend, and each is read when its turn comes.
    stream::iter(folders)
        .map(move |folder| {
            let (root, after) = (root.clone(), after.clone());
            stream::try_unfold(None, move |keys| {
                next_piece(root.clone(), folder, after.clone(), keys)
            })
        })
        .flatten()
        .map(|piece: Result<Vec<ObjectInfo>>| match piece {
            Ok(piece) => stream::iter(piece.into_iter().map(Ok)).boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        })
        .flatten()
        .boxed()
}

/// How many objects a listing holds in memory.
const PIECE: usize = 1000;

/// Some objects of a folder, and the keys that are left; reads the folder at first.
async fn next_piece(
    root: PathBuf,
    folder: &'static str,
    after: Option<ObjectKey>,
    keys: Option<Sorted<ObjectKey>>,
) -> Result<Option<(Vec<ObjectInfo>, Option<Sorted<ObjectKey>>)>> {
    blocking(move || {
        let mut keys = match keys {
            Some(keys) => keys,
            None => read_keys(&root, folder, after.as_ref(), &root.join(TEMP))?,
        };
        let next = keys.take(PIECE)?;
        if next.is_empty() {
            return Ok(None);
        }
        let mut piece = Vec::with_capacity(next.len());
        for key in next {
            match fs::symlink_metadata(root.join(key.as_str())) {
                // What is not a file was not stored by us; reading it may never end, or lead elsewhere.
                Ok(meta) if meta.is_file() => {
                    let sidecar = read_sidecar(&root.join(FACTS).join(format!("{key}.json")));
                    piece.push(info(key, meta.len(), sidecar));
                }
                Ok(_) => tracing::warn!(%key, "skipped: not a regular file"),
                // Deleted while we looked.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some((piece, Some(keys))))
    })
    .await
    .map_err(|error| read_error(error).during("list", "local storage"))
}

/// The keys in `folder` of `root` that follow `after`, in ascending order. Reads the folder.
fn read_keys(
    root: &Path,
    folder: &str,
    after: Option<&ObjectKey>,
    temp: &Path,
) -> io::Result<Sorted<ObjectKey>> {
    let mut sorting = Sorting::new(temp);
    for entry in fs::read_dir(root.join(folder))? {
        let name = entry?.file_name();
        let key = name
            .to_str()
            .and_then(|name| format!("{folder}/{name}").parse::<ObjectKey>().ok());
        let Some(key) = key.filter(|key| after.is_none_or(|after| key > after)) else {
            continue;
        };
        sorting.push(key)?;
    }
    sorting.sorted()
}

#[cfg(test)]
mod tests {
    use super::super::sorted::RUN;
    use super::*;

    #[test]
    fn keys_of_many_runs_come_in_order_each_once() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("user");
        fs::create_dir(&folder).expect("made");
        let count = 2 * RUN + 100;
        for n in 0..count {
            // In no order.
            let name = format!("k{:06}", (n * 7919) % count);
            fs::File::create(folder.join(name)).expect("made");
        }
        fs::File::create(folder.join("not a key")).expect("made");
        let all = |after: Option<&str>| {
            let after = after.map(|key| key.parse().expect("a key"));
            let mut keys =
                read_keys(root.path(), "user", after.as_ref(), root.path()).expect("read");
            let mut found = Vec::new();
            loop {
                let piece = keys.take(1000).expect("read");
                if piece.is_empty() {
                    return found;
                }
                found.extend(piece.into_iter().map(|key| key.to_string()));
            }
        };
        let expected: Vec<String> = (0..count).map(|n| format!("user/k{n:06}")).collect();
        assert!(all(None) == expected);
        assert!(all(Some("user/k000099")) == expected[100..]);
    }
}
