//! The routes, and the layers around them.

use axum::{Router, middleware};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{StatusCode, Uri};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

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

pub(crate) fn router(app: App) -> Router {
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
        // The layer that is added last is the first to see a request, and the last to see its response: a request gets its
        // id, then passes the gate, then reaches a handler.
        // Bodies have limits of their own: uploads the configured ones, JSON a small one.
        .layer(axum::extract::DefaultBodyLimit::disable())
        // One layer for all that stands before the handlers: each clones those inside of it for every request.
        .layer(middleware::from_fn_with_state(app.clone(), gate::pass))
        .layer(middleware::from_fn(request_id::with_request_id))
        .with_state(app)
}
