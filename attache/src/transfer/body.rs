//! A stream of bytes that counts, hashes and checks itself.
//!
//! Verification works by *poisoning the end*: a body that is too long, too short or has another digest
//! than was promised yields an error instead of its end. Whoever stores a body commits only after its end,
//! so no storage can commit a bad object, and none has to know what was promised. Where the length is known, the
//! digests are checked before the last chunk is let go: a client that counts bytes cannot take a bad body for complete.

use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use futures::stream::{BoxStream, Stream, StreamExt};
use md5::Md5;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, Sleep};

use crate::attachment::Hex;
use crate::config::value::{bytes, duration, show_bytes, show_duration};
use crate::error::{Error, ErrorKind, Result};
use crate::transfer::utf8::Utf8Check;

/// What is known of a body once its end was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// Length in bytes.
    pub size: u64,
    /// SHA-256, if it was asked for.
    pub sha256: Option<Hex<32>>,
    /// MD5, if it was asked for.
    pub md5: Option<Hex<16>>,
    /// CRC-64/NVME, if it was asked for: the CRC that Azure Blob Storage computes
    /// (<https://learn.microsoft.com/rest/api/storageservices/put-blob>, `x-ms-content-crc64`).
    pub crc64: Option<u64>,
    /// Whether all bytes are UTF-8, if digests were asked for. ISO-2022-JP, which looks like ASCII, is not.
    pub utf8: Option<bool>,
}

/// What a body must turn out to be. An unset field is not checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected {
    /// Exact length in bytes.
    pub size: Option<u64>,
    /// Longest length in bytes that is let through.
    pub max_size: Option<u64>,
    /// SHA-256 of all bytes.
    pub sha256: Option<[u8; 32]>,
    /// MD5 of all bytes.
    pub md5: Option<[u8; 16]>,
    /// CRC-64/NVME of all bytes.
    pub crc64: Option<u64>,
}

/// A stream of bytes, pulled by its reader: nothing is read ahead, dropping it ends its source.
///
/// After the first error, or after the end, it yields nothing more.
pub struct Body {
    chunks: BoxStream<'static, Result<Bytes>>,
    meter: Meter,
    expected: Expected,
    pace: Option<Pace>,
    state: State,
    /// The length that was promised is reached, and everything holds; only the end itself is to come.
    sealed: Option<Digests>,
    resumed: Option<Arc<AtomicBool>>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Open,
    Ended,
    Failed,
}

#[derive(Default)]
struct Meter {
    size: u64,
    sha256: Option<Sha256>,
    md5: Option<Md5>,
    crc64: Option<Crc>,
    utf8: Option<Utf8Check>,
    digests: Option<Digests>,
}

/// How long a transfer may take: a base, and time for every byte at the slowest rate that is tolerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The base.
    pub base: Duration,
    /// Bytes per second.
    pub rate: u64,
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} + size at {}/s",
            show_duration(self.base),
            show_bytes(self.rate)
        )
    }
}

impl FromStr for Allowance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("is \"{text}\"; write a base and a rate, such as \"5m + size at 64KiB/s\"");
        let (base, rate) = text.split_once('+').ok_or_else(wrong)?;
        let rate = rate.trim().trim_start_matches("size at").trim();
        let rate = rate.strip_suffix("/s").ok_or_else(wrong)?;
        Ok(Self {
            base: duration(base.trim())?,
            rate: bytes(rate.trim())
                .ok()
                .filter(|rate| *rate > 0)
                .ok_or_else(wrong)?,
        })
    }
}

impl Allowance {
    /// The time for `size` bytes.
    pub fn of(&self, size: u64) -> Duration {
        self.base + Duration::from_secs(size / self.rate.max(1))
    }
}

