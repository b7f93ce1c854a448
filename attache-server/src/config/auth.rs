//! `[auth]`: who may do what.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use attache::config::load::Faults;
use attache::config::value::{
    FilePath, Format, HttpUrl, List, Optional, Raw, SomeText, Time, TimeOrZero, Words,
    is_loopback_url,
};
use attache::section;

section! {
    /// `[auth]`: who may do what.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct AuthConfig in "auth" {
        /// How callers authenticate; several are possible:
        ///   "open": everybody who can connect can do everything. Only on loopback.
        ///   "token": API tokens from `attache token create`; the page signs in with one, too.
        ///   "jwt": JSON Web Tokens that your identity provider or application signs.
        ///   "forward": for reading attachments, ask your application.
        mode: Vec<AuthMode> = vec![AuthMode::Open] => List(MODES),
    }
    sections {
        /// `[auth.jwt]`
        jwt: JwtConfig,
        /// `[auth.forward]`
        forward: ForwardConfig,
    }
}

/// `auth.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuthMode {
    /// Everybody who can connect may do everything; only on loopback.
    Open,
    /// API tokens that `attache token create` made.
    Token,
    /// JSON Web Tokens that somebody else signs.
    Jwt,
    /// Readers that the application allows.
    Forward,
}

const MODES: Words<AuthMode> = Words(&[
    ("open", AuthMode::Open),
    ("token", AuthMode::Token),
    ("jwt", AuthMode::Jwt),
    ("forward", AuthMode::Forward),
]);

impl AuthMode {
    /// Its word in the configuration.
    pub(crate) fn as_str(self) -> &'static str {
        MODES.of(self)
    }
}

impl fmt::Display for AuthMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

section! {
    /// `[auth.jwt]`: whose tokens are believed.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct JwtConfig in "auth.jwt" {
        /// The signer's public keys (RFC 7517), from a file. EdDSA, ES256, RS256.
        #[example = "\"/etc/attache/jwks.json\""]
        jwks_file: Option<PathBuf> = None => Optional(FilePath),
        /// Or from a URL that is fetched again every 10 minutes.
        #[example = "\"https://login.example.org/.well-known/jwks.json\""]
        jwks_url: Option<String> = None => Optional(HttpUrl),
        /// What a token's "iss" must be. Its "scope" holds words of "read write delete admin", its "owner" patterns.
        #[example = "\"https://login.example.org\""]
        issuer: Option<String> = None => SomeText,
        /// What a token's "aud" must hold.
        #[example = "\"attache\""]
        audience: Option<String> = None => SomeText,
        /// How far the clocks may differ.
        leeway: Duration = Duration::from_secs(30) => TimeOrZero,
    }
    files {
        /// What is in `jwks_file`.
        jwks: Option<String> from jwks_file = String::from,
    }
}

section! {
    /// `[auth.forward]`: the application that is asked whether a reader may have an attachment.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ForwardConfig in "auth.forward" {
        /// Asked with GET: 2xx lets the reader have the attachment, 401 asks it to sign in, anything else refuses.
        #[example = "\"http://127.0.0.1:3000/may-read\""]
        url: Option<String> = None => Optional(GuardedUrl),
        /// Headers of the reader's request that are passed on.
        headers: Vec<String> = ["cookie", "authorization"].map(str::to_owned).to_vec() => List(HeaderName),
        /// How long it may take.
        timeout: Duration = Duration::from_secs(5) => Time,
        /// How long its response holds for the same reader and attachment; "0s" asks every time.
        cache: Duration = Duration::from_secs(10) => TimeOrZero,
    }
}

/// The name of a header that is passed on.
struct HeaderName;

impl Format<String> for HeaderName {
    fn read(&self, raw: &Raw) -> Result<String, String> {
        let name = raw.text()?;
        let parsed = name
            .parse::<http::HeaderName>()
            .map_err(|_| format!("holds \"{name}\", which is not a header name"))?;
        let name = parsed.as_str();
        match name.starts_with("x-attache-") || name.starts_with("x-forwarded-") {
            // Ours, and the reader's would come before it.
            true => Err(format!("holds \"{name}\", which attache sets itself")),
            false => Ok(name.to_owned()),
        }
    }

    fn show(&self, value: &String) -> Option<String> {
        attache::config::value::quoted(value)
    }
}

/// As [`HttpUrl`], for what travels with secrets: over https, unless it stays on this machine.
struct GuardedUrl;

impl Format<String> for GuardedUrl {
    fn read(&self, raw: &Raw) -> Result<String, String> {
        let url = HttpUrl.read(raw)?;
        match url.starts_with("https://") || is_loopback_url(&url) {
            true => Ok(url),
            false => Err(
                "must be https, because the cookies of readers are sent there; http is for loopback"
                    .to_owned(),
            ),
        }
    }

    fn show(&self, url: &String) -> Option<String> {
        HttpUrl.show(url)
    }
}

impl AuthConfig {
    /// Whether callers may prove themselves this way.
    pub(crate) fn accepts(&self, mode: AuthMode) -> bool {
        self.mode.contains(&mode)
    }

    pub(super) fn check(&self, environment: &BTreeMap<String, String>, faults: &mut Faults) {
        // An empty variable is an unset one, but not where the default lets everybody in.
        if environment
            .get("ATTACHE_AUTH__MODE")
            .is_some_and(String::is_empty)
        {
            faults.add("auth.mode must not be empty (from ATTACHE_AUTH__MODE)");
        }
        if self.mode.is_empty() {
            faults.add("auth.mode must not be empty");
        }
        if self.accepts(AuthMode::Open) && self.mode.len() > 1 {
            faults.add(
                "auth.mode holds \"open\" beside others, but \"open\" requires no authentication; remove it, or the others",
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
            faults.add("auth.jwt.leeway must be at most 5m");
        }
        if forward.cache > MAX_FORWARD_CACHE {
            faults.add("auth.forward.cache must be at most 5m");
        }
        if let Some(url) = &jwt.jwks_url
            && !url.starts_with("https://")
            && !is_loopback_url(url)
        {
            faults.add(
                "auth.jwt.jwks_url must be https: anyone who can alter the keys in transit can sign tokens",
            );
        }
    }
}

/// Longest [`leeway`](JwtConfig::leeway): what RFC 7519 section 4.1.4 calls a few minutes.
const MAX_LEEWAY: Duration = Duration::from_secs(5 * 60);

/// Longest that a reader who has lost a right keeps it here.
const MAX_FORWARD_CACHE: Duration = Duration::from_secs(5 * 60);
