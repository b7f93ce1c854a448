//! Reading an upload from a request: a raw body, or one file of `multipart/form-data` (`form.rs`). Both are streams;
//! nothing is written to a temporary file, nothing is collected in memory.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use attache::{Error, ErrorKind, NewAttachment, Result};
use axum::body::{Body, HttpBody as _};
use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, TRAILER};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

mod disposition;
mod form;

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
    /// The record that the attachment belongs to, `kind:id`.
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
    refuse_codings(headers)?;
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
        if announces_digest(headers) {
            return Err(Error::bad_request(
                "a digest in the trailer of a form is of the whole form; send the file as a raw body",
            ));
        }
        let boundary = form::boundary(&content_type.unwrap_or_default())
            .ok_or_else(|| Error::bad_request("multipart/form-data needs a valid boundary"))?;
        return form::read(new, boundary, body).await;
    }
    new.content_type = content_type;
    new.size = text(headers, CONTENT_LENGTH.as_str())?.and_then(|length| length.parse().ok());
    digests(&mut new, headers)?;
    Ok(Upload {
        new,
        bytes: checked(body, announces_digest(headers)),
    })
}

/// Refuses a coding that would have to be undone for the bytes to be the file's.
pub(crate) fn refuse_codings(headers: &HeaderMap) -> Result<()> {
    let other = |name: &str, plain: &[&str]| {
        headers.get_all(name).iter().any(|coding| {
            let coding = coding.as_bytes().trim_ascii();
            !plain
                .iter()
                .any(|plain| coding.eq_ignore_ascii_case(plain.as_bytes()))
        })
    };
    if other(CONTENT_ENCODING.as_str(), &["identity", ""]) {
        return Err(Error::bad_request(
            "Content-Encoding is not supported; send the file as it is",
        ));
    }
    // Of a part (RFC 7578 section 4.7: deprecated).
    if other("content-transfer-encoding", &["7bit", "8bit", "binary", ""]) {
        return Err(Error::bad_request(
            "Content-Transfer-Encoding is not supported; send the file as it is",
        ));
    }
    Ok(())
}

/// Whether a digest is announced for the trailer (RFC 9110 section 6.6.2).
fn announces_digest(headers: &HeaderMap) -> bool {
    headers
        .get_all(TRAILER)
        .iter()
        .filter_map(|names| names.to_str().ok())
        .flat_map(|names| names.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case("content-digest"))
}

/// The bytes of a raw body, with an error in place of the end if its trailer promised other ones.
fn checked(body: Incoming, announced: bool) -> BoxStream<'static, Result<Bytes>> {
    let trailers = body.trailers.clone();
    // Hashed once more only for those who announce it.
    let hasher = announced.then(Sha256::new);
    let state = (body, hasher, trailers);
    stream::unfold(Some(state), async |state| {
        let (mut body, mut hasher, trailers) = state?;
        match body.next().await {
            Some(Ok(chunk)) => {
                if let Some(hasher) = &mut hasher {
                    hasher.update(&chunk);
                }
                Some((Ok(chunk), Some((body, hasher, trailers))))
            }
            Some(Err(error)) => Some((Err(error), None)),
            None => {
                let verdict = trailers
                    .get()
                    .map_or(Ok(()), |trailers| check_trailers(trailers, hasher));
                verdict.err().map(|error| (Err(error), None))
            }
        }
    })
    .boxed()
}

fn check_trailers(trailers: &HeaderMap, hasher: Option<Sha256>) -> Result<()> {
    let mut promised = NewAttachment::default();
    digests(&mut promised, trailers)?;
    if promised.md5.is_some() {
        return Err(Error::bad_request(
            "Content-MD5 is not read from a trailer; send Content-Digest",
        ));
    }
    match (promised.sha256, hasher) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(Error::bad_request(
            "the trailer has a Content-Digest that the head did not announce; send \"Trailer: Content-Digest\" before the body",
        )),
        (Some(promised), Some(hasher)) => {
            let got: [u8; 32] = hasher.finalize().into();
            match got == promised {
                true => Ok(()),
                false => Err(Error::new(
                    ErrorKind::DigestMismatch,
                    "the SHA-256 of the bytes is not the Content-Digest of the trailer",
                )),
            }
        }
    }
}

pub(crate) fn digests(new: &mut NewAttachment, headers: &HeaderMap) -> Result<()> {
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

pub(crate) fn parse<T: std::str::FromStr<Err = Error>>(text: Option<String>) -> Result<Option<T>> {
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
    body: Option<Body>,
    polled: bool,
    rest: Option<oneshot::Sender<(Body, bool)>>,
    /// What came after the last byte.
    trailers: Arc<OnceLock<HeaderMap>>,
}

/// What remains of a body that was not read to its end.
pub(crate) struct Rest {
    rest: oneshot::Receiver<(Body, bool)>,
    /// The sender waits for our leave; as long as we read nothing, it sends nothing.
    awaits_leave: bool,
}

impl Incoming {
    pub(crate) fn new(headers: &HeaderMap, body: Body) -> (Self, Rest) {
        let (sender, receiver) = oneshot::channel();
        let incoming = Self {
            body: Some(body),
            polled: false,
            rest: Some(sender),
            trailers: Arc::default(),
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
            let Ok((body, polled)) = self.rest.await else {
                return;
            };
            if self.awaits_leave && !polled {
                return;
            }
            let mut stream = body.into_data_stream();
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
        loop {
            let Some(body) = &mut this.body else {
                return Poll::Ready(None);
            };
            let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
            return Poll::Ready(match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => Some(Ok(chunk)),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            let _ = this.trailers.set(trailers);
                        }
                        continue;
                    }
                },
                Some(Err(error)) => {
                    this.body = None;
                    Some(Err(Error::new(
                        ErrorKind::ClientGone,
                        "the upload broke off",
                    )
                    .with_source(error)))
                }
                None => {
                    this.body = None;
                    None
                }
            });
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let (Some(body), Some(rest)) = (self.body.take(), self.rest.take()) {
            // Nobody waits for it unless the upload was refused.
            let _ = rest.send((body, self.polled));
        }
    }
}
