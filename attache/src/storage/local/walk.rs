//! All files of the folder, whoever put them there, in the order of their names.

use std::fmt;
use std::fs::{self, ReadDir};
use std::io;
use std::path::{Path, PathBuf};
use std::str::{FromStr, Utf8Error};

use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::place::{FACTS, MARKER, Place, TEMP, blocking, read_error};
use super::sorted::{Sorted, Sorting};
use crate::attachment::ObjectKey;
use crate::error::Result;
use crate::storage::listed::written_at;
use crate::storage::{ListedObject, Unfit};

pub(super) fn list_all(place: &Place, prefix: &str) -> BoxStream<'static, Result<ListedObject>> {
    let (root, prefix) = (place.0.clone(), prefix.to_owned());
    stream::try_unfold(None, move |names| {
        let (root, prefix) = (root.clone(), prefix.clone());
        async move {
            blocking(move || next_piece(&root, &prefix, names))
                .await
                .map_err(|error| read_error(error).during("list", "local storage"))
        }
    })
    .map_ok(|piece| stream::iter(piece.into_iter().map(Ok)))
    .try_flatten()
    .boxed()
}

/// How many objects a listing holds in memory.
const PIECE: usize = 1000;

/// Folders in folders that are walked: each is an open file meanwhile.
const MAX_DEPTH: usize = 64;

type Names = Sorted<Walked>;

/// Some objects, and the names that are left; walks the folder at first.
fn next_piece(
    root: &Path,
    prefix: &str,
    names: Option<Names>,
) -> io::Result<Option<(Vec<ListedObject>, Option<Names>)>> {
    let mut names = match names {
        Some(names) => names,
        None => walk(root, prefix)?,
    };
    let next = names.take(PIECE)?;
    if next.is_empty() {
        return Ok(None);
    }
    let mut piece = Vec::with_capacity(next.len());
    for walked in next {
        piece.extend(look(root, walked)?);
    }
    Ok(Some((piece, Some(names))))
}

/// What is known of a file; `None` if it is gone.
fn look(root: &Path, walked: Walked) -> io::Result<Option<ListedObject>> {
    let mut listed = ListedObject {
        name: walked.name,
        size: 0,
        modified_at: None,
        content_type: None,
        disposition: None,
        has_facts: false,
        unfit: (!walked.is_text).then_some(Unfit::Name),
    };
    if listed.unfit.is_some() {
        return Ok(Some(listed));
    }
    match fs::symlink_metadata(root.join(&listed.name)) {
        Ok(meta) => {
            listed.size = meta.len();
            listed.modified_at = meta.modified().ok().and_then(written_at);
            // Reading what is no file may never end, or lead elsewhere.
            listed.unfit = (!meta.is_file()).then_some(Unfit::Special);
        }
        // Deleted while we looked.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    if let Ok(key) = ObjectKey::recorded(&listed.name) {
        listed.has_facts = root.join(FACTS).join(format!("{key}.json")).exists();
    }
    Ok(Some(listed))
}

/// The names of all files whose name begins with `prefix`. Links are not followed.
fn walk(root: &Path, prefix: &str) -> io::Result<Names> {
    let mut sorting = Sorting::new(&root.join(TEMP));
    let mut open: Vec<(PathBuf, ReadDir)> = vec![(PathBuf::new(), fs::read_dir(root)?)];
    while let Some((folder, entries)) = open.last_mut() {
        let Some(entry) = entries.next() else {
            open.pop();
            continue;
        };
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if folder.as_os_str().is_empty() && OURS.iter().any(|ours| entry.file_name() == **ours) {
            continue;
        }
        let walked = Walked::new(&path);
        if entry.file_type()?.is_dir() {
            let within = format!("{}/", walked.name);
            if !within.starts_with(prefix) && !prefix.starts_with(&within) {
                continue;
            }
            if open.len() == MAX_DEPTH {
                return Err(io::Error::other(format!(
                    "{within} is deeper than {MAX_DEPTH} folders"
                )));
            }
            match fs::read_dir(root.join(&path)) {
                Ok(entries) => open.push((path, entries)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        } else if walked.name.starts_with(prefix) {
            sorting.push(walked)?;
        }
    }
    sorting.sorted()
}

/// What the store keeps for itself.
const OURS: [&str; 3] = [FACTS, TEMP, MARKER];

/// The name of a file below the root, with `/` between its parts.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Walked {
    name: String,
    /// It is UTF-8; otherwise `name` has replacements in it.
    is_text: bool,
}

impl Walked {
    fn new(path: &Path) -> Self {
        let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
        Self {
            name: parts.join("/"),
            is_text: path.to_str().is_some(),
        }
    }
}

/// On one line, whatever is in the name.
impl fmt::Display for Walked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_text { "t" } else { "-" };
        write!(f, "{mark}{}", utf8_percent_encode(&self.name, ON_A_LINE))
    }
}

impl FromStr for Walked {
    type Err = Utf8Error;

    fn from_str(line: &str) -> std::result::Result<Self, Utf8Error> {
        let name = line.get(1..).unwrap_or_default();
        Ok(Self {
            name: percent_decode_str(name).decode_utf8()?.into_owned(),
            is_text: line.starts_with('t'),
        })
    }
}

const ON_A_LINE: &AsciiSet = &CONTROLS.add(b'%');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_a_line_of_a_file() {
        for name in ["a/b c.txt", "ü%0A", "line\nbreak\r", "%"] {
            let walked = Walked {
                name: name.to_owned(),
                is_text: true,
            };
            let line = walked.to_string();
            assert!(!line.contains(['\n', '\r']), "{line:?}");
            assert_eq!(line.parse(), Ok(walked));
        }
    }
}
