//! Uploads in parts, of which nobody keeps a record: what names one says what it becomes, and the blocks that are staged under the name
//! of the blob say which parts there are.
//!
//! A part that fits one block is that block, and its id has all that is known of it. A longer one has a block more, which is staged last:
//! a part without it is not whole. Of two tries at a part the one that was begun later counts. The service forgets blocks a week after the
//! last one under their name
//! (<https://learn.microsoft.com/rest/api/storageservices/put-block#remarks>), and at once when anything is put there.

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use bytes::Bytes;

use super::super::inner::Inner;
use super::super::put::BLOCK_LIMITS;
use super::block::{Id, Kind, Nonce, Sums};
use super::name::name_of;
use super::put::stage_under;
use super::shed::{shed, staged};
use crate::error::{Error, Result};
use crate::storage::Blocks;
use crate::storage::bucket::ticket::{Ticket, begun, serial};
use crate::storage::bucket::{Key, MAX_PARTS, NewPart, Part, PartOf, no_upload};
use crate::transfer::blocks::{self, BlockLimits, BlockTarget};
use crate::transfer::body::{Body, Digests};

/// Blocks of one part, so that as many parts as there may be fit into one blob, where memory allows blocks of that size.
const BLOCKS_PER_PART: u64 = BLOCK_LIMITS.max_blocks as u64 / MAX_PARTS as u64;

/// The first size of the blocks of a part whose length is not known: ten thousand such parts of 160 MiB fit into one blob.
const UNKNOWN_PART_BLOCK: u64 = 32 * 1024 * 1024;

/// What one byte that is never read says.
const MARK: Bytes = Bytes::from_static(b".");

/// Parts that are whole, by their numbers, and the blocks of each.
pub(super) struct Parts(pub(super) BTreeMap<u16, Stored>);

/// A part that is whole.
pub(super) struct Stored {
    pub(super) sums: Sums,
    pub(super) serial: u64,
    pub(super) blocks: Vec<Id>,
}

/// Those of an upload, `None` if it was given up.
pub(super) async fn find(inner: &Inner, key: &Key, nonce: Nonce) -> Result<Option<Parts>> {
    let staged = staged(inner, &name_of(key)?).await;
    let staged = staged.map_err(|error| inner.fail(error, "parts", key.as_str()))?;
    let own = || staged.ids.iter().filter(|id| id.nonce == nonce);
    if own().any(|id| id.kind == Kind::Aborted) {
        return Ok(None);
    }
    let pieces: HashSet<(u16, u64, u32)> = own()
        .filter(|id| id.kind == Kind::Piece)
        .map(|id| (id.number, id.serial, id.index))
        .collect();
    let mut parts: BTreeMap<u16, Stored> = BTreeMap::new();
    for id in own() {
        let blocks = match id.kind {
            Kind::Whole => vec![*id],
            Kind::Marker => {
                let is_there = |index| pieces.contains(&(id.number, id.serial, index));
                if !(0..id.index).all(is_there) {
                    continue;
                }
                (0..id.index).map(|index| id.piece(index)).collect()
            }
            Kind::Put | Kind::Piece | Kind::Aborted => continue,
        };
        let stored = Stored {
            sums: id.sums,
            serial: id.serial,
            blocks,
        };
        let newest = parts
            .get(&id.number)
            .is_none_or(|other| other.serial < id.serial);
        if newest {
            parts.insert(id.number, stored);
        }
    }
    Ok(Some(Parts(parts)))
}

pub(super) async fn parts(
    inner: &Inner,
    upload: &PartOf<'_>,
    after: u16,
    limit: usize,
) -> Result<Vec<Part>> {
    let ticket = Ticket::read(upload)?;
    let found = find(inner, upload.key, ticket.nonce()).await?;
    let found = found.ok_or_else(|| no_upload(upload.key))?;
    let parts = found.0.into_iter().filter(|(number, _)| *number > after);
    Ok(parts
        .take(limit)
        .map(|(number, stored)| Part {
            number,
            size: stored.sums.size,
            etag: stored.sums.etag(),
            modified: begun(stored.serial),
            checksum: stored.sums.checksum.and_then(|front| front.whole()),
        })
        .collect())
}

