//! `attache ls`: what is there.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use attache::access::Owners;
use attache::attachment::Owner;
use attache::attachment::media;
use attache::catalog::Page;
use attache::service::{Listing, MAX_PAGE};
use attache::{Attache, Attachment};
use clap::Args;
use indicatif::HumanBytes;

use super::out::{self, columns, json, print};
use super::outcome::{CommandError, Exit, Outcome};
use crate::v1::json::AttachmentJson;

/// List attachments, newest first: id, size, type, time of upload, name, owner.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attache ls --owner page:42
  attache ls --json | jq -r 'select(.size > 1000000) | .id'")]
pub(super) struct Ls {
    /// Only those of this owner.
    #[arg(long)]
    owner: Option<Owner>,

    /// Print each attachment as a line of JSON.
    #[arg(long)]
    json: bool,
}

impl Ls {
    pub(super) async fn run(self, store: &Attache) -> Outcome {
        let mut page = Page {
            owner: self.owner.clone(),
            visible: Owners::all(),
            after: None,
            limit: MAX_PAGE,
        };
        let mut heading = !self.json && io::stdout().is_terminal();
        loop {
            let Listing { attachments, next } = store.list(&page).await?;
            let text = if self.json {
                lines(attachments)?
            } else {
                table(&attachments, std::mem::take(&mut heading))
            };
            print(&text)?;
            page.after = Some(match next {
                Some(next) => next,
                None => return Ok(Exit::Done),
            });
        }
    }
}

fn lines(found: Vec<Attachment>) -> Result<String, CommandError> {
    let mut text = String::new();
    for attachment in found {
        text.push_str(&json(&AttachmentJson::from(attachment))?);
        text.push('\n');
    }
    Ok(text)
}

/// A page at a time, so that a listing of millions begins at once; columns fit within a page.
fn table(found: &[Attachment], heading: bool) -> String {
    let mut rows: Vec<[String; 6]> = found.iter().map(row).collect();
    if heading && !rows.is_empty() {
        let names = ["ID", "SIZE", "TYPE", "UPLOADED", "NAME", "OWNER"];
        rows.insert(0, names.map(str::to_owned));
    }
    let widest = |column: usize| rows.iter().map(|row| columns(&row[column])).max();
    let widths: [usize; 6] = std::array::from_fn(|column| widest(column).unwrap_or_default());
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let space = width.saturating_sub(columns(cell));
            let _ = match column {
                SIZE => write!(line, "{:space$}{cell}  ", ""),
                _ => write!(line, "{cell}{:space$}  ", ""),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The column that is aligned to its right.
const SIZE: usize = 1;

fn row(attachment: &Attachment) -> [String; 6] {
    [
        attachment.id.to_string(),
        HumanBytes(attachment.size).to_string(),
        media::essence(&attachment.content_type).to_owned(),
        out::minute(attachment.created_at),
        attachment.filename.to_string(),
        attachment
            .owner
            .as_ref()
            .map(Owner::to_string)
            .unwrap_or_default(),
    ]
}
