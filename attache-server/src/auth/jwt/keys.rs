//! The public keys of an issuer: from a file, or from an address that is asked for them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::auth::JwtConfig;
use arc_swap::ArcSwapOption;
use attache::lease::{Granted, Lease};
use attache::{Error, ErrorKind, Result};
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};

use crate::client;

/// How long published keys are kept. Issuers publish a new key well before they sign with it
/// (OpenID Connect Core section 10.1.1).
const KEYS_LIVE: Duration = Duration::from_secs(10 * 60);

/// A token with a key that is not known makes us look again, but not more often than this.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Largest key set.
const MAX_KEYS_BYTES: usize = 256 * 1024;

/// Where they are.
pub(super) enum Keys {
    Fixed(Arc<KeySet>),
    Published(Box<Published>),
}

/// Public keys, each with the one algorithm it may be used with.
pub(super) struct KeySet(Vec<Key>);

pub(super) struct Key {
    id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

impl Keys {
    /// `None` if the configuration names none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] if the key set cannot be understood.
    pub(super) fn new(config: &JwtConfig) -> Result<Option<Self>> {
        Ok(Some(match (&config.jwks, &config.jwks_url) {
            (Some(text), _) => {
                let keys = KeySet::read(text.as_bytes()).map_err(|what| {
                    Error::new(
                        ErrorKind::Misconfigured,
                        format!("auth.jwt.jwks_file: {what}"),
                    )
                })?;
                Self::Fixed(Arc::new(keys))
            }
            (None, Some(url)) => {
                let url: http::Uri = url.parse().map_err(|_| {
                    Error::new(ErrorKind::Misconfigured, "auth.jwt.jwks_url is not a URL")
                })?;
                let client = client::Client::new()?;
                Self::Published(Box::new(Published::new(client, url)))
            }
            (None, None) => return Ok(None),
        }))
    }

    /// Those among which the one of this id is, if there is one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UpstreamUnavailable`] if they cannot be fetched.
    pub(super) async fn keys_for(&self, id: Option<&str>) -> Result<Arc<KeySet>> {
        match self {
            Self::Fixed(keys) => Ok(keys.clone()),
            Self::Published(published) => published.keys_for(id).await,
        }
    }
}

/// Keys at an address.
pub(super) struct Published {
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
        // Whatever was fetched is kept, whichever token led to it: somebody who sends tokens with made-up keys uses up
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

/// How long the issuer may take to respond.
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
    pub(super) fn find(&self, id: Option<&str>) -> Option<&Key> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
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
        super::super::verify::use_ring();
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
