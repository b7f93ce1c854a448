//! A `Range` header, whatever it is, gives parts of the object, the whole, or an error.
#![no_main]

use attache::ErrorKind;
use attache::transfer::ranges::{self, MAX_RANGES};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    // The size of the object, a space, and the header.
    let Some((size, header)) = input.split_once(' ') else {
        return;
    };
    let Ok(size) = size.parse() else {
        return;
    };
    let ranges = match ranges::parse(header, size) {
        Ok(ranges) if ranges.is_empty() => return,
        Ok(ranges) => ranges,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::BadRange);
            return;
        }
    };
    assert!(ranges.len() <= MAX_RANGES, "{}", ranges.len());
    for range in &ranges {
        assert!(
            range.start < range.end && range.end <= size,
            "{range:?} of {size}"
        );
        assert_eq!(range.len(), range.end - range.start);
    }
    let mut ascending: Vec<_> = ranges
        .iter()
        .map(|range| (range.start, range.end))
        .collect();
    ascending.sort_unstable();
    for pair in ascending.windows(2) {
        assert!(pair[0].1 < pair[1].0, "{pair:?} overlap or touch");
    }
    // Written out, they are what they were.
    let plain: Vec<_> = ranges
        .iter()
        .map(|range| format!("{}-{}", range.start, range.end - 1))
        .collect();
    let plain = format!("bytes={}", plain.join(","));
    let again = ranges::parse(&plain, size).expect("it holds bytes");
    assert_eq!(again, ranges);
});
