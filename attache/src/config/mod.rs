//! The configuration: plain data, loaded from a file and the environment, with all faults found at once.
//!
//! Each section stands in the module that it configures, as a [`section!`](crate::section): the one definition of a key's name,
//! meaning, default, and of how it is read and shown. This module puts the sections together, and says what must hold between
//! them. Environment wins over file over default.

pub mod auth;
pub mod key;
pub mod limits;
pub mod load;
pub mod server;
pub mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use auth::{AuthConfig, AuthMode};
use key::Section;
use limits::LimitsConfig;
use load::{Configuration, Faults, Given};
use server::{ServerConfig, TelemetryConfig};
use value::Raw;

use crate::catalog::config::CatalogConfig;
use crate::delivery::config::{DeliveryConfig, DeliveryMode};
use crate::delivery::embedding::Embed;
use crate::error::Result;
use crate::inspect::config::HooksConfig;
use crate::network::{Network, Route};
use crate::storage::config::{Backend, ClientsConfig, Connections, StorageConfig, StorageSections};
use crate::transfer::config::{DownloadConfig, MemoryConfig, UploadConfig};

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[storage]`
    pub storage: StorageSections,
    /// `[delivery]`
    pub delivery: DeliveryConfig,
    /// `[upload]`
    pub upload: UploadConfig,
    /// `[download]`
    pub download: DownloadConfig,
    /// `[memory]`
    pub memory: MemoryConfig,
    /// `[network]`: which way to the store, to Entra ID and to other services of a cloud.
    pub network: Route,
    /// `[clients]`
    pub clients: ClientsConfig,
    /// `[catalog]`
    pub catalog: CatalogConfig,
    /// `[auth]`
    pub auth: AuthConfig,
    /// `[limits]`
    pub limits: LimitsConfig,
    /// `[hooks]`
    pub hooks: HooksConfig,
    /// `[telemetry]`
    pub telemetry: TelemetryConfig,
}

/// The sections, in the order of the file.
macro_rules! each_section {
    ($config:expr, $each:ident, $visit:expr) => {
        $config.server.$each($visit);
        $config.storage.$each($visit);
        $config.delivery.$each($visit);
        $config.upload.$each($visit);
        $config.download.$each($visit);
        $config.memory.$each($visit);
        $config.network.$each($visit);
        $config.clients.$each($visit);
        $config.catalog.$each($visit);
        $config.auth.$each($visit);
        $config.limits.$each($visit);
        $config.hooks.$each($visit);
        $config.telemetry.$each($visit);
    };
}

impl Configuration for Config {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn Section)) {
        each_section!(self, each, visit);
    }

    fn each_mut(&mut self, visit: &mut dyn FnMut(&mut dyn Section)) {
        each_section!(self, each_mut, visit);
    }

    /// The proxy that other programs go by; the first variable that is set. A configuration whose store is reached over no
    /// network has nothing to do with it.
    fn fall_back(environment: &BTreeMap<String, String>, given: &mut Given) {
        let remote = given.get("storage.backend").is_some_and(|(raw, _)| {
            let backend = value::Format::read(&Backend::WORDS, raw);
            backend.is_ok_and(Backend::is_remote)
        });
        for (path, names) in PROXY_NAMES.iter().filter(|_| remote) {
            let set = names.iter().find_map(|name| {
                let value = environment.get(*name).filter(|value| !value.is_empty())?;
                Some((Raw::Text(value.clone()), (*name).to_owned()))
            });
            if let Some(set) = set {
                given.entry(path).or_insert(set);
            }
        }
    }

    fn check(&mut self, environment: &BTreeMap<String, String>, faults: &mut Faults) {
        self.server.check(faults);
        self.storage.check(faults);
        self.delivery.check(faults);
        self.memory.check(faults);
        self.upload.check(faults);
        self.auth.check(environment, faults);
        if self.delivery.mode == Some(DeliveryMode::Delegate) && !self.storage.backend.is_shared() {
            faults.add(
                "delivery.mode \"delegate\" needs storage.backend \"local\" or \"azure\": the web server in front cannot \
                 reach the memory of this process",
            );
        }
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

const PROXY_NAMES: [(&str, [&str; 2]); 2] = [
    ("network.proxy", ["HTTPS_PROXY", "https_proxy"]),
    ("network.no_proxy", ["NO_PROXY", "no_proxy"]),
];

impl Config {
    /// How attachments are delivered, the default of the backend included.
    pub fn delivery_mode(&self) -> DeliveryMode {
        let default = match self.storage.backend.signs_urls() {
            true => DeliveryMode::Redirect,
            false => DeliveryMode::Relay,
        };
        self.delivery.mode.unwrap_or(default)
    }

    /// What the storage is built from.
    pub fn storage(&self) -> StorageConfig {
        self.storage.chosen(Connections {
            clients: &self.clients,
            network: &self.network,
            idle_timeout: self.download.idle_timeout,
        })
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
                mode == DeliveryMode::Redirect && !self.storage.backend.signs_urls(),
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
                of_upload > self.memory.transfer_bytes,
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
        self.catalog.url.folder()
    }

    /// Loads `file`, if there is one, then the environment of the process, then `overrides`: keys and values, such as
    /// `("server.listen", "127.0.0.1:9000")`, that win over both.
    ///
    /// # Errors
    ///
    /// [`Misconfigured`](crate::ErrorKind::Misconfigured), with every fault on a line of its own.
    pub fn load(file: Option<&Path>, overrides: &[(&str, String)]) -> Result<Self> {
        let text = file.map(load::read_file).transpose()?;
        load::load(text.as_deref(), overrides)
    }

    /// What is in effect, as TOML; secrets as `[redacted]`.
    pub fn to_toml(&self) -> String {
        load::to_toml(self)
    }
}

#[cfg(test)]
mod tests;
