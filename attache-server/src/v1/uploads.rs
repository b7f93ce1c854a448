//! `/v1/uploads`: uploads of several requests, by tus 1.0.

use attache::access::Scope;
use attache::catalog::partial::Upload;
use attache::service::{Append, Appended, NewPartial};
use attache::{Error, ErrorKind, Result};
use axum::extract::{FromRequest as _, Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as Out};
use http::{HeaderMap, Method, StatusCode, Version};
use serde::{Deserialize, Serialize};

use super::direct;
use super::json::timestamp;
use super::visible::own;
use crate::audit::{self, Action};
use crate::auth::Caller;
use crate::extract::{Json, Query};
use crate::net::peer::Peer;
use crate::respond::{ErrorResponse, HttpResult, Problem, closing, plain_problem};
use crate::state::App;
use crate::tus::{self, Creation, Part};
use crate::upload::Incoming;

/// What may be sent here, and which extensions of tus there are.
#[utoipa::path(options, path = "/v1/uploads", tag = "uploads",
    responses((status = 204, description = "`Tus-Version`, `Tus-Extension`, and `Tus-Max-Size` if files have a limit")))]
pub(crate) async fn capabilities(State(app): State<App>) -> Response {
    tus::capabilities(max_size(&app))
}

fn max_size(app: &App) -> Option<u64> {
    app.attache.parts().config.upload.max_file_bytes
}

/// Create an upload, with or without its first bytes (<https://tus.io/protocols/resumable-upload#creation>).
#[utoipa::path(post, path = "/v1/uploads", tag = "uploads",
    params(("Tus-Resumable" = String, Header, description = "`1.0.0`"),
        ("Upload-Length" = Option<u64>, Header, description = "All bytes of the file"),
        ("Upload-Defer-Length" = Option<u64>, Header, description = "`1`: the length is told later"),
        ("Upload-Metadata" = Option<String>, Header, description = "`filename` or `name`, `filetype` or `type`, `owner`, `created_by`, and anything else; values in base64")),
    request_body(content_type = "application/offset+octet-stream", description = "The first bytes, if any"),
    responses((status = 201, description = "`Location` of the upload, whose last part is the id of the attachment; `Upload-Offset`, `Upload-Expires`"),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "Another version", body = Problem, content_type = "application/problem+json"),
        (status = 413, body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "A body of another type", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    caller: Result<Caller, ErrorResponse>,
    request: Request,
) -> Response {
    if tus::meant(request.headers()) == Some(Method::OPTIONS) {
        return capabilities(State(app)).await;
    }
    let (head, body) = request.into_parts();
    let headers = &head.headers;
    let (incoming, rest) = Incoming::new(headers, body);
    let base = peer.base_url(&app.settings().server, &head.uri, headers);
    let refused = match caller {
        Err(refused) => refused.into_response(),
        Ok(_) if !tus::supported(headers, true) => tus::unsupported_version(),
        Ok(caller) => match begin(&app, &caller, headers, incoming).await {
            Ok(Some(upload)) => return tus::created(&base, &upload),
            Ok(None) => tus::unsupported_media_type(),
            Err(error) if broke_off(&error) => return taken(&peer, head.version).await,
            Err(error) => ErrorResponse(error).into_response(),
        },
    };
    rest.linger();
    let mut response = refused;
    if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
        tus::limit(response.headers_mut(), max_size(&app));
    }
    closing(response)
}

/// Creates an upload for `caller`; `None` if its body is of another type.
async fn begin(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    incoming: Incoming,
) -> Result<Option<Upload>> {
    caller.need(Scope::Write)?;
    let _in_progress = app.begin_upload(caller)?;
    let Creation { length, metadata } = tus::understand(headers)?;
    let size = tus::body_size(headers);
    let brings = tus::is_bytes(headers) && size != Some(0);
    if !tus::is_bytes(headers) && size.is_some_and(|size| size > 0) {
        return Ok(None);
    }
    let new = metadata.attachment(length)?;
    caller.may_write(new.owner.as_ref())?;
    if brings
        && let (Some(size), Some(length)) = (size, length)
        && size > length
    {
        return Err(Error::new(
            ErrorKind::TooLarge,
            "the body is longer than Upload-Length says the whole file is",
        ));
    }
    let created = app.attache.create_upload(NewPartial {
        new,
        metadata: metadata.raw,
        caller: caller.name.to_string(),
    });
    let created = created.await;
    if created.as_ref().map_or(true, |upload| upload.is_complete) {
        let id = created.as_ref().map_or("", |upload| upload.id.as_str());
        audit::record(caller, Action::Upload, id, &created);
    }
    let upload = created?;
    if !brings {
        return Ok(Some(upload));
    }
    let append = Append {
        offset: 0,
        length: None,
        size,
    };
    let id = upload.id.clone();
    match app.attache.append(upload, append, incoming).await {
        Ok(Appended::Stored(upload)) => Ok(Some(upload)),
        Ok(Appended::Completed(upload, _)) => {
            audit::record(caller, Action::Upload, upload.id.as_str(), &Ok(()));
            Ok(Some(upload))
        }
        Ok(Appended::Elsewhere(_) | Appended::Taken) => {
            Err(Error::internal("an upload that nobody knows was taken"))
        }
        Err(error) => {
            // Its client will never learn where it is, and creates another one.
            if let Err(left) = app.attache.cancel_upload(&id).await {
                tracing::debug!(%id, error = left.report(), "left until it expires");
            }
            Err(error)
        }
    }
}

