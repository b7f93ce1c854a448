//! `/v1/attachments`: store, list, find, delete; and whether a file may be stored.

use attache::access::Scope;
use attache::attachment::AttachmentId;
use attache::attachment::Owner;
use attache::catalog::Page;
use attache::service::{Listing, UploadLimits, Uploaded};
use attache::{Attachment, Result};
use axum::Json as Out;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::cursor;
use super::json::{self, AttachmentJson};
use super::visible::{known, may_delete};
use crate::audit::{self, Action};
use crate::auth::Caller;
use crate::extract::Query;
use crate::respond::{ErrorResponse, HttpResult, Problem, closing};
use crate::state::App;
use crate::upload::{self, Incoming, UploadQuery};

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
    // Refused like everything else here: the body that comes is read off, so that its sender sees the response.
    caller: Result<Caller, ErrorResponse>,
    body: Body,
) -> Response {
    let (incoming, rest) = Incoming::new(&headers, body);
    let outcome = match caller {
        Ok(caller) => store(&app, &caller, query, &headers, incoming).await,
        Err(ErrorResponse(error)) => Err(error),
    };
    match outcome {
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
            closing(ErrorResponse(error).into_response())
        }
    }
}

/// Stores what `incoming` holds for `caller`, and says so in the audit log.
async fn store(
    app: &App,
    caller: &Caller,
    query: UploadQuery,
    headers: &HeaderMap,
    incoming: Incoming,
) -> Result<Uploaded> {
    let stored = async {
        caller.need(Scope::Write)?;
        let _in_progress = app.begin_upload(caller)?;
        let mut upload = upload::read(query, headers, incoming).await?;
        caller.may_write(upload.new.owner.as_ref())?;
        let key = upload.new.idempotency_key.take();
        upload.new.idempotency_key = key.map(|key| caller.own(&key)).transpose()?;
        app.attache.upload(upload.new, upload.bytes).await
    };
    let outcome = stored.await;
    let id = outcome
        .as_ref()
        .map_or("", |done| done.attachment.id.as_str());
    audit::record(caller, Action::Upload, id, &outcome);
    outcome
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
#[derive(Debug, utoipa::ToSchema)]
pub(crate) struct PageJson {
    #[schema(value_type = Vec<AttachmentJson>)]
    items: Vec<Attachment>,
    /// Where the next page begins; null on the last one.
    next: Option<String>,
}

impl IntoResponse for PageJson {
    fn into_response(self) -> Response {
        // Room for all of it from the beginning, so that it is not copied as it grows.
        let mut body = Vec::with_capacity((self.items.len() + 1) * json::ROOM);
        body.extend_from_slice(b"{\"items\":[");
        for (number, attachment) in self.items.iter().enumerate() {
            if number > 0 {
                body.push(b',');
            }
            json::write(attachment, &mut body);
        }
        body.extend_from_slice(b"],\"next\":");
        // A cursor is of letters that need no escapes.
        match self.next {
            Some(next) => body.extend_from_slice(format!("\"{next}\"}}").as_bytes()),
            None => body.extend_from_slice(b"null}"),
        }
        ([(CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// Attachments, newest first.
#[utoipa::path(get, path = "/v1/attachments", tag = "attachments", params(ListQuery),
    responses((status = 200, body = PageJson), (status = 400, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> HttpResult<PageJson> {
    caller.need(Scope::Read)?;
    let owner: Option<Owner> = query
        .owner
        .filter(|owner| !owner.is_empty())
        .map(|owner| owner.parse())
        .transpose()?;
    let after = query
        .after
        .map(|cursor| cursor::decode(&cursor, owner.as_ref()))
        .transpose()?;
    let page = Page {
        owner: owner.clone(),
        visible: caller.owners,
        after,
        limit: query.limit.unwrap_or(100),
    };
    let Listing { attachments, next } = app.attache.list(&page).await?;
    Ok(PageJson {
        items: attachments,
        next: next.map(|place| cursor::encode(&place, owner.as_ref())),
    })
}

/// Metadata of an attachment.
#[utoipa::path(get, path = "/v1/attachments/{id}", tag = "attachments", params(("id", description = "The attachment's id")),
    responses((status = 200, body = AttachmentJson), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn find(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> HttpResult<Out<AttachmentJson>> {
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
) -> HttpResult<StatusCode> {
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
) -> HttpResult<Out<LimitsJson>> {
    caller.need(Scope::Write)?;
    let UploadLimits {
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
