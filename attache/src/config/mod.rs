//! The configuration: plain data, loaded from a file and the environment, with all faults found at once.
//!
//! `KEYS` is the one definition of every key: how it is read, how it is shown, and thereby which keys exist. Environment
//! wins over file over default.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;

use crate::delivery::embedding::{Embed, Origin};
use crate::delivery::lifetime::UrlLifetime;
use crate::error::{Error, ErrorKind, Result};
use crate::network::{Network, NoProxy, Proxy, Route};
use crate::secret::Secret;
use crate::storage::azure::{AzureConfig, CredentialKind};
use crate::storage::local::LocalConfig;
use crate::transfer::body::Allowance;
use crate::transfer::budget::MIN_BUDGET;

/// Longest life of a temporary URL.
///
/// A URL must not outlive the key that signs it. Keys are asked for 12 h and renewed from 70 % of their life, so 2 h is
/// honoured from the key at hand even while renewals fail for 1.6 h.
pub const MAX_URL_LIFETIME: Duration = Duration::from_secs(2 * 60 * 60);

/// Shortest life of a temporary URL: what a browser needs to follow a redirect on a bad line.
pub const MIN_URL_LIFETIME: Duration = Duration::from_secs(5);

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[storage]`
    pub storage: StorageConfig,
    /// `[delivery]`
    pub delivery: DeliveryConfig,
    /// `[upload]`
    pub upload: UploadConfig,
    /// `[download]`
    pub download: DownloadConfig,
    /// `memory.transfer_bytes`: the buffers of all transfers together.
    pub transfer_bytes: u64,
    /// `[network]`: which way to the store, to Entra ID and to other services of a cloud.
    pub network: Route,
    /// `clients.idle_after`: idle connections to the store are closed after this time.
    pub clients_idle_after: Duration,
    /// `catalog.url`
    pub catalog: CatalogUrl,
    /// `[auth]`
    pub auth: AuthConfig,
    /// `[limits]`
    pub limits: LimitsConfig,
    /// `[hooks]`
    pub hooks: HooksConfig,
    /// `telemetry.otlp_endpoint`: where spans are sent to. Read at start only.
    pub otlp_endpoint: Option<String>,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where to listen. Read at start only.
    pub listen: SocketAddr,
    /// Base of links; from the request if unset.
    pub public_url: Option<String>,
    /// Other names, with a port where it is not the usual one, under which it is reached: links for who uses one have it.
    pub hosts: Vec<String>,
    /// How long running transfers may finish after SIGTERM or SIGINT.
    pub shutdown_grace: Duration,
    /// Web servers in front, by the address from which they connect: they are believed, and may be delegated to.
    pub trusted_proxies: Vec<Network>,
    /// Pages of these origins may use the API and read attachments.
    pub cors_origins: Vec<Origin>,
    /// `[server.tls]`
    pub tls: TlsConfig,
}

/// `[server.tls]`: both files or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM: the server's certificate, and then those between it and its root.
    pub certificate_file: Option<PathBuf>,
    /// PEM: its private key.
    pub key_file: Option<PathBuf>,
    /// What `certificate_file` holds.
    pub certificate_pem: Option<String>,
    /// What `key_file` holds.
    pub key_pem: Option<Secret>,
}

/// `[storage]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    /// Which of the following is used.
    pub backend: Backend,
    /// `[storage.local]`
    pub local: LocalConfig,
    /// `[storage.azure]`
    pub azure: AzureConfig,
    /// Files that `[storage.azure]` names. Their contents are in `azure`.
    pub azure_files: AzureFiles,
}

/// Files whose contents belong to the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AzureFiles {
    /// `storage.azure.client_secret_file`
    pub client_secret: Option<PathBuf>,
    /// `storage.azure.client_certificate_file`
    pub client_certificate: Option<PathBuf>,
    /// `storage.azure.ca_file`
    pub ca: Option<PathBuf>,
}

/// `[delivery]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryConfig {
    /// How to deliver; unset means `redirect` for Azure and `relay` for the others.
    pub mode: Option<DeliveryMode>,
    /// How long the URL of a redirect works.
    pub url_lifetime: UrlLifetime,
    /// The internal location of the web server in front, for `delegate`.
    pub internal_prefix: String,
    /// Types that may be shown within a page: `image/*`, `application/pdf`, … never SVG, HTML or XML.
    pub inline_types: Vec<String>,
    /// Pages of which sites may embed attachments.
    pub embed: Embed,
}

/// `[upload]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadConfig {
    /// Largest file.
    pub max_file_bytes: Option<u64>,
    /// All files together.
    pub total_bytes: Option<u64>,
    /// Size of a block.
    pub block_bytes: u64,
    /// Blocks of one upload on their way at a time.
    pub concurrency: usize,
    /// How long one upload may take: `5m + size at 64KiB/s`.
    pub timeout: Allowance,
    /// How long a sender may send nothing.
    pub idle_timeout: Duration,
    /// Whether MD5 is computed and stored, for tools that check it (`azcopy`, `rclone`).
    pub md5: bool,
}

/// `[download]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadConfig {
    /// How long the store may send nothing, and how long a client may take nothing.
    pub idle_timeout: Duration,
    /// How long one download may take.
    pub timeout: Allowance,
    /// Whether whole-object reads are checked against the stored CRC-64.
    pub verify: bool,
}

/// `storage.backend`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Files in a folder.
    Local,
    /// Azure Blob Storage.
    Azure,
    /// The memory of the process.
    Memory,
}

/// `delivery.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryMode {
    /// The bytes pass through us.
    Relay,
    /// 302 to a short-lived signed URL of the store.
    Redirect,
    /// An internal path for nginx.
    Delegate,
}

/// `[hooks]`: who looks at uploads before they are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HooksConfig {
    /// ClamAV's daemon.
    pub clamd: Option<ClamdAddress>,
    /// A URL that every file is posted to.
    pub webhook: Option<String>,
    /// How long either may be silent.
    pub timeout: Duration,
    /// What becomes of an upload that could not be looked at.
    pub when_down: WhenDown,
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

/// `[limits]`: how much clients may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Open connections of all clients.
    pub connections: usize,
    /// Open connections of one client: one address, or one /64 network of IPv6.
    pub connections_per_client: usize,
    /// Requests that are worked on at a time.
    pub requests: usize,
    /// Of these, how many of one client: one address, or one /64 network of IPv6. Programs on this machine and proxies that
    /// are trusted are many clients in one, so that this does not hold for them.
    pub requests_per_client: usize,
    /// Uploads of one token or user that are in progress at a time. A wiki that uploads for all of its users is one.
    pub uploads_per_caller: Option<usize>,
    /// How long the head of a request may take to come, and a connection may be idle between two.
    pub head_timeout: Duration,
    /// Requests of one client.
    pub client_rate: Option<Rate>,
    /// Requests of one caller: one token, one user of the application.
    pub caller_rate: Option<Rate>,
}

/// A limit of requests: one each `period`, and `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Time that one request costs.
    pub period: Duration,
    /// Requests that may come at once.
    pub burst: u32,
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

/// `[auth]`: who may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// How callers may prove who they are.
    pub mode: Vec<AuthMode>,
    /// `[auth.jwt]`
    pub jwt: JwtConfig,
    /// `[auth.forward]`
    pub forward: ForwardConfig,
}

/// `auth.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Everybody who can connect may do everything; only on loopback.
    Open,
    /// API tokens that `attache token create` made.
    Token,
    /// JSON Web Tokens that somebody else signs.
    Jwt,
    /// Readers that the application allows.
    Forward,
}

/// `[auth.jwt]`: whose tokens are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfig {
    /// The issuer's public keys, as a JSON Web Key Set (RFC 7517).
    pub jwks_file: Option<PathBuf>,
    /// What is in that file.
    pub jwks: Option<String>,
    /// Where the issuer publishes them.
    pub jwks_url: Option<String>,
    /// What `iss` must be.
    pub issuer: Option<String>,
    /// What `aud` must hold.
    pub audience: Option<String>,
    /// How far the issuer's clock may be off.
    pub leeway: Duration,
}

