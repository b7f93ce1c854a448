//! Signature version 4, in a header, in the query, in a form, and of chunks
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html>).

use attache::secret::Secret;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST};
use sha2::{Digest as _, Sha256};
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};
use zeroize::Zeroizing;

use super::{BadSignature, Query, Signed, encode, folded, hex, hmac_sha256, is_same};

/// How far clocks may differ (<https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html#RESTAuthenticationTimeStamp>).
pub(crate) const MAX_SKEW: time::Duration = time::Duration::minutes(15);

/// Longest life of a presigned URL
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>).
const MAX_EXPIRES: i64 = 7 * 24 * 60 * 60;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What a signature says of itself.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) access_key_id: String,
    /// The rest of the credential: date, region, service, and its end.
    scope: Scope,
    signed_headers: Vec<String>,
    signature: String,
    /// When it was signed.
    pub(crate) at: OffsetDateTime,
    timestamp: String,
    /// Of a presigned URL: how many seconds it is good.
    expires: Option<i64>,
    /// As the payload was signed.
    pub(crate) payload: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Scope {
    date: String,
    /// Any region: it says where a bucket of AWS is, and ours are here.
    region: String,
    service: String,
}

impl Scope {
    fn text(&self) -> String {
        format!(
            "{}/{}/{}/aws4_request",
            self.date, self.region, self.service
        )
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// What signs chunks after the head was good.
#[derive(Clone)]
pub(crate) struct ChunkSigner {
    key: Zeroizing<[u8; 32]>,
    timestamp: String,
    scope: String,
    previous: String,
}

impl Claim {
    /// Of the header `Authorization`; `None` if there is none of this version.
    pub(crate) fn of_header(headers: &HeaderMap) -> Result<Option<Self>, BadSignature> {
        let Some(value) = headers.get(AUTHORIZATION) else {
            return Ok(None);
        };
        let text = value
            .to_str()
            .map_err(|_| BadSignature::Malformed("Authorization is not text"))?;
        let Some(fields) = text.trim().strip_prefix(ALGORITHM) else {
            return Ok(None);
        };
        let field = |name: &str| {
            let mut fields = fields.split(',').map(str::trim);
            fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        let missing = || {
            BadSignature::Malformed(
                "Authorization must have Credential, SignedHeaders and Signature",
            )
        };
        let timestamp = match (text_of(headers, "x-amz-date"), text_of(headers, "date")) {
            (Some(date), _) => date.to_owned(),
            (None, Some(date)) => timestamp_of_date(date)?,
            (None, None) => return Err(BadSignature::Missing("x-amz-date")),
        };
        let (access_key_id, scope) = credential(field("Credential").ok_or_else(missing)?)?;
        Ok(Some(Self {
            access_key_id,
            scope,
            signed_headers: names(field("SignedHeaders").ok_or_else(missing)?)?,
            signature: field("Signature").ok_or_else(missing)?.to_owned(),
            at: parse_timestamp(&timestamp)?,
            timestamp,
            expires: None,
            payload: text_of(headers, "x-amz-content-sha256")
                .ok_or(BadSignature::Missing("x-amz-content-sha256"))?
                .to_owned(),
        }))
    }

    /// Of a presigned URL; `None` if it is none of this version.
    pub(crate) fn of_query(
        query: &Query,
        headers: &HeaderMap,
    ) -> Result<Option<Self>, BadSignature> {
        let field = |name: &str| query.get_any_case(name);
        let Some(algorithm) = field("X-Amz-Algorithm") else {
            return Ok(None);
        };
        if algorithm != ALGORITHM {
            return Err(BadSignature::Malformed(
                "X-Amz-Algorithm must be AWS4-HMAC-SHA256",
            ));
        }
        let missing = || {
            BadSignature::Malformed(
                "a presigned URL must have X-Amz-Credential, X-Amz-Date, X-Amz-Expires, X-Amz-SignedHeaders and X-Amz-Signature",
            )
        };
        let timestamp = field("X-Amz-Date").ok_or_else(missing)?.to_owned();
        let (access_key_id, scope) = credential(field("X-Amz-Credential").ok_or_else(missing)?)?;
        let expires = field("X-Amz-Expires").ok_or_else(missing)?;
        let expires = expires
            .parse()
            .ok()
            .filter(|life| (1..=MAX_EXPIRES).contains(life));
        let signed_headers = names(field("X-Amz-SignedHeaders").ok_or_else(missing)?)?;
        let in_header = signed_headers
            .iter()
            .any(|name| name == "x-amz-content-sha256");
        let payload = field("X-Amz-Content-Sha256")
            .or_else(|| text_of(headers, "x-amz-content-sha256").filter(|_| in_header));
        Ok(Some(Self {
            access_key_id,
            scope,
            signed_headers,
            signature: field("X-Amz-Signature").ok_or_else(missing)?.to_owned(),
            at: parse_timestamp(&timestamp)?,
            timestamp,
            expires: Some(expires.ok_or(BadSignature::Malformed(
                "X-Amz-Expires must be between 1 and 604800 seconds",
            ))?),
            payload: payload.unwrap_or(UNSIGNED).to_owned(),
        }))
    }

    /// Of a form that a browser posts, by the fields that it has; their names are in any case.
    pub(crate) fn of_form<'f>(
        field: impl Fn(&str) -> Option<&'f str>,
    ) -> Result<Option<Self>, BadSignature> {
        let Some(algorithm) = field("x-amz-algorithm") else {
            return Ok(None);
        };
        if algorithm != ALGORITHM {
            return Err(BadSignature::Malformed(
                "x-amz-algorithm must be AWS4-HMAC-SHA256",
            ));
        }
        let missing = || {
            BadSignature::Malformed(
                "the form must have policy, x-amz-credential, x-amz-date and x-amz-signature",
            )
        };
        let timestamp = field("x-amz-date").ok_or_else(missing)?.to_owned();
        let (access_key_id, scope) = credential(field("x-amz-credential").ok_or_else(missing)?)?;
        Ok(Some(Self {
            access_key_id,
            scope,
            signed_headers: Vec::new(),
            signature: field("x-amz-signature").ok_or_else(missing)?.to_owned(),
            at: parse_timestamp(&timestamp)?,
            timestamp,
            expires: None,
            payload: String::new(),
        }))
    }

    /// When a presigned URL stops to be good.
    pub(crate) fn good_until(&self) -> Option<OffsetDateTime> {
        Some(self.at + time::Duration::seconds(self.expires?))
    }

    /// Whether `secret` made this signature for this request; what signs its chunks.
    ///
    /// # Errors
    ///
    /// Why not. A signature that differs takes as long as one that does not.
    pub(crate) fn verify(
        &self,
        secret: &Secret,
        request: &Signed<'_>,
        now: OffsetDateTime,
    ) -> Result<ChunkSigner, BadSignature> {
        self.in_time(now)?;
        if !self.signed_headers.iter().any(|name| name == "host") {
            return Err(BadSignature::Missing("host among the signed headers"));
        }
        self.covers(request.headers)?;
        let key = self.signing_key(secret);
        let mut good = false;
        for host in request.hosts {
            let canonical = self.canonical(request, host)?;
            let mine = hex(hmac_sha256(
                &*key,
                self.string_to_sign(&canonical).as_bytes(),
            ));
            good |= is_same(mine.as_bytes(), self.signature.as_bytes());
        }
        match good {
            true => Ok(self.chunks(key)),
            false => Err(BadSignature::Differs),
        }
    }

    /// Whether `secret` signed this policy of a form.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(crate) fn verify_policy(&self, secret: &Secret, policy: &str) -> Result<(), BadSignature> {
        let key = self.signing_key(secret);
        let mine = hex(hmac_sha256(&*key, policy.as_bytes()));
        match is_same(mine.as_bytes(), self.signature.as_bytes()) {
            true => Ok(()),
            false => Err(BadSignature::Differs),
        }
    }

    fn chunks(&self, key: Zeroizing<[u8; 32]>) -> ChunkSigner {
        ChunkSigner {
            key,
            timestamp: self.timestamp.clone(),
            scope: self.scope.text(),
            previous: self.signature.clone(),
        }
    }

    /// Headers that say what is to be done must be signed, all of them: whoever has a URL for one object could otherwise add one that
    /// names another (`x-amz-copy-source`).
    fn covers(&self, headers: &HeaderMap) -> Result<(), BadSignature> {
        let unsigned = headers.keys().map(http::HeaderName::as_str).any(|name| {
            // Of a URL the hash of the payload counts only where it is signed.
            let is_free = self.expires.is_some() && name == "x-amz-content-sha256";
            let is_ours = name.starts_with("x-amz-") && !is_free;
            is_ours && !self.signed_headers.iter().any(|signed| signed == name)
        });
        match unsigned {
            true => Err(BadSignature::Unsigned),
            false => Ok(()),
        }
    }

    fn in_time(&self, now: OffsetDateTime) -> Result<(), BadSignature> {
        let age = now - self.at;
        match self.expires {
            // One that was signed by a clock that is ahead is not good yet.
            _ if age < -MAX_SKEW => Err(BadSignature::Skewed),
            Some(life) if age > time::Duration::seconds(life) => Err(BadSignature::Expired),
            None if age > MAX_SKEW => Err(BadSignature::Skewed),
            _ => Ok(()),
        }
    }

    fn signing_key(&self, secret: &Secret) -> Zeroizing<[u8; 32]> {
        let front = Zeroizing::new(format!("AWS4{}", secret.expose()));
        let date = hmac_sha256(front.as_bytes(), self.scope.date.as_bytes());
        let region = hmac_sha256(&date, self.scope.region.as_bytes());
        let service = hmac_sha256(&region, self.scope.service.as_bytes());
        Zeroizing::new(hmac_sha256(&service, b"aws4_request"))
    }

    fn string_to_sign(&self, canonical: &[u8]) -> String {
        let scope = self.scope.text();
        let digest = hex(Sha256::digest(canonical));
        format!("{ALGORITHM}\n{}\n{scope}\n{digest}", self.timestamp)
    }

    /// The request as it is signed, under one name of ours.
    fn canonical(&self, request: &Signed<'_>, host: &str) -> Result<Vec<u8>, BadSignature> {
        let mut pairs: Vec<(String, String)> = request
            .query
            .iter()
            .filter(|(name, _)| {
                self.expires.is_none() || !name.eq_ignore_ascii_case("X-Amz-Signature")
            })
            .map(|(name, value)| (encode(name), encode(value)))
            .collect();
        pairs.sort();
        let query: Vec<String> = pairs
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut text = Vec::with_capacity(512);
        let mut line = |part: &[u8]| {
            text.extend_from_slice(part);
            text.push(b'\n');
        };
        line(request.method.as_bytes());
        line(request.path.as_bytes());
        line(query.join("&").as_bytes());
        for name in &self.signed_headers {
            let value = match name.as_str() {
                "host" => host.as_bytes().to_vec(),
                _ => folded(request.headers, name)
                    .ok_or_else(|| BadSignature::NotSent(name.clone()))?,
            };
            line(&[name.as_bytes(), b":", &value].concat());
        }
        line(b"");
        line(self.signed_headers.join(";").as_bytes());
        text.extend_from_slice(self.payload.as_bytes());
        Ok(text)
    }
}

impl ChunkSigner {
    /// Whether `signature` is that of the next chunk, whose bytes have this SHA-256.
    ///
    /// # Errors
    ///
    /// [`BadSignature::Differs`].
    pub(crate) fn chunk(&mut self, digest: [u8; 32], signature: &str) -> Result<(), BadSignature> {
        let text = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{EMPTY}\n{}",
            self.timestamp,
            self.scope,
            self.previous,
            hex(digest)
        );
        self.check(&text, signature)
    }

