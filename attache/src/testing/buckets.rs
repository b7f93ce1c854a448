//! Objects of buckets, and what one does with a bucket: what the promises of [`Bucket`] are written in, and what tests of one backend
//! alone may use, too.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use md5::{Digest as _, Md5};
use tokio::sync::oneshot;

use super::objects::{BLOCK, body};
use crate::attachment::{ByteRange, Hex};
use crate::error::Result;
use crate::storage::bucket::{
    After, Bucket, ChecksumPlan, Condition, Entry, Key, ListPage, ListRequest, NamedPart,
    NewObject, NewPart, Part, PartOf, Properties,
};
use crate::storage::{Blocks, Grant};
use crate::transfer::body::Body;
use crate::transfer::budget::{Budget, MIN_BUDGET};

/// What the promises are asked of.
pub type Pail = Arc<dyn Bucket>;

/// A key.
pub fn key(text: &str) -> Key {
    text.parse().expect("a key")
}

/// The entity tag of an object with these bytes.
pub fn tag(bytes: &[u8]) -> String {
    Hex::<16>(Md5::digest(bytes).into()).to_string()
}

/// Small blocks, so that small objects have many, with a budget of their own.
pub fn blocks() -> Blocks {
    Blocks {
        bytes: BLOCK,
        concurrency: 3,
        budget: Budget::new(MIN_BUDGET),
    }
}

/// An object of unknown length, without properties and conditions.
pub fn new() -> NewObject {
    NewObject {
        properties: Properties::default(),
        size: None,
        blocks: blocks(),
        condition: Condition::None,
    }
}

/// An object that is made if `condition` holds.
pub fn new_if(condition: Condition) -> NewObject {
    NewObject { condition, ..new() }
}

/// A URL for a minute.
pub fn grant() -> Grant {
    Grant {
        lifetime: Duration::from_secs(60),
        step: Duration::from_secs(1),
        disposition: "attachment".to_owned(),
        content_type: "text/plain".to_owned(),
        cache_control: None,
    }
}

/// Properties of which each has a value.
pub fn properties() -> Properties {
    let some = |text: &str| Some(text.to_owned());
    let pairs = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter();
        pairs
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    Properties {
        content_type: some("text/plain; charset=utf-8"),
        cache_control: some("max-age=60, private"),
        content_disposition: some("attachment; filename=\"a.txt\""),
        content_encoding: some("gzip"),
        content_language: some("de, en"),
        expires: some("Thu, 01 Dec 2033 16:00:00 GMT"),
        metadata: pairs(&[("mtime", "1700000000.5"), ("author", "Ada")]),
        tags: pairs(&[("project", "one"), ("Project", "Two & three=3/ä")]),
    }
}

/// Puts an object of unknown length.
pub async fn put(bucket: &Pail, key: &Key, bytes: &Bytes) -> Result<Entry> {
    put_new(bucket, key, &new(), bytes).await
}

/// Puts an object, and sees that its memory is free again.
pub async fn put_new(bucket: &Pail, key: &Key, new: &NewObject, bytes: &Bytes) -> Result<Entry> {
    let entry = bucket.put(key, new, body(bytes)).await;
    let held = new.blocks.budget.held();
    assert_eq!(held, 0, "a put gives its memory back");
    entry
}

/// Reads an object, or a part of it, to its end.
pub async fn read(bucket: &Pail, key: &Key, range: Option<ByteRange>) -> Result<(Entry, Bytes)> {
    let opened = bucket.get(key, range, None).await?;
    Ok((opened.entry, opened.body.collect(usize::MAX).await?))
}

/// What is there, whichever way one asks: [`Bucket::head`], [`Bucket::get`] and [`Bucket::list`] must agree. `None` if nothing is.
pub async fn found(bucket: &Pail, key: &Key) -> Option<(Entry, Bytes)> {
    let head = bucket.head(key).await.expect("head");
    let listed = all(bucket, "").await;
    let listed = listed.into_iter().find(|entry| entry.key == *key);
    assert_eq!(
        head.as_ref().map(listed_of),
        listed.as_ref().map(listed_of),
        "a listing says what head says"
    );
    match read(bucket, key, None).await {
        Ok((entry, bytes)) => {
            assert_eq!(head.as_ref(), Some(&entry), "get says what head says");
            assert_eq!(entry.size, bytes.len() as u64);
            Some((entry, bytes))
        }
        Err(error) => {
            assert_eq!(error.kind(), crate::ErrorKind::NotFound, "{error:?}");
            assert_eq!(head, None, "head says what get says");
            None
        }
    }
}

/// What a listing says of an object, whatever the store; some say all.
fn listed_of(entry: &Entry) -> (&Key, u64, &str, time::OffsetDateTime, bool) {
    let Entry {
        key,
        size,
        etag,
        modified,
        archived,
        ..
    } = entry;
    (key, *size, etag, *modified, *archived)
}

/// What a call that stored an object says of it: all that is known, but for a few seconds of its time.
pub fn is_told(told: &Entry, now: &Entry) -> bool {
    let apart = (told.modified - now.modified).abs();
    let told = Entry {
        modified: now.modified,
        ..told.clone()
    };
    told == *now && apart <= time::Duration::seconds(5)
}

