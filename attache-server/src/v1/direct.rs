//! Uploads whose bytes a client sends to the store by itself.

use attache::access::Scope;
use attache::attachment::{AttachmentId, Hex, NewAttachment};
use attache::catalog::partial::Upload;
use attache::service::DirectPut;
use attache::{Attachment, Error, Result};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as Out};
use http::header::{CACHE_CONTROL, ETAG, LOCATION};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::json::{AttachmentJson, timestamp};
use super::visible::{known, own};
use crate::audit::{self, Action};
use crate::auth::Caller;
use crate::extract::{Json, Query};
use crate::net::peer::Peer;
use crate::respond::{ErrorResponse, HttpResult, Problem, closing};
use crate::state::App;
use crate::upload::{Incoming, parse};

/// What is to be uploaded.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DirectRequest {
    #[schema(example = "film.mp4")]
    filename: Option<String>,
    /// How many bytes the file has.
    size: Option<u64>,
    #[schema(example = "video/mp4")]
    content_type: Option<String>,
    #[schema(example = "page:42")]
    owner: Option<String>,
    #[schema(example = "user:7")]
    created_by: Option<String>,
    /// The MD5 of the file in base64; the store then refuses other bytes.
    md5: Option<String>,
}

/// How the file gets to the store.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct DirectJson {
    /// Of the attachment that it will be.
    id: String,
    #[schema(example = "PUT")]
    method: &'static str,
    /// It creates this one object, once, and can do nothing else.
    url: String,
    /// What the request must say.
    headers: BTreeMap<&'static str, String>,
    /// When the request must have begun.
    expires_at: String,
}

/// Where and how a client sends a file to the store by itself, in one request.
#[utoipa::path(post, path = "/v1/uploads:direct", tag = "uploads", request_body = DirectRequest,
    responses((status = 201, body = DirectJson),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 413, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    caller: Caller,
    head: Parts,
    Json(asked): Json<DirectRequest>,
) -> HttpResult<Response> {
    caller.need(Scope::Write)?;
    let new = understand(asked)?;
    caller.may_write(new.owner.as_ref())?;
    let (upload, put) = app
        .attache
        .create_direct(new, caller.name.to_string())
        .await?;
    let id = upload.id.to_string();
    let json = match put {
        DirectPut::Store(offer) => DirectJson {
            id,
            method: "PUT",
            url: offer.url.expose().to_owned(),
            headers: offer.headers.into_iter().collect(),
            expires_at: timestamp(offer.expires_at),
        },
        DirectPut::Here { proof, expires_at } => {
            let base = peer.base_url(&app.settings().server, &head.uri, &head.headers);
            DirectJson {
                url: format!("{base}/v1/uploads/{id}/content?{}", proof.expose()),
                id,
                method: "PUT",
                headers: BTreeMap::new(),
                expires_at: timestamp(expires_at),
            }
        }
    };
    let no_store = [(CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, no_store, Out(json)).into_response())
}

fn understand(asked: DirectRequest) -> Result<NewAttachment> {
    let said = |text: Option<String>| text.filter(|text| !text.is_empty());
    let md5 = match said(asked.md5) {
        None => None,
        Some(text) => {
            use base64::Engine as _;
            let bytes = base64::engine::general_purpose::STANDARD.decode(text);
            let bytes = bytes.ok().and_then(|bytes| bytes.try_into().ok());
            Some(bytes.ok_or_else(|| Error::bad_request("\"md5\" is the base64 of 16 bytes"))?)
        }
    };
    Ok(NewAttachment {
        filename: parse(asked.filename)?,
        owner: parse(asked.owner)?,
        created_by: parse(asked.created_by)?,
        content_type: said(asked.content_type),
        size: asked.size,
        md5,
        ..NewAttachment::default()
    })
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ProofQuery {
    expires: i64,
    sig: String,
}

/// Send a file that goes to no other store, by the URL of `POST /v1/uploads:direct`.
#[utoipa::path(put, path = "/v1/uploads/{id}/content", tag = "uploads", params(ProofQuery, ("id", description = "The upload's id")),
    request_body(content_type = "application/octet-stream", description = "The file"),
    responses((status = 201, description = "The bytes are there; complete the upload to make an attachment of them"),
        (status = 400, description = "Another length or digest than was said", body = Problem, content_type = "application/problem+json"),
        (status = 403, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "There are bytes already", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn put(
    State(app): State<App>,
    Path(id): Path<String>,
    Query(proof): Query<ProofQuery>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (incoming, rest) = Incoming::new(&headers, body);
    let stored = async {
        let id: AttachmentId = known(&id)?;
        let proof = (proof.expires, proof.sig.as_str());
        app.attache.put_direct(&id, proof, incoming).await
    };
    match stored.await {
        Ok(md5) => (StatusCode::CREATED, [(ETAG, format!("\"{md5}\""))]).into_response(),
        Err(error) => {
            rest.linger();
            closing(ErrorResponse(error).into_response())
        }
    }
}

/// What the file must turn out to be.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompleteRequest {
    /// Of the file, in hexadecimal.
    sha256: Option<String>,
}

/// Make an attachment of what a client has sent to the store; reads all of it.
#[utoipa::path(post, path = "/v1/uploads/{id}:complete", tag = "uploads", params(("id", description = "The upload's id")),
    request_body = CompleteRequest,
    responses((status = 201, body = AttachmentJson),
        (status = 400, description = "Another length or digest than was said; what came is removed", body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Nothing came yet", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A hook refuses the file", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn complete(
    app: &App,
    caller: &Caller,
    id: &str,
    asked: CompleteRequest,
) -> HttpResult<Response> {
    let sha256 = match asked.sha256.map(|text| text.parse::<Hex<32>>()) {
        None => None,
        Some(Ok(Hex(bytes))) => Some(bytes),
        Some(Err(_)) => {
            return Err(Error::bad_request("\"sha256\" is 64 hexadecimal digits").into());
        }
    };
    let upload: Upload = own(app, caller, id).await?;
    caller.need(Scope::Write)?;
    let outcome = app.attache.complete_direct(&upload.id, sha256).await;
    audit::record(caller, Action::Upload, upload.id.as_str(), &outcome);
    let attachment: Attachment = outcome?;
    let location = format!("/v1/attachments/{}", attachment.id);
    let json = AttachmentJson::from(attachment);
    Ok((StatusCode::CREATED, [(LOCATION, location)], Out(json)).into_response())
}
