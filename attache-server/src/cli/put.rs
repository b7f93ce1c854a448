//! `attache put`: files, or stdin, become attachments.

use std::fs::Metadata;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use attache::attachment::NewAttachment;
use attache::attachment::Owner;
use attache::attachment::filename::Filename;
use attache::{Attache, Attachment, Config, Error, ErrorKind, Result};
use clap::Args;
use tokio::fs::File;

use super::input::{READ_BYTES, chunks, unreadable};
use super::out::{note, print, print_json};
use super::outcome::{CommandError, Exit, Outcome};
use super::stop::Stop;
use super::store::CLOSE_GRACE;
use super::{out, progress, resume};
use crate::v1::json::AttachmentJson;

/// Store files, and print the id of each.
///
/// Every file is streamed; none is held in memory. A file that fails is reported and the others are stored all the
/// same; then the exit code is 1. A file larger than upload.block_bytes (8 MiB) goes on where it was when the same command is
/// given again, whatever ended it: Ctrl-C (exit code 130), a crash, a failure. Of smaller ones, and of stdin, nothing is left.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attache put photo.png report.pdf --owner page:42
  pg_dump shop | attache put - --filename shop.sql
  id=$(attache put photo.png)

Pipe through `set -o pipefail`: an end of stdin is taken for the end of the file. upload.timeout and \
upload.idle_timeout are for clients on the network; put waits for its input as long as it takes.

What is stored of a large file is kept for upload.partial_lifetime (a day). A file that was changed since begins anew. Of several \
commands that put the same file at the same time the last one takes over.")]
pub(super) struct Put {
    /// The files; "-" is stdin.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The record that the attachments belong to, "kind:id", such as page:42.
    #[arg(long)]
    owner: Option<Owner>,

    /// Store under this name instead of the file's own; for one file only.
    #[arg(long, value_name = "NAME")]
    filename: Option<Filename>,

    /// The media type, such as image/png; by default detected from content and name.
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,

    /// Print each attachment as a line of JSON.
    #[arg(long)]
    json: bool,
}

/// `put` reads local input, so timeouts for network clients do not apply.
pub(super) fn without_network_timeouts(mut config: Config) -> Config {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    config.upload.idle_timeout = YEAR;
    config.upload.timeout.base = YEAR;
    config
}

impl Put {
    pub(super) async fn run(self, store: &Attache) -> Outcome {
        if self.filename.is_some() && self.files.len() > 1 {
            return Err(CommandError::Usage(
                "--filename names one file, but several were given; put them one by one".to_owned(),
            ));
        }
        if self.files.iter().filter(|file| is_stdin(file)).count() > 1 {
            return Err(CommandError::Usage(
                "stdin can be read only once, but \"-\" was given twice".to_owned(),
            ));
        }
        let mut stop = Stop::listen()?;
        let mut exit = Exit::Done;
        for path in &self.files {
            let mut upload = pin!(self.send(store, path));
            let outcome = tokio::select! {
                outcome = &mut upload => outcome,
                signal = stop.signal() => {
                    store.cut();
                    // It cleans up, or it had ended in this very moment. A second signal does not wait for that.
                    let ended = tokio::select! {
                        ended = tokio::time::timeout(CLOSE_GRACE, upload) => ended,
                        _ = stop.signal() => return Err(CommandError::Signalled(signal)),
                    };
                    match ended {
                        Ok(Ok(attachment)) => self.show(attachment)?,
                        _ => match self.kept(store, path).await {
                            Some(kept) => note(format_args!("interrupted; {kept}")),
                            None => note(format_args!("interrupted; nothing was kept of {}", name(path))),
                        },
                    }
                    return Err(CommandError::Signalled(signal));
                }
            };
            match outcome {
                Ok(attachment) => self.show(attachment)?,
                Err(error) => {
                    note(format_args!("{}: {}", name(path), out::explained(&error)));
                    // Of a conflict the other one has it.
                    if error.kind() != ErrorKind::Conflict
                        && let Some(kept) = self.kept(store, path).await
                    {
                        note(kept);
                    }
                    exit = Exit::Failed;
                }
            }
        }
        Ok(exit)
    }

