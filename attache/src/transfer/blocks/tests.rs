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

/// Whose first block is refused while the second is on its way.
struct Refusing {
    budget: Budget,
    second_arrives: bool,
    second_is_on_its_way: tokio::sync::Notify,
    said: Mutex<Vec<&'static str>>,
    held_at_the_end: Mutex<Option<u64>>,
}

impl Refusing {
    fn new(budget: &Budget, second_arrives: bool) -> Self {
        Self {
            budget: budget.clone(),
            second_arrives,
            second_is_on_its_way: tokio::sync::Notify::new(),
            said: Mutex::default(),
            held_at_the_end: Mutex::default(),
        }
    }

    fn say(&self, what: &'static str) {
        self.said.lock().expect("not poisoned").push(what);
    }
}

#[async_trait]
impl BlockTarget for Refusing {
    type Receipt = ();

    fn limits(&self) -> BlockLimits {
        AZURE_LIKE
    }
    async fn put_whole(&self, _: Bytes, _: &Digests) -> Result<()> {
        Ok(())
    }
    async fn put_block(&self, number: u32, _: Bytes) -> Result<()> {
        if number == 0 {
            self.second_is_on_its_way.notified().await;
            self.say("refused");
            return Err(Error::new(ErrorKind::UpstreamUnavailable, "on order"));
        }
        self.second_is_on_its_way.notify_one();
        if !self.second_arrives {
            return std::future::pending().await;
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.say("stored");
        Ok(())
    }
    async fn commit(&self, _: &[()], _: &Digests) -> Result<()> {
        Ok(())
    }
    async fn abort(&self) {
        *self.held_at_the_end.lock().expect("not poisoned") = Some(self.budget.held());
        self.say("aborted");
    }
}

#[tokio::test]
async fn what_a_failed_upload_stored_is_taken_away_after_its_last_block_has_arrived() {
    let blocks = blocks(1000);
    let target = Refusing::new(&blocks.budget, true);
    let bytes = vec![7; 2000];
    let failed = upload(&target, body(&bytes, 100), None, &blocks).await;
    failed.expect_err("refused");
    let said = target.said.lock().expect("not poisoned");
    assert_eq!(*said, ["refused", "stored", "aborted"]);
}

#[tokio::test(start_paused = true)]
async fn a_block_that_does_not_arrive_is_broken_off_before_the_others_are_taken_away() {
    let blocks = blocks(1000);
    let target = Refusing::new(&blocks.budget, false);
    let began = tokio::time::Instant::now();
    let failed = upload(&target, body(&[7; 2000], 100), None, &blocks).await;
    failed.expect_err("refused");
    assert_eq!(began.elapsed(), LAST_BLOCKS);
    let held = *target.held_at_the_end.lock().expect("not poisoned");
    assert_eq!(held, Some(0), "its memory is free");
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
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