/// A page.
pub async fn page(
    bucket: &Pail,
    prefix: &str,
    delimiter: Option<&str>,
    after: Option<After>,
    limit: usize,
) -> ListPage {
    let request = ListRequest {
        prefix: prefix.to_owned(),
        delimiter: delimiter.map(str::to_owned),
        after,
        limit,
    };
    bucket.list(&request).await.expect("a page")
}

/// All objects below `prefix`.
pub async fn all(bucket: &Pail, prefix: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut after = None;
    loop {
        let page = page(
            bucket,
            prefix,
            None,
            after,
            crate::storage::bucket::MAX_LIST,
        )
        .await;
        entries.extend(page.entries);
        after = page.next;
        if after.is_none() {
            return entries;
        }
    }
}

/// All of `bytes`; then the end waits until [`Held::go_on`], of which this tells when it is reached.
pub fn held_body(bytes: &Bytes) -> (Body, Held) {
    let (asked, is_asked) = oneshot::channel();
    let (go, gone) = oneshot::channel::<()>();
    let bytes = bytes.clone();
    let rest = futures::stream::once(async move {
        let _ = asked.send(());
        let _ = gone.await;
        Ok(Bytes::new())
    });
    let chunks = futures::stream::iter([Ok(bytes)]);
    let body = Body::new(futures::StreamExt::chain(chunks, rest)).hashed(true);
    (body, Held { is_asked, go })
}

/// The end of a body that waits.
#[derive(Debug)]
pub struct Held {
    is_asked: oneshot::Receiver<()>,
    go: oneshot::Sender<()>,
}

impl Held {
    /// Waits until all bytes were taken.
    pub async fn is_asked(&mut self) {
        (&mut self.is_asked).await.expect("the body is alive");
    }

    /// Lets the body end.
    pub fn go_on(self) {
        let _ = self.go.send(());
    }
}

// Uploads in parts.

/// One upload in parts.
#[derive(Debug)]
pub struct Parts {
    /// Where it becomes an object.
    pub key: Key,
    /// What names it.
    pub upload: String,
}

impl Parts {
    /// Begins one.
    pub async fn begin(bucket: &Pail, key: &Key, properties: &Properties) -> Self {
        Self::begin_with(bucket, key, properties, None).await
    }

    /// As [`begin`](Self::begin), with a checksum.
    pub async fn begin_with(
        bucket: &Pail,
        key: &Key,
        properties: &Properties,
        checksum: Option<ChecksumPlan>,
    ) -> Self {
        let begun = bucket.begin(key, properties, checksum).await;
        let upload = begun.expect("begun");
        assert!(upload.len() <= 8 * 1024, "{} bytes", upload.len());
        let key = key.clone();
        Self { key, upload }
    }

    /// Begins one with two parts, which it returns as they are named, and their bytes.
    pub async fn with_two(bucket: &Pail, key: &Key) -> (Self, Vec<NamedPart>, Bytes) {
        let parts = Self::begin(bucket, key, &properties()).await;
        let (one, two) = (
            super::objects::pattern(2 * BLOCK + 1, 1),
            super::objects::pattern(100, 2),
        );
        let mut named = Vec::new();
        for (number, bytes) in [(1, &one), (2, &two)] {
            named.push(name(
                &parts.put(bucket, number, bytes).await.expect("a part"),
            ));
        }
        (parts, named, [one, two].concat().into())
    }

    /// As calls want it.
    pub fn of(&self) -> PartOf<'_> {
        PartOf {
            key: &self.key,
            upload: &self.upload,
        }
    }

    /// Puts a part whose length is told.
    pub async fn put(&self, bucket: &Pail, number: u16, bytes: &Bytes) -> Result<Part> {
        self.put_body(bucket, number, Some(bytes.len() as u64), body(bytes))
            .await
    }

    /// Puts a part, and sees that its memory is free again.
    pub async fn put_body(
        &self,
        bucket: &Pail,
        number: u16,
        size: Option<u64>,
        body: Body,
    ) -> Result<Part> {
        let part = NewPart {
            number,
            size,
            blocks: blocks(),
        };
        let budget = part.blocks.budget.clone();
        let stored = bucket.put_part(&self.of(), part, body).await;
        assert_eq!(budget.held(), 0, "a part gives its memory back");
        stored
    }

    /// All parts that are stored.
    pub async fn stored(&self, bucket: &Pail) -> Result<Vec<Part>> {
        bucket.parts(&self.of(), 0, usize::from(u16::MAX)).await
    }

    /// Gives it up.
    pub async fn abort(&self, bucket: &Pail) {
        bucket.abort(&self.of()).await.expect("aborted");
    }

    /// Makes an object of them, whatever is there.
    pub async fn complete(&self, bucket: &Pail, parts: &[NamedPart]) -> Result<Entry> {
        self.complete_if(bucket, parts, &Condition::None).await
    }

    /// Makes an object of them if `condition` holds.
    pub async fn complete_if(
        &self,
        bucket: &Pail,
        parts: &[NamedPart],
        condition: &Condition,
    ) -> Result<Entry> {
        let budget = Budget::new(MIN_BUDGET);
        let upload = self.of();
        let made = bucket.complete(&upload, parts, None, condition, &budget);
        let made = made.await;
        assert_eq!(budget.held(), 0, "an upload gives its memory back");
        made
    }
}

/// A part as a client names it.
pub fn name(part: &Part) -> NamedPart {
    NamedPart {
        number: part.number,
        etag: part.etag.clone(),
        checksum: None,
    }
}
