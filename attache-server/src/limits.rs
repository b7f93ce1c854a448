//! How much one client, one caller, and all of them together may ask for. Whoever asks for more is told when to come
//! back.
//!
//! Memory of transfers is bounded by the library; this bounds what surrounds it: connections, requests that run, and
//! how fast they follow each other.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use attache::config::{LimitsConfig, Rate, ServerConfig};
use attache::{Error, ErrorKind, Result};
use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use http::HeaderMap;

/// Clients and callers whose rate is remembered at a time. Those that have been quiet long enough are forgotten first;
/// while that does not help, strangers share one rate.
const MAX_REMEMBERED: usize = 100_000;

/// When somebody who met a full house may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The counts and rates of this process.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    connections: AtomicUsize,
    by_client: Mutex<HashMap<IpAddr, usize>>,
    requests: AtomicUsize,
    clients: Paces<IpAddr>,
    callers: Paces<Arc<str>>,
}

/// Which limit was met: the label in `attache_limited_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    Connections,
    ClientConnections,
    Requests,
    ClientRate,
    CallerRate,
}

impl Met {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ClientConnections => "client_connections",
            Self::Requests => "requests",
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
pub(crate) struct Running(Arc<Limits>);

impl Limits {
    /// Counts a connection in. Proxies in front and programs on the same machine are many clients in one, so only the
    /// limit for all holds for them.
    ///
    /// # Errors
    ///
    /// The limit that was met.
    pub(crate) fn connect(
        self: &Arc<Self>,
        config: &LimitsConfig,
        server: &ServerConfig,
        address: IpAddr,
    ) -> Result<Admitted, Met> {
        let mut admitted = Admitted {
            limits: self.clone(),
            client: None,
        };
        if self.connections.fetch_add(1, Ordering::Relaxed) >= config.connections {
            return Err(Met::Connections);
        }
        let address = address.to_canonical();
        if address.is_loopback() || server.trusts(address) {
            return Ok(admitted);
        }
        let client = network(address);
        let mut by_client = self
            .by_client
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = by_client.entry(client).or_default();
        if *count >= config.connections_per_client {
            return Err(Met::ClientConnections);
        }
        *count += 1;
        admitted.client = Some(client);
        Ok(admitted)
    }

