//! `attache adopt`: attachments of what other programs put into the store.

use attache::Attache;
use attache::attachment::filename::Filename;
use attache::attachment::{AttachmentId, Owner};
use attache::service::adopt::{AdoptOptions, Adopted, Adoption, OwnerTemplate, Refusal};
use clap::Args;
use futures::TryStreamExt as _;
use indicatif::HumanBytes;
use serde::Serialize;

use super::out::{count, note, print, print_json};
use super::outcome::{CommandError, Exit, Outcome};
use super::progress;
use super::stop::Stop;

/// Make attachments of files that other programs put into the store.
///
/// Nothing in the store is moved or changed: a file keeps its name, and the catalog names it. Its id is the last part of its
/// name without extension, or one that is derived from the name; its file name and type are those that the store has, or come
/// from its name and its bytes, all of which are read once. Safe at any time, also while a server is running; what was adopted
/// already is left alone, so it may be repeated.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attache adopt --dry-run
  attache adopt --prefix attachment/
  attache adopt --prefix attachment/ --owner 'page:{2}'    attachment/5f0c/a.png hangs on page:5f0c
  attache adopt --json | jq -r 'select(.outcome == \"refused\") | [.name, .reason] | @tsv'

GROWI: give attache the container, the bucket or the folder in which GROWI keeps its uploads, and adopt it.
Exit code 1: something was refused.")]
pub(super) struct Adopt {
    /// Only files whose names begin with this, such as attachment/.
    #[arg(long, default_value = "", value_name = "PREFIX")]
    prefix: String,

    /// What they hang on; {1} is the first folder of a name, {2} the second.
    #[arg(long, value_name = "OWNER")]
    owner: Option<OwnerTemplate>,

    /// Report what would be done, and read no bytes.
    #[arg(long)]
    dry_run: bool,

    /// Print each file as a line of JSON: {"name", "size", "outcome", …}.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct AdoptedJson<'a> {
    name: &'a str,
    size: u64,
    #[serde(flatten)]
    outcome: OutcomeJson<'a>,
}

#[derive(Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum OutcomeJson<'a> {
    Adopted {
        id: &'a AttachmentId,
        owner: Option<&'a Owner>,
        filename: &'a Filename,
        content_type: &'a str,
    },
    Adoptable {
        id: &'a AttachmentId,
        owner: Option<&'a Owner>,
        filename: &'a Filename,
    },
    Known,
    Folder,
    Refused {
        code: &'static str,
        reason: String,
    },
}

/// How many of each kind.
#[derive(Default)]
struct Tally {
    adopted: u64,
    bytes: u64,
    known: u64,
    folders: u64,
    refused: u64,
}

impl Adopt {
    pub(super) async fn run(self, store: &Attache) -> Outcome {
        Stop::listen()?.or(self.walk(store)).await
    }

    async fn walk(&self, store: &Attache) -> Outcome {
        let mut walk = store
            .adopt(AdoptOptions {
                prefix: self.prefix.clone(),
                owner: self.owner.clone(),
                dry_run: self.dry_run,
            })
            .await?;
        let mut spinner = progress::counting("adopting");
        let mut tally = Tally::default();
        while let Some(adopted) = walk.try_next().await? {
            tally.add(&adopted);
            spinner.bar.suspend(|| self.show(&adopted))?;
            spinner.tell(|| tally.summary(self.dry_run));
        }
        spinner.bar.finish_and_clear();
        note(tally.summary(self.dry_run));
        Ok(match tally.refused {
            0 => Exit::Done,
            _ => Exit::Failed,
        })
    }

    fn show(&self, adopted: &Adopted) -> Result<(), CommandError> {
        let Adopted {
            name,
            size,
            outcome,
        } = adopted;
        if self.json {
            return print_json(&AdoptedJson {
                name,
                size: *size,
                outcome: json(outcome),
            });
        }
        match outcome {
            Adoption::Adopted(attachment) => {
                let owner = attachment.owner.as_ref();
                print(&format!(
                    "{name:?}  adopted as {}{}\n",
                    attachment.id,
                    of(owner)
                ))
            }
            Adoption::Adoptable { id, owner, .. } => print(&format!(
                "{name:?}  would be adopted as {id}{}\n",
                of(owner.as_ref())
            )),
            Adoption::Refused(refusal) => print(&format!("{name:?}  refused: {refusal}\n")),
            Adoption::Known | Adoption::Folder => Ok(()),
        }
    }
}

fn of(owner: Option<&Owner>) -> String {
    owner.map_or_else(String::new, |owner| format!(" of {owner}"))
}

fn json(outcome: &Adoption) -> OutcomeJson<'_> {
    match outcome {
        Adoption::Adopted(attachment) => OutcomeJson::Adopted {
            id: &attachment.id,
            owner: attachment.owner.as_ref(),
            filename: &attachment.filename,
            content_type: &attachment.content_type,
        },
        Adoption::Adoptable {
            id,
            owner,
            filename,
        } => OutcomeJson::Adoptable {
            id,
            owner: owner.as_ref(),
            filename,
        },
        Adoption::Known => OutcomeJson::Known,
        Adoption::Folder => OutcomeJson::Folder,
        Adoption::Refused(refusal) => OutcomeJson::Refused {
            code: Refusal::code(refusal),
            reason: refusal.to_string(),
        },
    }
}

impl Tally {
    fn add(&mut self, adopted: &Adopted) {
        match adopted.outcome {
            Adoption::Adopted(_) | Adoption::Adoptable { .. } => {
                self.adopted += 1;
                self.bytes += adopted.size;
            }
            Adoption::Known => self.known += 1,
            Adoption::Folder => self.folders += 1,
            Adoption::Refused(_) => self.refused += 1,
        }
    }

    fn summary(&self, dry_run: bool) -> String {
        let verb = if dry_run { "would adopt" } else { "adopted" };
        let mut text = format!(
            "{verb} {}, {}",
            count(self.adopted, "file"),
            HumanBytes(self.bytes)
        );
        for (number, what) in [
            (self.known, "already known"),
            (self.folders, "folders"),
            (self.refused, "refused"),
        ] {
            if number > 0 {
                text.push_str(&format!("; {number} {what}"));
            }
        }
        text
    }
}
