//! `cargo xtask fuzz`: every target, for a while.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{Failure, cargo, run, say};
use crate::tools::target;

/// Installed below the target folder; the version that the targets were made with.
const CARGO_FUZZ: &str = "0.13.2";

/// A single input may take this long, in seconds. They take microseconds.
const PATIENCE: u32 = 10;

/// Runs each target for `seconds`, from the seeds in `fuzz/seeds` and what earlier runs have found below the target
/// folder. An input that breaks a target is kept in `fuzz/artifacts`, and ends the command.
pub(crate) fn fuzz(root: &Path, seconds: u32) -> Result<(), Failure> {
    let bin = cargo_fuzz(root)?;
    let folder = root.join("fuzz");
    let built = target(root).join("fuzz");
    for name in targets(&folder)? {
        say(&format!("xtask: fuzzing {name} for {seconds} s"));
        let found = built.join("corpus").join(&name);
        fs::create_dir_all(&found)
            .map_err(|error| Failure::new(format!("xtask: {}: {error}", found.display())))?;
        let mut command = cargo(root);
        // Our code has no unsafe block, so sanitizers, which need a nightly compiler, have little to find.
        command
            .args(["fuzz", "run", "--sanitizer", "none", "--fuzz-dir"])
            .arg(&folder)
            .arg("--target-dir")
            .arg(&built)
            .arg(&name)
            .arg(&found)
            .arg(folder.join("seeds").join(&name))
            .arg("--")
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-timeout={PATIENCE}"))
            .env("PATH", search_path(&bin)?);
        run(&mut command)?;
    }
    say("xtask: no target broke");
    Ok(())
}

/// The names of the targets: one file each.
fn targets(folder: &Path) -> Result<Vec<String>, Failure> {
    let sources = folder.join("fuzz_targets");
    let failed = |error| Failure::new(format!("xtask: read {}: {error}", sources.display()));
    let mut names = Vec::new();
    for entry in fs::read_dir(&sources).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        names.extend(
            path.file_stem()
                .map(|name| name.to_string_lossy().into_owned()),
        );
    }
    names.sort();
    Ok(names)
}

/// The folder with `cargo-fuzz`, installed unless it is there.
fn cargo_fuzz(root: &Path) -> Result<PathBuf, Failure> {
    let folder = target(root)
        .join("tools")
        .join(format!("cargo-fuzz-{CARGO_FUZZ}"));
    let bin = folder.join("bin");
    if !bin.join("cargo-fuzz").is_file() {
        say(&format!(
            "xtask: installing cargo-fuzz {CARGO_FUZZ}, which builds and runs the fuzz targets"
        ));
        run(cargo(root)
            .args([
                "install",
                "--locked",
                "--version",
                CARGO_FUZZ,
                "cargo-fuzz",
                "--root",
            ])
            .arg(&folder))?;
    }
    Ok(bin)
}

/// Ours, with `bin` first: cargo looks there for its subcommands.
fn search_path(bin: &Path) -> Result<std::ffi::OsString, Failure> {
    let ours = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(bin.to_owned()).chain(env::split_paths(&ours));
    env::join_paths(folders).map_err(|error| Failure::new(format!("xtask: PATH: {error}")))
}
