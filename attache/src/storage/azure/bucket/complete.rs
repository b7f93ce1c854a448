//! Parts become one blob.

use super::super::inner::Inner;
use super::super::put::BLOCK_LIMITS;
use super::super::refusal::{is_block_missing, is_taken, is_unmet};
use super::kept::{Facts, look};
use super::name::name_of;
use super::parts::{Parts, Ticket, find};
use super::put::{Commit, Guard};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::bucket::{
    Condition, Entry, Key, NamedPart, PartOf, WholeChecksum, bad_part, checksum_of_parts,
    etag_of_parts, no_upload, unfulfilled,
};
use crate::transfer::checksum::Checksum;

pub(super) async fn complete(
    inner: &Inner,
    upload: &PartOf<'_>,
    named: &[NamedPart],
    checksum: Option<WholeChecksum>,
    condition: &Condition,
) -> Result<Entry> {
    let (ticket, key) = (Ticket::read(upload)?, upload.key);
    let ascending = named.is_sorted_by(|one, next| one.number < next.number);
    if named.is_empty() || !ascending {
        return Err(Error::bad_request(
            "an upload is completed with one part at least, in ascending order of their numbers",
        )
        .during("complete", key.as_str()));
    }
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
        metadata: facts.metadata(&ticket.properties, None, &ticket.mark())?,
        md5: None,
        guard,
    };
    match commit.of(inner, &name_of(key)?, &blocks).await {
        Ok(written) => Ok(facts.entry(key, &ticket.properties, written)),
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
    let Some(seen) = look(inner, key, "complete").await? else {
        return Ok(None);
    };
    let etag = etag_of_parts(named.iter().map(|part| part.etag.as_str()));
    let ours = seen.attempt() == Some(&ticket.mark());
    let entry = seen.entry(key);
    Ok((ours && Some(&entry.etag) == etag.as_ref()).then_some(entry))
}

/// What the parts that are named make, and of which blocks.
fn whole(
    key: &Key,
    parts: &Parts,
    named: &[NamedPart],
    checksum: Option<WholeChecksum>,
) -> Result<(Facts, Vec<super::block::Id>)> {
    let (mut blocks, mut sums, mut size) = (Vec::new(), Vec::new(), 0_u64);
    for part in named {
        let bad = || bad_part(key, part.number);
        let stored = parts.0.get(&part.number).ok_or_else(bad)?;
        if stored.sums.etag() != part.etag {
            return Err(bad());
        }
        let front = stored.sums.checksum;
        if let Some(named) = part.checksum
            && !front.is_some_and(|front| front.is_of(named))
        {
            return Err(bad());
        }
        // All of a SHA is known to the client alone, and that it is the right one by its front.
        let known = part
            .checksum
            .or_else(|| front.and_then(|front| front.whole()));
        sums.push((known, stored.sums.size));
        size += stored.sums.size;
        blocks.extend_from_slice(&stored.blocks);
    }
    if blocks.len() > BLOCK_LIMITS.max_blocks as usize {
        return Err(Error::new(
            ErrorKind::TooLarge,
            "the parts have more blocks than a blob may have; raise memory.transfer_bytes",
        )
        .during("complete", key.as_str()));
    }
    let kept = match checksum {
        Some(wanted) => checksum_of_parts(wanted, &sums)?,
        None => None,
    };
    let crc64 = match kept {
        Some(kept) if kept.parts.is_none() => match kept.checksum {
            Checksum::Crc64Nvme(crc) => Some(crc),
            _ => None,
        },
        _ => None,
    };
    let etag = etag_of_parts(named.iter().map(|part| part.etag.as_str()));
    let facts = Facts {
        size,
        etag: etag.ok_or_else(|| Error::internal("azure: a part without MD5"))?,
        checksum: kept,
        crc64,
    };
    Ok((facts, blocks))
}
