//! The routes, and what every request passes on its way to one.

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{StatusCode, Uri};
use tower::ServiceExt as _;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::net::peer::Peer;
use crate::respond::plain_problem;
use crate::state::App;
use crate::{deliver, gate, request_id, v1, web};

#[derive(OpenApi)]
#[openapi(info(
    title = "attache",
    description = "The attachment store: upload, store, deliver. Errors are application/problem+json with a stable `code`.",
    license(name = "MIT OR Apache-2.0")
))]
struct ApiDoc;

/// What attache responds to: its own API and its page.
pub(crate) struct Api {
    app: App,
    routes: Router,
}

impl Api {
    pub(crate) fn new(app: App) -> Self {
        let routes = routes(app.clone());
        Self { app, routes }
    }

    /// A request gets its id, then passes the gate, then reaches a handler. By calls, not by layers: each of those clones and boxes
    /// all that is inside of it for every request.
    pub(crate) async fn respond(&self, peer: &Peer, request: Request) -> Response {
        request_id::with_request_id(request, |request| {
            // Boxed, here and below: what surrounds it is moved on its way, with all that is inside of it.
            gate::pass(&self.app, peer, request, |request| {
                self.handle(peer, request)
            })
            .boxed()
        })
        .await
    }

    fn handle<'a>(&'a self, peer: &'a Peer, mut request: Request) -> BoxFuture<'a, Response> {
        // What is asked for most finds its handler at once.
        if deliver::is_plain(&request) {
            return deliver::plain(&self.app, peer.clone(), request).boxed();
        }
        request.extensions_mut().insert(peer.clone());
        let responds = self.routes.clone().oneshot(request);
        responds
            .map(|response| response.unwrap_or_else(|never| match never {}))
            .boxed()
    }
}

fn routes(app: App) -> Router {
    let (router, mut openapi) = v1::routes(OpenApiRouter::with_openapi(ApiDoc::openapi()))
        .routes(routes!(deliver::attachment))
        .routes(routes!(deliver::download))
        .split_for_parts();
    openapi.info.version = env!("CARGO_PKG_VERSION").to_owned();
    // Strangers may ask for it as often as they like, so it is made once.
    let openapi = Bytes::from(serde_json::to_vec(&openapi).unwrap_or_default());
    router
        .route(
            "/openapi.json",
            axum::routing::get(async move || {
                ([(CONTENT_TYPE, "application/json")], openapi.clone())
            }),
        )
        .route("/", axum::routing::get(web::index))
        .route("/status", axum::routing::get(web::status))
        .route("/assets/{name}", axum::routing::get(web::asset))
        .fallback(async |uri: Uri| {
            let detail = format!("there is nothing at {}", uri.path().escape_default());
            plain_problem(StatusCode::NOT_FOUND, "not_found", detail)
        })
        .method_not_allowed_fallback(async |uri: Uri| {
            let detail = format!(
                "{} does not support this method",
                uri.path().escape_default()
            );
            plain_problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        })
        // Bodies have limits of their own: uploads the configured ones, JSON a small one.
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(app)
}