/// `[auth.forward]`: the application that is asked whether a reader may have an attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardConfig {
    /// Where to ask.
    pub url: Option<String>,
    /// Headers of the reader's request that it gets.
    pub headers: Vec<String>,
    /// How long to wait for the response.
    pub timeout: Duration,
    /// How long an answer holds for the same reader and attachment.
    pub cache: Duration,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            mode: vec![AuthMode::Open],
            jwt: JwtConfig {
                jwks_file: None,
                jwks: None,
                jwks_url: None,
                issuer: None,
                audience: None,
                leeway: Duration::from_secs(30),
            },
            forward: ForwardConfig {
                url: None,
                headers: ["cookie", "authorization"].map(str::to_owned).to_vec(),
                timeout: Duration::from_secs(5),
                cache: Duration::from_secs(10),
            },
        }
    }
}

impl AuthConfig {
    /// Whether callers may prove themselves this way.
    pub fn accepts(&self, mode: AuthMode) -> bool {
        self.mode.contains(&mode)
    }

    fn check(&self, faults: &mut Faults) {
        if self.mode.is_empty() {
            faults.add("auth.mode must not be empty".to_owned());
        }
        if self.accepts(AuthMode::Open) && self.mode.len() > 1 {
            faults.add(
                "auth.mode holds \"open\" beside others, but \"open\" requires no authentication; remove it, or the others".to_owned(),
            );
        }
        let mut needed = |mode: AuthMode, key: &str, missing: bool| {
            if self.accepts(mode) && missing {
                faults.add(format!("auth.mode \"{}\" needs {key}", mode.as_str()));
            }
        };
        let (jwt, forward) = (&self.jwt, &self.forward);
        let keys = usize::from(jwt.jwks_file.is_some()) + usize::from(jwt.jwks_url.is_some());
        needed(
            AuthMode::Jwt,
            "auth.jwt.jwks_file or auth.jwt.jwks_url, and not both",
            keys != 1,
        );
        // A token that was made for somebody else opens nothing here.
        needed(AuthMode::Jwt, "auth.jwt.issuer", jwt.issuer.is_none());
        needed(AuthMode::Jwt, "auth.jwt.audience", jwt.audience.is_none());
        needed(AuthMode::Forward, "auth.forward.url", forward.url.is_none());
        needed(
            AuthMode::Forward,
            "auth.forward.headers",
            forward.headers.is_empty(),
        );
        if jwt.leeway > MAX_LEEWAY {
            faults.add("auth.jwt.leeway must be at most 5m".to_owned());
        }
        if forward.cache > MAX_FORWARD_CACHE {
            faults.add("auth.forward.cache must be at most 5m".to_owned());
        }
        if let Some(url) = &jwt.jwks_url
            && !url.starts_with("https://")
            && !is_loopback_url(url)
        {
            faults.add(
                "auth.jwt.jwks_url must be https: anyone who can alter the keys in transit can sign tokens"
                    .to_owned(),
            );
        }
    }
}

/// Longest [`leeway`](JwtConfig::leeway): what RFC 7519 section 4.1.4 calls a few minutes.
const MAX_LEEWAY: Duration = Duration::from_secs(5 * 60);

/// Longest that a reader who has lost a right keeps it here.
const MAX_FORWARD_CACHE: Duration = Duration::from_secs(5 * 60);

fn is_loopback_url(url: &str) -> bool {
    let host = url.parse::<http::Uri>().ok().and_then(|uri| {
        let host = uri.host()?.trim_matches(['[', ']']);
        Some(host == "localhost" || host.parse::<std::net::IpAddr>().ok()?.is_loopback())
    });
    host == Some(true)
}

/// `catalog.url`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogUrl(
    /// The file of the SQLite database.
    pub PathBuf,
);

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} + size at {}/s",
            show_duration(self.base),
            show_bytes(self.rate)
        )
    }
}

impl FromStr for Allowance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("is \"{text}\"; write a base and a rate, such as \"5m + size at 64KiB/s\"");
        let (base, rate) = text.split_once('+').ok_or_else(wrong)?;
        let rate = rate.trim().trim_start_matches("size at").trim();
        let rate = rate.strip_suffix("/s").ok_or_else(wrong)?;
        Ok(Self {
            base: duration(base.trim())?,
            rate: bytes(rate.trim())
                .ok()
                .filter(|rate| *rate > 0)
                .ok_or_else(wrong)?,
        })
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig {
                listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
                public_url: None,
                hosts: Vec::new(),
                shutdown_grace: Duration::from_secs(30),
                trusted_proxies: Vec::new(),
                cors_origins: Vec::new(),
                tls: TlsConfig::default(),
            },
            storage: StorageConfig {
                backend: Backend::Local,
                local: LocalConfig {
                    root: PathBuf::from("attache-data/objects"),
                },
                azure: AzureConfig::default(),
                azure_files: AzureFiles::default(),
            },
            delivery: DeliveryConfig {
                mode: None,
                url_lifetime: UrlLifetime::Auto,
                internal_prefix: "/internal/".to_owned(),
                inline_types: [
                    "image/*",
                    "audio/*",
                    "video/*",
                    "application/pdf",
                    "text/plain",
                ]
                .map(str::to_owned)
                .to_vec(),
                embed: Embed::SameSite,
            },
            upload: UploadConfig {
                max_file_bytes: None,
                total_bytes: None,
                block_bytes: 8 * 1024 * 1024,
                concurrency: 2,
                timeout: Allowance {
                    base: Duration::from_secs(5 * 60),
                    rate: 64 * 1024,
                },
                idle_timeout: Duration::from_secs(60),
                md5: true,
            },
            download: DownloadConfig {
                idle_timeout: Duration::from_secs(60),
                timeout: Allowance {
                    base: Duration::from_secs(10 * 60),
                    rate: 64 * 1024,
                },
                verify: true,
            },
            transfer_bytes: 256 * 1024 * 1024,
            network: Route::default(),
            clients_idle_after: Duration::from_secs(10 * 60),
            catalog: CatalogUrl(PathBuf::from("attache-data/attache.db")),
            auth: AuthConfig::default(),
            limits: LimitsConfig {
                connections: 8192,
                connections_per_client: 256,
                requests: 4096,
                requests_per_client: 1024,
                uploads_per_caller: None,
                head_timeout: Duration::from_secs(30),
                client_rate: None,
                caller_rate: None,
            },
            hooks: HooksConfig {
                clamd: None,
                webhook: None,
                timeout: Duration::from_secs(30),
                when_down: WhenDown::Refuse,
            },
            otlp_endpoint: None,
        }
    }
}

impl ServerConfig {
    /// Whether what connects from `address` is a web server in front.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|network| network.contains(address))
    }
}

impl Config {
    /// How attachments are delivered, the default of the backend included.
    pub fn delivery_mode(&self) -> DeliveryMode {
        self.delivery.mode.unwrap_or(match self.storage.backend {
            Backend::Azure => DeliveryMode::Redirect,
            Backend::Local | Backend::Memory => DeliveryMode::Relay,
        })
    }

    /// Puts back what is read at start only, so that nothing takes a configuration at its word that is not in effect;
    /// returns the keys that differed.
    pub(crate) fn keep_start_only(&mut self, running: &Self) -> Vec<&'static str> {
        fn keep<T: Clone + PartialEq>(
            (key, new, old): (&'static str, &mut T, &T),
            changed: &mut Vec<&'static str>,
        ) {
            if new != old {
                old.clone_into(new);
                changed.push(key);
            }
        }
        let mut changed = Vec::new();
        let (server, old) = (&mut self.server, &running.server);
        keep(
            ("server.listen", &mut server.listen, &old.listen),
            &mut changed,
        );
        keep(
            ("catalog.url", &mut self.catalog, &running.catalog),
            &mut changed,
        );
        keep(
            (
                "telemetry.otlp_endpoint",
                &mut self.otlp_endpoint,
                &running.otlp_endpoint,
            ),
            &mut changed,
        );
        changed
    }

