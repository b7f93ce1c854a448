//! A bounded upload in blocks, over a seam that is smaller than the network.
//!
//! The first block decides: a body that ends within it goes in one call, anything longer in blocks. Every block
//! holds a permit of the [`Budget`](crate::transfer::budget::Budget), and a buffer never outlives its permit, so an upload of any
//! length takes at most `(concurrency + 1) × block` bytes.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{FuturesUnordered, StreamExt};

use crate::error::{Error, ErrorKind, Result};
use crate::storage::Blocks;
use crate::transfer::body::{Body, Digests};
use crate::transfer::budget::Permit;

/// Most blocks of one blob, and most bytes of one block
/// (<https://learn.microsoft.com/rest/api/storageservices/put-block#remarks>).
pub const MAX_BLOCKS: u64 = 50_000;

/// Most bytes of one block.
pub const MAX_BLOCK_BYTES: u64 = 4_000 * 1024 * 1024;

/// After this many blocks the block size doubles, so that a body of unknown length reaches far: 8 MiB blocks that
/// double four times carry 2.3 TiB in 50,000 blocks.
const BLOCKS_PER_SIZE: u64 = 10_000;

/// Names one block of one attempt. A random prefix keeps two attempts at the same blob apart; all ids are equally
/// long, as the service demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockId([u8; 12]);

impl BlockId {
    /// The id's bytes; on the wire they are base64.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Where the blocks of one object go.
#[async_trait]
pub trait BlockTarget: Sync {
    /// Stores everything in one call. Atomic, and refuses to overwrite.
    async fn put_whole(&self, bytes: Bytes, digests: &Digests) -> Result<()>;

    /// Stores one block that nobody sees yet.
    async fn put_block(&self, id: BlockId, bytes: Bytes) -> Result<()>;

    /// Makes an object of these blocks, in this order. Atomic, and refuses to overwrite.
    async fn commit(&self, ids: &[BlockId], digests: &Digests) -> Result<()>;

    /// Removes blocks that were put and will not be committed.
    async fn abort(&self);
}

/// Uploads `body`, whose length is `size` if that is known. What fails leaves nothing.
///
/// # Errors
///
/// The body's own errors; those of the target; [`ErrorKind::Busy`] if there is no memory for the first block.
pub async fn upload(
    target: &impl BlockTarget,
    mut body: Body,
    size: Option<u64>,
    blocks: &Blocks,
) -> Result<Digests> {
    let largest = blocks.budget.largest_block().min(MAX_BLOCK_BYTES);
    let first_bytes = blocks.bytes.min(largest);
    let first_bytes = size.map_or(first_bytes, |size| first_bytes.min(size.max(1)));
    let permit = blocks.budget.acquire(first_bytes).await?;
    let mut first = Block::new(permit);
    if first.fill(&mut body).await? {
        let digests = digests_of(&body)?;
        target.put_whole(first.buffer.freeze(), &digests).await?;
        return Ok(digests);
    }
    let outcome = upload_blocks(target, &mut body, first, blocks, largest).await;
    if outcome.is_err() {
        target.abort().await;
    }
    outcome
}

async fn upload_blocks(
    target: &impl BlockTarget,
    body: &mut Body,
    first: Block,
    blocks: &Blocks,
    largest: u64,
) -> Result<Digests> {
    let prefix: [u8; 8] = rand::random();
    let mut ids: Vec<BlockId> = Vec::new();
    let mut sending = FuturesUnordered::new();
    // A buffer that was sent, with its permit: the next block fills it again.
    let mut spare: Option<Block> = None;
    let mut carry = first.carry.clone();
    sending.push(send(target, next_id(prefix, &mut ids)?, first));
    let mut filling: Option<Block> = None;
    let mut ended = false;
    while !ended || !sending.is_empty() {
        let fill = async {
            let block = match &mut filling {
                Some(block) => block,
                empty => {
                    let bytes = block_bytes(blocks.bytes, ids.len() as u64, largest);
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
                        sending.push(send(target, next_id(prefix, &mut ids)?, block));
                    }
                }
            }
            Some(sent) = sending.next() => {
                // Whoever waits in line comes before our next block.
                spare = sent?.filter(|_| !ended && !blocks.budget.is_contended());
            }
        }
    }
    let digests = digests_of(body)?;
    target.commit(&ids, &digests).await?;
    Ok(digests)
}

