//! Of any request the one true signature is good, and nothing else is, nor a reason to panic.

use http::HeaderValue;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use time::macros::datetime;

use super::*;

const THEN: OffsetDateTime = datetime!(2026-01-02 3:04:05 UTC);
const TIMESTAMP: &str = "20260102T030405Z";
const ID: &str = "ATTA0123456789ABCDEF";
const SECRET: &str = "0123456789012345678901234567890123456789";
const SCOPE: &str = "20260102/auto/s3/aws4_request";

impl ChunkSigner {
    /// What a client and a server have after a head that was good.
    pub(crate) fn of_client() -> Self {
        Self {
            key: Zeroizing::new([7; 32]),
            timestamp: TIMESTAMP.to_owned(),
            scope: SCOPE.to_owned(),
            previous: "0".repeat(64),
        }
    }

    pub(crate) fn sign_chunk(&mut self, bytes: &[u8]) -> String {
        // No signature is empty; the good one is what the next is signed with.
        let _ = self.chunk(Sha256::digest(bytes).into(), "");
        self.previous.clone()
    }

    pub(crate) fn sign_trailer(&mut self, lines: &[u8]) -> String {
        let _ = self.trailer(lines, "");
        self.previous.clone()
    }
}

#[derive(Clone, Debug)]
struct Sample {
    method: String,
    path: String,
    /// As it is sent.
    query: String,
    host: String,
    headers: HeaderMap,
}

impl Sample {
    /// Whose signature it has, if it is good.
    fn signed_by(&self, secret: &str, now: OffsetDateTime) -> Option<String> {
        let query = Query::parse(&self.query)?;
        let by_header = Claim::of_header(&self.headers).ok()?;
        let claim = by_header.or_else(|| Claim::of_query(&query, &self.headers).ok()?)?;
        let verified = claim.verify(&Secret::new(secret), &self.signed(&query), now);
        verified.ok().map(|_| claim.access_key_id)
    }

    fn is_good(&self) -> bool {
        self.signed_by(SECRET, THEN).as_deref() == Some(ID)
    }

    fn signed<'a>(&'a self, query: &'a Query) -> Signed<'a> {
        Signed {
            method: &self.method,
            path: &self.path,
            query,
            headers: &self.headers,
            hosts: std::slice::from_ref(&self.host),
        }
    }

    /// What a client that has the key signs it with.
    fn signature(&self, claim: &Claim) -> String {
        let query = Query::parse(&self.query).expect("a query");
        let canonical = claim.canonical(&self.signed(&query), &self.host);
        let text = claim.string_to_sign(&canonical.expect("all headers are there"));
        let key = claim.signing_key(&Secret::new(SECRET));
        hex(hmac_sha256(&*key, text.as_bytes()))
    }

    fn in_header(mut self) -> Self {
        let front = format!(
            "{ALGORITHM} Credential={ID}/{SCOPE}, SignedHeaders=host;range;x-amz-content-sha256;x-amz-date;x-amz-meta-a, \
             Signature="
        );
        let value = |text: &str| HeaderValue::from_str(text).expect("a value");
        self.headers.insert("x-amz-date", value(TIMESTAMP));
        self.headers.insert(AUTHORIZATION, value(&front));
        let claim = Claim::of_header(&self.headers).expect("well formed");
        let signature = self.signature(&claim.expect("signed"));
        self.headers
            .insert(AUTHORIZATION, value(&format!("{front}{signature}")));
        self
    }

    fn in_query(mut self) -> Self {
        let scope = SCOPE.replace('/', "%2F");
        let fields = format!(
            "&X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={ID}%2F{scope}&X-Amz-Date={TIMESTAMP}&X-Amz-Expires=60\
             &X-Amz-SignedHeaders=host&X-Amz-Signature="
        );
        self.headers.clear();
        self.query.push_str(&fields);
        let query = Query::parse(&self.query).expect("a query");
        let claim = Claim::of_query(&query, &self.headers).expect("well formed");
        let signature = self.signature(&claim.expect("signed"));
        self.query.push_str(&signature);
        self
    }
}

prop_compose! {
    fn sample()(
        method in select(vec!["GET", "PUT", "POST", "DELETE", "HEAD"]),
        path in "/[a-z]{1,5}/[ -\"$->@-~]{0,12}",
        query in vec(("[a-z.]{1,5}", "[ -~é写]{0,6}"), 0..4),
        host in "[a-z]{1,8}(:[0-9]{2,4})?",
        range in "bytes=[0-9]{1,4}-",
        meta in "[!-~é]{1,8}",
    ) -> Sample {
        let query: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{name}={}", encode(value)))
            .collect();
        let headers = [("range", range.as_str()), ("x-amz-meta-a", &meta), ("x-amz-content-sha256", EMPTY)];
        let headers = headers.into_iter().map(|(name, value)| {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
            (http::HeaderName::from_static(name), value)
        });
        Sample { method: method.to_owned(), path, query: query.join("&"), host, headers: headers.collect() }
    }
}

