//! Reading queries and JSON bodies, with errors that say what to do.
//!
//! A body is copied into one buffer as its pieces come. A piece is a slice of the buffer that the connection read into, and
//! keeps all of it: a sender of single bytes would have us hold kilobytes for each.

use std::time::Duration;

use attache::transfer::budget::Budget;
use attache::{Error, ErrorKind};
use axum::body::Body;
use axum::extract::{FromRef, FromRequest, FromRequestParts, Request};
use futures::StreamExt as _;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use crate::respond::ErrorResponse;

/// Largest JSON body: a thousand ids with room to spare.
const MAX_JSON: usize = 256 * 1024;

/// Up to here a body costs no permit: about what the request itself takes.
const FREE_BYTES: usize = 4 * 1024;

/// How long a JSON body may take from its first byte to its last. Everybody who means it sends it in one piece; 256 KiB in
/// this time are 26 KiB/s.
const BODY_TIME: Duration = Duration::from_secs(10);

/// A query string in UTF-8. Unknown keys are errors, so that a typo is not silently ignored.
pub(crate) struct Query<T>(pub(crate) T);

/// A query string to which others may have added something: unknown keys are ignored, in whichever encoding.
pub(crate) struct TolerantQuery<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ErrorResponse> {
        let text = parts.uri.query().unwrap_or_default();
        // It would be read with replacement characters: a file would be stored under another name than it has.
        if percent_decode_str(text).decode_utf8().is_err() {
            return Err(ErrorResponse(Error::bad_request(
                "the query is not UTF-8; percent-encode names as UTF-8",
            )));
        }
        query(parts).map(Self)
    }
}

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for TolerantQuery<T> {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ErrorResponse> {
        query(parts).map(Self)
    }
}

fn query<T: DeserializeOwned>(parts: &Parts) -> Result<T, ErrorResponse> {
    axum::extract::Query::<T>::try_from_uri(&parts.uri)
        .map(|axum::extract::Query(query)| query)
        .map_err(|rejection| {
            let text = std::error::Error::source(&rejection)
                .map_or_else(|| rejection.to_string(), ToString::to_string);
            ErrorResponse(Error::bad_request(format!("cannot read the query: {text}")))
        })
}

/// A JSON body of at most 256 KiB; an empty one is read as `{}`. For handlers that know their caller before they read: put
/// it after the [`Caller`](crate::auth::Caller). A body above 4 KiB holds a permit of the transfer memory while it is read.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T>
where
    Budget: FromRef<S>,
{
    type Rejection = ErrorResponse;

    async fn from_request(request: Request, state: &S) -> Result<Self, ErrorResponse> {
        let budget = Budget::from_ref(state);
        let bytes = collect(request.into_body(), MAX_JSON, Some(&budget)).await?;
        Ok(Self(json(&bytes)?))
    }
}

/// Reads the JSON body of somebody who is not known yet: at most `limit` bytes.
pub(crate) async fn json_of_stranger<T: DeserializeOwned>(
    body: Body,
    limit: usize,
) -> attache::Result<T> {
    json(&collect(body, limit, None).await?)
}

/// The whole body, copied, within [`BODY_TIME`]. With a `budget`, a body above [`FREE_BYTES`] waits for a permit.
async fn collect(body: Body, limit: usize, budget: Option<&Budget>) -> attache::Result<Vec<u8>> {
    let reading = async {
        let (mut bytes, mut permit) = (Vec::new(), None);
        let mut body = body.into_data_stream();
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| {
                Error::new(ErrorKind::ClientGone, "the JSON body broke off").with_source(error)
            })?;
            let length = bytes.len() + piece.len();
            if length > limit {
                return Err(Error::new(
                    ErrorKind::TooLarge,
                    format!("the JSON body is longer than {limit} bytes"),
                ));
            }
            if let Some(budget) = budget.filter(|_| permit.is_none() && length > FREE_BYTES) {
                permit = Some(budget.acquire(limit as u64).await?);
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    };
    tokio::time::timeout(BODY_TIME, reading)
        .await
        .unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::ClientTimeout,
                format!(
                    "timed out: the JSON body was not complete within {} s",
                    BODY_TIME.as_secs()
                ),
            ))
        })
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> attache::Result<T> {
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { bytes };
    // serde takes the values of an object as a list, too, which nobody means.
    if text.trim_ascii_start().first() == Some(&b'[') {
        return Err(Error::bad_request(
            "cannot read the JSON body: it must be an object",
        ));
    }
    serde_json::from_slice(text)
        .map_err(|error| Error::bad_request(format!("cannot read the JSON body: {error}")))
}
