//! Objects to store, and what one does with a store: what the promises are written in, and what tests of one backend alone may
//! use, too.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use time::OffsetDateTime;
use tokio::sync::oneshot;

use crate::attachment::filename::Disposition;
use crate::attachment::{AttachmentId, ByteRange, ObjectKey};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Blocks, Content, Facts, ObjectInfo, Storage, Stored};
use crate::transfer::body::Body;
use crate::transfer::budget::{Budget, MIN_BUDGET};

/// The size of blocks: small, so that small objects have many.
pub const BLOCK: u64 = 64 * 1024;

/// What the promises are asked of.
pub type Store = Arc<dyn Storage>;

/// A key that no object has.
pub fn fresh_key() -> ObjectKey {
    ObjectKey::new(&AttachmentId::generate(), true, Some("bin"))
}

/// Bytes that differ everywhere, so that no piece can stand in another's place unnoticed.
pub fn pattern(len: u64, seed: u64) -> Bytes {
    let mut bytes = Vec::with_capacity(len as usize + 8);
    let mut word = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    while (bytes.len() as u64) < len {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        bytes.extend_from_slice(&(word >> 16).to_le_bytes());
    }
    bytes.truncate(len as usize);
    bytes.into()
}

/// Bytes as a network brings them: in chunks that fit no block.
pub fn body(bytes: &Bytes) -> Body {
    Body::new(futures::stream::iter(chunks(bytes))).hashed(true)
}

/// All of `bytes`, then an error instead of the end.
pub fn failing_body(bytes: &Bytes, error: Error) -> Body {
    let chunks = chunks(bytes).into_iter().chain([Err(error)]);
    Body::new(futures::stream::iter(chunks)).hashed(true)
}

/// All of `bytes`, then nothing for ever; tells when more is asked for.
pub fn stalling_body(bytes: &Bytes) -> (Body, oneshot::Receiver<()>) {
    let (asked, wait) = oneshot::channel();
    let stall = futures::stream::once(async move {
        let _ = asked.send(());
        std::future::pending().await
    });
    let body = Body::new(futures::stream::iter(chunks(bytes)).chain(stall)).hashed(true);
    (body, wait)
}

fn chunks(bytes: &Bytes) -> Vec<Result<Bytes>> {
    const CHUNK: usize = 10_007;
    (0..bytes.len())
        .step_by(CHUNK)
        .map(|at| Ok(bytes.slice(at..bytes.len().min(at + CHUNK))))
        .collect()
}

/// What a page says of a file that somebody attached to it.
pub fn facts(key: &ObjectKey) -> Facts {
    Facts {
        id: key.id(),
        owner: Some("page:42".parse().expect("an owner")),
        filename: "file.bin".parse().expect("a file name"),
        content_type: "application/octet-stream".to_owned(),
        created_at: OffsetDateTime::now_utc(),
        created_by: None,
    }
}

/// An object of unknown length with these facts, in blocks of [`BLOCK`], with a budget of its own.
pub fn content(facts: Facts) -> Content {
    Content {
        content_type: facts.content_type.clone(),
        disposition: Disposition::Attachment.header(&facts.filename),
        facts,
        size: None,
        blocks: Blocks {
            bytes: BLOCK,
            concurrency: 3,
            budget: Budget::new(MIN_BUDGET),
        },
    }
}

// What one does with a store.

/// Puts an object of a length that is told, and sees that its memory is free again.
pub async fn put(store: &dyn Storage, key: &ObjectKey, bytes: &Bytes) -> Result<Stored> {
    let content = Content {
        size: Some(bytes.len() as u64),
        ..content(facts(key))
    };
    let stored = store.put(key, &content, body(bytes)).await;
    assert_eq!(
        content.blocks.budget.held(),
        0,
        "a put gives its memory back"
    );
    stored
}

/// An object, or a part of it, read to its end.
pub struct Whole {
    /// What the store says of it.
    pub info: ObjectInfo,
    /// Which bytes these are.
    pub range: ByteRange,
    /// They.
    pub bytes: Bytes,
}

/// Reads an object, or a part of it, to its end.
pub async fn get(store: &dyn Storage, key: &ObjectKey, range: Option<ByteRange>) -> Result<Whole> {
    let object = store.get(key, range).await?;
    Ok(Whole {
        bytes: object.body.collect(usize::MAX).await?,
        info: object.info,
        range: object.range,
    })
}

/// All objects behind `after`.
pub async fn list(store: &dyn Storage, after: Option<&ObjectKey>) -> Result<Vec<ObjectInfo>> {
    store.list(after.cloned()).try_collect().await
}

/// Starts a put of `bytes` and drops it when it waits for more.
pub async fn interrupt_put(store: &dyn Storage, key: &ObjectKey, bytes: &Bytes) {
    let content = content(facts(key));
    let (body, asked) = stalling_body(bytes);
    tokio::select! {
        outcome = store.put(key, &content, body) => panic!("the body never ends, but: {outcome:?}"),
        asked = asked => asked.expect("the body is alive"),
    }
    assert_eq!(
        content.blocks.budget.held(),
        0,
        "a dropped put frees its memory"
    );
}

/// Waits for what another task or process brings about.
pub async fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let outcome = tokio::time::timeout(limit, wait).await;
    outcome.unwrap_or_else(|_| panic!("not within {limit:?}: {what}"));
}

/// Nothing is there, whichever way one looks.
pub async fn assert_absent(store: &Store, key: &ObjectKey) {
    let error = store.get(key, None).await.expect_err("it must be absent");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    let listed = list(&**store, None).await.expect("list");
    assert!(listed.iter().all(|info| info.key != *key), "it is listed");
}

/// No connection is busy, as far as the store can tell.
pub async fn assert_nothing_runs(store: &Store) {
    eventually("no connection is busy", Duration::from_secs(2), || {
        let vitals = store.vitals();
        vitals.connections_open == vitals.connections_idle
    })
    .await;
}

/// Drops `future` after so many polls.
pub async fn poll_at_most<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let (mut future, mut left) = (pin!(future), polls);
    std::future::poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

/// The bytes from `start` to before `end`.
pub fn range(start: u64, end: u64) -> ByteRange {
    ByteRange { start, end }
}

/// Those bytes of `bytes`.
pub fn slice(bytes: &Bytes, range: ByteRange) -> Bytes {
    bytes.slice(range.start as usize..range.end as usize)
}
