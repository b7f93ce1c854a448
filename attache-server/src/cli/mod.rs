//! The command line: what can be typed, how a command ends, and where its words go.
//!
//! Results go to stdout and everything for people to stderr, so that a pipe carries results alone.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use attache::storage::config::Backend;
use attache::{Attache, Config, Error, ErrorKind};
use clap::{Args, Parser, Subcommand};

use crate::reload::Source;
use crate::{app, otlp, telemetry};

mod backup;
mod check;
mod get;
mod health;
mod list;
mod out;
mod progress;
mod put;
mod remove;
mod stop;
mod token;
mod url;
mod verify;

use out::{note, print};

/// How long a command waits for what it started itself before it cuts it.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// Attachment store for web applications: stores files, delivers them, and creates temporary URLs for them.
#[derive(Debug, Parser)]
#[command(name = "attache", version, arg_required_else_help = true, after_help = TOUR)]
struct Cli {
    /// The configuration file (TOML). Without one, the environment and the defaults apply.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "ATTACHE_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

const TOUR: &str = "\
A short tour, with nothing configured (files in ./attache-data):
  attache put photo.png --owner page:42    store a file; prints its id
  attache ls                               what is there
  attache get ID                           fetch it again, verified
  attache url ID --lifetime 2m             a link that opens it for two minutes
  attache rm ID                            delete it
  attache serve                            the HTTP API and the web page, http://127.0.0.1:8080

`attache config` shows every setting and its value; any of them can be set by a variable, such as \
ATTACHE_STORAGE__BACKEND=azure. `attache check` reports whether the settings work, and what to do if not.

Exit codes: 0 done, 1 failed, 2 used or configured wrongly, 3 no such attachment.
Logging: ATTACHE_LOG=debug, ATTACHE_LOG_FORMAT=json.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the HTTP API and the web page until SIGTERM or SIGINT.
    #[command(after_help = "\
Example:
  attache serve --config attache.toml --listen 127.0.0.1:9000

SIGHUP, or a change of the file, reloads the configuration. The first SIGTERM or SIGINT lets running transfers finish within server.shutdown_grace; a second one aborts them.")]
    Serve(Serve),
    Put(put::Put),
    Get(get::Get),
    Url(url::Url),
    Ls(list::Ls),
    Rm(remove::Rm),
    Check(check::Check),
    Health(health::Health),
    Sweep(remove::Sweep),
    Verify(verify::Verify),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Token(token::TokenCommand),
    /// Print the effective configuration as TOML: defaults, file and environment together.
    ///
    /// Secrets are redacted; apart from them, the output can be used as a configuration file.
    #[command(after_help = "\
Example:
  attache config --config attache.toml")]
    Config,
}

#[derive(Debug, Args)]
struct Serve {
    /// Where to listen, in place of server.listen.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Done,
    Failed,
    Misused,
    NotFound,
    /// By a signal: 128 and its number, as shells have it.
    Signalled(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Misused => 2,
            Exit::NotFound => 3,
            Exit::Signalled(signal) => 128 + signal,
        })
    }
}

/// Why a command ended before its end.
#[derive(Debug)]
enum Failure {
    Error(Error),
    /// A fault of the place where the command runs: a file, a disk.
    Here(String),
    Usage(String),
    /// Whoever read our results has enough: no failure, and nothing to say.
    PipeClosed,
    Signalled(u8),
}

type Outcome = Result<Exit, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Failure {
    fn exit(&self) -> Exit {
        match self {
            Self::Error(error) => match error.kind() {
                ErrorKind::NotFound => Exit::NotFound,
                ErrorKind::Misconfigured | ErrorKind::BadRequest => Exit::Misused,
                _ => Exit::Failed,
            },
            Self::Here(_) => Exit::Failed,
            Self::Usage(_) => Exit::Misused,
            Self::PipeClosed => Exit::Done,
            Self::Signalled(signal) => Exit::Signalled(*signal),
        }
    }

    /// Says it, once.
    fn tell(&self) {
        match self {
            Self::Error(error) => out::error(error),
            Self::Here(text) | Self::Usage(text) => note(text),
            Self::PipeClosed | Self::Signalled(_) => {}
        }
    }
}

