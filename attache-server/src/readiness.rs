//! Whether storage and catalog can be used: asked of them at most once a second, for everybody who wants to know.
//!
//! `/readyz` needs no token and has no rate, so that a load balancer never gets a false answer; it must not be a way for
//! strangers to make the store work.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use attache::{Attache, Error, ErrorKind, Result};
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a result holds.
const HOLDS: Duration = Duration::from_secs(1);

/// How long a probe may take; probes of load balancers give up after about as long.
const PROBE_TIME: Duration = Duration::from_secs(5);

/// What a probe found: a line for people, or what is wrong.
pub(crate) type Found = Result<String, Arc<Error>>;

/// The last probe, and the one that runs.
#[derive(Debug, Default)]
pub(crate) struct Readiness(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<(Instant, Found)>,
    running: Option<watch::Receiver<Option<Found>>>,
}

impl Readiness {
    /// What a probe found within the last second, or finds now. Dropping the future does not end the probe, which others may
    /// wait for; it ends in time by itself.
    pub(crate) async fn look(self: &Arc<Self>, attache: &Attache) -> Found {
        let mut running = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match (&state.last, &state.running) {
                (Some((at, found)), _) if at.elapsed() < HOLDS => return found.clone(),
                (_, Some(running)) => running.clone(),
                _ => {
                    let (sender, running) = watch::channel(None);
                    state.running = Some(running.clone());
                    tokio::spawn(self.clone().probe(attache.clone(), sender));
                    running
                }
            }
        };
        let found = running.wait_for(Option::is_some).await;
        match found.as_deref() {
            Ok(Some(found)) => found.clone(),
            // The probe panicked.
            _ => Err(Arc::new(Error::internal("the probe failed"))),
        }
    }

    async fn probe(self: Arc<Self>, attache: Attache, done: watch::Sender<Option<Found>>) {
        let outcome = tokio::time::timeout(PROBE_TIME, attache.ready()).await;
        let found = match outcome {
            Ok(Ok(probe)) => Ok(probe.summary),
            Ok(Err(error)) => Err(Arc::new(error)),
            Err(_) => Err(Arc::new(Error::new(
                ErrorKind::UpstreamTimeout,
                format!(
                    "timed out: storage and catalog did not respond within {} s",
                    PROBE_TIME.as_secs()
                ),
            ))),
        };
        if let Err(error) = &found {
            tracing::warn!(error = error.report(), "not ready");
        }
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.last = Some((Instant::now(), found.clone()));
        state.running = None;
        drop(state);
        let _ = done.send(Some(found));
    }
}