struct Pace {
    idle: Duration,
    started: Instant,
    allowance: Allowance,
    /// The length, if it is known; otherwise the allowance grows with what has come.
    size: u64,
    /// The nearer of the two limits, armed while a chunk is awaited.
    timer: Pin<Box<Sleep>>,
    armed: Option<Instant>,
    floor: Option<Floor>,
    late: fn(&'static str) -> Error,
}

/// What must come in a stretch of waiting.
struct Floor {
    bytes: u64,
    stretch: Duration,
    /// How long this stretch has been waited for bytes. Time in which nobody asked for any does not count.
    waited: Duration,
    /// What had come when it began.
    from: u64,
}

impl Body {
    /// A body that yields `chunks`. An error among them ends it.
    pub fn new(chunks: impl Stream<Item = Result<Bytes>> + Send + 'static) -> Self {
        Self {
            chunks: chunks.boxed(),
            meter: Meter::default(),
            expected: Expected::default(),
            pace: None,
            state: State::Open,
            sealed: None,
            resumed: None,
        }
    }

    /// Says where it is noted that the body broke on its way and was resumed.
    #[must_use]
    pub fn noting_resumes(mut self, resumed: Arc<AtomicBool>) -> Self {
        self.resumed = Some(resumed);
        self
    }

    /// Whether it broke on its way so far, and was resumed.
    pub fn was_resumed(&self) -> bool {
        let resumed = self.resumed.as_ref();
        resumed.is_some_and(|resumed| resumed.load(Ordering::Relaxed))
    }

    /// A body of bytes that are in memory already.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let chunk = (!bytes.is_empty()).then_some(Ok(bytes));
        Self::new(futures::stream::iter(chunk))
    }

    /// Computes SHA-256 and CRC-64 of the bytes as they pass, and MD5 if `md5` is set; and whether they are UTF-8.
    ///
    /// MD5 costs more CPU than the others together (no instruction helps it), so it is a choice.
    #[must_use]
    pub fn hashed(mut self, md5: bool) -> Self {
        self.meter.sha256 = Some(Sha256::new());
        self.meter.crc64 = Some(Crc::new(CrcAlgorithm::Crc64Nvme));
        self.meter.md5 = md5.then(Md5::new);
        self.meter.utf8 = Some(Utf8Check::default());
        self
    }

    /// Checks length and digests; hashes what this needs.
    #[must_use]
    pub fn expecting(mut self, expected: Expected) -> Self {
        if expected.sha256.is_some() {
            self.meter.sha256.get_or_insert_with(Sha256::new);
        }
        if expected.md5.is_some() {
            self.meter.md5.get_or_insert_with(Md5::new);
        }
        if expected.crc64.is_some() {
            self.meter
                .crc64
                .get_or_insert_with(|| Crc::new(CrcAlgorithm::Crc64Nvme));
        }
        self.expected = expected;
        self
    }

    /// Ends the body with the error `late(what)` when no chunk comes for `idle` although one is awaited, or when it
    /// takes longer than `allowance` for `size` bytes (for what has come, if the size is not known). Time in which nobody
    /// asks for a chunk counts for the whole only: a reader that pauses is not a dead source.
    #[must_use]
    pub fn paced(
        mut self,
        idle: Duration,
        allowance: Allowance,
        size: Option<u64>,
        late: fn(&'static str) -> Error,
    ) -> Self {
        let started = Instant::now();
        self.pace = Some(Pace {
            idle,
            started,
            allowance,
            size: size.unwrap_or(0),
            timer: Box::pin(tokio::time::sleep_until(started + idle)),
            armed: None,
            floor: None,
            late,
        });
        self
    }

    /// Ends a [paced](Self::paced) body whose bytes come too slowly, too: `bytes` must come in each two idle limits of
    /// waiting. A limit of the whole time alone believes whatever length was announced.
    #[must_use]
    pub fn no_slower_than(mut self, bytes: u64) -> Self {
        if let Some(pace) = &mut self.pace {
            pace.floor = Some(Floor {
                bytes,
                stretch: pace.idle * 2,
                waited: Duration::ZERO,
                from: 0,
            });
        }
        self
    }

    /// The next chunk; `None` once the end was reached and everything that was expected holds.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        StreamExt::next(self).await
    }

    /// Bytes that were yielded so far.
    pub fn received(&self) -> u64 {
        self.meter.size
    }

