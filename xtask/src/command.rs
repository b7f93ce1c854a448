//! Runs other programs: shown before, streamed through, their exit code kept.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Why an xtask command stopped.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: 1,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: 2,
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The cargo that runs us, in the workspace.
///
/// What cargo tells xtask about its own package (<https://doc.rust-lang.org/cargo/reference/environment-variables.html>)
/// is taken away: build scripts of dependencies ask for some of it, and would run again whenever a build by hand and one by
/// xtask take turns.
pub(crate) fn cargo(root: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(root);
    for name in std::env::vars_os().map(|(name, _)| name) {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs `command` with our own stdin, stdout and stderr; anything but success is a failure with its exit code.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let shown = shown(command);
    say(&format!("$ {shown}"));
    let status = command
        .status()
        .map_err(|error| Failure::new(format!("xtask: {shown}: {error}")))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure {
        message: format!("xtask: {shown}: {status}"),
        // A signal has no code.
        code: status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(1),
    })
}

/// What a program prints, without the end of its line.
pub(crate) fn text_of(command: &mut Command) -> Result<String, Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| Failure::new(format!("xtask: {program}: {error}")))?;
    if !output.status.success() {
        return Err(Failure::new(format!(
            "xtask: {program}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Tells the reader, on stderr: stdout belongs to what we run.
#[expect(clippy::print_stderr, reason = "a command line tool talks")]
pub(crate) fn say(line: &str) {
    eprintln!("{}", line.trim_end());
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let mut shown = program.to_string_lossy().into_owned();
    for argument in command.get_args() {
        shown.push(' ');
        shown.push_str(&argument.to_string_lossy());
    }
    shown
}
