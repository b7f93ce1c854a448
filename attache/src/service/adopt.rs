//! Makes attachments of what other programs put into the store. Nothing there is moved or changed: an object keeps its name, and
//! its row names it.
//!
//! Objects are read and become attachments in the order of their names, several at a time: of two whose names say the same id, the
//! first has it, whenever this runs.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use futures::SinkExt as _;
use futures::channel::mpsc;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use serde::Serialize;
use time::OffsetDateTime;

use super::beginning::{Beginning, beginning};
use super::walk::walked;
use crate::attachment::filename::Filename;
use crate::attachment::{Attachment, AttachmentId, Author, ObjectKey, Owner, disposition, media};
use crate::catalog::Catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{ListedObject, Storage, Unfit};
use crate::transfer::body::{Body, Digests};
use crate::transfer::budget::{Budget, RELAY_BYTES};

/// What to adopt.
#[derive(Clone, Debug, Default)]
pub struct AdoptOptions {
    /// Only objects whose names begin with this.
    pub prefix: String,
    /// What they hang on; on nothing without one.
    pub owner: Option<OwnerTemplate>,
    /// Say what would be done, and read no bytes.
    pub dry_run: bool,
}

/// An owner with the folders of an object in it: `page:{2}` of `attachment/5f0c/a.png` is `page:5f0c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerTemplate(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// The number of a folder, from 1.
    Folder(usize),
}

impl FromStr for OwnerTemplate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::bad_request(format!(
                "the owner \"{text}\" is not valid; write an owner such as \"page:{{2}}\", where {{2}} is the second folder \
                 of an object's name"
            ))
        };
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let (number, after) = behind.split_once('}').ok_or_else(wrong)?;
            let number = number.parse().ok().filter(|number| *number > 0);
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Folder(number.ok_or_else(wrong)?));
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        let template = Self(pieces);
        // What no folder can make an owner of is told before anything is read.
        template.fill(|_| Some("1")).map_err(|_| wrong())?;
        Ok(template)
    }
}

impl OwnerTemplate {
    /// The owner of the object of this name.
    fn of(&self, name: &str) -> std::result::Result<Owner, Refusal> {
        let mut folders: Vec<&str> = name.split('/').collect();
        folders.pop();
        self.fill(|number| folders.get(number - 1).copied())
    }

    fn fill<'a>(
        &self,
        folder: impl Fn(usize) -> Option<&'a str>,
    ) -> std::result::Result<Owner, Refusal> {
        let mut text = String::new();
        for piece in &self.0 {
            text.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Folder(number) => folder(*number).ok_or(Refusal::NoFolder(*number))?,
            });
        }
        text.parse().map_err(|_| Refusal::Owner(text))
    }
}

/// What became of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Adopted {
    /// Its name in the store.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// What became of it.
    pub outcome: Adoption,
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Adoption {
    /// It is an attachment now.
    Adopted(Box<Attachment>),
    /// It would become one, with this id unless another object takes that first.
    Adoptable {
        /// Its id.
        id: AttachmentId,
        /// What it would hang on.
        owner: Option<Owner>,
        /// The name of its file.
        filename: Filename,
    },
    /// It is one already, or an upload or a deletion works on it.
    Known,
    /// It stands for a folder.
    Folder,
    /// It is left as it is.
    Refused(Refusal),
}

/// Why an object is left as it is; as text, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// By what it is.
    Unfit(Unfit),
    /// Its name could lead elsewhere; what of it.
    Name(String),
    /// Facts of attache's lie with it.
    Lost,
    /// The owner asks for a folder that it does not lie in.
    NoFolder(usize),
    /// What the owner makes of its folders, which is not a valid owner.
    Owner(String),
    /// Its ids are taken by other attachments.
    Taken,
    /// It could not be read; the [code](ErrorKind::code) of the error.
    Unreadable(&'static str),
    /// It was changed while it was read.
    Changed,
}

impl Refusal {
    /// The word for it in JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unfit(unfit) => unfit.code(),
            Self::Name(_) => "name",
            Self::Lost => "lost_row",
            Self::NoFolder(_) | Self::Owner(_) => "owner",
            Self::Taken => "id_taken",
            Self::Unreadable(code) => code,
            Self::Changed => "changed",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfit(unfit) => unfit.fmt(f),
            Self::Name(what) => write!(f, "{what}; rename it"),
            Self::Lost => f.write_str(
                "it has the metadata of an attachment whose row is lost; `attache verify --repair` restores it",
            ),
            Self::NoFolder(number) => write!(
                f,
                "its name has fewer than {number} folders, so the owner does not fit; adopt it with another --prefix \
                 and --owner"
            ),
            Self::Owner(text) => write!(f, "\"{text}\" is not a valid owner; adopt it with another --owner"),
            Self::Taken => f.write_str("its id is taken by another attachment"),
            Self::Unreadable("customer_key") => Unfit::CustomerKey.fmt(f),
            Self::Unreadable("archived") => Unfit::Archived.fmt(f),
            Self::Unreadable(_) => f.write_str("its bytes cannot be read to their end; see the log, and try again"),
            Self::Changed => f.write_str("it was changed while it was read; try again"),
        }
    }
}

