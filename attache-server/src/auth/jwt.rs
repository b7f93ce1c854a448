//! JSON Web Tokens that somebody else signs (RFC 7519), with the rules of RFC 8725: the algorithm is the key's, never
//! the token's word; issuer, audience and end are required.

use std::fmt;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use attache::access::{OwnerPattern, Owners, Scope, Scopes};
use attache::config::auth::JwtConfig;
use attache::lease::{Granted, Lease};
use attache::{Error, ErrorKind, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::ErrorKind as JwtErrorKind;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse,
};
use jsonwebtoken::signature::{Error as SignatureError, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Validation};
use ring::signature as ring_signature;
use serde::Deserialize;

use super::Caller;
use super::tokens::MAX_OWNERS;
use crate::client;

/// How long published keys are kept. Issuers publish a new key well before they sign with it
/// (OpenID Connect Core section 10.1.1).
const KEYS_LIVE: Duration = Duration::from_secs(10 * 60);

/// A token with a key that is not known makes us look again, but not more often than this.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Largest key set.
const MAX_KEYS_BYTES: usize = 256 * 1024;

/// Longest token.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Whose tokens are believed.
pub(super) struct Issuer {
    keys: Keys,
    issuer: String,
    audience: String,
    leeway: Duration,
}

enum Keys {
    Fixed(Arc<KeySet>),
    Published(Box<Published>),
}

/// Public keys, each with the one algorithm it may be used with.
struct KeySet(Vec<Key>);

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// What we read of a token. Everything else in it is not ours.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    /// One issuer, compared when the token was checked; a list that ours is in is not the same.
    #[serde(rename = "iss")]
    _issuer: String,
    /// Words with a space between (RFC 8693 section 4.2), or a list of them.
    #[serde(default)]
    scope: Words,
    /// The same by another name (Entra ID, Okta); a token may have both.
    #[serde(default)]
    scp: Words,
    /// Patterns of owners; none if it is missing.
    #[serde(default)]
    owner: Words,
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Words {
    Text(String),
    List(Vec<String>),
    #[default]
    None,
}

impl Words {
    fn iter(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Self::Text(text) => Box::new(text.split_whitespace()),
            Self::List(list) => Box::new(list.iter().map(String::as_str)),
            Self::None => Box::new(std::iter::empty()),
        }
    }
}

impl Issuer {
    /// `None` if no tokens are believed at all.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] if the key set cannot be understood.
    pub(super) fn new(config: &JwtConfig) -> Result<Option<Self>> {
        let (Some(issuer), Some(audience)) = (&config.issuer, &config.audience) else {
            return Ok(None);
        };
        let keys = match (&config.jwks, &config.jwks_url) {
            (Some(text), _) => {
                let keys = KeySet::read(text.as_bytes()).map_err(|what| {
                    Error::new(
                        ErrorKind::Misconfigured,
                        format!("auth.jwt.jwks_file: {what}"),
                    )
                })?;
                Keys::Fixed(Arc::new(keys))
            }
            (None, Some(url)) => {
                let url: http::Uri = url.parse().map_err(|_| {
                    Error::new(ErrorKind::Misconfigured, "auth.jwt.jwks_url is not a URL")
                })?;
                let client = client::Client::new()?;
                Keys::Published(Box::new(Published::new(client, url)))
            }
            (None, None) => return Ok(None),
        };
        use_ring();
        Ok(Some(Self {
            keys,
            issuer: issuer.clone(),
            audience: audience.clone(),
            leeway: config.leeway,
        }))
    }

