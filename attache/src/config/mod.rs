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
mod tests {
    use super::*;
    use crate::network::Proxy;

    fn load(file: &str, environment: &[(&str, &str)]) -> Result<Config> {
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        load::from_parts(Some(file), environment)
    }

    #[test]
    fn the_example_file_is_the_default_and_names_every_key() {
        let example = include_str!("../../../attache.example.toml");
        assert_eq!(load(example, &[]).expect("valid"), Config::default());
        assert!(
            example == load::example::<Config>(),
            "write it again: `cargo run -- config --example > attache.example.toml`"
        );
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
