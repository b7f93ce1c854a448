//! One file of `multipart/form-data` (RFC 7578), as browsers, upload widgets and programs send it.
//!
//! What is not ours is skipped: fields of a widget or a framework before and after the file, and inputs in which no file
//! was chosen. What we know and can no longer heed, or would have to guess, is an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use attache::attachment::NewAttachment;
use attache::{Error, ErrorKind, Result};
use bytes::{Bytes, BytesMut};
use encoding_rs::Encoding;
use futures::stream::{self, Stream, StreamExt};
use http::HeaderMap;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};

use super::disposition::{ContentDisposition, decode_legacy};
use super::head::{Upload, digests, parse, refuse_codings};
use super::incoming::Incoming;

/// Fields and part headers of a form that come before the file, and what comes after it, each.
const OVERHEAD: u64 = 64 * 1024;

/// Longest field of ours that is not the file.
const MAX_FIELD: usize = 4 * 1024;

/// The boundary that `content_type` names.
///
/// Old libraries of iOS and of mail write it with `/` or `=` and without the quotes that those need (RFC 2046 section
/// 5.1.1): what is not a token is taken as it stands, up to `;` or a blank.
pub(crate) fn boundary(content_type: &str) -> Option<String> {
    let boundary = multer::parse_boundary(content_type).ok().or_else(|| {
        content_type.split(';').skip(1).find_map(|parameter| {
            let (name, value) = parameter.trim().split_once('=')?;
            let value = value.split([' ', '\t']).next()?;
            name.trim_end()
                .eq_ignore_ascii_case("boundary")
                .then(|| value.trim_matches('"').to_owned())
        })
    })?;
    let known = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b);
    let fits = (1..=70).contains(&boundary.len()) && boundary.bytes().all(known);
    (fits && !boundary.ends_with(' ')).then_some(boundary)
}

/// Reads a form up to the first byte of its file.
pub(crate) async fn read(
    mut new: NewAttachment,
    boundary: String,
    body: Incoming,
) -> Result<Upload> {
    let mut parts = FormParts::new(boundary, body);
    let mut charset = None;
    let mut chosen_nothing = false;
    let mut nameless: Option<Nameless> = None;
    // One chunk of the connection may hold fields and the beginning of the file; only what is read before counts.
    while let Some((disposition, mut field)) = parts.next().await? {
        match (disposition.name.as_str(), disposition.filename) {
            ("owner", _) => {
                new.owner = parse(Some(text(&mut field, "owner", charset).await?))?;
                nameless.iter_mut().for_each(|file| file.followed = true);
            }
            ("created_by", _) => {
                new.created_by = parse(Some(text(&mut field, "created_by", charset).await?))?;
                nameless.iter_mut().for_each(|file| file.followed = true);
            }
            // HTML, "constructing the entry list": the encoding of the form.
            ("_charset_", None) => {
                let label = text(&mut field, "_charset_", None).await?;
                charset = Encoding::for_label_no_replacement(label.as_bytes());
            }
            ("file", Some(name)) => {
                let first = first_chunk(&mut field).await?;
                if name.is_empty() && first.is_none() {
                    chosen_nothing = true;
                    continue;
                }
                if let Some(name) = name.decode(charset)? {
                    new.filename = parse(Some(name))?;
                }
                describe(&mut new, field.headers())?;
                return Ok(parts.upload(new, field, first.unwrap_or_default()));
            }
            // A file without a name, or the value of a widget beside the file that it belongs to.
            ("file", None) => {
                let (begun, whole) = up_to(&mut field, MAX_FIELD).await?;
                if !whole {
                    describe(&mut new, field.headers())?;
                    return Ok(parts.upload(new, field, begun));
                }
                nameless = Some(Nameless {
                    bytes: begun,
                    headers: field.headers().clone(),
                    followed: false,
                });
            }
            (_, None) => skip(&mut field).await?,
            (other, Some(name)) => {
                if !name.is_empty() || first_chunk(&mut field).await?.is_some() {
                    return Err(Error::bad_request(format!(
                        "the form has a file in the field \"{}\"; attache takes one file, in the field \"file\"",
                        shown(other)
                    )));
                }
            }
        }
    }
    match nameless {
        Some(file) if file.followed => Err(after_the_file()),
        Some(file) => {
            describe(&mut new, &file.headers)?;
            let bytes = stream::iter((!file.bytes.is_empty()).then_some(Ok(file.bytes)));
            let bytes = bytes.boxed();
            Ok(Upload { new, bytes })
        }
        None if chosen_nothing => Err(Error::bad_request("no file was chosen")),
        None => Err(Error::bad_request("the form has no part \"file\"")),
    }
}

