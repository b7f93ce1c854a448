//! Who asks, and what they may do.
//!
//! [`Auth`] is built from `[auth]`; [`Caller`] is what it makes of a request. Handlers take a `Caller` and ask it for a
//! scope before they do anything, and for an owner before they tell anything: what a caller may not see is, for that
//! caller, not there.

use std::sync::Arc;

use attache::access::{Owners, Scope, Scopes};
use attache::attachment::{Hex, IdempotencyKey, Owner};
use attache::config::{AuthConfig, AuthMode};
use attache::{Attachment, Error, ErrorKind, Result};
use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;
use sha2::{Digest as _, Sha256};

use crate::app::App;
use crate::audit::{self, Action};
use crate::net::peer::Peer;
use crate::respond::Failure;

pub(crate) mod forward;
mod jwt;
pub(crate) mod origin;
pub(crate) mod session;
pub(crate) mod tokens;

use forward::Forward;
use jwt::Issuer;
use tokens::Tokens;

/// The rules of one configuration.
pub(crate) struct Auth {
    config: AuthConfig,
    /// The configuration's generation.
    pub(crate) generation: u64,
    tokens: Arc<Tokens>,
    issuer: Option<Arc<Issuer>>,
    pub(crate) forward: Option<Arc<Forward>>,
}

/// Somebody who is known.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// For people and logs: `token:ci`, `jwt:user-7`, `open`.
    pub(crate) name: Arc<str>,
    pub(crate) scopes: Scopes,
    pub(crate) owners: Owners,
}

impl Auth {
    /// What `config` says; parts whose section is equal in `old` are carried over with what they remember.
    pub(crate) fn build(
        config: &AuthConfig,
        generation: u64,
        tokens: Arc<Tokens>,
        old: Option<&Self>,
    ) -> Result<Self> {
        let issuer = match old {
            Some(old) if old.config.jwt == config.jwt && old.issuer.is_some() => old.issuer.clone(),
            _ => Issuer::new(&config.jwt)?.map(Arc::new),
        };
        let forward = match old {
            Some(old) if old.config.forward == config.forward && old.forward.is_some() => {
                old.forward.clone()
            }
            _ => Forward::new(&config.forward)?.map(Arc::new),
        };
        Ok(Self {
            issuer: issuer.filter(|_| config.accepts(AuthMode::Jwt)),
            forward: forward.filter(|_| config.accepts(AuthMode::Forward)),
            config: config.clone(),
            generation,
            tokens,
        })
    }

    /// Whether a configuration can be used, as far as it can be told without asking anybody.
    pub(crate) fn check(config: &AuthConfig) -> Result<()> {
        Issuer::new(&config.jwt)?;
        Forward::new(&config.forward).map(|_| ())
    }

    /// Everybody who can connect can do everything.
    pub(crate) fn is_open(&self) -> bool {
        self.config.accepts(AuthMode::Open)
    }

    /// Who sends this request.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`]; [`ErrorKind::Forbidden`] if a browser sends it for another site.
    pub(crate) async fn caller(&self, app: &App, request: &Parts) -> Result<Caller> {
        let headers = &request.headers;
        let known = match self.bearer(headers).await? {
            Some(caller) => {
                app.pace(&caller)?;
                return Ok(caller);
            }
            None => self.signed_in(app, request),
        };
        // Browsers send cookies, and reach loopback, for every page that asks them to; a bearer token they do not send.
        match known {
            Some(caller) => {
                origin::check(app, request, false)?;
                app.pace(&caller)?;
                Ok(caller)
            }
            None if self.is_open() => {
                origin::check(app, request, true)?;
                Ok(Caller::anybody())
            }
            None => Err(Error::new(
                ErrorKind::Unauthorized,
                "this needs a token: send it as \"Authorization: Bearer …\"; `attache token create` makes one",
            )),
        }
    }

    /// Whoever the `Authorization` header proves.
    async fn bearer(&self, headers: &HeaderMap) -> Result<Option<Caller>> {
        if !self.config.accepts(AuthMode::Token) && self.issuer.is_none() {
            return Ok(None);
        }
        let Some(value) = headers.get(AUTHORIZATION) else {
            return Ok(None);
        };
        let value = value.to_str().unwrap_or_default();
        let Some((_, token)) = value
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        else {
            // Another scheme is for somebody in front of us, or for the application that is asked.
            return Ok(None);
        };
        let token = token.trim();
        if tokens::looks_like_one(token) && self.config.accepts(AuthMode::Token) {
            return self.tokens.check(token).map(Some).ok_or_else(unknown);
        }
        match &self.issuer {
            Some(issuer) => issuer.check(token).await.map(Some),
            None => Err(unknown()),
        }
    }

