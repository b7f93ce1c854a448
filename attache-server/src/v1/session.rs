//! `/v1/session`: who am I, and signing in and out on the page.

use attache::access::Scope;
use attache::{Error, Result};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as Out};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};

use crate::audit::{self, Action};
use crate::auth::{self, Caller, origin, session};
use crate::extract::json_of_stranger;
use crate::net::peer::Peer;
use crate::respond::{HttpResult, Problem};
use crate::state::App;

/// The caller, and what it may do.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct SessionJson {
    #[schema(example = "token:ci")]
    name: String,
    /// Of `read`, `write`, `delete`, `admin`.
    scopes: Vec<&'static str>,
    /// Patterns: `*`, `page:*`, `page:42`.
    owners: Vec<String>,
}

impl From<Caller> for SessionJson {
    fn from(caller: Caller) -> Self {
        let owners = caller.owners.patterns();
        Self {
            name: caller.name.to_string(),
            scopes: caller.scopes.iter().map(Scope::as_str).collect(),
            owners: owners.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Who am I, and what may I do?
#[utoipa::path(get, path = "/v1/session", tag = "operation",
    responses((status = 200, body = SessionJson), (status = 401, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn session(caller: Caller) -> Response {
    let json = Out(SessionJson::from(caller));
    ([(CACHE_CONTROL, "no-store")], json).into_response()
}

/// Longest body of a sign-in; the longest token, a JSON Web Token, has 8 KiB and does not sign in.
const MAX_SIGN_IN: usize = 1024;

/// A token to sign in with.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignInJson {
    token: String,
}

/// Exchange a token for a cookie, as the page does.
#[utoipa::path(post, path = "/v1/session", tag = "operation", request_body = SignInJson,
    responses((status = 200, body = SessionJson), (status = 401, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn sign_in(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> HttpResult<Response> {
    let (head, body) = request.into_parts();
    // A page of another site could sign its reader in as somebody else.
    origin::check(&app.settings().server, &head, false)?;
    refuse_other_types(&head.headers)?;
    let SignInJson { token } = json_of_stranger(body, MAX_SIGN_IN).await?;
    let outcome = app.auth()?.token(&token);
    match &outcome {
        Ok((_, caller)) => audit::record(caller, Action::SignIn, "", &outcome),
        Err(_) => audit::refused(Action::SignIn, &outcome),
    }
    let (id, caller) = outcome?;
    let secure = is_secure(&app, &peer, &head.uri, &head.headers);
    let cookie = session::cookie(app.attache.links(), &id, secure);
    let headers = [(SET_COOKIE, cookie), (CACHE_CONTROL, "no-store".to_owned())];
    Ok((headers, Out(SessionJson::from(caller))).into_response())
}

/// A form of another site could hold what is read as JSON.
fn refuse_other_types(headers: &HeaderMap) -> Result<()> {
    let json = headers.get(CONTENT_TYPE).is_none_or(|content_type| {
        let essence = content_type.to_str().unwrap_or_default().split(';').next();
        essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
    });
    match json {
        true => Ok(()),
        false => Err(Error::bad_request("a sign-in is application/json")),
    }
}

/// Sign out. The cookie, and every copy of it, is no longer valid.
#[utoipa::path(delete, path = "/v1/session", tag = "operation", responses((status = 204, description = "Signed out")))]
pub(crate) async fn sign_out(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> HttpResult<Response> {
    let (head, _) = request.into_parts();
    origin::check(&app.settings().server, &head, false)?;
    app.sign_out(auth::sessions(app.attache.links(), &head.headers))
        .await?;
    let cookie = session::no_cookie(is_secure(&app, &peer, &head.uri, &head.headers));
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]).into_response())
}

/// Whether the client asks over https, as far as we can tell.
fn is_secure(app: &App, peer: &Peer, uri: &Uri, headers: &HeaderMap) -> bool {
    peer.base_url(&app.settings().server, uri, headers)
        .starts_with("https://")
}
