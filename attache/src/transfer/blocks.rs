//! A bounded upload in blocks, over a seam that is smaller than the network.
//!
//! The first block decides: a body that ends within it goes in one call, anything longer in blocks. Every block
//! holds a permit of the [`Budget`](crate::transfer::budget::Budget), and a buffer never outlives its permit, so an upload of any
//! length takes at most `(concurrency + 1) × block` bytes.

use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};

use crate::error::{Error, ErrorKind, Result};
use crate::storage::Blocks;
use crate::transfer::block_sizes::Sizes;
use crate::transfer::body::{Body, Digests};
use crate::transfer::budget::Permit;

pub use crate::transfer::block_sizes::BlockLimits;

/// Where the blocks of one object go.
#[async_trait]
pub trait BlockTarget: Sync {
    /// What the target gives for a block, and wants back to make an object of it.
    type Receipt: Clone + Send + Sync;

    /// What it takes.
    fn limits(&self) -> BlockLimits;

    /// Stores everything in one call. Atomic, and refuses to overwrite.
    async fn put_whole(&self, bytes: Bytes, digests: &Digests) -> Result<()>;

    /// Stores block `number`, counted from 0, which nobody sees yet.
    async fn put_block(&self, number: u32, bytes: Bytes) -> Result<Self::Receipt>;

    /// Makes an object of the blocks that these receipts are for, in this order. Atomic, and refuses to overwrite.
    async fn commit(&self, receipts: &[Self::Receipt], digests: &Digests) -> Result<()>;

    /// Removes blocks that were put and will not be committed.
    async fn abort(&self);
}

/// Uploads `body`, whose length is `size` if that is known. What fails leaves nothing: blocks that are on their way then are waited for,
/// 5 s at most, before all of them are removed.
///
/// # Errors
///
/// The body's own errors; those of the target; [`ErrorKind::Busy`] if there is no memory for the first block;
/// [`ErrorKind::Misconfigured`] if there never will be; [`ErrorKind::TooLarge`] if the body needs more blocks than the
/// target allows.
pub async fn upload(
    target: &impl BlockTarget,
    mut body: Body,
    size: Option<u64>,
    blocks: &Blocks,
) -> Result<Digests> {
    let sizes = Sizes::new(blocks, target.limits(), size)?;
    let first_bytes = sizes.of(0);
    let first_bytes = size.map_or(first_bytes, |size| first_bytes.min(size.max(1)));
    let permit = blocks.budget.acquire(first_bytes).await?;
    let mut first = Block::new(permit);
    if first.fill(&mut body).await? {
        let digests = digests_of(&body)?;
        target.put_whole(first.buffer.freeze(), &digests).await?;
        return Ok(digests);
    }
    let mut sending = Sending::new();
    let outcome = upload_blocks(target, &mut body, first, blocks, sizes, &mut sending).await;
    if outcome.is_err() {
        // A request that is dropped may have arrived, and be carried out after what it brought was to be taken away.
        let rest = async { while sending.next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_BLOCKS, rest).await;
        // One that takes longer is broken off, and what it holds is free.
        drop(sending);
        target.abort().await;
    }
    outcome
}

/// Blocks on their way: of each its number, its receipt, and the block itself, as [`send`] gives it back.
type Sending<'a, R> = FuturesUnordered<BoxFuture<'a, Result<(u32, R, Option<Block>)>>>;

