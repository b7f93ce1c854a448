//! How much one client, one caller, and all of them together may ask for. A client that asks for more gets the time
//! after which it may try again.
//!
//! Memory of transfers is bounded by the library; this bounds what surrounds it: connections, requests that run, and
//! how fast they follow each other.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use attache::config::{LimitsConfig, Rate, ServerConfig};
use attache::{Error, ErrorKind, Result};
use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use http::HeaderMap;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Clients and callers whose rate is remembered at a time. Those that have been quiet long enough are forgotten first;
/// while that does not help, strangers share one rate.
const MAX_REMEMBERED: usize = 100_000;

/// When somebody who met a full house may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Places beyond a limit, for health checks and for what an operator asks: a server that is full can still be looked at.
const fn kept(limit: usize) -> usize {
    match limit / 64 {
        few @ 0..16 => few,
        _ => 16,
    }
}

/// Sign-ins that wait for their body. One takes milliseconds, so that 256 newer ones during it are an attack at a rate that
/// no number of places would hold off.
const SIGN_INS: usize = 256;

/// The counts and rates of this process.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    connections: AtomicUsize,
    connections_of: Counts<IpAddr>,
    requests: AtomicUsize,
    requests_of: Counts<IpAddr>,
    uploads_of: Counts<Arc<str>>,
    sign_ins: Mutex<SignIns>,
    clients: Paces<IpAddr>,
    callers: Paces<Arc<str>>,
}

/// Which limit was met: the label in `attache_limited_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    Connections,
    ClientConnections,
    Requests,
    ClientRequests,
    SignIns,
    CallerUploads,
    ClientRate,
    CallerRate,
}

