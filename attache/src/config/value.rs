//! How values are written: sizes, durations, words, lists. Each format reads what [`show`](Format::show) writes.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;

use crate::secret::Secret;

/// A value as it was given.
#[derive(Debug)]
pub enum Raw {
    /// From the environment, from the command line, or one value of the file.
    Text(String),
    /// A list of the file.
    List(Vec<String>),
    /// A table of the file whose keys an operator names.
    Table(toml::Table),
}

impl Raw {
    /// A value of a table.
    pub fn of(value: &toml::Value) -> Self {
        let scalar = |value: &toml::Value| match value {
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match value {
            toml::Value::Array(list) => Self::List(list.iter().map(scalar).collect()),
            toml::Value::Table(table) => Self::Table(table.clone()),
            value => Self::Text(scalar(value)),
        }
    }

    /// One value.
    ///
    /// # Errors
    ///
    /// If it is a list.
    pub fn text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::List(_) => Err("must be one value, not a list".to_owned()),
            Self::Table(_) => Err("must be one value, not a table".to_owned()),
        }
    }

    /// A list; from the environment with commas between.
    pub fn list(&self) -> Vec<String> {
        match self {
            Self::List(list) => list.clone(),
            Self::Table(_) => Vec::new(),
            Self::Text(text) => text
                .split(',')
                .map(|part| part.trim().to_owned())
                .filter(|part| !part.is_empty())
                .collect(),
        }
    }
}

/// How a value of type `T` is written.
pub trait Format<T> {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// What is wrong, to be put behind the key: `is "x", but must be …`.
    fn read(&self, raw: &Raw) -> Result<T, String>;

    /// As a value of TOML; `None` if it is not set.
    fn show(&self, value: &T) -> Option<String>;
}

/// A value that is not set without its key.
#[derive(Clone, Copy, Debug)]
pub struct Optional<F>(pub F);

impl<T, F: Format<T>> Format<Option<T>> for Optional<F> {
    fn read(&self, raw: &Raw) -> Result<Option<T>, String> {
        self.0.read(raw).map(Some)
    }

    fn show(&self, value: &Option<T>) -> Option<String> {
        self.0.show(value.as_ref()?)
    }
}

/// A value, or a word for none.
#[derive(Clone, Copy, Debug)]
pub struct OrNone<F>(pub F, pub &'static str);

/// A limit, or "unlimited".
pub const fn or_unlimited<F>(format: F) -> OrNone<F> {
    OrNone(format, "unlimited")
}

impl<T, F: Format<T>> Format<Option<T>> for OrNone<F> {
    fn read(&self, raw: &Raw) -> Result<Option<T>, String> {
        match raw {
            Raw::Text(text) if text.trim() == self.1 => Ok(None),
            _ => self.0.read(raw).map(Some),
        }
    }

    fn show(&self, value: &Option<T>) -> Option<String> {
        match value {
            Some(value) => self.0.show(value),
            None => quoted(self.1),
        }
    }
}

/// A list of values.
#[derive(Clone, Copy, Debug)]
pub struct List<F>(pub F);

impl<T: Display, F: Format<T>> Format<Vec<T>> for List<F> {
    fn read(&self, raw: &Raw) -> Result<Vec<T>, String> {
        let list = raw.list().into_iter();
        list.map(|text| self.0.read(&Raw::Text(text))).collect()
    }

    fn show(&self, values: &Vec<T>) -> Option<String> {
        let words: Vec<String> = values.iter().map(ToString::to_string).collect();
        Some(toml::Value::from(words).to_string())
    }
}

/// Any text without spaces around it.
#[derive(Clone, Copy, Debug)]
pub struct Text;

impl Format<String> for Text {
    fn read(&self, raw: &Raw) -> Result<String, String> {
        Ok(raw.text()?.trim().to_owned())
    }

    fn show(&self, value: &String) -> Option<String> {
        quoted(value)
    }
}

/// Text; empty is not set.
#[derive(Clone, Copy, Debug)]
pub struct SomeText;

impl Format<Option<String>> for SomeText {
    fn read(&self, raw: &Raw) -> Result<Option<String>, String> {
        Ok(Some(Text.read(raw)?).filter(|text| !text.is_empty()))
    }

    fn show(&self, value: &Option<String>) -> Option<String> {
        quoted(value.as_ref()?)
    }
}

/// Text that no one may read; shown as `[redacted]`.
#[derive(Clone, Copy, Debug)]
pub struct SecretText;

impl Format<Secret> for SecretText {
    fn read(&self, raw: &Raw) -> Result<Secret, String> {
        Ok(Secret::new(raw.text()?.trim()))
    }

    fn show(&self, value: &Secret) -> Option<String> {
        quoted(value)
    }
}

/// A number or a truth value: TOML without quotes. The text says what it must be.
#[derive(Clone, Copy, Debug)]
pub struct Plain(pub &'static str);

impl<T: FromStr + Display> Format<T> for Plain {
    fn read(&self, raw: &Raw) -> Result<T, String> {
        parsed(raw, self.0)
    }

    fn show(&self, value: &T) -> Option<String> {
        Some(value.to_string())
    }
}

/// What the type itself reads and writes; its error says what is wrong.
#[derive(Clone, Copy, Debug)]
pub struct Own;

impl<T: FromStr<Err = String> + Display> Format<T> for Own {
    fn read(&self, raw: &Raw) -> Result<T, String> {
        raw.text()?.trim().parse()
    }

    fn show(&self, value: &T) -> Option<String> {
        quoted(value)
    }
}

/// What a type of the standard library reads and writes. The text says what it must be.
#[derive(Clone, Copy, Debug)]
pub struct Quoted(pub &'static str);

impl<T: FromStr + Display> Format<T> for Quoted {
    fn read(&self, raw: &Raw) -> Result<T, String> {
        parsed(raw, self.0)
    }

    fn show(&self, value: &T) -> Option<String> {
        quoted(value)
    }
}

/// A whole number, at least 1.
#[derive(Clone, Copy, Debug)]
pub struct Count;

impl Format<usize> for Count {
    fn read(&self, raw: &Raw) -> Result<usize, String> {
        match parsed(raw, "a number")? {
            0 => Err("must be at least 1".to_owned()),
            number => Ok(number),
        }
    }

    fn show(&self, value: &usize) -> Option<String> {
        Some(value.to_string())
    }
}

/// One of some words.
#[derive(Clone, Copy, Debug)]
pub struct Words<T: 'static>(pub &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Words<T> {
    /// The word of a value.
    pub fn of(&self, value: T) -> &'static str {
        let mut words = self.0.iter();
        words
            .find(|(_, known)| *known == value)
            .map_or("", |(word, _)| word)
    }
}

impl<T: Copy + PartialEq> Format<T> for Words<T> {
    fn read(&self, raw: &Raw) -> Result<T, String> {
        let text = raw.text()?;
        let found = self.0.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let known: Vec<&str> = self.0.iter().map(|(word, _)| *word).collect();
            format!("is \"{text}\", but must be one of {}", known.join(", "))
        })
    }

    fn show(&self, value: &T) -> Option<String> {
        quoted(self.of(*value))
    }
}

