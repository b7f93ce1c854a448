//! How much one client, one caller, and all of them together may ask for. A client that asks for more gets the time
//! after which it may try again.
//!
//! Memory of transfers is bounded by the library; this bounds what surrounds it: connections, requests that run, and
//! how fast they follow each other.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::config::limits::LimitsConfig;
use crate::config::server::ServerConfig;
use attache::{Error, ErrorKind, Result};

use super::rates::Rates;
use super::sign_ins::{SignIn, SignIns};

/// When somebody who found a full house may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Places beyond a limit, for health checks and for what an operator asks: a server that is full can still be looked at.
const fn kept(limit: usize) -> usize {
    match limit / 64 {
        few @ 0..16 => few,
        _ => 16,
    }
}

/// The counts and rates of this process.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    connections: AtomicUsize,
    connections_of: Counts<IpAddr>,
    requests: AtomicUsize,
    requests_of: Counts<IpAddr>,
    uploads_of: Counts<Arc<str>>,
    sign_ins: Arc<SignIns>,
    clients: Rates<IpAddr>,
    callers: Rates<Arc<str>>,
}

/// Which limit a request went beyond: the label in `attache_limited_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitExceeded {
    Connections,
    ClientConnections,
    Requests,
    ClientRequests,
    SignIns,
    CallerUploads,
    ClientRate,
    CallerRate,
}

impl LimitExceeded {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ClientConnections => "client_connections",
            Self::Requests => "requests",
            Self::ClientRequests => "client_requests",
            Self::SignIns => "sign_ins",
            Self::CallerUploads => "caller_uploads",
            Self::ClientRate => "client_rate",
            Self::CallerRate => "caller_rate",
        }
    }
}

/// A connection that counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    limits: Arc<Limits>,
    client: Option<IpAddr>,
}

/// A request that counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    limits: Arc<Limits>,
    client: Option<IpAddr>,
}

/// An upload that counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Uploading {
    limits: Arc<Limits>,
    caller: Arc<str>,
}

/// How many things each client, or each caller, has.
#[derive(Debug)]
struct Counts<K>(Mutex<HashMap<K, usize>>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + std::hash::Hash> Counts<K> {
    /// Counts one more, unless there are `limit`.
    fn add(&self, key: K, limit: usize) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key).or_default();
        let room = *count < limit;
        *count += usize::from(room);
        room
    }

    fn remove(&self, key: &K) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(key);
            }
        }
    }
}

impl Limits {
    /// Counts a connection in. For proxies in front and programs on the same machine only the limit for all holds, and the
    /// latter have a few places beyond it, so that a health check does not take full for dead.
    ///
    /// # Errors
    ///
    /// The limit that is exceeded.
    pub(crate) fn connect(
        self: &Arc<Self>,
        config: &LimitsConfig,
        server: &ServerConfig,
        address: IpAddr,
    ) -> Result<Admitted, LimitExceeded> {
        let mut admitted = Admitted {
            limits: self.clone(),
            client: None,
        };
        let here = if address.to_canonical().is_loopback() {
            kept(config.connections)
        } else {
            0
        };
        if self.connections.fetch_add(1, Ordering::Relaxed) >= config.connections + here {
            return Err(LimitExceeded::Connections);
        }
        if let Some(client) = countable(server, address) {
            if !self
                .connections_of
                .add(client, config.connections_per_client)
            {
                return Err(LimitExceeded::ClientConnections);
            }
            admitted.client = Some(client);
        }
        Ok(admitted)
    }

    /// Counts a request of `address` in. What an `operator` asks finds some places when all others are taken.
    ///
    /// # Errors
    ///
    /// The limit that is exceeded.
    pub(crate) fn begin(
        self: &Arc<Self>,
        config: &LimitsConfig,
        server: &ServerConfig,
        address: IpAddr,
        operator: bool,
    ) -> Result<Running, LimitExceeded> {
        let mut running = Running {
            limits: self.clone(),
            client: None,
        };
        let more = if operator { kept(config.requests) } else { 0 };
        if self.requests.fetch_add(1, Ordering::Relaxed) >= config.requests + more {
            return Err(LimitExceeded::Requests);
        }
        if let Some(client) = countable(server, address) {
            if !self.requests_of.add(client, config.requests_per_client) {
                return Err(LimitExceeded::ClientRequests);
            }
            running.client = Some(client);
        }
        Ok(running)
    }

    /// Counts an upload of a caller in.
    ///
    /// # Errors
    ///
    /// The limit that is exceeded.
    pub(crate) fn upload(
        self: &Arc<Self>,
        config: &LimitsConfig,
        caller: &Arc<str>,
    ) -> Result<Uploading, LimitExceeded> {
        let most = config.uploads_per_caller.unwrap_or(usize::MAX);
        if !self.uploads_of.add(caller.clone(), most) {
            return Err(LimitExceeded::CallerUploads);
        }
        Ok(Uploading {
            limits: self.clone(),
            caller: caller.clone(),
        })
    }

    /// A place for a sign-in.
    pub(crate) fn sign_in(&self) -> SignIn {
        self.sign_ins.begin()
    }

    /// Whether this client may send a request now.
    ///
    /// # Errors
    ///
    /// How long to wait.
    pub(crate) fn client(&self, config: &LimitsConfig, client: IpAddr) -> Result<(), Duration> {
        self.clients.step(config.client_rate, network(client))
    }

