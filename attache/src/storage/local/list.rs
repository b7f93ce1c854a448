//! All objects of a folder, in the order of their keys.
//!
//! A file system tells names in no order. They are sorted in runs of bounded size, the runs are written to unnamed temporary
//! files, and read back merged: each folder is read once, and memory does not grow with it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Seek as _, Write as _};
use std::path::Path;

use crate::attachment::ObjectKey;

/// Keys of one run: 8 MiB or so in memory.
const RUN: usize = 64 * 1024;

/// The keys in `folder` of `root` that follow `after`, in ascending order. Reads the folder.
pub(super) fn keys(
    root: &Path,
    folder: &str,
    after: Option<&ObjectKey>,
    temp: &Path,
) -> io::Result<Keys> {
    let mut runs = Vec::new();
    let mut run = Vec::new();
    for entry in fs::read_dir(root.join(folder))? {
        let name = entry?.file_name();
        let key = name
            .to_str()
            .and_then(|name| format!("{folder}/{name}").parse::<ObjectKey>().ok());
        let Some(key) = key.filter(|key| after.is_none_or(|after| key > after)) else {
            continue;
        };
        run.push(key);
        if run.len() == RUN {
            runs.push(Run::spill(&mut run, temp)?);
        }
    }
    run.sort_unstable();
    runs.push(Run::Held(run.into_iter()));
    let mut keys = Keys {
        next: BinaryHeap::with_capacity(runs.len()),
        runs,
    };
    for run in 0..keys.runs.len() {
        keys.refill(run)?;
    }
    Ok(keys)
}

/// Runs that are merged.
pub(super) struct Keys {
    runs: Vec<Run>,
    /// The next key of each run that has one.
    next: BinaryHeap<Reverse<(ObjectKey, usize)>>,
}

enum Run {
    Held(std::vec::IntoIter<ObjectKey>),
    Spilled(BufReader<File>),
}

impl Keys {
    /// The next `limit` keys, or fewer at the end.
    pub(super) fn take(&mut self, limit: usize) -> io::Result<Vec<ObjectKey>> {
        let mut keys = Vec::with_capacity(limit.min(RUN));
        while keys.len() < limit {
            let Some(Reverse((key, run))) = self.next.pop() else {
                break;
            };
            keys.push(key);
            self.refill(run)?;
        }
        Ok(keys)
    }

    fn refill(&mut self, run: usize) -> io::Result<()> {
        if let Some(key) = self.runs[run].next()? {
            self.next.push(Reverse((key, run)));
        }
        Ok(())
    }
}

impl Run {
    /// Writes a run that is full; `run` is empty after it.
    fn spill(run: &mut Vec<ObjectKey>, temp: &Path) -> io::Result<Self> {
        run.sort_unstable();
        // Without a name: gone when it is closed, however that happens.
        let mut file = BufWriter::new(tempfile::tempfile_in(temp)?);
        for key in run.drain(..) {
            // A key holds no line end.
            writeln!(file, "{key}")?;
        }
        let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(Self::Spilled(BufReader::new(file)))
    }

    fn next(&mut self) -> io::Result<Option<ObjectKey>> {
        match self {
            Self::Held(keys) => Ok(keys.next()),
            Self::Spilled(file) => {
                let mut line = String::new();
                if file.read_line(&mut line)? == 0 {
                    return Ok(None);
                }
                line.trim_end().parse().map(Some).map_err(io::Error::other)
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
            File::create(folder.join(name)).expect("made");
        }
        File::create(folder.join("not a key")).expect("made");
        let all = |after: Option<&str>| {
            let after = after.map(|key| key.parse().expect("a key"));
            let mut keys = keys(root.path(), "user", after.as_ref(), root.path()).expect("read");
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
