//! What is said of buckets, and which pages may call.

use http::StatusCode;
use stand_in::answer::{Answer, Fail, set};
use stand_in::xml;

use crate::Versioning;
use crate::core::Core;
use crate::respond::no_such_bucket;
use crate::service::list::iso_millis;
use crate::service::{Call, document, empty};

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html>
pub(crate) fn list(core: &Core) -> Answer {
    let buckets = core.store(|store| {
        let buckets = store.buckets.iter().map(|(name, bucket)| {
            format!(
                "<Bucket>{}{}</Bucket>",
                xml::element("Name", name),
                xml::element("CreationDate", &iso_millis(bucket.created))
            )
        });
        buckets.collect::<String>()
    });
    document(
        "ListAllMyBucketsResult",
        &format!("<Owner><ID>fake</ID></Owner><Buckets>{buckets}</Buckets>"),
    )
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html>
pub(crate) fn head(core: &Core, call: &Call) -> Result<Answer, Fail> {
    let region = core.store(|store| Ok::<_, Fail>(call.bucket(core, store)?.region.clone()))?;
    let mut answer = empty(StatusCode::OK);
    if !core.is_google() {
        set(&mut answer, "x-amz-bucket-region", &region);
    }
    Ok(answer)
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLocation.html>: the first region has no name here. It is
/// the one question that a bucket of another region answers.
pub(crate) fn location(core: &Core, call: &Call) -> Result<Answer, Fail> {
    let name = call.bucket.as_deref().unwrap_or_default();
    let region = core.store(|store| store.buckets.get(name).map(|bucket| bucket.region.clone()));
    let region = region.ok_or_else(|| no_such_bucket(name))?;
    let shown = if region == "us-east-1" { "" } else { &region };
    Ok(document("LocationConstraint", &xml::escape(shown)))
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketVersioning.html>
pub(crate) fn versioning(core: &Core, call: &Call) -> Result<Answer, Fail> {
    let versioning = core.store(|store| Ok::<_, Fail>(call.bucket(core, store)?.versioning))?;
    let status = match versioning {
        Versioning::Off => String::new(),
        Versioning::Enabled => xml::element("Status", "Enabled"),
        Versioning::Suspended => xml::element("Status", "Suspended"),
    };
    Ok(document("VersioningConfiguration", &status))
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketCors.html>
pub(crate) fn cors(core: &Core, call: &Call) -> Result<Answer, Fail> {
    let origins =
        core.store(|store| Ok::<_, Fail>(call.bucket(core, store)?.cors_origins.clone()))?;
    if origins.is_empty() {
        return Err(Fail::new(
            404,
            "NoSuchCORSConfiguration",
            "The CORS configuration does not exist",
        ));
    }
    let origins: String = origins
        .iter()
        .map(|origin| xml::element("AllowedOrigin", origin))
        .collect();
    let methods: String = METHODS
        .split(", ")
        .map(|method| xml::element("AllowedMethod", method))
        .collect();
    Ok(document(
        "CORSConfiguration",
        &format!(
            "<CORSRule>{origins}{methods}<AllowedHeader>*</AllowedHeader><ExposeHeader>ETag</ExposeHeader></CORSRule>"
        ),
    ))
}

/// What a browser asks before a page of another origin may write.
pub(crate) fn preflight(core: &Core, call: &Call) -> Result<Answer, Fail> {
    if !is_allowed(core, call) {
        return Err(Fail::new(
            403,
            "AccessForbidden",
            "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.",
        ));
    }
    let mut answer = empty(StatusCode::OK);
    set(&mut answer, "access-control-allow-methods", METHODS);
    if let Some(names) = call.header("access-control-request-headers") {
        set(&mut answer, "access-control-allow-headers", names);
    }
    Ok(answer)
}

/// Says that the page which asks may read the answer, if it may.
pub(crate) fn allow_origin(core: &Core, call: &Call, answer: &mut Answer) {
    if let Some(origin) = call.header("origin")
        && is_allowed(core, call)
    {
        set(answer, "access-control-allow-origin", origin);
        set(answer, "access-control-expose-headers", "ETag");
        set(answer, "vary", "Origin");
    }
}

fn is_allowed(core: &Core, call: &Call) -> bool {
    let (Some(origin), Some(bucket)) = (call.header("origin"), call.bucket.as_deref()) else {
        return false;
    };
    core.store(|store| {
        let origins = store.buckets.get(bucket).map(|bucket| &bucket.cors_origins);
        origins.is_some_and(|origins| {
            origins
                .iter()
                .any(|allowed| allowed == "*" || allowed == origin)
        })
    })
}

const METHODS: &str = "GET, HEAD, PUT, POST, DELETE";
