//! `/v1`: the handlers, and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use attache::attachment::Owner;
use attache::catalog::Page;
use attache::{
    Attachment, AttachmentId, Disposition, Error, ErrorKind, Limits, MAX_BULK, MAX_PAGE,
    ReloadReport, SweepReport,
};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as Out};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::app::App;
use crate::connection::Peer;
use crate::extract::{Json, Query};
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
            content_type: attachment.content_type,
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
    body: Body,
) -> Response {
    let (incoming, rest) = Incoming::new(&headers, body);
    let outcome = async {
        let upload = upload::read(query, &headers, incoming).await?;
        app.attache.upload(upload.new, upload.bytes).await
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
    /// Only those that hang on this.
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
    Query(query): Query<ListQuery>,
) -> Answer<Out<PageJson>> {
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

/// What is known of an attachment.
#[utoipa::path(get, path = "/v1/attachments/{id}", tag = "attachments", params(("id", description = "The attachment's id")),
    responses((status = 200, body = AttachmentJson), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn find(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Answer<Out<AttachmentJson>> {
    Ok(Out(app.attache.find(&known(&id)?).await?.into()))
}

/// Delete an attachment: bytes, snapshots and record. Repeating it is fine.
#[utoipa::path(delete, path = "/v1/attachments/{id}", tag = "attachments", params(("id", description = "The attachment's id")),
    responses((status = 204, description = "It is gone"), (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn delete(State(app): State<App>, Path(id): Path<String>) -> Answer<StatusCode> {
    app.attache.delete(&id.parse()?).await?;
    Ok(StatusCode::NO_CONTENT)
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
    Json(which): Json<DeleteJson>,
) -> Answer<Out<DeletedJson>> {
    let done = match (which.ids, which.owner) {
        (Some(ids), None) => {
            if ids.len() > MAX_BULK {
                return Err(Error::bad_request(format!("at most {MAX_BULK} ids at a time")).into());
            }
            let ids = ids.iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
            app.attache.delete_all(ids).await?
        }
        (None, Some(owner)) => app.attache.delete_owned(&owner.parse()?).await?,
        _ => return Err(Error::bad_request("give either \"ids\" or \"owner\"").into()),
    };
    let results = done
        .into_iter()
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
    Ok(Out(DeletedJson { results }))
}

/// What a temporary URL shall be.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UrlJson {
    /// How long it works at most, 5 s to 2 h; `delivery.url_lifetime` if unset.
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

/// A URL that opens this attachment, read-only, for minutes.
#[utoipa::path(post, path = "/v1/attachments/{id}/url", tag = "attachments", params(("id", description = "The attachment's id")),
    request_body = UrlJson,
    responses((status = 200, body = TemporaryUrlJson), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn url(
    State(app): State<App>,
    Path(id): Path<String>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
    headers: HeaderMap,
    Json(wish): Json<UrlJson>,
) -> Answer<Response> {
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
    let base = base_url(&app, peer, &uri, &headers);
    let disposition = wish.disposition.unwrap_or_default();
    let temporary = app
        .attache
        .url(&known(&id)?, lifetime, disposition, &base)
        .await?;
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

/// The base of absolute links: the configured one, or the host that the client used.
fn base_url(app: &App, peer: Peer, uri: &Uri, headers: &HeaderMap) -> String {
    let config = &app.attache.parts().config;
    if let Some(base) = &config.server.public_url {
        return base.clone();
    }
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        // HTTP/2 has it in the target.
        .or_else(|| uri.authority().map(|authority| authority.as_str()))
        .filter(|host| host.parse::<http::uri::Authority>().is_ok())
        .map_or_else(|| config.server.listen.to_string(), str::to_owned);
    let forwarded = headers
        .get("x-forwarded-proto")
        .filter(|_| config.server.trusts(peer.address));
    let secure = match forwarded {
        Some(scheme) => scheme == "https",
        None => peer.secure,
    };
    let scheme = if secure { "https" } else { "http" };
    format!("{scheme}://{host}")
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LimitsQuery {
    /// Size of the file in bytes.
    size: Option<u64>,
}

/// The answer of `/v1/limits`.
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
    Query(query): Query<LimitsQuery>,
) -> Answer<Out<LimitsJson>> {
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
pub(crate) async fn status(State(app): State<App>) -> Response {
    (
        [(CACHE_CONTROL, "no-store")],
        Out(app.attache.status().await),
    )
        .into_response()
}

/// Load the configuration again. A bad one leaves the old one running and says why.
#[utoipa::path(post, path = "/v1/admin/reload", tag = "operation",
    responses((status = 200, description = "What was rebuilt and what was kept"),
        (status = 422, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn reload(State(app): State<App>) -> Answer<Out<ReloadReport>> {
    Ok(Out(app.reloader.reload(&app.attache).await?))
}

/// Finish or remove what interrupted work left behind.
#[utoipa::path(post, path = "/v1/admin/sweep", tag = "operation", responses((status = 200, description = "What was done")))]
pub(crate) async fn sweep(State(app): State<App>) -> Answer<Out<SweepReport>> {
    Ok(Out(app.attache.sweep().await?))
}

/// The process runs.
#[utoipa::path(get, path = "/healthz", tag = "operation", responses((status = 200, description = "It runs")))]
pub(crate) async fn healthz() -> Out<BTreeMap<&'static str, &'static str>> {
    Out(BTreeMap::from([("status", "ok")]))
}

/// Storage and catalog can be used.
#[utoipa::path(get, path = "/readyz", tag = "operation",
    responses((status = 200, description = "They can"), (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn readyz(State(app): State<App>) -> Answer<Out<BTreeMap<&'static str, String>>> {
    if app.is_stopping() {
        return Err(Error::new(ErrorKind::Busy, "the server is shutting down").into());
    }
    match app.attache.ready().await {
        Ok(probe) => Ok(Out(BTreeMap::from([
            ("status", "ok".to_owned()),
            ("storage", probe.summary),
        ]))),
        // Whatever the reason, the answer to "are you ready" is 503.
        Err(error) => Err(Error::new(ErrorKind::UpstreamUnavailable, error.detail())
            .with_source(error)
            .into()),
    }
}

/// The figures, as Prometheus text.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses((status = 200, description = "The figures", content_type = "text/plain")))]
pub(crate) async fn metrics(State(app): State<App>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, content_type)], app.attache.figures().await).into_response()
}

fn known(id: &str) -> attache::Result<AttachmentId> {
    // What can be no id is not there.
    id.parse().map_err(|_| Error::not_found("…"))
}