/// `text` with one bit of one byte the other way round, if that is text.
fn flipped(text: &str, at: Index, bit: u8) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    let at = at.index(bytes.len());
    bytes[at] ^= 1 << bit;
    String::from_utf8(bytes).ok()
}

proptest! {
    #[test]
    fn the_true_signature_of_any_request_is_good_for_that_key_and_time(sample in sample()) {
        for good in [sample.clone().in_header(), sample.in_query()] {
            prop_assert!(good.is_good());
            prop_assert!(good.signed_by("another", THEN).is_none());
            for minutes in [-16, 16] {
                let later = THEN + time::Duration::minutes(minutes);
                prop_assert!(good.signed_by(SECRET, later).is_none());
            }
        }
    }

    #[test]
    fn a_flipped_bit_of_what_is_signed_is_refused(sample in sample(), at in any::<Index>(), bit in 0_u8..7) {
        let (by_header, by_query) = (sample.clone().in_header(), sample.in_query());
        for good in [&by_header, &by_query] {
            for (what, field) in [
                ("method", (|sample| &mut sample.method) as fn(&mut Sample) -> &mut String),
                ("path", |sample| &mut sample.path),
                ("host", |sample| &mut sample.host),
            ] {
                let mut forged = good.clone();
                if let Some(text) = flipped(field(&mut forged), at, bit) {
                    *field(&mut forged) = text;
                    prop_assert!(!forged.is_good(), "{what}: {forged:?}");
                }
            }
        }
        for name in ["range", "x-amz-meta-a", "x-amz-content-sha256", "x-amz-date", "authorization"] {
            let mut forged = by_header.clone();
            let mut bytes = forged.headers[name].as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            // Spaces around a value are no part of it, and so not of what is signed.
            let is_space = |byte: u8| matches!(byte, b' ' | b'\t');
            if let Ok(value) = HeaderValue::from_bytes(&bytes)
                && !(is_space(bytes[at]) || is_space(bytes[at] ^ (1 << bit)))
            {
                forged.headers.insert(name, value);
                prop_assert!(!forged.is_good(), "{name}: {forged:?}");
            }
        }
    }

    /// Escapes may be in another case, and so may be the name of the signature, which is not signed. Nothing else.
    #[test]
    fn a_flipped_bit_of_a_query_is_refused_or_changes_nothing(sample in sample(), at in any::<Index>(), bit in 0_u8..7) {
        for good in [sample.clone().in_header(), sample.in_query()] {
            if good.query.is_empty() {
                continue;
            }
            let Some(query) = flipped(&good.query, at, bit) else { continue };
            let forged = Sample { query, ..good.clone() };
            if forged.is_good() {
                let read = |query: &str| {
                    let query = Query::parse(query).expect("a query");
                    let mut pairs: Vec<_> = query
                        .iter()
                        .map(|(name, value)| match name.eq_ignore_ascii_case("X-Amz-Signature") {
                            true => (String::new(), value.to_owned()),
                            false => (name.to_owned(), value.to_owned()),
                        })
                        .collect();
                    pairs.sort();
                    pairs
                };
                prop_assert_eq!(read(&forged.query), read(&good.query));
            }
        }
    }

    #[test]
    fn whatever_is_said_of_a_signature_is_no_panic_and_not_good_without_the_key(
        sample in sample(),
        parts in vec(select(vec![
            ALGORITHM, " ", ",", "=", "/", ";", "&", "Credential=", "SignedHeaders=", "Signature=", "host", "x-amz-date", "range",
            ID, SCOPE, "20260102", "s3", "aws4_request", EMPTY, "X-Amz-Algorithm=", "X-Amz-Credential=", "X-Amz-Date=",
            "X-Amz-Expires=", "X-Amz-SignedHeaders=", "X-Amz-Signature=", TIMESTAMP, "60", "-1", "99999999999999999999", "%2F", "%",
            "%ff", "+", "é",
        ]), 0..24),
        date in "[0-9]{0,9}T?[0-9]{0,7}Z?",
    ) {
        let text = parts.concat();
        let mut by_header = sample.clone();
        by_header.headers.insert("x-amz-date", HeaderValue::from_str(&date).expect("a value"));
        let value = format!("{ALGORITHM} {text}");
        by_header.headers.insert(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        prop_assert!(!by_header.is_good());
        let by_query = Sample { query: text, ..sample };
        prop_assert!(!by_query.is_good());
    }
}
