//! An object that is a file of this machine: read a piece at a time, or handed over to the kernel.

use std::fs::{File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, Stream};

use crate::attachment::ByteRange;
use crate::error::{Error, Result};
use crate::transfer::body::Body;
use crate::transfer::budget::RELAY_BYTES;
use crate::transfer::handover::{CHUNK, FilePart, Handover};

/// How much is read at once. A relay holds one piece on its way to the client and one that was read ahead.
const PIECE: usize = RELAY_BYTES as usize / 2;

/// An object that is a file, opened.
#[derive(Clone, Debug)]
pub struct ObjectFile {
    file: Arc<File>,
    size: u64,
    version: FileVersion,
}

/// What changes when somebody writes to a file, or puts another one in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileVersion([i64; 7]);

impl FileVersion {
    #[cfg(unix)]
    fn of(about: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self([
            about.dev().cast_signed(),
            about.ino().cast_signed(),
            about.size().cast_signed(),
            about.mtime(),
            about.mtime_nsec(),
            about.ctime(),
            about.ctime_nsec(),
        ])
    }

    #[cfg(not(unix))]
    fn of(about: &Metadata) -> Self {
        let since = |at: io::Result<std::time::SystemTime>| {
            let since = at.ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
            i64::try_from(since.as_nanos()).ok()
        };
        let (made, changed) = (since(about.created()), since(about.modified()));
        let size = about.len().cast_signed();
        Self([size, made.unwrap_or(0), changed.unwrap_or(0), 0, 0, 0, 0])
    }
}

impl FileVersion {
    /// Whether somebody has written to the file since it was `before`. What became of its name and its rights, as when it is deleted, is not
    /// asked.
    fn was_written_after(self, before: Self) -> bool {
        self.0[..5] != before.0[..5]
    }
}

impl ObjectFile {
    /// `file`, which `about` was asked of.
    pub fn new(file: File, about: &Metadata) -> Self {
        Self {
            file: Arc::new(file),
            size: about.len(),
            version: FileVersion::of(about),
        }
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Tells whether it is still what it was.
    pub fn version(&self) -> FileVersion {
        self.version
    }

    /// The bytes of `range`, which lies within it. Nothing is read before it is asked for.
    pub fn bytes(&self, range: ByteRange) -> Body {
        Body::new(read(self.file.clone(), range))
    }

    /// As [`bytes`](Self::bytes), where chunks [stand for](Handover) what the system has in its cache, which is not read.
    ///
    /// A file that somebody has changed ends in an error instead of its next chunk, as its digest was checked before and is not again. What is
    /// on its way by then leaves as it is in the file: the chunk before, and what the kernel holds for the client, which it sends from the
    /// file's pages.
    ///
    /// The last byte of a chunk is looked for in the cache. Where what is in front of it was dropped alone, the thread that sends waits for
    /// the disk, as those of web servers do.
    pub fn handed_over(&self, range: ByteRange, handover: Arc<Handover>) -> Body {
        let version = self.version;
        let state = (self.file.clone(), handover, range.start);
        let chunks = stream::try_unfold(state, move |(file, handover, at)| async move {
            let changed = |about: Metadata| FileVersion::of(&about).was_written_after(version);
            // It was opened just now.
            if at > range.start && file.metadata().map_or(true, changed) {
                return Err(Error::internal("the file was changed while it was sent"));
            }
            let left = usize::try_from(range.end - at).unwrap_or(CHUNK);
            if left == 0 {
                return Ok(None);
            }
            let len = left.min(CHUNK);
            let chunk = match read_cached(&file, at + len as u64 - 1, &mut [0]) {
                Some(1) => handover.chunk(FilePart {
                    file: file.clone(),
                    at,
                    len,
                }),
                _ => piece(&file, at, left).await?,
            };
            let at = at + chunk.len() as u64;
            Ok(Some((chunk, (file, handover, at))))
        });
        Body::new(chunks)
    }
}

/// What the system has in its cache is read at once; for the rest a thread waits, and the system reads ahead meanwhile. Were
/// a thread asked for each piece, a relay of a gigabyte would take 1.1 s of CPU instead of 0.4.
pub(super) fn read(
    file: Arc<File>,
    range: ByteRange,
) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    stream::try_unfold((file, range.start), move |(file, at)| async move {
        let left = usize::try_from(range.end - at).unwrap_or(PIECE);
        if left == 0 {
            return Ok(None);
        }
        let piece = piece(&file, at, left).await?;
        let at = at + piece.len() as u64;
        Ok(Some((piece, (file, at))))
    })
}

/// Some of the `left` bytes at `at`.
async fn piece(file: &Arc<File>, at: u64, left: usize) -> Result<Bytes> {
    let mut piece = BytesMut::zeroed(left.min(PIECE));
    let (got, mut piece) = match read_cached(file, at, &mut piece) {
        Some(got) => (got, piece),
        None => {
            let file = file.clone();
            let waiting = move || Ok((read_waiting(&file, at, &mut piece)?, piece));
            blocking(waiting).await.map_err(read_error)?
        }
    };
    if got == 0 {
        return Err(Error::internal("the file became shorter while it was read"));
    }
    piece.truncate(got);
    Ok(piece.freeze())
}

