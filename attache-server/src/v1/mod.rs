//! `/v1`: the handlers, and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use attache::access::Scope;
use attache::attachment::Owner;
use attache::attachment::filename::Disposition;
use attache::attachment::media;
use attache::catalog::Page;
use attache::observe::history::Window;
use attache::observe::status::ReloadReport;
use attache::observe::status::SweepReport;
use attache::service::Limits;
use attache::service::MAX_BULK;
use attache::service::MAX_OWNED;
use attache::service::MAX_PAGE;
use attache::{Attachment, AttachmentId, Error, ErrorKind};
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as Out};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::app::App;
use crate::audit::{self, Action};
use crate::auth::{self, Caller, origin, session};
use crate::extract::{Json, Query, json_of_stranger};
use crate::net::peer::Peer;
use crate::respond::{Failure, Problem};
use crate::upload::{self, Incoming, UploadQuery};

type Answer<T> = Result<T, Failure>;

/// An attachment.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct AttachmentJson {
    #[schema(example = "01939c1e-7d1a-7cc3-9b5e-0d3a1f0f8f11")]
    id: String,
    #[schema(example = "page:42")]
    owner: Option<String>,
    #[schema(example = "photo.png")]
    filename: String,
    #[schema(example = "image/png")]
    content_type: String,
    /// The charset of a text, if it is known.
    #[schema(example = "utf-8")]
    #[serde(skip_serializing_if = "Option::is_none")]
    charset: Option<&'static str>,
    /// Length in bytes.
    size: u64,
    /// In hexadecimal.
    sha256: String,
    #[schema(example = "2026-11-23T20:02:34.123Z")]
    created_at: String,
    #[schema(example = "user:7")]
    created_by: Option<String>,
    links: Links,
}

/// Paths under which an attachment is delivered.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Links {
    /// Shown, where its type is safe to show.
    inline: String,
    /// Saved.
    download: String,
}

impl From<Attachment> for AttachmentJson {
    fn from(attachment: Attachment) -> Self {
        let id = attachment.id;
        Self {
            links: Links {
                inline: format!("/attachment/{id}"),
                download: format!("/download/{id}"),
            },
            id: id.into(),
            owner: attachment.owner.map(Into::into),
            filename: attachment.filename.into(),
            content_type: media::essence(&attachment.content_type).to_owned(),
            charset: media::charset(&attachment.content_type),
            size: attachment.size,
            sha256: attachment.sha256.to_string(),
            created_at: timestamp(attachment.created_at),
            created_by: attachment.created_by.map(Into::into),
        }
    }
}

/// RFC 3339 with milliseconds.
fn timestamp(at: OffsetDateTime) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    at.format(&format).unwrap_or_default()
}

