//! Signals that end a transfer, so that it can clean up after itself.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::outcome::CommandError;

/// Listens for SIGINT and SIGTERM.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    pub(super) fn listen() -> Result<Self, CommandError> {
        let open = |kind| {
            signal(kind)
                .map_err(|error| CommandError::Here(format!("cannot listen for signals: {error}")))
        };
        Ok(Self {
            interrupt: open(SignalKind::interrupt())?,
            terminate: open(SignalKind::terminate())?,
        })
    }

    /// Works until it is done, or a signal ends it: then the work is dropped.
    pub(super) async fn or<T>(
        &mut self,
        work: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        tokio::select! {
            outcome = work => outcome,
            signal = self.signal() => Err(CommandError::Signalled(signal)),
        }
    }

    /// Waits for the next signal; its number.
    pub(super) async fn signal(&mut self) -> u8 {
        let kind = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        };
        u8::try_from(kind.as_raw_value()).unwrap_or_default()
    }
}