/// A path. Relative ones are relative to the working directory.
#[derive(Clone, Copy, Debug)]
pub struct FilePath;

impl Format<PathBuf> for FilePath {
    fn read(&self, raw: &Raw) -> Result<PathBuf, String> {
        match raw.text()? {
            "" => Err("must not be empty".to_owned()),
            text => Ok(PathBuf::from(text)),
        }
    }

    fn show(&self, value: &PathBuf) -> Option<String> {
        quoted(value.display())
    }
}

/// A duration that is not nothing.
#[derive(Clone, Copy, Debug)]
pub struct Time;

impl Format<Duration> for Time {
    fn read(&self, raw: &Raw) -> Result<Duration, String> {
        duration(raw.text()?)
    }

    fn show(&self, value: &Duration) -> Option<String> {
        quoted(show_duration(*value))
    }
}

/// A duration; `0s` is one.
#[derive(Clone, Copy, Debug)]
pub struct TimeOrZero;

impl Format<Duration> for TimeOrZero {
    fn read(&self, raw: &Raw) -> Result<Duration, String> {
        match raw.text()?.trim() {
            "0" | "0s" => Ok(Duration::ZERO),
            text => duration(text),
        }
    }

    fn show(&self, value: &Duration) -> Option<String> {
        Time.show(value)
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Size;

impl Format<u64> for Size {
    fn read(&self, raw: &Raw) -> Result<u64, String> {
        bytes(raw.text()?)
    }

    fn show(&self, value: &u64) -> Option<String> {
        quoted(show_bytes(*value))
    }
}

/// A URL that something is sent to.
#[derive(Clone, Copy, Debug)]
pub struct HttpUrl;

impl Format<String> for HttpUrl {
    fn read(&self, raw: &Raw) -> Result<String, String> {
        let text = raw.text()?.trim();
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

    /// Without its query, which may be a secret.
    fn show(&self, url: &String) -> Option<String> {
        match url.split_once('?') {
            Some((front, _)) => quoted(format!("{front}?redacted")),
            None => quoted(url),
        }
    }
}

/// Whether the host part of a URL holds a user name or a password: it would be printed, and is not used anyway.
pub fn has_user(uri: &http::Uri) -> bool {
    uri.authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
}

/// Whether a URL stays on this machine.
pub fn is_loopback_url(url: &str) -> bool {
    let host = url.parse::<http::Uri>().ok().and_then(|uri| {
        let host = uri.host()?.trim_matches(['[', ']']);
        Some(host == "localhost" || host.parse::<std::net::IpAddr>().ok()?.is_loopback())
    });
    host == Some(true)
}

/// As TOML.
pub fn quoted(value: impl Display) -> Option<String> {
    Some(toml::Value::String(value.to_string()).to_string())
}

fn parsed<T: FromStr>(raw: &Raw, what: &str) -> Result<T, String> {
    let text = raw.text()?;
    text.trim()
        .parse()
        .map_err(|_| format!("is \"{text}\", but must be {what}"))
}

/// Reads a duration that is not nothing: `30s`, `5m`, `1h 30m`.
///
/// # Errors
///
/// What is wrong with it.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim())
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| {
            format!("is \"{text}\", but must be a duration, such as \"30s\", \"5m\" or \"1h\"")
        })
}

/// As [`duration`] reads it.
pub fn show_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Reads a size: `8MiB`, `25MB`, `1024`.
///
/// # Errors
///
/// What is wrong with it.
pub fn bytes(text: &str) -> Result<u64, String> {
    text.trim()
        .parse::<ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| {
            format!("is \"{text}\", but must be a size, such as \"8MiB\" or a number of bytes")
        })
}

/// As [`bytes()`] reads it. Exact: the largest unit that divides.
pub fn show_bytes(bytes: u64) -> String {
    [("GiB", 30), ("MiB", 20), ("KiB", 10)]
        .into_iter()
        .find(|(_, shift)| bytes != 0 && bytes.is_multiple_of(1 << shift))
        .map_or_else(
            || bytes.to_string(),
            |(unit, shift)| format!("{}{unit}", bytes >> shift),
        )
}
