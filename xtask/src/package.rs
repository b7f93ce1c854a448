//! `cargo xtask package`: the Debian package, by cargo-deb, and tested. What is in it stands in `attache-server/Cargo.toml`.
//!
//! The tests of the package are run here and not by `cargo xtask test`: cargo-deb takes a minute and a half of CPU to build.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Failure, cargo, run, text_of};
use crate::image::{epoch, release};
use crate::tools::{CargoCommand, ensure_dpkg_dev, failed, target};

const CARGO_DEB: CargoCommand = CargoCommand {
    name: "cargo-deb",
    version: "3.8.0",
    // Less to build: xz is there as a program. It runs for seconds.
    arguments: &["--no-default-features", "--profile", "dev"],
    why: "makes the Debian package",
};

/// What the package is made of, and where it is put.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// `None`: a release is built.
    binary: Option<PathBuf>,
    /// Larger, and made sooner.
    fast: bool,
    out: PathBuf,
}

impl Options {
    /// `[--binary FILE] [--fast] OUT`.
    pub(crate) fn parse(arguments: &[&str]) -> Option<Self> {
        let mut options = Self::default();
        let (out, mut flags) = arguments.split_last().map(|(out, flags)| (*out, flags))?;
        loop {
            flags = match flags {
                ["--binary", binary, rest @ ..] => {
                    options.binary = Some(PathBuf::from(binary));
                    rest
                }
                ["--fast", rest @ ..] => {
                    options.fast = true;
                    rest
                }
                [] if !out.starts_with('-') => {
                    options.out = PathBuf::from(out);
                    return Some(options);
                }
                _ => return None,
            };
        }
    }
}

/// Puts the package into the folder `out`, and tests it there. What is in it is as old as the last commit, or as `SOURCE_DATE_EPOCH`
/// says.
pub(crate) fn package(root: &Path, options: &Options) -> Result<(), Failure> {
    ensure_dpkg_dev()?;
    let cargo_deb = CARGO_DEB.installed(root)?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => release(root)?,
    };
    fs::create_dir_all(&options.out).map_err(failed("create", &options.out))?;
    let out = options
        .out
        .canonicalize()
        .map_err(failed("find", &options.out))?;
    // A target folder of its own, in which cargo-deb finds the program where a release would be.
    let apart = target(root).join("package");
    let place = apart.join("release");
    fs::create_dir_all(&place).map_err(failed("create", &place))?;
    fs::copy(&binary, place.join("attache")).map_err(failed("copy", &binary))?;

    let architecture = text_of(Command::new("dpkg").arg("--print-architecture"))?;
    let version = env!("CARGO_PKG_VERSION");
    let package = out.join(format!("attache_{version}-1_{architecture}.deb"));
    let mut command = Command::new(cargo_deb);
    command
        .current_dir(root)
        .args(["deb", "--no-build", "--package", "attache-server"])
        .arg("--output")
        .arg(&package)
        .env("CARGO_TARGET_DIR", &apart)
        .env("SOURCE_DATE_EPOCH", epoch(root)?.to_string());
    if options.fast {
        command.arg("--fast");
    }
    run(&mut command)?;
    run(cargo(root)
        .args(["test", "--locked", "--package", "attache-server"])
        .args(["--test", "packages", "--", "--ignored", "debian::"])
        .env("ATTACHE_TEST_DEBIAN_PACKAGE", &package))
}
