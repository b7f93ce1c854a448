//! `/v1`, and what operators ask for: the routes. Each handler describes itself for `/openapi.json`.

use axum::routing::post;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

mod attachments;
mod bulk;
mod cursor;
mod direct;
pub(crate) mod json;
mod operate;
mod session;
mod uploads;
mod url;
mod visible;

/// What has no route of its own.
#[derive(OpenApi)]
#[openapi(paths(direct::complete))]
struct Posted;

/// `router` with the routes of the API.
pub(crate) fn routes(router: OpenApiRouter<App>) -> OpenApiRouter<App> {
    let mut router = router;
    router.get_openapi_mut().merge(Posted::openapi());
    router
        .routes(routes!(attachments::upload, attachments::list))
        .routes(routes!(attachments::find, attachments::delete))
        .routes(routes!(bulk::delete_all))
        .routes(routes!(url::url))
        .routes(routes!(attachments::limits))
        .routes(routes!(uploads::create, uploads::capabilities))
        .route(
            "/v1/uploads/",
            post(uploads::create).options(uploads::capabilities),
        )
        .routes(routes!(uploads::progress, uploads::append, uploads::cancel))
        .route(
            "/v1/uploads/{id}",
            post(uploads::posted).options(uploads::capabilities),
        )
        .routes(routes!(uploads::waiting))
        .routes(routes!(direct::create))
        .routes(routes!(direct::put))
        .routes(routes!(operate::status))
        .routes(routes!(operate::history))
        .routes(routes!(operate::reload))
        .routes(routes!(operate::sweep))
        .routes(routes!(
            session::session,
            session::sign_in,
            session::sign_out
        ))
        .routes(routes!(operate::healthz))
        .routes(routes!(operate::readyz))
        .routes(routes!(operate::metrics))
}
