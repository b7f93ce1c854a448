//! More names than memory should hold, in order.
//!
//! A file system tells names in no order. They are sorted in runs of bounded size, the runs are written to unnamed temporary
//! files, and read back merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::error::Error;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Names of one run: 8 MiB or so in memory.
pub(super) const RUN: usize = 64 * 1024;

/// What is sorted: text on one line.
pub(super) trait Name: Ord + Display + FromStr<Err: Error + Send + Sync + 'static> {}

impl<T: Ord + Display + FromStr<Err: Error + Send + Sync + 'static>> Name for T {}

/// Names that come in any order.
pub(super) struct Sorting<T> {
    temp: PathBuf,
    runs: Vec<Run<T>>,
    run: Vec<T>,
}

impl<T: Name> Sorting<T> {
    /// Runs that memory should not hold lie in `temp`.
    pub(super) fn new(temp: &Path) -> Self {
        Self {
            temp: temp.to_owned(),
            runs: Vec::new(),
            run: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, name: T) -> io::Result<()> {
        self.run.push(name);
        if self.run.len() == RUN {
            self.runs.push(Run::spill(&mut self.run, &self.temp)?);
        }
        Ok(())
    }

    pub(super) fn sorted(mut self) -> io::Result<Sorted<T>> {
        self.run.sort_unstable();
        self.runs.push(Run::Held(self.run.into_iter()));
        let mut sorted = Sorted {
            next: BinaryHeap::with_capacity(self.runs.len()),
            runs: self.runs,
        };
        for run in 0..sorted.runs.len() {
            sorted.refill(run)?;
        }
        Ok(sorted)
    }
}

/// Names in ascending order: runs that are merged.
pub(super) struct Sorted<T> {
    runs: Vec<Run<T>>,
    /// The next name of each run that has one.
    next: BinaryHeap<Reverse<(T, usize)>>,
}

enum Run<T> {
    Held(std::vec::IntoIter<T>),
    Spilled(BufReader<File>),
}

impl<T: Name> Sorted<T> {
    /// The next `limit` names, or fewer at the end.
    pub(super) fn take(&mut self, limit: usize) -> io::Result<Vec<T>> {
        let mut names = Vec::with_capacity(limit.min(RUN));
        while names.len() < limit {
            let Some(Reverse((name, run))) = self.next.pop() else {
                break;
            };
            names.push(name);
            self.refill(run)?;
        }
        Ok(names)
    }

    fn refill(&mut self, run: usize) -> io::Result<()> {
        if let Some(name) = self.runs[run].next()? {
            self.next.push(Reverse((name, run)));
        }
        Ok(())
    }
}

impl<T: Name> Run<T> {
    /// Writes a run that is full; `run` is empty after it.
    fn spill(run: &mut Vec<T>, temp: &Path) -> io::Result<Self> {
        run.sort_unstable();
        // Without a name: gone when it is closed, however that happens.
        let mut file = BufWriter::new(tempfile::tempfile_in(temp)?);
        for name in run.drain(..) {
            // A name holds no line end.
            writeln!(file, "{name}")?;
        }
        let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(Self::Spilled(BufReader::new(file)))
    }

    fn next(&mut self) -> io::Result<Option<T>> {
        match self {
            Self::Held(keys) => Ok(keys.next()),
            Self::Spilled(file) => {
                let mut line = String::new();
                if file.read_line(&mut line)? == 0 {
                    return Ok(None);
                }
                let name = line.trim_end_matches('\n').parse();
                name.map(Some).map_err(io::Error::other)
            }
        }
    }
}
