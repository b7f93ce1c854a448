//! A type is decided for any bytes, by the first of them alone; what is shown is neither markup nor a script.
#![no_main]

use attache::attachment::filename::Disposition;
use attache::attachment::media::{self, Guarded, SNIFF_BYTES};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Option<&str>, Option<&str>, &[u8])| {
    let (claim, name, bytes) = input;
    let name = name.and_then(|name| name.parse().ok());
    let decided = media::decide(claim, bytes, name.as_ref());
    let longer = [bytes, &[0; 16]].concat();
    if bytes.len() >= SNIFF_BYTES {
        assert_eq!(media::decide(claim, &longer, name.as_ref()), decided);
    }
    for utf8 in [None, Some(true), Some(false)] {
        let settled = media::settled(&decided, utf8);
        assert_eq!(media::essence(&settled), media::essence(&decided));
        assert_eq!(media::settled(&settled, utf8), settled, "{decided}");
        let listed =
            ["image/*", "audio/*", "video/*", "text/*", "application/*"].map(str::to_owned);
        let served = media::serve(&settled, Disposition::Inline, &listed, Guarded::No);
        assert!(
            served
                .content_type
                .bytes()
                .all(|b| (0x20..0x7F).contains(&b))
        );
        if served.disposition == Disposition::Inline {
            for active in ["/html", "html+", "/xml", "+xml", "javascript", "/css"] {
                assert!(
                    !media::essence(&served.content_type).contains(active),
                    "{served:?}"
                );
            }
        }
    }
});
