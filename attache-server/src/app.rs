//! The server: routes, middleware in their order, and a graceful stop.

use std::path::PathBuf;

use attache::{Config, Result};

/// Serves until SIGTERM or SIGINT. `config_file` is read again on reload.
pub(crate) async fn serve(config: Config, config_file: Option<PathBuf>) -> Result<()> {
    let _ = (config, config_file);
    Ok(())
}
