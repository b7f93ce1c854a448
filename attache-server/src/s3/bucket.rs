//! What is about buckets, and not about objects: which there are, whether one is there, and settings that S3 has and attache has not.

use attache::ErrorKind;
use attache::access::Scope;
use attache::storage::bucket::Key;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::StatusCode;
use time::OffsetDateTime;

use super::authenticate::Caller;
use super::error::{S3Error, S3Result};
use super::request::S3Request;
use super::values::iso_date;
use super::xml::{Xml, document};
use crate::config::s3::S3Config;

/// Who owns all objects.
pub(super) const OWNER: &str = "<Owner><ID>attache</ID><DisplayName>attache</DisplayName></Owner>";

/// ListBuckets: those of the access key.
pub(super) fn list(config: &S3Config, caller: &Caller) -> S3Result<Response> {
    let Some(known) = &caller.key else {
        return Err(S3Error::denied("the request is not signed"));
    };
    let mut xml = Xml::new();
    xml.root("ListAllMyBucketsResult")
        .raw(OWNER)
        .open("Buckets");
    let mine = config
        .buckets
        .keys()
        .filter(|name| known.key.buckets.contains(name));
    for name in mine {
        xml.open("Bucket")
            .text("Name", name)
            // Nobody keeps when: it is a line of a configuration.
            .text("CreationDate", &iso_date(OffsetDateTime::UNIX_EPOCH))
            .close("Bucket");
    }
    xml.close("Buckets").close("ListAllMyBucketsResult");
    Ok(document(xml))
}

/// HeadBucket
pub(super) async fn head(request: &S3Request) -> S3Result<Response> {
    request.caller.need_bucket(&request.name)?;
    request.bucket.probe().await?;
    // What GetBucketLocation says by being empty.
    Ok((StatusCode::OK, [("x-amz-bucket-region", "us-east-1")]).into_response())
}

/// CreateBucket, of one that is configured: rclone does so before each copy.
pub(super) async fn create(request: &S3Request) -> S3Result<Response> {
    request.caller.need_bucket(&request.name)?;
    match request.bucket.probe().await {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ContainerNotFound => {
            request.bucket.create().await?;
        }
        Err(error) => return Err(error.into()),
    }
    let location = [(http::header::LOCATION, format!("/{}", request.name))];
    Ok((StatusCode::OK, location).into_response())
}

/// GetBucketLocation: empty, which is us-east-1; any region is good in a signature.
pub(super) fn location(request: &S3Request) -> S3Result<Response> {
    request.caller.need_bucket(&request.name)?;
    let mut xml = Xml::new();
    xml.root("LocationConstraint").close("LocationConstraint");
    Ok(document(xml))
}

/// GetBucketVersioning: never.
pub(super) fn versioning(request: &S3Request) -> S3Result<Response> {
    request.caller.need_bucket(&request.name)?;
    let mut xml = Xml::new();
    xml.root("VersioningConfiguration")
        .close("VersioningConfiguration");
    Ok(document(xml))
}

/// The code for a setting that a bucket does not have, where clients ask whether it has one.
pub(super) fn absent_setting(query: &super::signature::Query) -> Option<S3Error> {
    let (_, code) = [
        ("policy", "NoSuchBucketPolicy"),
        ("cors", "NoSuchCORSConfiguration"),
        ("lifecycle", "NoSuchLifecycleConfiguration"),
        ("tagging", "NoSuchTagSet"),
        (
            "encryption",
            "ServerSideEncryptionConfigurationNotFoundError",
        ),
        ("object-lock", "ObjectLockConfigurationNotFoundError"),
        ("website", "NoSuchWebsiteConfiguration"),
        ("replication", "ReplicationConfigurationNotFoundError"),
        ("publicAccessBlock", "NoSuchPublicAccessBlockConfiguration"),
        ("ownershipControls", "OwnershipControlsNotFoundError"),
    ]
    .into_iter()
    .find(|(name, _)| query.has(name))?;
    Some(S3Error::new(
        StatusCode::NOT_FOUND,
        code,
        "buckets of attache are set up in its configuration, and have no such setting",
    ))
}

/// Sub-resources that are never supported.
pub(super) const UNSUPPORTED: [&str; 27] = [
    "accelerate",
    "analytics",
    "append",
    "attributes",
    "cors",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "torrent",
    "versions",
    "website",
];

/// GetObjectAcl and GetBucketAcl: all is private, whatever was asked for.
pub(super) async fn get_acl(request: &S3Request, key: Option<&Key>) -> S3Result<Response> {
    match key {
        Some(key) => {
            request.need(Scope::Read, key.as_str())?;
            request.found(key).await?;
        }
        None => request.caller.need_bucket(&request.name)?,
    }
    let mut xml = Xml::new();
    xml.root("AccessControlPolicy").raw(OWNER).raw(
        "<AccessControlList><Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
         xsi:type=\"CanonicalUser\"><ID>attache</ID><DisplayName>attache</DisplayName></Grantee>\
         <Permission>FULL_CONTROL</Permission></Grant></AccessControlList>",
    );
    xml.close("AccessControlPolicy");
    Ok(document(xml))
}

/// PutObjectAcl: what is private stays so, and nothing else can be had.
pub(super) async fn put_acl(request: &S3Request, key: &Key, body: Bytes) -> S3Result<Response> {
    request.need(Scope::Write, key.as_str())?;
    request.found(key).await?;
    let canned = request.header("x-amz-acl")?.unwrap_or("private");
    let opens = canned.starts_with("public-") || canned == "authenticated-read";
    let text = String::from_utf8_lossy(&body);
    if opens || text.contains("/AllUsers") || text.contains("/AuthenticatedUsers") {
        return Err(S3Error::not_implemented(
            "access control lists that open an object: list its prefix in s3.buckets.NAME.public, or presign a URL",
        ));
    }
    Ok(StatusCode::OK.into_response())
}
