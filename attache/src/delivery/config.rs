//! `[delivery]`: how attachments leave.

use std::fmt;
use std::time::Duration;

use super::embedding::Embed;
use super::lifetime::UrlLifetime;
use crate::config::load::Faults;
use crate::config::value::{Format, List, Optional, Own, Raw, Text, Words, quoted};
use crate::section;

/// Longest life of a temporary URL.
///
/// A URL must not outlive the key that signs it. Keys are asked for 12 h and renewed from 70 % of their life, so 2 h is
/// honoured from the key at hand even while renewals fail for 1.6 h.
pub const MAX_URL_LIFETIME: Duration = Duration::from_secs(2 * 60 * 60);

/// Shortest life of a temporary URL: what a browser needs to follow a redirect on a bad line.
pub const MIN_URL_LIFETIME: Duration = Duration::from_secs(5);

section! {
    /// `[delivery]`
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct DeliveryConfig in "delivery" {
        /// "relay", "redirect" or "delegate"; "redirect" for stores that sign URLs and "relay" for the others without it. With
        /// "redirect", requests with an Authorization header are relayed unless they ask for ?via=redirect; elsewhere
        /// ?via=redirect has no effect.
        #[example = "\"relay\""]
        mode: Option<DeliveryMode> = None => Optional(MODES),
        /// How long the URL of a redirect works: "auto", or a duration of 2 h at most. "auto" gives what the file takes at 64 KiB/s, an
        /// hour at least for audio and video, so that films play on and downloads are resumed. Anyone who obtains such a URL can open
        /// that one file until it expires: a short duration costs films that stop and images that are not cached. Temporary URLs
        /// (POST …/url) work for 2 minutes unless they ask for more, or for the duration that is set here.
        url_lifetime: UrlLifetime = UrlLifetime::Auto => Own,
        /// For "delegate": the internal location of nginx; deploy/nginx/attache.conf has it ready. Needs server.trusted_proxies:
        /// all other clients get the bytes from attache.
        internal_prefix: String = "/internal/".to_owned() => InternalPrefix,
        /// What may be shown within a page. Texts of all types (Markdown, JSON, logs, source) are shown as plain text where
        /// "text/plain" is listed; CSV, calendars and address books are saved unless listed themselves. HTML, XML, scripts and style
        /// sheets are never shown, whatever is listed. SVG is shown only if "image/svg+xml" is listed by name, in a sandbox without
        /// scripts, and never by redirect: stores send no policy.
        inline_types: Vec<String> = INLINE_TYPES.map(str::to_owned).to_vec() => List(Text),
        /// Pages of which sites may embed attachments: "same-site" or "cross-origin". An IP address is of no site: in Chromium a page
        /// on another port of the same address needs "cross-origin", too.
        embed: Embed = Embed::SameSite => EMBEDS,
    }
}

const INLINE_TYPES: [&str; 5] = [
    "image/*",
    "audio/*",
    "video/*",
    "application/pdf",
    "text/plain",
];

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

/// The modes by their words in the configuration.
pub const MODES: Words<DeliveryMode> = Words(&[
    ("relay", DeliveryMode::Relay),
    ("redirect", DeliveryMode::Redirect),
    ("delegate", DeliveryMode::Delegate),
]);

const EMBEDS: Words<Embed> = Words(&[
    (Embed::SameSite.as_str(), Embed::SameSite),
    (Embed::CrossOrigin.as_str(), Embed::CrossOrigin),
]);

impl DeliveryMode {
    /// Its word in the configuration and in metrics.
    pub fn as_str(self) -> &'static str {
        MODES.of(self)
    }
}

impl fmt::Display for DeliveryMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A path that begins and ends with a slash.
struct InternalPrefix;

impl Format<String> for InternalPrefix {
    fn read(&self, raw: &Raw) -> Result<String, String> {
        let text = raw.text()?;
        let plain =
            text.starts_with('/') && text.ends_with('/') && text.len() > 1 && text.is_ascii();
        if plain && !text.contains("..") && !text.contains("//") {
            Ok(text.to_owned())
        } else {
            Err("must begin and end with a slash, such as \"/internal/\"".to_owned())
        }
    }

    fn show(&self, value: &String) -> Option<String> {
        quoted(value)
    }
}

impl DeliveryConfig {
    pub(crate) fn check(&self, faults: &mut Faults) {
        if let UrlLifetime::Fixed(lifetime) = self.url_lifetime
            && !(MIN_URL_LIFETIME..=MAX_URL_LIFETIME).contains(&lifetime)
        {
            faults.add("delivery.url_lifetime must be \"auto\", or between 5s and 2h");
        }
    }
}
