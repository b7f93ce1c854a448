//! The audit log: who did what to which attachment, as log lines of the target `audit`.
//!
//! Changes are at level info, reads at debug (`ATTACHE_LOG=info,audit=debug`). A line never holds a secret, a signature,
//! or a file's name.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use attache::Error;

use crate::auth::Caller;
use crate::request_id::request_id;

/// What was done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Upload,
    Read,
    Url,
    Delete,
    SignIn,
    Authenticate,
    Reload,
    Sweep,
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Read => "read",
            Self::Url => "url",
            Self::Delete => "delete",
            Self::SignIn => "sign_in",
            Self::Authenticate => "authenticate",
            Self::Reload => "reload",
            Self::Sweep => "sweep",
        }
    }
}

tokio::task_local! {
    /// The client of the request that is served.
    static CLIENT: IpAddr;
}

/// Runs the work of a request of `client`, whose address its lines hold.
pub(crate) async fn of_client<T>(client: IpAddr, work: impl Future<Output = T>) -> T {
    CLIENT.scope(client, work).await
}

fn client() -> String {
    CLIENT.try_with(ToString::to_string).unwrap_or_default()
}

/// Writes a line. `on` is an id, or nothing where the action has no attachment.
pub(crate) fn record<T>(caller: &Caller, action: Action, on: &str, outcome: &Result<T, Error>) {
    record_as(&caller.name, action, on, outcome);
}

/// As [`record`], for somebody who is not a caller: a link, the application's reader.
pub(crate) fn record_as<T>(who: &str, action: Action, on: &str, outcome: &Result<T, Error>) {
    let outcome = match outcome {
        Ok(_) => "ok",
        Err(error) => error.kind().code(),
    };
    record_word(who, action, on, outcome);
}

/// As [`record_as`], for an outcome that is a word already.
pub(crate) fn record_word(who: &str, action: Action, on: &str, outcome: &str) {
    let what = action.as_str();
    // The id is made where the line is: reads are many, and mostly not logged.
    match action {
        Action::Read => {
            tracing::debug!(target: "audit", who, action = what, attachment = on, outcome, client = client(), request_id = request_id());
        }
        _ => {
            tracing::info!(target: "audit", who, action = what, attachment = on, outcome, client = client(), request_id = request_id());
        }
    }
}

/// Lines a minute about people who are not known; strangers must not be able to fill the log.
const REFUSALS_A_MINUTE: u32 = 60;

/// Writes a line about somebody who could not prove who they are. Beyond [`REFUSALS_A_MINUTE`] they are counted, and the
/// next line says how many were left out.
pub(crate) fn refused<T>(action: Action, outcome: &Result<T, Error>) {
    if may_write() {
        record_as("unknown", action, "", outcome);
    }
}

/// As [`refused`], for a signature of S3; `code` is what its client is told.
pub(crate) fn refused_s3(code: &str) {
    if may_write() {
        record_word("unknown", Action::Authenticate, "", code);
    }
}

/// Whether a line may be written about somebody who is not known.
fn may_write() -> bool {
    static REFUSALS: Mutex<Option<Minute>> = Mutex::new(None);
    let left_out = {
        let mut refusals = REFUSALS.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = refusals.get_or_insert_with(Minute::new);
        match minute.take(Instant::now()) {
            Some(left_out) => left_out,
            None => return false,
        }
    };
    if left_out > 0 {
        tracing::warn!(target: "audit", left_out, "too many refused attempts to log each of them");
    }
    true
}

/// How many lines were written in the minute that runs.
struct Minute {
    began: Instant,
    written: u32,
    left_out: u64,
}

impl Minute {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            written: 0,
            left_out: 0,
        }
    }

    /// Whether another line may be written, and how many were left out before it.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if now.duration_since(self.began) >= Duration::from_secs(60) {
            (self.began, self.written) = (now, 0);
        }
        if self.written >= REFUSALS_A_MINUTE {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_so_many_lines_and_the_next_one_says_how_many_were_left_out() {
        let mut minute = Minute::new();
        let start = minute.began;
        for _ in 0..REFUSALS_A_MINUTE {
            assert_eq!(minute.take(start), Some(0));
        }
        for _ in 0..5 {
            assert_eq!(minute.take(start + Duration::from_secs(59)), None);
        }
        let later = start + Duration::from_secs(60);
        assert_eq!(minute.take(later), Some(5));
        assert_eq!(minute.take(later), Some(0));
    }
}