    /// What is allowed, but most likely not meant; a sentence each, for the log and for `attache check`.
    pub fn remarks(&self) -> Vec<String> {
        let (server, limits, upload) = (&self.server, &self.limits, &self.upload);
        let whole_internet =
            |network: &Network| matches!(network.to_string().as_str(), "0.0.0.0/0" | "::/0");
        let beyond = !server.listen.ip().is_loopback();
        let behind = !server.trusted_proxies.is_empty();
        let secure = server.tls.certificate_file.is_some();
        let jwt = &self.auth.jwt;
        let jwt_is_set = jwt.issuer.is_some() || jwt.jwks_file.is_some() || jwt.jwks_url.is_some();
        let mode = self.delivery_mode();
        let of_upload = upload
            .block_bytes
            .saturating_mul(upload.concurrency as u64 + 1);
        [
            (
                server.trusted_proxies.iter().any(whole_internet),
                "server.trusted_proxies holds every address, so that every client can claim any address",
            ),
            (
                mode == DeliveryMode::Delegate && !behind,
                "delivery.mode is \"delegate\", but server.trusted_proxies is empty, so that everything is relayed",
            ),
            (
                mode == DeliveryMode::Redirect && self.storage.backend != Backend::Azure,
                "delivery.mode is \"redirect\", but this store cannot sign URLs, so that everything is relayed",
            ),
            (
                matches!((upload.total_bytes, upload.max_file_bytes), (Some(total), Some(file)) if total < file),
                "upload.total_bytes is less than upload.max_file_bytes",
            ),
            (
                limits.connections_per_client > limits.connections,
                "limits.connections_per_client is more than limits.connections",
            ),
            (
                limits.requests_per_client > limits.requests,
                "limits.requests_per_client is more than limits.requests",
            ),
            (
                limits.head_timeout < Duration::from_secs(1),
                "limits.head_timeout is so short that clients with slow networks are cut off",
            ),
            (
                of_upload > self.transfer_bytes,
                "upload.block_bytes times upload.concurrency is more than memory.transfer_bytes; blocks will be smaller",
            ),
            (
                jwt_is_set && !self.auth.accepts(AuthMode::Jwt),
                "auth.jwt is set, but auth.mode does not hold \"jwt\"",
            ),
            (
                self.auth.forward.url.is_some() && !self.auth.accepts(AuthMode::Forward),
                "auth.forward.url is set, but auth.mode does not hold \"forward\"",
            ),
            (
                beyond && !secure && !behind,
                "server.listen is not loopback and server.tls is not set: tokens and files are sent unencrypted",
            ),
            (
                server.public_url.is_none() && server.hosts.is_empty() && (beyond || secure || behind),
                "server.public_url is not set, so that links have whatever host a client names",
            ),
        ]
        .into_iter()
        .filter(|(holds, _)| *holds)
        .map(|(_, remark)| remark.to_owned())
        .collect()
    }

    /// Pages of which sites may embed attachments. Pages that may read them by scripts may show them, too, and are of other
    /// sites mostly.
    pub fn embed(&self) -> Embed {
        match self.server.cors_origins.is_empty() {
            true => self.delivery.embed,
            false => Embed::CrossOrigin,
        }
    }

    /// The folder of what attache keeps for itself: the catalog, and the key of its links.
    pub fn data_folder(&self) -> PathBuf {
        match self.catalog.0.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    /// Loads `file`, if there is one, then the environment of the process, then `overrides`: keys and values, such as
    /// `("server.listen", "127.0.0.1:9000")`, that win over both.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`], with every fault on a line of its own.
    pub fn load(file: Option<&Path>, overrides: &[(&str, String)]) -> Result<Self> {
        let text = file.map(Self::read_file).transpose()?;
        Self::load_text(text.as_deref(), overrides)
    }

    /// The text of a configuration file.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] if it cannot be read, or is empty: then an editor, a copy or a full disk has cut it
    /// short, most likely, and the defaults are for a first try on loopback.
    pub fn read_file(path: &Path) -> Result<String> {
        let wrong = |what: String| {
            Error::new(ErrorKind::Misconfigured, what)
                .with_source(std::io::Error::other(path.display().to_string()))
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| wrong(format!("cannot read the configuration file: {error}")))?;
        match text.trim().is_empty() {
            true => Err(wrong(
                "the configuration file is empty; write into it what differs from the defaults, or name no file"
                    .to_owned(),
            )),
            false => Ok(text),
        }
    }

    /// As [`load`](Self::load), from the text of the file.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_text(text: Option<&str>, overrides: &[(&str, String)]) -> Result<Self> {
        let environment = std::env::vars_os()
            // A variable that is not text is not ours.
            .filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.into_string().ok()?))
            });
        let overrides = overrides.iter().map(|(key, value)| {
            let name = format!("ATTACHE_{}", key.to_ascii_uppercase().replace('.', "__"));
            (name, value.clone())
        });
        Self::from_parts(text, environment.chain(overrides))
    }

    /// Loads the text of a file, and an environment.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn from_parts(
        file: Option<&str>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        let mut faults = Faults::default();
        let mut given: BTreeMap<&'static str, (Raw, String)> = BTreeMap::new();
        if let Some(text) = file {
            match text.parse::<toml::Table>() {
                Ok(table) => flatten("", &table, &mut given, &mut faults),
                Err(error) => faults.add(format!(
                    "the file is not valid TOML: {}",
                    error.to_string().trim_end()
                )),
            }
        }
        let environment: BTreeMap<String, String> = environment.into_iter().collect();
        for (name, path) in PLAIN_NAMES {
            if let Some(value) = environment.get(*name).filter(|value| !value.is_empty()) {
                given.insert(path, (Raw::Text(value.clone()), (*name).to_owned()));
            }
        }
        for (name, value) in &environment {
            let Some(rest) = name.strip_prefix("ATTACHE_") else {
                continue;
            };
            // An empty variable is an unset one, but not where the default lets everybody in.
            if value.is_empty() && rest == "AUTH__MODE" {
                faults.add("auth.mode must not be empty (from ATTACHE_AUTH__MODE)".to_owned());
            }
            if NOT_KEYS.iter().any(|other| rest.starts_with(other)) || value.is_empty() {
                continue;
            }
            let path = rest.to_ascii_lowercase().replace("__", ".");
            match KEYS.iter().find(|key| key.path == path) {
                Some(key) => {
                    given.insert(key.path, (Raw::Text(value.clone()), name.clone()));
                }
                None if is_of_a_service(rest) => {}
                None => faults.unknown(&path, name),
            }
        }
        proxy_of_the_environment(&environment, &mut given);
        let mut config = Self::default();
        for key in KEYS {
            if let Some((raw, origin)) = given.get(key.path)
                && let Err(what) = (key.read)(&mut config, raw)
            {
                faults.add(format!("{} {what} (from {origin})", key.path));
            }
        }
        config.read_files(&mut faults);
        config.check(&mut faults);
        faults.into_result(config)
    }

    /// What is in effect, as TOML; secrets as `[redacted]`.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        for key in KEYS {
            let (folder, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
            if folder != section {
                section = folder;
                text.push_str(if text.is_empty() { "" } else { "\n" });
                text.push_str(&format!("[{section}]\n"));
            }
            match (key.show)(self) {
                Some(value) => text.push_str(&format!("{name} = {value}\n")),
                None => text.push_str(&format!("# {name} is not set\n")),
            }
        }
        text
    }

    fn read_files(&mut self, faults: &mut Faults) {
        let mut read = |path: &Option<PathBuf>, key: &str| -> Option<String> {
            let path = path.as_ref()?;
            match std::fs::read_to_string(path) {
                // Editors and shells of Windows put a byte order mark before it, which is no part of any of these.
                Ok(text) => Some(match text.strip_prefix('\u{feff}') {
                    Some(rest) => rest.to_owned(),
                    None => text,
                }),
                Err(error) => {
                    // The key tells which file; its path is not for whoever asks over HTTP.
                    faults.add(format!("{key} names a file that cannot be read: {error}"));
                    None
                }
            }
        };
        let files = &self.storage.azure_files;
        let azure = &mut self.storage.azure;
        if let Some(secret) = read(&files.client_secret, "storage.azure.client_secret_file") {
            azure.client_secret = Some(Secret::new(secret.trim()));
        }
        if let Some(pem) = read(
            &files.client_certificate,
            "storage.azure.client_certificate_file",
        ) {
            azure.client_certificate = Some(Secret::new(pem));
        }
        azure.ca_pem = read(&files.ca, "storage.azure.ca_file").or(azure.ca_pem.take());
        self.auth.jwt.jwks = read(&self.auth.jwt.jwks_file, "auth.jwt.jwks_file");
        let tls = &mut self.server.tls;
        tls.certificate_pem = read(&tls.certificate_file, "server.tls.certificate_file");
        tls.key_pem = read(&tls.key_file, "server.tls.key_file").map(Secret::new);
    }

    fn check(&self, faults: &mut Faults) {
        let tls = &self.server.tls;
        if tls.certificate_file.is_some() != tls.key_file.is_some() {
            faults
                .add("server.tls needs both certificate_file and key_file, or neither".to_owned());
        }
        if self.storage.backend == Backend::Azure {
            for (key, what) in self.storage.azure.faults() {
                faults.add(format!("storage.azure.{key} {what}"));
            }
        }
        if let UrlLifetime::Fixed(lifetime) = self.delivery.url_lifetime
            && !(MIN_URL_LIFETIME..=MAX_URL_LIFETIME).contains(&lifetime)
        {
            faults.add("delivery.url_lifetime must be \"auto\", or between 5s and 2h".to_owned());
        }
        if self.delivery.mode == Some(DeliveryMode::Delegate)
            && self.storage.backend == Backend::Memory
        {
            faults.add(
                "delivery.mode \"delegate\" needs storage.backend \"local\" or \"azure\": the web server in front cannot \
                 reach the memory of this process"
                    .to_owned(),
            );
        }
        if self.transfer_bytes < MIN_BUDGET {
            faults.add(format!(
                "memory.transfer_bytes must be at least {}",
                show_bytes(MIN_BUDGET)
            ));
        }
        if !(64 * 1024..=crate::storage::azure::MAX_BLOCK_BYTES).contains(&self.upload.block_bytes)
        {
            faults.add("upload.block_bytes must be between 64KiB and 4000MiB".to_owned());
        }
        if !(1..=64).contains(&self.upload.concurrency) {
            faults.add("upload.concurrency must be between 1 and 64".to_owned());
        }
        if self.upload.max_file_bytes == Some(0) {
            faults.add("upload.max_file_bytes is 0, which refuses every file; set \"unlimited\" for no limit".to_owned());
        }
        self.auth.check(faults);
        if self.auth.accepts(AuthMode::Open) && !self.server.listen.ip().is_loopback() {
            faults.add(format!(
                "server.listen {} is not loopback, but auth.mode is \"open\": everybody who reaches it could read and \
                 delete everything. Set auth.mode = \"token\" and make a token with \
                 `attache token create --name NAME --scope read,write`, or listen on 127.0.0.1",
                self.server.listen
            ));
        }
    }
}