    /// Whether this caller may send a request now.
    ///
    /// # Errors
    ///
    /// How long to wait.
    pub(crate) fn caller(&self, config: &LimitsConfig, name: &Arc<str>) -> Result<(), Duration> {
        self.callers.step(config.caller_rate, name.clone())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.limits.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(client) = self.client {
            self.limits.connections_of.remove(&client);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.limits.requests.fetch_sub(1, Ordering::Relaxed);
        if let Some(client) = self.client {
            self.limits.requests_of.remove(&client);
        }
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        self.limits.uploads_of.remove(&self.caller);
    }
}

/// The error for a limit that is exceeded.
pub(crate) fn refusal(exceeded: LimitExceeded, wait: Option<Duration>) -> Error {
    let (kind, what) = match exceeded {
        LimitExceeded::Connections | LimitExceeded::ClientConnections => {
            (ErrorKind::Busy, "too many connections are open")
        }
        LimitExceeded::Requests | LimitExceeded::ClientRequests | LimitExceeded::SignIns => {
            (ErrorKind::Busy, "too many requests are in progress")
        }
        LimitExceeded::CallerUploads => (
            ErrorKind::Busy,
            "this token has as many uploads in progress as limits.uploads_per_caller allows",
        ),
        LimitExceeded::ClientRate => (
            ErrorKind::TooManyRequests,
            "this client sends too many requests",
        ),
        LimitExceeded::CallerRate => (
            ErrorKind::TooManyRequests,
            "this token sends too many requests",
        ),
    };
    Error::new(kind, format!("{what}; try again a little later"))
        .retry_after(wait.unwrap_or(RETRY_AFTER))
}

/// The client that `address` counts as; `None` for one that is many.
fn countable(server: &ServerConfig, address: IpAddr) -> Option<IpAddr> {
    let address = address.to_canonical();
    (!address.is_loopback() && !server.trusts(address)).then(|| network(address))
}

/// One client: an IPv4 address, or the 64 bits of an IPv6 one that a provider gives to one household (RFC 6177).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn connections_are_counted_for_all_and_for_each_and_given_back() {
        let mut config = Settings::default();
        config.limits.connections = 3;
        config.limits.connections_per_client = 2;
        config.server.trusted_proxies = vec!["10.0.0.1".parse().expect("a network")];
        let limits = Arc::new(Limits::default());
        let connect = |text: &str| limits.connect(&config.limits, &config.server, address(text));
        let (one, two) = (connect("192.0.2.1"), connect("192.0.2.1"));
        assert_eq!(
            connect("192.0.2.1").expect_err("a third"),
            LimitExceeded::ClientConnections
        );
        let three = connect("10.0.0.1").expect("another");
        assert_eq!(
            connect("10.0.0.1").expect_err("a fourth"),
            LimitExceeded::Connections
        );
        drop(one);
        let again = connect("192.0.2.1").expect("room again");
        drop((two, three, again));
        let many: Vec<_> = (0..3)
            .map(|_| connect("127.0.0.1").expect("no limit for each"))
            .collect();
        drop(many);
        assert_eq!(limits.connections.load(Ordering::Relaxed), 0);
        assert!(limits.connections_of.0.lock().expect("whole").is_empty());
    }

    #[test]
    fn requests_are_counted_for_all_and_for_each_and_some_places_are_kept_for_operators() {
        let mut config = Settings::default();
        config.limits.requests = 128;
        config.limits.requests_per_client = 127;
        let limits = Arc::new(Limits::default());
        let begin = |text: &str, operator| {
            let address = address(text);
            limits.begin(&config.limits, &config.server, address, operator)
        };
        let held: Vec<_> = (0..127).map(|_| begin("192.0.2.1", false)).collect();
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(
            begin("192.0.2.1", false).expect_err("a third"),
            LimitExceeded::ClientRequests
        );
        let other = begin("127.0.0.1", false).expect("another client");
        assert_eq!(
            begin("127.0.0.1", false).expect_err("full"),
            LimitExceeded::Requests
        );
        let operators: Vec<_> = (0..kept(128)).map(|_| begin("127.0.0.1", true)).collect();
        assert!(operators.iter().all(Result::is_ok));
        assert_eq!(
            begin("127.0.0.1", true).expect_err("full"),
            LimitExceeded::Requests
        );
        drop((held, other, operators));
        assert_eq!(limits.requests.load(Ordering::Relaxed), 0);
        assert!(limits.requests_of.0.lock().expect("whole").is_empty());
    }

    #[test]
    fn a_rate_holds_for_each_client_and_says_how_long_to_wait() {
        let mut config = Settings::default().limits;
        config.client_rate = Some("60/m, burst 3".parse().expect("a rate"));
        let limits = Limits::default();
        let client = |text: &str| limits.client(&config, address(text));
        for _ in 0..3 {
            client("2001:db8::1").expect("within the burst");
        }
        let wait = client("2001:db8::2").expect_err("the same household");
        assert!(
            wait <= Duration::from_secs(1) && !wait.is_zero(),
            "{wait:?}"
        );
        client("2001:db8:0:1::1").expect("another household");
        client("192.0.2.1").expect("another client");
    }
}
