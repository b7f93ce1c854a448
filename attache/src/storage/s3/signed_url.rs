//! Looks at a signed URL from outside, as `check` does.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use super::place::Place;
use super::refusal::Refusal;
use crate::error::{Error, ErrorKind, Result};
use crate::http::reach::hint;
use crate::http::{Client, ClientConfig, Trust};
use crate::secret::SignedUrl;
use std::time::Duration;

/// Opens a signed URL as a client would: over a connection of its own, without our credential. Reads at most `limit` bytes of what it
/// opens.
///
/// # Errors
///
/// [`ErrorKind::UpstreamRefused`] if the URL does not open; [`ErrorKind::UpstreamUnavailable`] if its host cannot be reached.
pub(crate) async fn open_signed_url(
    place: &Place,
    ca_pem: Option<&str>,
    client: &ClientConfig,
    url: &SignedUrl,
    limit: usize,
) -> Result<Bytes> {
    let store = place.dialect.name();
    let trust = match ca_pem {
        Some(pem) => Trust::roots_and(pem, &place.key("ca_file"))?,
        None => Trust::roots()?,
    };
    let request = Request::get(url.expose())
        .body(Full::<Bytes>::default())
        .map_err(|_| Error::internal(format!("{store}: the signed URL is not a URL")))?;
    let host = request.uri().host().unwrap_or_default().to_owned();
    let outside: Client = Client::new(client, trust);
    let answer = outside.send(request, Duration::ZERO).await;
    let (head, body) = answer
        .map_err(|why| {
            let hint = hint(&why, &place.key("ca_file"));
            let key = place.key("public_endpoint");
            Error::new(
                ErrorKind::UpstreamUnavailable,
                format!("{store}: {host} cannot be reached; check {key}{hint}"),
            )
            .with_source(why)
        })?
        .into_parts();
    if head.status.as_u16() != 200 {
        let refusal = Refusal::read(head.status.as_u16(), &head.headers, body).await;
        return Err(Error::new(
            ErrorKind::UpstreamRefused,
            format!(
                "{store}: the signed URL was refused ({} {}); check the clock, and that the store lets clients in",
                refusal.status, refusal.code
            ),
        ));
    }
    body.whole(limit).await.map_err(|why| {
        Error::new(
            ErrorKind::UpstreamUnavailable,
            format!("{store}: the signed URL broke off"),
        )
        .with_source(why)
    })
}
