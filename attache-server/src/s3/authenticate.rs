//! Who sends a request: the access key whose signature it has.

use std::sync::Arc;

use attache::access::Scope;
use attache::secret::Secret;
use http::StatusCode;
use http::request::Parts;
use time::OffsetDateTime;

use super::address::Address;
use super::error::{S3Error, S3Result};
use super::keys::{Keys, Known};
use super::signature::v4::ChunkSigner;
use super::signature::{BadSignature, Query, Signed, v2, v4};
use crate::config::s3::S3Config;

/// How a request is signed.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    /// Not at all.
    Nothing,
    /// By a header. The payload is as it was signed; what signs its chunks.
    Header {
        payload: String,
        chunks: Box<ChunkSigner>,
    },
    /// By a URL that is good until then. The payload is as it was signed. Of its query all is signed, or in version 2 but some.
    Presigned {
        until: OffsetDateTime,
        payload: String,
        all: bool,
    },
    /// By a form's policy.
    Form,
}

/// Who sends a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) key: Option<Arc<Known>>,
    pub(crate) proof: Proof,
}

impl Caller {
    /// Who it is in the audit log.
    pub(crate) fn name(&self) -> Arc<str> {
        match &self.key {
            Some(known) => format!("access_key:{}", known.key.id.as_str()).into(),
            None => "anybody".into(),
        }
    }

    /// Whether it may do something with an object, or with all that begins with a text.
    ///
    /// # Errors
    ///
    /// `AccessDenied`.
    pub(crate) fn need(&self, scope: Scope, bucket: &str, key: &str) -> S3Result<()> {
        let Some(known) = &self.key else {
            return Err(S3Error::denied(
                "the request is not signed, and this is not for anybody",
            ));
        };
        if !known.key.covers(bucket, key) {
            return Err(S3Error::denied(
                "the access key is not for this bucket or this part of it",
            ));
        }
        match known.key.scopes.contain(scope) {
            true => Ok(()),
            false => Err(S3Error::denied(format!(
                "the access key has no permission to {}",
                scope.as_str()
            ))),
        }
    }

    /// Whether it may know of a bucket at all.
    ///
    /// # Errors
    ///
    /// `AccessDenied`.
    pub(crate) fn need_bucket(&self, bucket: &str) -> S3Result<()> {
        let known = self.key.as_ref();
        match known.is_some_and(|known| known.key.buckets.iter().any(|name| name == bucket)) {
            true => Ok(()),
            false => Err(S3Error::denied("the access key is not for this bucket")),
        }
    }
}

/// Finds out who sends a request.
///
/// # Errors
///
/// A signature that is not good, of a key that is not known: both take as long.
pub(crate) fn authenticate(
    config: &S3Config,
    keys: &Keys,
    request: &Parts,
    address: &Address,
    query: &Query,
) -> S3Result<Caller> {
    let now = OffsetDateTime::now_utc();
    let signed = Signed {
        method: request.method.as_str(),
        path: request.uri.path(),
        query,
        headers: &request.headers,
        hosts: &address.hosts,
    };
    let by_header = v4::Claim::of_header(&request.headers)?;
    let by_query = v4::Claim::of_query(query, &request.headers)?;
    if by_header.is_some() && by_query.is_some() {
        return Err(S3Error::invalid(
            "the request is signed in a header and in its query; one is enough",
        ));
    }
    if let Some(claim) = by_header.or(by_query) {
        let known = keys.find(&claim.access_key_id);
        let verified = claim.verify(secret(known.as_deref()), &signed, now);
        let key = found(known)?;
        let chunks = verified?;
        let proof = match claim.good_until() {
            Some(until) => Proof::Presigned {
                until,
                payload: claim.payload,
                all: true,
            },
            None => Proof::Header {
                payload: claim.payload,
                chunks: Box::new(chunks),
            },
        };
        return Ok(Caller {
            key: Some(key),
            proof,
        });
    }
    if !v2::Claim::is_in(query, &request.headers) {
        return Ok(Caller {
            key: None,
            proof: Proof::Nothing,
        });
    }
    let claim = match v2::Claim::of_query(query)? {
        Some(claim) if config.sigv2 => claim,
        _ => return Err(old_version()),
    };
    let known = keys.find(&claim.access_key_id);
    let bucket = address.bucket.as_deref().filter(|_| address.by_host);
    let verified = claim.verify(secret(known.as_deref()), &signed, bucket, now);
    let key = found(known)?;
    verified?;
    Ok(Caller {
        key: Some(key),
        proof: Proof::Presigned {
            until: claim.good_until(),
            payload: v4::UNSIGNED.to_owned(),
            all: false,
        },
    })
}

/// Whose policy a form has.
///
/// # Errors
///
/// As [`authenticate`].
pub(crate) fn authenticate_form(keys: &Keys, claim: &v4::Claim, policy: &str) -> S3Result<Caller> {
    let known = keys.find(&claim.access_key_id);
    let verified = claim.verify_policy(secret(known.as_deref()), policy);
    let key = found(known)?;
    verified?;
    Ok(Caller {
        key: Some(key),
        proof: Proof::Form,
    })
}

/// As [`authenticate_form`], for a signature of version 2.
///
/// # Errors
///
/// As [`authenticate`].
pub(crate) fn authenticate_old_form(
    keys: &Keys,
    id: &str,
    verify: impl FnOnce(&Secret) -> Result<(), BadSignature>,
) -> S3Result<Caller> {
    let known = keys.find(id);
    let verified = verify(secret(known.as_deref()));
    let key = found(known)?;
    verified?;
    Ok(Caller {
        key: Some(key),
        proof: Proof::Form,
    })
}

/// What a request of nobody known is compared with, so that it takes as long.
fn secret(known: Option<&Known>) -> &Secret {
    static NOBODY: std::sync::LazyLock<Secret> =
        std::sync::LazyLock::new(|| Secret::new("0123456789012345678901234567890123456789"));
    known.map_or(&NOBODY, |known| &known.secret)
}

fn found(known: Option<Arc<Known>>) -> S3Result<Arc<Known>> {
    known.ok_or_else(|| {
        S3Error::new(
            StatusCode::FORBIDDEN,
            "InvalidAccessKeyId",
            "there is no such access key, or it has ended; `attache key` makes one",
        )
    })
}

pub(crate) fn old_version() -> S3Error {
    S3Error::new(
        StatusCode::BAD_REQUEST,
        "InvalidRequest",
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256: boto3 does with \
         Config(signature_version=\"s3v4\") or another region than us-east-1, such as \"auto\", s3cmd without signature_v2, aws-sdk 2 with \
         signatureVersion: \"v4\". attache takes presigned URLs of version 2 with s3.sigv2 = true.",
    )
}