    /// Whose token this is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`]; [`ErrorKind::UpstreamUnavailable`] if the keys cannot be had.
    pub(super) async fn check(&self, token: &str) -> Result<Caller> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(refused("it is too long"));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| super::unknown())?;
        check_head(token, header.typ.as_deref())?;
        let id = header.kid.as_deref();
        let keys = self.keys_for(id).await?;
        let key = keys
            .find(id)
            .ok_or_else(|| refused("its key is not among the issuer's"))?;
        // The key says which algorithm; a token that says another is not read.
        let mut rules = Validation::new(key.algorithm);
        rules.leeway = self.leeway.as_secs();
        rules.validate_nbf = true;
        rules.set_issuer(&[&self.issuer]);
        rules.set_audience(&[&self.audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let claims = jsonwebtoken::decode::<Claims>(token, &key.key, &rules)
            .map_err(|error| {
                refused(match error.kind() {
                    JwtErrorKind::ExpiredSignature => "it has expired",
                    JwtErrorKind::ImmatureSignature => "it is not valid yet",
                    JwtErrorKind::InvalidIssuer => "its issuer is not auth.jwt.issuer",
                    JwtErrorKind::InvalidAudience => "its audience is not auth.jwt.audience",
                    JwtErrorKind::InvalidAlgorithm => "its algorithm is not its key's",
                    JwtErrorKind::MissingRequiredClaim(_) => "it needs exp, iss, aud and sub",
                    JwtErrorKind::InvalidSignature => "its signature is wrong",
                    _ => "it cannot be read",
                })
            })?
            .claims;
        // Words of other services are none of our business.
        let scopes: Scopes = claims
            .scope
            .iter()
            .chain(claims.scp.iter())
            .filter_map(|word| word.parse::<Scope>().ok())
            .collect();
        let owners: Result<Owners> = claims
            .owner
            .iter()
            .map(str::parse::<OwnerPattern>)
            .collect();
        let owners = owners.map_err(|_| refused("its \"owner\" is not a pattern of owners"))?;
        if owners.patterns().len() > MAX_OWNERS {
            return Err(refused("it has too many patterns of owners"));
        }
        // Cut or cleaned, two subjects could become one, and share a rate and idempotency keys.
        let subject = claims.sub;
        if subject.is_empty()
            || subject.len() > MAX_SUBJECT
            || subject.chars().any(char::is_control)
        {
            return Err(refused(
                "its subject is empty, too long, or holds control characters",
            ));
        }
        Ok(Caller {
            name: format!("jwt:{subject}").into(),
            scopes,
            owners,
        })
    }

    async fn keys_for(&self, id: Option<&str>) -> Result<Arc<KeySet>> {
        match &self.keys {
            Keys::Fixed(keys) => Ok(keys.clone()),
            Keys::Published(published) => published.keys_for(id).await,
        }
    }
}

/// What the head of a token must not say.
///
/// # Errors
///
/// [`ErrorKind::Unauthorized`].
fn check_head(token: &str, kind: Option<&str>) -> Result<()> {
    // "application/" may be left out (RFC 7515 section 4.1.9); RFC 9068 section 2.1 has the second.
    let kind = kind.map(|kind| kind.trim_start_matches("application/").to_ascii_lowercase());
    if kind.is_some_and(|kind| kind != "jwt" && kind != "at+jwt") {
        return Err(refused("its \"typ\" is neither JWT nor at+jwt"));
    }
    // Extensions that must be understood, of which we understand none (RFC 7515 section 4.1.11).
    let head = token.split('.').next().unwrap_or_default();
    let head = URL_SAFE_NO_PAD.decode(head).map_err(|_| super::unknown())?;
    let head: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&head).map_err(|_| super::unknown())?;
    match head.contains_key("crit") {
        true => Err(refused(
            "its \"crit\" names extensions that are not understood",
        )),
        false => Ok(()),
    }
}

/// Longest subject, in bytes; OpenID Connect Core section 2 allows 255 characters.
const MAX_SUBJECT: usize = 255;

/// Keys at an address.
struct Published {
    lease: Lease<Arc<KeySet>>,
    client: client::Client,
    url: http::Uri,
    /// When it was looked beyond the lease, and what was found.
    looked_again: Mutex<Option<Instant>>,
    newest: ArcSwapOption<(Instant, Arc<KeySet>)>,
}

