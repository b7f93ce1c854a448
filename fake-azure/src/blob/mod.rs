//! The blob service: one call from its head to its answer.

mod conditions;
mod container;
mod guards;
mod list;
mod props;
mod read;
mod receive;
mod write;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Method, Request};
use hyper::body::Incoming;
use stand_in::answer::{Answer, Fail, Stop, set};
use stand_in::faults::Stage;
use stand_in::incoming::swallow;
use stand_in::wire::{Query, header, http_date, percent_decode};

use crate::auth;
use crate::core::Core;
use crate::counts::CallInfo;
use crate::op::Op;
use crate::respond::render;
use crate::state::Store;

/// The head of a request, taken apart.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) op: Op,
    pub(crate) method: Method,
    pub(crate) raw_path: String,
    pub(crate) account: String,
    pub(crate) container: Option<String>,
    pub(crate) blob: Option<String>,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) secure: bool,
    pub(crate) peer: IpAddr,
}

impl Call {
    fn new(head: http::request::Parts, secure: bool, peer: IpAddr) -> Self {
        let raw_path = head.uri.path().to_owned();
        let query = Query::parse(head.uri.query().unwrap_or_default());
        let mut parts = raw_path.trim_start_matches('/').splitn(3, '/');
        let mut part = || {
            parts
                .next()
                .map(percent_decode)
                .filter(|text| !text.is_empty())
        };
        let account = part().unwrap_or_default();
        let (container, blob) = (part(), part());
        let op = Op::of(&head.method, container.is_some(), blob.is_some(), &query);
        Self {
            op,
            method: head.method,
            raw_path,
            account,
            container,
            blob,
            query,
            headers: head.headers,
            secure,
            peer,
        }
    }

    /// The container that the path names.
    pub(crate) fn container(&self) -> &str {
        self.container.as_deref().unwrap_or_default()
    }

