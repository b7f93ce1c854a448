//! `cargo xtask bench`: attache beside its peers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Failure, cargo, run};
use crate::tools::{Peers, target};

/// Builds what is measured and what measures, and runs it. `flags` are those of `xtask/bench`, and `--out FILE`.
///
/// A whole run writes `docs/performance.md`, and the table of the README. Whatever is less than that, `--quick`, fewer rounds or a choice of cases, writes below the
/// target folder unless it is told otherwise, so that it does not take the place of a whole run by accident.
pub(crate) fn bench(root: &Path, flags: &[&str]) -> Result<(), Failure> {
    let target = target(root);
    let whole = !flags
        .iter()
        .any(|flag| ["--quick", "--rounds", "--cases", "--peers", "--before"].contains(flag));
    let mut out = match whole {
        true => root.join("docs/performance.md"),
        false => target.join("bench/performance.md"),
    };
    // The README shows what the document has, never what some other run had.
    let mut readme = whole.then(|| root.join("README.md"));
    let mut passed = Vec::new();
    let mut rest = flags.iter();
    while let Some(flag) = rest.next() {
        match *flag {
            "--out" => {
                readme = None;
                let file = rest.next();
                out =
                    PathBuf::from(file.ok_or_else(|| Failure::usage("xtask: --out needs a file"))?);
            }
            flag => passed.push(flag),
        }
    }
    if let Some(folder) = out.parent() {
        let failed = |error| Failure::new(format!("xtask: {}: {error}", folder.display()));
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let peers = Peers::ensure(root)?;
    run(cargo(root).args([
        "build",
        "--profile",
        "dist",
        "--locked",
        "-p",
        "attache-server",
        "-p",
        "fake-azure",
    ]))?;
    // A folder of its own: the features of shared dependencies differ.
    let built = target.join("bench/build");
    run(cargo(root)
        .args(["build", "--release", "--locked"])
        .args(["--manifest-path", "xtask/bench/Cargo.toml", "--target-dir"])
        .arg(&built))?;
    let server = peers.node_packages.join("server.js");
    let source = root.join("xtask/bench/node/server.js");
    fs::copy(&source, &server)
        .map_err(|error| Failure::new(format!("xtask: {}: {error}", source.display())))?;
    let mut bench = Command::new(built.join("release/attache-bench"));
    bench
        .arg("run")
        .args(passed)
        .env("ATTACHE_BENCH_ATTACHE", target.join("dist/attache"))
        .env("ATTACHE_BENCH_FAKE_AZURE", target.join("dist/fake-azure"))
        .env("ATTACHE_BENCH_NGINX", &peers.nginx)
        .env("ATTACHE_BENCH_RCLONE", &peers.rclone)
        .env("ATTACHE_BENCH_RCLONE_S3", &peers.rclone_s3)
        .env("ATTACHE_BENCH_NODE", &peers.node)
        .env("ATTACHE_BENCH_NODE_SERVER", &peers.node_packages)
        .env("ATTACHE_BENCH_NOTES", root.join("xtask/bench/notes"))
        .env("ATTACHE_BENCH_OUT", out);
    if let Some(readme) = readme {
        bench.env("ATTACHE_BENCH_README", readme);
    }
    run(&mut bench)
}
