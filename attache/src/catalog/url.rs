//! `catalog.url`: which database, and how to reach it.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// What attache keeps for itself where the catalog is no file.
const DATA_FOLDER: &str = "attache-data";

/// `catalog.url`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogUrl {
    /// The file of a SQLite database.
    Sqlite(PathBuf),
    /// A PostgreSQL database, which several machines may share.
    Postgres(PostgresUrl),
}

impl CatalogUrl {
    /// The folder of what attache keeps for itself: that of the SQLite file, else `attache-data`.
    pub fn folder(&self) -> PathBuf {
        let folder = match self {
            Self::Sqlite(file) => file.parent(),
            Self::Postgres(_) => Some(Path::new(DATA_FOLDER)),
        };
        match folder {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    /// The file of the SQLite database; `None` for another one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(file) => Some(file),
            Self::Postgres(_) => None,
        }
    }
}

impl fmt::Display for CatalogUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(file) => write!(f, "sqlite://{}", file.display()),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

impl FromStr for CatalogUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text
            .strip_prefix("sqlite://")
            .filter(|path| !path.is_empty())
        {
            return Ok(Self::Sqlite(PathBuf::from(path)));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return text.parse().map(Self::Postgres);
        }
        // Never shown: a database URL holds a password.
        Err("must be \"sqlite://PATH\" or \"postgres://USER@HOST/DATABASE\"".to_owned())
    }
}

/// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full&sslrootcert=FILE`, with the parameters of libpq that are listed
/// in [`PARAMETERS`]. Prints without the password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    shown: String,
    config: Box<Config>,
    encrypted: bool,
    root_certificates: Option<PathBuf>,
}

/// Parameters of the URL that are understood
/// (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS>).
///
/// - `sslmode`: `disable`, on loopback and on a socket of this machine alone, where it is the default; `require`, `verify-ca` and
///   `verify-full`, which is the default elsewhere. All three check the certificate and its name, which libpq does for the last
///   one alone: a connection to nobody knows whom is not worth the word.
/// - `sslrootcert`: a PEM file of the certificates that are trusted besides those of the system.
/// - `target_session_attrs=read-write`: of several hosts the one that can be written.
pub const PARAMETERS: [&str; 8] = [
    "sslmode",
    "sslrootcert",
    "application_name",
    "connect_timeout",
    "target_session_attrs",
    "host",
    "port",
    "options",
];

impl PostgresUrl {
    /// Who and where, for the driver; the password of the URL included.
    pub(super) fn config(&self) -> Config {
        Config::clone(&self.config)
    }

    /// Whether connections are encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// `sslrootcert`
    pub(super) fn root_certificates(&self) -> Option<&Path> {
        self.root_certificates.as_deref()
    }

    /// Whether the URL holds a password.
    pub fn has_password(&self) -> bool {
        self.config.get_password().is_some()
    }
}

impl FromStr for PostgresUrl {
    type Err = String;