impl Met {
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

/// A sign-in that has a place until it is dropped, or until a newer one needs the place.
#[derive(Debug)]
pub(crate) struct SignIn {
    limits: Arc<Limits>,
    number: u64,
    given_up: CancellationToken,
}

/// How many things each client, or each caller, has.
#[derive(Debug)]
struct Counts<K>(Mutex<HashMap<K, usize>>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[derive(Debug, Default)]
struct SignIns {
    /// Oldest first.
    waiting: VecDeque<(u64, CancellationToken)>,
    next: u64,
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
        let here = if address.to_canonical().is_loopback() {
            kept(config.connections)
        } else {
            0
        };
        if self.connections.fetch_add(1, Ordering::Relaxed) >= config.connections + here {
            return Err(Met::Connections);
        }
        if let Some(client) = countable(server, address) {
            if !self
                .connections_of
                .add(client, config.connections_per_client)
            {
                return Err(Met::ClientConnections);
            }
            admitted.client = Some(client);
        }
        Ok(admitted)
    }

    /// Counts a request of `address` in. What an `operator` asks finds some places when all others are taken.
    ///
    /// # Errors
    ///
    /// The limit that was met.
    pub(crate) fn begin(
        self: &Arc<Self>,
        config: &LimitsConfig,
        server: &ServerConfig,
        address: IpAddr,
        operator: bool,
    ) -> Result<Running, Met> {
        let mut running = Running {
            limits: self.clone(),
            client: None,
        };
        let more = if operator { kept(config.requests) } else { 0 };
        if self.requests.fetch_add(1, Ordering::Relaxed) >= config.requests + more {
            return Err(Met::Requests);
        }
        if let Some(client) = countable(server, address) {
            if !self.requests_of.add(client, config.requests_per_client) {
                return Err(Met::ClientRequests);
            }
            running.client = Some(client);
        }
        Ok(running)
    }

    /// Counts an upload of a caller in.
    ///
    /// # Errors
    ///
    /// The limit that was met.
    pub(crate) fn upload(
        self: &Arc<Self>,
        config: &LimitsConfig,
        caller: &Arc<str>,
    ) -> Result<Uploading, Met> {
        let most = config.uploads_per_caller.unwrap_or(usize::MAX);
        if !self.uploads_of.add(caller.clone(), most) {
            return Err(Met::CallerUploads);
        }
        Ok(Uploading {
            limits: self.clone(),
            caller: caller.clone(),
        })
    }

    /// A place for a sign-in. Nobody waits and nobody is turned away: when all places are taken, the sign-in that has
    /// waited longest for its body gives up its own.
    pub(crate) fn sign_in(self: &Arc<Self>) -> SignIn {
        let mut sign_ins = self.sign_ins();
        if sign_ins.waiting.len() >= SIGN_INS
            && let Some((_, given_up)) = sign_ins.waiting.pop_front()
        {
            given_up.cancel();
        }
        let (number, given_up) = (sign_ins.next, CancellationToken::new());
        sign_ins.next += 1;
        sign_ins.waiting.push_back((number, given_up.clone()));
        SignIn {
            limits: self.clone(),
            number,
            given_up,
        }
    }

    fn sign_ins(&self) -> std::sync::MutexGuard<'_, SignIns> {
        self.sign_ins.lock().unwrap_or_else(PoisonError::into_inner)
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

impl SignIn {
    /// Waits until a newer sign-in needs the place.
    pub(crate) async fn given_up(&self) {
        self.given_up.cancelled().await;
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

impl Drop for SignIn {
    fn drop(&mut self) {
        let mut sign_ins = self.limits.sign_ins();
        let place = sign_ins
            .waiting
            .binary_search_by_key(&self.number, |(number, _)| *number);
        if let Ok(place) = place {
            sign_ins.waiting.remove(place);
        }
    }
}

/// An error for whoever met a limit.
pub(crate) fn refusal(met: Met, wait: Option<Duration>) -> Error {
    let (kind, what) = match met {
        Met::Connections | Met::ClientConnections => {
            (ErrorKind::Busy, "too many connections are open")
        }
        Met::Requests | Met::ClientRequests | Met::SignIns => {
            (ErrorKind::Busy, "too many requests are in progress")
        }
        Met::CallerUploads => (
            ErrorKind::Busy,
            "this token has as many uploads in progress as limits.uploads_per_caller allows",
        ),
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

/// Tells a connection that there is no room for it. Reads its request first: a client that is answered before it has asked
/// takes that for a fault. Whoever speaks TLS gets an end.
pub(crate) async fn refuse(mut stream: TcpStream) {
    let mut head = [0; 4096];
    let _ = tokio::time::timeout(RETRY_AFTER, stream.read(&mut head)).await;
    refuse_unheard(&stream);
}

/// The same at once, when as many are being refused as may be.
pub(crate) fn refuse_unheard(stream: &TcpStream) {
    // A fresh socket takes as much without waiting.
    let _ = stream.try_write(NO_ROOM);
}

/// What a connection gets for which there is no room.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
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
        let Some(address) = forwarded_address(entry.trim()) else {
            break;
        };
        client = address.to_canonical();
        if !server.trusts(client) {
            break;
        }
    }
    client
}

/// An entry of `X-Forwarded-For`: an address, which some gateways write with a port, or an IPv6 one in brackets.
fn forwarded_address(entry: &str) -> Option<IpAddr> {
    let bare = entry.trim_start_matches('[').trim_end_matches(']');
    let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(with_port)
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

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, DefaultClock>;

/// The rates of many, all with one limit, which may change.
#[derive(Debug)]
struct Paces<K: Clone + Eq + std::hash::Hash>(Mutex<Option<Arc<Pace<K>>>>);

/// The rates under one limit.
#[derive(Debug)]
struct Pace<K: Clone + Eq + std::hash::Hash> {
    rate: Rate,
    each: Limiter<K>,
    /// While as many are remembered as may be, those who are not known share rates by their hash: an attack from a hundred
    /// thousand places slows others down, and shuts nobody out.
    shared: Limiter<u16>,
    began: Instant,
    /// When those that have been quiet were last forgotten, in milliseconds since it began: looking at all of them costs
    /// milliseconds, too much for every request.
    cleaned: AtomicU64,
    hasher: RandomState,
}

/// How often it is looked for those that can be forgotten.
const CLEAN_EVERY: Duration = Duration::from_secs(1);

impl<K: Clone + Eq + std::hash::Hash> Default for Paces<K> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<K: Clone + Eq + std::hash::Hash> Paces<K> {
    fn step(&self, rate: Option<Rate>, key: K) -> Result<(), Duration> {
        match rate {
            None => Ok(()),
            Some(rate) => self.of(rate).step(key, MAX_REMEMBERED),
        }
    }

    fn of(&self, rate: Rate) -> Arc<Pace<K>> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some(pace) if pace.rate == rate => pace.clone(),
            _ => {
                let pace = Arc::new(Pace::new(rate));
                *current = Some(pace.clone());
                pace
            }
        }
    }
}

impl<K: Clone + Eq + std::hash::Hash> Pace<K> {
    fn new(rate: Rate) -> Self {
        let burst = NonZero::new(rate.burst).unwrap_or(NonZero::<u32>::MIN);
        let quota = Quota::with_period(rate.period)
            .unwrap_or(Quota::per_second(NonZero::<u32>::MIN))
            .allow_burst(burst);
        Self {
            rate,
            each: Limiter::hashmap(quota),
            shared: Limiter::hashmap(quota),
            began: Instant::now(),
            cleaned: AtomicU64::new(0),
            hasher: RandomState::new(),
        }
    }

    fn step(&self, key: K, most: usize) -> Result<(), Duration> {
        if self.each.len() >= most {
            self.clean();
        }
        let outcome = match self.each.len() >= most {
            true => {
                let [low, high, ..] = self.hasher.hash_one(&key).to_le_bytes();
                self.shared.check_key(&u16::from_le_bytes([low, high]))
            }
            false => self.each.check_key(&key),
        };
        outcome.map_err(|early| early.wait_time_from(DefaultClock::default().now()))
    }

    fn clean(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let every = u64::try_from(CLEAN_EVERY.as_millis()).unwrap_or(u64::MAX);
        let last = self.cleaned.load(Ordering::Relaxed);
        let due = last == 0 || now >= last + every;
        let ours = due
            && self
                .cleaned
                .compare_exchange(last, now.max(1), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if ours {
            self.each.retain_recent();
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
        assert!(limits.connections_of.0.lock().expect("whole").is_empty());
    }

    #[test]
    fn requests_are_counted_for_all_and_for_each_and_some_places_are_kept_for_operators() {
        let mut config = Config::default();
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
            Met::ClientRequests
        );
        let other = begin("127.0.0.1", false).expect("another client");
        assert_eq!(begin("127.0.0.1", false).expect_err("full"), Met::Requests);
        let operators: Vec<_> = (0..kept(128)).map(|_| begin("127.0.0.1", true)).collect();
        assert!(operators.iter().all(Result::is_ok));
        assert_eq!(begin("127.0.0.1", true).expect_err("full"), Met::Requests);
        drop((held, other, operators));
        assert_eq!(limits.requests.load(Ordering::Relaxed), 0);
        assert!(limits.requests_of.0.lock().expect("whole").is_empty());
    }

    #[test]
    fn the_sign_in_that_has_waited_longest_makes_room_for_a_new_one() {
        let limits = Arc::new(Limits::default());
        let mut held: Vec<SignIn> = (0..SIGN_INS).map(|_| limits.sign_in()).collect();
        assert!(held.iter().all(|one| !one.given_up.is_cancelled()));
        held.push(limits.sign_in());
        let given_up = |one: &SignIn| one.given_up.is_cancelled();
        assert_eq!(held.iter().filter(|one| given_up(one)).count(), 1);
        assert!(given_up(&held[0]));
        drop(held);
        assert!(limits.sign_ins().waiting.is_empty());
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
    fn when_too_many_are_remembered_strangers_share_rates_and_nobody_is_shut_out() {
        let pace = Pace::<u64>::new("1/h, burst 2".parse().expect("a rate"));
        for client in 0..10 {
            pace.step(client, 10).expect("within the burst");
        }
        let refused = (10..1010).filter(|client| pace.step(*client, 10).is_err());
        assert!(refused.count() < 100, "few share a rate with others");
        assert_eq!(pace.each.len(), 10, "no more are remembered");
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
        assert_eq!(
            asks("10.0.0.1", &["203.0.113.9:41234"]),
            "203.0.113.9",
            "a port"
        );
        assert_eq!(asks("10.0.0.1", &["[2001:db8::9]:41234"]), "2001:db8::9");
        assert_eq!(asks("10.0.0.1", &["[2001:db8::9]"]), "2001:db8::9");
        assert_eq!(asks("10.0.0.1", &["203.0.113.9, unknown"]), "10.0.0.1");
        assert_eq!(asks("10.0.0.1", &[]), "10.0.0.1");
    }
}