    /// Counts a request in.
    ///
    /// # Errors
    ///
    /// The limit that was met.
    pub(crate) fn begin(self: &Arc<Self>, config: &LimitsConfig) -> Result<Running, Met> {
        let running = Running(self.clone());
        match self.requests.fetch_add(1, Ordering::Relaxed) >= config.requests {
            true => Err(Met::Requests),
            false => Ok(running),
        }
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
        let Some(client) = self.client else {
            return;
        };
        let by_client = &self.limits.by_client;
        let mut by_client = by_client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                by_client.remove(&client);
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An error for whoever met a limit.
pub(crate) fn refusal(met: Met, wait: Option<Duration>) -> Error {
    let (kind, what) = match met {
        Met::Connections | Met::ClientConnections => {
            (ErrorKind::Busy, "too many connections are open")
        }
        Met::Requests => (ErrorKind::Busy, "too many requests run"),
        Met::ClientRate => (
            ErrorKind::TooManyRequests,
            "this client sends too many requests",
        ),
        Met::CallerRate => (
            ErrorKind::TooManyRequests,
            "this token sends too many requests",
        ),
    };
    Error::new(kind, format!("{what}; try again a little later"))
        .retry_after(wait.unwrap_or(RETRY_AFTER))
}

/// What a connection gets that is not even read.
pub(crate) const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
content-length: 120\r\nretry-after: 1\r\nconnection: close\r\n\r\n\
{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\"code\":\"busy\",\"detail\":\"too many connections are open\"}";

/// Whoever asks: the peer, or, where that is a proxy that we trust, the last address in `X-Forwarded-For` that is not one
/// of ours. What stands further left was written by whoever sent the request.
pub(crate) fn client(server: &ServerConfig, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let peer = peer.to_canonical();
    if !server.trusts(peer) {
        return peer;
    }
    let lines: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|line| line.to_str().ok())
        .collect();
    let mut client = peer;
    for entry in lines.join(",").rsplit(',') {
        let Ok(address) = entry.trim().parse::<IpAddr>() else {
            break;
        };
        client = address.to_canonical();
        if !server.trusts(client) {
            break;
        }
    }
    client
}

/// One client: an IPv4 address, or the 64 bits of an IPv6 one that a provider gives to one household (RFC 6177).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, DefaultClock>;

/// The rates of many, all with one limit, which may change.
#[derive(Debug)]
struct Paces<K: Clone + Eq + std::hash::Hash>(Mutex<Option<(Rate, Arc<Limiter<K>>)>>);

impl<K: Clone + Eq + std::hash::Hash> Default for Paces<K> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<K: Clone + Eq + std::hash::Hash> Paces<K> {
    fn step(&self, rate: Option<Rate>, key: K) -> Result<(), Duration> {
        let Some(rate) = rate else {
            return Ok(());
        };
        let limiter = self.limiter(rate);
        if limiter.len() >= MAX_REMEMBERED {
            limiter.retain_recent();
            if limiter.len() >= MAX_REMEMBERED {
                // Every one of them is busy: an attack from a hundred thousand places.
                return Err(RETRY_AFTER);
            }
        }
        limiter
            .check_key(&key)
            .map_err(|early| early.wait_time_from(DefaultClock::default().now()))
    }

    fn limiter(&self, rate: Rate) -> Arc<Limiter<K>> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some((have, limiter)) if *have == rate => limiter.clone(),
            _ => {
                let burst = NonZero::new(rate.burst).unwrap_or(NonZero::<u32>::MIN);
                let quota = Quota::with_period(rate.period)
                    .unwrap_or(Quota::per_second(NonZero::<u32>::MIN))
                    .allow_burst(burst);
                let limiter = Arc::new(Limiter::hashmap(quota));
                *current = Some((rate, limiter.clone()));
                limiter
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attache::Config;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_refusal_of_a_connection_is_a_whole_answer() {
        let text = std::str::from_utf8(NO_ROOM).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
        let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(problem["code"], "busy");
    }

    #[test]
    fn connections_are_counted_for_all_and_for_each_and_given_back() {
        let mut config = Config::default();
        config.limits.connections = 3;
        config.limits.connections_per_client = 2;
        config.server.trusted_proxies = vec!["10.0.0.1".parse().expect("a network")];
        let limits = Arc::new(Limits::default());
        let connect = |text: &str| limits.connect(&config.limits, &config.server, address(text));
        let (one, two) = (connect("192.0.2.1"), connect("192.0.2.1"));
        assert_eq!(
            connect("192.0.2.1").expect_err("a third"),
            Met::ClientConnections
        );
        let three = connect("10.0.0.1").expect("another");
        assert_eq!(connect("10.0.0.1").expect_err("a fourth"), Met::Connections);
        drop(one);
        let again = connect("192.0.2.1").expect("room again");
        drop((two, three, again));
        let many: Vec<_> = (0..3)
            .map(|_| connect("127.0.0.1").expect("no limit for each"))
            .collect();
        drop(many);
        assert_eq!(limits.connections.load(Ordering::Relaxed), 0);
        assert!(limits.by_client.lock().expect("whole").is_empty());
    }

    #[test]
    fn a_rate_holds_for_each_client_and_says_how_long_to_wait() {
        let mut config = Config::default().limits;
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

    #[test]
    fn only_proxies_that_are_trusted_say_who_asks() {
        let mut server = Config::default().server;
        server.trusted_proxies = vec!["10.0.0.0/8".parse().expect("a network")];
        let asks = |peer: &str, lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", http::HeaderValue::from_static(line));
            }
            client(&server, address(peer), &headers).to_string()
        };
        assert_eq!(
            asks("192.0.2.1", &["203.0.113.9"]),
            "192.0.2.1",
            "a stranger's word"
        );
        assert_eq!(asks("10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(
            asks("10.0.0.1", &["1.1.1.1, 203.0.113.9, 10.0.0.2"]),
            "203.0.113.9"
        );
        assert_eq!(
            asks("10.0.0.1", &["1.1.1.1", "203.0.113.9"]),
            "203.0.113.9",
            "several lines"
        );
        assert_eq!(asks("10.0.0.1", &["203.0.113.9, unknown"]), "10.0.0.1");
        assert_eq!(asks("10.0.0.1", &[]), "10.0.0.1");
    }
}
