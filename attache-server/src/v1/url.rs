//! `/v1/attachments/{id}/url`: temporary URLs.

use std::time::Duration;

use attache::access::Scope;
use attache::attachment::filename::Disposition;
use attache::service::TemporaryUrl;
use attache::{Error, Result};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as Out};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, Uri};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::json::timestamp;
use super::visible::known;
use crate::audit::{self, Action};
use crate::auth::Caller;
use crate::extract::Json;
use crate::net::peer::Peer;
use crate::respond::{HttpResult, Problem};
use crate::state::App;

/// Options of a temporary URL.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UrlJson {
    /// Longest time until it expires, 5 s to 2 h; if unset `delivery.url_lifetime`, or 120 s where that is `auto`.
    #[schema(example = "120s")]
    lifetime: Option<String>,
    /// `inline` or `attachment`.
    #[schema(value_type = Option<String>, example = "inline")]
    disposition: Option<Disposition>,
}

/// A temporary URL.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct TemporaryUrlJson {
    url: String,
    expires_at: String,
    /// In seconds.
    expires_in: u64,
}

/// Create a URL that opens this attachment, read-only, for minutes.
#[utoipa::path(post, path = "/v1/attachments/{id}/url", tag = "attachments", params(("id", description = "The attachment's id")),
    request_body = UrlJson,
    responses((status = 200, body = TemporaryUrlJson), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn url(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
    headers: HeaderMap,
    Json(wish): Json<UrlJson>,
) -> HttpResult<Response> {
    caller.need(Scope::Read)?;
    let lifetime = wish.lifetime.map(duration).transpose()?;
    let base = peer.base_url(&app.settings().server, &uri, &headers);
    let disposition = wish.disposition.unwrap_or_default();
    let id = known(&id)?;
    if !caller.owners.are_all() {
        caller.visible(app.attache.find(&id).await)?;
    }
    let outcome = app.attache.url(&id, lifetime, disposition, &base).await;
    audit::record(&caller, Action::Url, id.as_str(), &outcome);
    let json = Out(TemporaryUrlJson::from(outcome?));
    Ok(([(CACHE_CONTROL, "no-store")], json).into_response())
}

fn duration(text: String) -> Result<Duration> {
    humantime::parse_duration(&text).map_err(|_| {
        Error::bad_request(format!(
            "lifetime is \"{text}\", but must be a duration, such as \"120s\""
        ))
    })
}

impl From<TemporaryUrl> for TemporaryUrlJson {
    fn from(temporary: TemporaryUrl) -> Self {
        let left: Duration = (temporary.expires_at - OffsetDateTime::now_utc())
            .try_into()
            .unwrap_or(Duration::ZERO);
        Self {
            url: temporary.url.expose().to_owned(),
            expires_at: timestamp(temporary.expires_at),
            expires_in: left.as_secs(),
        }
    }
}
