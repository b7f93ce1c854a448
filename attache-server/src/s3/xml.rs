//! XML as S3 has it: written line by line, and read into a small tree.

use attache::{Error, Result};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use quick_xml::Reader;
use quick_xml::events::Event;

/// What all documents name
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html#API_ListObjectsV2_ResponseSyntax>).
pub(crate) const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// A document that is being written.
pub(crate) struct Xml(String);

impl Xml {
    pub(crate) fn new() -> Self {
        Self("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned())
    }

    /// The document element, with the namespace.
    pub(crate) fn root(&mut self, name: &str) -> &mut Self {
        self.0.push_str(&format!("<{name} xmlns=\"{NAMESPACE}\">"));
        self
    }

    pub(crate) fn open(&mut self, name: &str) -> &mut Self {
        self.0.push_str(&format!("<{name}>"));
        self
    }

    pub(crate) fn close(&mut self, name: &str) -> &mut Self {
        self.0.push_str(&format!("</{name}>"));
        self
    }

    /// An element with a text in it.
    pub(crate) fn text(&mut self, name: &str, text: &str) -> &mut Self {
        self.open(name);
        escape(text, &mut self.0);
        self.close(name)
    }

    /// An element that is there if there is a text.
    pub(crate) fn some(&mut self, name: &str, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(name, text),
            None => self,
        }
    }

    /// Markup that is written already.
    pub(crate) fn raw(&mut self, markup: &str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}

/// A response with a document.
pub(crate) fn document(xml: Xml) -> Response {
    let kind = [(CONTENT_TYPE, "application/xml")];
    (StatusCode::OK, kind, xml.finish()).into_response()
}

fn escape(text: &str, into: &mut String) {
    for c in text.chars() {
        match c {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            // A reader makes "\n" of it, and of other control characters nothing: XML 1.0 has no way to write them, and S3 writes
            // references all the same.
            '\r' | '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' => {
                into.push_str(&format!("&#x{:X};", u32::from(c)));
            }
            '\u{fffe}' | '\u{ffff}' => into.push('\u{fffd}'),
            c => into.push(c),
        }
    }
}

/// An element that was read.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Element {
    /// Without a prefix.
    pub(crate) name: String,
    /// All text in it, without that of its children.
    pub(crate) text: String,
    pub(crate) children: Vec<Element>,
}

impl Element {
    /// The children of this name.
    pub(crate) fn all<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of the first child of this name.
    pub(crate) fn text_of(&self, name: &str) -> Option<&str> {
        self.children
            .iter()
            .find(|child| child.name == name)
            .map(|child| child.text.as_str())
    }
}

/// Most elements of a document: 10,000 parts with six each.
const MAX_ELEMENTS: usize = 100_000;

/// Elements within elements.
const MAX_DEPTH: usize = 8;

/// Reads a document. Names are read without their prefixes: some clients leave the namespace out.
///
/// # Errors
///
/// [`ErrorKind::BadRequest`](attache::ErrorKind::BadRequest) if it is not well-formed, has a document type, or more elements than any
/// request needs.
pub(crate) fn parse(text: &[u8]) -> Result<Element> {
    let wrong = |what: &str| Error::bad_request(format!("the XML cannot be read: {what}"));
    let mut reader = Reader::from_reader(text);
    // The element that is open, below those around it.
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    let mut count = 0;
    loop {
        let event = reader
            .read_event()
            .map_err(|error| wrong("it is not well-formed").with_source(error))?;
        let (begun, ended) = match event {
            Event::Start(start) => (Some(name(start.local_name().as_ref())?), false),
            Event::Empty(start) => (Some(name(start.local_name().as_ref())?), true),
            Event::End(_) => (None, true),
            Event::Text(text) => {
                let text = text.decode().map_err(|_| wrong("it is not UTF-8"))?;
                append(&mut open, &text);
                (None, false)
            }
            Event::CData(text) => {
                let text = text.decode().map_err(|_| wrong("it is not UTF-8"))?;
                append(&mut open, &text);
                (None, false)
            }
            Event::GeneralRef(reference) => {
                let character = reference
                    .resolve_char_ref()
                    .map_err(|error| wrong("it has no such character").with_source(error))?;
                let character = match character {
                    Some(character) => character,
                    None => match &*reference {
                        b"amp" => '&',
                        b"lt" => '<',
                        b"gt" => '>',
                        b"quot" => '"',
                        b"apos" => '\'',
                        _ => return Err(wrong("it has an entity of its own")),
                    },
                };
                append(&mut open, character.encode_utf8(&mut [0; 4]));
                (None, false)
            }
            Event::DocType(_) => return Err(wrong("it has a document type")),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => (None, false),
            Event::Eof => break,
        };
        if let Some(name) = begun {
            count += 1;
            if count > MAX_ELEMENTS || open.len() >= MAX_DEPTH {
                return Err(wrong("it has too many elements"));
            }
            if root.is_some() {
                return Err(wrong("it has several document elements"));
            }
            open.push(Element {
                name,
                ..Element::default()
            });
        }
        if ended && let Some(done) = open.pop() {
            match open.last_mut() {
                Some(parent) => parent.children.push(done),
                None => root = Some(done),
            }
        }
    }
    match (root, open.is_empty()) {
        (Some(root), true) => Ok(root),
        _ => Err(wrong("it ends too early")),
    }
}

fn append(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

fn name(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Error::bad_request("the XML is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let text = "a<b>&\"c\" 'd' ü\r\n\t";
        let mut xml = Xml::new();
        xml.root("List")
            .open("Item")
            .text("Key", text)
            .some("No", None);
        xml.close("Item").close("List");
        let root = parse(xml.finish().as_bytes()).expect("well-formed");
        assert_eq!(root.name, "List");
        let item = root.all("Item").next().expect("an item");
        assert_eq!(item.text_of("Key"), Some(text));
        assert_eq!(item.text_of("No"), None);
    }

    #[test]
    fn entity_tags_are_read_however_they_are_escaped() {
        for tag in [
            "\"x\"",
            "&quot;x&quot;",
            "&#34;x&#34;",
            "&#x22;x&#x22;",
            "<![CDATA[\"x\"]]>",
        ] {
            let root = parse(format!("<P xmlns='u'><s:ETag>{tag}</s:ETag></P>").as_bytes());
            assert_eq!(
                root.expect("well-formed").text_of("ETag"),
                Some("\"x\""),
                "{tag}"
            );
        }
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let deep = format!("{}{}", "<a>".repeat(20), "</a>".repeat(20));
        for bad in [
            "",
            "text",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
            "<a>&b;</a>",
            "<a>&#xD800;</a>",
            deep.as_str(),
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let many = format!("<a>{}</a>", "<b/>".repeat(MAX_ELEMENTS));
        assert!(parse(many.as_bytes()).is_err());
    }
}
