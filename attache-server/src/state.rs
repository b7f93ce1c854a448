//! What handlers share, and what they take of it.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use attache::transfer::budget::Budget;
use attache::{Attache, Result};
use axum::extract::{FromRef, FromRequestParts};
use http::header::AUTHORIZATION;
use http::request;
use tokio_util::sync::CancellationToken;

use crate::audit::{self, Action};
use crate::auth::session::Ended;
use crate::auth::tokens::Tokens;
use crate::auth::{Auth, Caller};
use crate::net::limits::{self, LimitExceeded, Limits, Uploading};
use crate::readiness::Readiness;
use crate::reload::{Effective, Reloader};
use crate::respond::ErrorResponse;
use crate::s3::keys::Keys;

/// What handlers share. Cheap to clone; clones share it.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) attache: Attache,
    pub(crate) reloader: Reloader,
    auth: ArcSwap<Auth>,
    pub(crate) tokens: Arc<Tokens>,
    /// The access keys, where there is an S3 endpoint.
    s3_keys: Option<Arc<Keys>>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) readiness: Arc<Readiness>,
    /// The server is about to end.
    pub(crate) stopping: CancellationToken,
}

impl Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`](attache::ErrorKind::Misconfigured) if `[auth]` cannot be used.
    pub(crate) fn new(
        attache: Attache,
        reloader: Reloader,
        tokens: Arc<Tokens>,
        s3_keys: Option<Arc<Keys>>,
    ) -> Result<Self> {
        let settings = reloader.settings();
        let auth = Auth::build(&settings.auth, settings.generation, tokens.clone(), None)?;
        Ok(Self(Arc::new(Inner {
            attache,
            reloader,
            auth: ArcSwap::from_pointee(auth),
            tokens,
            s3_keys,
            limits: Arc::default(),
            readiness: Arc::default(),
            stopping: CancellationToken::new(),
        })))
    }
}

impl Inner {
    /// The settings in effect. Keep them for one request, and no longer.
    pub(crate) fn settings(&self) -> Arc<Effective> {
        self.reloader.settings()
    }

    /// Who sends this request, by the rules of `auth`; and whether it may send one now.
    ///
    /// # Errors
    ///
    /// As [`Auth::caller`]; [`ErrorKind::TooManyRequests`](attache::ErrorKind::TooManyRequests).
    pub(crate) async fn caller(&self, auth: &Auth, request: &request::Parts) -> Result<Caller> {
        let (links, settings) = (self.attache.links(), self.settings());
        let caller = auth.caller(links, &settings.server, request).await?;
        // Those whom nobody knows have the rate of their address.
        if !caller.is_anybody() {
            self.pace(&caller)?;
        }
        Ok(caller)
    }

    /// The response to a request beyond a limit, which is counted.
    pub(crate) fn limited(&self, exceeded: LimitExceeded, wait: Option<Duration>) -> ErrorResponse {
        self.attache.metrics().limited(exceeded.as_str());
        ErrorResponse(limits::refusal(exceeded, wait))
    }

    /// Counts an upload of this caller in, until what it returns is dropped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Busy`](attache::ErrorKind::Busy).
    pub(crate) fn begin_upload(&self, caller: &Caller) -> Result<Uploading> {
        self.limits
            .upload(&self.settings().limits, &caller.name)
            .map_err(|exceeded| self.limited(exceeded, None).0)
    }

    /// Whether this caller may send a request now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooManyRequests`](attache::ErrorKind::TooManyRequests).
    fn pace(&self, caller: &Caller) -> Result<()> {
        self.limits
            .caller(&self.settings().limits, &caller.name)
            .map_err(|wait| self.limited(LimitExceeded::CallerRate, Some(wait)).0)
    }

    /// The access keys of the S3 endpoint.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`](attache::ErrorKind::Internal) if there is none.
    pub(crate) fn s3_keys(&self) -> Result<Arc<Keys>> {
        let keys = self.s3_keys.clone();
        keys.ok_or_else(|| attache::Error::internal("there is no S3 endpoint"))
    }

    /// Who may do what, by the configuration that serves now.
    pub(crate) fn auth(&self) -> Result<Arc<Auth>> {
        let settings = self.settings();
        let auth = self.auth.load_full();
        if auth.generation >= settings.generation {
            return Ok(auth);
        }
        // The first request that notices builds; that costs no I/O, so two that notice at once may both do it.
        let fresh = Auth::build(
            &settings.auth,
            settings.generation,
            self.tokens.clone(),
            Some(&auth),
        )?;
        let fresh = Arc::new(fresh);
        self.auth
            .rcu(|current| match current.generation >= fresh.generation {
                true => current.clone(),
                false => fresh.clone(),
            });
        Ok(fresh)
    }

    /// Ends the sessions that a request carries, everywhere where these tokens are good.
    pub(crate) async fn sign_out(&self, sessions: Vec<Ended>) -> Result<()> {
        if sessions.is_empty() {
            return Ok(());
        }
        self.tokens.end_sessions(sessions).await
    }

    /// The server is about to end; it takes no new work.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }
}

/// The sender of a request, as handlers ask for it.
impl FromRequestParts<App> for Caller {
    type Rejection = ErrorResponse;

    async fn from_request_parts(
        request: &mut request::Parts,
        app: &App,
    ) -> Result<Self, ErrorResponse> {
        let auth = app.auth()?;
        let outcome = app.caller(&auth, request).await;
        // Nobody who merely has no token, but somebody who tries one.
        if outcome.is_err() && request.headers.contains_key(AUTHORIZATION) {
            audit::refused(Action::Authenticate, &outcome);
        }
        Ok(outcome?)
    }
}

/// The memory that JSON bodies take their permit of.
impl FromRef<App> for Budget {
    fn from_ref(app: &App) -> Self {
        app.attache.parts().budget.clone()
    }
}
