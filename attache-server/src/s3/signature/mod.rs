//! Signatures of requests: what was signed, by whose key, when. Pure: what is compared comes from the request alone, and the time is an
//! argument.
//!
//! Not by a crate, for three things that none has: one signature is good under several names, values of headers are bytes and no text,
//! and what is wrong is said by kind.

use attache::attachment::Hex;
use http::HeaderMap;
use ring::hmac;
use subtle::ConstantTimeEq as _;

pub(crate) mod v2;
pub(crate) mod v4;

/// What of a request is signed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    /// As it was received: no client signs another one, and decoding it loses `//` and what was escaped.
    pub(crate) path: &'a str,
    pub(crate) query: &'a Query,
    pub(crate) headers: &'a HeaderMap,
    /// Under which names the request may have been signed: the one that it came with, and those that are good as well.
    pub(crate) hosts: &'a [String],
}

/// Why a signature is not good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadSignature {
    /// It is written in no form that is known.
    Malformed(&'static str),
    /// What must be there is not.
    Missing(&'static str),
    /// A header that is signed is not there.
    NotSent(String),
    /// A header of the request that must be signed is not.
    Unsigned,
    /// Its time is more than 15 minutes away.
    Skewed,
    /// A presigned URL that was good.
    Expired,
    /// It is another one.
    Differs,
}

/// The names and values of a query, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes a raw query; `None` if a value is not UTF-8.
    pub(crate) fn parse(raw: &str) -> Option<Self> {
        let pairs = raw.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name, true)?, decode(value, true)?))
        });
        pairs.collect::<Option<_>>().map(Self)
    }

    /// The first value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut pairs = self.0.iter();
        pairs
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// As [`get`](Self::get), whatever the case of the name.
    pub(crate) fn get_any_case(&self, name: &str) -> Option<&str> {
        let mut pairs = self.0.iter();
        pairs
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Decodes `%xx`, and `+` as a space if `plus` says so; `None` if that is not UTF-8.
pub(crate) fn decode(text: &str, plus: bool) -> Option<String> {
    let text = match plus && text.contains('+') {
        true => std::borrow::Cow::Owned(text.replace('+', " ")),
        false => std::borrow::Cow::Borrowed(text),
    };
    let decoded = percent_encoding::percent_decode_str(&text).decode_utf8();
    decoded.ok().map(String::from)
}

/// Encodes all but what RFC 3986 calls unreserved.
pub(crate) fn encode(text: &str) -> String {
    const ESCAPED: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    percent_encoding::utf8_percent_encode(text, ESCAPED).to_string()
}

/// A value as it is signed: without spaces around it, and one of each run of them. Of several lines, with commas between.
fn folded(headers: &HeaderMap, name: &str) -> Option<Vec<u8>> {
    let mut all: Option<Vec<u8>> = None;
    for value in headers.get_all(name) {
        let all = match &mut all {
            Some(all) => {
                all.push(b',');
                all
            }
            none => none.insert(Vec::new()),
        };
        let words = value
            .as_bytes()
            .split(|byte| *byte == b' ' || *byte == b'\t');
        let words: Vec<&[u8]> = words.filter(|word| !word.is_empty()).collect();
        all.extend_from_slice(&words.join(&b' '));
    }
    all
}

fn hmac_sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut out = [0; 32];
    out.copy_from_slice(hmac::sign(&key, text).as_ref());
    out
}

/// In a time that does not tell where they differ.
fn is_same(got: &[u8], want: &[u8]) -> bool {
    got.ct_eq(want).into()
}

fn hex(bytes: impl Into<[u8; 32]>) -> String {
    Hex(bytes.into()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_it_was_written() {
        let query = Query::parse("a=1&b&c=%2F+x&&prefix=a/b").expect("a query");
        let pairs: Vec<_> = query.iter().collect();
        assert_eq!(
            pairs,
            [("a", "1"), ("b", ""), ("c", "/ x"), ("prefix", "a/b")]
        );
        assert_eq!(Query::parse("a=%ff"), None);
        assert_eq!(query.get("d"), None);
    }

    #[test]
    fn what_is_not_unreserved_is_encoded() {
        assert_eq!(
            encode("a-._~/ +ü!*'()"),
            "a-._~%2F%20%2B%C3%BC%21%2A%27%28%29"
        );
    }

    #[test]
    fn values_are_folded_as_bytes() {
        let mut headers = HeaderMap::new();
        let value = http::HeaderValue::from_bytes("  b\u{e4}r   x ".as_bytes()).expect("a value");
        headers.append("x-a", value);
        headers.append("x-a", http::HeaderValue::from_static("2"));
        assert_eq!(
            folded(&headers, "x-a").as_deref(),
            Some("b\u{e4}r x,2".as_bytes())
        );
        assert_eq!(folded(&headers, "x-b"), None);
    }
}
