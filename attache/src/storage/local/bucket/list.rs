//! A page of a bucket: the folder is walked in the order of keys, from where the page before ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::about;
use super::found::{find, is_elsewhere};
use super::layout::{Layout, is_ours};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::bucket::{After, Key, ListPage, ListRequest};
use crate::storage::local::place::read_error;

/// Names of one folder that are held at a time: it may have more, and is then read again.
const NAMES: usize = 4096;

/// Folders within folders that are walked: a key of 1,024 bytes has no more.
const MAX_DEPTH: usize = 512;

pub(super) fn page(
    layout: &Layout,
    request: &ListRequest,
    gone: &dyn Fn() -> bool,
) -> io::Result<Result<ListPage>> {
    let mut request = request.clone();
    loop {
        let mut walk = Walk {
            request: &request,
            found: BTreeMap::new(),
            room: request.limit + 1,
            gone,
        };
        walk.folder(layout.root(), "", 0)?;
        let plain = std::mem::take(&mut walk.found);
        walk.odd(&layout.odd_folder())?;
        let mut items = plain;
        items.append(&mut walk.found);
        let more = items.len() > request.limit;
        let items: Vec<(String, bool)> = items.into_iter().take(request.limit).collect();
        let mut page = ListPage::default();
        if let (true, Some((last, _))) = (more, items.last()) {
            page.next = Some(After {
                key: last.clone(),
                token: None,
            });
        }
        for (text, is_prefix) in items {
            if is_prefix {
                page.prefixes.push(text);
                continue;
            }
            let Ok(key) = Key::try_from(text) else {
                continue;
            };
            match find(layout, &key) {
                // What was deleted since is not listed.
                Ok(found) => page.entries.extend(found.map(|found| found.entry(&key))),
                Err(error) => return Ok(Err(error)),
            }
        }
        // All of this page may be gone.
        match page.next {
            Some(next) if page.entries.is_empty() && page.prefixes.is_empty() => {
                request.after = Some(next);
            }
            next => return Ok(Ok(ListPage { next, ..page })),
        }
    }
}

/// The smallest keys and common prefixes that are wanted, and not more of them than there is room for.
struct Walk<'a> {
    request: &'a ListRequest,
    /// Whether it is a common prefix.
    found: BTreeMap<String, bool>,
    room: usize,
    gone: &'a dyn Fn() -> bool,
}

impl Walk<'_> {
    /// Takes in what is in a folder, in ascending order. `front`: what all keys in it begin with.
    fn folder(&mut self, path: &Path, front: &str, depth: usize) -> io::Result<()> {
        let mut last: Option<String> = None;
        loop {
            if (self.gone)() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let names = self.names(path, front, last.as_deref())?;
            let all = names.len() < NAMES;
            for name in names {
                if self.found.len() >= self.room {
                    return Ok(());
                }
                match name.strip_suffix('/') {
                    Some(folder) if depth < MAX_DEPTH => {
                        self.branch(&path.join(folder), &format!("{front}{name}"), depth)?;
                    }
                    Some(_) => {}
                    None => self.object(format!("{front}{name}")),
                }
                last = Some(name);
            }
            if all {
                return Ok(());
            }
        }
    }

    /// A folder within a folder: one common prefix, if it has an object at all, or what is in it.
    fn branch(&mut self, path: &Path, front: &str, depth: usize) -> io::Result<()> {
        match self.request.common_prefix(front) {
            Some(prefix) => {
                let behind = self
                    .request
                    .after
                    .as_ref()
                    .is_some_and(|after| prefix <= after.key.as_str());
                if !behind && !self.found.contains_key(prefix) && holds_an_object(path, depth)? {
                    self.found.insert(prefix.to_owned(), true);
                }
                Ok(())
            }
            None => self.folder(path, front, depth + 1),
        }
    }

    fn object(&mut self, key: String) {
        let Ok(key) = Key::try_from(key) else { return };
        if !self.request.wants(&key) {
            return;
        }
        match self.request.common_prefix(key.as_str()) {
            Some(prefix) => self.found.insert(prefix.to_owned(), true),
            None => self.found.insert(key.into(), false),
        };
    }

    /// The smallest names of a folder that may matter, in ascending order: of files, and with `/` of folders.
    fn names(&self, path: &Path, front: &str, last: Option<&str>) -> io::Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            // Removed since, or no folder any more.
            Err(error) if is_elsewhere(&error) && !front.is_empty() => return Ok(names),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            // A name that is not UTF-8 is no key.
            let Ok(mut name) = entry.file_name().into_string() else {
                continue;
            };
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            match (kind.is_file(), kind.is_dir()) {
                (true, _) => {}
                (_, true) if front.is_empty() && is_ours(&name) => continue,
                (_, true) => name.push('/'),
                // A link, a pipe.
                _ => continue,
            }
            if last.is_some_and(|last| name.as_str() <= last) || !self.may_matter(front, &name) {
                continue;
            }
            names.insert(name);
            if names.len() > NAMES {
                names.pop_last();
            }
        }
        Ok(names)
    }

    /// Whether a file or folder of this name is, or holds, something that is wanted.
    fn may_matter(&self, front: &str, name: &str) -> bool {
        let key = format!("{front}{name}");
        let prefix = self.request.prefix.as_str();
        let fits = key.starts_with(prefix) || (name.ends_with('/') && prefix.starts_with(&key));
        let after = self
            .request
            .after
            .as_ref()
            .map_or("", |after| after.key.as_str());
        // All in a folder begins with its name.
        let follows = key.as_str() > after || (name.ends_with('/') && after.starts_with(&key));
        fits && follows
    }

    /// Takes in objects that do not lie where their keys name.
    fn odd(&mut self, folder: &Path) -> io::Result<()> {
        for stripe in entries(folder)? {
            if (self.gone)() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            for object in entries(&stripe)? {
                let about = about_of(folder, &stripe, &object);
                let Some(key) = about
                    .and_then(|about| about::read(&about))
                    .map(|about| about.key)
                else {
                    continue;
                };
                self.object(key.into());
                if self.found.len() > self.room {
                    self.found.pop_last();
                }
            }
        }
        Ok(())
    }
}

/// The file of what is known of an odd object.
fn about_of(odd: &Path, stripe: &Path, object: &Path) -> Option<PathBuf> {
    let name = format!("{}.json", object.file_name()?.to_str()?);
    Some(
        odd.parent()?
            .join("about")
            .join(stripe.file_name()?)
            .join(name),
    )
}

fn entries(folder: &Path) -> io::Result<impl Iterator<Item = PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => Some(entries),
        Err(error) if is_elsewhere(&error) => None,
        Err(error) => return Err(error),
    };
    Ok(entries
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path())))
}

fn holds_an_object(folder: &Path, depth: usize) -> io::Result<bool> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_elsewhere(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let deeper = || depth < MAX_DEPTH && kind.is_dir();
        if kind.is_file() || (deeper() && holds_an_object(&entry.path(), depth + 1)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A folder that does not exist has no page.
pub(super) fn list_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::new(
            ErrorKind::ContainerNotFound,
            "the folder of the bucket does not exist",
        ),
        _ => read_error(error),
    }
}
