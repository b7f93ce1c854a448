//! Every name that is accepted is accepted again, and is written into a header that is ASCII, one line, and read back as
//! the same name.
#![no_main]

use attache::attachment::filename::Disposition;
use attache::attachment::filename::Filename;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(name) = text.parse::<Filename>() else {
        return;
    };
    assert!(name.as_str().encode_utf16().count() <= 255);
    let again: Filename = name.as_str().parse().expect("it is accepted again");
    assert_eq!(again, name);
    if let Some(extension) = name.extension() {
        assert!((1..=16).contains(&extension.len()), "{extension:?}");
    }
    for disposition in [Disposition::Inline, Disposition::Attachment] {
        let header = disposition.header(&name);
        assert!(
            header.bytes().all(|b| (0x20..0x7F).contains(&b)),
            "{header:?}"
        );
        let rest = header
            .strip_prefix(disposition.as_str())
            .expect("the type first");
        assert_eq!(read(rest), name.as_str(), "{header:?}");
    }
});

/// The name in the parameters of `Content-Disposition`, as RFC 6266 has clients read it: `filename*`, or else `filename`.
fn read(parameters: &str) -> String {
    let rest = parameters
        .strip_prefix("; filename=\"")
        .expect("a quoted name");
    let (plain, rest) = rest.split_once('"').expect("its end");
    // Nothing in quotes means anything but itself.
    assert!(!plain.contains(['\\', '%']), "{plain:?}");
    if rest.is_empty() {
        return plain.to_owned();
    }
    let encoded = rest
        .strip_prefix("; filename*=UTF-8''")
        .expect("nothing else");
    let (mut bytes, mut input) = (Vec::new(), encoded.bytes());
    while let Some(byte) = input.next() {
        match byte {
            b'%' => {
                let digits = [input.next(), input.next()].map(|digit| digit.expect("two digits"));
                let digits = std::str::from_utf8(&digits).expect("ASCII");
                bytes.push(u8::from_str_radix(digits, 16).expect("hexadecimal"));
            }
            // `attr-char` of RFC 8187 section 3.2.1.
            byte => {
                let plain = byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte);
                assert!(plain, "{encoded:?}");
                bytes.push(byte);
            }
        }
    }
    String::from_utf8(bytes).expect("UTF-8")
}
