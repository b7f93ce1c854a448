//! Asking the application whether a reader may have an attachment.
//!
//! The application sees the reader's cookies and answers 2xx, 401, or anything else for no. It is asked for ids that do
//! not exist as well, so that its answer, not ours, is all that a stranger learns. If it does not answer, nobody reads.

use std::fmt;
use std::time::Duration;

use crate::config::auth::ForwardConfig;
use attache::attachment::AttachmentId;
use attache::attachment::Owner;
use attache::{Error, ErrorKind, Result};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use moka::future::Cache;
use sha2::{Digest as _, Sha256};

use crate::client;

/// Decisions that are remembered at a time, 40 bytes and some each; the oldest go.
const MAX_REMEMBERED: u64 = 50_000;

/// Nobody reads the answer's body, but it must end before the connection can be used again.
const MAX_ANSWER: usize = 64 * 1024;

/// Asks the application, and remembers what it said for a moment.
pub(crate) struct Forward {
    client: client::Client,
    url: Uri,
    headers: Vec<HeaderName>,
    timeout: Duration,
    remembered: Option<Cache<[u8; 32], Decision>>,
}

/// What a reader asks for.
pub(crate) struct Question<'a> {
    pub(crate) id: &'a AttachmentId,
    /// Of the attachment, if there is one.
    pub(crate) owner: Option<&'a Owner>,
    pub(crate) method: &'a Method,
    /// Without a query: it may be a permission.
    pub(crate) path: &'a str,
    pub(crate) headers: &'a HeaderMap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Granted,
    SignIn,
    Refused,
}

impl Forward {
    /// `None` if there is nobody to ask.
    pub(super) fn new(config: &ForwardConfig) -> Result<Option<Self>> {
        let Some(url) = &config.url else {
            return Ok(None);
        };
        let wrong = |what: &str| Error::new(ErrorKind::Misconfigured, what.to_owned());
        let url = url
            .parse()
            .map_err(|_| wrong("auth.forward.url is not a URL"))?;
        let headers: std::result::Result<Vec<HeaderName>, _> =
            config.headers.iter().map(|name| name.parse()).collect();
        Ok(Some(Self {
            client: client::Client::new()?,
            url,
            headers: headers
                .map_err(|_| wrong("auth.forward.headers holds an invalid header name"))?,
            timeout: config.timeout,
            remembered: (!config.cache.is_zero()).then(|| {
                Cache::builder()
                    .max_capacity(MAX_REMEMBERED)
                    .time_to_live(config.cache)
                    .build()
            }),
        }))
    }

    /// Lets the reader have the attachment, or says why not.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`] to sign in, [`ErrorKind::NotFound`] for no, [`ErrorKind::UpstreamUnavailable`] if the
    /// application does not answer.
    pub(crate) async fn admit(&self, question: &Question<'_>) -> Result<()> {
        let decision = match &self.remembered {
            // Readers that ask the same at the same time wait for one answer; failures are not remembered.
            Some(cache) => cache
                .try_get_with(self.key(question), self.ask(question))
                .await
                .map_err(|error| {
                    Error::new(error.kind(), error.detail()).retry_after(RETRY_AFTER)
                })?,
            None => self.ask(question).await?,
        };
        match decision {
            Decision::Granted => Ok(()),
            Decision::SignIn => Err(Error::new(
                ErrorKind::Unauthorized,
                "sign in to the application that this attachment belongs to",
            )),
            Decision::Refused => Err(Error::not_found(question.id.as_str())),
        }
    }

    async fn ask(&self, question: &Question<'_>) -> Result<Decision> {
        let mut request = http::Request::get(self.url.clone());
        for (name, value) in self.passed(question) {
            request = request.header(name, value);
        }
        // Ours alone: what the reader sent under these names is not passed, unless it is in auth.forward.headers.
        let mut ours = vec![
            ("x-forwarded-method", question.method.as_str()),
            ("x-forwarded-uri", question.path),
            ("x-attache-id", question.id.as_str()),
        ];
        if let Some(owner) = question.owner {
            ours.push(("x-attache-owner", owner.as_str()));
        }
        for (name, value) in ours {
            if let Ok(value) = HeaderValue::from_str(value) {
                request = request.header(name, value);
            }
        }
        let answer = self.client.send(request, self.timeout, MAX_ANSWER).await;
        let answer = answer.map_err(|error| {
            tracing::warn!(%error, "auth.forward: the application does not respond; access is denied");
            Error::new(
                ErrorKind::UpstreamUnavailable,
                "the application that decides who may read does not respond",
            )
            .retry_after(RETRY_AFTER)
        })?;
        match answer.status().as_u16() {
            200..=299 => Ok(Decision::Granted),
            401 => Ok(Decision::SignIn),
            // It is busy, which is no answer and must not be remembered as one.
            408 | 425 | 429 => Err(Error::new(
                ErrorKind::UpstreamUnavailable,
                "the application that decides who may read is busy",
            )
            .retry_after(RETRY_AFTER)),
            300..=499 => Ok(Decision::Refused),
            status => {
                tracing::warn!(
                    status,
                    "auth.forward: the application failed; access is denied"
                );
                Err(Error::new(
                    ErrorKind::UpstreamUnavailable,
                    "the application that decides who may read failed",
                )
                .retry_after(RETRY_AFTER))
            }
        }
    }

    fn passed<'a>(
        &'a self,
        question: &'a Question<'_>,
    ) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
        self.headers.iter().flat_map(|name| {
            let values = question.headers.get_all(name).iter();
            values.map(move |value| (name, value))
        })
    }

    /// Everything the decision may depend on, each with its length, so that none runs into the next. A hash, so that no
    /// cookie is kept.
    fn key(&self, question: &Question<'_>) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(question.id.as_str().as_bytes());
        part(question.owner.map_or("", Owner::as_str).as_bytes());
        part(question.method.as_str().as_bytes());
        part(question.path.as_bytes());
        for (name, value) in self.passed(question) {
            part(name.as_str().as_bytes());
            part(value.as_bytes());
        }
        hash.finalize().into()
    }
}

/// When somebody may try again after the application failed.
const RETRY_AFTER: Duration = Duration::from_secs(2);

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward").finish_non_exhaustive()
    }
}
