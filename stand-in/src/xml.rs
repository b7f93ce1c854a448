//! The little XML that the service speaks: text escaped on the way out, flat elements on the way in.

/// Text with the five reserved characters escaped.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            _ => out.push(c),
        }
    }
    out
}

/// `<name>text</name>`, escaped.
pub fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escape(text))
}

/// Whether XML 1.0 can hold `text` at all; names that it cannot are listed percent-encoded.
pub fn is_representable(text: &str) -> bool {
    text.chars().all(|c| {
        matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
    })
}

/// Every leaf element in document order, as (name, text). Enough for the two documents that a
/// client sends (a block list, a key request), and no more.
pub fn leaves(document: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = document;
    while let Some(open) = rest.find('<') {
        let after = &rest[open + 1..];
        let Some(close) = after.find('>') else { break };
        let tag = &after[..close];
        rest = &after[close + 1..];
        if tag.starts_with(['?', '!', '/']) || tag.ends_with('/') {
            continue;
        }
        let name = tag.split_whitespace().next().unwrap_or_default();
        let text = &rest[..rest.find('<').unwrap_or(rest.len())];
        if rest[text.len()..].starts_with(&format!("</{name}")) {
            found.push((name.to_owned(), unescape(text.trim())));
        }
    }
    found
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_come_in_document_order() {
        let list = "<?xml version=\"1.0\"?><BlockList>\n <Latest>QQ==</Latest><Committed>Qg==</Committed></BlockList>";
        let found = leaves(list);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], ("Latest".to_owned(), "QQ==".to_owned()));
        assert_eq!(found[1].0, "Committed");
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(element("N", "a&<b>"), "<N>a&amp;&lt;b&gt;</N>");
        assert!(!is_representable("a\u{1}b"));
    }
}
