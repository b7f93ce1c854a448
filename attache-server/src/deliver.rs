//! `/attachment/{id}` and `/download/{id}`: what browsers open.

use std::sync::Arc;
use std::time::Duration;

use attache::access::Scope;
use attache::access::links::LinkProof;
use attache::attachment::AttachmentId;
use attache::attachment::filename::Disposition;
use attache::delivery::DeliveryRequest;
use attache::delivery::config::DeliveryMode;
use attache::{Attachment, Error, ErrorKind};
use axum::Extension;
use axum::extract::{FromRequestParts as _, Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, CONTENT_RANGE, RANGE};
use http::request::Parts;
use http::{Method, Version};
use serde::Deserialize;
use time::OffsetDateTime;

use crate::audit::{self, Action};
use crate::auth::forward::Question;
use crate::conditional;
use crate::config::Settings;
use crate::cors;
use crate::extract::TolerantQuery;
use crate::net::outgoing::Backpressure;
use crate::net::peer::Peer;
use crate::respond::{self, ErrorResponse, Problem, ResponseContext};
use crate::state::App;

/// The query of a temporary link, and how to deliver.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
// Mail programs and social networks add keys of their own to links, and pages a number against caches.
#[into_params(parameter_in = Query)]
pub(crate) struct DeliverQuery {
    /// When a temporary link expires, in seconds since 1970.
    expires: Option<i64>,
    /// The signature of a temporary link.
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
    /// A redirect to a temporary URL of the store, where `delivery.mode` is `redirect`; also for requests with an
    /// `Authorization` header, which are relayed otherwise.
    Redirect,
}

