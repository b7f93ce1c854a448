//! `Upload-Metadata`: what a client says of a file.

use attache::attachment::NewAttachment;
use attache::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

/// Longest header that is kept.
const MAX_BYTES: usize = 8 * 1024;

/// What a client says of a file, as it said it: pairs of a key and a value in base64, in any order, with or without values.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Metadata {
    pairs: Vec<(String, Vec<u8>)>,
    /// As it came, to be given back.
    pub(crate) raw: String,
}

impl Metadata {
    /// Reads the header. An empty one is none (tuspy sends it), keys stand without a value, with a blank behind them or one in front
    /// (aiotus, tus-js-client), and of a key that comes twice the first one counts.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::BadRequest`](attache::ErrorKind::BadRequest) for a value that is not base64, and a header that is too long.
    pub(crate) fn parse(raw: &str) -> Result<Self> {
        if raw.len() > MAX_BYTES {
            return Err(Error::bad_request(format!(
                "Upload-Metadata is longer than {MAX_BYTES} bytes"
            )));
        }
        let mut pairs = Vec::new();
        for pair in raw
            .split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
        {
            // From the right: some clients let blanks into their keys.
            let (key, value) = pair.rsplit_once(' ').unwrap_or((pair, ""));
            let decoded = STANDARD
                .decode(value)
                .or_else(|_| STANDARD_NO_PAD.decode(value.trim_end_matches('=')));
            let value = decoded
                .map_err(|_| Error::bad_request("a value of Upload-Metadata is not base64"))?;
            pairs.push((key.trim().to_owned(), value));
        }
        Ok(Self {
            pairs,
            raw: raw.trim().to_owned(),
        })
    }

    /// The text of the first of these keys that says anything. JavaScript writes a value that is not there as "null" or "undefined".
    fn text(&self, keys: &[&str]) -> Result<Option<String>> {
        for key in keys {
            let Some((_, value)) = self.pairs.iter().find(|(known, _)| known == key) else {
                continue;
            };
            let text = std::str::from_utf8(value).map_err(|_| {
                Error::bad_request(format!("{key} in Upload-Metadata is not UTF-8"))
            })?;
            if !matches!(text.trim(), "" | "null" | "undefined") {
                return Ok(Some(text.to_owned()));
            }
        }
        Ok(None)
    }

    /// What it says of the attachment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::BadRequest`](attache::ErrorKind::BadRequest) for a name, an owner or an author that there cannot be.
    pub(crate) fn attachment(&self, size: Option<u64>) -> Result<NewAttachment> {
        Ok(NewAttachment {
            filename: parse(self.text(&["filename", "name"])?)?,
            owner: parse(self.text(&["owner"])?)?,
            created_by: parse(self.text(&["created_by"])?)?,
            content_type: self.text(&["filetype", "type"])?,
            size,
            ..NewAttachment::default()
        })
    }
}

fn parse<T: std::str::FromStr<Err = Error>>(text: Option<String>) -> Result<Option<T>> {
    text.map(|text| text.parse()).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(raw: &str) -> Result<NewAttachment> {
        Metadata::parse(raw)?.attachment(Some(5))
    }

    #[test]
    fn all_shapes_that_clients_send_are_read() {
        let name = STANDARD.encode("写真.png");
        for raw in [
            format!("filename {name},filetype aW1hZ2UvcG5n"),
            format!("filetype aW1hZ2UvcG5n, filename {name}"),
            format!("name {name},type aW1hZ2UvcG5n,relativePath bnVsbA=="),
            format!("is_secret,filename {name} ,type aW1hZ2UvcG5n,empty "),
            format!("filename {},type aW1hZ2UvcG5n", name.trim_end_matches('=')),
            format!("filename bnVsbA==,name {name},filetype bnVsbA==,type aW1hZ2UvcG5n"),
            format!("a key {name},filename {name},filename YQ==,type aW1hZ2UvcG5n"),
        ] {
            let new = told(&raw).expect("read");
            assert_eq!(new.filename.expect("a name").as_str(), "写真.png", "{raw}");
            assert_eq!(new.content_type.as_deref(), Some("image/png"), "{raw}");
            assert_eq!((new.owner, new.size), (None, Some(5)));
        }
        for nothing in ["", " ", ",", "filename ,name"] {
            let new = told(nothing).expect("read");
            assert_eq!(
                (new.filename, new.content_type),
                (None, None),
                "{nothing:?}"
            );
        }
        let raw = format!(
            "owner {},created_by {}",
            STANDARD.encode("page:42"),
            STANDARD.encode("user:7")
        );
        let new = told(&raw).expect("read");
        assert_eq!(new.owner.expect("an owner").as_str(), "page:42");
        assert_eq!(new.created_by.expect("an author").as_str(), "user:7");
    }

    #[test]
    fn what_is_unsafe_is_refused_and_what_is_a_path_is_its_last_component() {
        let of = |name: &[u8]| format!("filename {}", STANDARD.encode(name));
        let new = told(&of(b"../../etc/passwd")).expect("a path");
        assert_eq!(new.filename.expect("a name").as_str(), "passwd");
        for bad in [
            of(b"a\0b"),
            of(b"a\r\nSet-Cookie: x"),
            of(b"\xff\xfe"),
            of(b".."),
            "filename a*b".to_owned(),
            format!("owner {}", STANDARD.encode("no kind")),
            format!("filename {}", "A".repeat(9000)),
        ] {
            assert!(told(&bad).is_err(), "{bad:.40}");
        }
    }
}
