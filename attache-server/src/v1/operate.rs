//! What operators and their tools ask for: state, history, metrics, health, reload, sweep.

use std::collections::BTreeMap;
use std::time::Duration;

use attache::access::Scope;
use attache::observe::history::Window;
use attache::observe::status::{ReloadReport, SweepReport};
use attache::{Error, ErrorKind};
use axum::Json as Out;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Deserialize;

use crate::audit::{self, Action};
use crate::auth::Caller;
use crate::extract::Query;
use crate::respond::{ErrorResponse, HttpResult, Problem};
use crate::state::App;

/// The state of the service.
#[utoipa::path(get, path = "/v1/status", tag = "operation", responses((status = 200, description = "What the status page shows")))]
pub(crate) async fn status(State(app): State<App>, caller: Caller) -> HttpResult<Response> {
    caller.need(Scope::Admin)?;
    let status = Out(app.attache.status(app.settings().open_on()).await);
    Ok(([(CACHE_CONTROL, "no-store")], status).into_response())
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryQuery {
    /// `hour` (every 5 s; the default) or `day` (every 2 min).
    #[param(inline)]
    window: Option<WindowJson>,
}

#[derive(Clone, Copy, Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum WindowJson {
    Hour,
    Day,
}

/// Samples of the last hour or day, oldest first; a restart discards them.
#[utoipa::path(get, path = "/v1/status/history", tag = "operation", params(HistoryQuery),
    responses((status = 200, description = "Samples, as the status page draws them")))]
pub(crate) async fn history(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<HistoryQuery>,
) -> HttpResult<Response> {
    caller.need(Scope::Admin)?;
    let samples = app.attache.history(match query.window {
        Some(WindowJson::Day) => Window::Day,
        Some(WindowJson::Hour) | None => Window::Hour,
    });
    Ok(([(CACHE_CONTROL, "no-store")], Out(samples)).into_response())
}

/// Reload the configuration. An invalid one is refused with the reason, and the previous one stays in effect.
#[utoipa::path(post, path = "/v1/admin/reload", tag = "operation",
    responses((status = 200, description = "What was rebuilt and what was kept"),
        (status = 422, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn reload(
    State(app): State<App>,
    caller: Caller,
) -> HttpResult<Out<ReloadReport>> {
    caller.need(Scope::Admin)?;
    let outcome = app.reloader.reload(&app.attache).await;
    audit::record(&caller, Action::Reload, "", &outcome);
    Ok(Out(outcome.map_err(Error::shown_whole)?))
}

/// Finish or remove what interrupted work left behind.
#[utoipa::path(post, path = "/v1/admin/sweep", tag = "operation", responses((status = 200, description = "What was swept")))]
pub(crate) async fn sweep(State(app): State<App>, caller: Caller) -> HttpResult<Out<SweepReport>> {
    caller.need(Scope::Admin)?;
    let outcome = app.attache.sweep().await;
    audit::record(&caller, Action::Sweep, "", &outcome);
    Ok(Out(outcome.map_err(Error::shown_whole)?))
}

/// The process is running.
#[utoipa::path(get, path = "/healthz", tag = "operation", responses((status = 200, description = "It runs")))]
pub(crate) async fn healthz() -> Out<BTreeMap<&'static str, &'static str>> {
    Out(BTreeMap::from([("status", "ok")]))
}

/// Storage and catalog can be used. Checked at most once a second; details are for callers with the scope `admin`.
#[utoipa::path(get, path = "/readyz", tag = "operation",
    responses((status = 200, description = "They can"), (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn readyz(
    State(app): State<App>,
    caller: Result<Caller, ErrorResponse>,
) -> HttpResult<Out<BTreeMap<&'static str, String>>> {
    if app.is_stopping() {
        return Err(Error::new(ErrorKind::Busy, "the server is shutting down").into());
    }
    let operator = caller.is_ok_and(|caller| caller.need(Scope::Admin).is_ok());
    let summary = app.readiness.look(&app.attache).await;
    let summary = summary.map_err(|error| not_ready(&error, operator))?;
    let mut report = BTreeMap::from([("status", "ok".to_owned())]);
    if operator {
        report.insert("storage", summary);
    }
    Ok(Out(report))
}

/// Whatever the reason, the response to "are you ready" is 503. What it is, is for operators.
fn not_ready(error: &Error, operator: bool) -> Error {
    let detail = match operator {
        true => error.public_detail(),
        false => "storage or catalog cannot be used; the log says why, and so does `attache check`",
    };
    Error::new(ErrorKind::UpstreamUnavailable, detail).retry_after(Duration::from_secs(1))
}

/// The metrics, as Prometheus text.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses((status = 200, description = "The metrics", content_type = "text/plain")))]
pub(crate) async fn metrics(State(app): State<App>, caller: Caller) -> HttpResult<Response> {
    caller.need(Scope::Admin)?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let text = app.attache.metrics_text().await;
    Ok(([(CONTENT_TYPE, content_type)], text).into_response())
}