    fn show(&self, attachment: Attachment) -> Result<(), CommandError> {
        if self.json {
            print_json(&AttachmentJson::from(attachment))
        } else {
            print(&format!("{}\n", attachment.id))
        }
    }

    async fn send(&self, store: &Attache, path: &Path) -> Result<Attachment> {
        if is_stdin(path) {
            if io::stdin().is_terminal() {
                note("reading from the terminal; Ctrl-D ends the file");
            }
            let bar = progress::bar("stdin", None);
            let body = chunks(tokio::io::stdin(), &bar);
            let stored = store.upload(self.said(), body).await;
            bar.finish_and_clear();
            return Ok(stored?.attachment);
        }
        let (mut file, about) = open(path).await?;
        let size = about.is_file().then_some(about.len());
        let mut new = self.said();
        new.size = size;
        if new.filename.is_none() {
            new.filename = Some(own_name(path)?);
        }
        let bar = progress::bar(&name(path), size);
        let stored = match size.filter(|_| is_large(store, &about)) {
            Some(size) => {
                let mark = resume::mark(path, &about, &new)?;
                resume::send(store, &name(path), mark, new, (file, size), &bar).await
            }
            None => {
                file.set_max_buf_size(READ_BYTES);
                let uploaded = store.upload(new, chunks(file, &bar)).await;
                uploaded.map(|uploaded| uploaded.attachment)
            }
        };
        bar.finish_and_clear();
        stored
    }

    /// What the command line says of a file.
    fn said(&self) -> NewAttachment {
        NewAttachment {
            filename: self.filename.clone(),
            owner: self.owner.clone(),
            content_type: self.content_type.clone(),
            ..NewAttachment::default()
        }
    }

    /// What is stored of a file that is not whole, for the same command to go on with; `None` if nothing is, or if somebody else
    /// goes on with it already.
    async fn kept(&self, store: &Attache, path: &Path) -> Option<String> {
        let about = tokio::fs::metadata(path).await.ok()?;
        if is_stdin(path) || !is_large(store, &about) {
            return None;
        }
        let mut new = self.said();
        if new.filename.is_none() {
            new.filename = Some(own_name(path).ok()?);
        }
        let mark = resume::mark(path, &about, &new).ok()?;
        let upload = resume::unfinished(store, &mark).await.ok()??;
        (upload.offset > 0 && !upload.is_held).then(|| {
            format!(
                "{} % of {} are kept; the same command goes on with it, until {}",
                resume::percent(&upload),
                name(path),
                out::minute(upload.expires_at)
            )
        })
    }
}

/// Whether a file is worth an upload that outlives the command.
fn is_large(store: &Attache, about: &Metadata) -> bool {
    about.is_file() && about.len() > store.parts().config.upload.block_bytes
}

/// The file, and what it is.
async fn open(path: &Path) -> Result<(File, Metadata)> {
    let file = File::open(path).await.map_err(|error| unreadable(&error))?;
    let about = file.metadata().await.map_err(|error| unreadable(&error))?;
    if about.is_dir() {
        return Err(Error::new(
            ErrorKind::ClientGone,
            "is a folder; put its files, or an archive of it",
        ));
    }
    Ok((file, about))
}

fn own_name(path: &Path) -> Result<Filename> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| {
        Error::new(
            ErrorKind::ClientGone,
            "the file name is not UTF-8; give another one with --filename",
        )
    })?;
    name.parse().map_err(|error: Error| {
        let what = format!("{} (or give another one with --filename)", error.detail());
        Error::new(error.kind(), what)
    })
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn name(path: &Path) -> String {
    if is_stdin(path) {
        "stdin".to_owned()
    } else {
        path.display().to_string()
    }
}
