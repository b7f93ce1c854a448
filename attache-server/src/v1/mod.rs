//! `/v1`, and what operators ask for: the routes. Each handler describes itself for `/openapi.json`.

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

mod attachments;
mod bulk;
mod cursor;
pub(crate) mod json;
mod operate;
mod session;
mod url;
mod visible;

/// `router` with the routes of the API.
pub(crate) fn routes(router: OpenApiRouter<App>) -> OpenApiRouter<App> {
    router
        .routes(routes!(attachments::upload, attachments::list))
        .routes(routes!(attachments::find, attachments::delete))
        .routes(routes!(bulk::delete_all))
        .routes(routes!(url::url))
        .routes(routes!(attachments::limits))
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