    /// Whoever signed in on the page.
    fn signed_in(&self, app: &App, request: &Parts) -> Option<Caller> {
        if !self.config.accepts(AuthMode::Token) {
            return None;
        }
        let peer = request.extensions.get::<Peer>();
        let parts = app.attache.parts();
        let server = &parts.config.server;
        let public = server.public_url.as_ref();
        let secure = public.is_some_and(|url| url.starts_with("https:"))
            || peer.is_some_and(|peer| peer.is_secure(server, &request.headers));
        let (id, ended) = session::open(app.attache.links(), cookie(&request.headers, secure)?)?;
        match self.tokens.has_ended(&ended) {
            true => None,
            false => self.tokens.find(&id),
        }
    }

    /// The caller that a token's text proves, for signing in.
    pub(crate) fn token(&self, text: &str) -> Result<(tokens::TokenId, Caller)> {
        let known = self.config.accepts(AuthMode::Token);
        let found = known.then(|| self.tokens.check(text.trim())).flatten();
        let caller = found.ok_or_else(unknown)?;
        let id = tokens::TokenId::of(text.trim()).ok_or_else(unknown)?;
        Ok((id, caller))
    }
}

/// The session's cookie.
fn cookie(headers: &HeaderMap, secure: bool) -> Option<&str> {
    let lines = headers.get_all(COOKIE).iter();
    session::find(lines.filter_map(|line| line.to_str().ok()), secure)
}

/// What ends the sessions that a request carries.
pub(crate) fn sessions(app: &App, headers: &HeaderMap) -> Vec<session::Ended> {
    let found = cookie(headers, false).into_iter();
    let opened = found.filter_map(|cookie| session::open(app.attache.links(), cookie));
    opened.map(|(_, ended)| ended).collect()
}

/// Says no more than that: not whether it expired, was revoked, or never was.
fn unknown() -> Error {
    Error::new(
        ErrorKind::Unauthorized,
        "this token is not known here, has expired, or was revoked; `attache token create` makes a new one",
    )
}

/// The name of whoever needs none.
const OPEN: &str = "open";

impl Caller {
    fn anybody() -> Self {
        Self {
            name: OPEN.into(),
            scopes: Scopes::all(),
            owners: Owners::all(),
        }
    }

    /// # Errors
    ///
    /// [`ErrorKind::Forbidden`], naming the scope.
    pub(crate) fn need(&self, scope: Scope) -> Result<()> {
        if self.scopes.contain(scope) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Forbidden,
            format!("this needs the scope \"{}\"", scope.as_str()),
        ))
    }

    /// Whether it may know of what hangs on `owner`.
    pub(crate) fn sees(&self, owner: Option<&Owner>) -> bool {
        self.owners.contain(owner)
    }

    /// `found`, if it may know of it; otherwise the very answer for what is not there.
    pub(crate) fn visible(&self, found: Result<Attachment>) -> Result<Attachment> {
        found.and_then(|attachment| match self.sees(attachment.owner.as_ref()) {
            true => Ok(attachment),
            false => Err(Error::not_found(attachment.id.as_str())),
        })
    }

    /// An idempotency key of this caller: what somebody else uploaded under the same words is none of its business.
    ///
    /// # Errors
    ///
    /// None, in truth: digits are a key.
    pub(crate) fn own(&self, key: &IdempotencyKey) -> Result<IdempotencyKey> {
        if &*self.name == OPEN {
            return Ok(key.clone());
        }
        let mut hash = Sha256::new();
        hash.update(self.name.as_bytes());
        hash.update([0]);
        hash.update(key.as_str().as_bytes());
        Hex::<32>(hash.finalize().into()).to_string().parse()
    }

    /// Whether it may hang an upload on `owner`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Forbidden`].
    pub(crate) fn may_write(&self, owner: Option<&Owner>) -> Result<()> {
        if self.sees(owner) {
            return Ok(());
        }
        let patterns: Vec<String> = self
            .owners
            .patterns()
            .iter()
            .map(ToString::to_string)
            .collect();
        Err(Error::new(
            ErrorKind::Forbidden,
            format!(
                "this token may not upload with this owner, or without one; it may for {}",
                match patterns.is_empty() {
                    true => "none".to_owned(),
                    false => patterns.join(", "),
                }
            ),
        ))
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let auth = app.auth()?;
        let outcome = auth.caller(app, parts).await;
        // Nobody who merely has no token, but somebody who tries one.
        if outcome.is_err() && parts.headers.contains_key(AUTHORIZATION) {
            audit::refused(Action::Authenticate, &outcome);
        }
        Ok(outcome?)
    }
}
