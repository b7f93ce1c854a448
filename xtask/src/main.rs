//! attache's own commands: `cargo xtask test`, `ci`, `deny`, `fuzz`, `soak`, `bench`, `image` and `package`.

mod bench;
mod command;
mod deny;
mod fuzz;
mod image;
mod package;
mod soak;
mod suites;
mod tools;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use command::{Failure, cargo, run, say};
use tools::Tools;

const USAGE: &str = "\
cargo xtask <command>

  test [-- ARGS]  installs what the tests need, then runs all of them; none is skipped.
                  ARGS go to `cargo test`, as in: cargo xtask test -- -p attache-server --test page;
                  without them two programs run at a time, and one that fails does not keep the others from running
  fuzz [--seconds N]
                  installs cargo-fuzz, then runs each fuzz target for N seconds (60)
  bench [--quick] [FLAG VALUE]...
                  installs what attache is measured beside, builds a release, measures, and writes docs/performance.md
                  and the table of the README;
                  --quick is smaller and writes target/bench/performance.md. --out FILE, --rounds N,
                  --cases redirect,relay-4k,local,wide,h2,...,rest,s3-uploads,
                  many,latency,streams,sizes,rows, --peers nginx,rclone,..., --before BINARY (another attache)
  soak [--minutes N] [--debug]
                  builds a release (or debug) server and lets users, faults and reloads loose on it for N minutes (10);
                  fails if memory, descriptors or streams grow. Picture and figures in target/soak
  image [--binary FILE] OUT
                  builds what is shipped, or takes FILE, and makes a container image of it in the new folder OUT, as an OCI
                  image layout; it needs Debian, and no container engine
  package [--binary FILE] [--fast] OUT
                  installs cargo-deb, makes a Debian package in the folder OUT of what is shipped, or of FILE, and tests it;
                  --fast compresses less
  deny            installs cargo-deny, then checks licences, sources, bans and, where it can, advisories
  ci              formatting, lints, dependencies, documentation, then the tests; stops at the first failure
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["help" | "--help" | "-h"] | [_, "--help" | "-h"] => {
            say(USAGE);
            Ok(())
        }
        ["test"] => test(&[]),
        ["test", "--", rest @ ..] => test(rest),
        ["ci"] => ci(),
        ["deny"] => deny::deny(&workspace()),
        ["image", arguments @ ..] => match image::Options::parse(arguments) {
            Some(options) => image::image(&workspace(), &options),
            None => Err(Failure::usage(USAGE)),
        },
        ["package", arguments @ ..] => match package::Options::parse(arguments) {
            Some(options) => package::package(&workspace(), &options),
            None => Err(Failure::usage(USAGE)),
        },
        ["fuzz"] => fuzz::fuzz(&workspace(), 60),
        ["fuzz", "--seconds", seconds] => match seconds.parse() {
            Ok(seconds) => fuzz::fuzz(&workspace(), seconds),
            Err(_) => Err(Failure::usage(USAGE)),
        },
        ["soak", options @ ..] => match soak::Options::parse(options) {
            Some(options) => soak::soak(&workspace(), options),
            None => Err(Failure::usage(USAGE)),
        },
        ["bench", flags @ ..] => bench::bench(&workspace(), flags),
        _ => Err(Failure::usage(USAGE)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&failure.to_string());
            failure.exit_code()
        }
    }
}

fn test(arguments: &[&str]) -> Result<(), Failure> {
    let root = workspace();
    let tools = Tools::ensure(&root)?;
    if arguments.is_empty() {
        return suites::run_all(&tools, &root);
    }
    // Arguments may choose packages themselves; cargo lets `-p` win over no choice, not over `--workspace`.
    let chosen = arguments
        .iter()
        .take_while(|argument| **argument != "--")
        .any(|argument| {
            argument.starts_with("-p")
                || argument.starts_with("--package")
                || *argument == "--workspace"
        });
    let mut command = cargo(&root);
    command.arg("test");
    if !chosen {
        command.arg("--workspace");
    }
    command.arg("--locked").args(arguments);
    tools.hand_to(&mut command);
    run(&mut command)
}

fn ci() -> Result<(), Failure> {
    let root = workspace();
    let begun = Instant::now();
    // Most of it is waiting for packages to come.
    let tools = thread::spawn({
        let root = root.clone();
        move || Tools::ensure(&root)
    });

    step("format", || {
        run(cargo(&root).args(["fmt", "--all", "--check"]))?;
        for apart in ["fuzz/Cargo.toml", "xtask/bench/Cargo.toml"] {
            run(cargo(&root).args(["fmt", "--manifest-path", apart, "--check"]))?;
        }
        Ok(())
    })?;
    step("lint", || {
        run(cargo(&root)
            .args(["clippy", "--workspace", "--all-targets", "--locked"])
            .args(["--", "-D", "warnings"]))
    })?;
    step("deny", || deny::deny(&root))?;
    step("document", || {
        run(cargo(&root)
            .args([
                "doc",
                "--workspace",
                "--no-deps",
                "--all-features",
                "--locked",
            ])
            .env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    step("test", || {
        let tools = tools
            .join()
            .map_err(|_| Failure::new("xtask: cannot install what the tests need"))??;
        suites::run_all(&tools, &root)
    })?;

    say(&format!("ci: passed in {:.1?}", begun.elapsed()));
    Ok(())
}

fn step(name: &str, work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    say(&format!("ci: {name} ..."));
    let begun = Instant::now();
    let outcome = work();
    let verdict = if outcome.is_ok() { "passed" } else { "FAILED" };
    say(&format!("ci: {name} {verdict} in {:.1?}", begun.elapsed()));
    outcome
}

/// The workspace that this was built from.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the workspace")
        .to_owned()
}