    /// Whether `signature` is that of the trailer, whose lines (`name:value`, each with its end) are these.
    ///
    /// # Errors
    ///
    /// [`BadSignature::Differs`].
    pub(crate) fn trailer(&mut self, lines: &[u8], signature: &str) -> Result<(), BadSignature> {
        let text = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{}\n{}",
            self.timestamp,
            self.scope,
            self.previous,
            hex(Sha256::digest(lines))
        );
        self.check(&text, signature)
    }

    fn check(&mut self, text: &str, signature: &str) -> Result<(), BadSignature> {
        let mine = hex(hmac_sha256(&*self.key, text.as_bytes()));
        let good = is_same(mine.as_bytes(), signature.as_bytes());
        self.previous = mine;
        match good {
            true => Ok(()),
            false => Err(BadSignature::Differs),
        }
    }
}

impl std::fmt::Debug for ChunkSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChunkSigner([redacted])")
    }
}

/// A payload that is not signed.
pub(crate) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// SHA-256 of nothing.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn text_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// `ID/20260101/us-east-1/s3/aws4_request`
fn credential(text: &str) -> Result<(String, Scope), BadSignature> {
    let wrong =
        BadSignature::Malformed("Credential must be ACCESS_KEY_ID/YYYYMMDD/REGION/s3/aws4_request");
    let parts: Vec<&str> = text.split('/').collect();
    let [id, date, region, service, "aws4_request"] = parts.as_slice() else {
        return Err(wrong);
    };
    if id.is_empty() || date.len() != 8 || *service != "s3" {
        return Err(wrong);
    }
    let scope = Scope {
        date: (*date).to_owned(),
        region: (*region).to_owned(),
        service: (*service).to_owned(),
    };
    Ok(((*id).to_owned(), scope))
}