impl Serialize for Refusal {
    fn serialize<S: serde::Serializer>(
        &self,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// Objects that are read at a time, if the budget has room for as many.
const READS: usize = 16;

/// Rows that are inserted at a time, in one transaction where the catalog gathers them.
const ROWS: usize = 64;

/// One item for every object whose name begins with the prefix, in ascending order.
pub(super) fn run(
    catalog: Arc<dyn Catalog>,
    storage: Arc<dyn Storage>,
    budget: Budget,
    options: AdoptOptions,
) -> BoxStream<'static, Result<Adopted>> {
    let adopter = Arc::new(Adopter {
        catalog,
        storage,
        budget,
        options,
    });
    let lister = Arc::clone(&adopter);
    let objects = walked(|found| lister.list(found));
    let reader = Arc::clone(&adopter);
    objects
        .map(move |object| {
            let reader = Arc::clone(&reader);
            async move { reader.prepare(object?).await }
        })
        .buffered(READS)
        .ready_chunks(ROWS)
        .then(move |prepared| {
            let adopter = Arc::clone(&adopter);
            async move { stream::iter(adopter.finish_all(prepared).await) }
        })
        .flatten()
        .boxed()
}

struct Adopter {
    catalog: Arc<dyn Catalog>,
    storage: Arc<dyn Storage>,
    budget: Budget,
    options: AdoptOptions,
}

/// An object, and what is to become of it.
struct Prepared {
    object: ListedObject,
    verdict: Verdict,
}

enum Verdict {
    Decided(Adoption),
    /// A row that may be inserted.
    Row(Box<Attachment>),
}

impl Adopter {
    async fn list(self: Arc<Self>, mut found: mpsc::Sender<ListedObject>) -> Result<()> {
        let listing = self.storage.list_all(&self.options.prefix).ok_or_else(|| {
            let why = match self.storage.moving() {
                Some(_) => {
                    "files are moved from storage.moving_from: adopt those of the old store before that, or those of the new one when \
                     storage.moving_from has been taken out of the configuration"
                }
                None => "this storage.backend cannot list what other programs put there",
            };
            Error::new(ErrorKind::Misconfigured, why)
        })?;
        let mut listing = std::pin::pin!(listing);
        while let Some(object) = listing.next().await {
            if found.send(object?).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn prepare(&self, object: ListedObject) -> Result<Prepared> {
        let verdict = match self.judge(&object).await? {
            Ok(verdict) => verdict,
            Err(refusal) => Verdict::Decided(Adoption::Refused(refusal)),
        };
        Ok(Prepared { object, verdict })
    }

    async fn judge(&self, object: &ListedObject) -> Result<std::result::Result<Verdict, Refusal>> {
        if object.unfit == Some(Unfit::Folder) {
            return Ok(Ok(Verdict::Decided(Adoption::Folder)));
        }
        let key = match ObjectKey::recorded(&object.name) {
            Ok(key) => key,
            Err(error) => return Ok(Err(Refusal::Name(error.to_string()))),
        };
        // First, because what is known already needs no reason.
        if self.catalog.is_referenced(&key).await? {
            return Ok(Ok(Verdict::Decided(Adoption::Known)));
        }
        if let Some(unfit) = &object.unfit {
            return Ok(Err(Refusal::Unfit(unfit.clone())));
        }
        if object.has_facts && key.is_own() {
            return Ok(Err(Refusal::Lost));
        }
        let owner = match self
            .options
            .owner
            .as_ref()
            .map(|owner| owner.of(&object.name))
        {
            None => None,
            Some(Ok(owner)) => Some(owner),
            Some(Err(refusal)) => return Ok(Err(refusal)),
        };
        let filename = filename_of(object);
        let id = key.id();
        if self.options.dry_run {
            return Ok(Ok(Verdict::Decided(Adoption::Adoptable {
                id,
                owner,
                filename,
            })));
        }
        let read = match self.read(object, &key, &filename).await? {
            Ok(read) => read,
            Err(refusal) => return Ok(Err(refusal)),
        };
        Ok(Ok(Verdict::Row(Box::new(Attachment {
            id,
            key,
            owner,
            filename,
            content_type: read.content_type,
            size: read.digests.size,
            sha256: read.sha256,
            crc64: read.digests.crc64,
            md5: read.digests.md5,
            store_tag: read.store_tag,
            created_at: object.modified_at.unwrap_or_else(OffsetDateTime::now_utc),
            created_by: Some(Author::adoption()),
        }))))
    }

    /// Reads all of an object: its digests, and its type from its first bytes.
    async fn read(
        &self,
        object: &ListedObject,
        key: &ObjectKey,
        filename: &Filename,
    ) -> Result<std::result::Result<Read, Refusal>> {
        let _permit = self.budget.acquire(RELAY_BYTES).await?;
        let outcome = async {
            let found = self.storage.get(key, None).await?;
            let store_tag = found.info.store_tag;
            let mut body = found.body.hashed(true).with_crc64();
            let (content_type, digests) = digest(&mut body, object, filename).await?;
            Ok::<_, Error>((content_type, digests, store_tag))
        };
        match outcome.await {
            Ok((content_type, digests, store_tag)) => {
                if digests.size != object.size {
                    return Ok(Err(Refusal::Changed));
                }
                let sha256 = digests
                    .sha256
                    .ok_or_else(|| Error::internal("the body ended without digests"))?;
                Ok(Ok(Read {
                    content_type: media::settled(&content_type, digests.utf8),
                    digests,
                    sha256,
                    store_tag,
                }))
            }
            Err(error) => match error.kind() {
                ErrorKind::Internal | ErrorKind::Archived | ErrorKind::CustomerKey => {
                    tracing::warn!(%key, error = error.report(), "adopt: this object is left as it is");
                    Ok(Err(Refusal::Unreadable(error.kind().code())))
                }
                // Deleted, or overwritten.
                ErrorKind::NotFound | ErrorKind::PreconditionFailed => Ok(Err(Refusal::Changed)),
                // An outage of the whole store would only repeat itself.
                _ => Err(error.during("adopt", key.as_str())),
            },
        }
    }

    /// As one after the other would: an id that an earlier one says is not a later one's.
    async fn finish_all(&self, prepared: Vec<Result<Prepared>>) -> Vec<Result<Adopted>> {
        let mut said = HashSet::new();
        let finished = prepared.into_iter().map(|prepared| {
            let prepared = prepared.map(|mut prepared| {
                if let Verdict::Row(row) = &mut prepared.verdict
                    && !said.insert(row.id.clone())
                {
                    row.id = AttachmentId::derived(row.key.as_str());
                }
                prepared
            });
            async { self.finish(prepared?).await }
        });
        futures::future::join_all(finished).await
    }

    async fn finish(&self, prepared: Prepared) -> Result<Adopted> {
        let Prepared { object, verdict } = prepared;
        let outcome = match verdict {
            Verdict::Decided(outcome) => outcome,
            Verdict::Row(row) => self.insert(*row).await?,
        };
        Ok(Adopted {
            name: object.name,
            size: object.size,
            outcome,
        })
    }

    async fn insert(&self, mut row: Attachment) -> Result<Adoption> {
        let derived = AttachmentId::derived(row.key.as_str());
        loop {
            match self.catalog.restore(&row).await {
                Ok(()) => return Ok(Adoption::Adopted(Box::new(row))),
                Err(error) if error.kind() != ErrorKind::Conflict => {
                    return Err(error.during("adopt", row.key.as_str()));
                }
                Err(_) if self.catalog.is_referenced(&row.key).await? => {
                    return Ok(Adoption::Known);
                }
                Err(_) if row.id == derived => return Ok(Adoption::Refused(Refusal::Taken)),
                Err(_) => row.id = derived.clone(),
            }
        }
    }
}

/// What reading told.
struct Read {
    content_type: String,
    digests: Digests,
    sha256: crate::attachment::Hex<32>,
    store_tag: Option<String>,
}

async fn digest(
    body: &mut Body,
    object: &ListedObject,
    filename: &Filename,
) -> Result<(String, Digests)> {
    let Beginning { head, read } = beginning(body).await?;
    let content_type = media::decide(object.content_type.as_deref(), &head, Some(filename));
    drop((head, read));
    while body.try_next().await?.is_some() {}
    let digests = body.digests();
    let digests = digests.ok_or_else(|| Error::internal("the body ended without digests"))?;
    Ok((content_type, digests))
}

/// The name that the store has for the file, else the last part of the object's.
fn filename_of(object: &ListedObject) -> Filename {
    let stored = object
        .disposition
        .as_deref()
        .and_then(disposition::filename);
    let last = object.name.rsplit('/').next().unwrap_or(&object.name);
    stored.unwrap_or_else(|| Filename::neutralised(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_made_of_folders() {
        let of = |pattern: &str, name: &str| {
            let pattern: OwnerTemplate = pattern.parse().expect("a pattern");
            pattern.of(name).map(|owner| owner.to_string())
        };
        assert_eq!(
            of("page:{2}", "attachment/5f0c/a.png"),
            Ok("page:5f0c".to_owned())
        );
        assert_eq!(of("wiki:all", "a.png"), Ok("wiki:all".to_owned()));
        assert_eq!(of("{1}:{2}-x", "user/7/a"), Ok("user:7-x".to_owned()));
        assert_eq!(
            of("page:{2}", "attachment/a.png"),
            Err(Refusal::NoFolder(2))
        );
        assert_eq!(
            of("page:{1}", "a b/c"),
            Err(Refusal::Owner("page:a b".to_owned()))
        );
        for bad in ["page", "page:{", "page:{0}", "page:{x}", "Page:{1}", ""] {
            assert!(bad.parse::<OwnerTemplate>().is_err(), "{bad}");
        }
    }
}
