//! `cargo xtask deny`: whether every dependency is one that deny.toml allows.

use std::path::Path;
use std::process::Command;

use crate::command::{Failure, run, say};
use crate::tools::CargoCommand;

const CARGO_DENY: CargoCommand = CargoCommand {
    name: "cargo-deny",
    version: "0.20.2",
    // Half the time to build; it runs for a second.
    arguments: &["--profile", "dev"],
    why: "checks dependencies",
};

/// Checks licences, sources and bans. Advisories are checked where their database can be fetched, and where it cannot,
/// that is said.
pub(crate) fn deny(root: &Path) -> Result<(), Failure> {
    let program = CARGO_DENY.installed(root)?;
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