/// How long a running upload waits for the memory of its next block.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Sends a block; gives it back, empty, if nobody else holds on to its bytes.
async fn send(target: &impl BlockTarget, id: BlockId, block: Block) -> Result<Option<Block>> {
    let Block { buffer, permit, .. } = block;
    let bytes = buffer.freeze();
    target.put_block(id, bytes.clone()).await?;
    Ok(bytes.try_into_mut().ok().map(|mut buffer| {
        buffer.clear();
        Block {
            buffer,
            carry: None,
            permit,
        }
    }))
}

fn next_id(prefix: [u8; 8], ids: &mut Vec<BlockId>) -> Result<BlockId> {
    let number = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    if u64::from(number) >= MAX_BLOCKS {
        return Err(Error::new(
            ErrorKind::TooLarge,
            "the file needs more than 50,000 blocks; raise upload.block_bytes",
        ));
    }
    let mut id = [0; 12];
    id[..8].copy_from_slice(&prefix);
    id[8..].copy_from_slice(&number.to_be_bytes());
    ids.push(BlockId(id));
    Ok(BlockId(id))
}

/// The size of block number `index`.
fn block_bytes(base: u64, index: u64, largest: u64) -> u64 {
    let doublings = u32::try_from(index / BLOCKS_PER_SIZE).unwrap_or(u32::MAX);
    base.saturating_mul(2_u64.saturating_pow(doublings))
        .min(largest)
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
mod tests {
    use super::*;
    use crate::transfer::budget::Budget;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Fake {
        blocks: Mutex<Vec<(BlockId, Bytes)>>,
        object: Mutex<Option<Vec<u8>>>,
        aborted: Mutex<bool>,
        fail_block: Option<usize>,
    }

    #[async_trait]
    impl BlockTarget for Fake {
        async fn put_whole(&self, bytes: Bytes, _: &Digests) -> Result<()> {
            *self.object.lock().expect("not poisoned") = Some(bytes.to_vec());
            Ok(())
        }
        async fn put_block(&self, id: BlockId, bytes: Bytes) -> Result<()> {
            tokio::task::yield_now().await;
            let mut blocks = self.blocks.lock().expect("not poisoned");
            if self.fail_block == Some(blocks.len()) {
                return Err(Error::new(ErrorKind::UpstreamUnavailable, "on order"));
            }
            // A copy: the real service does not keep our buffer either.
            blocks.push((id, Bytes::copy_from_slice(&bytes)));
            Ok(())
        }
        async fn commit(&self, ids: &[BlockId], _: &Digests) -> Result<()> {
            let blocks = self.blocks.lock().expect("not poisoned");
            let mut object = Vec::new();
            for id in ids {
                let (_, bytes) = blocks.iter().find(|(have, _)| have == id).expect("was put");
                object.extend_from_slice(bytes);
            }
            *self.object.lock().expect("not poisoned") = Some(object);
            Ok(())
        }
        async fn abort(&self) {
            *self.aborted.lock().expect("not poisoned") = true;
        }
    }

    fn blocks(bytes: u64) -> Blocks {
        Blocks {
            bytes,
            concurrency: 2,
            budget: Budget::new(crate::transfer::budget::MIN_BUDGET),
        }
    }

    fn body(bytes: &[u8], chunk: usize) -> Body {
        let chunks: Vec<Result<Bytes>> = bytes
            .chunks(chunk)
            .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
            .collect();
        Body::new(futures::stream::iter(chunks)).hashed(false)
    }

    /// Pieces of `bytes`, cut at `cuts`; two cuts at one place make an empty one.
    fn split(bytes: &[u8], cuts: &[Index]) -> Vec<Result<Bytes>> {
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let pairs = places.windows(2);
        pairs
            .map(|pair| Ok(Bytes::copy_from_slice(&bytes[pair[0]..pair[1]])))
            .collect()
    }

    fn now<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime").block_on(future)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_split_of_any_body_gives_the_same_object(
            bytes in vec(any::<u8>(), 0..5000), known: bool, cuts in vec(any::<Index>(), 0..30), block in 1_u64..1500,
        ) {
            let (fake, plan) = (Fake::default(), blocks(block));
            let size = known.then_some(bytes.len() as u64);
            let body = Body::new(futures::stream::iter(split(&bytes, &cuts))).hashed(false);
            let digests = now(upload(&fake, body, size, &plan)).expect("uploaded");
            let plain = Body::from_bytes(bytes.clone()).hashed(false);
            let expected = now(upload(&Fake::default(), plain, size, &blocks(1 << 20)));
            prop_assert_eq!(digests, expected.expect("uploaded"));
            let object = fake.object.lock().expect("not poisoned").take();
            prop_assert_eq!(object, Some(bytes));
            let sent = fake.blocks.lock().expect("not poisoned");
            prop_assert!(sent.iter().all(|(_, bytes)| bytes.len() as u64 <= block));
            prop_assert_eq!(plan.budget.held(), 0);
        }

        #[test]
        fn a_body_that_fails_anywhere_leaves_nothing(
            bytes in vec(any::<u8>(), 0..5000), cuts in vec(any::<Index>(), 0..30), at: Index, block in 1_u64..1500,
        ) {
            let (fake, plan) = (Fake::default(), blocks(block));
            let mut chunks = split(&bytes, &cuts);
            chunks.insert(at.index(chunks.len() + 1), Err(Error::new(ErrorKind::ClientGone, "here")));
            let body = Body::new(futures::stream::iter(chunks)).hashed(false);
            let error = now(upload(&fake, body, None, &plan)).expect_err("the body fails");
            prop_assert_eq!(error.detail(), "here");
            assert_nothing_is_left(&fake, &plan);
        }

        #[test]
        fn a_target_that_fails_at_any_block_is_left_empty(
            length in 1_usize..5000, chunk in 1_usize..700, block in 1_u64..1500, at: Index,
        ) {
            let bytes = vec![7; length];
            let needed = bytes.len().div_ceil(usize::try_from(block).expect("small"));
            // A single block is put whole.
            prop_assume!(needed > 1);
            let fake = Fake { fail_block: Some(at.index(needed)), ..Fake::default() };
            let plan = blocks(block);
            let error = now(upload(&fake, body(&bytes, chunk), None, &plan)).expect_err("on order");
            prop_assert_eq!(error.kind(), ErrorKind::UpstreamUnavailable);
            assert_nothing_is_left(&fake, &plan);
        }
    }

    /// No object, no memory, and blocks that were put are taken back.
    fn assert_nothing_is_left(fake: &Fake, plan: &Blocks) {
        assert_eq!(*fake.object.lock().expect("not poisoned"), None);
        let sent = fake.blocks.lock().expect("not poisoned").len();
        assert!(
            sent == 0 || *fake.aborted.lock().expect("not poisoned"),
            "{sent} blocks"
        );
        assert_eq!(plan.budget.held(), 0);
    }

    #[tokio::test]
    async fn a_body_that_fits_one_block_takes_one_call() {
        let fake = Fake::default();
        upload(&fake, body(&[1; 100], 30), Some(100), &blocks(100))
            .await
            .expect("uploaded");
        assert!(fake.blocks.lock().expect("not poisoned").is_empty());
        assert!(fake.object.lock().expect("not poisoned").is_some());
    }

    #[test]
    fn block_sizes_double_and_stay_within_their_share() {
        let mib = 1024 * 1024;
        assert_eq!(block_bytes(8 * mib, 0, 1024 * mib), 8 * mib);
        assert_eq!(block_bytes(8 * mib, 10_000, 1024 * mib), 16 * mib);
        assert_eq!(block_bytes(8 * mib, 49_999, 1024 * mib), 128 * mib);
        assert_eq!(block_bytes(8 * mib, 49_999, 56 * mib), 56 * mib);
    }
}
