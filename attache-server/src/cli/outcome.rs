//! How a command ends: done, or not, and with which exit code.

use std::process::ExitCode;

use attache::{Error, ErrorKind};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Done,
    Failed,
    Misused,
    NotFound,
    /// By a signal: 128 and its number, as shells have it.
    Signalled(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Misused => 2,
            Exit::NotFound => 3,
            Exit::Signalled(signal) => 128 + signal,
        })
    }
}

/// Why a command ended before its end.
#[derive(Debug)]
pub(super) enum CommandError {
    Error(Error),
    /// A fault of the place where the command runs: a file, a disk.
    Here(String),
    Usage(String),
    /// The reader of our results has enough: no failure, and nothing to say.
    PipeClosed,
    Signalled(u8),
}

pub(super) type Outcome = Result<Exit, CommandError>;

impl From<Error> for CommandError {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl CommandError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Error(error) => match error.kind() {
                ErrorKind::NotFound => Exit::NotFound,
                ErrorKind::Misconfigured | ErrorKind::BadRequest => Exit::Misused,
                _ => Exit::Failed,
            },
            Self::Here(_) => Exit::Failed,
            Self::Usage(_) => Exit::Misused,
            Self::PipeClosed => Exit::Done,
            Self::Signalled(signal) => Exit::Signalled(*signal),
        }
    }
}
