//! `cargo xtask deny`: whether every dependency is one that deny.toml allows.

use std::path::Path;
use std::process::Command;

use crate::command::{Failure, cargo, run, say};
use crate::tools::target;

/// The version of cargo-deny; pinned, so that a new one cannot fail an old commit.
const VERSION: &str = "0.20.2";

/// Checks licences, sources and bans. Advisories are checked where their database can be fetched, and where it cannot,
/// that is said.
pub(crate) fn deny(root: &Path) -> Result<(), Failure> {
    let folder = target(root).join("tools").join("cargo-deny");
    let program = folder.join("bin").join("cargo-deny");
    let stamp = folder.join(VERSION);
    if !(program.is_file() && stamp.is_file()) {
        say(&format!(
            "xtask: installing cargo-deny {VERSION}, which checks dependencies, into {}, once",
            folder.display()
        ));
        run(cargo(root)
            .args(["install", "--locked", "--quiet", "--force", "cargo-deny"])
            .args(["--version", VERSION, "--root"])
            .arg(&folder)
            // Half the time to build; it runs for a second.
            .args(["--profile", "dev"]))?;
        std::fs::write(&stamp, "").map_err(|error| Failure::new(format!("xtask: {error}")))?;
    }
    let mut check = Command::new(&program);
    run(check.current_dir(root).args([
        "--locked",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]))?;
    let mut fetch = Command::new(&program);
    let fetched = fetch.current_dir(root).args(["fetch", "db"]).status();
    if !fetched.is_ok_and(|status| status.success()) {
        say(
            "xtask: the advisory database cannot be fetched from here, so advisories were NOT checked",
        );
        return Ok(());
    }
    let mut check = Command::new(&program);
    run(check
        .current_dir(root)
        .args(["--locked", "check", "--disable-fetch", "advisories"]))
}
