//! Looks at a signed URL from outside, as `check` does.

use azure_core::http::{HttpClient as _, Request};
use bytes::Bytes;
use futures::StreamExt as _;

use super::config::{AzureConfig, CA_FILE};
use super::transport::Transport;
use crate::error::{Error, ErrorKind, Result};
use crate::http::ClientConfig;
use crate::http::reach::hint;
use crate::secret::SignedUrl;
use crate::transfer::body::Body;

/// Opens a signed URL as a client would: over a connection of its own, without our credential. Reads at most `limit`
/// bytes of what it opens.
///
/// # Errors
///
/// [`ErrorKind::UpstreamRefused`] if the URL does not open; [`ErrorKind::UpstreamUnavailable`] if its host cannot be
/// reached.
pub async fn open_signed_url(
    config: &AzureConfig,
    client: &ClientConfig,
    url: &SignedUrl,
    limit: usize,
) -> Result<Bytes> {
    let parsed = azure_core::http::Url::parse(url.expose())
        .map_err(|_| Error::internal("azure: the signed URL is not a URL"))?;
    let host = parsed.host_str().unwrap_or_default().to_owned();
    let request = Request::new(parsed, azure_core::http::Method::Get);
    let answer = Transport::new(config.ca_pem.as_deref(), client)?
        .execute_request(&request)
        .await
        .map_err(|error| {
            let hint = hint(&error, CA_FILE);
            Error::new(
                ErrorKind::UpstreamUnavailable,
                format!(
                    "azure: {host} cannot be reached; check storage.azure.public_endpoint{hint}"
                ),
            )
            .with_source(error)
        })?;
    let (status, headers, body) = answer.deconstruct();
    if u16::from(status) != 200 {
        let name = azure_core::http::headers::HeaderName::from_static("x-ms-error-code");
        let code = headers.get_optional_str(&name).unwrap_or_default();
        return Err(Error::new(
            ErrorKind::UpstreamRefused,
            format!(
                "azure: the signed URL was refused ({} {code}); check the clock, and that the account's firewall lets \
                 clients in",
                u16::from(status)
            ),
        ));
    }
    let chunks = body.map(|chunk| {
        chunk.map_err(|error| {
            Error::new(
                ErrorKind::UpstreamUnavailable,
                "azure: the signed URL broke off",
            )
            .with_source(error)
        })
    });
    Body::new(chunks).collect(limit).await
}
