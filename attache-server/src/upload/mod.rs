//! Reading an upload from a request: a raw body, or one file of `multipart/form-data` (`form.rs`). Both are streams;
//! nothing is written to a temporary file, nothing is collected in memory.

use attache::attachment::NewAttachment;
use attache::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRAILER};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

mod disposition;
mod form;
mod head;
mod incoming;

use head::{digests, refuse_codings, text};

pub(crate) use form::bounded;
pub(crate) use head::{Upload, parse};
pub(crate) use incoming::Incoming;

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
