//! Who asks, and what they may do.
//!
//! [`Auth`] is built from `[auth]`; [`Caller`] is what it makes of a request. Handlers take a `Caller` and ask it for a
//! scope before they do anything, and for an owner before they reveal anything: what a caller may not see is, for that
//! caller, not there.

use std::sync::Arc;

use crate::config::auth::{AuthConfig, AuthMode};
use crate::config::server::ServerConfig;
use attache::access::links::LinkKey;
use attache::access::tokens::{TokenId, looks_like_one};
use attache::{Error, ErrorKind, Result};
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;

use crate::net::peer::Peer;

mod caller;
pub(crate) mod forward;
mod jwt;
mod known;
pub(crate) mod origin;
pub(crate) mod session;
pub(crate) mod tokens;

pub(crate) use caller::Caller;
use caller::unknown;
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

    /// Whether a configuration can be used, as far as that is known without asking anybody.
    pub(crate) fn check(config: &AuthConfig) -> Result<()> {
        Issuer::new(&config.jwt)?;
        Forward::new(&config.forward).map(|_| ())
    }

    /// Everybody who can connect can do everything.
    pub(crate) fn is_open(&self) -> bool {
        self.config.accepts(AuthMode::Open)
    }

    /// Who sends this request. Sessions are proved by `links`; `server` says which pages are ours.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`]; [`ErrorKind::Forbidden`] if a browser sends it for another site.
    pub(crate) async fn caller(
        &self,
        links: &LinkKey,
        server: &ServerConfig,
        request: &Parts,
    ) -> Result<Caller> {
        if let Some(caller) = self.bearer(&request.headers).await? {
            return Ok(caller);
        }
        // Browsers send cookies, and reach loopback, for every page that asks them to; a bearer token they do not send.
        match self.signed_in(links, server, request) {
            Some(caller) => {
                origin::check(server, request, false)?;
                Ok(caller)
            }
            None if self.is_open() => {
                origin::check(server, request, true)?;
                Ok(Caller::anybody())
            }
            None => Err(Error::new(
                ErrorKind::Unauthorized,
                "this needs a token: send it as \"Authorization: Bearer …\"; `attache token create` makes one",
            )),
        }
    }

    /// The caller that the `Authorization` header proves.
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
        if looks_like_one(token) && self.config.accepts(AuthMode::Token) {
            return self.tokens.check(token).map(Some).ok_or_else(unknown);
        }
        match &self.issuer {
            Some(issuer) => issuer.check(token).await.map(Some),
            None => Err(unknown()),
        }
    }

    /// The caller that signed in on the page.
    fn signed_in(&self, links: &LinkKey, server: &ServerConfig, request: &Parts) -> Option<Caller> {
        if !self.config.accepts(AuthMode::Token) {
            return None;
        }
        let peer = request.extensions.get::<Peer>();
        let public = server.public_url.as_ref();
        let secure = public.is_some_and(|url| url.starts_with("https:"))
            || peer.is_some_and(|peer| peer.is_secure(server, &request.headers));
        let (id, ended) = session::open(links, cookie(&request.headers, secure)?)?;
        match self.tokens.has_ended(&ended) {
            true => None,
            false => self.tokens.find(&id),
        }
    }

    /// The caller that a token's text proves, for signing in.
    pub(crate) fn token(&self, text: &str) -> Result<(TokenId, Caller)> {
        let known = self.config.accepts(AuthMode::Token);
        let found = known.then(|| self.tokens.check(text.trim())).flatten();
        let caller = found.ok_or_else(unknown)?;
        let id = TokenId::of(text.trim()).ok_or_else(unknown)?;
        Ok((id, caller))
    }
}

/// The session's cookie.
fn cookie(headers: &HeaderMap, secure: bool) -> Option<&str> {
    let lines = headers.get_all(COOKIE).iter();
    session::find(lines.filter_map(|line| line.to_str().ok()), secure)
}

/// What ends the sessions that a request carries.
pub(crate) fn sessions(links: &LinkKey, headers: &HeaderMap) -> Vec<session::Ended> {
    let found = cookie(headers, false).into_iter();
    let opened = found.filter_map(|cookie| session::open(links, cookie));
    opened.map(|(_, ended)| ended).collect()
}