/// Runs what may wait for a disk on a thread for that.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

pub(super) fn read_error(error: io::Error) -> Error {
    Error::internal("local storage: reading failed").with_source(error)
}

/// What the page cache holds of a piece (`RWF_NOWAIT`, preadv2(2)). `None` if it holds nothing, if the file system cannot
/// tell, and at an end of the file, which kernels 5.9 and 5.10 told of files that went on.
#[cfg(target_os = "linux")]
fn read_cached(file: &File, at: u64, piece: &mut [u8]) -> Option<usize> {
    use rustix::io::{ReadWriteFlags, preadv2};

    let mut pieces = [io::IoSliceMut::new(piece)];
    // Whatever error it is, the read that waits tells it better.
    let got = preadv2(file, &mut pieces, at, ReadWriteFlags::NOWAIT).ok()?;
    (got > 0).then_some(got)
}

#[cfg(not(target_os = "linux"))]
fn read_cached(_: &File, _: u64, _: &mut [u8]) -> Option<usize> {
    None
}

/// Nobody else reads this file at the same time.
fn read_waiting(mut file: &File, at: u64, piece: &mut [u8]) -> io::Result<usize> {
    file.seek(SeekFrom::Start(at))?;
    file.read(piece)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;
    use crate::transfer::handover::stands_in;

    /// A file of some pieces, and its bytes.
    fn file() -> (tempfile::NamedTempFile, Vec<u8>) {
        let bytes: Vec<u8> = (0..10 * PIECE + 5).map(|i| (i / 7) as u8).collect();
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), &bytes).expect("written");
        (file, bytes)
    }

    fn open(file: &tempfile::NamedTempFile, cached: bool) -> ObjectFile {
        let file = File::open(file.path()).expect("opened");
        if !cached {
            // A file system in memory ignores this, and the second pass is the first again.
            file.sync_all().expect("flushed");
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("dropped");
        }
        let about = file.metadata().expect("its length");
        ObjectFile::new(file, &about)
    }

    #[tokio::test]
    async fn what_the_cache_does_not_hold_is_read_as_well_as_what_it_holds() {
        let (file, bytes) = file();
        let range = ByteRange {
            start: 3,
            end: bytes.len() as u64 - 1,
        };
        for cached in [true, false] {
            let pieces: Vec<Bytes> = open(&file, cached)
                .bytes(range)
                .try_collect()
                .await
                .expect("read");
            assert!(pieces.iter().all(|piece| piece.len() <= PIECE));
            assert!(pieces.concat() == bytes[3..bytes.len() - 1], "{cached}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_changed_while_it_is_sent_ends_in_an_error_and_one_that_is_deleted_does_not()
     {
        use std::os::unix::fs::FileExt as _;

        let (_, bytes) = file();
        let folder = tempfile::tempdir().expect("a folder");
        for (change, ends_well) in [("delete", true), ("write", false), ("shorten", false)] {
            let path = folder.path().join(change);
            std::fs::write(&path, bytes.repeat(8)).expect("written");
            let made = std::fs::File::open(&path).expect("there");
            let about = made.metadata().expect("its length");
            let range = ByteRange {
                start: 0,
                end: about.len(),
            };
            assert!(about.len() > 2 * CHUNK as u64, "several chunks");
            // The clock of files has steps.
            let earlier = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
            made.set_modified(earlier).expect("set");
            let about = made.metadata().expect("its length");
            let mut body = ObjectFile::new(made, &about).handed_over(range, Arc::default());
            body.next().await.expect("a chunk").expect("as it was");
            let writer = std::fs::File::options()
                .write(true)
                .open(&path)
                .expect("there");
            match change {
                "delete" => std::fs::remove_file(&path).expect("gone"),
                "write" => writer.write_all_at(b"x", 5).expect("written"),
                _ => writer.set_len(CHUNK as u64 + 1).expect("shorter"),
            }
            let rest: Result<Vec<Bytes>> = body.try_collect().await;
            assert_eq!(rest.is_ok(), ends_well, "{change}: {rest:?}");
        }
    }

    #[tokio::test]
    async fn chunks_are_the_bytes_or_stand_for_the_part_of_the_file_that_is_next() {
        use std::os::unix::fs::FileExt as _;

        let (file, bytes) = file();
        let range = ByteRange {
            start: 3,
            end: bytes.len() as u64 - 1,
        };
        for cached in [true, false] {
            let handover = Arc::new(Handover::default());
            let mut body = open(&file, cached).handed_over(range, handover.clone());
            let mut sent = Vec::new();
            while let Some(chunk) = body.next().await {
                let chunk = chunk.expect("read");
                if !stands_in(&chunk) {
                    sent.extend_from_slice(&chunk);
                    continue;
                }
                let part = handover.next().expect("what it stands for");
                assert_eq!(part.len, chunk.len());
                let mut read = vec![0; part.len];
                part.file
                    .read_exact_at(&mut read, part.at)
                    .expect("it is there");
                sent.extend_from_slice(&read);
                handover.sent(part.len);
            }
            assert!(sent == bytes[3..bytes.len() - 1], "{cached}");
        }
    }
}