impl Published {
    fn new(client: client::Client, url: http::Uri) -> Self {
        let fetch = {
            let (client, url) = (client.clone(), url.clone());
            move || {
                let (client, url) = (client.clone(), url.clone());
                async move {
                    let value = fetch(&client, &url).await?;
                    Ok(Granted {
                        value,
                        life: KEYS_LIVE,
                    })
                }
            }
        };
        Self {
            lease: Lease::new("jwks", fetch),
            client,
            url,
            looked_again: Mutex::new(None),
            newest: ArcSwapOption::empty(),
        }
    }

    async fn keys_for(&self, id: Option<&str>) -> Result<Arc<KeySet>> {
        let held = self.lease.get(Duration::ZERO).await?;
        let held = held.value();
        if held.find(id).is_some() {
            return Ok(held.clone());
        }
        if let Some(newest) = self.newest() {
            if newest.find(id).is_some() || !self.may_look_again() {
                return Ok(newest);
            }
        } else if !self.may_look_again() {
            return Ok(held.clone());
        }
        // Whatever was fetched well is kept, whoever's token led to it: somebody who sends tokens with made-up keys uses up
        // the looks, and must not keep a new key from being learned by that. The keys of the lease stay, too.
        let fresh = fetch(&self.client, &self.url).await?;
        self.newest
            .store(Some(Arc::new((Instant::now(), fresh.clone()))));
        Ok(fresh)
    }

    /// What was found beyond the lease; for as long as a lease would keep it.
    fn newest(&self) -> Option<Arc<KeySet>> {
        let newest = self.newest.load();
        let (at, keys) = &**newest.as_ref()?;
        (at.elapsed() < KEYS_LIVE).then(|| keys.clone())
    }

    fn may_look_again(&self) -> bool {
        let mut last = self
            .looked_again
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if last.is_some_and(|last| now < last + LOOK_AGAIN) {
            return false;
        }
        *last = Some(now);
        true
    }
}

async fn fetch(client: &client::Client, url: &http::Uri) -> Result<Arc<KeySet>> {
    let wrong = |what: String| {
        Error::new(
            ErrorKind::UpstreamUnavailable,
            format!("cannot fetch the keys at auth.jwt.jwks_url: {what}"),
        )
        .retry_after(Duration::from_secs(5))
    };
    let request = http::Request::get(url.clone());
    let answer = client
        .send(request, FETCH_TIMEOUT, MAX_KEYS_BYTES)
        .await
        .map_err(|error| wrong(error.to_string()))?;
    if answer.status() != http::StatusCode::OK {
        return Err(wrong(format!(
            "it responded with {}",
            answer.status().as_u16()
        )));
    }
    KeySet::read(answer.body()).map(Arc::new).map_err(wrong)
}

/// How long the issuer may take to answer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

impl KeySet {
    /// Keys that we have no use for are left out: an issuer may publish more than signing keys.
    fn read(json: &[u8]) -> Result<Self, String> {
        let set: JwkSet = serde_json::from_slice(json)
            .map_err(|error| format!("not a JSON Web Key Set (RFC 7517): {error}"))?;
        let keys: Vec<Key> = set.keys.iter().filter_map(Key::read).collect();
        match keys.is_empty() {
            true => Err("it has no key for EdDSA (Ed25519), ES256 or RS256".to_owned()),
            false => Ok(Self(keys)),
        }
    }

    /// A token that names no key is of the only one, if there is only one.
    fn find(&self, id: Option<&str>) -> Option<&Key> {
        match id {
            Some(id) => self.0.iter().find(|key| key.id.as_deref() == Some(id)),
            None => match self.0.as_slice() {
                [only] => Some(only),
                _ => None,
            },
        }
    }
}

