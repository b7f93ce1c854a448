//! `/v1/attachments:delete`: several at a time.

use attache::access::Scope;
use attache::attachment::AttachmentId;
use attache::attachment::Owner;
use attache::service::{MAX_BULK, MAX_OWNED};
use attache::{Error, Result};
use axum::Json as Out;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::visible::may_delete;
use crate::audit::{self, Action};
use crate::auth::Caller;
use crate::extract::Json;
use crate::respond::{HttpResult, Problem};
use crate::state::App;

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
) -> HttpResult<Out<DeletedJson>> {
    caller.need(Scope::Delete)?;
    let (done, absent) = match (which.ids, which.owner) {
        (Some(ids), None) => delete_ids(&app, &caller, &ids).await?,
        (None, Some(owner)) => (delete_owned(&app, &caller, &owner).await?, Vec::new()),
        _ => return Err(Error::bad_request("give either \"ids\" or \"owner\"").into()),
    };
    for (id, outcome) in &done {
        audit::record(&caller, Action::Delete, id.as_str(), outcome);
    }
    let more = done.len() >= MAX_OWNED;
    let results = done.into_iter().chain(absent).map(Into::into).collect();
    Ok(Out(DeletedJson { results, more }))
}

/// What became of each: `false` if it was not there.
type Deleted = Vec<(AttachmentId, Result<bool>)>;

/// What became of those that the caller may delete, and those that are not there for it.
async fn delete_ids(app: &App, caller: &Caller, ids: &[String]) -> Result<(Deleted, Deleted)> {
    if ids.len() > MAX_BULK {
        return Err(Error::bad_request(format!(
            "at most {MAX_BULK} ids at a time"
        )));
    }
    let ids: Vec<AttachmentId> = ids.iter().map(|id| id.parse()).collect::<Result<_>>()?;
    let (mut may, mut absent) = (Vec::with_capacity(ids.len()), Vec::new());
    for id in ids {
        match may_delete(app, caller, &id).await? {
            true => may.push(id),
            false => absent.push((id, Ok(false))),
        }
    }
    Ok((app.attache.delete_all(may).await?, absent))
}

async fn delete_owned(app: &App, caller: &Caller, owner: &str) -> Result<Deleted> {
    let owner: Owner = owner.parse()?;
    match caller.sees(Some(&owner)) {
        true => app.attache.delete_owned(&owner).await,
        false => Ok(Vec::new()),
    }
}

impl From<(AttachmentId, Result<bool>)> for DeletedOne {
    fn from((id, outcome): (AttachmentId, Result<bool>)) -> Self {
        Self {
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
        }
    }
}
