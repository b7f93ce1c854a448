//! All tests of the workspace: built by cargo, and run two programs at a time. Most wait more than they compute: one after another they
//! took 31 minutes of two cores, of which half were idle.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::{Failure, cargo, run, say};
use crate::tools::{Tools, target};

/// Programs that run at a time. Each runs as many of its tests at a time as there are cores.
const AT_A_TIME: usize = 2;
/// A program that runs longer hangs: the longest takes five minutes when two run on two cores.
const AT_MOST: Duration = Duration::from_secs(15 * 60);
/// How often we look whether one has ended, or has run too long.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A program with tests.
struct Suite {
    /// The package and the target, as in `attache-server: streams`.
    name: String,
    executable: PathBuf,
    /// Where cargo would run it.
    package: PathBuf,
}

/// Builds and runs all of them, and the examples of the documentation. What they print comes when each has ended; until then it is in
/// the target folder. One that fails or hangs does not keep the others from running.
pub(crate) fn run_all(tools: &Tools, root: &Path) -> Result<(), Failure> {
    let suites = built(root)?;
    let (begun, count) = (Instant::now(), suites.len());
    let logs = target(root).join("suites");
    fs::create_dir_all(&logs)
        .map_err(|error| Failure::new(format!("xtask: {}: {error}", logs.display())))?;
    // Last built, first run: those of the server take longest.
    let waiting: Mutex<VecDeque<Suite>> = Mutex::new(suites.into_iter().rev().collect());
    let failed = Mutex::new(Vec::new());
    let printing = Mutex::new(());
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let Some(suite) = lock(&waiting).pop_front() else {
                        return;
                    };
                    if let Err(failure) = suite.run(tools, &logs, &printing) {
                        say(&failure.to_string());
                        lock(&failed).push(suite.name);
                    }
                }
            });
        }
    });
    say(&format!(
        "xtask: {count} programs with tests ran in {:.1?}",
        begun.elapsed()
    ));
    let mut examples = cargo(root);
    examples.args(["test", "--workspace", "--locked", "--doc"]);
    tools.hand_to(&mut examples);
    if run(&mut examples).is_err() {
        lock(&failed).push("examples of the documentation".to_owned());
    }
    match lock(&failed).as_slice() {
        [] => Ok(()),
        failed => Err(Failure::new(format!(
            "xtask: FAILED: {}",
            failed.join(", ")
        ))),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has cargo build everything that has tests; in the order in which it did.
fn built(root: &Path) -> Result<Vec<Suite>, Failure> {
    let mut build = cargo(root);
    build.args(["test", "--workspace", "--locked", "--no-run"]);
    // <https://doc.rust-lang.org/cargo/reference/external-tools.html#json-messages>
    build.arg("--message-format=json-render-diagnostics");
    say("$ cargo test --workspace --locked --no-run");
    let failed = |error| Failure::new(format!("xtask: cargo test: {error}"));
    let output = build.stderr(Stdio::inherit()).output().map_err(failed)?;
    if !output.status.success() {
        return Err(Failure::new(format!(
            "xtask: cargo test: {}",
            output.status
        )));
    }
    let told = String::from_utf8_lossy(&output.stdout);
    let suites: Vec<Suite> = told.lines().filter_map(suite).collect();
    match suites.is_empty() {
        true => Err(Failure::new("xtask: cargo built nothing that has tests")),
        false => Ok(suites),
    }
}

/// The program that a message of cargo says was built, if it has tests.
fn suite(message: &str) -> Option<Suite> {
    let message: Value = serde_json::from_str(message).ok()?;
    let executable = message["executable"].as_str()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let package = Path::new(message["manifest_path"].as_str()?).parent()?;
    let folder = package.file_name()?.to_string_lossy();
    let target = message["target"]["name"].as_str()?;
    Some(Suite {
        name: format!("{folder}: {target}"),
        executable: executable.into(),
        package: package.to_owned(),
    })
}

impl Suite {
    fn run(&self, tools: &Tools, logs: &Path, printing: &Mutex<()>) -> Result<(), Failure> {
        say(&format!("xtask: {} ...", self.name));
        let begun = Instant::now();
        let failed = |error: io::Error| Failure::new(format!("xtask: {}: {error}", self.name));
        let log = self.executable.file_name().unwrap_or_default();
        let log = logs.join(log).with_extension("log");
        let output = File::create(&log).map_err(failed)?;
        let mut command = Command::new(&self.executable);
        command
            .current_dir(&self.package)
            .env("CARGO_MANIFEST_DIR", &self.package)
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(output);
        tools.hand_to(&mut command);
        let mut child = command.spawn().map_err(failed)?;
        let ended = ended_within(&mut child, AT_MOST).map_err(failed)?;
        let verdict = match ended {
            Some(status) if status.success() => "passed",
            Some(_) => "FAILED",
            None => "timed out",
        };
        let said = fs::read(&log).map_err(failed)?;
        let _one = lock(printing);
        say(&format!(
            "xtask: {} {verdict} in {:.1?}:",
            self.name,
            begun.elapsed()
        ));
        io::stdout().write_all(&said).map_err(failed)?;
        match ended {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(Failure::new(format!("xtask: {}: {status}", self.name))),
            None => Err(Failure::new(format!("xtask: {}: timed out", self.name))),
        }
    }
}

/// How `child` ended; none if it had to be killed. Nobody waits for what it printed: it goes to a file.
fn ended_within(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_killed_and_one_that_ends_is_not() {
        let mut hangs = Command::new("sleep").arg("3600").spawn().expect("sleep");
        let killed = ended_within(&mut hangs, Duration::from_millis(1)).expect("killed");
        assert_eq!(killed, None);
        let mut fails = Command::new("false").spawn().expect("false");
        let failed = ended_within(&mut fails, Duration::from_secs(60)).expect("ended");
        assert_eq!(failed.and_then(|status| status.code()), Some(1));
    }

    #[test]
    fn what_cargo_built_with_tests_is_run_in_its_package_and_nothing_else_is() {
        let message = |reason: &str, test: bool, executable: Value| {
            serde_json::json!({
                "reason": reason, "manifest_path": "/a/attache-server/Cargo.toml", "target": {"name": "streams"},
                "profile": {"test": test}, "executable": executable,
            })
            .to_string()
        };
        let path = || Value::from("/a/target/debug/deps/streams-1");
        let found = suite(&message("compiler-artifact", true, path())).expect("one");
        assert_eq!(found.name, "attache-server: streams");
        assert_eq!(
            found.executable,
            Path::new("/a/target/debug/deps/streams-1")
        );
        assert_eq!(found.package, Path::new("/a/attache-server"));
        for other in [
            message("compiler-artifact", false, path()),
            message("compiler-artifact", true, Value::Null),
            message("build-finished", true, path()),
            "warning: words".to_owned(),
        ] {
            assert!(suite(&other).is_none(), "{other}");
        }
    }
}
