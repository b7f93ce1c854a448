//! The store: one call from its head to its answer.

mod body;
mod bucket;
mod compose;
mod conditions;
mod copy;
mod delete;
mod list;
mod multipart;
mod put;
pub(crate) mod read;

use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use stand_in::answer::{Answer, AnswerBody, Fail, Stop, set};
use stand_in::faults::Stage;
use stand_in::incoming::{frames, swallow};
use stand_in::wire::{Query, header, http_date, percent_decode};

use crate::auth;
use crate::core::Core;
use crate::counts::CallInfo;
use crate::op::Op;
use crate::respond::{access_denied, no_such_bucket, render};
use crate::signature::Payload;
use crate::state::{Bucket, Store};

/// The head of a request, taken apart.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) op: Op,
    pub(crate) method: Method,
    pub(crate) raw_path: String,
    pub(crate) raw_query: String,
    pub(crate) bucket: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) secure: bool,
    /// What the signature says of the body.
    pub(crate) payload: Payload,
}

impl Call {
    fn new(core: &Core, head: http::request::Parts, secure: bool) -> Self {
        let raw_path = head.uri.path().to_owned();
        let raw_query = head.uri.query().unwrap_or_default().to_owned();
        let query = Query::parse(&raw_query);
        let path = raw_path.strip_prefix('/').unwrap_or(&raw_path);
        let (bucket, key) = match virtual_host(&head.headers) {
            Some(bucket) => (Some(bucket), path),
            None => {
                let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
                (
                    Some(percent_decode(bucket)).filter(|name| !name.is_empty()),
                    key,
                )
            }
        };
        let key = Some(percent_decode(key)).filter(|key| !key.is_empty());
        let op = match (core.is_google(), head.method.as_str(), raw_path.as_str()) {
            (true, "POST", TOKEN_PATH) => Op::Token,
            _ => Op::of(
                &head.method,
                bucket.is_some(),
                key.is_some(),
                &query,
                &head.headers,
            ),
        };
        Self {
            op,
            method: head.method,
            raw_path,
            raw_query,
            bucket,
            key,
            query,
            headers: head.headers,
            secure,
            payload: Payload::Unsigned,
        }
    }

    /// The key that the path names.
    pub(crate) fn key(&self) -> &str {
        self.key.as_deref().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// A header of the service's own, after `x-amz-` or `x-goog-`.
    pub(crate) fn own(&self, core: &Core, name: &str) -> Option<&str> {
        self.header(&format!("{}{name}", core.prefix()))
    }

    /// The bucket that the call names, if it exists and lies in this region.
    pub(crate) fn bucket<'a>(
        &self,
        core: &Core,
        store: &'a mut Store,
    ) -> Result<&'a mut Bucket, Fail> {
        let name = self.bucket.as_deref().unwrap_or_default();
        let bucket = store
            .buckets
            .get_mut(name)
            .ok_or_else(|| no_such_bucket(name))?;
        if bucket.region == core.region {
            return Ok(bucket);
        }
        let endpoint = format!("{name}.s3.{}.amazonaws.com", bucket.region);
        Err(Fail::new(
            301,
            "PermanentRedirect",
            "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.",
        )
        .detail(stand_in::xml::element("Endpoint", &endpoint))
        .header("x-amz-bucket-region", bucket.region.clone()))
    }

    fn info(&self) -> CallInfo {
        let own = |name: &str| self.header(name).map(str::to_owned);
        CallInfo {
            op: self.op,
            path: self.raw_path.clone(),
            query: self.raw_query.clone(),
            range: own("range"),
            if_match: own("if-match"),
            if_none_match: own("if-none-match"),
            content_length: self
                .header("content-length")
                .and_then(|text| text.parse().ok()),
            status: None,
            code: None,
        }
    }
}

/// `bucket.localhost:PORT`: the bucket in front of the name.
fn virtual_host(headers: &HeaderMap) -> Option<String> {
    let host = header(headers, "host")?;
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    Some(name.strip_suffix(".localhost")?.to_owned())
}

