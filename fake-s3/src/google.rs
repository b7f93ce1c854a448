//! Google's proofs: bearer tokens, and `GOOG4-RSA-SHA256` in URLs
//! (<https://cloud.google.com/storage/docs/access-control/signed-urls>).

use sha2::{Digest as _, Sha256};
use stand_in::answer::Fail;
use stand_in::wire::hex;
use stand_in::xml;
use time::Duration;

use crate::account::EMAIL;
use crate::core::Core;
use crate::service::Call;
use crate::signature::{
    Head, Payload, canonical_query, canonical_request, parse_date, query_value,
};

/// Over TLS only.
pub(crate) fn check_bearer(core: &Core, call: &Call) -> Result<Payload, Fail> {
    let text = call.header("authorization").unwrap_or_default();
    let token = text.strip_prefix("Bearer ").unwrap_or_default();
    if !call.secure || !core.account.is_good(token, core.scene.now()) {
        return Err(
            Fail::new(401, "AuthenticationRequired", "Authentication required.").header(
                "www-authenticate",
                "Bearer realm=\"https://accounts.google.com/\"",
            ),
        );
    }
    core.tally.note(|c| c.bearer_requests += 1);
    Ok(Payload::Unsigned)
}

/// A signed URL.
pub(crate) fn check_query(core: &Core, head: Head<'_>) -> Result<Payload, Fail> {
    let field = |name: &str| query_value(head.raw_query, name).ok_or_else(|| malformed(name));
    let algorithm = field("X-Goog-Algorithm")?;
    let credential = field("X-Goog-Credential")?;
    let date = field("X-Goog-Date")?;
    let expires = field("X-Goog-Expires")?;
    let signed = field("X-Goog-SignedHeaders")?;
    let signature = field("X-Goog-Signature")?;
    if algorithm != ALGORITHM {
        return Err(malformed("X-Goog-Algorithm"));
    }
    let (email, scope) = credential
        .split_once('/')
        .ok_or_else(|| malformed("X-Goog-Credential"))?;
    let of_day = date.get(..8).unwrap_or_default();
    let mut fields = scope.split('/');
    let day = fields.next();
    let _location = fields.next();
    if email != EMAIL || day != Some(of_day) || !fields.eq(["storage", "goog4_request"]) {
        return Err(malformed("X-Goog-Credential"));
    }
    let at = parse_date(&date).ok_or_else(|| malformed("X-Goog-Date"))?;
    let seconds: i64 = expires.parse().map_err(|_| malformed("X-Goog-Expires"))?;
    // Seven days, as at Amazon.
    if !(1..=604_800).contains(&seconds) {
        return Err(malformed("X-Goog-Expires"));
    }
    let now = core.scene.now();
    if at - now > Duration::minutes(15) {
        return Err(Fail::new(403, "AccessDenied", "Request is not yet valid"));
    }
    if now > at + Duration::seconds(seconds) {
        return Err(Fail::new(400, "ExpiredToken", "Invalid argument.")
            .detail(xml::element("Details", "The provided token has expired.")));
    }
    if !signed.split(';').any(|name| name == "host") {
        return Err(malformed("X-Goog-SignedHeaders"));
    }
    let query = canonical_query(head.raw_query, Some("X-Goog-Signature"));
    let canonical = canonical_request(head, query, &signed, "UNSIGNED-PAYLOAD");
    let to_sign = format!(
        "{ALGORITHM}\n{date}\n{scope}\n{}",
        hex(Sha256::digest(&canonical))
    );
    let signature = unhex(&signature).unwrap_or_default();
    if !core.account.has_signed(to_sign.as_bytes(), &signature) {
        return Err(
            Fail::new(403, "SignatureDoesNotMatch", "Access denied.").detail(
                xml::element("StringToSign", &to_sign)
                    + &xml::element("CanonicalRequest", &String::from_utf8_lossy(&canonical)),
            ),
        );
    }
    core.tally.note(|c| c.presigned_requests += 1);
    Ok(Payload::Unsigned)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

fn malformed(name: &str) -> Fail {
    Fail::new(400, "AuthenticationRequired", "Invalid argument.").detail(xml::element(
        "Details",
        &format!("The value of {name} is missing or not valid."),
    ))
}

const ALGORITHM: &str = "GOOG4-RSA-SHA256";
