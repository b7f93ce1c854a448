//! `attache get`: an attachment becomes a file again.

use std::io;
use std::path::{Path, PathBuf};

use attache::attachment::AttachmentId;
use attache::attachment::filename::Disposition;
use attache::delivery::config::DeliveryMode;
use attache::delivery::{Delivery, DeliveryRequest};
use attache::transfer::body::{Body, Expected};
use attache::{Attache, Attachment, Error};
use clap::Args;
use indicatif::HumanBytes;
use tokio::fs::File;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::out::{note, output_failed, print};
use super::outcome::{CommandError, Exit, Outcome};
use super::progress;
use super::stop::Stop;

/// Fetch an attachment, verify its SHA-256, and print the path of the file.
///
/// The file appears under its name only when it is complete and verified. An existing file is not overwritten.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attache get 01939c1e-7d1a-7cc3-9b5e-0d3a1f0f8f11
  attache get 01939c1e-7d1a-7cc3-9b5e-0d3a1f0f8f11 -o /tmp/photo.png --force
  attache get 01939c1e-7d1a-7cc3-9b5e-0d3a1f0f8f11 -o - | tar t

With \"-o -\" bytes are written before the whole is verified: believe them when the exit code is 0.
Exit code 3: no such attachment.")]
pub(super) struct Get {
    /// The attachment's id.
    id: AttachmentId,

    /// The file to write, or a folder for it; "-" is stdout. The attachment's own name if unset.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Overwrite an existing file.
    #[arg(long)]
    force: bool,
}

impl Get {
    pub(super) async fn run(self, store: &Attache) -> Outcome {
        let attachment = store.find(&self.id).await?;
        let mut stop = Stop::listen()?;
        // Dropping the work removes what was written so far.
        stop.or(self.fetch(store, &attachment))
            .await
            .map(|()| Exit::Done)
    }

    async fn fetch(&self, store: &Attache, attachment: &Attachment) -> Result<(), CommandError> {
        if self.output.as_deref().is_some_and(|path| path == "-") {
            let body = open(store, attachment).await?;
            let copied = copy(attachment, body, tokio::io::stdout(), output_failed).await;
            return copied.map(|_| ());
        }
        let path = self.target(attachment);
        let kind = std::fs::metadata(&path).map(|about| about.file_type());
        let write_failed = |error: &io::Error| cannot_write(&path, error);
        match kind {
            Ok(kind) if kind.is_dir() => {
                return Err(CommandError::Here(format!(
                    "{} is a folder",
                    path.display()
                )));
            }
            Ok(kind) if kind.is_file() && !self.force => return Err(taken(&path)),
            // A device or a pipe is written into, never replaced.
            Ok(kind) if !kind.is_file() => {
                let device = tokio::fs::OpenOptions::new().write(true).open(&path).await;
                let device = device.map_err(|error| write_failed(&error))?;
                let body = open(store, attachment).await?;
                copy(attachment, body, device, write_failed).await?;
            }
            _ => {
                let body = open(store, attachment).await?;
                let (part, file) = Part::create(&path).await.map_err(|e| write_failed(&e))?;
                let file = copy(attachment, body, file, write_failed).await?;
                file.sync_all().await.map_err(|e| write_failed(&e))?;
                part.publish(&path, self.force)?;
            }
        }
        note(format_args!(
            "saved {}, {}, sha256 verified",
            path.display(),
            HumanBytes(attachment.size)
        ));
        print(&format!("{}\n", path.display()))
    }

    fn target(&self, attachment: &Attachment) -> PathBuf {
        match &self.output {
            Some(path) if path.is_dir() => path.join(attachment.filename.as_str()),
            Some(path) => path.clone(),
            None => PathBuf::from(attachment.filename.as_str()),
        }
    }
}

/// The bytes; an error in place of their end if they are not the ones that were uploaded.
async fn open(store: &Attache, attachment: &Attachment) -> Result<Body, CommandError> {
    let request = DeliveryRequest {
        via: Some(DeliveryMode::Relay),
        disposition: Disposition::Attachment,
        ..DeliveryRequest::default()
    };
    match store.deliver(attachment, &request).await? {
        Delivery::Relay {
            body: Some(body), ..
        } => Ok(body.expecting(Expected {
            size: Some(attachment.size),
            sha256: Some(attachment.sha256.0),
            ..Expected::default()
        })),
        _ => Err(Error::internal("a relay was asked for, and something else came").into()),
    }
}

async fn copy<W: AsyncWrite + Unpin>(
    attachment: &Attachment,
    mut body: Body,
    mut to: W,
    write_failed: impl Fn(&io::Error) -> CommandError,
) -> Result<W, CommandError> {
    let bar = progress::bar(attachment.filename.as_str(), Some(attachment.size));
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| error.during("get", attachment.id.as_str()))?;
        to.write_all(&chunk).await.map_err(|e| write_failed(&e))?;
        bar.inc(chunk.len() as u64);
    }
    to.flush().await.map_err(|e| write_failed(&e))?;
    bar.finish_and_clear();
    Ok(to)
}

/// A file beside its target, under another name until it is complete. Dropping it removes it.
struct Part(PathBuf);

impl Part {
    async fn create(target: &Path) -> io::Result<(Self, File)> {
        // The target's name may be as long as names can be, so this one does not hold it.
        let name = format!(".attache-{}.part", attache::attachment::unique().simple());
        let path = target.with_file_name(name);
        let file = File::create_new(&path).await?;
        Ok((Self(path), file))
    }

    fn publish(self, target: &Path, force: bool) -> Result<(), CommandError> {
        let renamed = if force {
            std::fs::rename(&self.0, target)
        } else {
            // A link never replaces anything, not even what appeared while we were writing.
            match std::fs::hard_link(&self.0, target) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(taken(target));
                }
                // Some file systems have no links.
                Err(_) if !target.exists() => std::fs::rename(&self.0, target),
                other => other,
            }
        };
        renamed.map_err(|error| cannot_write(target, &error))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn taken(path: &Path) -> CommandError {
    CommandError::Here(format!(
        "{} exists already; give another name with -o, or --force to overwrite it",
        path.display()
    ))
}

fn cannot_write(path: &Path, error: &io::Error) -> CommandError {
    CommandError::Here(format!("cannot write {}: {error}", path.display()))
}
