//! What stands between the layers and the handlers: which pages may read the response, whether the request is well formed,
//! whether there is room for it, and how its body may come.

use std::net::IpAddr;

use attache::Error;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{HOST, HeaderMap, HeaderValue};
use http::{Method, Uri, Version};

use crate::config::Settings;
use crate::net::limits::LimitExceeded;
use crate::net::peer::{self, Peer};
use crate::respond::ErrorResponse;
use crate::state::App;
use crate::{audit, cors, framing, tus};

/// Paths that somebody asks to learn whether we are alive: they must not fail because we are busy.
const VITAL: [&str; 2] = ["/healthz", "/readyz"];

/// What an operator looks at, and does, while a server is full. None of it waits for somebody who is not one.
const OPERATORS: [&str; 5] = [
    "/v1/admin/",
    "/v1/status",
    "/metrics",
    "/status",
    "/assets/",
];

/// Where a token is exchanged for a cookie.
const SIGN_IN: &str = "/v1/session";

/// Each check calls the next one: which pages may read the response, the host, limits, and how a body may come.
pub(crate) async fn pass<F: Future<Output = Response>>(
    app: &App,
    peer: &Peer,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let settings = app.settings();
    cors::share(&settings.server, request, async |request| {
        let about = tus::About::of(&request);
        tus::in_its_words(about, with_host(app, &settings, peer, request, next).await)
    })
    .await
}

/// Refuses a request without a proper host, and finds out for limits and the audit log which client sends it.
async fn with_host<F: Future<Output = Response>>(
    app: &App,
    settings: &Settings,
    peer: &Peer,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    if let Some(what) = host_fault(request.version(), request.uri(), request.headers()) {
        return ErrorResponse(Error::bad_request(what)).into_response();
    }
    let client = peer::client(&settings.server, peer.address, request.headers());
    audit::of_client(client, within_limits(app, settings, client, request, next)).await
}

/// Refuses what is more than a client, or all of them, may ask for.
async fn within_limits<F: Future<Output = Response>>(
    app: &App,
    settings: &Settings,
    client: IpAddr,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    if VITAL.contains(&request.uri().path()) {
        return framed(request, next).await;
    }
    if let Err(wait) = app.limits.client(&settings.limits, client) {
        return app
            .limited(LimitExceeded::ClientRate, Some(wait))
            .into_response();
    }
    let path = request.uri().path();
    // Before it has a name, a sign-in waits for a body. So it takes no place of the others.
    if path == SIGN_IN && request.method() == Method::POST {
        let place = app.limits.sign_in();
        return tokio::select! {
            response = framed(request, next) => response,
            () = place.given_up() => app.limited(LimitExceeded::SignIns, None).into_response(),
        };
    }
    let operator = OPERATORS.iter().any(|front| path.starts_with(front));
    let begun = app
        .limits
        .begin(&settings.limits, &settings.server, client, operator);
    match begun {
        Ok(_running) => framed(request, next).await,
        Err(exceeded) => app.limited(exceeded, None).into_response(),
    }
}

/// Passes a request on to its handler, unless its body comes in a way that is not supported.
async fn framed<F: Future<Output = Response>>(
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    match framing::only_chunked(request.headers()) {
        true => next(request).await,
        false => framing::refuse(request),
    }
}

/// What is wrong with the host that a request names: there must be one, and one alone (RFC 9112 section 3.2, RFC 9113 section
/// 8.3.1), because links and the origin of pages depend on it, and a server in front of us may read another one.
fn host_fault(version: Version, uri: &Uri, headers: &HeaderMap) -> Option<&'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return Some("the request has more than one Host");
    }
    let target = uri.authority().map(|authority| authority.as_str());
    let host = match host.map(HeaderValue::to_str) {
        Some(Ok(host)) => Some(host),
        Some(Err(_)) => return Some("Host is not a host name"),
        None => None,
    };
    if version == Version::HTTP_2 {
        if let (Some(target), Some(host)) = (target, host)
            && !target.eq_ignore_ascii_case(host)
        {
            return Some("Host and :authority differ");
        }
    } else if version != Version::HTTP_10 && host.is_none() {
        return Some("the request has no Host");
    }
    let named = host.or(target).unwrap_or_default();
    let plain =
        named.is_empty() || (!named.contains('@') && named.parse::<http::uri::Authority>().is_ok());
    (!plain).then_some("Host is not a host name")
}
