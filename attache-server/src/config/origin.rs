//! The origins of pages, as browsers name them.

use std::fmt;
use std::str::FromStr;

/// An origin as browsers write it into `Origin` (RFC 6454 section 6.2): scheme, host and port, in lower case, without a
/// port that is the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin(String);

impl Origin {
    /// Whether a header `Origin` names it.
    pub(crate) fn is(&self, header: &[u8]) -> bool {
        self.0.as_bytes() == header
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            Err(format!(
                "has \"{text}\", but must be a list of origins, such as \"https://wiki.example.org\"{why}"
            ))
        };
        if matches!(text, "*" | "null") {
            return wrong("; what comes with the cookies of a reader is for pages that you name");
        }
        let lower = text.trim().to_ascii_lowercase();
        let Some((scheme, authority)) = lower.split_once("://") else {
            return wrong("");
        };
        // Web views have schemes of their own: capacitor://localhost.
        let scheme_fits = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let parsed = authority.parse::<http::uri::Authority>();
        let host_fits = parsed.is_ok_and(|authority| !authority.host().is_empty())
            && !authority.contains(['@', '/', '*']);
        if !scheme_fits || !host_fits {
            return wrong("");
        }
        let own_port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => "",
        };
        let authority = match authority.strip_suffix(own_port) {
            Some(host) if !own_port.is_empty() => host,
            _ => authority,
        };
        Ok(Self(format!("{scheme}://{authority}")))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        for (text, origin) in [
            ("https://Wiki.example.org", "https://wiki.example.org"),
            ("https://wiki.example.org:443/", "https://wiki.example.org"),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("http://[::1]:80", "http://[::1]"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            let parsed = text.parse::<Origin>().expect("an origin");
            assert!(parsed.is(origin.as_bytes()), "{text}: {parsed}");
        }
        for text in [
            "*",
            "null",
            "wiki.example.org",
            "https://",
            "https://wiki.example.org/page",
            "https://*.example.org",
            "https://u@wiki.example.org",
            "://a",
            "https://ä.example",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
        let origin: Origin = "https://wiki.example.org".parse().expect("an origin");
        for other in [
            "http://wiki.example.org",
            "https://wiki.example.org.evil.org",
            "null",
            "",
        ] {
            assert!(!origin.is(other.as_bytes()), "{other}");
        }
    }
}
