//! The name of a blob as the path of a URL.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// RFC 3986 section 2.3: what means itself in a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The name with its escapes. A `/` stays where it parts two segments; where it follows another one, or nothing, it is escaped:
/// what stands between may make one of several.
pub(super) fn path_of(name: &str) -> String {
    let mut path = String::with_capacity(name.len());
    for (at, segment) in name.split('/').enumerate() {
        if at > 0 {
            path.push_str(
                match path.ends_with('/') || path.is_empty() || path.ends_with("%2F") {
                    true => "%2F",
                    false => "/",
                },
            );
        }
        path.extend(utf8_percent_encode(segment, PLAIN));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_every_character_of_the_name() {
        for (name, path) in [
            ("attachment/0198-a.png", "attachment/0198-a.png"),
            ("a b+c%d?e#f", "a%20b%2Bc%25d%3Fe%23f"),
            ("/a", "%2Fa"),
            ("a//b/", "a/%2Fb/"),
            ("\u{e9}", "%C3%A9"),
        ] {
            assert_eq!(path_of(name), path);
        }
    }
}
