//! Backups of what attache keeps beside the store: the catalog, with the tokens and the key of links and sessions, and the key
//! that seals what is secret in it.
//!
//! Attachments themselves are copied by whatever copies files, or by the store. Copied *after* the catalog, they are all
//! there that the catalog names; what is there besides carries its own metadata, and comes back by `attache verify --repair`.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use attache::access::config::SECRETS_FILE;
use attache::access::key_file::KEY_FILE;
use attache::attachment::Hex;
use attache::catalog::sqlite;
use attache::{Config, Error, ErrorKind, Result, private};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

/// Written last: a folder without it is not a backup.
const MANIFEST: &str = "manifest.json";

/// Of the form of the manifest.
const VERSION: u32 = 1;

/// The catalog's name in a backup, whatever `catalog.url` calls it.
const CATALOG: &str = "attache.db";

/// What a backup holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    version: u32,
    /// The version of attache that made it.
    attache: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) made_at: OffsetDateTime,
    /// Attachments in the catalog, and their bytes.
    pub(crate) attachments: u64,
    pub(crate) bytes: u64,
    pub(crate) files: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    size: u64,
    sha256: String,
}

/// A file that is backed up: its name in the backup, and its place, most often in the data folder.
struct Kept {
    name: &'static str,
    place: PathBuf,
    database: bool,
}

/// The catalog comes last: while it is missing, a restore was not finished.
fn kept(config: &Config, catalog: &Path) -> [Kept; 4] {
    let folder = config.data_folder();
    [
        Kept {
            name: SECRETS_FILE,
            place: config.secrets_file(),
            database: false,
        },
        Kept {
            name: KEY_FILE,
            place: folder.join(KEY_FILE),
            database: false,
        },
        Kept {
            name: sqlite::TOKENS_FILE,
            place: folder.join(sqlite::TOKENS_FILE),
            database: true,
        },
        Kept {
            name: CATALOG,
            place: catalog.to_owned(),
            database: true,
        },
    ]
}

/// The file of the catalog.
///
/// # Errors
///
/// [`ErrorKind::Misconfigured`] if it is in another database, which has backups of its own.
fn file(config: &Config) -> Result<&Path> {
    config.catalog.url.file().ok_or_else(|| {
        fault(
            "the catalog is in PostgreSQL: back that up with its own tools, such as pg_dump or those of its provider, and keep a \
             copy of secrets.key_file; or copy it into a file with `attache catalog copy --to sqlite://PATH`",
        )
    })
}

/// Copies catalog, tokens and keys into `to`, a folder that is empty or does not exist, while a server runs or not. The
/// copies are checked and on disk when this returns.
///
/// # Errors
///
/// [`ErrorKind::Misconfigured`], saying what cannot be read or written. Nothing that could pass for a backup is left.
pub(crate) fn backup(config: &Config, to: &Path) -> Result<Manifest> {
    let catalog = file(config)?;
    if !catalog.exists() {
        return Err(fault(format!(
            "there is no catalog at {}; is this the right folder, or is --config missing?",
            catalog.display()
        )));
    }
    let wrong = |error: io::Error| failure(format!("cannot write to {}: {error}", to.display()));
    private::make_folder(to).map_err(wrong)?;
    if let Some(inside) = inside_of_what_is_ours(config, to) {
        let _ = fs::remove_dir(to);
        return Err(fault(format!(
            "{} is inside of {}, which is attache's own; a backup wants a folder elsewhere, best on another disk",
            to.display(),
            inside.display()
        )));
    }
    if fs::read_dir(to).map_err(wrong)?.next().is_some() {
        return Err(fault(format!(
            "{} is not empty; a backup needs an empty folder",
            to.display()
        )));
    }
    let mut made = Vec::new();
    let outcome = copy_all(config, to, &mut made);
    if outcome.is_err() {
        for path in made {
            let _ = fs::remove_file(path);
        }
    }
    outcome
}

fn copy_all(config: &Config, to: &Path, made: &mut Vec<PathBuf>) -> Result<Manifest> {
    let mut files = Vec::new();
    for Kept {
        name,
        place,
        database,
    } in kept(config, file(config)?)
    {
        // Tokens and signing keys are in the catalog, except in the folder of an earlier version, which has no secrets.key.
        if !place.exists() {
            continue;
        }
        let copy = to.join(name);
        made.push(copy.clone());
        match database {
            true => sqlite::copy(&place, &copy)?,
            false => copy_file(&place, &copy).map_err(|error| {
                failure(format!(
                    "cannot copy {} to {}: {error}",
                    place.display(),
                    copy.display()
                ))
            })?,
        }
        files.push(entry(name, &copy)?);
    }
    let copy = to.join(CATALOG);
    if !files.iter().any(|file| file.name == SECRETS_FILE) && sqlite::has_sealed_keys(&copy)? {
        return Err(fault(format!(
            "secrets.key_file {} is missing, and the catalog holds secrets that it has sealed, so that a backup without it opens \
             none of them; put it back, or set secrets.key_file to where it is",
            config.secrets_file().display()
        )));
    }
    let (attachments, bytes) = sqlite::totals(&copy)?;
    let manifest = Manifest {
        version: VERSION,
        attache: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: OffsetDateTime::now_utc(),
        attachments,
        bytes,
        files,
    };
    let path = to.join(MANIFEST);
    made.push(path.clone());
    let written = serde_json::to_vec_pretty(&manifest)
        .map_err(io::Error::other)
        .and_then(|json| {
            let mut file = private::open_file(&path)?;
            file.write_all(&json)?;
            file.sync_all()?;
            fs::File::open(to)?.sync_all()
        });
    written.map_err(|error| failure(format!("cannot write {}: {error}", path.display())))?;
    Ok(manifest)
}

