//! Where the configuration is loaded from.

use std::net::SocketAddr;
use std::path::PathBuf;

use attache::Result;

use crate::config::Settings;

/// Where the configuration comes from, besides the environment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    /// The file that was named.
    pub(crate) file: Option<PathBuf>,
    /// `--listen`
    pub(crate) listen: Option<SocketAddr>,
}

/// A configuration, and the text of its file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Loaded {
    pub(crate) settings: Settings,
    /// `None` without a file.
    pub(crate) text: Option<String>,
}

impl Source {
    /// Loads what is there now.
    pub(crate) fn load(&self) -> Result<Loaded> {
        let listen = self
            .listen
            .map(|address| ("server.listen", address.to_string()));
        let text = self
            .file
            .as_deref()
            .map(attache::config::load::read_file)
            .transpose()?;
        let settings = attache::config::load::load(text.as_deref(), listen.as_slice())?;
        Ok(Loaded { settings, text })
    }
}