/// The keys that the text of a file sets, such as `server.listen`; none if it is not TOML. They need not be known.
pub fn keys_set_in(text: &str) -> BTreeSet<String> {
    fn collect(front: &str, table: &toml::Table, keys: &mut BTreeSet<String>) {
        for (name, value) in table {
            let path = match front {
                "" => name.clone(),
                _ => format!("{front}.{name}"),
            };
            match value {
                toml::Value::Table(inner) => collect(&path, inner, keys),
                _ => {
                    keys.insert(path);
                }
            }
        }
    }
    let mut keys = BTreeSet::new();
    if let Ok(table) = text.parse::<toml::Table>() {
        collect("", &table, &mut keys);
    }
    keys
}

#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, fault: String) {
        self.0.push(fault);
    }

    fn unknown(&mut self, path: &str, origin: &str) {
        let nearest = KEYS
            .iter()
            .map(|key| (strsim::damerau_levenshtein(path, key.path), key.path))
            .min()
            .filter(|(distance, _)| *distance <= path.len().div_ceil(3));
        self.add(match nearest {
            Some((_, near)) => format!("unknown key \"{path}\" in {origin}; did you mean {near}?"),
            None => format!("unknown key \"{path}\" in {origin}; `attache config` lists all keys"),
        });
    }

    fn into_result(self, config: Config) -> Result<Config> {
        if self.0.is_empty() {
            return Ok(config);
        }
        let text = match self.0.as_slice() {
            [one] => format!("the configuration has a fault: {one}"),
            many => format!(
                "the configuration has {} faults:\n  - {}",
                many.len(),
                many.join("\n  - ")
            ),
        };
        Err(Error::new(ErrorKind::Misconfigured, text))
    }
}

/// A value as it was given.
enum Raw {
    Text(String),
    List(Vec<String>),
}

impl Raw {
    fn text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::List(_) => Err("must be one value, not a list".to_owned()),
        }
    }

    fn list(&self) -> Vec<String> {
        match self {
            Self::List(list) => list.clone(),
            Self::Text(text) => text
                .split(',')
                .map(|part| part.trim().to_owned())
                .filter(|part| !part.is_empty())
                .collect(),
        }
    }
}

fn flatten(
    prefix: &str,
    table: &toml::Table,
    given: &mut BTreeMap<&'static str, (Raw, String)>,
    faults: &mut Faults,
) {
    let scalar = |value: &toml::Value| match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    for (name, value) in table {
        let path = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            toml::Value::Table(inner) => flatten(&path, inner, given, faults),
            value => match KEYS.iter().find(|key| key.path == path) {
                Some(key) => {
                    let raw = match value {
                        toml::Value::Array(list) => Raw::List(list.iter().map(scalar).collect()),
                        value => Raw::Text(scalar(value)),
                    };
                    given.insert(key.path, (raw, "the file".to_owned()));
                }
                None => faults.unknown(&path, "the file"),
            },
        }
    }
}

/// What other programs go by, where the configuration says nothing; the first that is set. A configuration that uses no
/// service of a cloud has nothing to do with it.
fn proxy_of_the_environment(
    environment: &BTreeMap<String, String>,
    given: &mut BTreeMap<&'static str, (Raw, String)>,
) {
    let azure = given.get("storage.backend").is_some_and(
        |(raw, _)| matches!(raw, Raw::Text(text) if text.trim() == Backend::Azure.as_str()),
    );
    for (path, names) in PROXY_NAMES.iter().filter(|_| azure) {
        let set = names.iter().find_map(|name| {
            let value = environment.get(*name).filter(|value| !value.is_empty())?;
            Some((Raw::Text(value.clone()), (*name).to_owned()))
        });
        if let Some(set) = set {
            given.entry(path).or_insert(set);
        }
    }
}

const PROXY_NAMES: [(&str, [&str; 2]); 2] = [
    ("network.proxy", ["HTTPS_PROXY", "https_proxy"]),
    ("network.no_proxy", ["NO_PROXY", "no_proxy"]),
];

