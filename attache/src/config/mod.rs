//! The configuration: plain data, loaded from a file and the environment, with all faults found at once.
//!
//! Each section stands in the module that it configures, as a [`section!`](crate::section): the one definition of a key's name,
//! meaning, default, and of how it is read and shown. This module puts the sections together, and says what must hold between
//! them. Environment wins over file over default. A program around the library has a configuration of its own that holds this
//! one: a [`Configuration`].

pub mod key;
pub mod load;
pub mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use key::Section;
use load::{Configuration, Faults, Given};
use value::Raw;

use crate::access::config::SecretsConfig;
use crate::catalog::config::CatalogConfig;
use crate::delivery::config::{DeliveryConfig, DeliveryMode};
use crate::error::Result;
use crate::http::ClientConfig;
use crate::http::network::Route;
use crate::inspect::config::HooksConfig;
use crate::storage::config::{Backend, ClientsConfig, StorageConfig, StorageSections};
use crate::transfer::config::{DownloadConfig, MemoryConfig, UploadConfig};

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
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
    /// `[secrets]`
    pub secrets: SecretsConfig,
    /// `[hooks]`
    pub hooks: HooksConfig,
}

/// The sections, in the order of the file.
macro_rules! each_section {
    ($config:expr, $each:ident, $visit:expr) => {
        $config.storage.$each($visit);
        $config.delivery.$each($visit);
        $config.upload.$each($visit);
        $config.download.$each($visit);
        $config.memory.$each($visit);
        $config.network.$each($visit);
        $config.clients.$each($visit);
        $config.catalog.$each($visit);
        $config.secrets.$each($visit);
        $config.hooks.$each($visit);
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
        let is_remote = |raw: &Raw| {
            let backend = value::Format::read(&Backend::WORDS, raw);
            backend.is_ok_and(Backend::is_remote)
        };
        let remote = given
            .get("storage.backend")
            .is_some_and(|(raw, _)| is_remote(raw))
            || given
                .get("storage.moving_from")
                .is_some_and(|(raw, _)| match raw {
                    Raw::Table(keys) => keys
                        .get("backend")
                        .is_some_and(|raw| is_remote(&Raw::of(raw))),
                    _ => false,
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

    fn check(&self, _environment: &BTreeMap<String, String>, faults: &mut Faults) {
        self.storage.check(faults);
        self.delivery.check(faults);
        self.memory.check(faults);
        self.upload.check(faults);
        if self.delivery.mode == Some(DeliveryMode::Delegate) && !self.storage.backend.is_shared() {
            faults.add(
                "delivery.mode \"delegate\" needs a storage.backend other than \"memory\": the web server in front cannot \
                 reach the memory of this process",
            );
        }
        if self.delivery.mode == Some(DeliveryMode::Delegate) && self.storage.moves_from_afar() {
            faults.add(
                "delivery.mode \"delegate\" cannot be used while storage.moving_from is a store in a cloud: the web server in front knows one \
                 host; set \"redirect\" or \"relay\" until storage.moving_from is out",
            );
        }
        let least = self.storage.backend.least_memory();
        if self.memory.transfer_bytes < least {
            let backend = self.storage.backend;
            faults.add(format!(
                "memory.transfer_bytes must be at least {} for storage.backend \"{backend}\", whose parts have at least 5MiB",
                value::show_bytes(least)
            ));
        }
    }
}

/// The sections that `attache serve` has in the same file, for [`Config::load_beside`].
pub const SERVER_SECTIONS: &[&str] = &["server", "auth", "limits", "s3", "telemetry"];

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
        self.storage.chosen(ClientConfig {
            idle_after: self.clients.idle_after,
            // Half, so that a silent response is resumed, and has moved, before the download itself is given up.
            body_idle: self.download.idle_timeout / 2,
            route: self.network.clone(),
            ..ClientConfig::default()
        })
    }

    /// What is allowed, but most likely not meant; a sentence each, for the log.
    pub fn remarks(&self) -> Vec<String> {
        let upload = &self.upload;
        let of_upload = upload
            .block_bytes
            .saturating_mul(upload.concurrency as u64 + 1);
        [
            (
                self.delivery_mode() == DeliveryMode::Redirect && !self.storage.backend.signs_urls(),
                "delivery.mode is \"redirect\", but this store cannot sign URLs, so that everything is relayed",
            ),
            (
                matches!((upload.total_bytes, upload.max_file_bytes), (Some(total), Some(file)) if total < file),
                "upload.total_bytes is less than upload.max_file_bytes",
            ),
            (
                of_upload > self.memory.transfer_bytes,
                "upload.block_bytes times upload.concurrency is more than memory.transfer_bytes; blocks will be smaller",
            ),
        ]
        .into_iter()
        .filter(|(holds, _)| *holds)
        .map(|(_, remark)| remark.to_owned())
        .collect()
    }

    /// The folder of what attache keeps for itself: the catalog, and the key that seals its secrets.
    pub fn data_folder(&self) -> PathBuf {
        self.catalog.url.folder()
    }

    /// The file of the key that seals secrets in the catalog.
    pub fn secrets_file(&self) -> PathBuf {
        self.secrets.file(&self.data_folder())
    }

    /// Loads `file`, if there is one, then the environment of the process, then `overrides`: keys and values, such as
    /// `("upload.max_file_bytes", "25MiB")`, that win over both.
    ///
    /// # Errors
    ///
    /// [`Misconfigured`](crate::ErrorKind::Misconfigured), with every fault on a line of its own.
    pub fn load(file: Option<&Path>, overrides: &[(&str, String)]) -> Result<Self> {
        let text = file.map(load::read_file).transpose()?;
        load::load(text.as_deref(), overrides)
    }

    /// As [`load`](Self::load), for a file and an environment that somebody else uses, too: whoever shares those of `attache
    /// serve` gives [`SERVER_SECTIONS`].
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_beside(
        file: Option<&Path>,
        overrides: &[(&str, String)],
        beside: &'static [&'static str],
    ) -> Result<Self> {
        let text = file.map(load::read_file).transpose()?;
        load::load_beside(text.as_deref(), overrides, beside)
    }

    /// What is in effect, as TOML; secrets as `[redacted]`.
    pub fn to_toml(&self) -> String {
        load::to_toml(self)
    }
}

#[cfg(test)]
mod tests;