pub(super) async fn put_part(
    inner: &Inner,
    upload: &PartOf<'_>,
    part: NewPart,
    body: Body,
) -> Result<Part> {
    let ticket = Ticket::read(upload)?;
    part.check(upload.key)?;
    let largest = part.blocks.budget.largest_block();
    let least = match part.size {
        Some(size) => size.div_ceil(BLOCKS_PER_PART),
        None => UNKNOWN_PART_BLOCK.min(largest / 4),
    };
    let blocks = Blocks {
        bytes: part.blocks.bytes.max(least),
        ..part.blocks
    };
    let staging = Staging {
        inner,
        key: upload.key,
        name: name_of(upload.key)?,
        nonce: ticket.nonce(),
        number: part.number,
        serial: serial(),
    };
    let body = body.with_md5();
    let digests = blocks::upload(&staging, body, part.size, &blocks).await?;
    Ok(Part {
        number: part.number,
        size: digests.size,
        etag: sums(&digests)?.etag(),
        modified: begun(staging.serial),
        checksum: digests.checksum,
    })
}

/// Gives an upload up: its blocks go, or a block says that they count no more.
pub(super) async fn abort(inner: &Inner, upload: &PartOf<'_>) -> Result<()> {
    let (ticket, name) = (Ticket::read(upload)?, name_of(upload.key)?);
    let gone = shed(inner, &name, ticket.nonce()).await;
    if gone.map_err(|error| inner.fail(error, "abort", upload.key.as_str()))? {
        return Ok(());
    }
    let id = Id {
        nonce: ticket.nonce(),
        kind: Kind::Aborted,
        number: 0,
        serial: 0,
        index: 0,
        sums: Sums::default(),
    };
    stage_under(inner, upload.key, &name, id, MARK, "abort").await
}

/// One try at one part.
struct Staging<'a> {
    inner: &'a Inner,
    key: &'a Key,
    name: String,
    nonce: Nonce,
    number: u16,
    serial: u64,
}

impl Staging<'_> {
    fn id(&self, kind: Kind, index: u32, sums: Sums) -> Id {
        Id {
            nonce: self.nonce,
            kind,
            number: self.number,
            serial: self.serial,
            index,
            sums,
        }
    }

    async fn stage(&self, id: Id, bytes: Bytes) -> Result<()> {
        stage_under(self.inner, self.key, &self.name, id, bytes, "put_part").await
    }
}

#[async_trait]
impl BlockTarget for Staging<'_> {
    type Receipt = ();

    fn limits(&self) -> BlockLimits {
        BLOCK_LIMITS
    }

    async fn put_whole(&self, bytes: Bytes, digests: &Digests) -> Result<()> {
        let sums = sums(digests)?;
        match bytes.is_empty() {
            // There are no empty blocks.
            true => self.stage(self.id(Kind::Marker, 0, sums), MARK).await,
            false => self.stage(self.id(Kind::Whole, 0, sums), bytes).await,
        }
    }

    async fn put_block(&self, number: u32, bytes: Bytes) -> Result<()> {
        let id = self.id(Kind::Piece, number, Sums::default());
        self.stage(id, bytes).await
    }

    async fn commit(&self, pieces: &[()], digests: &Digests) -> Result<()> {
        let count = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
        let id = self.id(Kind::Marker, count, sums(digests)?);
        self.stage(id, MARK).await
    }

    async fn abort(&self) {
        // Nothing says that they are a part, so they go with the upload.
    }
}

fn sums(digests: &Digests) -> Result<Sums> {
    Sums::of(digests).ok_or_else(|| Error::internal("azure: a part without MD5"))
}

impl Id {
    /// The block `index` of the part that this one says is whole.
    fn piece(self, index: u32) -> Self {
        Self {
            kind: Kind::Piece,
            index,
            sums: Sums::default(),
            ..self
        }
    }
}
