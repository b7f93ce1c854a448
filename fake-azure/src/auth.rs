//! Who is asking: bearer tokens and Shared Key. Shared access signatures have their own file.

use http::header::{AUTHORIZATION, DATE};
use serde_json::Value;
use stand_in::answer::Fail;
use stand_in::wire::{
    base64_encode, base64url_decode, base64url_encode, header, hmac_sha256, parse_http_date,
};

use crate::blob::Call;
use crate::core::{Core, STORAGE_AUDIENCE};

/// Lets the call pass, or says why not.
pub(crate) fn authorise(core: &Core, call: &Call) -> Result<(), Fail> {
    let signed = call.query.value("sig").is_some();
    let outcome = match header(&call.headers, AUTHORIZATION.as_str()) {
        // A client that was redirected and sent its own Authorization along. Azurite takes it.
        Some(_) if signed => Err(Fail::new(
            400,
            "InvalidAuthenticationInfo",
            "Authentication information is not given in the correct format. Check the value of Authorization header.",
        )),
        Some(value) => match value.split_once(' ') {
            Some(("Bearer", token)) => bearer(core, call, token),
            Some(("SharedKey", credentials)) => shared_key(core, call, credentials),
            _ => Err(unauthenticated(core)),
        },
        None if signed => crate::sas::authorise(core, call),
        None => Err(no_authentication(core)),
    };
    if outcome.is_err() {
        core.tally.note(|c| c.refused += 1);
    }
    outcome
}

/// A compact JSON Web Token over `claims`. The signature is a plain HMAC: only this stand-in checks
/// it, and others (Azurite) look at the claims alone.
pub(crate) fn sign_token(key: &[u8], claims: &Value) -> String {
    let head = base64url_encode(r#"{"typ":"JWT","alg":"HS256"}"#);
    let signed = format!("{head}.{}", base64url_encode(claims.to_string()));
    let signature = base64url_encode(hmac_sha256(key, &signed));
    format!("{signed}.{signature}")
}

/// The claims of any well-formed token, without a look at its signature.
pub(crate) fn token_claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (head, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    serde_json::from_slice::<Value>(&base64url_decode(head)?).ok()?;
    serde_json::from_slice(&base64url_decode(claims)?).ok()
}

fn bearer(core: &Core, call: &Call, token: &str) -> Result<(), Fail> {
    if !call.secure {
        return Err(Fail::new(
            403,
            "AuthenticationFailed",
            "Server failed to authenticate the request. Bearer tokens travel over https only.",
        )
        .detail("Authentication scheme Bearer is not supported over http."));
    }
    let serial = check_token(core, token).map_err(|why| {
        Fail::new(
            401,
            "InvalidAuthenticationInfo",
            "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.",
        )
        .detail(why)
        .header("www-authenticate", challenge(core))
    })?;
    core.tally.note(|c| {
        c.bearer_requests += 1;
        *c.tokens_used.entry(serial).or_default() += 1;
    });
    Ok(())
}

fn check_token(core: &Core, token: &str) -> Result<u64, &'static str> {
    let (signed, signature) = token.rsplit_once('.').ok_or("IDX12741: not a JWT")?;
    let signature = base64url_decode(signature).ok_or("IDX12741: not a JWT")?;
    if signature != hmac_sha256(&core.signing_key, signed) {
        return Err("Signature validation failed. The token was not issued by this directory.");
    }
    let claims = token_claims(token).ok_or("IDX12741: not a JWT")?;
    let text = |name: &str| claims[name].as_str().unwrap_or_default();
    let number = |name: &str| claims[name].as_i64().unwrap_or_default();
    let now = core.scene.now().unix_timestamp();
    if text("iss") != core.issuer() {
        return Err("Issuer validation failed.");
    }
    if text("aud").trim_end_matches('/') != STORAGE_AUDIENCE {
        return Err("Audience validation failed. Audience did not match.");
    }
    if now < number("nbf") {
        return Err("Lifetime validation failed. The token is not yet valid.");
    }
    if now >= number("exp") {
        return Err("Lifetime validation failed. The token is expired.");
    }
    let serial = text("uti").parse().unwrap_or_default();
    if serial <= core.directory(|d| d.revoked_through) {
        return Err("The token was revoked.");
    }
    Ok(serial)
}

fn challenge(core: &Core) -> String {
    let host = core.authority_host.get().map_or("", String::as_str);
    format!(
        "Bearer authorization_uri={host}/{}/oauth2/authorize resource_id={STORAGE_AUDIENCE}",
        core.tenant_id
    )
}

fn unauthenticated(core: &Core) -> Fail {
    Fail::new(
        401,
        "InvalidAuthenticationInfo",
        "Authentication information is not given in the correct format. Check the value of Authorization header.",
    )
    .header("www-authenticate", challenge(core))
}

fn no_authentication(core: &Core) -> Fail {
    Fail::new(
        401,
        "NoAuthenticationInformation",
        "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.",
    )
    .header("www-authenticate", challenge(core))
}

/// A refused signature, in the service's words.
pub(crate) fn authentication_failed(detail: impl Into<String>) -> Fail {
    Fail::new(
        403,
        "AuthenticationFailed",
        "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.",
    )
    .detail(detail)
}

fn shared_key(core: &Core, call: &Call, credentials: &str) -> Result<(), Fail> {
    let (account, signature) = credentials
        .split_once(':')
        .ok_or_else(|| unauthenticated(core))?;
    if account != core.account {
        return Err(authentication_failed("The account name does not match."));
    }
    let date = header(&call.headers, "x-ms-date").or(header(&call.headers, DATE.as_str()));
    let date = date
        .and_then(parse_http_date)
        .ok_or_else(|| authentication_failed("Neither x-ms-date nor Date is a valid date."))?;
    // The service takes signatures within 15 minutes of its own clock.
    if (core.scene.now() - date).abs() > time::Duration::minutes(15) {
        return Err(authentication_failed(
            "Request date header too old or too far in the future.",
        ));
    }
    let text = string_to_sign(call, account);
    if signature != base64_encode(hmac_sha256(&core.account_key, &text)) {
        return Err(authentication_failed(format!(
            "The MAC signature found in the HTTP request is not the same as any computed signature. Server used following string to sign: '{text}'."
        )));
    }
    core.tally.note(|c| c.shared_key_requests += 1);
    Ok(())
}

/// <https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key>
fn string_to_sign(call: &Call, account: &str) -> String {
    let mut text = format!("{}\n", call.method);
    for name in STANDARD_HEADERS {
        let value = header(&call.headers, name).unwrap_or_default();
        let value = match *name {
            "content-length" if value == "0" => "",
            "date" if call.headers.contains_key("x-ms-date") => "",
            _ => value,
        };
        text.push_str(value);
        text.push('\n');
    }
    let mut own: Vec<(&str, &str)> = call
        .headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-ms-"))
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default().trim()))
        .collect();
    own.sort_unstable();
    for (name, value) in own {
        text.push_str(&format!("{name}:{value}\n"));
    }
    text.push_str(&format!("/{account}{}", call.raw_path));
    let mut pairs: Vec<(String, &str)> = call
        .query
        .pairs()
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
        .collect();
    pairs.sort_unstable();
    let mut last = None;
    for (name, value) in pairs {
        if last.as_ref() == Some(&name) {
            text.push_str(&format!(",{value}"));
        } else {
            text.push_str(&format!("\n{name}:{value}"));
            last = Some(name);
        }
    }
    text
}

const STANDARD_HEADERS: &[&str] = &[
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];
