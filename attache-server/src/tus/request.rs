//! What the headers of a request say.

use attache::{Error, Result};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};

use super::metadata::Metadata;
use super::protocol::{BYTES, VERSION};

/// An upload that is to be created.
#[derive(Debug)]
pub(crate) struct Creation {
    /// All of its bytes, unless the client says them later.
    pub(crate) length: Option<u64>,
    pub(crate) metadata: Metadata,
}

/// Bytes that a request brings.
#[derive(Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) offset: u64,
    /// The length of the upload, if it is said now.
    pub(crate) length: Option<u64>,
    /// The length of the body, if it is said.
    pub(crate) size: Option<u64>,
}

/// Whether the request speaks a version that is supported. Where `strictly`, it has to say so: whatever is no request of tus must
/// not begin an upload by accident.
pub(crate) fn supported(headers: &HeaderMap, strictly: bool) -> bool {
    match headers.get("tus-resumable") {
        Some(version) => version.as_bytes().trim_ascii() == VERSION.as_bytes(),
        None => !strictly,
    }
}

/// Whether the body holds bytes of a file. A body that calls itself anything else does not, also where it is empty (aiotus sends an
/// empty `application/octet-stream` to create an upload).
pub(crate) fn is_bytes(headers: &HeaderMap) -> bool {
    let of = headers.get(CONTENT_TYPE).map(|of| of.as_bytes());
    let of = of.and_then(|of| of.split(|b| *b == b';').next());
    of.is_some_and(|of| of.trim_ascii().eq_ignore_ascii_case(BYTES.as_bytes()))
}

/// The length of the body, if it is said. A body in chunks, and one of HTTP/2 without a length, has none.
pub(crate) fn body_size(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// Understands a request that creates an upload.
///
/// # Errors
///
/// [`ErrorKind::BadRequest`](attache::ErrorKind::BadRequest).
pub(crate) fn understand(headers: &HeaderMap) -> Result<Creation> {
    // 400: on 501 tus-js-client sends fifty requests before it gives up.
    if headers.contains_key("upload-concat") {
        return Err(Error::bad_request(
            "the extension \"concatenation\" is not supported; send the file in one upload (parallelUploads: 1)",
        ));
    }
    let length = number(headers, "upload-length")?;
    let deferred = match headers.get("upload-defer-length").map(|one| one.as_bytes()) {
        None => false,
        Some(b"1") => true,
        Some(_) => {
            return Err(Error::bad_request("Upload-Defer-Length can only be 1"));
        }
    };
    if length.is_some() == deferred {
        return Err(Error::bad_request(
            "an upload is created with either Upload-Length or Upload-Defer-Length: 1",
        ));
    }
    let metadata = match headers.get("upload-metadata") {
        None => Metadata::default(),
        Some(raw) => {
            let raw = raw.to_str().map_err(|_| {
                Error::bad_request("Upload-Metadata is not ASCII; its values are base64")
            })?;
            Metadata::parse(raw)?
        }
    };
    Ok(Creation { length, metadata })
}

impl Part {
    /// # Errors
    ///
    /// [`ErrorKind::BadRequest`](attache::ErrorKind::BadRequest).
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self> {
        let offset = number(headers, "upload-offset")?;
        let offset = offset.ok_or_else(|| {
            Error::bad_request("a PATCH needs Upload-Offset: where its bytes begin")
        })?;
        Ok(Self {
            offset,
            length: number(headers, "upload-length")?,
            size: body_size(headers),
        })
    }
}

/// A number that is not negative.
fn number(headers: &HeaderMap, name: &str) -> Result<Option<u64>> {
    let mut all = headers.get_all(name).iter();
    let (Some(value), None) = (all.next(), all.next()) else {
        return match headers.contains_key(name) {
            true => Err(Error::bad_request(format!("there is more than one {name}"))),
            false => Ok(None),
        };
    };
    let digits = value.as_bytes().trim_ascii();
    let digits = Some(digits).filter(|all| all.iter().all(u8::is_ascii_digit));
    let text = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    // A database counts in signed numbers.
    let number = text
        .and_then(|text| text.parse().ok())
        .filter(|number| *number <= i64::MAX as u64);
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(Error::bad_request(format!(
            "{name} is not a number of bytes"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = http::HeaderValue::from_static(value);
            headers.append(http::HeaderName::from_static(name), value);
        }
        headers
    }

    #[test]
    fn a_creation_has_a_length_or_says_that_it_comes_later() {
        let length = |lines: &[(&'static str, &'static str)]| {
            understand(&headers(lines)).map(|creation| creation.length)
        };
        assert_eq!(length(&[("upload-length", "0")]).expect("empty"), Some(0));
        let deferred = [("upload-defer-length", "1")];
        assert_eq!(length(&deferred).expect("later"), None);
        for bad in [
            &[][..],
            &[("upload-length", "5"), ("upload-defer-length", "1")],
            &[("upload-defer-length", "0")],
            &[("upload-defer-length", "true")],
            &[("upload-length", "-1")],
            &[("upload-length", "+1")],
            &[("upload-length", "")],
            &[("upload-length", "1.5")],
            &[("upload-length", "18446744073709551615")],
            &[("upload-length", "1"), ("upload-length", "1")],
            &[("upload-length", "1"), ("upload-concat", "partial")],
            &[("upload-concat", "final;/a /b")],
            &[("upload-length", "1"), ("upload-metadata", "filename a*b")],
        ] {
            assert!(length(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_part_begins_somewhere() {
        let part = |lines: &[(&'static str, &'static str)]| Part::of(&headers(lines));
        let whole = part(&[
            ("upload-offset", "7"),
            ("upload-length", "9"),
            ("content-length", "2"),
        ]);
        let expected = Part {
            offset: 7,
            length: Some(9),
            size: Some(2),
        };
        assert_eq!(whole.expect("read"), expected);
        assert_eq!(
            part(&[("upload-offset", "0")]).expect("in chunks").size,
            None
        );
        for bad in [
            &[][..],
            &[("upload-offset", "x")],
            &[("upload-offset", "-7")],
        ] {
            assert!(part(bad).is_err(), "{bad:?}");
        }
    }
}
