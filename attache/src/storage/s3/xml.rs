//! The documents of S3's protocol: read into a small tree, and written line by line.

use quick_xml::Reader;
use quick_xml::events::Event;

/// An element that was read.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Element {
    /// Without a prefix.
    pub(super) name: String,
    /// All text in it, without that of its children.
    pub(super) text: String,
    pub(super) children: Vec<Element>,
}

impl Element {
    /// Reads a document. `None` if it is not one, or has elements without end.
    pub(super) fn read(document: &[u8]) -> Option<Self> {
        let mut reader = Reader::from_reader(document);
        // The first is the document itself, whose only child is returned.
        let mut open = vec![Self::default()];
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => open.push(Self::named(start.local_name().as_ref())),
                Event::Empty(start) => {
                    let child = Self::named(start.local_name().as_ref());
                    open.last_mut()?.children.push(child);
                }
                Event::Text(text) => open.last_mut()?.text.push_str(&text.decode().ok()?),
                Event::CData(text) => open.last_mut()?.text.push_str(&text.decode().ok()?),
                Event::GeneralRef(reference) => {
                    let meant = match reference.resolve_char_ref().ok()? {
                        Some(meant) => meant,
                        None => named_reference(&reference.decode().ok()?)?,
                    };
                    open.last_mut()?.text.push(meant);
                }
                Event::End(_) => {
                    let child = open.pop()?;
                    open.last_mut()?.children.push(child);
                }
                Event::Eof => break,
                _ => {}
            }
            if open.len() > MAX_DEPTH {
                return None;
            }
        }
        match (open.pop(), open.is_empty()) {
            (Some(document), true) => document.children.into_iter().next(),
            _ => None,
        }
    }

    fn named(name: &[u8]) -> Self {
        Self {
            name: String::from_utf8_lossy(name).into_owned(),
            ..Self::default()
        }
    }

    /// The children of this name.
    pub(super) fn all<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of the first child of this name.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.children
            .iter()
            .find(|child| child.name == name)
            .map(|child| child.text.as_str())
    }
}

/// Elements within elements; documents of the protocol have five.
const MAX_DEPTH: usize = 16;

fn named_reference(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => return None,
    })
}

/// A text in a document.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_with_its_references() {
        let document = "<?xml version=\"1.0\"?>\n<Error xmlns=\"x\"><Code>No&amp;Such&#x4b;ey</Code><a:Empty/>\
                        <Nested><Code>b</Code></Nested></Error>";
        let error = Element::read(document.as_bytes()).expect("a document");
        assert_eq!(error.name, "Error");
        assert_eq!(error.text_of("Code"), Some("No&SuchKey"));
        assert_eq!(error.text_of("Empty"), Some(""));
        assert_eq!(error.all("Nested").count(), 1);
        assert_eq!(escaped("a<&\">"), "a&lt;&amp;&quot;&gt;");
    }

    #[test]
    fn what_is_no_document_is_none() {
        for wrong in ["", "text", "<a><b></a>", "<a>", "<a>&unknown;</a>"] {
            assert_eq!(Element::read(wrong.as_bytes()), None, "{wrong}");
        }
        let deep = "<a>".repeat(40) + &"</a>".repeat(40);
        assert_eq!(Element::read(deep.as_bytes()), None);
    }
}
