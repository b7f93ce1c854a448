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

/// Uploads `body`, whose length is `size` if that is known. What fails leaves nothing.
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
    let outcome = upload_blocks(target, &mut body, first, blocks, sizes).await;
    if outcome.is_err() {
        target.abort().await;
    }
    outcome
}

async fn upload_blocks<T: BlockTarget>(
    target: &T,
    body: &mut Body,
    first: Block,
    blocks: &Blocks,
    sizes: Sizes,
) -> Result<Digests> {
    // By number; they come in any order.
    let mut receipts: Vec<Option<T::Receipt>> = Vec::new();
    let mut sending = FuturesUnordered::new();
    // A buffer that was sent, with its permit: the next block fills it again.
    let mut spare: Option<Block> = None;
    let mut carry = first.carry.clone();
    sending.push(send(target, next_number(&mut receipts, &sizes)?, first));
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
                        sending.push(send(target, next_number(&mut receipts, &sizes)?, block));
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

/// How long a running upload waits for the memory of its next block.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

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
mod tests {
    use super::*;
    use crate::transfer::budget::Budget;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;
    use std::sync::Mutex;

    /// The limits of two services, small.
    const AZURE_LIKE: BlockLimits = BlockLimits {
        min_bytes: 1,
        max_bytes: 100_000,
        max_blocks: 50_000,
        alike: false,
    };
    const S3_LIKE: BlockLimits = BlockLimits {
        min_bytes: 500,
        max_bytes: 2000,
        max_blocks: 10,
        alike: true,
    };

    struct Fake {
        limits: BlockLimits,
        blocks: Mutex<Vec<(String, Bytes)>>,
        object: Mutex<Option<Vec<u8>>>,
        aborted: Mutex<bool>,
        fail_block: Option<usize>,
    }

    impl Fake {
        fn new(limits: BlockLimits) -> Self {
            Self {
                limits,
                blocks: Mutex::default(),
                object: Mutex::default(),
                aborted: Mutex::default(),
                fail_block: None,
            }
        }
    }

    impl Default for Fake {
        fn default() -> Self {
            Self::new(AZURE_LIKE)
        }
    }

    #[async_trait]
    impl BlockTarget for Fake {
        /// As an entity tag: nobody can tell its number from it.
        type Receipt = String;

        fn limits(&self) -> BlockLimits {
            self.limits
        }
        async fn put_whole(&self, bytes: Bytes, _: &Digests) -> Result<()> {
            *self.object.lock().expect("not poisoned") = Some(bytes.to_vec());
            Ok(())
        }
        async fn put_block(&self, number: u32, bytes: Bytes) -> Result<String> {
            // Later ones come first, now and then.
            for _ in 0..=(number * 7 % 3) {
                tokio::task::yield_now().await;
            }
            let mut blocks = self.blocks.lock().expect("not poisoned");
            if self.fail_block == Some(blocks.len()) {
                return Err(Error::new(ErrorKind::UpstreamUnavailable, "on order"));
            }
            // A copy: the real service does not keep our buffer either.
            let receipt = format!("{number}-{:x}", rand::random::<u64>());
            blocks.push((receipt.clone(), Bytes::copy_from_slice(&bytes)));
            Ok(receipt)
        }
        async fn commit(&self, receipts: &[String], _: &Digests) -> Result<()> {
            let blocks = self.blocks.lock().expect("not poisoned");
            let mut object = Vec::new();
            assert!(receipts.len() <= self.limits.max_blocks as usize);
            let mut first = None;
            for (at, receipt) in receipts.iter().enumerate() {
                let known = blocks.iter().find(|(have, _)| have == receipt);
                let (_, bytes) = known.expect("was put");
                object.extend_from_slice(bytes);
                let bytes = bytes.len() as u64;
                let is_last = at + 1 == receipts.len();
                assert!(bytes <= self.limits.max_bytes);
                assert!(is_last || bytes >= self.limits.min_bytes);
                let alike = *first.get_or_insert(bytes) == bytes;
                assert!(is_last || alike || !self.limits.alike);
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
        fn a_target_with_narrow_limits_gets_blocks_within_them(
            length in 0_usize..20_000, known: bool, cuts in vec(any::<Index>(), 0..30), block in 1_u64..3000,
        ) {
            let (fake, plan) = (Fake::new(S3_LIKE), blocks(block));
            let bytes: Vec<u8> = (0..length).map(|at| (at * at / 3) as u8).collect();
            let size = known.then_some(bytes.len() as u64);
            let body = Body::new(futures::stream::iter(split(&bytes, &cuts))).hashed(false);
            let outcome = now(upload(&fake, body, size, &plan));
            // All that the target can hold, where the length is known; ten blocks of what was asked for, where it is not.
            let reach = 10 * if known { 2000 } else { block.clamp(500, 2000) };
            if bytes.len() as u64 <= reach {
                outcome.expect("uploaded");
                prop_assert_eq!(fake.object.lock().expect("not poisoned").take(), Some(bytes));
            } else {
                prop_assert_eq!(outcome.expect_err("too long").kind(), ErrorKind::TooLarge);
                assert_nothing_is_left(&fake, &plan);
            }
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

    #[tokio::test]
    async fn a_target_whose_smallest_block_finds_no_memory_says_which_setting_to_raise() {
        let fake = Fake::new(BlockLimits {
            min_bytes: 1 << 30,
            max_bytes: 1 << 32,
            ..S3_LIKE
        });
        let error = upload(&fake, body(&[1; 100], 30), None, &blocks(100)).await;
        let error = error.expect_err("no memory");
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.detail().contains("memory.transfer_bytes"), "{error}");
    }
}
