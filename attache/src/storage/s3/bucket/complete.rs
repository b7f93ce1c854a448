//! Parts become one object.

use bytes::Bytes;

use super::super::inner::Inner;
use super::guard::Guard;
use super::make::{Make, few_enough};
use super::name::{checked, folder_of};
use super::parts::find;
use super::seen::look;
use crate::error::{ErrorKind, Result};
use crate::storage::bucket::ticket::Ticket;
use crate::storage::bucket::whole::{check_order, facts_of_parts};
use crate::storage::bucket::{Condition, Entry, Key, NamedPart, PartOf, WholeChecksum, no_upload};
use crate::transfer::budget::Budget;

pub(super) async fn complete(
    inner: &Inner,
    upload: &PartOf<'_>,
    named: &[NamedPart],
    checksum: Option<WholeChecksum>,
    condition: &Condition,
    budget: &Budget,
) -> Result<Entry> {
    let (ticket, key) = (Ticket::read(upload)?, checked(inner, upload.key)?);
    check_order(key, named)?;
    let folder = folder_of(key, &ticket.mark());
    let mut parts = find(inner, &folder).await?;
    let done = || done(inner, key, &ticket, named);
    if parts.is_empty() {
        return done().await?.ok_or_else(|| no_upload(key));
    }
    let stored = |part: &NamedPart| {
        let sums = &parts.get(&part.number)?.sums;
        let same = part.checksum.is_none() || part.checksum == sums.checksum;
        same.then(|| (sums.size, sums.md5.to_string(), sums.checksum))
    };
    let facts = match facts_of_parts(key, named, checksum, stored) {
        Ok(facts) => facts,
        // Parts that came too late are there although it is done.
        Err(error) => return done().await?.ok_or(error),
    };
    let guard = Guard::of(inner, key, condition, "complete").await?;
    let make = Make {
        inner,
        key,
        properties: &ticket.properties,
        facts: &facts,
        attempt: &ticket.mark(),
        guard: &guard,
    };
    let made = match facts.size {
        0 => make.of_bytes(Bytes::new()).await,
        _ => {
            let pieces = named
                .iter()
                .filter_map(|part| Some(parts.remove(&part.number)?.pieces))
                .collect();
            match few_enough(inner, &folder, pieces, budget).await {
                Ok(pieces) => make.of_pieces(pieces, &folder, budget).await,
                Err(error) => Err(error),
            }
        }
    };
    let entry = match made {
        Ok(entry) => entry,
        // The same call may have been made by another process meanwhile, or the upload was given up.
        Err(error) => match (done().await?, error.kind()) {
            (Some(before), _) => before,
            (None, ErrorKind::NotFound) => return Err(no_upload(key)),
            (None, _) => return Err(error),
        },
    };
    inner.remove_pieces(&folder).await;
    Ok(entry)
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
