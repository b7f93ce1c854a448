//! Reading an upload from a request: a raw body, or one file of `multipart/form-data`. Both are streams; nothing is
//! written to a temporary file, nothing is collected in memory.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use attache::{Error, ErrorKind, NewAttachment, Result};
use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use serde::Deserialize;
use tokio::sync::oneshot;

/// Fields and part headers of a form that come before the file, and what comes after it, together.
const FORM_OVERHEAD: u64 = 64 * 1024;

/// Longest field of a form that is not the file.
const MAX_FIELD: u64 = 4 * 1024;

/// How much of a refused upload is read and thrown away, and for how long, so that its sender reads the answer instead
/// of a connection reset (RFC 9112 section 9.6).
const LINGER_BYTES: u64 = 64 * 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(10);

/// `?filename=…&owner=…&created_by=…`
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UploadQuery {
    /// The file's name, for a raw body.
    filename: Option<String>,
    /// What the attachment hangs on, `kind:id`.
    owner: Option<String>,
    /// Who uploads.
    created_by: Option<String>,
}

/// An upload whose head was read.
pub(crate) struct Upload {
    pub(crate) new: NewAttachment,
    pub(crate) bytes: BoxStream<'static, Result<Bytes>>,
}

/// Reads the head of an upload, up to the first byte of the file.
pub(crate) async fn read(
    query: UploadQuery,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Upload> {
    let mut new = NewAttachment {
        filename: parse(query.filename)?,
        owner: parse(query.owner)?,
        created_by: parse(query.created_by)?,
        idempotency_key: parse(text(headers, "idempotency-key")?)?,
        ..NewAttachment::default()
    };
    if headers
        .get(CONTENT_ENCODING)
        .is_some_and(|coding| coding != "identity")
    {
        return Err(Error::bad_request(
            "Content-Encoding is not understood; send the file as it is",
        ));
    }
    let content_type = text(headers, CONTENT_TYPE.as_str())?;
    let is_form = content_type.as_deref().is_some_and(|t| {
        t.trim_start()
            .to_ascii_lowercase()
            .starts_with("multipart/form-data")
    });
    if is_form {
        if headers.contains_key("content-md5") || headers.contains_key("content-digest") {
            return Err(Error::bad_request(
                "a digest in the head of a form is of the whole form; put Content-MD5 or Content-Digest into the \
                 headers of the part \"file\", or send the file as a raw body",
            ));
        }
        let boundary = multer::parse_boundary(content_type.unwrap_or_default())
            .map_err(|_| Error::bad_request("multipart/form-data needs a valid boundary"))?;
        return read_form(new, boundary, body).await;
    }
    new.content_type = content_type;
    new.size = text(headers, CONTENT_LENGTH.as_str())?.and_then(|length| length.parse().ok());
    digests(&mut new, headers)?;
    Ok(Upload {
        new,
        bytes: body.boxed(),
    })
}

async fn read_form(mut new: NewAttachment, boundary: String, body: Incoming) -> Result<Upload> {
    // What is read while no byte of the file comes is counted, so that a part header without an end is no memory leak.
    let allowance = Arc::new(AtomicU64::new(FORM_OVERHEAD));
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
    let limits = multer::SizeLimit::new()
        .per_field(MAX_FIELD)
        .for_field("file", u64::MAX);
    let constraints = multer::Constraints::new().size_limit(limits);
    let mut form =
        multer::Multipart::with_constraints(one_at_a_time(limited), boundary, constraints);
    loop {
        // One chunk of the connection may hold fields and the beginning of the file; only what is read before counts.
        let Some(field) = form.next_field().await.map_err(form_error)? else {
            return Err(Error::bad_request("the form has no part \"file\""));
        };
        match field.name().unwrap_or_default() {
            "owner" => new.owner = parse(Some(field.text().await.map_err(form_error)?))?,
            "created_by" => new.created_by = parse(Some(field.text().await.map_err(form_error)?))?,
            "file" => {
                if let Some(name) = field.file_name().filter(|name| !name.is_empty()) {
                    new.filename = parse(Some(decode_form_name(name)))?;
                }
                new.content_type = field.content_type().map(ToString::to_string);
                digests(&mut new, field.headers())?;
                allowance.store(u64::MAX, Ordering::Relaxed);
                let file = FormFile {
                    form,
                    field: Some(field),
                    allowance,
                };
                return Ok(Upload {
                    new,
                    bytes: stream::unfold(file, FormFile::step).boxed(),
                });
            }
            other => {
                return Err(Error::bad_request(format!(
                    "the form has a part \"{}\"; attache knows \"owner\" and \"created_by\", and then \"file\"",
                    other.escape_default().take(64).collect::<String>()
                )));
            }
        }
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

/// The file of a form, up to the end of the form: a form that is cut off, or that holds a second file, is an error in
/// place of the end.
struct FormFile {
    form: multer::Multipart<'static>,
    field: Option<multer::Field<'static>>,
    allowance: Arc<AtomicU64>,
}

impl FormFile {
    async fn step(mut self) -> Option<(Result<Bytes>, Self)> {
        if let Some(field) = &mut self.field {
            match field.chunk().await {
                Ok(Some(chunk)) => return Some((Ok(chunk), self)),
                Ok(None) => {
                    self.field = None;
                    self.allowance.store(FORM_OVERHEAD, Ordering::Relaxed);
                }
                Err(error) => return Some((Err(form_error(error)), self)),
            }
        }
        match self.form.next_field().await {
            Ok(None) => None,
            Ok(Some(field)) => {
                let what = match field.name() {
                    Some("file") => "the form holds two files; send one form for each",
                    _ => "\"file\" must be the last part of the form",
                };
                drop(field);
                Some((Err(Error::bad_request(what)), self))
            }
            Err(error) => Some((Err(form_error(error)), self)),
        }
    }
}

fn form_error(error: multer::Error) -> Error {
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
        multer::Error::FieldSizeExceeded { field_name, .. } => Error::bad_request(format!(
            "the part \"{}\" is longer than {MAX_FIELD} bytes",
            field_name.unwrap_or_default().escape_default()
        )),
        other => Error::bad_request(format!("the form cannot be read: {other}")),
    }
}

/// Browsers write `"`, CR and LF of a name as percent sequences, and nothing else
/// (<https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data>).
fn decode_form_name(name: &str) -> String {
    name.replace("%22", "\"")
        .replace("%0D", "\r")
        .replace("%0A", "\n")
}

fn digests(new: &mut NewAttachment, headers: &HeaderMap) -> Result<()> {
    use base64::Engine as _;
    let decode = |text: &str| {
        base64::engine::general_purpose::STANDARD
            .decode(text.trim())
            .ok()
    };
    if let Some(md5) = text(headers, "content-md5")? {
        let bytes = decode(&md5).and_then(|bytes| bytes.try_into().ok());
        new.md5 = Some(bytes.ok_or_else(|| {
            Error::bad_request("Content-MD5 is the base64 of 16 bytes (RFC 1864)")
        })?);
    }
    if let Some(field) = text(headers, "content-digest")? {
        for member in field.split(',') {
            let (name, value) = member.trim().split_once('=').unwrap_or((member, ""));
            if !name.trim().eq_ignore_ascii_case("sha-256") {
                // RFC 9530 section 2: algorithms that are not known are ignored.
                continue;
            }
            let bytes = value
                .trim()
                .strip_prefix(':')
                .and_then(|rest| rest.split(':').next())
                .and_then(decode)
                .and_then(|bytes| bytes.try_into().ok());
            new.sha256 = Some(bytes.ok_or_else(|| {
                Error::bad_request("Content-Digest is sha-256=:base64 of 32 bytes: (RFC 9530)")
            })?);
        }
    }
    Ok(())
}

fn parse<T: std::str::FromStr<Err = Error>>(text: Option<String>) -> Result<Option<T>> {
    text.filter(|text| !text.is_empty())
        .map(|text| text.parse())
        .transpose()
}

fn text(headers: &HeaderMap, name: &str) -> Result<Option<String>> {
    headers
        .get(name)
        .map(|value| {
            value
                .to_str()
                .map(str::to_owned)
                .map_err(|_| Error::bad_request(format!("the header {name} is not ASCII")))
        })
        .transpose()
}

/// The body of a request, as it comes. Whoever drops it before its end gives what remains to a [`Rest`].
pub(crate) struct Incoming {
    stream: Option<BodyDataStream>,
    polled: bool,
    rest: Option<oneshot::Sender<(BodyDataStream, bool)>>,
}

/// What remains of a body that was not read to its end.
pub(crate) struct Rest {
    rest: oneshot::Receiver<(BodyDataStream, bool)>,
    /// The sender waits for our leave; as long as we read nothing, it sends nothing.
    awaits_leave: bool,
}

impl Incoming {
    pub(crate) fn new(headers: &HeaderMap, body: Body) -> (Self, Rest) {
        let (sender, receiver) = oneshot::channel();
        let incoming = Self {
            stream: Some(body.into_data_stream()),
            polled: false,
            rest: Some(sender),
        };
        let rest = Rest {
            rest: receiver,
            awaits_leave: headers.get(EXPECT).is_some(),
        };
        (incoming, rest)
    }
}

impl Rest {
    /// Reads and throws away what the sender still sends, in the background and within limits.
    pub(crate) fn linger(self) {
        tokio::spawn(tokio::time::timeout(LINGER_TIME, async move {
            // The upload's own task may still hold the body for a moment.
            let Ok((mut stream, polled)) = self.rest.await else {
                return;
            };
            if self.awaits_leave && !polled {
                return;
            }
            let mut left = LINGER_BYTES;
            while let Some(Ok(chunk)) = stream.next().await {
                left = left.saturating_sub(chunk.len() as u64);
                if left == 0 {
                    return;
                }
            }
        }));
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.polled = true;
        let Some(stream) = &mut this.stream else {
            return Poll::Ready(None);
        };
        stream.poll_next_unpin(cx).map(|chunk| match chunk {
            Some(Ok(chunk)) => Some(Ok(chunk)),
            Some(Err(error)) => {
                this.stream = None;
                Some(Err(Error::new(
                    ErrorKind::ClientGone,
                    "the upload broke off",
                )
                .with_source(error)))
            }
            None => {
                this.stream = None;
                None
            }
        })
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let (Some(stream), Some(rest)) = (self.stream.take(), self.rest.take()) {
            // Nobody waits for it unless the upload was refused.
            let _ = rest.send((stream, self.polled));
        }
    }
}