/// A POST to an upload: completes a direct one, or is of a client that can send no other method and says which one it means.
pub(crate) async fn posted(
    state: State<App>,
    peer: Extension<Peer>,
    caller: Result<Caller, ErrorResponse>,
    id: Path<String>,
    request: Request,
) -> Response {
    if let Some(id) = id.strip_suffix(":complete") {
        let completed = async {
            let caller = caller?;
            let Json(asked) = Json::from_request(request, &state.0).await?;
            direct::complete(&state.0, &caller, id, asked).await
        };
        return completed.await.into_response();
    }
    let meant = tus::meant(request.headers());
    match (meant, caller) {
        (Some(Method::PATCH), caller) => append(state, peer, caller, id, request).await,
        (Some(Method::OPTIONS), _) => capabilities(state).await,
        (_, Err(refused)) => refused.into_response(),
        (Some(Method::HEAD), Ok(caller)) => progress(state, peer, caller, id, request)
            .await
            .into_response(),
        (Some(Method::DELETE), Ok(caller)) => {
            let headers = request.headers().clone();
            cancel(state, caller, id, headers).await.into_response()
        }
        _ => plain_problem(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "an upload takes HEAD, PATCH and DELETE; a POST that means one of them has X-HTTP-Method-Override".to_owned(),
        ),
    }
}

/// How far an upload is.
#[utoipa::path(head, path = "/v1/uploads/{id}", tag = "uploads", params(("id", description = "The upload's id")),
    responses((status = 200, description = "`Upload-Offset`, `Upload-Length` or `Upload-Defer-Length: 1`, `Upload-Metadata`, `Upload-Expires`; \
            `Content-Location` once it is an attachment"),
        (status = 404, description = "There is none, it has expired, or it was complete long enough ago"),
        (status = 423, description = "Cannot be told now; ask again")))]
