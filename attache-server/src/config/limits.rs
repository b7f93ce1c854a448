//! `[limits]`: how much clients may ask for.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use attache::config::value::{Count, Own, Time, or_unlimited};
use attache::section;

section! {
    /// `[limits]`: how much clients may ask for. Each replica counts for itself, so behind a load balancer a client may ask for as
    /// many times as much as there are replicas.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct LimitsConfig in "limits" {
        /// Open connections of all clients.
        connections: usize = 8192 => Count,
        /// Open connections of one client: an IPv4 address or a /64 network of IPv6. Loopback and server.trusted_proxies are many
        /// clients in one and have the first limit only.
        connections_per_client: usize = 256 => Count,
        /// Requests that are worked on at a time, of all clients; bytes that are already on their way to a client do not count.
        requests: usize = 4096 => Count,
        /// Of these, how many of one client: one address, or one /64 network of IPv6. Programs on this machine and proxies that
        /// are trusted are many clients in one, so that this does not hold for them.
        requests_per_client: usize = 1024 => Count,
        /// Uploads of one token or user that are in progress at a time: a number, or "unlimited". A wiki that uploads for all of its
        /// users with one token needs many.
        uploads_per_caller: Option<usize> = None => or_unlimited(Count),
        /// How long the head of a request may take to come, and a connection may be idle between two.
        head_timeout: Duration = Duration::from_secs(30) => Time,
        /// How fast requests of one client may follow each other: "20/s", "600/m, burst 50". Each replica counts for itself.
        client_rate: Option<Rate> = None => or_unlimited(Own),
        /// How fast requests of one token or user may follow each other. Each replica counts for itself.
        caller_rate: Option<Rate> = None => or_unlimited(Own),
    }
}

/// A limit of requests: one each `period`, and `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Time that one request costs.
    pub(crate) period: Duration,
    /// Requests that may come at once.
    pub(crate) burst: u32,
    /// As it was written: how many, in which time.
    written: (u32, Duration),
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "is \"{text}\", but must be a rate, such as \"20/s\", \"600/m\" or \"20/s, burst 100\""
            )
        };
        let (rate, burst) = match text.split_once(',') {
            Some((rate, burst)) => (rate, Some(burst)),
            None => (text, None),
        };
        let (count, unit) = rate.trim().split_once('/').ok_or_else(wrong)?;
        let count: u32 = count
            .trim()
            .parse()
            .ok()
            .filter(|count| *count > 0)
            .ok_or_else(wrong)?;
        let time = match unit.trim() {
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(60 * 60),
            _ => return Err(wrong()),
        };
        let burst = match burst {
            // A second's worth, so that a page with many images is no attack.
            None => count.div_ceil(u32::try_from(time.as_secs()).unwrap_or(1)),
            Some(burst) => {
                let burst = burst.trim().strip_prefix("burst").ok_or_else(wrong)?;
                burst
                    .trim()
                    .parse()
                    .ok()
                    .filter(|burst| *burst > 0)
                    .ok_or_else(wrong)?
            }
        };
        Ok(Self {
            period: time / count,
            burst,
            written: (count, time),
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, time) = self.written;
        let unit = match time.as_secs() {
            1 => "s",
            60 => "m",
            _ => "h",
        };
        write!(f, "{count}/{unit}, burst {}", self.burst)
    }
}
