//! A child process that cannot outlive the test.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a tool may take until it says that it listens. Node and Chromium need seconds on a busy two-core machine.
const START: Duration = Duration::from_secs(60);

/// How long a tool may take to end that was asked to.
const END: Duration = Duration::from_secs(30);

/// A running tool. Dropping it kills its whole process group.
///
/// It holds a `std` child, not a `tokio` one: a shared instance is used from the runtimes of many tests, and a `tokio`
/// child belongs to the runtime that spawned it. The tool's stdin is a pipe whose other end lies here, so the tool can
/// tell when this process is gone.
#[derive(Debug)]
pub(crate) struct Guarded {
    child: Child,
}

impl Guarded {
    /// Starts `command` and waits until `ready` recognises a line of its stdout; gives what `ready` made of it.
    ///
    /// Panics with the tool's output when it ends first or takes longer than a minute.
    pub(crate) async fn start<T: Send + 'static>(
        mut command: Command,
        ready: impl Fn(&str) -> Option<T> + Send + 'static,
    ) -> (Self, T) {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} did not start: {error}"));
        let stdout = child.stdout.take().expect("stdout was asked for as a pipe");
        let guarded = Self { child };

        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            // Reads on after readiness: a full pipe would stop the tool.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let waiting = tokio::task::spawn_blocking(move || {
            let deadline = Instant::now() + START;
            let mut said = String::new();
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                match receiver.recv_timeout(left) {
                    Ok(line) => match ready(&line) {
                        Some(value) => return Ok(value),
                        None => said = said + &line + "\n",
                    },
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        return Err(format!("said nothing of being ready for {START:?}\n{said}"));
                    }
                    Err(mpsc::RecvTimeoutError::Disconnected) => {
                        return Err(format!("ended before it was ready\n{said}"));
                    }
                }
            }
        });
        match waiting.await.expect("the waiting thread does not panic") {
            Ok(value) => (guarded, value),
            Err(why) => panic!("{command:?} {why}"),
        }
    }
}

impl Guarded {
    /// Writes `last` to the tool's stdin, closes it, and waits for the tool to end by itself; after 30 s it is killed.
    pub(crate) fn end(mut self, last: &str) {
        if let Some(mut stdin) = self.child.stdin.take() {
            // A tool that has ended already does not read.
            let _ = stdin.write_all(last.as_bytes());
        }
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && begun.elapsed() < END {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // `kill` of the system rather than libc's: signalling a group needs `unsafe` otherwise.
        #[cfg(unix)]
        let _ = Command::new("kill")
            .args(["-KILL", "--", &format!("-{}", self.child.id())])
            .stderr(Stdio::null())
            .status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
