//! Signature version 2, in the query (<https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html>). AWS gave it up; boto3 and
//! others make it still where the endpoint is not AWS's.

use attache::secret::Secret;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use ring::hmac;
use time::OffsetDateTime;

use super::{BadSignature, Query, Signed, folded, is_same};

/// Parameters that are signed (the same page, "Constructing the CanonicalizedResource element").
const SIGNED: [&str; 23] = [
    "acl",
    "cors",
    "delete",
    "lifecycle",
    "location",
    "logging",
    "notification",
    "partNumber",
    "policy",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
];

/// What a signature says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) access_key_id: String,
    signature: String,
    /// Seconds since 1970.
    expires: i64,
}

impl Claim {
    /// Whether a request is signed so, in the query or in a header.
    pub(crate) fn is_in(query: &Query, headers: &HeaderMap) -> bool {
        let header = headers.get(AUTHORIZATION);
        let in_header = header.is_some_and(|value| value.as_bytes().starts_with(b"AWS "));
        in_header || (query.has("AWSAccessKeyId") && query.has("Signature"))
    }

    /// Whether a parameter, which says what a header would, is signed.
    pub(crate) fn signs(parameter: &str) -> bool {
        let name = parameter.to_ascii_lowercase();
        matches!(name.as_str(), "content-md5" | "content-type") || name.starts_with("x-amz-")
    }

    /// Of a presigned URL.
    pub(crate) fn of_query(query: &Query) -> Result<Option<Self>, BadSignature> {
        let (Some(id), Some(signature)) = (query.get("AWSAccessKeyId"), query.get("Signature"))
        else {
            return Ok(None);
        };
        let expires = query
            .get("Expires")
            .and_then(|expires| expires.parse().ok());
        Ok(Some(Self {
            access_key_id: id.to_owned(),
            signature: signature.to_owned(),
            expires: expires.ok_or(BadSignature::Malformed(
                "Expires must be seconds since 1970",
            ))?,
        }))
    }

    /// When it stops to be good.
    pub(crate) fn good_until(&self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(self.expires).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// Whether `secret` made this signature for this request. `bucket` is set if the host named it, and not the path.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(crate) fn verify(
        &self,
        secret: &Secret,
        request: &Signed<'_>,
        bucket: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<(), BadSignature> {
        if now.unix_timestamp() > self.expires {
            return Err(BadSignature::Expired);
        }
        let key = hmac::Key::new(
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            secret.expose().as_bytes(),
        );
        let mine = hmac::sign(&key, &self.string_to_sign(request, bucket));
        let mine = base64(mine.as_ref());
        match is_same(mine.as_bytes(), self.signature.as_bytes()) {
            true => Ok(()),
            false => Err(BadSignature::Differs),
        }
    }

    fn string_to_sign(&self, request: &Signed<'_>, bucket: Option<&str>) -> Vec<u8> {
        // Clients put headers that they signed into the query.
        let value = |name: &str| {
            let header = folded(request.headers, name);
            let in_query = || {
                request
                    .query
                    .get_any_case(name)
                    .map(|value| value.as_bytes().to_vec())
            };
            header.or_else(in_query).unwrap_or_default()
        };
        let mut text = Vec::with_capacity(256);
        for part in [
            request.method.as_bytes(),
            &value("content-md5"),
            &value("content-type"),
            self.expires.to_string().as_bytes(),
        ] {
            text.extend_from_slice(part);
            text.push(b'\n');
        }
        let in_headers = request.headers.keys().map(|name| name.as_str().to_owned());
        let in_query = request
            .query
            .iter()
            .map(|(name, _)| name.to_ascii_lowercase());
        let mut amz: Vec<String> = in_headers
            .chain(in_query)
            .filter(|name| name.starts_with("x-amz-"))
            .collect();
        amz.sort();
        amz.dedup();
        for name in amz {
            text.extend_from_slice(name.as_bytes());
            text.push(b':');
            text.extend_from_slice(&value(&name));
            text.push(b'\n');
        }
        if let Some(bucket) = bucket {
            text.extend_from_slice(format!("/{bucket}").as_bytes());
        }
        text.extend_from_slice(request.path.as_bytes());
        let mut signed: Vec<String> = request
            .query
            .iter()
            .filter(|(name, _)| SIGNED.contains(name))
            .map(|(name, value)| match value {
                "" => name.to_owned(),
                value => format!("{name}={value}"),
            })
            .collect();
        signed.sort();
        if !signed.is_empty() {
            text.extend_from_slice(format!("?{}", signed.join("&")).as_bytes());
        }
        text
    }
}

/// Whether `secret` made this signature of a form's policy.
///
/// # Errors
///
/// [`BadSignature::Differs`].
pub(crate) fn verify_policy(
    secret: &Secret,
    policy: &str,
    signature: &str,
) -> Result<(), BadSignature> {
    let key = hmac::Key::new(
        hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        secret.expose().as_bytes(),
    );
    let mine = base64(hmac::sign(&key, policy.as_bytes()).as_ref());
    match is_same(mine.as_bytes(), signature.as_bytes()) {
        true => Ok(()),
        false => Err(BadSignature::Differs),
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// The query example of the page above, with its key, as it was when the bucket was called so.
    #[test]
    fn the_signature_is_the_one_that_aws_documents() {
        let query = "AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620";
        let query = Query::parse(query).expect("a query");
        let mut headers = HeaderMap::new();
        headers.insert(
            "host",
            HeaderValue::from_static("johnsmith.s3.amazonaws.com"),
        );
        let claim = Claim::of_query(&query)
            .expect("well formed")
            .expect("signed");
        let request = Signed {
            method: "GET",
            path: "/photos/puppy.jpg",
            query: &query,
            headers: &headers,
            hosts: &[],
        };
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let verify = |seconds, bucket| {
            let now = OffsetDateTime::from_unix_timestamp(seconds).expect("a time");
            claim.verify(&secret, &request, bucket, now)
        };
        assert_eq!(verify(1_175_139_620, Some("johnsmith")), Ok(()));
        assert_eq!(
            verify(1_175_139_621, Some("johnsmith")),
            Err(BadSignature::Expired)
        );
        assert_eq!(verify(1_175_139_620, None), Err(BadSignature::Differs));
        assert!(Claim::is_in(&query, &headers));
    }
}
