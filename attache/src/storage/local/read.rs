//! How an object is read: its bytes a piece at a time, from the page cache where it has them.

use std::fs;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, Stream};

use super::place::{Place, blocking, read_error};
use super::sidecar::{info, read_sidecar};
use crate::attachment::{ByteRange, ObjectKey};
use crate::error::{Error, Result};
use crate::storage::{Object, absent, resolve_range};
use crate::transfer::body::Body;
use crate::transfer::budget::RELAY_BYTES;

/// How much is read at once. A relay holds one piece on its way to the client and one that was read ahead.
const PIECE: usize = RELAY_BYTES as usize / 2;

pub(super) async fn get(
    place: &Place,
    key: &ObjectKey,
    range: Option<ByteRange>,
) -> Result<Object> {
    let (path, facts_path) = (place.path(key), place.facts_path(key));
    let opened = blocking(move || {
        let (file, size) = open_object(&path)?;
        Ok((file, size, read_sidecar(&facts_path)))
    })
    .await;
    let (file, size, sidecar) = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => absent(key),
        _ => read_error(error).during("get", key.as_str()),
    })?;
    let range = resolve_range(range, size)?;
    Ok(Object {
        info: info(key.clone(), size, sidecar),
        range,
        body: Body::new(read(file, range)),
    })
}

/// Opens an object for reading: a regular file. What is not one was not stored by us, and is not an object: a link is not followed,
/// and nobody waits for something to be written into a pipe.
pub(super) fn open_object(path: &Path) -> io::Result<(fs::File, u64)> {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        options.custom_flags(i32::try_from(flags.bits()).unwrap_or_default());
    }
    let file = match options.open(path) {
        // A link, by the flag above.
        #[cfg(unix)]
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(io::ErrorKind::NotFound.into());
        }
        outcome => outcome?,
    };
    let meta = file.metadata()?;
    match meta.is_file() {
        true => Ok((file, meta.len())),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}

/// `range` of `file`, which lies within it. Nothing is read before it is asked for.
///
/// What the system has in its cache is read at once; for the rest a thread waits, and the system reads ahead meanwhile. Were
/// a thread asked for each piece, a relay of a gigabyte would take 1.1 s of CPU instead of 0.4.
pub(super) fn read(
    file: File,
    range: ByteRange,
) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    stream::try_unfold(
        (Arc::new(file), range.start),
        move |(file, at)| async move {
            let left = range.end - at;
            if left == 0 {
                return Ok(None);
            }
            let mut piece = BytesMut::zeroed(usize::try_from(left).unwrap_or(PIECE).min(PIECE));
            let (got, mut piece) = match read_cached(&file, at, &mut piece) {
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
            Ok(Some((piece.freeze(), (file, at + got as u64))))
        },
    )
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

    #[tokio::test]
    async fn what_the_cache_does_not_hold_is_read_as_well_as_what_it_holds() {
        let bytes: Vec<u8> = (0..10 * PIECE + 5).map(|i| (i / 7) as u8).collect();
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), &bytes).expect("written");
        let range = ByteRange {
            start: 3,
            end: bytes.len() as u64 - 1,
        };
        for cached in [true, false] {
            let file = File::open(file.path()).expect("opened");
            if !cached {
                // A file system in memory ignores this, and the second pass is the first again.
                file.sync_all().expect("flushed");
                rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("dropped");
            }
            let pieces: Vec<Bytes> = read(file, range).try_collect().await.expect("read");
            assert!(pieces.iter().all(|piece| piece.len() <= PIECE));
            assert!(pieces.concat() == bytes[3..bytes.len() - 1], "{cached}");
        }
    }
}
