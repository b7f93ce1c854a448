//! For which day, region and service a signature is good, and whether it is right.

use sha2::{Digest as _, Sha256};
use stand_in::answer::Fail;
use stand_in::wire::{hex, hmac_sha256};
use stand_in::xml;

use crate::signature::{ALGORITHM, Signer};

/// `key/date/region/service/aws4_request`.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    key: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    end: &'a str,
}

/// What is wrong with a scope.
pub(super) enum Problem {
    Key,
    Other(String, bool),
}

impl Problem {
    pub(super) fn into_fail(self, code: &str, region: &str) -> Fail {
        match self {
            Self::Key => Fail::new(
                403,
                "InvalidAccessKeyId",
                "The AWS Access Key Id you provided does not exist in our records.",
            ),
            Self::Other(message, about_region) => {
                let fail = Fail::new(400, code, &message);
                if about_region {
                    return fail
                        .detail(xml::element("Region", region))
                        .header("x-amz-bucket-region", region);
                }
                fail
            }
        }
    }
}

impl<'a> Scope<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        // A key id may hold slashes, the rest may not.
        let mut fields = text.rsplitn(5, '/');
        let mut next = || fields.next();
        let (end, service, region, date, key) = (next()?, next()?, next()?, next()?, next()?);
        Some(Self {
            key,
            date,
            region,
            service,
            end,
        })
    }

    pub(super) fn check(&self, signer: Signer<'_>, date: &str) -> Result<(), Problem> {
        let wrong = |what: &str, is: &str, wanted: &str| {
            Problem::Other(
                format!(
                    "The authorization header is malformed; the {what} '{is}' is wrong; expecting '{wanted}'"
                ),
                what == "region",
            )
        };
        if self.key != signer.access_key_id {
            return Err(Problem::Key);
        }
        if self.region != signer.region {
            return Err(wrong("region", self.region, signer.region));
        }
        if self.service != "s3" {
            return Err(wrong("service", self.service, "s3"));
        }
        if self.end != "aws4_request" {
            return Err(wrong("terminator", self.end, "aws4_request"));
        }
        if Some(self.date) != date.get(..8) {
            return Err(wrong("date", self.date, date.get(..8).unwrap_or_default()));
        }
        Ok(())
    }
}

pub(super) fn compare(
    scope: &Scope<'_>,
    signer: Signer<'_>,
    date: &str,
    canonical: &[u8],
    signature: &str,
) -> Result<(), Fail> {
    let to_sign = format!(
        "{ALGORITHM}\n{date}\n{}/{}/{}/{}\n{}",
        scope.date,
        scope.region,
        scope.service,
        scope.end,
        hex(Sha256::digest(canonical))
    );
    let secret = format!("AWS4{}", signer.secret_access_key);
    let key = [scope.date, scope.region, scope.service, scope.end]
        .iter()
        .fold(secret.into_bytes(), |key, part| hmac_sha256(&key, part));
    if hex(hmac_sha256(&key, &to_sign)) == signature {
        return Ok(());
    }
    Err(Fail::new(
        403,
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    )
    .detail(
        xml::element("StringToSign", &to_sign)
            + &xml::element("CanonicalRequest", &String::from_utf8_lossy(canonical)),
    ))
}
