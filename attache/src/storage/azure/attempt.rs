//! Every attempt at every request: whom it is for, how it went, and whether it is tried again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::check_success;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, ExponentialRetryOptions, Request, RetryOptions, UrlExt as _};
use tracing::{Instrument as _, Span};

use super::refusal::{asked_patience, is_transient, patience};
use crate::http::retry::Backoff;
use crate::observe::trace;
use crate::storage::vitals::Retries;

/// When a request is tried again.
const BACKOFF: Backoff = Backoff {
    retries: 5,
    within: Duration::from_secs(60),
    first: Duration::from_millis(400),
    longest: Duration::from_secs(10),
};

/// Of requests through Microsoft's client.
pub(super) fn retry_options() -> RetryOptions {
    RetryOptions::exponential(ExponentialRetryOptions {
        // Doubled once before the first wait already.
        initial_delay: (BACKOFF.first / 2).try_into().unwrap_or_default(),
        max_retries: BACKOFF.retries,
        max_total_elapsed: BACKOFF.within.try_into().unwrap_or_default(),
        max_delay: BACKOFF.longest.try_into().unwrap_or_default(),
    })
}

/// How long to wait before a request that failed is tried again, for requests of our own. `None` if it is not: because
/// another try cannot succeed, there were enough, or the service asks for more patience than a caller has.
pub(super) fn wait_before_retry(
    error: &azure_core::Error,
    retries: u32,
    elapsed: Duration,
) -> Option<Duration> {
    match is_transient(error) {
        true => BACKOFF.wait(retries, elapsed, patience(error).unwrap_or_default()),
        false => None,
    }
}

impl Retries {
    /// Makes an attempt, and counts how it went. `span` is told the status of the answer.
    pub(super) async fn watch<T>(
        &self,
        span: Span,
        attempt: impl Future<Output = azure_core::Result<T>>,
        status: impl FnOnce(&T) -> u16,
    ) -> azure_core::Result<T> {
        let outcome = attempt.instrument(span.clone()).await;
        let seen = outcome.as_ref().map(status);
        if let Ok(status) = seen {
            span.record("http.response.status_code", status);
        }
        self.note(seen);
        outcome
    }

    /// Counts an attempt by the status of its answer, or by why there was none.
    fn note(&self, outcome: Result<u16, &azure_core::Error>) {
        let count = match outcome {
            Ok(429 | 503) => &self.throttled,
            Ok(408 | 500..=599) => &self.failed,
            Err(error) if is_transient(error) => &self.disconnected,
            _ => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// For trace collectors; nothing without one. The path of a blob is not secret, its query may be.
pub(super) fn span(method: &str, path: &str) -> Span {
    tracing::info_span!(
        target: trace::SPANS,
        "store",
        otel.kind = "client",
        http.request.method = method,
        url.path = path,
        http.response.status_code = tracing::field::Empty,
    )
}

/// Whom a request is for, as headers. Set before it is signed: a signature covers the first.
pub(super) fn trace_headers() -> impl Iterator<Item = (&'static str, String)> {
    let context = trace::Context::current();
    let context = context.as_ref();
    let id = context.map(|context| context.request_id().to_owned());
    let traceparent = context.and_then(|context| context.traceparent());
    let traceparent = traceparent.map(str::to_owned);
    [("x-ms-client-request-id", id), ("traceparent", traceparent)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
}

/// Folds names in a listing that have this behind the prefix; the crate has no option for it.
#[derive(Debug)]
pub(super) struct Delimiter(pub(super) String);

/// Sees every attempt of every request that goes through Microsoft's client.
#[derive(Debug)]
pub(super) struct Watch(pub(super) Arc<Retries>);

#[async_trait]
impl Policy for Watch {
    async fn send(
        &self,
        ctx: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        if let Some(Delimiter(delimiter)) = ctx.value::<Delimiter>() {
            let mut query = request.url_mut().query_builder();
            query.set_pair("delimiter", delimiter.as_str());
            query.build();
        }
        for (name, value) in trace_headers() {
            request.insert_header(name, value);
        }
        let span = span(request.method().as_str(), request.url().path());
        let attempt = next[0].send(ctx, request, &next[1..]);
        self.0
            .watch(span, attempt, |answer| answer.status().into())
            .await
    }
}

/// Ends a request whose service asks for more patience than a caller has. Microsoft's client waits for as long as it is
/// asked to, with the caller's memory held; what is an error and no response it does not try again.
#[derive(Debug)]
pub(super) struct Impatience;

#[async_trait]
impl Policy for Impatience {
    async fn send(
        &self,
        ctx: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let answer = next[0].send(ctx, request, &next[1..]).await?;
        let asked = asked_patience(answer.headers()).unwrap_or_default();
        match u16::from(answer.status()) {
            429 | 503 if asked > BACKOFF.longest => check_success(answer, None).await,
            _ => Ok(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use azure_core::http::AsyncRawResponse;
    use azure_core::http::headers::{Headers, RETRY_AFTER};
    use futures::FutureExt as _;

    use super::*;

    fn refused(status: u16, retry_after: Option<&'static str>) -> azure_core::Error {
        let mut headers = Headers::new();
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, seconds);
        }
        let answer = AsyncRawResponse::from_bytes(status.into(), headers, "");
        let outcome = azure_core::error::check_success(answer, None).now_or_never();
        match outcome.expect("the answer is at hand") {
            Err(error) => error,
            Ok(_) => unreachable!("{status} is not a success"),
        }
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_cannot_is_not() {
        let wait = |retries| wait_before_retry(&refused(500, None), retries, Duration::ZERO);
        assert!(wait(0).is_some() && wait(4).is_some());
        assert_eq!(wait(5), None);
        assert_eq!(
            wait_before_retry(&refused(500, None), 0, BACKOFF.within),
            None
        );
        for status in [400, 401, 403, 404, 409, 412, 416] {
            assert_eq!(
                wait_before_retry(&refused(status, None), 0, Duration::ZERO),
                None,
                "{status}"
            );
        }
    }

    #[test]
    fn a_service_that_asks_for_patience_gets_it_up_to_the_longest_wait() {
        let wait = |seconds| wait_before_retry(&refused(503, Some(seconds)), 0, Duration::ZERO);
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("11"), None);
        let ours = wait("soon").expect("what is not a number asks for nothing");
        assert!(ours < Duration::from_secs(1));
    }
}
