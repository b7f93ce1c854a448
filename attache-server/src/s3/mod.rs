//! The S3 endpoint: buckets for any S3 client, at the root of an address of its own.
//!
//! A request passes, in this order: its form and the limits; which bucket and key it names (`address`); who sends it
//! (`authenticate`, `signature`); which operation it is ([`dispatch`]), a file each. Bodies come out of their frames in `chunked`; errors
//! are XML (`error`).

mod address;
mod authenticate;
mod body;
mod bucket;
mod chunked;
mod conditions;
mod copy;
mod cors;
mod delete_many;
mod deliver;
mod error;
pub(crate) mod keys;
mod listing;
mod multipart;
mod object;
mod policy;
mod post;
mod request;
mod signature;
mod tagging;
mod tags;
mod values;
mod xml;

use std::sync::Arc;

use attache::storage::bucket::Key;
use axum::body::HttpBody as _;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::request::Parts;
use http::{HeaderName, Method};

use address::Address;
use authenticate::{Caller, Proof, authenticate};
use error::{S3Error, S3Result};
use request::S3Request;
use signature::Query;

use crate::audit;
use crate::framing;
use crate::net::peer::{self, Peer};
use crate::reload::Effective;
use crate::request_id::{self, request_id};
use crate::respond::closing;
use crate::state::App;
use crate::upload::Incoming;

/// Longest document of a request: 10,000 parts with a checksum each, or 1,000 keys of 1,024 bytes, all escaped.
const MAX_DOCUMENT: u64 = 8 * 1024 * 1024;

/// What the endpoint responds.
pub(crate) async fn respond(app: &App, peer: Peer, request: Request) -> Response {
    request_id::with_request_id(request, |request| serve(app.clone(), peer, request)).await
}

async fn serve(app: App, peer: Peer, request: Request) -> Response {
    let settings = app.settings();
    let (head, body) = request.into_parts();
    let client = peer::client(&settings.server, peer.address, &head.headers);
    let has_body = !body.is_end_stream();
    let (incoming, rest) = Incoming::new(&head.headers, body);
    let resource = head.uri.path().to_owned();
    let method = head.method.clone();
    let address = Address::of(&settings.s3, &host(&head), &resource);
    let named = address
        .as_ref()
        .ok()
        .and_then(|address| address.bucket.clone());
    let config = named.and_then(|name| settings.s3.buckets.get(&name));
    let origin = cors::origin(config.map(Arc::as_ref), &head.headers).cloned();
    let served = audit::of_client(client, async {
        let begun = app.limits.client(&settings.limits, client);
        if let Err(wait) = begun {
            app.limited(crate::net::limits::LimitExceeded::ClientRate, Some(wait));
            return ("unknown", Err(S3Error::slow_down(Some(wait))));
        }
        match app
            .limits
            .begin(&settings.limits, &settings.server, client, false)
        {
            Ok(_running) => Box::pin(answer(&app, &settings, head, peer, address, incoming)).await,
            Err(exceeded) => {
                app.limited(exceeded, None);
                ("unknown", Err(S3Error::slow_down(None)))
            }
        }
    });
    let (operation, outcome) = served.await;
    let word = outcome.as_ref().err().map_or("ok", S3Error::outcome);
    app.attache.metrics().s3_request(operation, word);
    let mut response = match outcome {
        Ok(response) => response,
        Err(error) => {
            // Its sender reads the response, instead of a connection reset.
            rest.linger();
            let response = error.respond(&method, &resource);
            match has_body {
                true => closing(response),
                false => response,
            }
        }
    };
    cors::share(config.map(Arc::as_ref), origin, &mut response);
    let id = HeaderValue::from_str(&request_id()).unwrap_or(HeaderValue::from_static(""));
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-amz-request-id"), id);
    response
}

/// The host that a request names.
fn host(head: &Parts) -> String {
    let header = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let target = head.uri.authority().map(|authority| authority.as_str());
    header.or(target).unwrap_or_default().to_owned()
}