/// Most headers that one signs; hyper takes no more than a hundred.
const MAX_SIGNED: usize = 100;

fn names(text: &str) -> Result<Vec<String>, BadSignature> {
    let names: Vec<String> = text.split(';').map(str::to_owned).collect();
    let good = names.len() <= MAX_SIGNED
        && names.windows(2).all(|pair| pair[0] < pair[1])
        && names
            .iter()
            .all(|name| !name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase()))
        && names.iter().any(|name| name == HOST.as_str());
    match good {
        true => Ok(names),
        false => Err(BadSignature::Malformed(
            "SignedHeaders must be names in lower case, in order, with \"host\" among them",
        )),
    }
}

fn parse_timestamp(text: &str) -> Result<OffsetDateTime, BadSignature> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    PrimitiveDateTime::parse(text, format)
        .map(PrimitiveDateTime::assume_utc)
        .map_err(|_| BadSignature::Malformed("the date must look like 20260101T120000Z"))
}

/// A date of HTTP, as it is signed.
fn timestamp_of_date(date: &str) -> Result<String, BadSignature> {
    let at = httpdate::parse_http_date(date)
        .map_err(|_| BadSignature::Malformed("Date is not a date"))?;
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    OffsetDateTime::from(at)
        .format(format)
        .map_err(|_| BadSignature::Malformed("Date is not a date"))
}

#[cfg(test)]
mod any;
#[cfg(test)]
mod tests;
