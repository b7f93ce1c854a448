//! What comes from npm, and Node.js itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{failed, on_path, target};
use crate::command::{Failure, run, say};

/// Something from npm, pinned by a lock file in a folder of xtask.
pub(super) struct NpmPackage {
    pub(super) folder: &'static str,
    /// What is used of it.
    pub(super) entry: &'static str,
    why: &'static str,
}

pub(super) const AZURITE: NpmPackage = NpmPackage {
    folder: "azurite",
    entry: "node_modules/azurite/dist/src/blob/main.js",
    why: "Azurite, the emulator of Azure Blob Storage that the storage tests run against (365 MB)",
};

pub(super) const CONTENT_DISPOSITION: NpmPackage = NpmPackage {
    folder: "content-disposition",
    entry: "node_modules/content-disposition/dist/index.js",
    why: "content-disposition, a parser that file names are read back with",
};

pub(super) const S3_NODE: NpmPackage = NpmPackage {
    folder: "s3/node",
    entry: "node_modules/@aws-sdk/client-s3/package.json",
    why: "the SDK of AWS and minio's client, which the S3 endpoint is tried with (43 MB)",
};

pub(super) const TUS_NODE: NpmPackage = NpmPackage {
    folder: "tus/node",
    entry: "node_modules/tus-js-client/package.json",
    why: "tus-js-client and Uppy, which uploads are tried with, and esbuild, which makes a script for a page of them (26 MB)",
};

pub(super) const BENCH_NODE: NpmPackage = NpmPackage {
    folder: "bench/node",
    entry: "node_modules/@azure/storage-blob/package.json",
    why: "Microsoft's SDK for JavaScript and express, which attache is measured against",
};

/// The oldest Node.js that Azurite 3.37.0 was seen to run on. Its own `engines` asks for 22 and is only a warning.
pub(super) const OLDEST_NODE: u32 = 20;

pub(super) fn node() -> Result<PathBuf, Failure> {
    let missing = "it runs Azurite, the emulator of Azure Blob Storage; install Node.js with npm \
                   (https://nodejs.org, or your distribution's package) and try again";
    let node = on_path("node")
        .ok_or_else(|| Failure::new(format!("xtask: the tests need Node.js: {missing}")))?;
    if on_path("npm").is_none() {
        return Err(Failure::new(format!(
            "xtask: the tests need npm: {missing}"
        )));
    }
    let output = Command::new(&node)
        .arg("--version")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failure::new(format!("xtask: {}: {error}", node.display())))?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let major = version
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < OLDEST_NODE) {
        return Err(Failure::new(format!(
            "xtask: the tests need Node.js {OLDEST_NODE} or newer, and {} is {version:?}",
            node.display()
        )));
    }
    Ok(node)
}

/// Installs a pinned package below the target folder, unless the same lock file was installed there before.
pub(super) fn from_npm(root: &Path, package: &NpmPackage) -> Result<PathBuf, Failure> {
    let source = root.join("xtask").join(package.folder);
    let folder = target(root).join("tools").join(package.folder);
    let entry = folder.join(package.entry);
    let stamp = folder.join("installed-lock.json");
    let lock = source.join("package-lock.json");

    let wanted = fs::read(&lock).map_err(failed("read", &lock))?;
    if entry.is_file() && fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(entry);
    }

    say(&format!(
        "xtask: installing {} into {} from npm, once",
        package.why,
        folder.display()
    ));
    fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
    for name in ["package.json", "package-lock.json"] {
        let from = source.join(name);
        fs::copy(&from, folder.join(name)).map_err(failed("copy", &from))?;
    }
    run(Command::new("npm").current_dir(&folder).args([
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ]))?;
    if !entry.is_file() {
        return Err(Failure::new(format!(
            "xtask: npm ci ended well and {} is not there",
            entry.display()
        )));
    }
    // Last, so that an interrupted installation is done again.
    fs::write(&stamp, wanted).map_err(failed("write", &stamp))?;
    Ok(entry)
}
