//! Who is at the other end of a connection; and, where that is a proxy that we trust, what it says of the client behind it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use attache::transfer::handover::Handover;

use crate::config::server::ServerConfig;
use http::header::HOST;
use http::{HeaderMap, Uri};
use tokio_util::sync::CancellationToken;

use super::valve::Valve;

/// Who is at the other end of a connection; every request carries it.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// The address from which it connects.
    pub(crate) address: IpAddr,
    /// It speaks TLS with us.
    pub(crate) secure: bool,
    /// Whether it takes what is written to it.
    pub(crate) valve: Arc<Valve>,
    /// Joins bodies to its socket, where that can send files by itself: without TLS, in HTTP/1.
    pub(crate) handover: Option<Arc<Handover>>,
    /// Ends the connection without an answer; for HTTP/1.
    pub(crate) hang_up: CancellationToken,
}

impl Peer {
    /// Whether the client asks over https: of us, or, as a proxy that is trusted says, of the proxy.
    pub(crate) fn is_secure(&self, server: &ServerConfig, headers: &HeaderMap) -> bool {
        let forwarded = headers
            .get("x-forwarded-proto")
            .filter(|_| server.trusts(self.address));
        match forwarded {
            Some(scheme) => scheme == "https",
            None => self.secure,
        }
    }

    /// The base of absolute links: the host that the client used, if it is one of `server.hosts` or nothing is configured;
    /// otherwise `server.public_url`, or the first of `server.hosts`.
    pub(crate) fn base_url(&self, server: &ServerConfig, uri: &Uri, headers: &HeaderMap) -> String {
        let used = headers
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            // HTTP/2 has it in the target.
            .or_else(|| uri.authority().map(|authority| authority.as_str()))
            .filter(|host| host.parse::<http::uri::Authority>().is_ok());
        let is_ours = used.is_some_and(|used| {
            server
                .hosts
                .iter()
                .any(|host| host.eq_ignore_ascii_case(used))
        });
        if let Some(base) = server.public_url.as_ref().filter(|_| !is_ours) {
            return base.clone();
        }
        let host = used
            .filter(|_| is_ours || server.hosts.is_empty())
            .or(server.hosts.first().map(String::as_str))
            .map_or_else(|| server.listen.to_string(), str::to_owned);
        let scheme = if self.is_secure(server, headers) {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{host}")
    }
}

/// The client that asks: the peer, or, where that is a proxy that we trust, the last address in `X-Forwarded-For` that is not one
/// of ours. What stands further left was written by the sender of the request.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_proxies_that_are_trusted_say_who_asks() {
        let server = ServerConfig {
            trusted_proxies: vec!["10.0.0.0/8".parse().expect("a network")],
            ..ServerConfig::default()
        };
        let asks = |peer: &str, lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", http::HeaderValue::from_static(line));
            }
            client(&server, peer.parse().expect("an address"), &headers).to_string()
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
