//! Uploads in parts, of which nobody keeps a record: what names one says what it becomes, and the names of its pieces say which parts
//! there are.
//!
//! A part that fits a block is one object, and its name has all that is known of it. A longer one is several, and an empty object, written
//! last, whose name says that it is whole. Of two tries at a part the one that was begun later counts.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use time::{Duration, OffsetDateTime};

use super::super::inner::Inner;
use super::super::staging::Piece;
use super::name::{Kind, Name, Sums, UPLOADS, checked, folder_of, front};
use super::page::objects;
use crate::error::Result;
use crate::storage::Blocks;
use crate::storage::bucket::ticket::{Ticket, begun, serial};
use crate::storage::bucket::{NewPart, Part, PartOf};
use crate::transfer::blocks::{self, BlockLimits, BlockTarget};
use crate::transfer::body::{Body, Digests};

/// What nobody went on with for so long is swept: longer than an upload is likely to pause, as on local disk.
const FORGOTTEN: Duration = Duration::days(7);

/// A part that is whole.
pub(super) struct Stored {
    pub(super) sums: Sums,
    serial: u64,
    pub(super) pieces: Vec<Piece>,
}

/// Those of the upload whose pieces are in `folder`, by their numbers.
pub(super) async fn find(inner: &Inner, folder: &str) -> Result<BTreeMap<u16, Stored>> {
    let fail = |fault| inner.fail(fault, "parts", folder);
    let mut pieces: HashMap<(u16, u64, u32), u64> = HashMap::new();
    let mut wholes: BTreeMap<(u16, u64), (Name, Sums, Option<u32>)> = BTreeMap::new();
    let mut listed = pin!(objects(inner, folder));
    while let Some(object) = listed.try_next().await.map_err(fail)? {
        let Some(name) = Name::read(folder, &object.key) else {
            continue;
        };
        let (sums, count) = match &name.kind {
            Kind::Piece(index) => {
                pieces.insert((name.number, name.serial, *index), object.size);
                continue;
            }
            Kind::Whole(sums) => (sums.clone(), None),
            Kind::Marker(count, sums) => (sums.clone(), Some(*count)),
        };
        let (number, serial) = (name.number, name.serial);
        if count.is_none() {
            // It needs no pieces, so none before it counts: of a part that is sent again and again, one is held.
            let before = wholes.range((number, 0)..(number, serial));
            let before: Vec<_> = before.map(|(at, _)| *at).collect();
            for at in before {
                wholes.remove(&at);
            }
        }
        wholes.insert((number, serial), (name, sums, count));
    }
    // Of the tries at a part the latest comes last, and takes the place of the others. One whose marker came after its pieces were taken
    // back, because the response was late, is none.
    let mut parts = BTreeMap::new();
    for ((number, serial), (name, sums, count)) in wholes {
        let pieces = match count {
            None => Some(vec![Piece::whole(name.to_text(folder), sums.size)]),
            Some(count) => (0..count)
                .map(|index| {
                    let size = pieces.get(&(number, serial, index))?;
                    let kind = Kind::Piece(index);
                    let name = Name {
                        kind,
                        ..name.clone()
                    };
                    Some(Piece::whole(name.to_text(folder), *size))
                })
                .collect(),
        };
        if let Some(pieces) = pieces {
            let stored = Stored {
                sums,
                serial,
                pieces,
            };
            parts.insert(number, stored);
        }
    }
    Ok(parts)
}

pub(super) async fn parts(
    inner: &Inner,
    upload: &PartOf<'_>,
    after: u16,
    limit: usize,
) -> Result<Vec<Part>> {
    let ticket = Ticket::read(upload)?;
    let found = find(inner, &folder_of(upload.key, &ticket.mark())).await?;
    let parts = found.into_iter().filter(|(number, _)| *number > after);
    Ok(parts
        .take(limit)
        .map(|(number, stored)| told(number, &stored.sums, stored.serial))
        .collect())
}