/// Finds out who asks for what, and does it.
async fn answer(
    app: &App,
    settings: &Arc<Effective>,
    head: Parts,
    peer: Peer,
    address: S3Result<Address>,
    incoming: Incoming,
) -> (&'static str, S3Result<Response>) {
    let refused = |error: S3Error| ("unknown", Err(error));
    if !framing::only_chunked(&head.headers) {
        return refused(S3Error::not_implemented(
            "a Transfer-Encoding but \"chunked\"",
        ));
    }
    let address = match address {
        Ok(address) => address,
        Err(error) => return refused(error),
    };
    if head.headers.get_all(HOST).iter().count() > 1 {
        return refused(S3Error::invalid("the request has more than one Host"));
    }
    let Some(query) = Query::parse(head.uri.query().unwrap_or_default()) else {
        return refused(S3Error::invalid("the query is not UTF-8"));
    };
    let config = address
        .bucket
        .as_ref()
        .and_then(|name| settings.s3.buckets.get(name));
    if cors::is_preflight(&head.method, &head.headers) {
        let allowed = cors::origin(config.map(Arc::as_ref), &head.headers).is_some();
        return ("preflight", cors::preflight(allowed, &head.headers));
    }
    let keys = match app.s3_keys() {
        Ok(keys) => keys,
        Err(error) => return refused(error.into()),
    };
    let caller = match authenticate(&settings.s3, &keys, &head, &address, &query) {
        Ok(caller) => caller,
        Err(error) => {
            audit::refused_s3(error.code());
            return refused(error);
        }
    };
    if caller.key.is_some()
        && let Err(wait) = app.limits.caller(&settings.limits, &caller.name())
    {
        app.limited(crate::net::limits::LimitExceeded::CallerRate, Some(wait));
        return refused(S3Error::slow_down(Some(wait)));
    }
    let Some(name) = address.bucket else {
        return match head.method {
            Method::GET => ("list_buckets", bucket::list(&settings.s3, &caller)),
            _ => refused(S3Error::not_implemented("this method without a bucket")),
        };
    };
    let Some(config) = config else {
        return refused(unknown_bucket(&caller, &head.method, address.key.is_some()));
    };
    let handle = match app.attache.bucket(&config.place(&name), &config.prefix) {
        Ok(handle) => handle,
        Err(error) => return refused(error.into()),
    };
    let mut request = S3Request {
        app: app.clone(),
        settings: settings.clone(),
        head,
        query,
        peer,
        caller,
        name,
        config: config.clone(),
        bucket: handle,
    };
    let (operation, outcome) = dispatch(&mut request, address.key.as_ref(), incoming).await;
    request.record(operation, address.key.as_ref(), &outcome);
    (operation, outcome)
}

/// Whoever is not known learns of no names.
fn unknown_bucket(caller: &Caller, method: &Method, has_key: bool) -> S3Error {
    match (&caller.key, method) {
        (None, _) => S3Error::denied("the request is not signed"),
        (Some(_), &Method::PUT) if !has_key => {
            S3Error::denied("buckets are made in attache's configuration: [s3.buckets.NAME]")
        }
        _ => S3Error::no_such_bucket(),
    }
}

