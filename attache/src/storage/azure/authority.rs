//! Who we are to the service, for requests that do not go through Microsoft's client.

use std::sync::Arc;

use azure_core::error::{Error as AzureError, ErrorKind as AzureErrorKind};
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http_body::Body as _;
use http_body_util::Full;

use super::credential::Bearer;
use super::shared_key::{self, AccountKey, Signable};
use crate::lease::Held;
use crate::secret::Secret;

const X_MS_DATE: HeaderName = HeaderName::from_static("x-ms-date");

/// Who we are.
pub(super) enum Authority {
    Token(Bearer),
    Key(AccountKey),
}

impl Authority {
    /// Signs a request without a query, and returns the token, if it is one that was used.
    pub(super) async fn authorise(
        &self,
        request: &mut http::Request<Full<Bytes>>,
    ) -> azure_core::Result<Option<Arc<Held<Secret>>>> {
        let (held, authorisation) = match self {
            Self::Token(bearer) => {
                let scheme = request.uri().scheme_str().unwrap_or_default();
                let (held, authorisation) = bearer.authorise(scheme).await?;
                (Some(held), authorisation)
            }
            Self::Key(key) => {
                let date = value(shared_key::date())?;
                request.headers_mut().insert(X_MS_DATE, date);
                let headers = request.headers().iter();
                let signable = Signable {
                    method: request.method().as_str(),
                    path: request.uri().path(),
                    query: Vec::new(),
                    length: request.body().size_hint().exact().unwrap_or_default(),
                    headers: headers
                        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
                        .collect(),
                };
                (None, key.authorise(&signable))
            }
        };
        let mut authorisation = value(authorisation)?;
        authorisation.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, authorisation);
        Ok(held)
    }

    /// Whether a token that was refused makes way for another.
    pub(super) fn renew(&self, refused: Option<&Arc<Held<Secret>>>) -> bool {
        match (self, refused) {
            (Self::Token(bearer), Some(refused)) => bearer.token().reject(refused),
            _ => false,
        }
    }
}

pub(super) fn value(text: String) -> azure_core::Result<HeaderValue> {
    HeaderValue::try_from(text).map_err(|error| AzureError::new(AzureErrorKind::Other, error))
}
