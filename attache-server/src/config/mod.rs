//! The configuration of the server: its own sections around those of the library, and what must hold between them.

pub(crate) mod auth;
pub(crate) mod limits;
pub(crate) mod origin;
pub(crate) mod s3;
pub(crate) mod server;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use attache::Result;
use attache::config::key::Section;
use attache::config::load::{self, Configuration, Faults, Given};
use attache::delivery::config::DeliveryMode;
use attache::delivery::embedding::Embed;
use attache::http::network::Network;

use auth::{AuthConfig, AuthMode};
use limits::LimitsConfig;
use s3::S3Config;
use server::{ServerConfig, TelemetryConfig};

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// `[server]`
    pub(crate) server: ServerConfig,
    /// The sections of the library: `[storage]`, `[delivery]`, `[upload]` and others.
    pub(crate) store: attache::Config,
    /// `[auth]`
    pub(crate) auth: AuthConfig,
    /// `[limits]`
    pub(crate) limits: LimitsConfig,
    /// `[s3]`
    pub(crate) s3: S3Config,
    /// `[telemetry]`
    pub(crate) telemetry: TelemetryConfig,
}

/// The library's section before which ours stand in the file.
const BEFORE: &str = "hooks.";

fn is_before(section: &dyn Section) -> bool {
    let first = section.keys().first();
    first.is_some_and(|key| key.path.starts_with(BEFORE))
}

impl Configuration for Settings {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn Section)) {
        self.server.each(visit);
        self.store.each(&mut |section| {
            if is_before(section) {
                self.auth.each(visit);
                self.limits.each(visit);
                self.s3.each(visit);
            }
            visit(section);
        });
        self.telemetry.each(visit);
    }

    fn each_mut(&mut self, visit: &mut dyn FnMut(&mut dyn Section)) {
        self.server.each_mut(visit);
        self.store.each_mut(&mut |section| {
            if is_before(section) {
                self.auth.each_mut(visit);
                self.limits.each_mut(visit);
                self.s3.each_mut(visit);
            }
            visit(section);
        });
        self.telemetry.each_mut(visit);
    }

    fn fall_back(environment: &BTreeMap<String, String>, given: &mut Given) {
        attache::Config::fall_back(environment, given);
    }

    fn check(&self, environment: &BTreeMap<String, String>, faults: &mut Faults) {
        self.server.check(faults);
        self.store.check(environment, faults);
        self.auth.check(environment, faults);
        self.s3.check(&self.store, faults);
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

impl Settings {
    /// Loads `file`, if there is one, then the environment of the process, then `overrides`: keys and values, such as
    /// `("server.listen", "127.0.0.1:9000")`, that win over both.
    ///
    /// # Errors
    ///
    /// [`Misconfigured`](attache::ErrorKind::Misconfigured), with every fault on a line of its own.
    pub(crate) fn load(file: Option<&Path>, overrides: &[(&str, String)]) -> Result<Self> {
        let text = file.map(load::read_file).transpose()?;
        load::load(text.as_deref(), overrides)
    }

    /// What is allowed, but most likely not meant; a sentence each, for the log and for `attache check`.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let (server, limits) = (&self.server, &self.limits);
        let whole_internet =
            |network: &Network| matches!(network.to_string().as_str(), "0.0.0.0/0" | "::/0");
        let beyond = !server.listen.ip().is_loopback();
        let behind = !server.trusted_proxies.is_empty();
        let secure = server.tls.certificate_file.is_some();
        let jwt = &self.auth.jwt;
        let jwt_is_set = jwt.issuer.is_some() || jwt.jwks_file.is_some() || jwt.jwks_url.is_some();
        let own = [
            (
                server.trusted_proxies.iter().any(whole_internet),
                "server.trusted_proxies holds every address, so that every client can claim any address",
            ),
            (
                self.store.delivery_mode() == DeliveryMode::Delegate && !behind,
                "delivery.mode is \"delegate\", but server.trusted_proxies is empty, so that everything is relayed",
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
                server.public_url.is_none()
                    && server.hosts.is_empty()
                    && (beyond || secure || behind),
                "server.public_url is not set, so that links have whatever host a client names",
            ),
        ];
        let own = own.into_iter().filter(|(holds, _)| *holds);
        let own = own.map(|(_, remark)| remark.to_owned());
        own.chain(self.s3.remarks(&self.store))
            .chain(self.store.remarks())
            .collect()
    }

    /// Pages of which sites may embed attachments. Pages that may read them by scripts may show them, too, and are of other
    /// sites mostly.
    pub(crate) fn embed(&self) -> Embed {
        match self.server.cors_origins.is_empty() {
            true => self.store.delivery.embed,
            false => Embed::CrossOrigin,
        }
    }

    /// Where everybody who connects may do everything, if that is so.
    pub(crate) fn open_on(&self) -> Option<String> {
        let open = self.auth.accepts(AuthMode::Open);
        open.then(|| self.server.listen.to_string())
    }
}

#[cfg(test)]
mod tests;
