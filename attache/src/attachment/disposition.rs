//! The file name in a stored `Content-Disposition` (RFC 6266).

use percent_encoding::percent_decode_str;

use super::filename::Filename;

/// The name that the header gives: `filename*` in UTF-8 (RFC 8187), else `filename`. `None` if it gives none that can be read.
pub fn filename(header: &str) -> Option<Filename> {
    let mut plain = None;
    for parameter in parameters(header) {
        let Some((name, value)) = parameter.split_once('=') else {
            continue;
        };
        let (name, value) = (name.trim(), value.trim());
        if name.eq_ignore_ascii_case("filename*") {
            if let Some(extended) = extended(value) {
                return Some(extended);
            }
        } else if name.eq_ignore_ascii_case("filename") {
            plain = Some(unquoted(value));
        }
    }
    plain?.parse().ok()
}

/// `UTF-8''%E2%82%AC.txt`
fn extended(value: &str) -> Option<Filename> {
    let mut parts = value.splitn(3, '\'');
    let charset = parts.next()?;
    let encoded = parts.nth(1)?;
    let text = percent_decode_str(encoded).decode_utf8().ok()?;
    charset
        .eq_ignore_ascii_case("utf-8")
        .then(|| text.parse().ok())?
}

/// What stands between semicolons outside of quotes.
fn parameters(header: &str) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    let split = move |c: char| {
        let was_escaped = escaped;
        escaped = quoted && c == '\\' && !was_escaped;
        if c == '"' && !was_escaped {
            quoted = !quoted;
        }
        c == ';' && !quoted
    };
    header.split(split).collect()
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
    else {
        return value.to_owned();
    };
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        text.extend(match c {
            '\\' => characters.next(),
            c => Some(c),
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_other_programs_write_them() {
        for (header, name) in [
            (
                "inline;filename*=UTF-8''%E3%81%82%20b.txt",
                Some("あ b.txt"),
            ),
            ("attachment; filename=\"a; b.txt\"", Some("a; b.txt")),
            ("attachment; filename=plain.txt", Some("plain.txt")),
            (
                "attachment; filename=\"x.txt\"; filename*=utf-8'de'%C3%BC.txt",
                Some("ü.txt"),
            ),
            (
                "attachment; filename=\"x.txt\"; filename*=latin1''%FC.txt",
                Some("x.txt"),
            ),
            ("attachment; filename=\"a\\\"b.txt\"", Some("a\"b.txt")),
            ("inline", None),
            ("attachment; filename=\"..\"", None),
        ] {
            let found = filename(header);
            assert_eq!(found.as_ref().map(Filename::as_str), name, "{header}");
        }
    }
}
