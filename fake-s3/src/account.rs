//! A service account of Google: its key, and the tokens that it gets for assertions
//! (<https://developers.google.com/identity/protocols/oauth2/service-account#httprest>).

use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use stand_in::answer::{Answer, Stop};
use stand_in::wire::{Query, base64url_decode};
use time::OffsetDateTime;

use crate::core::Core;
use crate::service::TOKEN_PATH;

/// Its name, its key, and which of its tokens still count.
#[derive(Debug)]
pub(crate) struct ServiceAccount {
    public_key: Vec<u8>,
    tokens: Mutex<Tokens>,
}

#[derive(Debug, Default)]
struct Tokens {
    issued: Vec<OffsetDateTime>,
    revoked: usize,
    /// `https://127.0.0.1:PORT` of the stand-in, which assertions name.
    origin: String,
}

impl ServiceAccount {
    pub(crate) fn new() -> Self {
        let der = PrivatePkcs8KeyDer::from_pem_slice(KEY.as_bytes())
            .expect("the key in this crate is PEM");
        let pair =
            RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).expect("the key in this crate is RSA");
        Self {
            public_key: pair.public_key().as_ref().to_vec(),
            tokens: Mutex::default(),
        }
    }

    /// The file that the owner of the account downloads.
    pub(crate) fn json(&self, origin: &str) -> String {
        json!({
            "type": "service_account",
            "project_id": "acme",
            "private_key_id": "fa5e",
            "private_key": KEY,
            "client_email": EMAIL,
            "client_id": "100000000000000000001",
            "token_uri": format!("{origin}{TOKEN_PATH}"),
            "gcs_base_url": origin,
            "universe_domain": "googleapis.com",
        })
        .to_string()
    }

    /// Whether this is a signature of the account, RSA with SHA-256.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public_key)
            .verify(message, signature)
            .is_ok()
    }

    fn tokens<T>(&self, with: impl FnOnce(&mut Tokens) -> T) -> T {
        with(&mut self.tokens.lock().expect("no holder of this lock panics"))
    }

    pub(crate) fn set_origin(&self, origin: String) {
        self.tokens(|tokens| tokens.origin = origin);
    }

    pub(crate) fn issue(&self, until: OffsetDateTime) -> String {
        self.tokens(|tokens| {
            tokens.issued.push(until);
            format!("ya29.fake-{}", tokens.issued.len())
        })
    }

    /// Whether a token was given out, is not revoked, and is not over.
    pub(crate) fn is_good(&self, token: &str, now: OffsetDateTime) -> bool {
        let serial: Option<usize> = token
            .strip_prefix("ya29.fake-")
            .and_then(|text| text.parse().ok());
        self.tokens(|tokens| {
            let Some(serial) = serial.filter(|serial| *serial > tokens.revoked) else {
                return false;
            };
            tokens
                .issued
                .get(serial - 1)
                .is_some_and(|until| *until > now)
        })
    }

    pub(crate) fn revoke(&self) {
        self.tokens(|tokens| tokens.revoked = tokens.issued.len());
    }
}

/// Answers one call for a token.
pub(crate) async fn token(core: &Arc<Core>, body: Incoming) -> Result<Answer, Stop> {
    core.tally.note(|c| c.token_requests += 1);
    let body = Limited::new(body, 64 * 1024)
        .collect()
        .await
        .map_err(|_| Stop::Disconnect)?;
    let form = Query::parse(&String::from_utf8_lossy(&body.to_bytes()));
    let refusal = |why: &str| {
        let value = json!({"error": "invalid_grant", "error_description": why});
        stand_in::answer::json(400, &value)
    };
    if form.value("grant_type") != Some("urn:ietf:params:oauth:grant-type:jwt-bearer") {
        return Ok(refusal("Invalid grant_type"));
    }
    if let Err(why) = check_assertion(core, form.or_empty("assertion")) {
        return Ok(refusal(why));
    }
    let lifetime = core.scene.faults(|f| f.token_lifetime);
    let token = core.account.issue(OffsetDateTime::now_utc() + lifetime);
    core.tally.note(|c| c.tokens_issued += 1);
    Ok(stand_in::answer::json(
        200,
        &json!({"access_token": token, "expires_in": lifetime.as_secs(), "token_type": "Bearer"}),
    ))
}

fn check_assertion(core: &Core, assertion: &str) -> Result<(), &'static str> {
    let (signed, signature) = assertion
        .rsplit_once('.')
        .ok_or("Invalid JWT: no signature")?;
    let (head, claims) = signed.split_once('.').ok_or("Invalid JWT: no claims")?;
    let read =
        |text: &str| -> Option<Value> { serde_json::from_slice(&base64url_decode(text)?).ok() };
    let head = read(head).ok_or("Invalid JWT header")?;
    let claims = read(claims).ok_or("Invalid JWT claims")?;
    if head["alg"] != "RS256" {
        return Err("Invalid JWT: algorithm");
    }
    let signature = base64url_decode(signature).ok_or("Invalid JWT Signature.")?;
    if !core.account.has_signed(signed.as_bytes(), &signature) {
        return Err("Invalid JWT Signature.");
    }
    let origin = core.account.tokens(|tokens| tokens.origin.clone());
    if claims["iss"] != EMAIL || claims["aud"] != format!("{origin}{TOKEN_PATH}") {
        return Err("Invalid JWT: iss or aud");
    }
    if !claims["scope"]
        .as_str()
        .is_some_and(|scope| scope.contains("devstorage") || scope.contains("cloud-platform"))
    {
        return Err("Invalid JWT: scope");
    }
    let now = core.scene.now().unix_timestamp();
    let (Some(from), Some(to)) = (claims["iat"].as_i64(), claims["exp"].as_i64()) else {
        return Err("Invalid JWT: iat and exp");
    };
    // An hour at most, and clocks that are not too far apart.
    if to - from > 3600 || to < now || from > now + 300 {
        return Err(
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.",
        );
    }
    Ok(())
}

/// Whose account it is.
pub(crate) const EMAIL: &str = "attache@acme.iam.gserviceaccount.com";

/// Made for this crate, and good for nothing but it: RSA keys take seconds to make in a debug build.
const KEY: &str = include_str!("service_account.pem");
