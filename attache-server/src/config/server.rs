//! `[server]` and `[telemetry]`: where it listens, under which names, behind what.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::origin::Origin;
use attache::config::load::Faults;
use attache::config::value::{
    FilePath, Format, HttpUrl, List, Optional, Own, Quoted, Raw, Time, has_user, quoted,
};
use attache::http::network::Network;
use attache::secret::Secret;
use attache::section;

section! {
    /// `[server]`
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ServerConfig in "server" {
        /// Where to listen. Read at start only. Off loopback needs an auth.mode other than "open".
        #[start_only = true]
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8080)) => Quoted("an address and a port, such as \"127.0.0.1:8080\""),
        /// Base of links, such as "https://files.example.org". Without it, the host of the request.
        #[example = "\"https://files.example.org\""]
        public_url: Option<String> = None => Optional(PublicUrl),
        /// Other names, with a port where it is not the usual one, under which attache is reached ("files.internal:8080"): links
        /// that are made for somebody who uses one of them have it. All others get public_url.
        hosts: Vec<String> = Vec::new() => List(Host),
        /// How long running transfers may finish after SIGTERM or SIGINT.
        shutdown_grace: Duration = Duration::from_secs(30) => Time,
        /// Web servers in front, by the address from which they connect, such as ["127.0.0.1", "10.0.0.0/8"]. Their
        /// X-Forwarded-Proto is believed, and delivery.mode "delegate" hands files to them and to nobody else.
        trusted_proxies: Vec<Network> = Vec::new() => List(Own),
        /// Pages of these origins may use /v1 and read attachments by scripts, with cookies and tokens, and embed them; such as
        /// ["https://wiki.example.org"]. Pages that only show attachments need delivery.embed alone.
        cors_origins: Vec<Origin> = Vec::new() => List(Own),
    }
    sections {
        /// `[server.tls]`
        tls: TlsConfig,
    }
}

section! {
    /// `[server.tls]`: both files or none.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct TlsConfig in "server.tls" {
        /// HTTPS without a web server in front: PEM files, both or none. Reloaded when they change; a pair that does not match
        /// leaves the old one in use. The server's certificate, and then those between it and its root.
        #[example = "\"/etc/attache/tls/fullchain.pem\""]
        certificate_file: Option<PathBuf> = None => Optional(FilePath),
        /// Its private key.
        #[example = "\"/etc/attache/tls/privkey.pem\""]
        key_file: Option<PathBuf> = None => Optional(FilePath),
    }
    files {
        /// What `certificate_file` holds.
        certificate_pem: Option<String> from certificate_file = String::from,
        /// What `key_file` holds.
        key_pem: Option<Secret> from key_file = Secret::new,
    }
}

section! {
    /// `[telemetry]`
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct TelemetryConfig in "telemetry" {
        /// Where spans of requests are sent to, by OTLP over HTTP. Read at start only.
        #[start_only = true]
        #[example = "\"http://127.0.0.1:4318\""]
        otlp_endpoint: Option<String> = None => Optional(HttpUrl),
    }
}

impl ServerConfig {
    /// Whether what connects from `address` is a web server in front.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|network| network.contains(address))
    }

    pub(super) fn check(&self, faults: &mut Faults) {
        let tls = &self.tls;
        if tls.certificate_file.is_some() != tls.key_file.is_some() {
            faults.add("server.tls needs both certificate_file and key_file, or neither");
        }
    }
}

/// The base of links.
struct PublicUrl;

impl Format<String> for PublicUrl {
    fn read(&self, raw: &Raw) -> Result<String, String> {
        let text = raw.text()?;
        let uri: http::Uri = text
            .parse()
            .map_err(|_| format!("is \"{text}\", but must be a URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https"))
            || uri.authority().is_none()
            || uri.query().is_some()
            || has_user(&uri)
        {
            return Err(
                "must be a URL such as \"https://files.example.org\", without user name, password and query"
                    .to_owned(),
            );
        }
        Ok(text.trim_end_matches('/').to_owned())
    }

    fn show(&self, value: &String) -> Option<String> {
        quoted(value)
    }
}

/// A name, with a port where it is not the usual one.
pub(super) struct Host;

impl Format<String> for Host {
    fn read(&self, raw: &Raw) -> Result<String, String> {
        let host = raw.text()?;
        let parsed = host.parse::<http::uri::Authority>();
        match parsed.map_or(true, |parsed| parsed.as_str().contains('@')) {
            true => Err(format!(
                "holds \"{host}\", but must hold names such as \"files.example.org\" or \"files.internal:8080\""
            )),
            false => Ok(host.to_owned()),
        }
    }

    fn show(&self, value: &String) -> Option<String> {
        quoted(value)
    }
}
