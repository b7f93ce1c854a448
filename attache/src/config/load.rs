//! Reading: the file, then the environment, then what the command line says; all faults at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::key::{Key, Section};
use super::value::Raw;
use crate::error::{Error, ErrorKind, Result};

/// A configuration: sections of keys, and what must hold between them.
///
/// The library's is [`Config`](super::Config); a program around it has one of its own that holds the library's.
pub trait Configuration: Default {
    /// Visits the sections, in the order in which they are shown.
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn Section));

    /// As [`each`](Self::each).
    fn each_mut(&mut self, visit: &mut dyn FnMut(&mut dyn Section));

    /// Values that other programs go by, where nothing else says anything. `given` has what was given so far.
    fn fall_back(environment: &BTreeMap<String, String>, given: &mut Given) {
        let _ = (environment, given);
    }

    /// What holds between keys.
    fn check(&self, environment: &BTreeMap<String, String>, faults: &mut Faults);
}

/// Values that were given, by the paths of their keys, and where each comes from.
pub type Given = BTreeMap<&'static str, (Raw, String)>;

/// The text of a configuration file.
///
/// # Errors
///
/// [`ErrorKind::Misconfigured`] if it cannot be read, or is empty: then an editor, a copy or a full disk has cut it short, most
/// likely, and the defaults are for a first try on loopback.
pub fn read_file(path: &Path) -> Result<String> {
    let wrong = |what: String| {
        Error::new(ErrorKind::Misconfigured, what)
            .with_source(std::io::Error::other(path.display().to_string()))
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| wrong(format!("cannot read the configuration file: {error}")))?;
    match text.trim().is_empty() {
        true => Err(wrong(
            "the configuration file is empty; write into it what differs from the defaults, or name no file"
                .to_owned(),
        )),
        false => Ok(text),
    }
}

/// Loads the text of a file, then the environment of the process, then `overrides`: keys and values, such as
/// `("server.listen", "127.0.0.1:9000")`, that win over both.
///
/// # Errors
///
/// [`ErrorKind::Misconfigured`], with every fault on a line of its own.
pub fn load<C: Configuration>(text: Option<&str>, overrides: &[(&str, String)]) -> Result<C> {
    load_beside(text, overrides, &[])
}

/// As [`load`], where other programs have sections of the same file: `beside` are their names, such as `["server"]`. What is
/// in them, and what the environment says of them, is not looked at.
///
/// # Errors
///
/// As [`load`].
pub fn load_beside<C: Configuration>(
    text: Option<&str>,
    overrides: &[(&str, String)],
    beside: &'static [&'static str],
) -> Result<C> {
    let environment = std::env::vars_os()
        // A variable that is not text is not ours.
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let overrides = overrides.iter().map(|(key, value)| {
        let name = format!("ATTACHE_{}", key.to_ascii_uppercase().replace('.', "__"));
        (name, value.clone())
    });
    read(text, environment.chain(overrides), beside)
}

/// Loads the text of a file, and an environment.
///
/// # Errors
///
/// As [`load`].
pub fn from_parts<C: Configuration>(
    file: Option<&str>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<C> {
    read(file, environment, &[])
}

fn read<C: Configuration>(
    file: Option<&str>,
    environment: impl IntoIterator<Item = (String, String)>,
    beside: &'static [&'static str],
) -> Result<C> {
    let mut config = C::default();
    let keys: Vec<&'static Key> = sections(&config)
        .into_iter()
        .flat_map(Section::keys)
        .collect();
    let mut faults = Faults {
        found: Vec::new(),
        known: keys.iter().map(|key| key.path).collect(),
        beside,
    };
    let mut given = Given::new();
    if let Some(text) = file {
        match text.parse::<toml::Table>() {
            Ok(table) => flatten("", &table, &keys, &mut given, &mut faults),
            Err(error) => faults.add(format!(
                "the file is not valid TOML: {}",
                error.to_string().trim_end()
            )),
        }
    }
    let environment: BTreeMap<String, String> = environment.into_iter().collect();
    from_environment(&environment, &keys, &mut given, &mut faults);
    C::fall_back(&environment, &mut given);
    config.each_mut(&mut |section| {
        for (index, key) in section.keys().iter().enumerate() {
            if let Some((raw, origin)) = given.get(key.path)
                && let Err(what) = section.read(index, raw)
            {
                faults.add(format!("{} {what} (from {origin})", key.path));
            }
        }
    });
    config.each_mut(&mut |section| {
        section.read_files(&mut |path, key| read_named(path, key, &mut faults));
    });
    config.check(&environment, &mut faults);
    faults.into_result()?;
    Ok(config)
}

