//! Reading queries and JSON bodies, with errors that say what to do.

use attache::{Error, ErrorKind};
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use crate::respond::Failure;

/// Largest JSON body: a thousand ids with room to spare.
const MAX_JSON: usize = 256 * 1024;

/// A query string in UTF-8. Unknown keys are errors, so that a typo is not silently ignored.
pub(crate) struct Query<T>(pub(crate) T);

/// A query string to which others may have added something: unknown keys are ignored, in whichever encoding.
pub(crate) struct TolerantQuery<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let text = parts.uri.query().unwrap_or_default();
        // It would be read with replacement characters: a file would be stored under another name than it has.
        if percent_decode_str(text).decode_utf8().is_err() {
            return Err(Failure(Error::bad_request(
                "the query is not UTF-8; percent-encode names as UTF-8",
            )));
        }
        query(parts).map(Self)
    }
}

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for TolerantQuery<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        query(parts).map(Self)
    }
}

fn query<T: DeserializeOwned>(parts: &Parts) -> Result<T, Failure> {
    axum::extract::Query::<T>::try_from_uri(&parts.uri)
        .map(|axum::extract::Query(query)| query)
        .map_err(|rejection| {
            let text = std::error::Error::source(&rejection)
                .map_or_else(|| rejection.to_string(), ToString::to_string);
            Failure(Error::bad_request(format!(
                "the query cannot be read: {text}"
            )))
        })
}

/// A JSON body; an empty one is read as `{}`.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let bytes = axum::body::to_bytes(request.into_body(), MAX_JSON)
            .await
            .map_err(|_| {
                Failure(Error::new(
                    ErrorKind::TooLarge,
                    format!("the JSON body is larger than {MAX_JSON} bytes, or broke off"),
                ))
            })?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(text).map(Self).map_err(|error| {
            Failure(Error::bad_request(format!(
                "the JSON body cannot be read: {error}"
            )))
        })
    }
}