async fn upload_blocks<'a, T: BlockTarget>(
    target: &'a T,
    body: &mut Body,
    first: Block,
    blocks: &Blocks,
    sizes: Sizes,
    sending: &mut Sending<'a, T::Receipt>,
) -> Result<Digests> {
    // By number; they come in any order.
    let mut receipts: Vec<Option<T::Receipt>> = Vec::new();
    // A buffer that was sent, with its permit: the next block fills it again.
    let mut spare: Option<Block> = None;
    let mut carry = first.carry.clone();
    sending.push(send(target, next_number(&mut receipts, &sizes)?, first).boxed());
    let mut filling: Option<Block> = None;
    let mut ended = false;
    while !ended || !sending.is_empty() {
        let fill = async {
            let block = match &mut filling {
                Some(block) => block,
                empty => {
                    let bytes = sizes.of(receipts.len() as u64);
                    let mut block = match spare.take().filter(|spare| spare.permit.bytes() == bytes)
                    {
                        Some(spare) => spare,
                        // A running upload waits as long as it takes: its own limits end it, and what it waits for is
                        // given back by blocks that are on their way.
                        None => Block::new(blocks.budget.acquire_within(bytes, PATIENCE).await?),
                    };
                    block.carry = carry.take();
                    empty.insert(block)
                }
            };
            block.fill(body).await
        };
        tokio::select! {
            filled = fill, if !ended && sending.len() < blocks.concurrency.max(1) => {
                ended = filled?;
                if let Some(mut block) = filling.take() {
                    carry = block.carry.take();
                    if !block.buffer.is_empty() {
                        sending.push(send(target, next_number(&mut receipts, &sizes)?, block).boxed());
                    }
                }
            }
            Some(sent) = sending.next() => {
                let (number, receipt, sent) = sent?;
                receipts[number as usize] = Some(receipt);
                // Whoever waits in line comes before our next block.
                spare = sent.filter(|_| !ended && !blocks.budget.is_contended());
            }
        }
    }
    let digests = digests_of(body)?;
    // Every block that was begun was waited for.
    let receipts: Vec<T::Receipt> = receipts.into_iter().flatten().collect();
    target.commit(&receipts, &digests).await?;
    Ok(digests)
}

/// How long an upload that has failed waits for its blocks that are on their way: one of 8 MiB arrives within it at 1.7 MB/s. What takes
/// longer is broken off; if it was stored all the same, a later sweep or a rule of the store removes it.
pub(crate) const LAST_BLOCKS: Duration = Duration::from_secs(5);

/// How long a running upload waits for the memory of its next block.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends a block; gives it back, empty, if nobody else holds on to its bytes.
async fn send<T: BlockTarget>(
    target: &T,
    number: u32,
    block: Block,
) -> Result<(u32, T::Receipt, Option<Block>)> {
    let Block { buffer, permit, .. } = block;
    let bytes = buffer.freeze();
    let receipt = target.put_block(number, bytes.clone()).await?;
    let spare = bytes.try_into_mut().ok().map(|mut buffer| {
        buffer.clear();
        Block {
            buffer,
            carry: None,
            permit,
        }
    });
    Ok((number, receipt, spare))
}

fn next_number<R>(receipts: &mut Vec<Option<R>>, sizes: &Sizes) -> Result<u32> {
    let number = u32::try_from(receipts.len()).unwrap_or(u32::MAX);
    if number >= sizes.max_blocks() {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "the file needs more than {} blocks; raise upload.block_bytes",
                sizes.max_blocks()
            ),
        ));
    }
    receipts.push(None);
    Ok(number)
}

fn digests_of(body: &Body) -> Result<Digests> {
    body.digests()
        .ok_or_else(|| Error::internal("the body ended without digests"))
}

/// A block that fills.
struct Block {
    buffer: BytesMut,
    /// The rest of a chunk that did not fit.
    carry: Option<Bytes>,
    permit: Permit,
}

impl Block {
    fn new(permit: Permit) -> Self {
        // Memory that is not written yet is not resident.
        let capacity = usize::try_from(permit.bytes()).unwrap_or(usize::MAX);
        Self {
            buffer: BytesMut::with_capacity(capacity),
            carry: None,
            permit,
        }
    }

    /// Fills up; returns whether the body ended. Safe to drop and to call again: nothing that was read is lost.
    ///
    /// Chunks are copied: keeping them as they came would keep the whole read buffers that they are parts of.
    async fn fill(&mut self, body: &mut Body) -> Result<bool> {
        let capacity = usize::try_from(self.permit.bytes()).unwrap_or(usize::MAX);
        loop {
            if let Some(mut chunk) = self.carry.take() {
                let fits = chunk.len().min(capacity - self.buffer.len());
                self.buffer.extend_from_slice(&chunk.split_to(fits));
                if !chunk.is_empty() {
                    self.carry = Some(chunk);
                    return Ok(false);
                }
            }
            match body.next().await {
                Some(chunk) => self.carry = Some(chunk?),
                None => return Ok(true),
            }
        }
    }
}

#[cfg(test)]
mod tests;
