//! Which bytes a `Range` asks for (RFC 9110 section 14), and how several parts travel in one body.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream;

use crate::attachment::ByteRange;
use crate::error::{Error, ErrorKind, Result};
use crate::transfer::body::Body;

/// Most ranges of one request. More than that is a probe or an attack, and is answered with the whole: RFC 9110 section
/// 14.2 leaves that to us.
pub const MAX_RANGES: usize = 8;

/// What is sent of an attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it: 200.
    Whole,
    /// One range of it: 206.
    One(ByteRange),
    /// Several ranges of it: 206, `multipart/byteranges`.
    Several(Multipart),
}

/// The parts of a `multipart/byteranges` body (RFC 9110 section 14.6): framing that is computed, ranges that are opened
/// one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multipart {
    boundary: String,
    content_type: String,
    size: u64,
    ranges: Vec<ByteRange>,
}

/// Reads the value of a `Range` header for an object of `size` bytes, as disjoint ranges in the order in which they were
/// asked for. Ranges that overlap or touch become one, at the place of the first of them.
///
/// An empty list means: answer with the whole. That is the rule for a unit other than bytes and for syntax that is not
/// understood, and our choice for more than [`MAX_RANGES`]. It is also the answer to a suffix of an empty object, which is
/// satisfiable and which no `Content-Range` can name.
///
/// # Errors
///
/// [`ErrorKind::BadRange`] if the header is understood and no range of it holds a byte of the object.
pub fn parse(header: &str, size: u64) -> Result<Vec<ByteRange>> {
    let Some((unit, set)) = header.split_once('=') else {
        return Ok(Vec::new());
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Ok(Vec::new());
    }
    let mut asked = 0;
    let mut suffix_of_nothing = false;
    let mut ranges: Vec<ByteRange> = Vec::new();
    // Empty elements of a list count for nothing (section 5.6.1.2).
    for spec in set.split(',').map(str::trim).filter(|s| !s.is_empty()) {
        asked += 1;
        let Some(spec) = Spec::read(spec).filter(|_| asked <= MAX_RANGES) else {
            return Ok(Vec::new());
        };
        suffix_of_nothing |= size == 0 && matches!(spec, Spec::Last(1..));
        if let Some(range) = spec.within(size) {
            join(&mut ranges, range);
        }
    }
    if asked > 0 && ranges.is_empty() && !suffix_of_nothing {
        return Err(Error::new(
            ErrorKind::BadRange,
            format!("the range is outside the attachment's {size} bytes"),
        ));
    }
    Ok(ranges)
}

/// `range-spec` of section 14.1.1, as it was written.
#[derive(Clone, Copy)]
enum Spec {
    /// `a-b`, both inclusive.
    Between(u64, u64),
    /// `a-`
    From(u64),
    /// `-n`
    Last(u64),
}

impl Spec {
    fn read(text: &str) -> Option<Self> {
        // A number of any length is a number; one that does not fit lies behind every end.
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse().unwrap_or(u64::MAX))
        };
        match text.split_once('-')? {
            ("", count) => number(count).map(Self::Last),
            (first, "") => number(first).map(Self::From),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }

    fn within(self, size: u64) -> Option<ByteRange> {
        let (start, end) = match self {
            Self::Between(first, last) => (first, last.saturating_add(1).min(size)),
            Self::From(first) => (first, size),
            Self::Last(count) => (size - count.min(size), size),
        };
        (start < end).then_some(ByteRange { start, end })
    }
}

/// Adds a range; those that overlap or touch it become one with it.
fn join(ranges: &mut Vec<ByteRange>, mut range: ByteRange) {
    let mut place = None;
    let mut i = 0;
    while i < ranges.len() {
        let other = ranges[i];
        if other.start <= range.end && range.start <= other.end {
            range.start = range.start.min(other.start);
            range.end = range.end.max(other.end);
            place.get_or_insert(i);
            ranges.remove(i);
            // What has grown may touch one that it did not touch before.
            i = 0;
        } else {
            i += 1;
        }
    }
    let place = place.unwrap_or(ranges.len()).min(ranges.len());
    ranges.insert(place, range);
}

impl Part {
    /// What to send for `ranges` of an object of `size` bytes that is served as `content_type`.
    pub fn of(ranges: Vec<ByteRange>, content_type: &str, size: u64) -> Self {
        match ranges.as_slice() {
            [] => Self::Whole,
            [one] => Self::One(*one),
            _ => Self::Several(Multipart {
                // 128 random bits: no content holds them, even if its sender tries.
                boundary: format!("attache-{:032x}", rand::random::<u128>()),
                content_type: content_type.to_owned(),
                size,
                ranges,
            }),
        }
    }
}

