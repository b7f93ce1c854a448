//! A second process, to be killed: this test binary again, running one of its tests alone.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};

/// Where the child finds what it works on; unset in the parent.
const ARGUMENT: &str = "ATTACHE_TEST_CHILD_OF";

/// What its lines start with, among those of the test harness.
const MARK: &str = "child says ";

/// A running child. Killed, at the latest, when it is dropped.
pub(crate) struct Child {
    process: std::process::Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Runs the test `name` with `argument`.
    pub(crate) fn start(name: &str, argument: &Path) -> Self {
        let binary = std::env::current_exe().expect("this test binary");
        let mut process = Command::new(binary)
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(ARGUMENT, argument)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let stdout = process.stdout.take().expect("a pipe");
        let lines = BufReader::new(stdout).lines();
        Self { process, lines }
    }

    /// The next thing that it says.
    pub(crate) fn line(&mut self) -> String {
        self.next_line().expect("it ended by itself")
    }

    fn next_line(&mut self) -> Option<String> {
        let mut lines = self.lines.by_ref().map_while(Result::ok);
        lines.find_map(|line| Some(line.split_once(MARK)?.1.to_owned()))
    }

    /// SIGKILL. Gives what it said before and nobody heard yet.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it is gone");
        std::iter::from_fn(|| self.next_line()).collect()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// In the child, what it was started with; `None` in the parent.
pub(crate) fn argument() -> Option<PathBuf> {
    std::env::var_os(ARGUMENT).map(PathBuf::from)
}

/// Says something to the parent. Whole lines only, and past the harness, which captures `println!`.
pub(crate) fn say(what: &str) {
    let mut stdout = std::io::stdout().lock();
    let outcome = writeln!(stdout, "{MARK}{what}").and_then(|()| stdout.flush());
    outcome.expect("the parent listens");
}
