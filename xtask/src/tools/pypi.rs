//! What comes from PyPI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::debian::PYTHON;
use super::{failed, target};
use crate::command::{Failure, run, say};

/// Installs the pinned REDbot into a virtual environment below the target folder, unless it was installed there before.
pub(super) fn redbot(root: &Path) -> Result<PathBuf, Failure> {
    let requirements = root.join("xtask/redbot/requirements.txt");
    let folder = target(root).join("tools").join("redbot");
    let entry = folder.join("bin").join("redbot");
    let stamp = folder.join("installed-requirements.txt");

    let wanted = fs::read(&requirements).map_err(failed("read", &requirements))?;
    if entry.is_file() && fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(entry);
    }

    say(&format!(
        "xtask: installing REDbot, the lint for HTTP that answers are checked with, into {} from PyPI, once",
        folder.display()
    ));
    let python = PYTHON.find().unwrap_or_else(|| "python3".into());
    run(Command::new(python)
        .args(["-m", "venv", "--clear"])
        .arg(&folder))?;
    run(Command::new(folder.join("bin").join("pip"))
        .args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "-r",
        ])
        .arg(&requirements))?;
    if !entry.is_file() {
        return Err(Failure::new(format!(
            "xtask: pip ended well and {} is not there",
            entry.display()
        )));
    }
    // Last, so that an interrupted installation is done again.
    fs::write(&stamp, wanted).map_err(failed("write", &stamp))?;
    Ok(entry)
}