/// Names that other tools for Azure read, too (<https://learn.microsoft.com/azure/developer/rust/sdk/authentication>).
const PLAIN_NAMES: &[(&str, &str)] = &[
    ("AZURE_TENANT_ID", "storage.azure.tenant_id"),
    ("AZURE_CLIENT_ID", "storage.azure.client_id"),
    ("AZURE_CLIENT_SECRET", "storage.azure.client_secret"),
    (
        "AZURE_CLIENT_CERTIFICATE_PATH",
        "storage.azure.client_certificate_file",
    ),
    (
        "AZURE_FEDERATED_TOKEN_FILE",
        "storage.azure.federated_token_file",
    ),
    ("AZURE_AUTHORITY_HOST", "storage.azure.authority_host"),
    ("AZURE_STORAGE_ACCOUNT_NAME", "storage.azure.account"),
    (
        "AZURE_STORAGE_CONNECTION_STRING",
        "storage.azure.connection_string",
    ),
    ("AZURE_STORAGE_CONTAINER_NAME", "storage.azure.container"),
];

/// Variables of ours that are not keys: the path of the file, the log filter, and what our tests use.
const NOT_KEYS: &[&str] = &["CONFIG", "LOG", "TEST_"];

/// Whether Kubernetes makes a variable of this name for a service whose name begins with "attache", in every pod beside it:
/// `ATTACHE_SERVICE_HOST`, `ATTACHE_PORT`, `ATTACHE_PORT_8080_TCP_ADDR`
/// (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>). No key looks like that.
fn is_of_a_service(name: &str) -> bool {
    let has = |end: &str| name == end || name.ends_with(&format!("_{end}"));
    let service_port = format!("_{name}").contains("_SERVICE_PORT_");
    let port = format!("_{name}")
        .split_once("_PORT_")
        .is_some_and(|(_, rest)| {
            let mut parts = rest.split('_');
            let number = parts
                .next()
                .is_some_and(|number| number.parse::<u16>().is_ok());
            let protocol = parts
                .next()
                .is_some_and(|word| matches!(word, "TCP" | "UDP" | "SCTP"));
            let end = parts
                .next()
                .is_none_or(|word| matches!(word, "PROTO" | "PORT" | "ADDR"));
            number && protocol && end && parts.next().is_none()
        });
    has("SERVICE_HOST") || has("SERVICE_PORT") || has("PORT") || service_port || port
}

struct Key {
    path: &'static str,
    read: fn(&mut Config, &Raw) -> Result<(), String>,
    show: fn(&Config) -> Option<String>,
}

macro_rules! key {
    ($path:literal, $($field:ident).+, $parse:expr, $show:expr) => {
        Key {
            path: $path,
            read: |config, raw| {
                let parse: fn(&Raw) -> Result<_, String> = $parse;
                config.$($field).+ = parse(raw)?;
                Ok(())
            },
            show: |config| {
                let show: fn(&_) -> Option<String> = $show;
                show(&config.$($field).+)
            },
        }
    };
}

#[rustfmt::skip]
const KEYS: &[Key] = &[
    key!("server.listen", server.listen, |raw| parsed(raw, "an address and a port, such as \"127.0.0.1:8080\""), |v| quoted(v)),
    key!("server.public_url", server.public_url, |raw| public_url(raw.text()?).map(Some), optional),
    key!("server.hosts", server.hosts, hosts, |v| list(v)),
    key!("server.shutdown_grace", server.shutdown_grace, |raw| duration(raw.text()?), |v| quoted(show_duration(*v))),
    key!("server.trusted_proxies", server.trusted_proxies, networks, show_networks),
    key!("server.cors_origins", server.cors_origins, |raw| raw.list().iter().map(|text| text.parse()).collect(), show_each),
    key!("server.tls.certificate_file", server.tls.certificate_file, some_path, optional_path),
    key!("server.tls.key_file", server.tls.key_file, some_path, optional_path),
    key!("storage.backend", storage.backend, |raw| word(raw, BACKENDS), |v| spelled(*v, BACKENDS)),
    key!("storage.local.root", storage.local.root, path, |v| quoted(Path::display(v))),
    key!("storage.azure.account", storage.azure.account, text, optional),
    key!("storage.azure.container", storage.azure.container, text, optional),
    key!("storage.azure.endpoint", storage.azure.endpoint, text, optional),
    key!("storage.azure.public_endpoint", storage.azure.public_endpoint, text, optional),
    key!("storage.azure.credential", storage.azure.credential, |raw| word(raw, &CredentialKind::ALL), |v| quoted(v)),
    key!("storage.azure.tenant_id", storage.azure.tenant_id, text, optional),
    key!("storage.azure.client_id", storage.azure.client_id, text, optional),
    key!("storage.azure.client_secret", storage.azure.client_secret, secret, optional),
    key!("storage.azure.client_secret_file", storage.azure_files.client_secret, some_path, optional_path),
    key!("storage.azure.client_certificate_file", storage.azure_files.client_certificate, some_path, optional_path),
    key!("storage.azure.federated_token_file", storage.azure.federated_token_file, text, optional),
    key!("storage.azure.authority_host", storage.azure.authority_host, text, optional),
    key!("storage.azure.account_key", storage.azure.account_key, secret, optional),
    key!("storage.azure.connection_string", storage.azure.connection_string, secret, optional),
    key!("storage.azure.ca_file", storage.azure_files.ca, some_path, optional_path),
    key!("delivery.mode", delivery.mode, |raw| word(raw, MODES).map(Some), |v: &Option<DeliveryMode>| v.and_then(|v| spelled(v, MODES))),
    key!("delivery.url_lifetime", delivery.url_lifetime, |raw| raw.text()?.parse(), |v| quoted(v)),
    key!("delivery.internal_prefix", delivery.internal_prefix, |raw| internal_prefix(raw.text()?), |v| quoted(v)),
    key!("delivery.inline_types", delivery.inline_types, |raw| Ok(raw.list()), |v: &Vec<String>| list(v)),
    key!("delivery.embed", delivery.embed, |raw| word(raw, EMBEDS), |v| spelled(*v, EMBEDS)),
    key!("upload.max_file_bytes", upload.max_file_bytes, |raw| limit(raw.text()?), show_limit),
    key!("upload.total_bytes", upload.total_bytes, |raw| limit(raw.text()?), show_limit),
    key!("upload.block_bytes", upload.block_bytes, |raw| bytes(raw.text()?), |v| quoted(show_bytes(*v))),
    key!("upload.concurrency", upload.concurrency, |raw| parsed(raw, "a number"), shown),
    key!("upload.timeout", upload.timeout, |raw| raw.text()?.parse(), |v| quoted(v)),
    key!("upload.idle_timeout", upload.idle_timeout, |raw| duration(raw.text()?), |v| quoted(show_duration(*v))),
    key!("upload.md5", upload.md5, |raw| parsed(raw, "true or false"), shown),
    key!("download.idle_timeout", download.idle_timeout, |raw| duration(raw.text()?), |v| quoted(show_duration(*v))),
    key!("download.timeout", download.timeout, |raw| raw.text()?.parse(), |v| quoted(v)),
    key!("download.verify", download.verify, |raw| parsed(raw, "true or false"), shown),
    key!("memory.transfer_bytes", transfer_bytes, |raw| bytes(raw.text()?), |v| quoted(show_bytes(*v))),
    key!("network.proxy", network.proxy, proxy, optional),
    key!("network.no_proxy", network.no_proxy, no_proxy, |v: &NoProxy| Some(v.to_string()).filter(|text| !text.is_empty()).and_then(quoted)),
    key!("clients.idle_after", clients_idle_after, |raw| duration(raw.text()?), |v| quoted(show_duration(*v))),
    key!("catalog.url", catalog, |raw| raw.text()?.parse(), |v| quoted(v)),
    key!("auth.mode", auth.mode, auth_modes, |v: &Vec<AuthMode>| Some(format!("{:?}", v.iter().map(|mode| mode.as_str()).collect::<Vec<_>>()))),
    key!("auth.jwt.jwks_file", auth.jwt.jwks_file, some_path, optional_path),
    key!("auth.jwt.jwks_url", auth.jwt.jwks_url, |raw| http_url(raw.text()?).map(Some), show_url),
    key!("auth.jwt.issuer", auth.jwt.issuer, text, optional),
    key!("auth.jwt.audience", auth.jwt.audience, text, optional),
    key!("auth.jwt.leeway", auth.jwt.leeway, |raw| short(raw.text()?), |v| quoted(show_duration(*v))),
    key!("auth.forward.url", auth.forward.url, |raw| guarded_url(raw.text()?).map(Some), show_url),
    key!("auth.forward.headers", auth.forward.headers, header_names, |v| Some(format!("{v:?}"))),
    key!("auth.forward.timeout", auth.forward.timeout, |raw| duration(raw.text()?), |v| quoted(show_duration(*v))),
    key!("auth.forward.cache", auth.forward.cache, |raw| short(raw.text()?), |v| quoted(show_duration(*v))),
    key!("limits.connections", limits.connections, count, shown),
    key!("limits.connections_per_client", limits.connections_per_client, count, shown),
    key!("limits.requests", limits.requests, count, shown),
    key!("limits.requests_per_client", limits.requests_per_client, count, shown),
    key!("limits.uploads_per_caller", limits.uploads_per_caller, count_or_unlimited, show_count),
    key!("limits.head_timeout", limits.head_timeout, |raw| duration(raw.text()?), |v| quoted(show_duration(*v))),
    key!("limits.client_rate", limits.client_rate, rate, show_rate),
    key!("limits.caller_rate", limits.caller_rate, rate, show_rate),
    key!("hooks.clamd", hooks.clamd, |raw| raw.text()?.trim().parse().map(Some), optional),
    key!("hooks.webhook", hooks.webhook, |raw| http_url(raw.text()?).map(Some), show_url),
    key!("hooks.timeout", hooks.timeout, |raw| duration(raw.text()?), |v| quoted(show_duration(*v))),
    key!("hooks.when_down", hooks.when_down, |raw| word(raw, WHEN_DOWN), |v| spelled(*v, WHEN_DOWN)),
    key!("telemetry.otlp_endpoint", otlp_endpoint, |raw| http_url(raw.text()?).map(Some), show_url),
];

