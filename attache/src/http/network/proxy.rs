//! The proxy through which the store and Entra ID are reached, and what is reached without it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::Network;
use crate::config::value::{Format, Raw, quoted};
use crate::secret::Secret;
use crate::section;

/// `network.proxy`: an HTTP proxy that takes `CONNECT` (RFC 9110 section 9.3.6). Its password does not print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    address: http::uri::Authority,
    /// `user:password`, decoded.
    credentials: Option<Secret>,
}

impl Proxy {
    /// Host and port.
    pub fn address(&self) -> &str {
        self.address.as_str()
    }

    /// Where to connect, without credentials.
    pub(crate) fn uri(&self) -> http::Uri {
        http::Uri::builder()
            .scheme("http")
            .authority(self.address.clone())
            .path_and_query("/")
            .build()
            .unwrap_or_default()
    }

    /// The value of `Proxy-Authorization`, if it wants one (RFC 7617).
    pub(crate) fn authorization(&self) -> Option<http::HeaderValue> {
        let credentials = self.credentials.as_ref()?;
        let encoded = crate::base64::encode(credentials.expose());
        let mut value = http::HeaderValue::try_from(format!("Basic {encoded}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl FromStr for Proxy {
    type Err = String;

    /// `http://proxy:3128`, `http://user:password@proxy:3128`, or as curl takes it, `proxy:3128`.
    ///
    /// The messages never show the text: it may hold a password.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "must be an HTTP proxy such as \"http://proxy.example.org:3128\" or \"none\"".to_owned()
        };
        let text = text.trim();
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                return Err(format!(
                    "must be an HTTP proxy, \"http://HOST:PORT\"; \"{scheme}\" is not supported"
                ));
            }
            Some(_) => return Err(wrong()),
            None => text,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, address) = match rest.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials), address),
            None => (None, rest),
        };
        let address: http::uri::Authority = address.parse().map_err(|_| wrong())?;
        if address.host().is_empty() || address.as_str().contains('@') {
            return Err(wrong());
        }
        let address = match address.port_u16() {
            Some(_) => address,
            // Of http.
            None => format!("{address}:80").parse().map_err(|_| wrong())?,
        };
        let decode = |text: &str| {
            let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
            decoded.map(String::from).map_err(|_| wrong())
        };
        let credentials = match credentials.map(|text| text.split_once(':').unwrap_or((text, ""))) {
            None => None,
            Some((user, password)) => {
                let pair = format!("{}:{}", decode(user)?, decode(password)?);
                if pair.chars().any(char::is_control) {
                    return Err(wrong());
                }
                Some(Secret::new(pair))
            }
        };
        Ok(Self {
            address,
            credentials,
        })
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.credentials {
            Some(_) => write!(f, "http://[redacted]@{}", self.address),
            None => write!(f, "http://{}", self.address),
        }
    }
}

/// `network.no_proxy`: hosts that are reached without the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoProxy(Vec<Exempt>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Exempt {
    /// `*`
    Everything,
    /// An address or a network.
    Network(Network),
    /// A domain and what is below it, in lower case; with a port, that port alone.
    Domain(String, Option<u16>),
}

impl NoProxy {
    /// Whether `host` is reached without a proxy: because it is listed, or because it can only be reached from here.
    ///
    /// Loopback, and the addresses at which a cloud tells a machine who it is (169.254.0.0/16 and fe80::/10, and Azure's
    /// 168.63.129.16), mean this very machine; another one would answer for itself, or be asked for somebody's tokens.
    pub fn exempts(&self, host: &str, port: u16) -> bool {
        let host = host.trim_matches(['[', ']']).trim_end_matches('.');
        let host = host.to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        let here = match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => {
                address.is_loopback()
                    || address.is_link_local()
                    || address.is_unspecified()
                    || address == AZURE_HOST
            }
            Some(IpAddr::V6(address)) => {
                address.is_loopback() || address.is_unicast_link_local() || address.is_unspecified()
            }
            None => host == "localhost" || host.ends_with(".localhost"),
        };
        here || self.0.iter().any(|exempt| match exempt {
            Exempt::Everything => true,
            Exempt::Network(network) => address.is_some_and(|address| network.contains(address)),
            Exempt::Domain(domain, of_port) => {
                let below = || {
                    let rest = host.strip_suffix(domain.as_str());
                    rest.is_some_and(|rest| rest.ends_with('.'))
                };
                of_port.is_none_or(|of_port| of_port == port) && (host == *domain || below())
            }
        })
    }
}

/// What serves a virtual machine of Azure from the machine that it runs on
/// (<https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16>).
const AZURE_HOST: std::net::Ipv4Addr = std::net::Ipv4Addr::new(168, 63, 129, 16);

impl FromStr for NoProxy {
    type Err = String;

    /// As curl reads `NO_PROXY`: separated by commas or spaces; `*`, names with what is below them (with or without a dot
    /// before them), addresses, networks.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(|c: char| c == ',' || c.is_whitespace());
        let parts = parts.filter(|part| !part.is_empty());
        let exempt = parts.map(|part| {
            if part == "*" {
                return Ok(Exempt::Everything);
            }
            if let Ok(network) = part.trim_matches(['[', ']']).parse() {
                return Ok(Exempt::Network(network));
            }
            let name = part.trim_start_matches("*.").trim_start_matches('.');
            let (name, port) = match name.rsplit_once(':') {
                Some((name, port)) => (name, Some(port.parse().map_err(|_| port))),
                None => (name, None),
            };
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let fits = !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
            match port.transpose() {
                Ok(port) if fits => Ok(Exempt::Domain(name, port)),
                _ => Err(format!(
                    "holds \"{part}\", but must list names, addresses and networks, such as \"example.org, 10.0.0.0/8\""
                )),
            }
        });
        exempt.collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for NoProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, exempt) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            match exempt {
                Exempt::Everything => f.write_str("*")?,
                Exempt::Network(network) => network.fmt(f)?,
                Exempt::Domain(domain, None) => f.write_str(domain)?,
                Exempt::Domain(domain, Some(port)) => write!(f, "{domain}:{port}")?,
            }
        }
        Ok(())
    }
}

