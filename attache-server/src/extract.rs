//! Reading queries and JSON bodies, with errors that say what to do.

use attache::{Error, ErrorKind};
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::respond::Failure;

/// Largest JSON body: a thousand ids with room to spare.
const MAX_JSON: usize = 256 * 1024;

/// A query string. Unknown keys are errors, so that a typo is not silently ignored.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|rejection| {
                let text = std::error::Error::source(&rejection)
                    .map_or_else(|| rejection.to_string(), ToString::to_string);
                Failure(Error::bad_request(format!(
                    "the query cannot be read: {text}"
                )))
            })
    }
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
