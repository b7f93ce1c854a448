//! `secrets.key_file`: the key that seals, read from its file, or made once.

use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::keys;
use super::seal::Sealer;
use crate::attachment::Hex;
use crate::error::{Error, ErrorKind, Result};
use crate::private;

/// The sealer of the key in `file`. Where there is no such file, one is made, with mode 0600 and in a folder that is made, too;
/// of several processes that start at once one makes it. But not if `sealed`, for a catalog that holds what another key has
/// sealed: a new one would open nothing.
///
/// # Errors
///
/// [`ErrorKind::Misconfigured`], naming `secrets.key_file`: it cannot be read or made, holds no key, or is missing though the
/// catalog needs it.
pub fn open(file: PathBuf, sealed: bool) -> Result<Sealer> {
    let text = match read(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && sealed => {
            return Err(missing(&file));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(&file).map_err(|error| wrong(&file, &error))?;
            read(&file)
        }
        found => found,
    };
    let text = text.map_err(|error| wrong(&file, &error))?;
    let key = std::str::from_utf8(&text)
        .ok()
        .and_then(|text| text.trim().parse::<Hex<32>>().ok())
        .map(|key| Zeroizing::new(key.0))
        .ok_or_else(|| wrong(&file, &"it does not hold 64 hexadecimal digits"))?;
    if private::is_readable_by_all(&file) {
        tracing::warn!(
            file = %file.display(),
            "everybody on this machine can read secrets.key_file, and so open what the catalog has sealed: chmod 600 it"
        );
    }
    Ok(Sealer::new(key, file))
}

fn read(file: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    std::fs::read(file).map(Zeroizing::new)
}

fn make(file: &Path) -> io::Result<()> {
    let text = Zeroizing::new(format!("{}\n", Hex(*keys::generate())));
    if private::make_file_once(file, text.as_bytes())? {
        tracing::info!(
            file = %file.display(),
            "made the key that seals secrets in the catalog; `attache backup` copies it, and all processes of this catalog need it"
        );
    }
    Ok(())
}

fn missing(file: &Path) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        format!(
            "secrets.key_file {} is missing, and the catalog holds secrets that it has sealed; copy it from the machine that has \
             it, or from a backup. No new one is made, because it would open none of them",
            file.display()
        ),
    )
}

fn wrong(file: &Path, what: &dyn std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        format!("cannot use secrets.key_file {}: {what}", file.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("deep/secrets.key")
    }

    #[test]
    fn the_file_is_made_once_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = open(file(&folder), false).expect("made");
        let sealed = first.seal("a", b"hunter2");
        let again = open(file(&folder), true).expect("read");
        assert_eq!(
            again.open("a", &sealed).expect("opens").as_slice(),
            b"hunter2"
        );
        let text = std::fs::read_to_string(file(&folder)).expect("text");
        assert_eq!(text.len(), 65, "64 digits and the end of a line");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let about = std::fs::metadata(file(&folder)).expect("exists");
            assert_eq!(about.permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn of_several_that_start_at_once_one_makes_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let sealers: Vec<Sealer> = std::thread::scope(|scope| {
            let threads = [(); 8].map(|()| scope.spawn(|| open(file(&folder), false)));
            let opened = threads.into_iter().map(|thread| thread.join());
            opened
                .map(|sealer| sealer.expect("ran").expect("opened"))
                .collect()
        });
        let sealed = sealers[0].seal("a", b"hunter2");
        assert!(
            sealers
                .iter()
                .all(|sealer| sealer.open("a", &sealed).is_ok())
        );
    }

    #[test]
    fn a_file_that_is_missing_is_not_made_anew_where_something_was_sealed() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = open(file(&folder), true).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains("is missing"), "{error}");
        assert!(!folder.path().join("deep").exists());
    }

    #[test]
    fn blanks_around_the_key_are_no_part_of_it_and_nothing_else_is_a_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("secrets.key");
        std::fs::write(&file, format!("\n  {}\r\n\n", "aB".repeat(32))).expect("written");
        assert!(open(file.clone(), true).is_ok());
        for wrong in [
            String::new(),
            "ab".repeat(31),
            "ag".repeat(32),
            "ab".repeat(33),
        ] {
            std::fs::write(&file, &wrong).expect("written");
            let error = open(file.clone(), false).expect_err("no key").to_string();
            assert!(error.contains("64 hexadecimal digits"), "{error}");
            assert!(wrong.is_empty() || !error.contains(&wrong), "{error}");
            assert_eq!(std::fs::read_to_string(&file).expect("there"), wrong);
        }
    }
}