/// A part `file` that has no file name.
struct Nameless {
    bytes: Bytes,
    headers: HeaderMap,
    /// Fields that belong before the file came after it.
    followed: bool,
}

/// What the headers of a part say of the file in it.
fn describe(new: &mut NewAttachment, headers: &HeaderMap) -> Result<()> {
    refuse_codings(headers)?;
    // A claim that is not text is none.
    let claim = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    new.content_type = claim.map(str::to_owned);
    digests(new, headers)
}

/// The bytes of a form, a chunk at a time: an error if more than [`OVERHEAD`] come before what is returned beside them is set to
/// `u64::MAX`, when the file begins. The parser looks again at all that it has read, and holds it.
pub(crate) fn bounded(
    body: Incoming,
) -> (
    impl Stream<Item = Result<Bytes>> + Send + 'static,
    Arc<AtomicU64>,
) {
    let allowance = Arc::new(AtomicU64::new(OVERHEAD));
    let limited = body.map({
        let allowance = allowance.clone();
        move |chunk: Result<Bytes>| {
            let chunk = chunk?;
            let left = allowance.load(Ordering::Relaxed);
            if left != u64::MAX {
                let Some(left) = left.checked_sub(chunk.len() as u64) else {
                    return Err(Error::bad_request(
                        "the form holds too much besides the file",
                    ));
                };
                allowance.store(left, Ordering::Relaxed);
            }
            Ok(chunk)
        }
    });
    (one_at_a_time(limited), allowance)
}

/// The parts of a form.
struct FormParts {
    form: multer::Multipart<'static>,
    /// What is read while no byte of the file comes is counted, so that a part header without an end is not a memory leak.
    allowance: Arc<AtomicU64>,
}

type Field = multer::Field<'static>;

impl FormParts {
    fn new(boundary: String, body: Incoming) -> Self {
        let (limited, allowance) = bounded(body);
        let form = multer::Multipart::new(limited, boundary);
        Self { form, allowance }
    }

    /// The next part, once the one before is gone.
    async fn next(&mut self) -> Result<Option<(ContentDisposition, Field)>> {
        let field = self.form.next_field().await.map_err(broken)?;
        Ok(field.map(|field| {
            let value = field.headers().get(CONTENT_DISPOSITION);
            // Its bytes, and not the parser's reading of them, which knows UTF-8 alone.
            let disposition =
                ContentDisposition::parse(value.map_or(b"", |value| value.as_bytes()));
            (disposition, field)
        }))
    }

    /// The upload whose file begins with `first` and goes on in `field`.
    fn upload(self, new: NewAttachment, field: Field, first: Bytes) -> Upload {
        self.allowance.store(u64::MAX, Ordering::Relaxed);
        let file = File {
            parts: self,
            first: Some(first).filter(|first| !first.is_empty()),
            field: Some(field),
        };
        Upload {
            new,
            bytes: stream::unfold(Some(file), File::step).boxed(),
        }
    }
}

/// The file of a form, up to the end of the form: a form that is cut off, or that holds a second file, is an error in
/// place of the end.
struct File {
    parts: FormParts,
    first: Option<Bytes>,
    field: Option<Field>,
}

impl File {
    async fn step(this: Option<Self>) -> Option<(Result<Bytes>, Option<Self>)> {
        let mut this = this?;
        if let Some(first) = this.first.take() {
            return Some((Ok(first), Some(this)));
        }
        if let Some(field) = &mut this.field {
            match field.chunk().await {
                Ok(Some(chunk)) => return Some((Ok(chunk), Some(this))),
                Ok(None) => {
                    this.field = None;
                    this.parts.allowance.store(OVERHEAD, Ordering::Relaxed);
                }
                Err(error) => return Some((Err(broken(error)), None)),
            }
        }
        let end = this.rest().await;
        end.err().map(|error| (Err(error), None))
    }

