//! Parts become one blob.

use super::super::inner::Inner;
use super::super::put::BLOCK_LIMITS;
use super::super::refusal::{is_block_missing, is_taken, is_unmet};
use super::kept::{FORM, look};
use super::name::name_of;
use super::parts::{Parts, find};
use super::put::{Commit, Guard};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::bucket::facts::Facts;
use crate::storage::bucket::ticket::Ticket;
use crate::storage::bucket::whole::{check_order, facts_of_parts};
use crate::storage::bucket::{
    Condition, Entry, Key, NamedPart, PartOf, WholeChecksum, no_upload, unfulfilled,
};

pub(super) async fn complete(
    inner: &Inner,
    upload: &PartOf<'_>,
    named: &[NamedPart],
    checksum: Option<WholeChecksum>,
    condition: &Condition,
) -> Result<Entry> {
    let (ticket, key) = (Ticket::read(upload)?, upload.key);
    check_order(key, named)?;
    let parts = find(inner, key, ticket.nonce()).await?;
    let Some(parts) = parts.filter(|parts| !parts.0.is_empty()) else {
        return done(inner, key, &ticket, named)
            .await?
            .ok_or_else(|| no_upload(key));
    };
    let (facts, blocks) = match whole(key, &parts, named, checksum) {
        Ok(whole) => whole,
        // Parts that came too late are there although it is done.
        Err(error) => {
            let before = done(inner, key, &ticket, named).await?;
            return before.ok_or(error);
        }
    };
    let guard = Guard::of(inner, key, condition, "complete").await?;
    let commit = Commit {
        properties: &ticket.properties,
        metadata: facts.metadata(&FORM, &ticket.properties, None, &ticket.mark())?,
        md5: None,
        guard,
    };
    match commit.of(inner, &name_of(key)?, &blocks).await {
        Ok(written) => Ok(written.entry(&facts, key, &ticket.properties)),
        Err(error) if is_taken(&error) || is_unmet(&error) => {
            let before = done(inner, key, &ticket, named).await?;
            before.ok_or_else(|| unfulfilled(key))
        }
        Err(error) if is_block_missing(&error) => {
            let before = done(inner, key, &ticket, named).await?;
            before.ok_or_else(|| no_upload(key))
        }
        Err(error) => Err(inner.fail(error, "complete", key.as_str())),
    }
}

/// The object, if it is what this upload became, of these parts.
async fn done(
    inner: &Inner,
    key: &Key,
    ticket: &Ticket,
    named: &[NamedPart],
) -> Result<Option<Entry>> {
    let seen = look(inner, key, "complete").await?;
    Ok(seen.and_then(|seen| ticket.became(seen.attempt(), seen.entry(key), named)))
}

/// What the parts that are named make, and of which blocks.
fn whole(
    key: &Key,
    parts: &Parts,
    named: &[NamedPart],
    checksum: Option<WholeChecksum>,
) -> Result<(Facts, Vec<super::block::Id>)> {
    let stored = |part: &NamedPart| {
        let stored = parts.0.get(&part.number)?;
        let front = stored.sums.checksum;
        // All of a SHA is known to the client alone, and that it is the right one by its front.
        let known = match part.checksum {
            Some(named) => Some(front.filter(|front| front.is_of(named)).map(|_| named)?),
            None => front.and_then(|front| front.whole()),
        };
        Some((stored.sums.size, stored.sums.etag(), known))
    };
    let facts = facts_of_parts(key, named, checksum, stored)?;
    let blocks: Vec<_> = named
        .iter()
        .filter_map(|part| parts.0.get(&part.number))
        .flat_map(|stored| stored.blocks.iter().copied())
        .collect();
    if blocks.len() > BLOCK_LIMITS.max_blocks as usize {
        return Err(Error::new(
            ErrorKind::TooLarge,
            "the parts have more blocks than a blob may have; raise memory.transfer_bytes",
        )
        .during("complete", key.as_str()));
    }
    Ok((facts, blocks))
}