pub(super) async fn put_part(
    inner: &Inner,
    upload: &PartOf<'_>,
    part: NewPart,
    body: Body,
) -> Result<Part> {
    let ticket = Ticket::read(upload)?;
    checked(inner, upload.key)?;
    part.check(upload.key)?;
    let staging = Staging {
        inner,
        folder: folder_of(upload.key, &ticket.mark()),
        number: part.number,
        serial: serial(),
    };
    let blocks = Blocks {
        bytes: even(part.size, part.blocks.bytes.max(inner.min_part)),
        ..part.blocks
    };
    let body = body.with_md5();
    let digests = blocks::upload(&staging, body, part.size, &blocks).await?;
    Ok(told(part.number, &Sums::of(&digests)?, staging.serial))
}

/// The size of blocks of at least `least` bytes that are alike, so that none is so small that it could not be copied by itself.
fn even(size: Option<u64>, least: u64) -> u64 {
    match size {
        Some(size) if size > least => size.div_ceil(size / least),
        _ => least,
    }
}

/// Gives an upload up: its pieces go.
pub(super) async fn abort(inner: &Inner, upload: &PartOf<'_>) -> Result<()> {
    let ticket = Ticket::read(upload)?;
    let folder = folder_of(upload.key, &ticket.mark());
    let gone = inner.delete_all(&folder).await;
    gone.map_err(|fault| inner.fail(fault, "abort", upload.key.as_str()))
}

/// Removes pieces that nobody will make anything of.
pub(super) async fn sweep(inner: &Inner) -> Result<u64> {
    let fail = |fault| inner.fail(fault, "sweep", &inner.place.bucket);
    let forgotten = OffsetDateTime::now_utc() + inner.skew() - FORGOTTEN;
    let mut removed = 0;
    let mut listed = pin!(objects(inner, UPLOADS));
    while let Some(object) = listed.try_next().await.map_err(fail)? {
        if object.modified < forgotten {
            inner.delete(&object.key).await.map_err(fail)?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn told(number: u16, sums: &Sums, serial: u64) -> Part {
    Part {
        number,
        size: sums.size,
        etag: sums.md5.to_string(),
        modified: begun(serial),
        checksum: sums.checksum,
    }
}

/// One try at one part.
struct Staging<'a> {
    inner: &'a Inner,
    folder: String,
    number: u16,
    serial: u64,
}

impl Staging<'_> {
    async fn put(&self, kind: Kind, bytes: Bytes) -> Result<()> {
        let name = Name {
            number: self.number,
            serial: self.serial,
            kind,
        };
        let stored = self.inner.put_piece(name.to_text(&self.folder), bytes);
        stored.await.map(drop)
    }
}

#[async_trait]
impl BlockTarget for Staging<'_> {
    type Receipt = ();

    fn limits(&self) -> BlockLimits {
        self.inner.block_limits()
    }

    async fn put_whole(&self, bytes: Bytes, digests: &Digests) -> Result<()> {
        let sums = Sums::of(digests)?;
        match bytes.is_empty() {
            // There are no empty pieces.
            true => self.put(Kind::Marker(0, sums), bytes).await,
            false => self.put(Kind::Whole(sums), bytes).await,
        }
    }

    async fn put_block(&self, number: u32, bytes: Bytes) -> Result<()> {
        self.put(Kind::Piece(number), bytes).await
    }

    async fn commit(&self, pieces: &[()], digests: &Digests) -> Result<()> {
        let count = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
        let kind = Kind::Marker(count, Sums::of(digests)?);
        self.put(kind, Bytes::new()).await
    }

    async fn abort(&self) {
        let front = front(&self.folder, self.number, self.serial);
        self.inner.remove_pieces(&front).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_a_part_are_alike_and_none_is_smaller_than_the_least() {
        for size in [1, 5, 8, 9, 10, 11, 99, 100, 101, 1 << 20] {
            let block = even(Some(size), 8);
            let last = size % block;
            assert!((8..16).contains(&block), "{size}: {block}");
            assert!(
                size <= 8 || last == 0 || last + size / block >= block,
                "{size}: {block}"
            );
        }
        assert_eq!(even(None, 8), 8);
    }
}
