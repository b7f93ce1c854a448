//! One request to a bucket: made, signed, sent, and tried again where that may help.
//!
//! A library for S3 was tried, and lost what attache needs of an answer: every 409 was "exists", `Retry-After` was ignored, a missing
//! bucket was a missing object.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request};
use http_body_util::Full;
use tracing::{Instrument as _, Span};

use super::ask::{Answered, Ask, header, path_of};
use super::inner::Inner;
use super::refusal::{Fault, Refusal};
use crate::error::Error;
use crate::http::retry::Backoff;
use crate::observe::trace;

/// When a request is tried again.
const BACKOFF: Backoff = Backoff {
    retries: 5,
    within: Duration::from_secs(60),
    first: Duration::from_millis(400),
    longest: Duration::from_secs(10),
};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("attache/", env!("CARGO_PKG_VERSION")));

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

impl Inner {
    /// Asks, and asks again while that may help. Dropped before its end, it asks for nothing more.
    ///
    /// # Errors
    ///
    /// Why there is no answer of success.
    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<Answered, Fault> {
        let started = Instant::now();
        let mut retries = 0;
        loop {
            let fault = match self.attempt(ask).await {
                Ok(answered) => return Ok(answered),
                Err(fault) => fault,
            };
            let wait = match fault.is_transient() {
                true => BACKOFF.wait(retries, started.elapsed(), fault.patience()),
                false => None,
            };
            let Some(wait) = wait else { return Err(fault) };
            tracing::debug!(key = ask.key, retry = retries + 1, wait_ms = wait.as_millis(), %fault, "retrying the request to the store");
            tokio::time::sleep(wait).await;
            retries += 1;
        }
    }

    /// Once, and once more if the credential was refused.
    async fn attempt(&self, ask: &Ask<'_>) -> Result<Answered, Fault> {
        let mut renewed = false;
        loop {
            let (request, seen) = self.signed(ask).await?;
            let span = span(&ask.method, request.uri().path());
            let outcome = self.exchange(ask, request).instrument(span.clone()).await;
            self.note(&span, outcome.as_ref().map(|_| ()));
            match outcome {
                Err(fault)
                    if !renewed && fault.is_stale_credential() && self.authority.renew(&seen) =>
                {
                    renewed = true;
                }
                outcome => return outcome,
            }
        }
    }

    async fn exchange(
        &self,
        ask: &Ask<'_>,
        request: Request<Full<Bytes>>,
    ) -> Result<Answered, Fault> {
        let again = || async { Ok(self.signed(ask).await?.0) };
        let answer = match ask.is_reading() {
            true => {
                self.client
                    .send_repeatable::<Fault, _>(request, again)
                    .await?
            }
            false => self.client.send(request, ask.patience).await?,
        };
        let (head, body) = answer.into_parts();
        match head.status.as_u16() {
            status @ 200..=299 => Ok(Answered {
                partial: status == 206,
                headers: head.headers,
                body,
            }),
            status => Err(Fault::Refused(
                Refusal::read(status, &head.headers, body).await,
            )),
        }
    }

    async fn signed(
        &self,
        ask: &Ask<'_>,
    ) -> Result<(Request<Full<Bytes>>, super::authority::Seen), Fault> {
        let mut headers = ask.headers.clone();
        let host = header(HOST, &self.base.host)?;
        headers.insert(host.0, host.1);
        let path = path_of(&self.base.path, ask.key);
        let query = ask.query.text();
        let seen = self
            .authority
            .authorise(&self.place, &ask.method, &path, &query, &mut headers)
            .await?;
        headers.insert(USER_AGENT, AGENT);
        // Nothing is left out by clients where there is no body, and stores refuse that.
        if !ask.is_reading() && ask.body.is_empty() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let context = trace::Context::current();
        if let Some(parent) = context.as_ref().and_then(|context| context.traceparent()) {
            let parent = header(TRACEPARENT, parent)?;
            headers.insert(parent.0, parent.1);
        }
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!(
            "{}://{}{path}{mark}{query}",
            self.base.scheme, self.base.host
        );
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(url)
            .body(Full::new(ask.body.clone()))
            .map_err(|error| {
                Error::internal("a request to the store cannot be written").with_source(error)
            })?;
        *request.headers_mut() = headers;
        Ok((request, seen))
    }

    /// Counts an attempt by how it ended.
    fn note(&self, span: &Span, outcome: Result<(), &Fault>) {
        let Err(fault) = outcome else { return };
        let count = match fault {
            Fault::Refused(refusal) => {
                span.record("http.response.status_code", refusal.status);
                match refusal.status {
                    429 | 503 => &self.retries.throttled,
                    408 | 500..=599 => &self.retries.failed,
                    _ => return,
                }
            }
            Fault::Silent(_) | Fault::Broken(_) => &self.retries.disconnected,
            Fault::Ours(_) => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// For trace collectors; nothing without one. The path of an object is not secret, its query may be.
fn span(method: &Method, path: &str) -> Span {
    tracing::info_span!(
        target: trace::SPANS,
        "store",
        otel.kind = "client",
        http.request.method = method.as_str(),
        url.path = path,
        http.response.status_code = tracing::field::Empty,
    )
}