/// Puts a backup back. The data folder must hold no catalog, tokens or keys yet, unless they are those of this very backup:
/// a restore that was interrupted while it copied may be repeated. A `secrets.key_file` may be there beside a backup of an
/// earlier version, which has none: it then seals what was restored.
///
/// # Errors
///
/// [`ErrorKind::Misconfigured`]: the backup is not whole, or something is in its place. Nothing was changed then, except by
/// a disk that failed midway.
pub(crate) fn restore(config: &Config, from: &Path) -> Result<Manifest> {
    let manifest = read_manifest(from)?;
    let places = kept(config, file(config)?);
    let mut wanted = Vec::new();
    for file in &manifest.files {
        let place = places.iter().find(|place| place.name == file.name);
        let place = place.ok_or_else(|| {
            fault(format!(
                "{} names {:?}, which this version of attache does not know; use the version that made it",
                from.join(MANIFEST).display(),
                file.name
            ))
        })?;
        let copy = from.join(place.name);
        if entry(place.name, &copy)?.sha256 != file.sha256 {
            return Err(failure(format!(
                "{} is not the file that was backed up: its SHA-256 differs from the one in {MANIFEST}",
                copy.display()
            )));
        }
        if place.database {
            sqlite::check(&copy)?;
        }
        wanted.push((place, copy, &file.sha256));
    }
    if !wanted.iter().any(|(place, ..)| place.name == CATALOG) {
        return Err(failure(format!(
            "{} does not name {CATALOG}: it is not that of a whole backup",
            from.join(MANIFEST).display()
        )));
    }
    for place in &places {
        let of_backup = wanted.iter().find(|(wanted, ..)| wanted.name == place.name);
        if of_backup.is_none() && place.name == SECRETS_FILE {
            continue;
        }
        for path in with_log(place) {
            let same = path == place.place
                && of_backup.is_some_and(|(_, _, sha256)| {
                    entry(place.name, &path).is_ok_and(|found| found.sha256 == **sha256)
                });
            if path.exists() && !same {
                return Err(fault(format!(
                    "{} exists, and a restore replaces nothing; stop attache, and move the catalog, its -wal and -shm, and \
                     secrets.key (and tokens.db and link.key of earlier versions) away",
                    path.display()
                )));
            }
        }
    }
    for (place, copy, sha256) in wanted {
        // It is this one, as was checked above; and one that an orchestrator mounts cannot be written.
        if entry(place.name, &place.place).is_ok_and(|found| found.sha256 == *sha256) {
            continue;
        }
        put_back(&copy, &place.place)
            .map_err(|error| failure(format!("cannot write {}: {error}", place.place.display())))?;
    }
    Ok(manifest)
}

fn read_manifest(from: &Path) -> Result<Manifest> {
    let path = from.join(MANIFEST);
    let manifest: Manifest = fs::read(&path)
        .and_then(|json| serde_json::from_slice(&json).map_err(io::Error::other))
        .map_err(|error| {
            fault(format!(
                "{} is not a backup, or one that was not finished: cannot read {MANIFEST}: {error}",
                from.display()
            ))
        })?;
    if manifest.version != VERSION {
        return Err(fault(format!(
            "{} has version {}, but this version of attache supports {VERSION}",
            path.display(),
            manifest.version
        )));
    }
    Ok(manifest)
}

/// The file, and what SQLite would take for its log: put beside another database, a log damages it.
fn with_log(kept: &Kept) -> Vec<PathBuf> {
    let mut paths = vec![kept.place.clone()];
    if kept.database {
        paths.extend(["-wal", "-shm", "-journal"].map(|end| {
            let mut path = kept.place.as_os_str().to_owned();
            path.push(end);
            PathBuf::from(path)
        }));
    }
    paths
}

fn entry(name: &str, path: &Path) -> Result<Entry> {
    let read = || -> io::Result<(u64, Hex<32>)> {
        let mut file = fs::File::open(path)?;
        let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 64 * 1024]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok((size, Hex(hash.finalize().into()))),
                length => {
                    hash.update(&buffer[..length]);
                    size += length as u64;
                }
            }
        }
    };
    let (size, sha256) =
        read().map_err(|error| failure(format!("cannot read {}: {error}", path.display())))?;
    Ok(Entry {
        name: name.to_owned(),
        size,
        sha256: sha256.to_string(),
    })
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut file = private::open_file(to)?;
    io::copy(&mut fs::File::open(from)?, &mut file)?;
    file.sync_all()
}

/// Copies beside its place and renames, so that no half of a file is ever in its place.
fn put_back(copy: &Path, place: &Path) -> io::Result<()> {
    let folder = match place.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    private::make_folder(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    io::copy(&mut fs::File::open(copy)?, &mut file)?;
    file.as_file().sync_all()?;
    private::give(file.as_file(), folder)?;
    file.persist(place).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all()
}

/// The folder of attache's in which `folder` is: objects and backups would be taken for each other.
fn inside_of_what_is_ours(config: &Config, folder: &Path) -> Option<PathBuf> {
    let folder = folder.canonicalize().ok()?;
    let mut workers = config.catalog.url.file()?.as_os_str().to_owned();
    workers.push("-workers");
    [config.storage.local.root.clone(), PathBuf::from(workers)]
        .into_iter()
        .find(|ours| {
            ours.canonicalize()
                .is_ok_and(|ours| folder.starts_with(ours))
        })
}

/// What went wrong with files that were named rightly.
fn failure(what: String) -> Error {
    Error::internal(what)
}

/// What the caller can name or move otherwise.
fn fault(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Misconfigured, what)
}