const BACKENDS: &[(&str, Backend)] = &[
    ("local", Backend::Local),
    ("azure", Backend::Azure),
    ("memory", Backend::Memory),
];

const MODES: &[(&str, DeliveryMode)] = &[
    ("relay", DeliveryMode::Relay),
    ("redirect", DeliveryMode::Redirect),
    ("delegate", DeliveryMode::Delegate),
];

const EMBEDS: &[(&str, Embed)] = &[
    (Embed::SameSite.as_str(), Embed::SameSite),
    (Embed::CrossOrigin.as_str(), Embed::CrossOrigin),
];

const WHEN_DOWN: &[(&str, WhenDown)] =
    &[("refuse", WhenDown::Refuse), ("accept", WhenDown::Accept)];

const AUTH_MODES: &[(&str, AuthMode)] = &[
    ("open", AuthMode::Open),
    ("token", AuthMode::Token),
    ("jwt", AuthMode::Jwt),
    ("forward", AuthMode::Forward),
];

impl AuthMode {
    /// Its word in the configuration.
    pub fn as_str(self) -> &'static str {
        AUTH_MODES
            .iter()
            .find(|(_, value)| *value == self)
            .map_or("", |(word, _)| word)
    }
}

impl Backend {
    /// Its word in the configuration.
    pub fn as_str(self) -> &'static str {
        BACKENDS
            .iter()
            .find(|(_, value)| *value == self)
            .map_or("", |(word, _)| word)
    }
}

impl DeliveryMode {
    /// Its word in the configuration and in metrics.
    pub fn as_str(self) -> &'static str {
        MODES
            .iter()
            .find(|(_, value)| *value == self)
            .map_or("", |(word, _)| word)
    }
}

impl fmt::Display for CatalogUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sqlite://{}", self.0.display())
    }
}

impl FromStr for CatalogUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("sqlite://") {
            Some(path) if !path.is_empty() => Ok(Self(PathBuf::from(path))),
            // Never shown: a database URL holds a password.
            _ => {
                Err("must be \"sqlite://PATH\"; this version supports no other catalog".to_owned())
            }
        }
    }
}

fn parsed<T: FromStr>(raw: &Raw, what: &str) -> Result<T, String> {
    let text = raw.text()?;
    text.trim()
        .parse()
        .map_err(|_| format!("is \"{text}\", but must be {what}"))
}

fn text(raw: &Raw) -> Result<Option<String>, String> {
    Ok(Some(raw.text()?.trim().to_owned()).filter(|text| !text.is_empty()))
}

fn path(raw: &Raw) -> Result<PathBuf, String> {
    match raw.text()? {
        "" => Err("must not be empty".to_owned()),
        text => Ok(PathBuf::from(text)),
    }
}

fn some_path(raw: &Raw) -> Result<Option<PathBuf>, String> {
    path(raw).map(Some)
}

fn shown<T: fmt::Display>(value: &T) -> Option<String> {
    Some(value.to_string())
}

fn optional<T: fmt::Display>(value: &Option<T>) -> Option<String> {
    value.as_ref().and_then(quoted)
}

fn optional_path(value: &Option<PathBuf>) -> Option<String> {
    value.as_ref().and_then(|path| quoted(path.display()))
}

fn show_limit(value: &Option<u64>) -> Option<String> {
    match value {
        Some(bytes) => quoted(show_bytes(*bytes)),
        None => quoted("unlimited"),
    }
}

fn secret(raw: &Raw) -> Result<Option<Secret>, String> {
    Ok(Some(Secret::new(raw.text()?.trim())))
}

fn word<T: Copy>(raw: &Raw, words: &[(&str, T)]) -> Result<T, String> {
    let text = raw.text()?;
    words
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            format!("is \"{text}\", but must be one of {}", known.join(", "))
        })
}

fn spelled<T: PartialEq>(value: T, words: &[(&str, T)]) -> Option<String> {
    words
        .iter()
        .find(|(_, known)| *known == value)
        .and_then(|(word, _)| quoted(word))
}

fn quoted(value: impl fmt::Display) -> Option<String> {
    Some(toml::Value::String(value.to_string()).to_string())
}

fn list(words: &[String]) -> Option<String> {
    Some(toml::Value::from(words.to_vec()).to_string())
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim())
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| {
            format!("is \"{text}\", but must be a duration, such as \"30s\", \"5m\" or \"1h\"")
        })
}

fn show_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

fn bytes(text: &str) -> Result<u64, String> {
    text.trim()
        .parse::<ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| {
            format!("is \"{text}\", but must be a size, such as \"8MiB\" or a number of bytes")
        })
}

fn limit(text: &str) -> Result<Option<u64>, String> {
    match text.trim() {
        "unlimited" => Ok(None),
        text => bytes(text).map(Some),
    }
}

/// Exact: the largest unit that divides.
fn show_bytes(bytes: u64) -> String {
    [("GiB", 30), ("MiB", 20), ("KiB", 10)]
        .into_iter()
        .find(|(_, shift)| bytes != 0 && bytes.is_multiple_of(1 << shift))
        .map_or_else(
            || bytes.to_string(),
            |(unit, shift)| format!("{}{unit}", bytes >> shift),
        )
}

/// Whether the host part of a URL holds a user name or a password: it would be printed, and is not used anyway.
fn has_user(uri: &http::Uri) -> bool {
    uri.authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
}

/// A URL without its query, which may be a secret.
fn show_url(url: &Option<String>) -> Option<String> {
    let url = url.as_ref()?;
    match url.split_once('?') {
        Some((front, _)) => quoted(format!("{front}?redacted")),
        None => quoted(url),
    }
}

/// As [`http_url`], for what travels with secrets: over https, unless it stays on this machine.
fn guarded_url(text: &str) -> Result<String, String> {
    let url = http_url(text)?;
    let uri: http::Uri = url.parse().map_err(|_| "must be a URL".to_owned())?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let here = host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    match here || uri.scheme_str() == Some("https") {
        true => Ok(url),
        false => Err(
            "must be https, because the cookies of readers are sent there; http is for loopback"
                .to_owned(),
        ),
    }
}