    /// Reads what follows the file.
    async fn rest(&mut self) -> Result<()> {
        while let Some((disposition, mut field)) = self.parts.next().await? {
            match (disposition.name.as_str(), disposition.filename) {
                ("owner" | "created_by", _) => return Err(after_the_file()),
                (_, Some(name)) => {
                    if !name.is_empty() || first_chunk(&mut field).await?.is_some() {
                        return Err(Error::bad_request(
                            "the form holds two files; send one form for each",
                        ));
                    }
                }
                (_, None) => skip(&mut field).await?,
            }
        }
        Ok(())
    }
}

fn after_the_file() -> Error {
    Error::bad_request("the fields \"owner\" and \"created_by\" must come before the file")
}

/// The first bytes of a part; `None` if it is empty.
async fn first_chunk(field: &mut Field) -> Result<Option<Bytes>> {
    while let Some(chunk) = field.chunk().await.map_err(broken)? {
        if !chunk.is_empty() {
            return Ok(Some(chunk));
        }
    }
    Ok(None)
}

/// The first bytes of a part, `limit` and a little more at most; and whether that is all of it.
async fn up_to(field: &mut Field, limit: usize) -> Result<(Bytes, bool)> {
    let mut begun = BytesMut::new();
    while let Some(chunk) = field.chunk().await.map_err(broken)? {
        begun.extend_from_slice(&chunk);
        if begun.len() > limit {
            return Ok((begun.freeze(), false));
        }
    }
    Ok((begun.freeze(), true))
}

async fn skip(field: &mut Field) -> Result<()> {
    while field.chunk().await.map_err(broken)?.is_some() {}
    Ok(())
}

/// The value of a field of ours.
async fn text(field: &mut Field, name: &str, charset: Option<&'static Encoding>) -> Result<String> {
    let (bytes, whole) = up_to(field, MAX_FIELD).await?;
    if !whole {
        return Err(Error::bad_request(format!(
            "the field \"{name}\" is longer than {MAX_FIELD} bytes"
        )));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => decode_legacy(&bytes, charset)
            .ok_or_else(|| Error::bad_request(format!("the field \"{name}\" is not UTF-8"))),
    }
}

/// Has nothing right after each item. The form's parser takes all that is ready before it looks at any of it: the window of
/// an HTTP/2 stream, or as much as a fast sender sends meanwhile.
fn one_at_a_time<S: Stream + Unpin>(mut items: S) -> impl Stream<Item = S::Item> {
    let mut paused = false;
    stream::poll_fn(move |cx| {
        if std::mem::take(&mut paused) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let item = items.poll_next_unpin(cx);
        paused = matches!(item, Poll::Ready(Some(_)));
        item
    })
}

fn broken(error: multer::Error) -> Error {
    match error {
        // Our own error, passed through.
        multer::Error::StreamReadFailed(inner) => match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(other) => Error::new(ErrorKind::ClientGone, "the upload broke off")
                .with_source(std::io::Error::other(other)),
        },
        multer::Error::IncompleteStream
        | multer::Error::IncompleteFieldData { .. }
        | multer::Error::IncompleteHeaders => {
            Error::bad_request("the form ends before its last boundary; was it cut off?")
        }
        other => Error::bad_request(format!("the form cannot be read: {other}")),
    }
}

fn shown(name: &str) -> String {
    name.escape_default().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::boundary;

    #[test]
    fn boundaries_are_read_with_quotes_and_without_those_that_they_need() {
        for (value, wanted) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            ("multipart/form-data; boundary=\"a b\"; x=y", Some("a b")),
            ("multipart/form-data; boundary=a/b", Some("a/b")),
            (
                "multipart/form-data; charset=utf-8; Boundary=a=b?c; x=y",
                Some("a=b?c"),
            ),
            ("multipart/form-data;boundary=a/b (comment)", Some("a/b")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data; boundary=\"\"", None),
            ("multipart/form-data; boundary=<a>/", None),
        ] {
            assert_eq!(boundary(value).as_deref(), wanted, "{value}");
        }
        let long = format!("multipart/form-data; boundary={}", "a".repeat(71));
        assert_eq!(boundary(&long), None);
    }
}
