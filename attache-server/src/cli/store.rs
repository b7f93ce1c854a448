//! The store that a command works on: its configuration, opened for the command and closed after it.

use std::path::Path;
use std::time::Duration;

use attache::storage::config::Backend;
use attache::{Attache, Config};
use tokio::runtime::Builder;

use super::out::note;
use super::outcome::{CommandError, Outcome};
use crate::config::Settings;

/// How long a command waits for what it started itself before it aborts it.
pub(super) const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// The configuration of a store that outlives a process.
pub(super) fn stored(file: Option<&Path>) -> Result<Settings, CommandError> {
    let settings = Settings::load(file, &[])?;
    if settings.store.storage.backend == Backend::Memory {
        return Err(CommandError::Usage(
            "storage.backend is \"memory\": its attachments live in the server's process alone, and no other command \
             can see them; use the HTTP API of `attache serve`, or another storage.backend"
                .to_owned(),
        ));
    }
    Ok(settings)
}

/// Runs a command on a store that should exist already.
pub(super) fn read_store(
    file: Option<&Path>,
    command: impl AsyncFnOnce(&Attache) -> Outcome,
) -> Outcome {
    read_store_of(stored(file)?.store, command)
}

/// As [`read_store`], for a command that has loaded the configuration.
pub(super) fn read_store_of(
    config: Config,
    command: impl AsyncFnOnce(&Attache) -> Outcome,
) -> Outcome {
    if let Some(file) = config.catalog.url.file()
        && !file.exists()
    {
        note(format_args!(
            "note: there is no catalog at {} yet, so a new one is made; is this the right folder, or is --config \
             missing?",
            file.display()
        ));
    }
    with_store(config, command)
}

pub(super) fn with_store(
    config: Config,
    command: impl AsyncFnOnce(&Attache) -> Outcome,
) -> Outcome {
    block_on(async {
        let store = Attache::open(config).await?;
        let outcome = command(&store).await;
        store.close(CLOSE_GRACE).await;
        outcome
    })
}

/// Runs a command on a thread for each core.
pub(super) fn block_on(command: impl Future<Output = Outcome>) -> Outcome {
    block_on_runtime(Builder::new_multi_thread(), command)
}

/// Runs the server, which has threads of its own for what connections ask.
pub(super) fn block_on_this_thread(command: impl Future<Output = Outcome>) -> Outcome {
    block_on_runtime(Builder::new_current_thread(), command)
}

fn block_on_runtime(mut builder: Builder, command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = builder
        .enable_all()
        .on_thread_park(crate::allocator::collect_when_idle)
        .build()
        .map_err(|error| CommandError::Here(format!("cannot start threads: {error}")))?;
    let outcome = runtime.block_on(command);
    // A thread that waits for stdin would be waited for otherwise.
    runtime.shutdown_background();
    outcome
}