fn public_url(text: &str) -> Result<String, String> {
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

fn hosts(raw: &Raw) -> Result<Vec<String>, String> {
    let hosts = raw.list();
    match hosts.iter().find(|host| {
        let parsed = host.parse::<http::uri::Authority>();
        parsed.map_or(true, |parsed| parsed.as_str().contains('@'))
    }) {
        Some(wrong) => Err(format!(
            "holds \"{wrong}\", but must hold names such as \"files.example.org\" or \"files.internal:8080\""
        )),
        None => Ok(hosts),
    }
}

#[expect(
    clippy::ptr_arg,
    reason = "the table of keys hands out the field as it is"
)]
fn show_each<T: fmt::Display>(values: &Vec<T>) -> Option<String> {
    let words: Vec<String> = values.iter().map(ToString::to_string).collect();
    list(&words)
}

fn networks(raw: &Raw) -> Result<Vec<Network>, String> {
    raw.list().iter().map(|text| text.parse()).collect()
}

#[expect(
    clippy::ptr_arg,
    reason = "the table of keys hands out the field as it is"
)]
fn show_networks(networks: &Vec<Network>) -> Option<String> {
    let shown: Vec<String> = networks.iter().map(Network::to_string).collect();
    Some(format!("{shown:?}"))
}

fn internal_prefix(text: &str) -> Result<String, String> {
    let plain = text.starts_with('/') && text.ends_with('/') && text.len() > 1 && text.is_ascii();
    if plain && !text.contains("..") && !text.contains("//") {
        Ok(text.to_owned())
    } else {
        Err("must begin and end with a slash, such as \"/internal/\"".to_owned())
    }
}

fn auth_modes(raw: &Raw) -> Result<Vec<AuthMode>, String> {
    raw.list()
        .into_iter()
        .map(|mode| word(&Raw::Text(mode), AUTH_MODES))
        .collect()
}

fn count(raw: &Raw) -> Result<usize, String> {
    let number: usize = parsed(raw, "a number")?;
    match number {
        0 => Err("must be at least 1".to_owned()),
        number => Ok(number),
    }
}

fn count_or_unlimited(raw: &Raw) -> Result<Option<usize>, String> {
    match raw.text()?.trim() {
        "unlimited" => Ok(None),
        _ => count(raw).map(Some),
    }
}

fn show_count(value: &Option<usize>) -> Option<String> {
    match value {
        Some(count) => Some(count.to_string()),
        None => quoted("unlimited"),
    }
}

fn rate(raw: &Raw) -> Result<Option<Rate>, String> {
    match raw.text()?.trim() {
        "unlimited" => Ok(None),
        text => text.parse().map(Some),
    }
}

fn show_rate(rate: &Option<Rate>) -> Option<String> {
    match rate {
        Some(rate) => quoted(rate),
        None => quoted("unlimited"),
    }
}

/// A duration that may be nothing.
fn short(text: &str) -> Result<Duration, String> {
    match text.trim() {
        "0" | "0s" => Ok(Duration::ZERO),
        text => duration(text),
    }
}

fn http_url(text: &str) -> Result<String, String> {
    let text = text.trim();
    let known = text.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some()
            && !has_user(&uri)
    });
    match known {
        true => Ok(text.to_owned()),
        // Never shown: a URL may hold a password.
        false => Err(
            "must be a URL such as \"https://app.example.org/may-read\", without user name and password".to_owned(),
        ),
    }
}

/// "none" is for those who have HTTPS_PROXY set.
fn proxy(raw: &Raw) -> Result<Option<Proxy>, String> {
    match raw.text()?.trim() {
        "none" => Ok(None),
        text => text.parse().map(Some),
    }
}

fn no_proxy(raw: &Raw) -> Result<NoProxy, String> {
    raw.list().join(",").parse()
}

