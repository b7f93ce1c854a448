//! `[hooks]`: who looks at uploads before they are there.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::config::value::{HttpUrl, Optional, Own, Time, Words};
use crate::section;

section! {
    /// `[hooks]`: who looks at uploads before they are there.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct HooksConfig in "hooks" {
        /// What inspects every upload while its bytes pass, and can refuse it (422): ClamAV's daemon.
        #[example = "\"unix:///run/clamav/clamd.ctl\""]
        clamd: Option<ClamdAddress> = None => Optional(Own),
        /// A URL of yours that gets the file as the body of a POST, and accepts with 2xx or refuses with 4xx.
        #[example = "\"http://127.0.0.1:3000/inspect\""]
        webhook: Option<String> = None => Optional(HttpUrl),
        /// How long either may be silent.
        timeout: Duration = Duration::from_secs(30) => Time,
        /// What happens to an upload that could not be inspected: "refuse" (503) or "accept".
        when_down: WhenDown = WhenDown::Refuse => WHEN_DOWN,
    }
}

/// Where clamd listens: `tcp://127.0.0.1:3310`, `unix:///run/clamav/clamd.ctl`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClamdAddress {
    /// A host and a port.
    Tcp(String),
    /// A socket.
    Unix(PathBuf),
}

/// `hooks.when_down`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenDown {
    /// It is refused with 503.
    #[default]
    Refuse,
    /// It is accepted, and the log says so.
    Accept,
}

const WHEN_DOWN: Words<WhenDown> =
    Words(&[("refuse", WhenDown::Refuse), ("accept", WhenDown::Accept)]);

impl FromStr for ClamdAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("is \"{text}\", but must be \"tcp://HOST:PORT\" or \"unix:///PATH\"");
        if let Some(path) = text
            .strip_prefix("unix://")
            .filter(|path| path.starts_with('/'))
        {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let authority = text.strip_prefix("tcp://").ok_or_else(wrong)?;
        let known = authority
            .parse::<http::uri::Authority>()
            .is_ok_and(|authority| authority.port_u16().is_some());
        match known {
            true => Ok(Self::Tcp(authority.to_owned())),
            false => Err(wrong()),
        }
    }
}

impl fmt::Display for ClamdAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "tcp://{authority}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}
