//! The one form that both sides make of a request.

use http::HeaderMap;
use percent_encoding::percent_decode;

use crate::signature::Head;

/// Method, path, query, headers and what is said of the body, in the one form that both sides make of them.
pub(crate) fn canonical_request(
    head: Head<'_>,
    query: String,
    signed: &str,
    payload: &str,
) -> Vec<u8> {
    let path: Vec<u8> = percent_decode(head.raw_path.as_bytes()).collect();
    let mut out = format!("{}\n{}\n{query}\n", head.method, encode(&path, true)).into_bytes();
    for name in signed.split(';') {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        out.extend_from_slice(&canonical_value(head.headers, name));
        out.push(b'\n');
    }
    out.extend_from_slice(format!("\n{signed}\n{payload}").as_bytes());
    out
}

/// Every pair of the query but the one called `without`: encoded, then sorted.
pub(crate) fn canonical_query(raw: &str, without: Option<&str>) -> String {
    let mut pairs: Vec<(String, String)> = pairs(raw)
        .filter(|(name, _)| without.is_none_or(|without| name != without.as_bytes()))
        .map(|(name, value)| (encode(&name, false), encode(&value, false)))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// The value of a parameter, by its exact name.
pub(crate) fn query_value(raw: &str, name: &str) -> Option<String> {
    let (_, value) = pairs(raw).find(|(found, _)| found == name.as_bytes())?;
    String::from_utf8(value).ok()
}

fn pairs(raw: &str) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let decode = |text: &str| percent_decode(text.replace('+', " ").as_bytes()).collect();
    raw.split('&')
        .filter(|pair| !pair.is_empty())
        .map(move |pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
}

/// Amazon's UriEncode: everything but the unreserved characters, in capitals.
fn encode(bytes: &[u8], keep_slash: bool) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(*byte))
            }
            b'/' if keep_slash => out.push('/'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The values of a header, trimmed, runs of blanks as one, joined by commas. A header that is missing is empty, which
/// no signature over its value fits.
fn canonical_value(headers: &HeaderMap, name: &str) -> Vec<u8> {
    let values = headers.get_all(name).iter().map(|value| {
        let words = value
            .as_bytes()
            .split(|byte| *byte == b' ' || *byte == b'\t');
        let words: Vec<&[u8]> = words.filter(|word| !word.is_empty()).collect();
        words.join(&b' ')
    });
    values.collect::<Vec<_>>().join(&b',')
}