fn header_names(raw: &Raw) -> Result<Vec<String>, String> {
    raw.list()
        .into_iter()
        .map(|name| {
            name.parse::<http::HeaderName>()
                .map(|name| name.as_str().to_owned())
                .map_err(|_| format!("holds \"{name}\", which is not a header name"))
                .and_then(|name| {
                    match name.starts_with("x-attache-") || name.starts_with("x-forwarded-") {
                        // Ours, and the reader's would come before it.
                        true => Err(format!("holds \"{name}\", which attache sets itself")),
                        false => Ok(name),
                    }
                })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, environment: &[(&str, &str)]) -> Result<Config> {
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::from_parts(Some(file), environment)
    }

    #[test]
    fn the_example_file_is_the_default_and_names_every_key() {
        let example = include_str!("../../../attache.example.toml");
        assert_eq!(load(example, &[]).expect("valid"), Config::default());
        let mut section = String::new();
        let mut named = std::collections::BTreeSet::new();
        for line in example.lines() {
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                section = name.to_owned();
            } else if let Some((name, _)) = line.trim_start_matches("# ").split_once(" = ") {
                named.insert(format!("{section}.{name}"));
            }
        }
        for key in KEYS {
            assert!(named.contains(key.path), "{} is missing", key.path);
        }
        assert_eq!(named.len(), KEYS.len());
    }

    #[test]
    fn what_is_shown_can_be_loaded_again() {
        let config = load(
            "[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]\n[upload]\nmax_file_bytes = \"25MiB\"\ntimeout = \"1m + size at 1KiB/s\"\n[delivery]\nmode = \"redirect\"",
            &[],
        )
        .expect("valid");
        assert_eq!(load(&config.to_toml(), &[]).expect("valid"), config);
    }

    #[test]
    fn what_is_shown_is_toml_whatever_it_holds() {
        let types = "image/*, a\0b, c\"d, e\u{7f}\u{2028}";
        let config = load("", &[("ATTACHE_DELIVERY__INLINE_TYPES", types)]).expect("valid");
        assert_eq!(load(&config.to_toml(), &[]).expect("valid"), config);
    }

    #[test]
    fn a_connection_string_is_read_from_where_other_tools_have_it() {
        let string = "AccountName=acme;AccountKey=hunter2";
        let config = load("", &[("AZURE_STORAGE_CONNECTION_STRING", string)]).expect("valid");
        let held = config.storage.azure.connection_string.expect("a string");
        assert_eq!(held.expose(), string);
    }

    #[test]
    fn environment_wins_over_file_over_default() {
        let config = load(
            "[server]\nlisten = \"127.0.0.1:1\"\n[storage.azure]\naccount = \"fromfile\"",
            &[
                ("ATTACHE_SERVER__LISTEN", "127.0.0.1:2"),
                ("AZURE_STORAGE_ACCOUNT_NAME", "plainname"),
                ("AZURE_TENANT_ID", "tenant"),
                ("UNRELATED", "x"),
            ],
        )
        .expect("valid");
        assert_eq!(config.server.listen.port(), 2);
        assert_eq!(config.storage.azure.account.as_deref(), Some("plainname"));
        assert_eq!(config.storage.azure.tenant_id.as_deref(), Some("tenant"));
    }

    #[test]
    fn all_faults_are_reported_at_once_with_their_keys_and_the_nearest_known_one() {
        let error = load(
            "[server]\nlisten = \"nowhere\"\nlsiten = 1\n[upload]\nblock_bytes = \"many\"\n[storage]\nbackend = \"azrue\"",
            &[("ATTACHE_STORAGE__AZURE__ACOUNT", "x"), ("ATTACHE_DELIVERY__URL_LIFETIME", "3h")],
        )
        .expect_err("faulty");
        let text = error.to_string();
        for part in [
            "server.listen is \"nowhere\"",
            "unknown key \"server.lsiten\" in the file; did you mean server.listen?",
            "upload.block_bytes is \"many\"",
            "storage.backend is \"azrue\"",
            "unknown key \"storage.azure.acount\" in ATTACHE_STORAGE__AZURE__ACOUNT; did you mean storage.azure.account?",
            "delivery.url_lifetime must be \"auto\", or between 5s and 2h",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }

    #[test]
    fn passwords_in_urls_are_refused_and_queries_are_not_shown() {
        for key in [
            "ATTACHE_AUTH__FORWARD__URL",
            "ATTACHE_AUTH__JWT__JWKS_URL",
            "ATTACHE_HOOKS__WEBHOOK",
            "ATTACHE_TELEMETRY__OTLP_ENDPOINT",
            "ATTACHE_SERVER__PUBLIC_URL",
        ] {
            let error = load("", &[(key, "https://user:hunter2@app.example.org/")]).expect_err(key);
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert!(error.to_string().contains("without user name"), "{error}");
        }
        let hook = [(
            "ATTACHE_HOOKS__WEBHOOK",
            "https://app.example.org/inspect?key=hunter2",
        )];
        let config = load("", &hook).expect("valid");
        assert_eq!(config.hooks.webhook.as_deref(), Some(hook[0].1));
        assert!(
            !config.to_toml().contains("hunter2"),
            "{}",
            config.to_toml()
        );
        // Cookies of readers go there.
        let forward = |url| load("", &[("ATTACHE_AUTH__FORWARD__URL", url)]);
        forward("http://127.0.0.1:3000/may-read").expect("loopback");
        forward("https://app.example.org/may-read").expect("https");
        forward("http://app.example.org/may-read").expect_err("in the clear");
    }

    #[test]
    fn what_contradicts_itself_is_refused_and_what_is_odd_is_remarked() {
        for (file, environment) in [
            ("[auth]\nmode = [\"open\", \"token\"]", ("X", "")),
            ("", ("ATTACHE_AUTH__MODE", "")),
            ("[upload]\nmax_file_bytes = 0", ("X", "")),
            ("[delivery]\ninternal_prefix = \"//\"", ("X", "")),
        ] {
            load(file, &[environment]).expect_err(file);
        }
        assert_eq!(Config::default().remarks(), Vec::<String>::new());
        for file in [
            "[server]\ntrusted_proxies = [\"0.0.0.0/0\"]\npublic_url = \"https://a\"",
            "[delivery]\nmode = \"delegate\"",
            "[delivery]\nmode = \"redirect\"",
            "[upload]\nmax_file_bytes = 2\ntotal_bytes = 1",
            "[limits]\nconnections = 1",
            "[limits]\nrequests = 1",
            "[limits]\nhead_timeout = \"1ms\"",
            "[memory]\ntransfer_bytes = \"4MiB\"",
            "[auth.jwt]\nissuer = \"a\"",
            "[auth]\nmode = [\"token\"]\n[server]\nlisten = \"0.0.0.0:80\"\npublic_url = \"https://a\"",
            "[server]\ntrusted_proxies = [\"10.0.0.1\"]",
        ] {
            let config = load(file, &[]).expect(file);
            assert_eq!(config.remarks().len(), 1, "{file}: {:?}", config.remarks());
        }
    }

    #[test]
    fn variables_that_kubernetes_makes_for_a_service_are_no_keys_and_no_faults() {
        for name in [
            "ATTACHE_PORT",
            "ATTACHE_SERVICE_HOST",
            "ATTACHE_SERVICE_PORT",
            "ATTACHE_SERVICE_PORT_HTTP",
            "ATTACHE_PORT_8080_TCP",
            "ATTACHE_PORT_8080_TCP_PROTO",
            "ATTACHE_PORT_8080_TCP_PORT",
            "ATTACHE_PORT_8080_TCP_ADDR",
            "ATTACHE_FILES_SERVICE_HOST",
            "ATTACHE_FILES_PORT_443_TCP_ADDR",
        ] {
            load("", &[(name, "tcp://10.96.0.1:8080")]).expect(name);
        }
        for name in [
            "ATTACHE_SERVER_LISTEN",
            "ATTACHE_PORT_8080",
            "ATTACHE_SERVER__PORT_HTTP",
            "ATTACHE_TRANSPORT",
        ] {
            let error = load("", &[(name, "8080")]).expect_err(name);
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn the_proxy_of_the_environment_is_the_default_and_its_password_is_not_shown() {
        let azure = "[storage]\nbackend = \"azure\"\n[storage.azure]\naccount = \"acme\"\ncontainer = \"files\"\n\
                     account_key = \"a2V5\"\n";
        let environment = [
            ("https_proxy", "http://lower:1"),
            ("HTTPS_PROXY", "http://u:hunter2@upper:2"),
            ("NO_PROXY", "example.org,10.0.0.0/8"),
        ];
        let config = load(azure, &environment).expect("valid");
        let shown = config.to_toml();
        assert!(
            shown.contains("proxy = \"http://[redacted]@upper:2\""),
            "{shown}"
        );
        assert!(
            shown.contains("no_proxy = \"example.org, 10.0.0.0/8\""),
            "{shown}"
        );
        assert!(!format!("{shown}{config:?}").contains("hunter2"));
        for (own, used) in [
            ("proxy = \"http://own:3\"", Some("own:3")),
            ("proxy = \"none\"", None),
        ] {
            let config = load(&format!("{azure}[network]\n{own}"), &environment).expect("valid");
            let proxy = config.network.proxy.as_ref();
            assert_eq!(proxy.map(Proxy::address), used);
        }
        let bad = ("HTTPS_PROXY", "socks5://u:hunter2@proxy");
        let error = load(azure, &[bad]).expect_err("not supported").to_string();
        assert!(
            error.contains("network.proxy must be an HTTP proxy"),
            "{error}"
        );
        assert!(
            error.contains("HTTPS_PROXY") && !error.contains("hunter2"),
            "{error}"
        );
        // Who uses no cloud is not stopped by it.
        assert_eq!(load("", &[bad]).expect("valid").network, Route::default());
    }

    #[test]
    fn a_secret_from_a_file_has_no_byte_order_mark() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        std::fs::write(&path, "\u{feff}hunter2\r\n").expect("written");
        let name = "ATTACHE_STORAGE__AZURE__CLIENT_SECRET_FILE";
        let config = load("", &[(name, path.to_str().expect("text"))]).expect("valid");
        let secret = config.storage.azure.client_secret.expect("a secret");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn open_is_refused_off_loopback() {
        let error = load("[server]\nlisten = \"0.0.0.0:8080\"", &[]).expect_err("refused");
        assert!(error.to_string().contains("not loopback"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = load(
            "",
            &[
                ("AZURE_CLIENT_SECRET", "hunter2"),
                ("ATTACHE_STORAGE__AZURE__ACCOUNT_KEY", "aHVudGVyMg=="),
                (
                    "ATTACHE_STORAGE__AZURE__CONNECTION_STRING",
                    "AccountKey=hunter2",
                ),
            ],
        )
        .expect("valid");
        let shown = config.to_toml() + &format!("{config:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("aHVudGVyMg"),
            "{shown}"
        );
        assert!(shown.contains("client_secret = \"[redacted]\""));
    }

    #[test]
    fn azure_needs_six_variables() {
        let variables = [
            ("ATTACHE_STORAGE__BACKEND", "azure"),
            ("AZURE_STORAGE_ACCOUNT_NAME", "acme"),
            ("AZURE_STORAGE_CONTAINER_NAME", "files"),
            ("AZURE_TENANT_ID", "t"),
            ("AZURE_CLIENT_ID", "c"),
            ("AZURE_CLIENT_SECRET", "s"),
        ];
        let config = load("", &variables).expect("complete");
        assert_eq!(config.delivery_mode(), DeliveryMode::Redirect);
        let error =
            load("", &variables[..3]).map(|config| config.storage.azure.credential_in_use());
        // Without a secret another credential is tried; nothing is missing as such.
        assert!(error.is_ok());
    }
}
