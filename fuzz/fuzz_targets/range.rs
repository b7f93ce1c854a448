//! A `Range` header, whatever it is, gives a part of the object, the whole, or an error.
#![no_main]

use attache::ErrorKind;
use attache::attachment::ByteRange;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    // The size of the object, a space, and the header.
    let Some((size, header)) = input.split_once(' ') else {
        return;
    };
    let Ok(size) = size.parse() else {
        return;
    };
    match ByteRange::parse(header, size) {
        Ok(None) => {}
        Ok(Some(range)) => {
            assert!(
                range.start < range.end && range.end <= size,
                "{range:?} of {size}"
            );
            assert_eq!(range.len(), range.end - range.start);
            // Written out, it is what it was.
            let plain = format!("bytes={}-{}", range.start, range.end - 1);
            let again = ByteRange::parse(&plain, size).expect("it holds bytes");
            assert_eq!(again, Some(range));
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::BadRange),
    }
});