section! {
    /// `[network]`: which way to a host.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Route in "network" {
        /// An HTTP proxy on the way to the store and to Entra ID, such as "http://proxy.example.org:3128" or with a user and a
        /// password "http://user:password@proxy.example.org:3128"; without it HTTPS_PROXY. It must take CONNECT; "none" uses no
        /// proxy although HTTPS_PROXY is set. Loopback and the addresses of instance metadata (169.254.169.254) never go through
        /// it.
        #[example = "\"http://proxy.example.org:3128\""]
        proxy: Option<Proxy> = None => ProxyOrNone,
        /// What is reached without it: names with what is below them, addresses, networks; without it NO_PROXY.
        #[example = "[\"example.org\", \"10.0.0.0/8\"]"]
        no_proxy: NoProxy = NoProxy::default() => Exempted,
    }
}

/// "none" is for those who have HTTPS_PROXY set.
struct ProxyOrNone;

impl Format<Option<Proxy>> for ProxyOrNone {
    fn read(&self, raw: &Raw) -> Result<Option<Proxy>, String> {
        match raw.text()?.trim() {
            "none" => Ok(None),
            text => text.parse().map(Some),
        }
    }

    fn show(&self, value: &Option<Proxy>) -> Option<String> {
        quoted(value.as_ref()?)
    }
}

struct Exempted;

impl Format<NoProxy> for Exempted {
    fn read(&self, raw: &Raw) -> Result<NoProxy, String> {
        raw.list().join(",").parse()
    }

    fn show(&self, value: &NoProxy) -> Option<String> {
        let text = value.to_string();
        (!text.is_empty()).then(|| quoted(text)).flatten()
    }
}

impl Route {
    /// The proxy on the way to `uri`. Only `https` goes through one: plain http is for emulators and for the machine's own
    /// identity, and a proxy would see what is in it.
    pub fn proxy_for(&self, uri: &http::Uri) -> Option<&Proxy> {
        let proxy = self.proxy.as_ref()?;
        let host = uri.host()?;
        let https = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
        let port = uri.port_u16().unwrap_or(443);
        (https && !self.no_proxy.exempts(host, port)).then_some(proxy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_read_as_curl_reads_it_and_its_password_does_not_print() {
        for (text, shown) in [
            ("http://proxy:3128", "http://proxy:3128"),
            ("HTTP://proxy:3128/", "http://proxy:3128"),
            ("proxy:3128", "http://proxy:3128"),
            ("http://proxy", "http://proxy:80"),
            ("http://[::1]:3128", "http://[::1]:3128"),
            ("http://u:p%40ss@proxy:1", "http://[redacted]@proxy:1"),
        ] {
            let proxy: Proxy = text.parse().expect(text);
            assert_eq!(proxy.to_string(), shown);
            assert!(!format!("{proxy:?}").contains("p@ss"));
        }
        let proxy: Proxy = "http://u:p%40ss@proxy:1".parse().expect("a proxy");
        let value = proxy.authorization().expect("credentials");
        // "u:p@ss"
        assert_eq!(value, "Basic dTpwQHNz");
        assert!(value.is_sensitive());
        for bad in [
            "",
            "https://u:hunter2@proxy",
            "socks5://proxy:1080",
            "http://",
            "http://u:hunter2@",
            "http://proxy:port",
            "http://proxy:1/hunter2",
            "http://u:hunter2%ff@proxy",
            "http://u:hunter2%0d%0aX@proxy",
        ] {
            let error = bad.parse::<Proxy>().expect_err(bad);
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_is_listed_and_what_is_here_is_reached_without_it() {
        let proxy = Some("proxy:3128".parse().expect("a proxy"));
        let list = "example.org, .internal 10.0.0.0/8,files.test:8443 *.cluster.local";
        let no_proxy: NoProxy = list.parse().expect("a list");
        assert_eq!(no_proxy.to_string().parse(), Ok(no_proxy.clone()));
        let route = Route { proxy, no_proxy };
        for (url, through) in [
            ("https://acme.blob.core.windows.net/files", true),
            ("https://login.microsoftonline.com/t", true),
            ("https://example.org/", false),
            ("https://EXAMPLE.org./", false),
            ("https://a.example.org/", false),
            ("https://notexample.org/", true),
            ("https://a.internal/", false),
            ("https://x.cluster.local/", false),
            ("https://10.1.2.3/", false),
            ("https://11.1.2.3/", true),
            ("https://files.test:8443/", false),
            ("https://files.test/", true),
            ("https://localhost/", false),
            ("https://a.localhost/", false),
            ("https://127.8.8.8:1/", false),
            ("https://[::1]:1/", false),
            ("https://[::ffff:127.0.0.1]/", false),
            ("https://169.254.169.254/metadata", false),
            ("https://[fe80::1]/", false),
            ("https://168.63.129.16/", false),
            ("http://acme.blob.core.windows.net/", false),
        ] {
            let uri: http::Uri = url.parse().expect("a URL");
            assert_eq!(route.proxy_for(&uri).is_some(), through, "{url}");
        }
        let everything: NoProxy = "*".parse().expect("a list");
        assert!(everything.exempts("acme.blob.core.windows.net", 443));
        assert!(!NoProxy::default().exempts("acme.blob.core.windows.net", 443));
        assert!("a b, c/d".parse::<NoProxy>().is_err());
    }
}
