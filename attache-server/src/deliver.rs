//! `/attachment/{id}` and `/download/{id}`: what browsers open.

use std::time::Duration;

use attache::config::DeliveryMode;
use attache::delivery::Ask;
use attache::links::LinkProof;
use attache::{AttachmentId, Disposition, Error, ErrorKind};
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{
    CONTENT_RANGE, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, RANGE,
};
use http::request::Parts;
use http::{HeaderMap, Method, Version};
use serde::Deserialize;
use time::OffsetDateTime;

use crate::app::App;
use crate::connection::Peer;
use crate::extract::Query;
use crate::respond::{self, Failure, Manner, Problem};

/// The query of a temporary link, and how to deliver.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeliverQuery {
    /// Of a temporary link: until when it works, in seconds since 1970.
    expires: Option<i64>,
    /// Of a temporary link: its proof.
    sig: Option<String>,
    /// Deliver in another way than the configured one.
    #[param(inline)]
    via: Option<Via>,
}

#[derive(Clone, Copy, Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Via {
    /// The bytes pass through attache.
    Relay,
    /// A redirect to a temporary URL of the store, if it has such.
    Redirect,
}

/// Show an attachment, where its type is safe to show.
#[utoipa::path(get, path = "/attachment/{id}", tag = "deliver", params(("id", description = "The attachment's id"), DeliverQuery),
    responses(
        (status = 200, description = "The bytes"), (status = 206, description = "A range of them"),
        (status = 302, description = "They are there, for a while"), (status = 304, description = "You have them"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 412, body = Problem, content_type = "application/problem+json"),
        (status = 416, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn attachment(
    State(app): State<App>,
    Path(id): Path<String>,
    Query(query): Query<DeliverQuery>,
    Extension(peer): Extension<Peer>,
    request: Parts,
) -> Response {
    answer(&app, &id, query, peer, &request, Disposition::Inline).await
}

/// Save an attachment.
#[utoipa::path(get, path = "/download/{id}", tag = "deliver", params(("id", description = "The attachment's id"), DeliverQuery),
    responses(
        (status = 200, description = "The bytes"), (status = 206, description = "A range of them"),
        (status = 302, description = "They are there, for a while"), (status = 304, description = "You have them"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 412, body = Problem, content_type = "application/problem+json"),
        (status = 416, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn download(
    State(app): State<App>,
    Path(id): Path<String>,
    Query(query): Query<DeliverQuery>,
    Extension(peer): Extension<Peer>,
    request: Parts,
) -> Response {
    answer(&app, &id, query, peer, &request, Disposition::Attachment).await
}

async fn answer(
    app: &App,
    id: &str,
    query: DeliverQuery,
    peer: Peer,
    request: &Parts,
    disposition: Disposition,
) -> Response {
    let Ok(id) = id.parse::<AttachmentId>() else {
        // What can be no id is not there.
        return Failure(Error::not_found("…")).into_response();
    };
    if let Err(error) = check_link(app, &id, disposition, &query) {
        return Failure(error).into_response();
    }
    let config = &app.attache.parts().config;
    let headers = &request.headers;
    let ask = Ask {
        disposition,
        head: request.method == Method::HEAD,
        range: header(headers, RANGE),
        if_match: listed(headers, IF_MATCH),
        if_none_match: listed(headers, IF_NONE_MATCH),
        if_modified_since: header(headers, IF_MODIFIED_SINCE),
        if_unmodified_since: header(headers, IF_UNMODIFIED_SINCE),
        if_range: header(headers, IF_RANGE),
        via: query.via.map(|via| match via {
            Via::Relay => DeliveryMode::Relay,
            Via::Redirect => DeliveryMode::Redirect,
        }),
        through_proxy: config.server.trusts(peer.address),
    };
    let manner = Manner {
        right_left: query.expires.map(|expires| {
            let left = expires - OffsetDateTime::now_utc().unix_timestamp();
            Duration::from_secs(left.try_into().unwrap_or(0))
        }),
        patience: (request.version == Version::HTTP_2).then_some(config.download.idle_timeout),
    };
    match app.attache.deliver(&id, &ask).await {
        Ok(delivery) => respond::deliver(delivery, manner),
        Err(error) if error.kind() == ErrorKind::BadRange => {
            let size = app
                .attache
                .find(&id)
                .await
                .map(|attachment| attachment.size);
            let mut response = Failure(error).into_response();
            if let Ok(size) = size {
                response
                    .headers_mut()
                    .insert(CONTENT_RANGE, respond::unsatisfied(size));
            }
            response
        }
        Err(error) => Failure(error).into_response(),
    }
}

/// A link that says it is temporary must be valid, even where none is needed.
fn check_link(
    app: &App,
    id: &AttachmentId,
    disposition: Disposition,
    query: &DeliverQuery,
) -> attache::Result<()> {
    match (query.expires, &query.sig) {
        (None, None) => Ok(()),
        (Some(expires), Some(sig)) => {
            let proof = LinkProof {
                expires,
                sig: sig.clone(),
            };
            app.attache.check_link(id, disposition, &proof)
        }
        _ => Err(Error::new(
            ErrorKind::Forbidden,
            "this link was changed; ask for a new one",
        )),
    }
}

/// A value that is no text is not missing: a condition that cannot be read does not hold, instead of not being there.
fn header(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// A header that may come in several lines, which together are one list (RFC 9110 section 5.3).
fn listed(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let lines: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}
