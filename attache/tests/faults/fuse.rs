//! Counts the calls that a service makes to what lies below it, and breaks one of them.

use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::task::Poll;

use attache::{Error, ErrorKind, Result};
use tokio::sync::watch;

/// What happens at the call that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does nothing and fails.
    Refused,
    /// It acts, and its answer is lost.
    Unanswered,
    /// It does nothing and fails, and so do all calls after it, until everything is healed.
    Outage,
    /// It does nothing and does not return; whoever asked for the operation leaves, and then it fails.
    LeftBefore,
    /// It acts and does not return; whoever asked for the operation leaves, and then its answer is lost.
    LeftAfter,
    /// It does nothing, and the process dies.
    KilledBefore,
    /// It acts, and the process dies.
    KilledAfter,
    /// It waits for something, and the process dies. Here not calls are counted, but waits.
    KilledWithin,
}

impl Fault {
    pub(crate) const ALL: [Self; 8] = [
        Self::Refused,
        Self::Unanswered,
        Self::Outage,
        Self::LeftBefore,
        Self::LeftAfter,
        Self::KilledBefore,
        Self::KilledAfter,
        Self::KilledWithin,
    ];

    /// Whether the process dies of it.
    pub(crate) fn kills(self) -> bool {
        matches!(
            self,
            Self::KilledBefore | Self::KilledAfter | Self::KilledWithin
        )
    }

    fn acts(self) -> bool {
        matches!(self, Self::Unanswered | Self::LeftAfter | Self::KilledAfter)
    }

    fn hangs(self) -> bool {
        self.kills() || matches!(self, Self::LeftBefore | Self::LeftAfter)
    }
}

/// Which call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    /// The one with this number, from 0.
    Number(usize),
    /// The first one of this name.
    Name(&'static str),
}

/// Every call to storage and catalog, and every chunk of a body, passes through it.
#[derive(Debug)]
pub(crate) struct Fuse {
    state: Mutex<State>,
    struck: watch::Sender<bool>,
    healed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    plan: Option<(At, Fault)>,
    calls: usize,
    waits: usize,
    out: bool,
}

impl Fuse {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            struck: watch::Sender::new(false),
            healed: watch::Sender::new(true),
        }
    }

    pub(crate) fn arm(&self, at: At, fault: Fault) {
        *self.state.lock().expect("not poisoned") = State {
            plan: Some((at, fault)),
            ..State::default()
        };
        self.struck.send_replace(false);
        self.healed.send_replace(false);
    }

    /// From here on all is well; what hangs fails.
    pub(crate) fn heal(&self) {
        *self.state.lock().expect("not poisoned") = State::default();
        self.healed.send_replace(true);
    }

    /// Whether the fault happened.
    pub(crate) fn has_struck(&self) -> bool {
        *self.struck.borrow()
    }

    /// Waits until a call hangs.
    pub(crate) async fn hangs(&self) {
        let _ = self.struck.subscribe().wait_for(|struck| *struck).await;
        if !self.fault().is_some_and(Fault::hangs) {
            // It has happened, and the operation goes on.
            std::future::pending::<()>().await;
        }
    }

    /// Makes a call, or breaks it.
    pub(crate) async fn pass<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let mut call = pin!(call);
        match self.fault_of(name) {
            Some(fault) => {
                if fault.acts() {
                    let _ = call.as_mut().await;
                }
                self.struck.send_replace(true);
                if fault.hangs() {
                    self.hang().await;
                }
                Err(broken())
            }
            None => {
                let outcome = std::future::poll_fn(|cx| match call.as_mut().poll(cx) {
                    Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                    Poll::Pending if self.dies_waiting() => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                });
                match outcome.await {
                    Some(outcome) => outcome,
                    // The call stays as it is until the process ends.
                    None => {
                        self.struck.send_replace(true);
                        self.hang().await;
                        Err(broken())
                    }
                }
            }
        }
    }

    async fn hang(&self) {
        let _ = self.healed.subscribe().wait_for(|healed| *healed).await;
    }

    fn fault(&self) -> Option<Fault> {
        let state = self.state.lock().expect("not poisoned");
        state.plan.map(|(_, fault)| fault)
    }

    /// The fault of this call, if it is the one.
    fn fault_of(&self, name: &'static str) -> Option<Fault> {
        let mut state = self.state.lock().expect("not poisoned");
        let (at, fault) = state.plan?;
        let number = state.calls;
        state.calls += 1;
        let chosen = match at {
            At::Number(at) => number == at && fault != Fault::KilledWithin,
            At::Name(at) => name == at && !*self.struck.borrow(),
        };
        state.out |= chosen && fault == Fault::Outage;
        (chosen || state.out).then_some(fault)
    }

    fn dies_waiting(&self) -> bool {
        let mut state = self.state.lock().expect("not poisoned");
        let Some((At::Number(at), Fault::KilledWithin)) = state.plan else {
            return false;
        };
        let number = state.waits;
        state.waits += 1;
        number == at
    }
}

fn broken() -> Error {
    Error::new(ErrorKind::UpstreamUnavailable, "broken on order")
}
