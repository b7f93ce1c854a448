//! How long the URL of a redirect works: long enough for what it opens, and the same URL long enough for caches.
//!
//! A browser goes back to the URL that it was redirected to, and not to attache, when a film is played on after a pause or
//! a download is resumed; a URL that has expired then is a film that stands still without an error. And a browser caches
//! by URL: one that changes every minute is an image that is fetched anew with every page. On the other side, whoever is
//! handed a URL can use it until it expires.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// `delivery.url_lifetime`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UrlLifetime {
    /// What the attachment takes at 64 KiB/s, an hour at least for audio and video, 2 h at most; in steps of 10 minutes for
    /// what takes less than that, else of an hour, so that browsers can cache by URL.
    #[default]
    Auto,
    /// The same for all, and for temporary URLs that are asked for without a lifetime.
    Fixed(Duration),
}

impl UrlLifetime {
    /// The lifetime of a URL that is used at once or whose user did not say how long it is needed: that of
    /// `POST …/url`, and of a URL that the web server in front opens.
    pub fn or_default(self) -> Duration {
        match self {
            Self::Auto => DEFAULT,
            Self::Fixed(lifetime) => lifetime,
        }
    }
}

impl FromStr for UrlLifetime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            text => humantime::parse_duration(text)
                .map(Self::Fixed)
                .map_err(|_| {
                    format!("is \"{text}\", but must be \"auto\" or a duration, such as \"2m\"")
                }),
        }
    }
}

impl fmt::Display for UrlLifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(lifetime) => humantime::format_duration(*lifetime).fmt(f),
        }
    }
}

/// How long one URL works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    /// At most.
    pub(crate) longest: Duration,
    /// Its end is a multiple of this, so it works for more than `longest - step`.
    pub(crate) step: Duration,
    /// How long a client needs it after it was redirected: a redirect that is cached must not be followed later than this
    /// before the end.
    pub(crate) need: Duration,
}

impl Lifetime {
    /// Of at most `longest`, in steps of half of it.
    pub(crate) fn fixed(longest: Duration) -> Self {
        Self {
            longest,
            step: longest / 2,
            need: MARGIN,
        }
    }

    /// For a redirect to an attachment of this type and length.
    ///
    /// `auto` gives at least what the file takes at 64 KiB/s (the rate of `download.timeout`), an hour for audio and video,
    /// and never more than 2 h. What needs up to 10 minutes works for 10 to 20, what needs up to an hour for one to two,
    /// and what needs more for 105 minutes at least: a file of that size is hardly cached, so its steps may be shorter.
    pub(crate) fn for_redirect(setting: UrlLifetime, content_type: &str, size: u64) -> Self {
        if let UrlLifetime::Fixed(longest) = setting {
            return Self::fixed(longest);
        }
        let plays = content_type.starts_with("audio/") || content_type.starts_with("video/");
        let transfer = Duration::from_secs(size / SLOWEST_RATE).max(MARGIN);
        let need = if plays { transfer.max(HOUR) } else { transfer };
        let (longest, step) = match need {
            need if need <= SHORT => (2 * SHORT, SHORT),
            need if need <= HOUR => (2 * HOUR, HOUR),
            _ => (2 * HOUR, HOUR / 4),
        };
        Self {
            longest,
            step,
            need: need.min(longest - step),
        }
    }
}

/// Without a wish of anybody: what following a link takes, with room for a slow line.
const DEFAULT: Duration = Duration::from_secs(120);

/// A redirect is forgotten this long before its URL expires, so that following it takes its time.
const MARGIN: Duration = Duration::from_secs(15);

/// The rate of the default `download.timeout`, in bytes a second.
const SLOWEST_RATE: u64 = 64 * 1024;

/// A page with its images, opened again a few minutes later, finds them in the browser's cache.
const SHORT: Duration = Duration::from_secs(10 * 60);

const HOUR: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::config::MAX_URL_LIFETIME;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn a_url_works_for_as_long_as_what_it_opens_takes() {
        for (content_type, size, least) in [
            ("image/png", 0, SHORT),
            ("application/zip", 37 * MIB, SHORT),
            ("application/zip", 38 * MIB, HOUR),
            ("application/zip", 225 * MIB, HOUR),
            ("application/zip", 226 * MIB, 7 * HOUR / 4),
            ("application/zip", u64::MAX, 7 * HOUR / 4),
            ("audio/mpeg", 1, HOUR),
            ("video/mp4", 100 * MIB, HOUR),
        ] {
            let life = Lifetime::for_redirect(UrlLifetime::Auto, content_type, size);
            let shortest = life.longest - life.step;
            assert_eq!(shortest, least, "{content_type} of {size}");
            assert!(life.need <= shortest, "{life:?}");
            assert!(life.longest <= MAX_URL_LIFETIME, "{life:?}");
            let transfer = Duration::from_secs(size / SLOWEST_RATE);
            assert!(life.need >= transfer.min(shortest), "{life:?}");
        }
    }

    #[test]
    fn a_duration_that_was_set_holds_for_everything() {
        let setting = UrlLifetime::Fixed(Duration::from_secs(60));
        let life = Lifetime::for_redirect(setting, "video/mp4", 1 << 40);
        assert_eq!(life, Lifetime::fixed(Duration::from_secs(60)));
        assert_eq!(setting.or_default(), Duration::from_secs(60));
        assert_eq!(UrlLifetime::Auto.or_default(), DEFAULT);
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["auto", "2m", "1h 30m"] {
            let read: UrlLifetime = text.parse().expect(text);
            assert_eq!(read.to_string(), text);
        }
        for text in ["", "soon", "-1s"] {
            assert!(text.parse::<UrlLifetime>().is_err(), "{text:?}");
        }
    }
}
