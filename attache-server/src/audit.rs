//! The audit log: who did what to which attachment, as log lines of the target `audit`.
//!
//! Changes are at level info, reads at debug (`ATTACHE_LOG=info,audit=debug`). A line never holds a secret, a signature,
//! or a file's name.

use attache::Error;

use crate::auth::Caller;
use crate::respond::request_id;

/// What was done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Upload,
    Read,
    Url,
    Delete,
    SignIn,
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
            Self::Reload => "reload",
            Self::Sweep => "sweep",
        }
    }
}

/// Writes a line. `on` is an id, or nothing where the action has no attachment.
pub(crate) fn record<T>(caller: &Caller, action: Action, on: &str, outcome: &Result<T, Error>) {
    record_as(&caller.name, action, on, outcome);
}

/// As [`record`], for somebody who is no caller: a link, the application's reader.
pub(crate) fn record_as<T>(who: &str, action: Action, on: &str, outcome: &Result<T, Error>) {
    let outcome = match outcome {
        Ok(_) => "ok",
        Err(error) => error.kind().code(),
    };
    let what = action.as_str();
    // The id is made where the line is: reads are many, and mostly not logged.
    match action {
        Action::Read => {
            tracing::debug!(target: "audit", who, action = what, attachment = on, outcome, request_id = request_id());
        }
        _ => {
            tracing::info!(target: "audit", who, action = what, attachment = on, outcome, request_id = request_id());
        }
    }
}
