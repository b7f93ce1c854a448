//! Keys as names of blobs.
//!
//! A key is its own name, but for what Azure, or a URL on its way there, takes for something else
//! (<https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata#blob-names>):
//!
//! - A segment of the path that ends with a dot loses it, and `.` and `..` mean a folder. It gets a `!` behind it, and so does one that
//!   ends with dots and such `!` already: `a/..` is `a/..!`. That sorts nearly as the key does.
//! - Control characters are refused, `\` becomes `/`, and XML holds neither the former nor spaces at its ends. Each is `!u`, its number in
//!   hex, and `!`; and so is a `!` that would be read as the beginning of such an escape.
//!
//! Where a name has an escape, listings have it where the name sorts, and not where the key would.

use crate::error::{Error, ErrorKind, Result};
use crate::storage::bucket::Key;

/// Most characters of a name (as above).
const MAX_NAME_CHARS: usize = 1024;

/// The name of the blob of `key`.
///
/// # Errors
///
/// [`ErrorKind::BadRequest`] if the name, with its escapes, is longer than Azure takes.
pub(super) fn name_of(key: &Key) -> Result<String> {
    let name = encode(key.as_str());
    if name.chars().count() > MAX_NAME_CHARS {
        return Err(Error::new(
            ErrorKind::BadRequest,
            "Azure cannot keep this key: dots at the end of a segment, backslashes and control characters are written with escapes, \
             and with them it has more than 1024 characters",
        )
        .during("key", key.as_str()));
    }
    Ok(name)
}

/// Any text as [`name_of`] writes a key.
pub(super) fn encode(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    let last = text.len().saturating_sub(1);
    for (at, c) in text.char_indices() {
        if c == '/' {
            close(&mut name);
        }
        let at_end = c == ' ' && (at == 0 || at == last);
        if is_escaped(c) || at_end || (c == '!' && looks_escaped(&text[at + 1..])) {
            escape(&mut name, c);
        } else {
            name.push(c);
        }
    }
    close(&mut name);
    name
}

/// The front that the names of all keys that begin with `prefix` have in common, and maybe names of others.
pub(super) fn encode_prefix(prefix: &str) -> String {
    // What comes behind may decide how the last segment is written: a space at the end, a `!` before a backslash.
    let segment = prefix.rfind('/').map_or(0, |at| at + 1);
    let sure = prefix[segment..]
        .find('!')
        .map_or(prefix, |at| &prefix[..segment + at]);
    let sure = sure.trim_end_matches(' ');
    let name = encode(sure);
    // Its last segment goes on, and so its dots are not the last ones.
    match sure[sure.rfind('/').map_or(0, |at| at + 1)..].ends_with('.') {
        true => name.strip_suffix('!').unwrap_or(&name).to_owned(),
        false => name,
    }
}

/// The key of the blob of this name, if it has one.
pub(super) fn key_of(name: &str) -> Option<Key> {
    decode(name).parse().ok()
}

/// The reverse of [`encode`].
pub(super) fn decode(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for (at, segment) in name.split('/').enumerate() {
        if at > 0 {
            text.push('/');
        }
        let bare = segment.trim_end_matches('!');
        let mut rest = match bare.ends_with('.') {
            true => segment.strip_suffix('!').unwrap_or(segment),
            false => segment,
        };
        while let Some(found) = rest.find("!u") {
            let (before, escaped) = rest.split_at(found);
            text.push_str(before);
            match unescape(escaped) {
                Some((c, behind)) => {
                    text.push(c);
                    rest = behind;
                }
                None => {
                    text.push('!');
                    rest = &escaped[1..];
                }
            }
        }
        text.push_str(rest);
    }
    text
}

/// Ends a segment.
fn close(name: &mut String) {
    let segment = name.rfind('/').map_or(0, |at| at + 1);
    if name[segment..].trim_end_matches('!').ends_with('.') {
        name.push('!');
    }
}

fn is_escaped(c: char) -> bool {
    c.is_control() || matches!(c, '\\' | '\u{fffe}' | '\u{ffff}')
}

/// Whether a `!` before `rest` would be read as the beginning of an escape: also where the end of it is that of another one.
fn looks_escaped(rest: &str) -> bool {
    let Some(rest) = rest.strip_prefix('u') else {
        return false;
    };
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_hexdigit());
    rest.starts_with(|c: char| c == '!' || c == ' ' || is_escaped(c))
}

fn escape(name: &mut String, c: char) {
    name.push_str(&format!("!u{:x}!", u32::from(c)));
}

/// The character of the escape with which `text` begins, and what follows it.
fn unescape(text: &str) -> Option<(char, &str)> {
    let (hex, behind) = text.strip_prefix("!u")?.split_once('!')?;
    let c = char::from_u32(u32::from_str_radix(hex, 16).ok()?)?;
    let canonical = format!("{:x}", u32::from(c)) == hex;
    (canonical && (is_escaped(c) || c == '!' || c == ' ')).then_some((c, behind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_azure_takes_as_it_is_is_left_as_it_is() {
        for text in [
            "a",
            "a b",
            "写真/é.png",
            "a//b",
            "/a",
            "a/",
            "Wow!unbelievable",
            "a!u",
            "a.b",
        ] {
            assert_eq!(
                (encode(text), decode(text)),
                (text.to_owned(), text.to_owned())
            );
        }
    }

    #[test]
    fn what_it_takes_for_something_else_is_escaped() {
        for (key, name) in [
            ("..", "..!"),
            ("a/../b", "a/..!/b"),
            ("a.", "a.!"),
            ("a.!", "a.!!"),
            ("a\\b", "a!u5c!b"),
            ("!u5c!", "!u21!u5c!"),
            (" a ", "!u20!a!u20!"),
            ("\u{1}", "!u1!"),
        ] {
            assert_eq!((encode(key).as_str(), decode(name).as_str()), (name, key));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn every_key_has_a_name_of_its_own(key in "[!u5c2 ./\\\\\u{1}a-]{1,12}") {
            let name = encode(&key);
            prop_assert_eq!(decode(&name), key.clone());
            prop_assert!(name.split('/').all(|segment| !segment.ends_with('.')), "{}", name);
            prop_assert!(!name.contains(is_escaped) && name.trim() == name, "{}", name);
            for (at, _) in key.char_indices() {
                let prefix = encode_prefix(&key[..at]);
                prop_assert!(name.starts_with(&prefix), "{} {}", name, prefix);
            }
            prop_assert!(name.starts_with(&encode_prefix(&key)));
        }
    }
}