    /// The blob that the path names.
    pub(crate) fn blob(&self) -> &str {
        self.blob.as_deref().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    fn info(&self, request_id: &str) -> CallInfo {
        let own = |name: &str| self.header(name).map(str::to_owned);
        CallInfo {
            op: self.op,
            path: self.raw_path.clone(),
            range: own("x-ms-range").or_else(|| own("range")),
            if_match: own("if-match"),
            if_none_match: own("if-none-match"),
            content_length: self
                .header("content-length")
                .and_then(|text| text.parse().ok()),
            client_request_id: own("x-ms-client-request-id"),
            request_id: request_id.to_owned(),
            status: None,
            code: None,
        }
    }
}

/// Makes an empty container, if there is none of that name.
pub(crate) fn insert_container(core: &Core, store: &mut Store, name: &str) {
    container::insert(core, store, name, BTreeMap::new());
}

/// Answers one request; `Err` ends the connection.
pub(crate) async fn serve(
    core: Arc<Core>,
    request: Request<Incoming>,
    secure: bool,
    peer: IpAddr,
) -> Result<Answer, Stop> {
    let (head, body) = request.into_parts();
    let call = Call::new(head, secure, peer);
    core.tally
        .note(|c| *c.operations.entry(call.op.name()).or_default() += 1);
    let request_id = format!(
        "{:08x}-0000-4000-8000-0000000fa4e0",
        core.scene.traffic.next_request()
    );
    let mut info = call.info(&request_id);
    let outcome = match answer(&core, &call, body).await {
        Ok(answer) => Some(answer),
        Err(Stop::Fail(fail)) => {
            core.tally
                .note(|c| *c.errors.entry(fail.code.clone()).or_default() += 1);
            info.code = Some(fail.code.clone());
            let with_body = call.method != Method::HEAD;
            Some(render(*fail, &request_id, &core.now_text(), with_body))
        }
        Err(Stop::Disconnect) => None,
    };
    info.status = outcome.as_ref().map(|answer| answer.status().as_u16());
    core.tally.log(info);
    let mut answer = outcome.ok_or(Stop::Disconnect)?;
    core.tally
        .note(|c| *c.answers.entry(answer.status().as_u16()).or_default() += 1);
    set(
        &mut answer,
        "server",
        "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0",
    );
    set(&mut answer, "x-ms-request-id", &request_id);
    set(&mut answer, "date", &http_date(core.scene.now()));
    set(
        &mut answer,
        "x-ms-version",
        call.header("x-ms-version").unwrap_or(DEFAULT_VERSION),
    );
    if let Some(id) = call.header("x-ms-client-request-id") {
        set(&mut answer, "x-ms-client-request-id", id);
    }
    Ok(answer)
}

async fn answer(core: &Arc<Core>, call: &Call, body: Incoming) -> Result<Answer, Stop> {
    match core.scene.admit(call.op).await {
        Some((Stage::Before, action)) => core.scene.spoil(action).await,
        Some((Stage::AfterBody, action)) => {
            receive::drain(core, call, body).await?;
            core.scene.spoil(action).await
        }
        Some((Stage::AfterCommit, action)) => {
            carry_out(core, call, body).await?;
            core.scene.spoil(action).await
        }
        None => carry_out(core, call, body).await,
    }
}

async fn carry_out(core: &Arc<Core>, call: &Call, body: Incoming) -> Result<Answer, Stop> {
    if call.account != core.account {
        return Err(Fail::new(
            404,
            "ResourceNotFound",
            "The specified resource does not exist. No such account.",
        )
        .into());
    }
    if let Err(fail) = auth::authorise(core, call) {
        swallow(body).await;
        return Err(fail.into());
    }
    match call.op {
        Op::GetUserDelegationKey => container::user_delegation_key(core, call, body).await,
        Op::GetServiceProperties => Ok(container::service_properties(core)),
        Op::GetAccountInfo => Ok(container::account_info()),
        Op::ListContainers => Ok(list::containers(core, call)),
        Op::CreateContainer => container::create(core, call).map_err(Stop::from),
        Op::GetContainerProperties => container::properties(core, call).map_err(Stop::from),
        Op::DeleteContainer => container::delete(core, call).map_err(Stop::from),
        Op::ListBlobs => list::blobs(core, call).map_err(Stop::from),
        Op::PutBlob => write::put_blob(core, call, body).await,
        Op::PutBlock => write::put_block(core, call, body).await,
        Op::PutBlockList => write::put_block_list(core, call, body).await,
        Op::GetBlockList => list::blocks(core, call).map_err(Stop::from),
        Op::GetBlob => read::get(core, call).map_err(Stop::from),
        Op::GetBlobProperties => read::head(core, call).map_err(Stop::from),
        Op::GetBlobMetadata => read::metadata(core, call).map_err(Stop::from),
        Op::SetBlobMetadata => props::set_metadata(core, call).map_err(Stop::from),
        Op::SetBlobProperties => props::set_properties(core, call).map_err(Stop::from),
        Op::SetBlobTier => props::set_tier(core, call).map_err(Stop::from),
        Op::SnapshotBlob => props::snapshot(core, call).map_err(Stop::from),
        Op::DeleteBlob => props::delete(core, call).map_err(Stop::from),
        Op::Token | Op::ManagedIdentityToken | Op::Discovery | Op::Unknown => Err(Fail::new(
            400,
            "UnsupportedQueryParameter",
            "One of the query parameters specified in the request URI is not supported.",
        )
        .into()),
    }
}

pub(crate) fn container_not_found() -> Fail {
    Fail::new(
        404,
        "ContainerNotFound",
        "The specified container does not exist.",
    )
}

pub(crate) fn blob_not_found() -> Fail {
    Fail::new(404, "BlobNotFound", "The specified blob does not exist.")
}

pub(crate) fn invalid_header(name: &'static str, value: &str) -> Fail {
    Fail::new(
        400,
        "InvalidHeaderValue",
        &format!(
            "The value for one of the HTTP headers is not in the correct format. {name}: {value}"
        ),
    )
}

/// The version that an answer names when the request named none.
const DEFAULT_VERSION: &str = "2026-04-06";
