//! `cargo xtask fuzz`: every target, for a while.

use std::env;
use std::fs;
use std::path::Path;

use crate::command::{Failure, cargo, run, say};
use crate::tools::{CargoCommand, target};

/// The version that the targets were made with.
const CARGO_FUZZ: CargoCommand = CargoCommand {
    name: "cargo-fuzz",
    version: "0.13.2",
    arguments: &[],
    why: "builds and runs the fuzz targets",
};

/// A single input may take this long, in seconds. They take microseconds.
const PATIENCE: u32 = 10;

/// Runs each target for `seconds`, from the seeds in `fuzz/seeds` and what earlier runs have found below the target
/// folder. An input that breaks a target is kept in `fuzz/artifacts`, and ends the command.
pub(crate) fn fuzz(root: &Path, seconds: u32) -> Result<(), Failure> {
    let program = CARGO_FUZZ.installed(root)?;
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
            .env("PATH", search_path(&program)?);
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

/// Ours, with the folder of `program` first: cargo looks there for its subcommands.
fn search_path(program: &Path) -> Result<std::ffi::OsString, Failure> {
    let ours = env::var_os("PATH").unwrap_or_default();
    let folders = program
        .parent()
        .map(Path::to_owned)
        .into_iter()
        .chain(env::split_paths(&ours));
    env::join_paths(folders).map_err(|error| Failure::new(format!("xtask: PATH: {error}")))
}