impl Key {
    fn read(jwk: &Jwk) -> Option<Self> {
        if matches!(&jwk.common.public_key_use, Some(what) if *what != PublicKeyUse::Signature) {
            return None;
        }
        // A shared secret (kty "oct") is not here: whoever can check such a token can make one.
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                Algorithm::EdDSA
            }
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                Algorithm::ES256
            }
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            _ => return None,
        };
        let said = match algorithm {
            Algorithm::EdDSA => KeyAlgorithm::EdDSA,
            Algorithm::ES256 => KeyAlgorithm::ES256,
            _ => KeyAlgorithm::RS256,
        };
        if jwk.common.key_algorithm.is_some_and(|own| own != said) {
            return None;
        }
        Some(Self {
            id: jwk.common.key_id.clone(),
            algorithm,
            key: DecodingKey::from_jwk(jwk).ok()?,
        })
    }
}

fn refused(what: &str) -> Error {
    Error::new(
        ErrorKind::Unauthorized,
        format!("this token is refused: {what}"),
    )
}

/// The cryptography below the `jsonwebtoken` crate is ring, which TLS uses anyway; the crate's own choices would bring
/// a second library, one of them with an open advisory (RUSTSEC-2023-0071).
fn use_ring() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |_, _| Err(JwtErrorKind::InvalidAlgorithm.into()),
        verifier_factory: |algorithm, key| {
            Ok(Box::new(RingVerifier {
                algorithm: *algorithm,
                key: key.clone(),
            }))
        },
        key_utils: KeyUtils::new_unimplemented(),
    };
    static ONCE: Once = Once::new();
    // Whoever installed one before us has one that verifies.
    ONCE.call_once(|| {
        let _ = PROVIDER.install_default();
    });
}

struct RingVerifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(
        &self,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> std::result::Result<(), SignatureError> {
        let whole = |method: &'static dyn ring_signature::VerificationAlgorithm, key: &[u8]| {
            ring_signature::UnparsedPublicKey::new(method, key).verify(message, signature)
        };
        let outcome = match (self.algorithm, self.key.kind()) {
            (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(key)) => {
                whole(&ring_signature::ED25519, key)
            }
            (Algorithm::ES256, DecodingKeyKind::SecretOrDer(key)) => {
                whole(&ring_signature::ECDSA_P256_SHA256_FIXED, key)
            }
            (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                ring_signature::RsaPublicKeyComponents { n, e }.verify(
                    &ring_signature::RSA_PKCS1_2048_8192_SHA256,
                    message,
                    signature,
                )
            }
            _ => return Err(SignatureError::new()),
        };
        outcome.map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn key(id: &str) -> serde_json::Value {
        // Any 32 bytes: nothing is verified here.
        let x = URL_SAFE_NO_PAD.encode([7; 32]);
        serde_json::json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "alg": "EdDSA", "x": x})
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn made_up_keys_do_not_keep_a_new_key_from_being_learned() {
        use_ring();
        let issuer = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/keys", issuer.local_addr().expect("an address"));
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        std::thread::spawn(move || {
            for stream in issuer.incoming() {
                let mut stream = stream.expect("a connection");
                let _ = stream.read(&mut [0; 4096]);
                let keys = match counted.fetch_add(1, Ordering::Relaxed) {
                    0 => vec![key("old")],
                    _ => vec![key("old"), key("new")],
                };
                let body = serde_json::json!({"keys": keys}).to_string();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        let client = client::Client::new().expect("a client");
        let published = Published::new(client, url.parse().expect("a URL"));
        let knows = async |id: &str| {
            let keys = published.keys_for(Some(id)).await.expect("keys");
            keys.find(Some(id)).is_some()
        };
        assert!(knows("old").await);
        // A stranger uses up the look, after the issuer has published a new key.
        assert!(!knows("made-up").await);
        assert!(!knows("made-up-too").await);
        assert!(knows("new").await);
        assert!(knows("old").await);
        assert_eq!(
            asked.load(Ordering::Relaxed),
            2,
            "one look in so many seconds"
        );
    }
}