/// Show an attachment, where its type is safe to show.
#[utoipa::path(get, path = "/attachment/{id}", tag = "deliver", params(("id", description = "The attachment's id"), DeliverQuery),
    responses(
        (status = 200, description = "The bytes"), (status = 206, description = "A range of them"),
        (status = 302, description = "A redirect to a temporary URL"), (status = 304, description = "Not modified"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 412, body = Problem, content_type = "application/problem+json"),
        (status = 416, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn attachment(
    State(app): State<App>,
    Path(id): Path<String>,
    TolerantQuery(query): TolerantQuery<DeliverQuery>,
    Extension(peer): Extension<Peer>,
    request: Parts,
) -> Response {
    deliver(&app, &id, query, peer, &request, Disposition::Inline).await
}

/// Save an attachment.
#[utoipa::path(get, path = "/download/{id}", tag = "deliver", params(("id", description = "The attachment's id"), DeliverQuery),
    responses(
        (status = 200, description = "The bytes"), (status = 206, description = "A range of them"),
        (status = 302, description = "A redirect to a temporary URL"), (status = 304, description = "Not modified"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 412, body = Problem, content_type = "application/problem+json"),
        (status = 416, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn download(
    State(app): State<App>,
    Path(id): Path<String>,
    TolerantQuery(query): TolerantQuery<DeliverQuery>,
    Extension(peer): Extension<Peer>,
    request: Parts,
) -> Response {
    deliver(&app, &id, query, peer, &request, Disposition::Attachment).await
}

/// The front of the path under which an attachment is presented like this.
const fn folder(disposition: Disposition) -> &'static str {
    match disposition {
        Disposition::Inline => "/attachment/",
        Disposition::Attachment => "/download/",
    }
}

/// What [`plain`] responds to: all requests for an attachment but those that only a router reads.
pub(crate) fn is_plain(request: &Request) -> bool {
    request.method() == Method::GET && plain_id(request.uri().path()).is_some()
}

/// As [`attachment`] and [`download`], without a look at the other routes.
pub(crate) async fn plain(app: &App, peer: Peer, request: Request) -> Response {
    let (mut request, _) = request.into_parts();
    let query = match request.uri.query() {
        None => DeliverQuery::default(),
        Some(_) => match TolerantQuery::from_request_parts(&mut request, app).await {
            Ok(TolerantQuery(query)) => query,
            Err(error) => return error.into_response(),
        },
    };
    let (id, disposition) = plain_id(request.uri.path()).unwrap_or(("", Disposition::Inline));
    deliver(app, id, query, peer, &request, disposition).await
}

/// The id in a path, where it is written as we write ids.
fn plain_id(path: &str) -> Option<(&str, Disposition)> {
    let (id, disposition) = [Disposition::Inline, Disposition::Attachment]
        .into_iter()
        .find_map(|disposition| Some((path.strip_prefix(folder(disposition))?, disposition)))?;
    let is_plain = !id.is_empty()
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_plain.then_some((id, disposition))
}

async fn deliver(
    app: &App,
    id: &str,
    query: DeliverQuery,
    peer: Peer,
    request: &Parts,
    disposition: Disposition,
) -> Response {
    let Ok(id) = id.parse::<AttachmentId>() else {
        // An id that cannot exist is reported as not found.
        return ErrorResponse(Error::not_found("…")).into_response();
    };
    let settings = app.settings();
    let wanted = wanted(&settings, disposition, &query, &peer, request);
    let admitted = admit(app, &id, &wanted, &query, request).await;
    let who = admitted
        .as_ref()
        .map_or("unknown", |admitted| &*admitted.who);
    audit::record_as(who, Action::Read, id.as_str(), &admitted);
    let found = match admitted {
        Ok(Admitted {
            found: Some(found), ..
        }) => found,
        Ok(Admitted { found: None, .. }) => app.attache.find_for(&id, &wanted).await,
        Err(error) => Err(error),
    };
    let attachment = match found {
        Ok(attachment) => attachment,
        Err(error) => return ErrorResponse(error).into_response(),
    };
    let context = context(&settings, &query, peer, request);
    match app.attache.deliver(&attachment, &wanted).await {
        Ok(delivery) => respond::deliver(delivery, context),
        Err(error) => failed(error, attachment.size),
    }
}

/// What a request asks of the library, and how the configuration wants it delivered.
fn wanted(
    settings: &Settings,
    disposition: Disposition,
    query: &DeliverQuery,
    peer: &Peer,
    request: &Parts,
) -> DeliveryRequest {
    let headers = &request.headers;
    let redirects = settings.store.delivery_mode() == DeliveryMode::Redirect;
    DeliveryRequest {
        disposition,
        head: request.method == Method::HEAD,
        range: conditional::text(headers, RANGE.as_str()),
        via: match query.via {
            Some(Via::Relay) => Some(DeliveryMode::Relay),
            Some(Via::Redirect) => Some(DeliveryMode::Redirect),
            // A script of a page that may read here may not read at the store, unless that has rules of its own.
            None if redirects && cors::listed(&settings.server, headers).is_some() => {
                Some(DeliveryMode::Relay)
            }
            None => None,
        },
        authorization: headers.contains_key(AUTHORIZATION),
        through_proxy: settings.server.trusts(peer.address),
        handover: peer.handover.clone(),
        ..conditional::read(headers, "")
    }
}

fn context(
    settings: &Settings,
    query: &DeliverQuery,
    peer: Peer,
    request: &Parts,
) -> ResponseContext {
    ResponseContext {
        embed: settings.embed(),
        access_expires_in: query.expires.map(|expires| {
            let left = expires - OffsetDateTime::now_utc().unix_timestamp();
            Duration::from_secs(left.try_into().unwrap_or(0))
        }),
        backpressure: match request.version {
            Version::HTTP_2 => Backpressure::Stream {
                patience: settings.store.download.idle_timeout,
            },
            _ => Backpressure::Socket(peer.valve),
        },
    }
}

/// A 416 says how long the whole is.
fn failed(error: Error, size: u64) -> Response {
    let unsatisfied = error.kind() == ErrorKind::BadRange;
    let mut response = ErrorResponse(error).into_response();
    if unsatisfied {
        let headers = response.headers_mut();
        headers.insert(CONTENT_RANGE, respond::unsatisfied(size));
    }
    response
}

/// A reader who may have an attachment, if there is one.
struct Admitted {
    /// For the audit log.
    who: Arc<str>,
    /// What the catalog says, if it was asked: nobody asks it twice.
    found: Option<attache::Result<Attachment>>,
}

/// Lets a reader have an attachment: by a link, by who it is, or because the application says so. The catalog is asked
/// only where the decision depends on its answer.
async fn admit(
    app: &App,
    id: &AttachmentId,
    wanted: &DeliveryRequest,
    query: &DeliverQuery,
    request: &Parts,
) -> attache::Result<Admitted> {
    let (method, headers) = (&request.method, &request.headers);
    let admitted = |who, found| Admitted { who, found };
    let auth = app.auth()?;
    // A link that says it is temporary must be valid, even where none is needed.
    if check_link(app, id, wanted.disposition, query)? {
        if query.via.is_some() && !auth.is_open() {
            return Err(Error::new(
                ErrorKind::Forbidden,
                "a temporary link does not choose how it is delivered",
            ));
        }
        return Ok(admitted("link".into(), None));
    }
    let refused = match app.caller(&auth, request).await {
        Ok(caller) => {
            caller.need(Scope::Read)?;
            let found = match caller.owners.are_all() {
                true => None,
                false => Some(Ok(caller.visible(app.attache.find_for(id, wanted).await)?)),
            };
            return Ok(admitted(caller.name, found));
        }
        Err(error) => error,
    };
    let Some(forward) = auth
        .forward
        .as_ref()
        .filter(|_| refused.kind() == ErrorKind::Unauthorized)
    else {
        return Err(refused);
    };
    // The application is asked for what is not there, too.
    let found = match app.attache.find_for(id, wanted).await {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        found => found,
    };
    let owner = found
        .as_ref()
        .ok()
        .and_then(|attachment| attachment.owner.as_ref());
    let question = Question {
        id,
        owner,
        method,
        path: &format!("{}{id}", folder(wanted.disposition)),
        headers,
    };
    forward.admit(&question).await?;
    Ok(admitted("forward".into(), Some(found)))
}

/// Whether there is a temporary link at all.
///
/// # Errors
///
/// [`ErrorKind::Forbidden`] if it is not valid.
fn check_link(
    app: &App,
    id: &AttachmentId,
    disposition: Disposition,
    query: &DeliverQuery,
) -> attache::Result<bool> {
    match (query.expires, &query.sig) {
        (None, None) => Ok(false),
        (Some(expires), Some(sig)) => {
            let proof = LinkProof {
                expires,
                sig: sig.clone(),
            };
            app.attache.check_link(id, disposition, &proof)?;
            Ok(true)
        }
        _ => Err(Error::new(
            ErrorKind::Forbidden,
            "this link was changed; ask for a new one",
        )),
    }
}

#[cfg(test)]
mod tests;
