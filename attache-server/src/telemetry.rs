//! What the process logs: to stderr, filtered by `ATTACHE_LOG`, as text or as JSON lines (`ATTACHE_LOG_FORMAT`).

use std::io::{self, IsTerminal as _};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::otlp;

/// Crates that tell every request at debug and every byte count at trace: warnings only, unless the filter names them.
const CHATTY: [&str; 8] = [
    "azure_core",
    "azure_identity",
    "azure_storage_blob",
    "h2",
    "hyper",
    "rustls",
    "tower",
    "typespec_client_core",
];

/// Starts logging, and sending spans to `otlp_endpoint` if there is one. `default_filter` holds where `ATTACHE_LOG` is not
/// set.
///
/// # Errors
///
/// What is wrong with a variable, or with the endpoint, in a sentence.
pub(crate) fn start(default_filter: &str, otlp_endpoint: Option<&str>) -> Result<(), String> {
    let filter = filter(&variable("ATTACHE_LOG").unwrap_or_else(|| default_filter.to_owned()))?;
    let colours = io::stderr().is_terminal() && variable("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(colours);
    let log = match variable("ATTACHE_LOG_FORMAT").as_deref() {
        None | Some("text") => log.with_filter(filter).boxed(),
        Some("json") => log.json().flatten_event(true).with_filter(filter).boxed(),
        Some(other) => {
            return Err(format!(
                "ATTACHE_LOG_FORMAT is \"{other}\", but must be \"text\" or \"json\""
            ));
        }
    };
    let spans = otlp_endpoint.map(otlp::layer).transpose();
    let spans = spans.map_err(|error| error.to_string())?;
    tracing_subscriber::registry()
        .with(log)
        .with(spans)
        .try_init()
        .map_err(|error| format!("cannot start logging: {error}"))?;
    // A line of the log like any other, as JSON where that is asked for.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        // `payload_as_str` is newer than our oldest compiler.
        let payload = panic.payload();
        let payload = (payload.downcast_ref::<&str>().copied())
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or_default();
        tracing::error!(target: "panic", place, "{payload}");
    }));
    Ok(())
}

fn filter(text: &str) -> Result<EnvFilter, String> {
    let parse = |text: &str| {
        EnvFilter::builder().parse(text).map_err(|error| {
            format!(
                "ATTACHE_LOG is \"{text}\", but must be a filter such as \"info\" or \"warn,attache=debug\": {error}"
            )
        })
    };
    let asked = parse(text)?;
    if asked
        .max_level_hint()
        .is_some_and(|level| level <= LevelFilter::WARN)
    {
        return Ok(asked);
    }
    let mut whole = format!("{text},{}=off", attache::observe::trace::SPANS);
    for name in CHATTY.iter().filter(|name| !text.contains(**name)) {
        whole.push_str(&format!(",{name}=warn"));
    }
    parse(&whole)
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(|value| value.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chatty_crates_speak_only_when_they_are_named() {
        let shown = filter("debug,hyper=trace").expect("valid").to_string();
        assert!(shown.contains("azure_core=warn"), "{shown}");
        assert!(shown.contains("hyper=trace"), "{shown}");
        assert!(!shown.contains("hyper=warn"), "{shown}");
    }

    #[test]
    fn a_quiet_filter_stays_quiet() {
        for quiet in ["off", "error", "warn"] {
            assert_eq!(filter(quiet).expect("valid").to_string(), quiet);
        }
        assert!(filter("attache=loud").is_err());
    }
}