impl Multipart {
    /// The value of `Content-Type`.
    pub fn content_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    /// The ranges, disjoint, in the order in which they are sent.
    pub fn ranges(&self) -> &[ByteRange] {
        &self.ranges
    }

    /// Length of the body in bytes, framing included: what `Content-Length` says.
    pub fn length(&self) -> u64 {
        let framing: usize = (0..self.ranges.len()).map(|i| self.head(i).len()).sum();
        let bytes: u64 = self.ranges.iter().map(ByteRange::len).sum();
        (framing + self.tail().len()) as u64 + bytes
    }

    /// The body. The first range is opened now, so that a failure has a clean status; each other one when the one before
    /// it has been read to its end, so that one source is open at a time, whatever was asked for.
    ///
    /// # Errors
    ///
    /// Those of `open`. Those of later ranges are errors of the body.
    pub async fn body<F>(self, open: F) -> Result<Body>
    where
        F: Fn(ByteRange) -> BoxFuture<'static, Result<Body>> + Send + 'static,
    {
        let Some(first) = self.ranges.first() else {
            return Err(Error::internal("a multipart body without a part"));
        };
        let first = open(*first).await?;
        let parts = Parts {
            multipart: self,
            open,
            at: 0,
            state: State::Head(first),
        };
        Ok(Body::new(stream::try_unfold(parts, Parts::step)))
    }

    /// What goes before a part.
    fn head(&self, index: usize) -> String {
        let ByteRange { start, end } = self.ranges[index];
        format!(
            "{}--{}\r\nContent-Type: {}\r\nContent-Range: bytes {start}-{}/{}\r\n\r\n",
            if index == 0 { "" } else { "\r\n" },
            self.boundary,
            self.content_type,
            end - 1,
            self.size
        )
    }

    /// What goes behind the last part.
    fn tail(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary)
    }
}

/// A multipart body on its way.
struct Parts<F> {
    multipart: Multipart,
    open: F,
    at: usize,
    state: State,
}

enum State {
    /// The head of the part is to come, its bytes are open.
    Head(Body),
    Bytes(Body),
    Ended,
}

