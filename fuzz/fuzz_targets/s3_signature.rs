//! What a request says of its signature: read without a panic, and never good, since nobody who fuzzes has the key.
#![no_main]
#![allow(
    dead_code,
    reason = "the server uses all of the folder, this a part of it"
)]

#[path = "../../attache-server/src/s3/signature/mod.rs"]
mod signature;

use attache::secret::Secret;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use signature::{Query, Signed, v2, v4};
use time::macros::datetime;

/// When AWS's examples were signed, of which the seeds are made.
const NOW: time::OffsetDateTime = datetime!(2013-05-24 0:00 UTC);

fuzz_target!(|input: &[u8]| {
    // Method, path, query, and then headers, a line each.
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let mut lines = text.split('\n');
    let [Some(method), Some(path), Some(query)] = [lines.next(), lines.next(), lines.next()] else {
        return;
    };
    let mut headers = HeaderMap::new();
    for line in lines.take(100) {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            headers.append(name, value);
        }
    }
    let Some(query) = Query::parse(query) else {
        return;
    };
    for (name, value) in query.iter() {
        for text in [name, value] {
            assert_eq!(
                signature::decode(&signature::encode(text), true).as_deref(),
                Some(text)
            );
        }
    }
    let secret = Secret::new("nobody has this one");
    let hosts = ["a.example".to_owned(), "b.example:9000".to_owned()];
    let request = Signed {
        method,
        path,
        query: &query,
        headers: &headers,
        hosts: &hosts,
    };
    for claim in [
        v4::Claim::of_header(&headers),
        v4::Claim::of_query(&query, &headers),
        v4::Claim::of_form(|name| query.get_any_case(name)),
    ] {
        if let Ok(Some(claim)) = claim {
            assert!(claim.verify(&secret, &request, NOW).is_err());
            assert!(claim.verify_policy(&secret, path).is_err());
        }
    }
    if let Ok(Some(claim)) = v2::Claim::of_query(&query) {
        for bucket in [None, Some("bucket")] {
            assert!(claim.verify(&secret, &request, bucket, NOW).is_err());
        }
    }
});
