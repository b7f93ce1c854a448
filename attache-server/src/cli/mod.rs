//! The command line: what can be typed, how each command runs, and where its words go.
//!
//! Results go to stdout and everything for people to stderr, so that a pipe carries results alone.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use attache::config::load;
use clap::{Args, Parser, Subcommand};

use crate::config::Settings;
use crate::reload::Source;
use crate::{otlp, serve, telemetry};

mod adopt;
mod backup;
mod catalog;
mod check;
mod expiry;
mod get;
mod health;
mod input;
mod key;
mod list;
mod moving;
mod out;
mod outcome;
mod progress;
mod put;
mod remove;
mod resume;
mod stop;
mod store;
mod token;
mod url;
mod verify;

use out::{note, print};
use outcome::{CommandError, Exit, Outcome};
use store::{block_on, block_on_this_thread, read_store, read_store_of, stored, with_store};

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

`attache config` shows every setting and its value, `attache config --example` what each means; any of them can be set by a variable, such as \
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
    #[command(flatten)]
    Other(Other),
}

/// All that ends by itself.
#[derive(Debug, Subcommand)]
enum Other {
    Put(put::Put),
    Get(get::Get),
    Url(url::Url),
    Ls(list::Ls),
    Rm(remove::Rm),
    Check(check::Check),
    Health(health::Health),
    Sweep(remove::Sweep),
    Verify(verify::Verify),
    Move(moving::Move),
    Adopt(adopt::Adopt),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Token(token::TokenCommand),
    Key(key::KeyCommand),
    Catalog(catalog::CatalogCommand),
    /// Print the effective configuration as TOML: defaults, file and environment together.
    ///
    /// Secrets are redacted; apart from them, the output can be used as a configuration file.
    #[command(after_help = "\
Examples:
  attache config --config attache.toml
  attache config --example > attache.toml    every setting, with its default and what it means")]
    Config(Show),
}

#[derive(Debug, Args)]
struct Show {
    /// Print every key with its default and what it means instead, as a file to begin with.
    #[arg(long)]
    example: bool,
}

#[derive(Debug, Args)]
struct Serve {
    /// Where to listen, in place of server.listen.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
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
    let outcome = run(cli).unwrap_or_else(|error| {
        report(&error);
        error.exit()
    });
    outcome.into()
}

/// Says what went wrong, once.
fn report(error: &CommandError) {
    match error {
        CommandError::Error(error) => out::error(error),
        CommandError::Here(text) | CommandError::Usage(text) => note(text),
        CommandError::PipeClosed | CommandError::Signalled(_) => {}
    }
}

fn run(cli: Cli) -> Outcome {
    let file = cli.config.filter(|path| !path.as_os_str().is_empty());
    let file = file.as_deref();
    match cli.command {
        Command::Serve(typed) => run_server(file, typed),
        Command::Other(other) => {
            start_telemetry("warn", None)?;
            run_other(other, file)
        }
    }
}

fn start_telemetry(filter: &str, endpoint: Option<&str>) -> Result<(), CommandError> {
    telemetry::start(filter, endpoint).map_err(CommandError::Usage)
}

/// Not inlined, nor is [`run_other`]: together they would have a frame with room for the futures of all commands, every page of which is
/// touched, and which lasts as long as the server does.
#[inline(never)]
fn run_server(file: Option<&Path>, typed: Serve) -> Outcome {
    let source = Source {
        file: file.map(Path::to_owned),
        listen: typed.listen,
    };
    let loaded = source.load()?;
    start_telemetry("info", loaded.settings.telemetry.otlp_endpoint.as_deref())?;
    block_on_this_thread(async {
        otlp::send_from_here();
        let outcome = Box::pin(serve::serve(loaded, source)).await;
        // While there is a runtime to send from.
        let _ = tokio::task::spawn_blocking(otlp::flush).await;
        outcome?;
        Ok(Exit::Done)
    })
}

#[inline(never)]
fn run_other(command: Other, file: Option<&Path>) -> Outcome {
    match command {
        Other::Config(show) => {
            print(&match show.example {
                true => load::example::<Settings>(),
                false => load::to_toml(&Settings::load(file, &[])?),
            })?;
            Ok(Exit::Done)
        }
        Other::Check(check) => block_on(check.run(file)),
        Other::Health(health) => block_on(health.run(file)),
        Other::Put(put) => {
            let config = put::without_network_timeouts(stored(file)?.store);
            with_store(config, async |store| put.run(store).await)
        }
        Other::Get(get) => read_store(file, async |store| get.run(store).await),
        Other::Url(url) => {
            let Settings { server, store, .. } = stored(file)?;
            read_store_of(store, async |store| url.run(store, &server).await)
        }
        Other::Ls(ls) => read_store(file, async |store| ls.run(store).await),
        Other::Rm(rm) => read_store(file, async |store| rm.run(store).await),
        Other::Sweep(sweep) => read_store(file, async |store| sweep.run(store).await),
        Other::Backup(backup) => backup.run(&stored(file)?.store),
        Other::Restore(restore) => restore.run(stored(file)?.store),
        Other::Catalog(catalog) => catalog.run(&Settings::load(file, &[])?),
        Other::Key(key) => key.run(&Settings::load(file, &[])?),
        Other::Token(token) => token.run(Settings::load(file, &[])?),
        Other::Adopt(adopt) => read_store(file, async |store| adopt.run(store).await),
        Other::Verify(verify) => read_store(file, async |store| verify.run(store).await),
        Other::Move(moving) => read_store(file, async |store| moving.run(store).await),
    }
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