    /// Length and digests, once the end was reached; `None` before, and after an error.
    pub fn digests(&self) -> Option<Digests> {
        self.meter.digests
    }

    /// Reads everything into memory.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] as soon as more than `limit` bytes came, and every error of the body.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes> {
        let mut all = Vec::new();
        while let Some(chunk) = self.next().await {
            let chunk = chunk?;
            if all.len() + chunk.len() > limit {
                return Err(Error::new(
                    ErrorKind::TooLarge,
                    format!("more than {limit} bytes"),
                ));
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.into())
    }

    fn finish(&mut self) -> Result<Digests> {
        if let Some(digests) = self.sealed {
            return Ok(digests);
        }
        let digests = self.meter.finish();
        let expected = &self.expected;
        if let Some(size) = expected.size.filter(|size| *size != digests.size) {
            return Err(mismatch("length", size, digests.size));
        }
        if let (Some(want), Some(got)) = (expected.sha256, digests.sha256)
            && want != got.0
        {
            return Err(mismatch("SHA-256", Hex(want), got));
        }
        if let (Some(want), Some(got)) = (expected.md5, digests.md5)
            && want != got.0
        {
            return Err(mismatch("MD5", Hex(want), got));
        }
        if let (Some(want), Some(got)) = (expected.crc64, digests.crc64)
            && want != got
        {
            return Err(mismatch(
                "CRC-64",
                Hex(want.to_be_bytes()),
                Hex(got.to_be_bytes()),
            ));
        }
        Ok(digests)
    }

    fn admit(&mut self, chunk: &Bytes) -> Result<()> {
        let size = self.meter.size + chunk.len() as u64;
        if let Some(max) = self.expected.max_size.filter(|max| size > *max) {
            return Err(too_large(max));
        }
        if let Some(exact) = self.expected.size.filter(|exact| size > *exact) {
            return Err(mismatch("length", exact, format!("more than {exact}")));
        }
        self.meter.update(chunk);
        if self.expected.size == Some(size) {
            self.sealed = Some(self.finish()?);
        }
        Ok(())
    }
}

impl Stream for Body {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if this.state != State::Open {
                return Poll::Ready(None);
            }
            let outcome = match this.chunks.poll_next_unpin(cx) {
                Poll::Pending => match this
                    .pace
                    .as_mut()
                    .map(|pace| pace.poll_late(this.meter.size, cx))
                {
                    Some(Poll::Ready(late)) => Err(late),
                    _ => return Poll::Pending,
                },
                Poll::Ready(Some(Ok(chunk))) if chunk.is_empty() => continue,
                Poll::Ready(Some(Ok(chunk))) => this.admit(&chunk).map(|()| Some(chunk)),
                Poll::Ready(Some(Err(error))) => Err(error),
                Poll::Ready(None) => this.finish().map(|digests| {
                    this.meter.digests = Some(digests);
                    None
                }),
            };
            if let Some(pace) = &mut this.pace {
                pace.came();
            }
            return Poll::Ready(match outcome {
                Ok(Some(chunk)) => Some(Ok(chunk)),
                Ok(None) => {
                    this.state = State::Ended;
                    None
                }
                Err(error) => {
                    this.state = State::Failed;
                    Some(Err(error))
                }
            });
        }
    }
}

impl Pace {
    /// The wait is over.
    fn came(&mut self) {
        if let (Some(since), Some(floor)) = (self.armed.take(), &mut self.floor) {
            floor.waited += since.elapsed();
        }
    }

