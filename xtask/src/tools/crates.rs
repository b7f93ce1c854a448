//! What comes from crates.io, built where it is needed.

use std::path::{Path, PathBuf};

use super::target;
use crate::command::{Failure, cargo, run, say};

/// A command of cargo. The version is pinned, so that a new one cannot change what an old commit gives.
pub(crate) struct CargoCommand {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// Further arguments of `cargo install`.
    pub(crate) arguments: &'static [&'static str],
    pub(crate) why: &'static str,
}

impl CargoCommand {
    /// The program, installed below the target folder unless it is there.
    pub(crate) fn installed(&self, root: &Path) -> Result<PathBuf, Failure> {
        let Self { name, version, .. } = self;
        let folder = target(root).join("tools").join(format!("{name}-{version}"));
        let program = folder.join("bin").join(name);
        if !program.is_file() {
            say(&format!(
                "xtask: installing {name} {version}, which {}, into {}, once",
                self.why,
                folder.display()
            ));
            run(cargo(root)
                .args(["install", "--locked", "--quiet", name])
                .args(["--version", version, "--root"])
                .arg(&folder)
                .args(self.arguments)
                // Nobody debugs it.
                .env("CARGO_PROFILE_DEV_DEBUG", "0"))?;
        }
        Ok(program)
    }
}