impl<F> Parts<F>
where
    F: Fn(ByteRange) -> BoxFuture<'static, Result<Body>>,
{
    async fn step(mut self) -> Result<Option<(Bytes, Self)>> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Head(body) => {
                    let head = self.multipart.head(self.at);
                    self.state = State::Bytes(body);
                    return Ok(Some((head.into(), self)));
                }
                State::Bytes(mut body) => {
                    if let Some(chunk) = body.next().await {
                        self.state = State::Bytes(body);
                        return Ok(Some((chunk?, self)));
                    }
                    drop(body);
                    self.at += 1;
                    let Some(range) = self.multipart.ranges.get(self.at) else {
                        return Ok(Some((self.multipart.tail().into(), self)));
                    };
                    self.state = State::Head((self.open)(*range).await?);
                }
                State::Ended => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;

    fn ranges(header: &str, size: u64) -> Option<Vec<(u64, u64)>> {
        let ranges = parse(header, size).ok()?;
        Some(ranges.iter().map(|r| (r.start, r.end)).collect())
    }

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        for (header, wanted) in [
            ("bytes=0-9", vec![(0, 10)]),
            ("bytes=90-", vec![(90, 100)]),
            ("bytes=-10", vec![(90, 100)]),
            ("bytes=-1000", vec![(0, 100)]),
            ("bytes=50-99999999999999999999999", vec![(50, 100)]),
            ("BYTES = 0-0", vec![(0, 1)]),
            ("bytes=0-1, 5-6", vec![(0, 2), (5, 7)]),
            ("bytes=, 0-1,,5-6 ,", vec![(0, 2), (5, 7)]),
            // The order is the client's.
            ("bytes=5-6,0-1", vec![(5, 7), (0, 2)]),
            // Outside counts for nothing as long as something lies inside.
            ("bytes=0-1,100-,-0", vec![(0, 2)]),
            // Overlapping and adjacent ones become one, where the first of them was.
            ("bytes=0-9,5-14", vec![(0, 15)]),
            ("bytes=0-9,10-19", vec![(0, 20)]),
            ("bytes=0-1,50-60,2-3", vec![(0, 4), (50, 61)]),
            ("bytes=20-29,0-9,10-19", vec![(0, 30)]),
            ("bytes=0-,0-,0-,0-", vec![(0, 100)]),
            ("bytes=-1,0-0,-100", vec![(0, 100)]),
        ] {
            assert_eq!(ranges(header, 100), Some(wanted), "{header}");
        }
        for ignored in [
            "lines=1-2",
            "bytes=5-1",
            "bytes=0-1,5-1",
            "bytes=a-b",
            "bytes=1-2-3",
            "bytes=--1",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=+1-2",
            "bytes=0 - 1",
            "bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16",
        ] {
            assert_eq!(ranges(ignored, 100), Some(Vec::new()), "{ignored}");
        }
        let eight = "bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14";
        assert_eq!(ranges(eight, 100).map(|ranges| ranges.len()), Some(8));
        for outside in ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=100-,200-"] {
            assert_eq!(ranges(outside, 100), None, "{outside}");
        }
        assert_eq!(ranges("bytes=0-", 0), None);
        assert_eq!(ranges("bytes=-5", 0), Some(Vec::new()));
    }

    proptest! {
        #[test]
        fn ranges_are_disjoint_hold_what_was_asked_for_and_nothing_else(
            asked in prop::collection::vec((0..40_u64, 0..40_u64), 1..=MAX_RANGES),
            size in 1..40_u64,
        ) {
            let specs: Vec<String> = asked
                .iter()
                .map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)))
                .collect();
            let wanted = |at: u64| at < size && asked.iter().any(|(a, b)| (*a.min(b)..=*a.max(b)).contains(&at));
            match parse(&format!("bytes={}", specs.join(",")), size) {
                Err(_) => prop_assert!((0..40).all(|at| !wanted(at))),
                Ok(ranges) => {
                    for at in 0..40 {
                        let times = ranges.iter().filter(|r| (r.start..r.end).contains(&at)).count();
                        prop_assert_eq!(times, usize::from(wanted(at)), "byte {}", at);
                    }
                    for one in &ranges {
                        prop_assert!(ranges.iter().all(|r| r == one || r.end < one.start || one.end < r.start));
                    }
                }
            }
        }

        #[test]
        fn no_header_makes_it_panic(header in ".{0,60}", size in any::<u64>()) {
            let _ = parse(&header, size);
            let _ = parse(&format!("bytes={header}"), size);
        }
    }

    fn several(header: &str) -> Multipart {
        match Part::of(parse(header, 100).expect("satisfiable"), "text/plain", 100) {
            Part::Several(multipart) => multipart,
            other => panic!("{other:?}"),
        }
    }

    fn source(range: ByteRange) -> Body {
        let bytes: Vec<u8> = (range.start..range.end)
            .map(|b| u8::try_from(b).expect("small"))
            .collect();
        Body::from_bytes(bytes)
    }

    #[tokio::test]
    async fn the_length_is_exact_and_one_part_is_open_at_a_time() {
        let multipart = several("bytes=0-9,20-29,-5");
        let (length, boundary) = (multipart.length(), multipart.boundary.clone());
        let opened = Arc::new(AtomicUsize::new(0));
        let counter = opened.clone();
        let mut body = multipart
            .body(move |range| {
                counter.fetch_add(1, Ordering::Relaxed);
                Box::pin(async move { Ok(source(range)) })
            })
            .await
            .expect("opens");
        let (mut all, mut open) = (Vec::new(), Vec::new());
        while let Some(chunk) = body.next().await {
            all.extend_from_slice(&chunk.expect("no fault"));
            open.push(opened.load(Ordering::Relaxed));
        }
        // Head and bytes of each part, and the tail.
        assert_eq!(open, [1, 1, 2, 2, 3, 3, 3]);
        assert_eq!(all.len() as u64, length);
        let first = format!(
            "--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-9/100\r\n\r\n\0\x01"
        );
        assert!(all.starts_with(first.as_bytes()));
        assert!(all.ends_with(format!("\r\n--{boundary}--\r\n").as_bytes()));
    }

    #[tokio::test]
    async fn a_part_that_fails_ends_the_body_with_its_error() {
        let mut body = several("bytes=0-9,20-29")
            .body(|range| {
                Box::pin(async move {
                    match range.start {
                        0 => Ok(source(range)),
                        _ => Err(Error::internal("gone")),
                    }
                })
            })
            .await
            .expect("the first part opens");
        assert!(body.next().await.expect("a head").is_ok());
        assert!(body.next().await.expect("bytes").is_ok());
        assert!(body.next().await.expect("an error, no end").is_err());
        assert!(body.next().await.is_none());
    }
}