    fn poll_late(&mut self, received: u64, cx: &mut Context<'_>) -> Poll<Error> {
        let deadline = self.started + self.allowance.of(self.size.max(received));
        loop {
            let since = match self.armed {
                Some(since) => since,
                None => {
                    let now = Instant::now();
                    let mut limit = (now + self.idle).min(deadline);
                    if let Some(floor) = &self.floor {
                        limit = limit.min(now + floor.stretch.saturating_sub(floor.waited));
                    }
                    self.timer.as_mut().reset(limit);
                    *self.armed.insert(now)
                }
            };
            if std::future::Future::poll(self.timer.as_mut(), cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if now >= deadline {
                return Poll::Ready((self.late)(
                    "timed out: the transfer took longer than its limit",
                ));
            }
            if now >= since + self.idle {
                return Poll::Ready((self.late)(
                    "timed out: no bytes for longer than the idle limit",
                ));
            }
            // The end of a stretch.
            self.came();
            if let Some(floor) = &mut self.floor {
                if received - floor.from < floor.bytes {
                    return Poll::Ready((self.late)("the transfer is too slow"));
                }
                (floor.from, floor.waited) = (received, Duration::ZERO);
            }
        }
    }
}

impl Meter {
    fn update(&mut self, chunk: &[u8]) {
        self.size += chunk.len() as u64;
        if let Some(hasher) = &mut self.sha256 {
            hasher.update(chunk);
        }
        if let Some(hasher) = &mut self.md5 {
            hasher.update(chunk);
        }
        if let Some(hasher) = &mut self.crc64 {
            hasher.update(chunk);
        }
        if let Some(check) = &mut self.utf8 {
            check.update(chunk);
        }
    }