/// Which operation it is, by method and query, and its outcome.
async fn dispatch(
    request: &mut S3Request,
    key: Option<&Key>,
    incoming: Incoming,
) -> (&'static str, S3Result<Response>) {
    let method = request.head.method.clone();
    let has = |name: &str| request.query.has(name);
    let Some(key) = key else {
        return Box::pin(dispatch_bucket(request, &method, incoming)).await;
    };
    let source = body::text(&request.head.headers, "x-amz-copy-source");
    match method {
        Method::GET if has("uploadId") => ("list_parts", multipart::list_parts(request, key).await),
        Method::GET if has("tagging") => ("get_object_tagging", tagging::get(request, key).await),
        Method::GET if has("acl") => ("get_object_acl", bucket::get_acl(request, Some(key)).await),
        Method::PUT if has("tagging") => {
            let body = document_of(request, incoming).await;
            let outcome = async { tagging::put(request, key, body?).await };
            ("put_object_tagging", outcome.await)
        }
        Method::PUT if has("acl") => {
            let body = document_of(request, incoming).await;
            let outcome = async { bucket::put_acl(request, key, body?).await };
            ("put_object_acl", outcome.await)
        }
        Method::DELETE if has("tagging") => {
            ("delete_object_tagging", tagging::delete(request, key).await)
        }
        Method::PUT if has("uploadId") || has("partNumber") => match source {
            Some(source) => (
                "upload_part_copy",
                Box::pin(multipart::copy_part(request, key, &source)).await,
            ),
            None => (
                "upload_part",
                Box::pin(multipart::put_part(request, key, incoming)).await,
            ),
        },
        Method::POST if has("uploads") => (
            "create_multipart_upload",
            multipart::create(request, key).await,
        ),
        Method::POST if has("uploadId") => {
            let body = document_of(request, incoming).await;
            let outcome = async { multipart::complete(request, key, body?).await };
            ("complete_multipart_upload", Box::pin(outcome).await)
        }
        Method::DELETE if has("uploadId") => (
            "abort_multipart_upload",
            multipart::abort(request, key).await,
        ),
        _ if bucket::UNSUPPORTED.iter().any(|name| has(name)) => (
            "unknown",
            Err(S3Error::not_implemented("this operation of S3")),
        ),
        Method::GET => ("get_object", object::get(request, key).await),
        Method::HEAD => ("head_object", object::head(request, key).await),
        Method::PUT => match source {
            Some(source) => (
                "copy_object",
                Box::pin(copy::copy(request, key, &source)).await,
            ),
            None => (
                "put_object",
                Box::pin(object::put(request, key, incoming)).await,
            ),
        },
        Method::DELETE => ("delete_object", object::delete(request, key).await),
        _ => (
            "unknown",
            Err(S3Error::not_implemented("this operation of S3")),
        ),
    }
}

async fn dispatch_bucket(
    request: &mut S3Request,
    method: &Method,
    incoming: Incoming,
) -> (&'static str, S3Result<Response>) {
    let has = |name: &str| request.query.has(name);
    match *method {
        Method::HEAD => ("head_bucket", bucket::head(request).await),
        Method::GET if has("location") => ("get_bucket_location", bucket::location(request)),
        Method::GET if has("versioning") => ("get_bucket_versioning", bucket::versioning(request)),
        Method::GET if has("uploads") => ("list_multipart_uploads", multipart::list(request).await),
        Method::GET if has("acl") => ("get_bucket_acl", bucket::get_acl(request, None).await),
        Method::GET => match bucket::absent_setting(&request.query) {
            Some(absent) => {
                let known = request.caller.need_bucket(&request.name);
                ("get_bucket_setting", Err(known.err().unwrap_or(absent)))
            }
            None if bucket::UNSUPPORTED.iter().any(|name| has(name)) => (
                "unknown",
                Err(S3Error::not_implemented("this operation on a bucket")),
            ),
            None if request.query.get("list-type") == Some("2") => {
                ("list_objects_v2", listing::second(request).await)
            }
            None => ("list_objects", listing::first(request).await),
        },
        Method::PUT if request.query.iter().all(|(name, _)| name == "x-id") => {
            ("create_bucket", bucket::create(request).await)
        }
        Method::POST if has("delete") => {
            let body = document_of(request, incoming).await;
            let outcome = async { delete_many::delete(request, body?).await };
            ("delete_objects", outcome.await)
        }
        Method::POST if is_form(&request.head) => {
            ("post_object", post::post(request, incoming).await)
        }
        _ => (
            "unknown",
            Err(S3Error::not_implemented("this operation on a bucket")),
        ),
    }
}

fn is_form(head: &Parts) -> bool {
    let kind = body::text(&head.headers, CONTENT_TYPE.as_str()).unwrap_or_default();
    kind.trim_start()
        .to_ascii_lowercase()
        .starts_with("multipart/form-data")
}

/// The body of a request that is a document, whole. Of nobody who is not known anything is read.
async fn document_of(request: &S3Request, incoming: Incoming) -> S3Result<Bytes> {
    if matches!(request.caller.proof, Proof::Nothing) {
        return Err(S3Error::denied("the request is not signed"));
    }
    let upload = body::read(&request.head.headers, &request.caller.proof, incoming, None)?;
    let budget = request.app.attache.parts().budget.clone();
    body::collect(upload, MAX_DOCUMENT, &budget).await
}