/// Store a file: `multipart/form-data` with one part `file` (fields `owner` and `created_by` before it), or the raw body.
#[utoipa::path(post, path = "/v1/attachments", tag = "attachments", params(UploadQuery,
        ("Content-MD5" = Option<String>, Header, description = "Verified (RFC 1864)"),
        ("Content-Digest" = Option<String>, Header, description = "`sha-256=:…:`, verified (RFC 9530)"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry return the first result")),
    request_body(content_type = "application/octet-stream", description = "The file"),
    responses((status = 201, body = AttachmentJson),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 413, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn upload(
    State(app): State<App>,
    Query(query): Query<UploadQuery>,
    headers: HeaderMap,
    // Refused like everything else here: the body that comes is read off, so that its sender sees the answer.
    caller: Result<Caller, Failure>,
    body: Body,
) -> Response {
    let (incoming, rest) = Incoming::new(&headers, body);
    let outcome = async {
        let caller = caller.map_err(|Failure(error)| error)?;
        let stored = async {
            caller.need(Scope::Write)?;
            let _in_progress = app.begin_upload(&caller)?;
            let mut upload = upload::read(query, &headers, incoming).await?;
            caller.may_write(upload.new.owner.as_ref())?;
            let key = upload.new.idempotency_key.take();
            upload.new.idempotency_key = key.map(|key| caller.own(&key)).transpose()?;
            app.attache.upload(upload.new, upload.bytes).await
        };
        let outcome = stored.await;
        let id = outcome
            .as_ref()
            .map_or("", |done| done.attachment.id.as_str());
        audit::record(&caller, Action::Upload, id, &outcome);
        outcome
    };
    match outcome.await {
        Ok(uploaded) => {
            if uploaded.repeated {
                rest.linger();
            }
            let location = format!("/v1/attachments/{}", uploaded.attachment.id);
            let json = AttachmentJson::from(uploaded.attachment);
            (StatusCode::CREATED, [(LOCATION, location)], Out(json)).into_response()
        }
        Err(error) => {
            rest.linger();
            let mut response = Failure(error).into_response();
            // There may be bytes on their way that nobody wants.
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Only those of this owner.
    owner: Option<String>,
    /// How many, 1 to 1000.
    #[param(default = 100)]
    limit: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
}

/// A page of attachments.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct PageJson {
    items: Vec<AttachmentJson>,
    /// Where the next page begins; null on the last one.
    next: Option<String>,
}

/// Attachments, newest first.
#[utoipa::path(get, path = "/v1/attachments", tag = "attachments", params(ListQuery),
    responses((status = 200, body = PageJson), (status = 400, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Answer<Out<PageJson>> {
    caller.need(Scope::Read)?;
    let limit = query.limit.unwrap_or(100);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Error::bad_request(format!("limit is 1 to {MAX_PAGE}")).into());
    }
    let owner: Option<Owner> = query
        .owner
        .filter(|owner| !owner.is_empty())
        .map(|owner| owner.parse())
        .transpose()?;
    let after = query
        .after
        .map(|cursor| decode_cursor(&cursor, owner.as_ref()))
        .transpose()?;
    // One more than asked for tells whether there is a next page.
    let page = Page {
        owner: owner.clone(),
        visible: caller.owners,
        after,
        limit: (limit + 1).min(MAX_PAGE),
    };
    let mut found = app.attache.list(&page).await?;
    let more =
        found.len() > limit as usize || (limit == MAX_PAGE && found.len() == MAX_PAGE as usize);
    found.truncate(limit as usize);
    let next = found
        .last()
        .filter(|_| more)
        .map(|last| encode_cursor(last, owner.as_ref()));
    Ok(Out(PageJson {
        items: found.into_iter().map(Into::into).collect(),
        next,
    }))
}

/// A cursor holds the listing it belongs to, so that one from elsewhere is told from one that ended.
fn encode_cursor(last: &Attachment, owner: Option<&Owner>) -> String {
    let ms = last.created_at.unix_timestamp_nanos() / 1_000_000;
    let owner = owner.map_or("", Owner::as_str);
    URL_SAFE_NO_PAD.encode(format!("1 {ms} {} {owner}", last.id))
}

fn decode_cursor(cursor: &str, owner: Option<&Owner>) -> attache::Result<(i64, AttachmentId)> {
    let wrong = || {
        Error::bad_request(
            "after is not the \"next\" of a page of this listing; begin again without it",
        )
    };
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| wrong())?;
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    let mut parts = text.splitn(4, ' ');
    let (Some("1"), Some(ms), Some(id), Some(of)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong());
    };
    if of != owner.map_or("", Owner::as_str) {
        return Err(wrong());
    }
    Ok((
        ms.parse().map_err(|_| wrong())?,
        id.parse().map_err(|_| wrong())?,
    ))
}

/// Metadata of an attachment.
#[utoipa::path(get, path = "/v1/attachments/{id}", tag = "attachments", params(("id", description = "The attachment's id")),
    responses((status = 200, body = AttachmentJson), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn find(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Out<AttachmentJson>> {
    caller.need(Scope::Read)?;
    let found = app.attache.find(&known(&id)?).await;
    Ok(Out(caller.visible(found)?.into()))
}

/// Delete an attachment: bytes, snapshots and record. Repeating it is fine.
#[utoipa::path(delete, path = "/v1/attachments/{id}", tag = "attachments", params(("id", description = "The attachment's id")),
    responses((status = 204, description = "It is gone"),
        (status = 409, description = "It is hidden; a policy of the store keeps the bytes", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    caller.need(Scope::Delete)?;
    let id: AttachmentId = id.parse()?;
    // What the caller may not see is not there, and deleting what is not there is success.
    if may_delete(&app, &caller, &id).await? {
        let outcome = app.attache.delete(&id).await;
        audit::record(&caller, Action::Delete, id.as_str(), &outcome);
        outcome?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Whether this caller may delete what has this id. For one with every right nothing is looked up: it may finish a
/// deletion that failed halfway, too.
async fn may_delete(app: &App, caller: &Caller, id: &AttachmentId) -> attache::Result<bool> {
    if caller.owners.are_all() {
        return Ok(true);
    }
    match caller.visible(app.attache.find(id).await) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Which attachments to delete: `ids`, or everything of an `owner`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteJson {
    /// At most 1000.
    ids: Option<Vec<String>>,
    owner: Option<String>,
}

/// A result per id.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct DeletedJson {
    results: Vec<DeletedOne>,
    /// There may be more of this owner: send the request again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more: bool,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct DeletedOne {
    id: String,
    /// `deleted`, `absent` or `failed`.
    outcome: &'static str,
    /// The code of the error, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

/// Delete several attachments.
#[utoipa::path(post, path = "/v1/attachments:delete", tag = "attachments", request_body = DeleteJson,
    responses((status = 200, body = DeletedJson), (status = 400, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn delete_all(
    State(app): State<App>,
    caller: Caller,
    Json(which): Json<DeleteJson>,
) -> Answer<Out<DeletedJson>> {
    caller.need(Scope::Delete)?;
    let mut absent = Vec::new();
    let done = match (which.ids, which.owner) {
        (Some(ids), None) => {
            if ids.len() > MAX_BULK {
                return Err(Error::bad_request(format!("at most {MAX_BULK} ids at a time")).into());
            }
            let ids: Vec<AttachmentId> =
                ids.iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
            let mut may = Vec::with_capacity(ids.len());
            for id in ids {
                match may_delete(&app, &caller, &id).await? {
                    true => may.push(id),
                    false => absent.push((id, Ok(false))),
                }
            }
            app.attache.delete_all(may).await?
        }
        (None, Some(owner)) => {
            let owner: Owner = owner.parse()?;
            match caller.sees(Some(&owner)) {
                true => app.attache.delete_owned(&owner).await?,
                false => Vec::new(),
            }
        }
        _ => return Err(Error::bad_request("give either \"ids\" or \"owner\"").into()),
    };
    for (id, outcome) in &done {
        audit::record(&caller, Action::Delete, id.as_str(), outcome);
    }
    let more = done.len() >= MAX_OWNED;
    let results = done
        .into_iter()
        .chain(absent)
        .map(|(id, outcome)| DeletedOne {
            id: id.into(),
            outcome: match &outcome {
                Ok(true) => "deleted",
                Ok(false) => "absent",
                Err(_) => "failed",
            },
            code: outcome.err().map(|error| {
                let code = error.kind().code();
                tracing::warn!(error = error.report(), "one of a bulk deletion failed");
                code
            }),
        })
        .collect();
    Ok(Out(DeletedJson { results, more }))
}

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
) -> Answer<Response> {
    caller.need(Scope::Read)?;
    let lifetime = wish
        .lifetime
        .map(|text| {
            humantime::parse_duration(&text).map_err(|_| {
                Error::bad_request(format!(
                    "lifetime is \"{text}\", but must be a duration, such as \"120s\""
                ))
            })
        })
        .transpose()?;
    let base = peer.base_url(&app.attache.parts().config.server, &uri, &headers);
    let disposition = wish.disposition.unwrap_or_default();
    let id = known(&id)?;
    if !caller.owners.are_all() {
        caller.visible(app.attache.find(&id).await)?;
    }
    let outcome = app.attache.url(&id, lifetime, disposition, &base).await;
    audit::record(&caller, Action::Url, id.as_str(), &outcome);
    let temporary = outcome?;
    let left: Duration = (temporary.expires_at - OffsetDateTime::now_utc())
        .try_into()
        .unwrap_or(Duration::ZERO);
    let json = TemporaryUrlJson {
        url: temporary.url.expose().to_owned(),
        expires_at: timestamp(temporary.expires_at),
        expires_in: left.as_secs(),
    };
    Ok(([(CACHE_CONTROL, "no-store")], Out(json)).into_response())
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LimitsQuery {
    /// Size of the file in bytes.
    size: Option<u64>,
}

/// The response of `/v1/limits`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct LimitsJson {
    uploadable: bool,
    /// Why not, as the `code` that an upload would be refused with.
    reason: Option<&'static str>,
    max_file_bytes: Option<u64>,
    total_bytes: Option<u64>,
    used_bytes: u64,
}

/// May a file of this size be uploaded now?
#[utoipa::path(get, path = "/v1/limits", tag = "attachments", params(LimitsQuery), responses((status = 200, body = LimitsJson)))]
pub(crate) async fn limits(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<LimitsQuery>,
) -> Answer<Out<LimitsJson>> {
    caller.need(Scope::Write)?;
    let Limits {
        uploadable,
        reason,
        max_file_bytes,
        total_bytes,
        used_bytes,
    } = app.attache.limits(query.size).await?;
    Ok(Out(LimitsJson {
        uploadable,
        reason,
        max_file_bytes,
        total_bytes,
        used_bytes,
    }))
}

/// The state of the service.
#[utoipa::path(get, path = "/v1/status", tag = "operation", responses((status = 200, description = "What the status page shows")))]
pub(crate) async fn status(State(app): State<App>, caller: Caller) -> Answer<Response> {
    caller.need(Scope::Admin)?;
    let status = Out(app.attache.status().await);
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
) -> Answer<Response> {
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
pub(crate) async fn reload(State(app): State<App>, caller: Caller) -> Answer<Out<ReloadReport>> {
    caller.need(Scope::Admin)?;
    let outcome = app.reloader.reload(&app.attache).await;
    audit::record(&caller, Action::Reload, "", &outcome);
    Ok(Out(outcome.map_err(Error::shown_whole)?))
}

/// Finish or remove what interrupted work left behind.
#[utoipa::path(post, path = "/v1/admin/sweep", tag = "operation", responses((status = 200, description = "What was swept")))]
pub(crate) async fn sweep(State(app): State<App>, caller: Caller) -> Answer<Out<SweepReport>> {
    caller.need(Scope::Admin)?;
    let outcome = app.attache.sweep().await;
    audit::record(&caller, Action::Sweep, "", &outcome);
    Ok(Out(outcome.map_err(Error::shown_whole)?))
}

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
) -> Answer<Response> {
    let (head, body) = request.into_parts();
    // A page of another site could sign its reader in as somebody else.
    origin::check(&app, &head, false)?;
    let json = head.headers.get(CONTENT_TYPE).is_none_or(|content_type| {
        let essence = content_type.to_str().unwrap_or_default().split(';').next();
        essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
    });
    if !json {
        return Err(Error::bad_request("a sign-in is application/json").into());
    }
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

/// Sign out. The cookie, and every copy of it, is no longer valid.
#[utoipa::path(delete, path = "/v1/session", tag = "operation", responses((status = 204, description = "Signed out")))]
pub(crate) async fn sign_out(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Answer<Response> {
    let (head, _) = request.into_parts();
    origin::check(&app, &head, false)?;
    app.sign_out(auth::sessions(&app, &head.headers)).await?;
    let cookie = session::no_cookie(is_secure(&app, &peer, &head.uri, &head.headers));
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]).into_response())
}

/// Whether the client asks over https, as far as we can tell.
fn is_secure(app: &App, peer: &Peer, uri: &Uri, headers: &HeaderMap) -> bool {
    let parts = app.attache.parts();
    peer.base_url(&parts.config.server, uri, headers)
        .starts_with("https://")
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
    caller: Result<Caller, Failure>,
) -> Answer<Out<BTreeMap<&'static str, String>>> {
    if app.is_stopping() {
        return Err(Error::new(ErrorKind::Busy, "the server is shutting down").into());
    }
    let operator = caller.is_ok_and(|caller| caller.need(Scope::Admin).is_ok());
    match app.readiness.look(&app.attache).await {
        Ok(summary) => {
            let mut told = BTreeMap::from([("status", "ok".to_owned())]);
            if operator {
                told.insert("storage", summary);
            }
            Ok(Out(told))
        }
        // Whatever the reason, the answer to "are you ready" is 503.
        Err(error) => Err(Error::new(
            ErrorKind::UpstreamUnavailable,
            match operator {
                true => error.public_detail(),
                false => "storage or catalog cannot be used; the log says why, and so does `attache check`",
            },
        )
        .retry_after(Duration::from_secs(1))
        .into()),
    }
}

/// The metrics, as Prometheus text.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses((status = 200, description = "The figures", content_type = "text/plain")))]
pub(crate) async fn metrics(State(app): State<App>, caller: Caller) -> Answer<Response> {
    caller.need(Scope::Admin)?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let figures = app.attache.figures().await;
    Ok(([(CONTENT_TYPE, content_type)], figures).into_response())
}

fn known(id: &str) -> attache::Result<AttachmentId> {
    // An id that cannot exist is reported as not found.
    id.parse().map_err(|_| Error::not_found("…"))
}