/// What is in effect, as TOML; secrets as `[redacted]`.
pub fn to_toml<C: Configuration>(config: &C) -> String {
    let mut text = String::new();
    let mut folder = "";
    for section in sections(config) {
        for (index, key) in section.keys().iter().enumerate() {
            let name = heading(key, &mut folder, &mut text);
            match section.show(index) {
                Some(value) => text.push_str(&format!("{name} = {value}\n")),
                None => text.push_str(&format!("# {name} is not set\n")),
            }
        }
    }
    text
}

/// Every key with its default and what it means: `attache.example.toml`.
pub fn example<C: Configuration>() -> String {
    let mut text = "# attache: every key with its default. Keys behind \"# \" have none.\n#\n\
         # Every key can also be set in the environment: ATTACHE_ and the path in capitals, with __ between levels, for example\n\
         # ATTACHE_STORAGE__AZURE__ACCOUNT. Environment wins over this file, this file over the default.\n"
        .to_owned();
    let (config, mut folder) = (C::default(), "");
    for section in sections(&config) {
        for (index, key) in section.keys().iter().enumerate() {
            let name = heading(key, &mut folder, &mut text);
            for line in key.docs.lines() {
                text.push_str(&format!("#{}\n", line.trim_end()));
            }
            match (section.show(index), key.example) {
                (_, Some(example)) => text.push_str(&format!("# {name} = {example}\n")),
                (Some(value), None) => text.push_str(&format!("{name} = {value}\n")),
                (None, None) => text.push_str(&format!("# {name} = \n")),
            }
        }
    }
    text
}

