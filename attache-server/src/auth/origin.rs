//! Requests that a browser sends for another site (cross-site request forgery, DNS rebinding).

use crate::config::server::ServerConfig;
use attache::{Error, ErrorKind, Result};
use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::uri::Authority;

use crate::cors;
use crate::net::peer::Peer;

/// Refuses what changes something and comes from a page of another origin
/// (<https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html>).
///
/// `open`: nobody proved anything, so the page must have come from loopback, or from `server.public_url`: a name that
/// somebody else's DNS server points at 127.0.0.1 is the same origin as itself.
///
/// # Errors
///
/// [`ErrorKind::Forbidden`].
pub(crate) fn check(server: &ServerConfig, request: &Parts, open: bool) -> Result<()> {
    let headers = &request.headers;
    if request.method.is_safe() {
        return Ok(());
    }
    let foreign = || {
        Error::new(
            ErrorKind::Forbidden,
            "a page of another site sent this; if that site is yours, set server.public_url to it, or send a token",
        )
    };
    // The operator named it. What it may do is still its caller's right.
    if cors::listed(server, headers).is_some() {
        return Ok(());
    }
    let Some(origin) = headers.get(ORIGIN) else {
        // Browsers send `Origin` with everything that changes something, but for old ones.
        let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
        return match site {
            None | Some(b"same-origin" | b"none") => Ok(()),
            Some(_) => Err(foreign()),
        };
    };
    let origin: http::Uri = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.parse().ok())
        .ok_or_else(foreign)?;
    let scheme = origin.scheme_str().unwrap_or_default();
    let origin = origin.authority().ok_or_else(foreign)?;
    let public = server.public_url.as_deref();
    let public: Option<http::Uri> = public.and_then(|url| url.parse().ok());
    let own = public
        .as_ref()
        .and_then(|url| Some((url.scheme_str()?, url.authority()?)));
    if own.is_some_and(|(own_scheme, own)| own_scheme == scheme && same(own, origin)) {
        return Ok(());
    }
    // The page on http is another origin than the one on https: somebody on the way may have written it.
    let secure = request
        .extensions
        .get::<Peer>()
        .is_some_and(|peer| peer.is_secure(server, headers));
    if scheme != if secure { "https" } else { "http" } {
        return Err(foreign());
    }
    if open && !is_loopback(origin.host()) {
        return Err(foreign());
    }
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok()?.parse().ok());
    // HTTP/2 has it in the target.
    let host: Option<Authority> = host.or_else(|| request.uri.authority().cloned());
    match host {
        Some(host) if same(&host, origin) => Ok(()),
        _ => Err(foreign()),
    }
}

/// Without user information; names compare in any case.
fn same(left: &Authority, right: &Authority) -> bool {
    left.host().eq_ignore_ascii_case(right.host()) && left.port_u16() == right.port_u16()
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_compare_by_name_and_port() {
        let authority = |text: &str| text.parse::<Authority>().expect("an authority");
        assert!(same(
            &authority("Files.example.org"),
            &authority("files.example.org")
        ));
        for other in [
            "files.example.org:8080",
            "example.org",
            "files.example.org.evil.org",
        ] {
            assert!(
                !same(&authority("files.example.org"), &authority(other)),
                "{other}"
            );
        }
    }

    #[test]
    fn only_loopback_is_loopback() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "LOCALHOST"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "localhost.evil.org",
            "128.0.0.1",
            "127.0.0.1.evil.org",
            "",
            "[::2]",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