    /// An error never shows the text.
    fn from_str(text: &str) -> Result<Self, String> {
        let (base, query) = match text.split_once('?') {
            Some((base, query)) => (base, query),
            None => (text, ""),
        };
        let (mut sslmode, mut root_certificates, mut passed) = (None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "sslmode" => sslmode = Some(value),
                "sslrootcert" => {
                    let path = percent_encoding::percent_decode_str(value).decode_utf8();
                    let path = path.map_err(|_| "sslrootcert is not a path".to_owned())?;
                    root_certificates = Some(PathBuf::from(&*path));
                }
                name if PARAMETERS.contains(&name) => passed.push(pair),
                _ => {
                    return Err(format!(
                        "has a parameter that is not known; known are {}. A password with one of the characters \
                         \":/?#[]@%\" must be written percent-encoded, or stand in catalog.password_file",
                        PARAMETERS.join(", ")
                    ));
                }
            }
        }
        let plain = match passed.is_empty() {
            true => base.to_owned(),
            false => format!("{base}?{}", passed.join("&")),
        };
        let mut config: Config = plain.parse().map_err(|_| {
            "is not a URL of PostgreSQL: \"postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full\"".to_owned()
        })?;
        if config.get_hosts().is_empty() {
            return Err("names no host: \"postgres://USER@HOST/DATABASE\"".to_owned());
        }
        if config.get_user().is_none() || config.get_dbname().is_none() {
            return Err(
                "must name a user and a database: \"postgres://USER@HOST/DATABASE\"".to_owned(),
            );
        }
        let here = config.get_hosts().iter().all(is_this_machine);
        let encrypted = match sslmode {
            None => !here,
            Some("require" | "verify-ca" | "verify-full") => true,
            Some("disable") if here => false,
            Some("disable" | "allow" | "prefer") => {
                return Err(
                    "has an sslmode that allows plain text, which only a database on this machine may be read in: set \
                     sslmode=verify-full"
                        .to_owned(),
                );
            }
            Some(_) => {
                return Err(
                    "has an unknown sslmode: known are disable, require, verify-ca and verify-full"
                        .to_owned(),
                );
            }
        };
        config.ssl_mode(match encrypted {
            true => SslMode::Require,
            false => SslMode::Disable,
        });
        Ok(Self {
            shown: without_password(text),
            config: Box::new(config),
            encrypted,
            root_certificates,
        })
    }
}

fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            let address: Option<IpAddr> = name.trim_matches(['[', ']']).parse().ok();
            name == "localhost" || address.is_some_and(|address| address.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

fn without_password(text: &str) -> String {
    let shown = || {
        let (scheme, rest) = text.split_once("://")?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let at = rest[..end].rfind('@')?;
        let (user, _) = rest[..at].split_once(':')?;
        Some(format!("{scheme}://{user}:[redacted]{}", &rest[at..]))
    };
    shown().unwrap_or_else(|| text.to_owned())
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PostgresUrl, String> {
        text.parse()
    }

    #[test]
    fn a_url_prints_without_its_password() {
        for (text, shown) in [
            ("postgres://u:s3cret@h/d", "postgres://u:[redacted]@h/d"),
            (
                "postgres://u:s3%40cret@h:5/d?sslmode=require",
                "postgres://u:[redacted]@h:5/d?sslmode=require",
            ),
            ("postgresql://u@h/d", "postgresql://u@h/d"),
        ] {
            let url = parse(text).expect("a URL");
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
        }
        for text in [
            "postgres://u:s3cret@h/d?passwort=s3cret",
            "postgres://u:s3cret@/d",
            "postgres://s3cret",
        ] {
            let fault = text.parse::<CatalogUrl>().expect_err("refused");
            assert!(!fault.contains("s3cret"), "{fault}");
        }
    }

    #[test]
    fn plain_text_is_for_this_machine_alone() {
        for (text, encrypted) in [
            ("postgres://u@127.0.0.1/d", false),
            ("postgres://u@localhost/d?sslmode=disable", false),
            ("postgres://u@[::1]/d", false),
            ("postgres://u@%2Frun%2Fpostgresql/d", false),
            ("postgres://u@localhost/d?sslmode=verify-full", true),
            ("postgres://u@db.example.org/d", true),
            ("postgres://u@db.example.org/d?sslmode=require", true),
            ("postgres://u@localhost,db.example.org/d", true),
        ] {
            assert_eq!(parse(text).expect(text).is_encrypted(), encrypted, "{text}");
        }
        for mode in ["disable", "prefer", "allow"] {
            let fault = parse(&format!("postgres://u@db/d?sslmode={mode}")).expect_err("refused");
            assert!(fault.contains("sslmode=verify-full"), "{fault}");
        }
    }

    #[test]
    fn the_file_of_certificates_is_read_from_the_url() {
        let url =
            parse("postgres://u@db/d?sslrootcert=%2Fetc%2Fca%20file.pem&application_name=wiki")
                .expect("a URL");
        assert_eq!(url.root_certificates(), Some(Path::new("/etc/ca file.pem")));
        assert_eq!(url.config().get_application_name(), Some("wiki"));
    }
}