/// Begins another section where the path of `key` does; the last word of the path.
fn heading(key: &Key, folder: &mut &'static str, text: &mut String) -> &'static str {
    let (front, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
    if front != *folder {
        *folder = front;
        text.push_str(if text.is_empty() { "" } else { "\n" });
        text.push_str(&format!("[{front}]\n"));
    }
    name
}

/// Puts back what is read at start only, so that nothing takes a configuration at its word that is not in effect; the keys
/// that differed.
pub fn keep_start_only<C: Configuration>(config: &mut C, running: &C) -> Vec<&'static str> {
    let (mut changed, mut old) = (Vec::new(), sections(running).into_iter());
    config.each_mut(&mut |section| {
        let Some(old) = old.next() else { return };
        for (index, key) in section.keys().iter().enumerate() {
            if key.start_only && section.keep(index, old) {
                changed.push(key.path);
            }
        }
    });
    changed
}

/// The keys that the text of a file sets, such as `server.listen`; none if it is not TOML. They need not be known.
pub fn keys_set_in(text: &str) -> BTreeSet<String> {
    fn collect(front: &str, table: &toml::Table, keys: &mut BTreeSet<String>) {
        for (name, value) in table {
            let path = match front {
                "" => name.clone(),
                _ => format!("{front}.{name}"),
            };
            match value {
                toml::Value::Table(inner) => collect(&path, inner, keys),
                _ => {
                    keys.insert(path);
                }
            }
        }
    }
    let mut keys = BTreeSet::new();
    if let Ok(table) = text.parse::<toml::Table>() {
        collect("", &table, &mut keys);
    }
    keys
}

fn sections<C: Configuration>(config: &C) -> Vec<&dyn Section> {
    let mut sections = Vec::new();
    config.each(&mut |section| sections.push(section));
    sections
}

/// A file that a key names.
fn read_named(path: &Path, key: &str, faults: &mut Faults) -> Option<String> {
    match read_text(path) {
        Ok(text) => Some(text),
        Err(error) => {
            // The key tells which file; its path is not for whoever asks over HTTP.
            faults.add(format!("{key} names a file that cannot be read: {error}"));
            None
        }
    }
}

/// The text of a file that a key names.
pub(crate) fn read_text(path: &Path) -> std::io::Result<String> {
    let text = std::fs::read_to_string(path)?;
    // Editors and shells of Windows put a byte order mark before it, which is no part of any of these.
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// Everything that is wrong with a configuration.
#[derive(Debug)]
pub struct Faults {
    found: Vec<String>,
    known: Vec<&'static str>,
    /// Sections of somebody else.
    beside: &'static [&'static str],
}

impl Faults {
    /// A sentence that begins with the key.
    pub fn add(&mut self, fault: impl Into<String>) {
        self.found.push(fault.into());
    }

    fn unknown(&mut self, path: &str, origin: &str) {
        let section = path.split('.').next().unwrap_or(path);
        if self.beside.contains(&section) {
            return;
        }
        let nearest = self
            .known
            .iter()
            .map(|known| (strsim::damerau_levenshtein(path, known), *known))
            .min()
            .filter(|(distance, _)| *distance <= path.len().div_ceil(3));
        self.add(match nearest {
            Some((_, near)) => format!("unknown key \"{path}\" in {origin}; did you mean {near}?"),
            None => format!("unknown key \"{path}\" in {origin}; `attache config` lists all keys"),
        });
    }

    fn into_result(self) -> Result<()> {
        let text = match self.found.as_slice() {
            [] => return Ok(()),
            [one] => format!("the configuration has a fault: {one}"),
            many => format!(
                "the configuration has {} faults:\n  - {}",
                many.len(),
                many.join("\n  - ")
            ),
        };
        Err(Error::new(ErrorKind::Misconfigured, text))
    }
}

fn flatten(
    prefix: &str,
    table: &toml::Table,
    keys: &[&'static Key],
    given: &mut Given,
    faults: &mut Faults,
) {
    for (name, value) in table {
        let path = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            toml::Value::Table(inner) => {
                match keys.iter().find(|key| key.table && key.path == path) {
                    Some(key) => {
                        let raw = Raw::Table(inner.clone());
                        given.insert(key.path, (raw, "the file".to_owned()));
                    }
                    None => flatten(&path, inner, keys, given, faults),
                }
            }
            value => match keys.iter().find(|key| key.path == path) {
                Some(key) => {
                    given.insert(key.path, (Raw::of(value), "the file".to_owned()));
                }
                None => faults.unknown(&path, "the file"),
            },
        }
    }
}

fn from_environment(
    environment: &BTreeMap<String, String>,
    keys: &[&'static Key],
    given: &mut Given,
    faults: &mut Faults,
) {
    for key in keys {
        for name in key.variables {
            if let Some(value) = environment.get(*name).filter(|value| !value.is_empty()) {
                given.insert(key.path, (Raw::Text(value.clone()), (*name).to_owned()));
            }
        }
    }
    for (name, value) in environment {
        let Some(rest) = name.strip_prefix("ATTACHE_") else {
            continue;
        };
        // An empty variable is an unset one.
        if NOT_KEYS.iter().any(|other| rest.starts_with(other)) || value.is_empty() {
            continue;
        }
        let path = rest.to_ascii_lowercase().replace("__", ".");
        match keys.iter().find(|key| key.path == path) {
            Some(key) => {
                given.insert(key.path, (Raw::Text(value.clone()), name.clone()));
            }
            None if is_of_a_service(rest) => {}
            None if into_table(&path, value, keys, given) => {}
            None => faults.unknown(&path, name),
        }
    }
}

/// Puts the value of a variable such as `ATTACHE_S3__BUCKETS__FILES__CONTAINER` into its table; whether there is one.
fn into_table(path: &str, value: &str, keys: &[&'static Key], given: &mut Given) -> bool {
    let of_table = |key: &&&'static Key| {
        let rest = path.strip_prefix(key.path);
        key.table && rest.is_some_and(|rest| rest.starts_with('.'))
    };
    let Some(key) = keys.iter().find(of_table) else {
        return false;
    };
    let (Raw::Table(table), _) = given.entry(key.path).or_insert_with(|| {
        let origin = "the environment".to_owned();
        (Raw::Table(toml::Table::new()), origin)
    }) else {
        return false;
    };
    let Some((name, inner)) = path[key.path.len() + 1..].rsplit_once('.') else {
        table.insert(path[key.path.len() + 1..].to_owned(), value.into());
        return true;
    };
    let empty = || toml::Value::Table(toml::Table::new());
    let named = table.entry(name).or_insert_with(empty);
    if let toml::Value::Table(named) = named {
        named.insert(inner.to_owned(), toml::Value::from(value));
    }
    true
}

/// Variables of ours that are not keys: the path of the file, the log filter, and what our tests use.
const NOT_KEYS: &[&str] = &["CONFIG", "LOG", "TEST_"];

/// Whether Kubernetes makes a variable of this name for a service whose name begins with "attache", in every pod beside it:
/// `ATTACHE_SERVICE_HOST`, `ATTACHE_PORT`, `ATTACHE_PORT_8080_TCP_ADDR`
/// (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>). No key looks like that.
fn is_of_a_service(name: &str) -> bool {
    let has = |end: &str| name == end || name.ends_with(&format!("_{end}"));
    let service_port = format!("_{name}").contains("_SERVICE_PORT_");
    let port = format!("_{name}")
        .split_once("_PORT_")
        .is_some_and(|(_, rest)| {
            let mut parts = rest.split('_');
            let number = parts
                .next()
                .is_some_and(|number| number.parse::<u16>().is_ok());
            let protocol = parts
                .next()
                .is_some_and(|word| matches!(word, "TCP" | "UDP" | "SCTP"));
            let end = parts
                .next()
                .is_none_or(|word| matches!(word, "PROTO" | "PORT" | "ADDR"));
            number && protocol && end && parts.next().is_none()
        });
    has("SERVICE_HOST") || has("SERVICE_PORT") || has("PORT") || service_port || port
}
