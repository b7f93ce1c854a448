//! `attache move`: bytes from the store where they have been until now into the one where they will be.

use std::collections::HashSet;

use attache::Attache;
use attache::attachment::AttachmentId;
use attache::config::value::{Format as _, Raw, Size};
use attache::service::moving::{MoveOptions, MoveOutcome, Moved};
use clap::Args;
use futures::TryStreamExt as _;
use indicatif::HumanBytes;
use serde::Serialize;

use super::out::{count, note, print, print_json};
use super::outcome::{CommandError, Exit, Outcome};
use super::progress::{self, Counting};
use super::stop::Stop;

/// Bring the bytes of all attachments from storage.moving_from to storage.
///
/// Safe while servers are running, and may be interrupted and run again at any time. Nothing is removed from the old store.
#[derive(Debug, Args)]
#[command(after_help = "\
Moving from local disk to Azure, step by step:
  1. In the configuration set storage.backend and its section to the new store, and name the old one:
       [storage.moving_from]
       backend = \"local\"
       [storage.moving_from.local]
       root = \"attache-data/objects\"
  2. Restart or reload (SIGHUP) every `attache serve`. New files go to the new store, old ones are read from where they are.
  3. attache move --rate 50MiB/s
  4. attache move --finish    says whether all of it has come
  5. Take storage.moving_from out of the configuration, and reload.
To go back before step 5, exchange storage and storage.moving_from, and move again.

Exit code 1: something has not been moved.")]
pub(super) struct Move {
    /// Bytes a second at most, such as 50MiB/s.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    rate: Option<u64>,

    /// Move nothing; look whether every attachment is in the new store, so that storage.moving_from can be taken out of the
    /// configuration.
    #[arg(long, conflicts_with = "rate")]
    finish: bool,

    /// Print each attachment that has not been moved as a line of JSON, and the totals as the last line.
    #[arg(long)]
    json: bool,
}

fn rate(text: &str) -> Result<u64, String> {
    let size = text.strip_suffix("/s").unwrap_or(text);
    match Size.read(&Raw::Text(size.to_owned()))? {
        0 => Err("must be more than 0".to_owned()),
        rate => Ok(rate),
    }
}

#[derive(Serialize)]
struct LeftJson<'a> {
    id: &'a str,
    key: &'a str,
    size: u64,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

/// How many of each kind.
#[derive(Default, Serialize)]
struct Tally {
    attachments: u64,
    moved: u64,
    moved_bytes: u64,
    there: u64,
    deleted: u64,
    left: u64,
    /// Uploads that were in progress when the look began, and still are.
    uploading: u64,
}

impl Move {
    pub(super) async fn run(self, store: &Attache) -> Outcome {
        Stop::listen()?.or(self.walk(store)).await
    }

    async fn walk(&self, store: &Attache) -> Outcome {
        // Before the walk: what becomes an attachment behind it is looked for once more.
        let mut uploads: HashSet<AttachmentId> = match self.finish {
            true => store.uploads_in_progress().await?.into_iter().collect(),
            false => HashSet::new(),
        };
        let mut walk = store.move_objects(MoveOptions {
            rate: self.rate,
            only_look: self.finish,
        });
        let what = if self.finish { "looking" } else { "moving" };
        let mut spinner = progress::counting(what);
        let mut tally = Tally::default();
        while let Some(moved) = walk.try_next().await? {
            uploads.remove(&moved.attachment.id);
            self.take(&mut tally, &spinner, &moved)?;
            spinner.tell(|| tally.so_far());
        }
        if !uploads.is_empty() {
            let (became, uploading) = store.became_of(uploads.into_iter().collect()).await?;
            tally.uploading = uploading;
            for moved in &became {
                self.take(&mut tally, &spinner, moved)?;
            }
        }
        spinner.bar.finish_and_clear();
        if self.json {
            print_json(&tally)?;
        }
        note(self.summary(&tally));
        Ok(match (tally.left, tally.uploading) {
            (0, 0) => Exit::Done,
            _ => Exit::Failed,
        })
    }

