//! Which request a piece of work is for: carried from the request to everything that it asks of the store, across the
//! tasks that finish work whose client has left.

use std::sync::Arc;

use tracing::Instrument as _;

/// The target of spans that are made for trace collectors, and not for the log.
pub const SPANS: &str = "attache_spans";

tokio::task_local! {
    static CONTEXT: Context;
}

/// A request, as logs and other services name it. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    request_id: String,
    traceparent: Option<String>,
}

impl Context {
    /// A request with this id, and with the `traceparent` that it brought, if that is one (W3C Trace Context section
    /// 3.2). Azure gets the id as `x-ms-client-request-id` and shows it in its logs.
    pub fn new(request_id: impl Into<String>, traceparent: Option<&str>) -> Self {
        Self(Arc::new(Inner {
            request_id: request_id.into(),
            traceparent: traceparent
                .filter(|text| is_traceparent(text))
                .map(str::to_owned),
        }))
    }

    /// That of the request that this task works for.
    pub fn current() -> Option<Self> {
        CONTEXT.try_with(Clone::clone).ok()
    }

    /// Its id.
    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// Its place in a trace, as the caller named it.
    pub fn traceparent(&self) -> Option<&str> {
        self.0.traceparent.as_deref()
    }

    /// Runs `work` for this request.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CONTEXT.scope(self, work).await
    }
}

/// Runs `work`, which may move to another task, for the request that it was made for.
pub(crate) fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let context = Context::current();
    let work = work.instrument(tracing::Span::current());
    async move {
        match context {
            Some(context) => context.scope(work).await,
            None => work.await,
        }
    }
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, neither id zero.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, parent, flags] = parts.as_slice() else {
        return false;
    };
    let hex = |text: &str, length: usize| {
        text.len() == length
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let nonzero = |text: &str| text.bytes().any(|b| b != b'0');
    *version == "00"
        && hex(trace, 32)
        && nonzero(trace)
        && hex(parent, 16)
        && nonzero(parent)
        && hex(flags, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_traceparent_is_passed_on() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(Context::new("a", Some(good)).traceparent(), Some(good));
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert_eq!(
                Context::new("a", Some(wrong)).traceparent(),
                None,
                "{wrong}"
            );
        }
    }

    #[tokio::test]
    async fn work_that_moves_to_another_task_takes_its_request_along() {
        assert_eq!(Context::current(), None);
        let context = Context::new("one", None);
        let elsewhere = async { tokio::spawn(carried(async { Context::current() })).await };
        let seen = context.clone().scope(elsewhere).await;
        assert_eq!(seen.expect("it ends"), Some(context));
    }
}