/// Runs what was typed.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return match error.exit_code() {
                0 => Exit::Done.into(),
                _ => Exit::Misused.into(),
            };
        }
    };
    let outcome = run(cli).unwrap_or_else(|failure| {
        failure.tell();
        failure.exit()
    });
    outcome.into()
}

fn run(cli: Cli) -> Outcome {
    let file = cli.config.filter(|path| !path.as_os_str().is_empty());
    let file = file.as_deref();
    let start =
        |filter, endpoint: Option<&str>| telemetry::start(filter, endpoint).map_err(Failure::Usage);
    if !matches!(cli.command, Command::Serve(_)) {
        start("warn", None)?;
    }
    match cli.command {
        Command::Serve(serve) => {
            let source = Source {
                file: file.map(Path::to_owned),
                listen: serve.listen,
            };
            let loaded = source.load()?;
            start("info", loaded.config.telemetry.otlp_endpoint.as_deref())?;
            block_on(async {
                otlp::send_from_here();
                let outcome = app::serve(loaded, source).await;
                // While there is a runtime to send from.
                let _ = tokio::task::spawn_blocking(otlp::flush).await;
                outcome?;
                Ok(Exit::Done)
            })
        }
        Command::Config => {
            print(&Config::load(file, &[])?.to_toml())?;
            Ok(Exit::Done)
        }
        Command::Check(check) => block_on(check.run(file)),
        Command::Health(health) => block_on(health.run(file)),
        Command::Put(put) => {
            let config = put::patient(stored(file)?);
            with_store(config, async |store| put.run(store).await)
        }
        Command::Get(get) => read_store(file, async |store| get.run(store).await),
        Command::Url(url) => read_store(file, async |store| url.run(store).await),
        Command::Ls(ls) => read_store(file, async |store| ls.run(store).await),
        Command::Rm(rm) => read_store(file, async |store| rm.run(store).await),
        Command::Sweep(sweep) => read_store(file, async |store| sweep.run(store).await),
        Command::Backup(backup) => backup.run(&stored(file)?),
        Command::Restore(restore) => restore.run(stored(file)?),
        Command::Token(token) => token.run(&Config::load(file, &[])?),
        Command::Verify(verify) => read_store(file, async |store| verify.run(store).await),
    }
}

/// The configuration of a store that outlives a process.
fn stored(file: Option<&Path>) -> Result<Config, Failure> {
    let config = Config::load(file, &[])?;
    if config.storage.backend == Backend::Memory {
        return Err(Failure::Usage(
            "storage.backend is \"memory\": its attachments live in the server's process alone, and no other command \
             can see them; use the HTTP API of `attache serve`, or another storage.backend"
                .to_owned(),
        ));
    }
    Ok(config)
}

/// Runs a command on a store that should exist already.
fn read_store(file: Option<&Path>, command: impl AsyncFnOnce(&Attache) -> Outcome) -> Outcome {
    let config = stored(file)?;
    if !config.catalog.url.0.exists() {
        note(format_args!(
            "note: there is no catalog at {} yet, so a new one is made; is this the right folder, or is --config \
             missing?",
            config.catalog.url.0.display()
        ));
    }
    with_store(config, command)
}

fn with_store(config: Config, command: impl AsyncFnOnce(&Attache) -> Outcome) -> Outcome {
    block_on(async {
        let store = Attache::open(config).await?;
        let outcome = command(&store).await;
        store.close(CLOSE_GRACE).await;
        outcome
    })
}

fn block_on(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_park(crate::allocator::collect_when_idle)
        .build()
        .map_err(|error| Failure::Here(format!("cannot start threads: {error}")))?;
    let outcome = runtime.block_on(command);
    // A thread that waits for stdin would be waited for otherwise.
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