    /// Counts one, and shows it if it is left.
    fn take(
        &self,
        tally: &mut Tally,
        spinner: &Counting,
        moved: &Moved,
    ) -> Result<(), CommandError> {
        tally.add(moved);
        match moved.outcome.is_left() {
            true => spinner.bar.suspend(|| self.show(moved)),
            false => Ok(()),
        }
    }

    fn show(&self, moved: &Moved) -> Result<(), CommandError> {
        let attachment = &moved.attachment;
        let (code, words) = words(moved.outcome);
        if self.json {
            return print_json(&LeftJson {
                id: attachment.id.as_str(),
                key: attachment.key.as_str(),
                size: attachment.size,
                outcome: moved.outcome.as_str(),
                code,
            });
        }
        print(&format!("{}  {words}\n", attachment.key))
    }

    fn summary(&self, tally: &Tally) -> String {
        let so_far = tally.so_far();
        match (tally.left, self.finish) {
            (0, true) if tally.uploading > 0 => format!(
                "{so_far}: all are in the new store, but {} in progress all the while, and one that began before its server was reloaded \
                 goes to the old one; look again when they have ended (`attache sweep` ends those of a process that was killed)",
                match tally.uploading {
                    1 => "one upload was".to_owned(),
                    many => format!("{many} uploads were"),
                }
            ),
            (0, true) => format!(
                "{so_far}: all are in the new store; take storage.moving_from out of the configuration and reload every server. \
                 The old store is not needed any more"
            ),
            (0, false) => format!(
                "{so_far}: nothing is left; `attache move --finish` looks at all of it once more"
            ),
            (left, true) => format!(
                "{so_far}: {left} are not in the new store, so storage.moving_from has to stay; run `attache move`"
            ),
            (left, false) => {
                format!("{so_far}: {left} are left where they are, for the reasons above")
            }
        }
    }
}

/// The code of the error, and what to do.
fn words(outcome: MoveOutcome) -> (Option<&'static str>, &'static str) {
    match outcome {
        MoveOutcome::Moved => (None, "moved"),
        MoveOutcome::There => (None, "there already"),
        MoveOutcome::Deleted => (None, "deleted meanwhile"),
        MoveOutcome::NotMoved => (None, "not moved: it is in the old store alone"),
        MoveOutcome::Missing => (
            None,
            "missing: neither store has its bytes; bring them back from a backup, or delete it with `attache rm`",
        ),
        MoveOutcome::Differs => (
            None,
            "differs: the bytes that storage has, or storage.moving_from if storage has none, are not those that were uploaded, and were \
             left as they are; put those of a backup in their place, or delete it with `attache rm`",
        ),
        MoveOutcome::Failed("archived") => (
            Some("archived"),
            "archived: the old store keeps it in its archive tier, where it cannot be read; rehydrate it, and move again",
        ),
        MoveOutcome::Failed("precondition_failed") => (
            Some("precondition_failed"),
            "changed: something else wrote into storage.moving_from or storage while it was read; end that, and move again",
        ),
        MoveOutcome::Failed(code) => (
            Some(code),
            "failed: it cannot be read from the old store, or not be written into the new one; the log says why",
        ),
    }
}

impl Tally {
    fn add(&mut self, moved: &Moved) {
        self.attachments += 1;
        match moved.outcome {
            MoveOutcome::Moved => {
                self.moved += 1;
                self.moved_bytes += moved.attachment.size;
            }
            MoveOutcome::There => self.there += 1,
            MoveOutcome::Deleted => self.deleted += 1,
            _ => self.left += 1,
        }
    }

    fn so_far(&self) -> String {
        format!(
            "{}, {} moved ({}), {} there already",
            count(self.attachments, "attachment"),
            self.moved,
            HumanBytes(self.moved_bytes),
            self.there
        )
    }
}