/// Answers one request; `Err` ends the connection.
pub(crate) async fn serve(
    core: Arc<Core>,
    request: Request<Incoming>,
    secure: bool,
) -> Result<Answer, Stop> {
    let (head, body) = request.into_parts();
    let mut call = Call::new(&core, head, secure);
    core.tally
        .note(|c| *c.operations.entry(call.op.name()).or_default() += 1);
    let request_id = format!("{:016X}", core.scene.traffic.next_request());
    let mut info = call.info();
    let outcome = match answer(&core, &mut call, body).await {
        Ok(answer) => Some(answer),
        Err(Stop::Fail(fail)) => {
            core.tally
                .note(|c| *c.errors.entry(fail.code.clone()).or_default() += 1);
            info.code = Some(fail.code.clone());
            let with_body = call.method != Method::HEAD;
            Some(render(*fail, &call.raw_path, &request_id, with_body))
        }
        Err(Stop::Disconnect) => None,
    };
    info.status = outcome.as_ref().map(|answer| answer.status().as_u16());
    core.tally.log(info);
    let mut answer = outcome.ok_or(Stop::Disconnect)?;
    core.tally
        .note(|c| *c.answers.entry(answer.status().as_u16()).or_default() += 1);
    set(&mut answer, "date", &http_date(core.scene.now()));
    if core.is_google() {
        set(&mut answer, "server", "UploadServer");
        set(&mut answer, "x-guploader-uploadid", &request_id);
    } else {
        set(&mut answer, "server", "AmazonS3");
        set(&mut answer, "x-amz-request-id", &request_id);
        set(&mut answer, "x-amz-id-2", &format!("{request_id}fake"));
    }
    bucket::allow_origin(&core, &call, &mut answer);
    Ok(answer)
}

async fn answer(core: &Arc<Core>, call: &mut Call, body: Incoming) -> Result<Answer, Stop> {
    match core.scene.admit(call.op).await {
        Some((Stage::Before, action)) => core.scene.spoil(action).await,
        Some((Stage::AfterBody, action)) => {
            frames(&core.scene, call.op, body, |_| ()).await?;
            core.scene.spoil(action).await
        }
        Some((Stage::AfterCommit, action)) => {
            carry_out(core, call, body).await?;
            core.scene.spoil(action).await
        }
        None => carry_out(core, call, body).await,
    }
}

async fn carry_out(core: &Arc<Core>, call: &mut Call, body: Incoming) -> Result<Answer, Stop> {
    match call.op {
        Op::Token => return crate::account::token(core, body).await,
        Op::Preflight => return bucket::preflight(core, call).map_err(Stop::from),
        _ => {}
    }
    let admitted = auth::authorise(core, call).and_then(|payload| {
        if core.may(call.op) {
            return Ok(payload);
        }
        core.tally.note(|c| c.refused += 1);
        Err(access_denied())
    });
    call.payload = match admitted {
        Ok(payload) => payload,
        Err(fail) => {
            swallow(body).await;
            return Err(fail.into());
        }
    };
    let call = &*call;
    match call.op {
        Op::PutObject => put::object(core, call, body).await,
        Op::ComposeObject => compose::object(core, call, body).await,
        Op::UploadPart => multipart::part(core, call, body).await,
        Op::CompleteMultipartUpload => multipart::complete(core, call, body).await,
        Op::DeleteObjects => delete::many(core, call, body).await,
        _ => {
            // Nothing is expected, but what is sent is read, so that the answer arrives.
            body::ignored(core, call, body).await?;
            bodiless(core, call).map_err(Stop::from)
        }
    }
}

fn bodiless(core: &Arc<Core>, call: &Call) -> Result<Answer, Fail> {
    match call.op {
        Op::GetObject => read::get(core, call),
        Op::HeadObject => read::head(core, call),
        Op::CopyObject => copy::object(core, call),
        Op::UploadPartCopy => copy::part(core, call),
        Op::DeleteObject => delete::one(core, call),
        Op::CreateMultipartUpload => multipart::create(core, call),
        Op::AbortMultipartUpload => multipart::abort(core, call),
        Op::ListParts => multipart::list_parts(core, call),
        Op::ListMultipartUploads => multipart::list(core, call),
        Op::ListObjectsV2 => list::objects(core, call),
        Op::ListObjectVersions => list::versions(core, call),
        Op::ListBuckets => Ok(bucket::list(core)),
        Op::HeadBucket => bucket::head(core, call),
        Op::GetBucketLocation => bucket::location(core, call),
        Op::GetBucketVersioning => bucket::versioning(core, call),
        Op::GetBucketCors => bucket::cors(core, call),
        _ => Err(Fail::new(
            501,
            "NotImplemented",
            "A header you provided implies functionality that is not implemented",
        )),
    }
}

/// 200 with an XML document whose root has the namespace of the API.
pub(crate) fn document(root: &str, inner: &str) -> Answer {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}</{root}>"
    );
    let mut answer = Response::new(AnswerBody::full(text));
    set(&mut answer, "content-type", "application/xml");
    answer
}

/// An answer with status and no body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    stand_in::answer::status(status)
}

/// Where a service account gets its tokens.
pub(crate) const TOKEN_PATH: &str = "/_token";