pub(crate) async fn progress(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> HttpResult<Response> {
    if !tus::supported(request.headers(), false) {
        return Ok(tus::unsupported_version());
    }
    let upload = own(&app, &caller, &id).await?;
    resumable(&upload)?;
    let upload = app.attache.upload_progress(upload).await?;
    let base = peer.base_url(&app.settings().server, request.uri(), request.headers());
    Ok(tus::progress(&base, &upload))
}

/// Bring bytes of an upload, at its end.
#[utoipa::path(patch, path = "/v1/uploads/{id}", tag = "uploads",
    params(("id", description = "The upload's id"),
        ("Tus-Resumable" = String, Header, description = "`1.0.0`"),
        ("Upload-Offset" = u64, Header, description = "Where the bytes begin"),
        ("Upload-Length" = Option<u64>, Header, description = "All bytes of the file, for an upload that was created without")),
    request_body(content_type = "application/offset+octet-stream", description = "The bytes"),
    responses((status = 204, description = "All of them are stored: `Upload-Offset`; `Content-Location` of the attachment if they were the last ones"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The upload ends elsewhere: `Upload-Offset`", body = Problem, content_type = "application/problem+json"),
        (status = 413, body = Problem, content_type = "application/problem+json"),
        (status = 415, body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A hook refuses the file; the upload is gone", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn append(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    caller: Result<Caller, ErrorResponse>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let headers = &head.headers;
    let (incoming, rest) = Incoming::new(headers, body);
    let refused = match caller {
        Err(refused) => refused.into_response(),
        Ok(_) if !tus::supported(headers, true) => tus::unsupported_version(),
        Ok(_) if !tus::is_bytes(headers) => tus::unsupported_media_type(),
        Ok(caller) => match bring(&app, &caller, &id, headers, incoming).await {
            Ok(Appended::Stored(upload) | Appended::Completed(upload, _)) => {
                let base = peer.base_url(&app.settings().server, &head.uri, headers);
                return tus::stored(&base, &upload);
            }
            Ok(Appended::Elsewhere(upload)) => tus::wrong_offset(&upload),
            Ok(Appended::Taken) => return taken(&peer, head.version).await,
            Err(error) if broke_off(&error) => return taken(&peer, head.version).await,
            Err(error) => ErrorResponse(error).into_response(),
        },
    };
    rest.linger();
    closing(refused)
}

async fn bring(
    app: &App,
    caller: &Caller,
    id: &str,
    headers: &HeaderMap,
    incoming: Incoming,
) -> Result<Appended> {
    let upload = own(app, caller, id).await?;
    caller.need(Scope::Write)?;
    let _in_progress = app.begin_upload(caller)?;
    let Part {
        offset,
        length,
        size,
    } = Part::of(headers)?;
    let append = Append {
        offset,
        length,
        size,
    };
    let id = upload.id.clone();
    let appended = app.attache.append(upload, append, incoming).await;
    match &appended {
        Ok(Appended::Completed(upload, _)) => {
            audit::record(caller, Action::Upload, upload.id.as_str(), &Ok(()));
        }
        Err(error) if error.kind() == ErrorKind::Refused => {
            audit::record(caller, Action::Upload, id.as_str(), &appended);
        }
        _ => {}
    }
    appended
}

/// Whether the sender was silent, or is gone. One that wakes up tries again, from where its bytes end if it knows the upload; after a
/// status of 4xx tus-js-client would give up.
fn broke_off(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ClientTimeout | ErrorKind::ClientGone
    )
}

/// Another request has taken the upload, or its sender was silent. To the client of this one nothing must be said: it goes on
/// elsewhere, and any status would count.
async fn taken(peer: &Peer, version: Version) -> Response {
    if version == Version::HTTP_2 {
        // Its other streams go on.
        let error = Error::new(ErrorKind::Busy, "another request has taken this upload");
        return ErrorResponse(error).into_response();
    }
    peer.hang_up.cancel();
    std::future::pending().await
}

/// Give an upload up, with everything that is stored of it.
#[utoipa::path(delete, path = "/v1/uploads/{id}", tag = "uploads", params(("id", description = "The upload's id")),
    responses((status = 204, description = "It is gone"),
        (status = 404, description = "There is none, or it is an attachment already", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> HttpResult<Response> {
    if !tus::supported(&headers, false) {
        return Ok(tus::unsupported_version());
    }
    let upload = own(&app, &caller, &id).await?;
    resumable(&upload)?;
    caller.need(Scope::Write)?;
    let outcome = app.attache.cancel_upload(&upload.id).await;
    audit::record(&caller, Action::Delete, upload.id.as_str(), &outcome);
    outcome?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A direct upload has no requests here: somebody else takes its bytes, and may do so until its URL expires.
fn resumable(upload: &Upload) -> Result<()> {
    match upload.direct {
        true => Err(Error::not_found(upload.id.as_str())),
        false => Ok(()),
    }
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WaitingQuery {
    /// How many, 1 to 1000.
    #[param(default = 100)]
    limit: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
}

/// A page of uploads that are not complete.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct WaitingJson {
    items: Vec<UploadJson>,
    /// Where the next page begins; null on the last one.
    next: Option<String>,
}

/// An upload that is not complete.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct UploadJson {
    id: String,
    owner: Option<String>,
    filename: String,
    created_by: Option<String>,
    /// Who sends it, as the audit log names callers.
    caller: String,
    /// Bytes that are stored.
    offset: u64,
    /// All bytes that there will be, if that is known.
    length: Option<u64>,
    /// Whether a request works on it.
    in_progress: bool,
    /// Whether its bytes go to the store itself.
    direct: bool,
    created_at: String,
    expires_at: String,
}

impl From<Upload> for UploadJson {
    fn from(upload: Upload) -> Self {
        Self {
            id: upload.id.to_string(),
            owner: upload.owner.map(|owner| owner.to_string()),
            filename: upload.filename.to_string(),
            created_by: upload.created_by.map(|author| author.to_string()),
            caller: upload.caller,
            offset: upload.offset,
            length: upload.length,
            in_progress: upload.is_held,
            direct: upload.direct,
            created_at: timestamp(upload.created_at),
            expires_at: timestamp(upload.expires_at),
        }
    }
}

/// Most uploads of a page.
const MAX_PAGE: u32 = 1000;

/// Uploads that are not complete, in the order of their beginnings.
#[utoipa::path(get, path = "/v1/admin/uploads", tag = "operation", params(WaitingQuery),
    responses((status = 200, body = WaitingJson), (status = 400, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn waiting(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<WaitingQuery>,
) -> HttpResult<Out<WaitingJson>> {
    caller.need(Scope::Admin)?;
    let limit = query.limit.unwrap_or(100);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Error::bad_request(format!("limit is between 1 and {MAX_PAGE}")).into());
    }
    let after = query.after.map(|after| after.parse()).transpose()?;
    let mut uploads = app.attache.list_uploads(after.as_ref(), limit + 1).await?;
    let more = uploads.len() > limit as usize;
    uploads.truncate(limit as usize);
    let next = uploads
        .last()
        .filter(|_| more)
        .map(|last| last.id.to_string());
    Ok(Out(WaitingJson {
        items: uploads.into_iter().map(Into::into).collect(),
        next,
    }))
}
