//! A layer: files, folders and their owners, as a tar archive that depends on nothing else.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

/// By their paths, so that they come in one order: folders before what is in them.
#[derive(Debug, Default)]
pub(super) struct Layer {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    content: Content,
    mode: u32,
    /// User and group.
    owner: u32,
}

#[derive(Debug)]
enum Content {
    Folder,
    Text(&'static str),
    File(PathBuf),
}

impl Layer {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A folder, and those above it.
    pub(super) fn folder(&mut self, path: &str, mode: u32, owner: u32) {
        self.insert(path, Content::Folder, mode, owner);
    }

    /// A file of root's that everybody may read.
    pub(super) fn bytes(&mut self, path: &str, text: &'static str) {
        self.insert(path, Content::Text(text), 0o644, 0);
    }

    /// A file of root's with the content of another one.
    pub(super) fn file(&mut self, path: &str, from: &Path, mode: u32) {
        self.insert(path, Content::File(from.to_owned()), mode, 0);
    }

    fn insert(&mut self, path: &str, content: Content, mode: u32, owner: u32) {
        let path = path.trim_start_matches('/');
        for (end, _) in path.match_indices('/') {
            let above = &path[..end];
            if !self.entries.contains_key(above) {
                self.folder(above, 0o755, 0);
            }
        }
        let entry = Entry {
            content,
            mode,
            owner,
        };
        self.entries.insert(path.to_owned(), entry);
    }

    /// Writes the archive, all of it from `epoch`. An error names the file.
    pub(super) fn write(&self, to: impl Write, epoch: u64) -> io::Result<()> {
        let mut archive = Builder::new(to);
        for (path, entry) in &self.entries {
            entry
                .append(&mut archive, path, epoch)
                .map_err(|error| io::Error::new(error.kind(), format!("/{path}: {error}")))?;
        }
        archive.finish()
    }
}

impl Entry {
    fn append(&self, archive: &mut Builder<impl Write>, path: &str, epoch: u64) -> io::Result<()> {
        // Names of users and devices are left out: who unpacks it may have others.
        let mut header = Header::new_ustar();
        header.set_mode(self.mode);
        header.set_uid(self.owner.into());
        header.set_gid(self.owner.into());
        header.set_mtime(epoch);
        match &self.content {
            Content::Folder => {
                header.set_entry_type(EntryType::Directory);
                header.set_size(0);
                archive.append_data(&mut header, path, io::empty())
            }
            Content::Text(text) => {
                header.set_entry_type(EntryType::Regular);
                header.set_size(text.len() as u64);
                archive.append_data(&mut header, path, text.as_bytes())
            }
            Content::File(from) => {
                let file = File::open(from)?;
                header.set_entry_type(EntryType::Regular);
                header.set_size(file.metadata()?.len());
                archive.append_data(&mut header, path, file)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_what_is_in_them_whatever_the_order_of_the_calls() {
        let mut layer = Layer::new();
        layer.bytes("/var/lib/attache/x", "x");
        layer.folder("/var/lib/attache", 0o750, 7);
        layer.bytes("/var-x", "x");
        let mut bytes = Vec::new();
        layer.write(&mut bytes, 11).expect("written");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().expect("an archive").map(|entry| {
            let entry = entry.expect("an entry");
            let header = entry.header();
            assert_eq!(header.mtime().expect("a time"), 11);
            (
                entry.path().expect("a path").display().to_string(),
                header.mode().expect("a mode"),
                header.uid().expect("a user"),
            )
        });
        let entries: Vec<_> = entries.collect();
        let wanted = [
            ("var", 0o755, 0),
            ("var-x", 0o644, 0),
            ("var/lib", 0o755, 0),
            ("var/lib/attache", 0o750, 7),
            ("var/lib/attache/x", 0o644, 0),
        ];
        assert_eq!(
            entries,
            wanted.map(|(path, mode, user)| (path.to_owned(), mode, user))
        );
    }
}