    fn finish(&mut self) -> Digests {
        Digests {
            size: self.size,
            sha256: self
                .sha256
                .take()
                .map(|hasher| Hex(hasher.finalize().into())),
            md5: self.md5.take().map(|hasher| Hex(hasher.finalize().into())),
            crc64: self.crc64.take().map(|hasher| hasher.finalize()),
            utf8: self.utf8.take().map(Utf8Check::finish),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("received", &self.meter.size)
            .finish_non_exhaustive()
    }
}

/// CRC-64/NVME of `bytes`.
pub fn crc64(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

/// The error for an upload of more than `max` bytes.
pub(crate) fn too_large(max: u64) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!("the file is larger than the {max} bytes that are allowed"),
    )
}

/// The error for an upload that stalls.
pub(crate) fn sender_late(what: &'static str) -> Error {
    Error::new(ErrorKind::ClientTimeout, format!("upload aborted: {what}"))
}

/// The error for a store that stalls in the middle of a download.
pub(crate) fn store_late(what: &'static str) -> Error {
    Error::new(
        ErrorKind::UpstreamTimeout,
        format!("download aborted: {what}"),
    )
}

fn mismatch(what: &str, want: impl fmt::Display, got: impl fmt::Display) -> Error {
    Error::new(
        ErrorKind::DigestMismatch,
        format!("{what} mismatch: expected {want}, got {got}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(chunks: &[&'static [u8]]) -> Body {
        let chunks: Vec<_> = chunks.iter().map(|c| Ok(Bytes::from_static(c))).collect();
        Body::new(futures::stream::iter(chunks))
    }

    async fn end(mut body: Body) -> Result<Digests> {
        while let Some(chunk) = body.next().await {
            chunk?;
        }
        Ok(body.digests().expect("a body that ended has digests"))
    }

    #[tokio::test]
    async fn digests_are_known_at_the_end_and_do_not_depend_on_the_chunks() {
        let whole = end(body(&[b"123456789"]).hashed(true)).await.expect("ends");
        let split = end(body(&[b"1234", b"", b"56789"]).hashed(true))
            .await
            .expect("ends");
        assert_eq!(whole, split);
        assert_eq!(whole.size, 9);
        assert_eq!(whole.crc64, Some(0xAE8B_1486_0A79_9888), "the check value");
        assert_eq!(
            whole.md5.expect("asked for").to_string(),
            "25f9e794323b453885f5181f1b624d0b"
        );
    }

    #[tokio::test]
    async fn a_broken_promise_is_an_error_in_place_of_the_end() {
        for (expected, kind) in [
            (
                Expected {
                    size: Some(8),
                    ..Expected::default()
                },
                ErrorKind::DigestMismatch,
            ),
            (
                Expected {
                    size: Some(10),
                    ..Expected::default()
                },
                ErrorKind::DigestMismatch,
            ),
            (
                Expected {
                    max_size: Some(8),
                    ..Expected::default()
                },
                ErrorKind::TooLarge,
            ),
            (
                Expected {
                    md5: Some([0; 16]),
                    ..Expected::default()
                },
                ErrorKind::DigestMismatch,
            ),
            (
                Expected {
                    sha256: Some([0; 32]),
                    ..Expected::default()
                },
                ErrorKind::DigestMismatch,
            ),
            (
                Expected {
                    crc64: Some(0),
                    ..Expected::default()
                },
                ErrorKind::DigestMismatch,
            ),
        ] {
            let mut body = body(&[b"1234", b"56789"]).expecting(expected);
            let error = loop {
                match body.next().await.expect("an error before the end") {
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), kind, "{expected:?}");
            assert!(body.next().await.is_none(), "nothing follows an error");
            assert!(body.digests().is_none());
        }
    }

    fn allowance(seconds: u64) -> Allowance {
        Allowance {
            base: Duration::from_secs(seconds),
            rate: 1024,
        }
    }

    #[tokio::test]
    async fn a_bad_digest_holds_back_the_last_chunk_where_the_length_is_known() {
        let mut body = body(&[b"1234", b"56789"]).expecting(Expected {
            size: Some(9),
            crc64: Some(0),
            ..Expected::default()
        });
        assert!(body.next().await.expect("the first chunk").is_ok());
        assert!(body.next().await.expect("the last chunk").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_paced_body_but_a_pausing_reader_does_not() {
        let (idle, total) = (Duration::from_secs(60), allowance(3600));
        let chunks =
            futures::stream::iter([Ok(Bytes::from_static(b"a"))]).chain(futures::stream::pending());
        let mut body = Body::new(chunks).paced(idle, total, None, sender_late);
        // The reader pauses far longer than the idle limit.
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(body.next().await.expect("a chunk").is_ok());
        let before = Instant::now();
        let error = body.next().await.expect("an error").expect_err("late");
        assert_eq!(error.kind(), ErrorKind::ClientTimeout);
        assert_eq!(before.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_drips_is_given_up_and_one_that_is_slow_is_not() {
        let dripping = |bytes: usize, every: Duration| {
            let drip = futures::stream::unfold((), move |()| async move {
                tokio::time::sleep(every).await;
                Some((Ok(Bytes::from(vec![0; bytes])), ()))
            });
            let (idle, day) = (Duration::from_secs(60), Duration::from_secs(86_400));
            let allowance = Allowance { base: day, rate: 1 };
            Body::new(drip.take(1000))
                .paced(idle, allowance, Some(1 << 30), sender_late)
                .no_slower_than(64 * 1024)
        };
        // What a limit of the whole time, which believes the announced gigabyte, would let go on for a day.
        let start = Instant::now();
        let mut body = dripping(1, Duration::from_secs(1));
        let error = loop {
            match body.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("it came to its end"),
            }
        };
        assert_eq!(error.kind(), ErrorKind::ClientTimeout);
        let after = start.elapsed().as_secs();
        assert!((119..=121).contains(&after), "{after}");
        // Half a minute of silence now and then is a network, not an attack.
        let mut body = dripping(64 * 1024, Duration::from_secs(50));
        for _ in 0..1000 {
            body.next().await.expect("a chunk").expect("in time");
        }
        // Nor does it count how long nobody asked.
        let mut body = dripping(1024, Duration::from_secs(1));
        for _ in 0..100 {
            body.next().await.expect("a chunk").expect("in time");
            tokio::time::sleep(Duration::from_secs(600)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_ends_at_the_total_limit() {
        let chunks = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(50)).await;
            Some((Ok(Bytes::from_static(b"a")), ()))
        });
        let start = Instant::now();
        let mut body =
            Body::new(chunks).paced(Duration::from_secs(60), allowance(300), None, sender_late);
        let error = loop {
            match body.next().await.expect("an error ends it") {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::ClientTimeout);
        assert_eq!(start.elapsed().as_secs(), 300);
    }
}
