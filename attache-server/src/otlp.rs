//! Traces for OpenTelemetry collectors: a span for each request, one for each question to the store below it, sent as OTLP
//! over HTTP.
//!
//! Nothing here runs unless `telemetry.otlp_endpoint` is set: the spans have a target of their own, which the log does not
//! listen to.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use attache::observe::trace::{Context, SPANS};
use attache::{Error, ErrorKind, Result};
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

use crate::client::Client;

/// How long a collector may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Longest answer of a collector that is read.
const MAX_ANSWER: usize = 64 * 1024;

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();
static RUNTIME: OnceLock<Handle> = OnceLock::new();

/// The layer that sends spans to the collector at `endpoint`, such as `http://127.0.0.1:4318`.
///
/// # Errors
///
/// [`ErrorKind::Misconfigured`].
pub(crate) fn layer<S>(endpoint: &str) -> Result<impl Layer<S> + use<S>>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(Exporting(Client::new()?))
        // The path is the specification's (OTLP/HTTP, "Request").
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(TIMEOUT)
        .build()
        .map_err(|error| {
            let what = "cannot use telemetry.otlp_endpoint";
            Error::new(ErrorKind::Misconfigured, what).with_source(error)
        })?;
    let resource = Resource::builder().with_service_name("attache").build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build();
    let tracer = provider.tracer("attache");
    let _ = PROVIDER.set(provider);
    Ok(tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_filter(Targets::new().with_target(SPANS, LevelFilter::INFO)))
}

/// Whether anybody collects.
pub(crate) fn is_on() -> bool {
    PROVIDER.get().is_some()
}

/// Says which runtime sends: the exporter has a thread of its own, which is none of it.
pub(crate) fn send_from_here() {
    let _ = RUNTIME.set(Handle::current());
}

/// Sends what is left. Blocks for a while.
pub(crate) fn flush() {
    if let Some(provider) = PROVIDER.get()
        && let Err(error) = provider.shutdown()
    {
        tracing::warn!(%error, "the last spans were not sent");
    }
}

/// A span of a request, below what the caller's `traceparent` names; and the context that goes on to the store.
pub(crate) fn begin<B>(request: &Request<B>, request_id: &str) -> (Span, Context) {
    let traceparent = request.headers().get("traceparent");
    let traceparent = traceparent.and_then(|value| value.to_str().ok());
    let context = Context::new(request_id, traceparent);
    if !is_on() {
        return (Span::none(), context);
    }
    let span = tracing::info_span!(
        target: SPANS,
        "request",
        otel.kind = "server",
        http.request.method = request.method().as_str(),
        // The path alone: a query may be a permission.
        url.path = request.uri().path(),
        http.response.status_code = tracing::field::Empty,
        attache.request_id = request_id,
    );
    let propagator = TraceContextPropagator::new();
    if let Some(traceparent) = context.traceparent() {
        let carrier =
            std::collections::HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
        let _ = span.set_parent(propagator.extract(&carrier));
    }
    let own = span.context();
    let own = own.span().span_context().clone();
    let below = own.is_valid().then(|| {
        let flags = own.trace_flags().to_u8();
        format!("00-{}-{}-{flags:02x}", own.trace_id(), own.span_id())
    });
    (
        span,
        Context::new(request_id, below.as_deref().or(traceparent)),
    )
}

/// Sends from the server's runtime what the exporter's own thread wants to send.
struct Exporting(Client);

#[async_trait]
impl HttpClient for Exporting {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let runtime = RUNTIME.get().ok_or("the server is not running yet")?;
        let client = self.0.clone();
        let sent = runtime.spawn(async move {
            let answer = client.exchange(request, TIMEOUT, MAX_ANSWER).await;
            answer.map_err(|error| HttpError::from(error.to_string()))
        });
        sent.await?
    }
}

impl fmt::Debug for Exporting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporting").finish_non_exhaustive()
    }
}
