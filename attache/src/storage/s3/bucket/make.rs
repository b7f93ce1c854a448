//! An object comes to be: by one request, or of pieces, in place of what is there.

use bytes::Bytes;
use http::Method;
use http::header::HeaderMap;
use time::OffsetDateTime;

use super::super::ask::{Ask, header};
use super::super::compose::{MAX_PARTS, Whole};
use super::super::echo::{Echo, echo, md5};
use super::super::inner::Inner;
use super::super::refusal::Fault;
use super::super::settled::{Settled, TRIES};
use super::super::staging::Piece;
use super::guard::Guard;
use super::seen::{Seen, look, to_headers, version};
use crate::error::Result;
use crate::storage::bucket::facts::Facts;
use crate::storage::bucket::{Entry, Key, Properties, unfulfilled};
use crate::transfer::budget::Budget;
use crate::transfer::digests::crc64;

/// An object that is to be made, and of which everything is known.
pub(super) struct Make<'a> {
    pub(super) inner: &'a Inner,
    pub(super) key: &'a Key,
    pub(super) properties: &'a Properties,
    pub(super) facts: &'a Facts,
    /// Stored with the object, so that a repeated call that finds it there can tell its own work from somebody else's.
    pub(super) attempt: &'a str,
    pub(super) guard: &'a Guard,
}

impl Make<'_> {
    /// Of bytes in memory.
    pub(super) async fn of_bytes(&self, bytes: Bytes) -> Result<Entry> {
        let (inner, dialect) = (self.inner, self.inner.place.dialect);
        let crc = self.facts.crc64.unwrap_or_else(|| crc64(&bytes));
        let (checksum, value) = dialect.checksum(|| crc, || md5(&bytes));
        let mut ask = Ask::new(Method::PUT, self.key.as_str()).body(bytes.clone());
        ask.headers = self.headers()?;
        ask = ask.header(header(checksum, value)?);
        if let Some(condition) = self.guard.header(inner) {
            ask = ask.header(condition.clone());
        }
        self.guard.look_before(inner, self.key).await?;
        let mut tries = 0;
        let outcome = loop {
            tries += 1;
            let outcome = inner.ask(&ask).await;
            match self.settle(outcome.as_ref().err()).await? {
                Settled::Anew if tries < TRIES => {}
                Settled::Ours(seen) => {
                    // Whether these are its bytes nobody has said yet.
                    self.see(Echo::Silent).await?;
                    return Ok(seen.entry(self.key));
                }
                Settled::Anew | Settled::AsTold => break outcome,
            }
        };
        let answered = outcome.map_err(|fault| self.fail(fault))?;
        self.see(echo(dialect, &answered.headers, &bytes, crc))
            .await?;
        self.guard.look_after(inner, self.key, self.attempt).await?;
        let tag = dialect.version(&answered.headers);
        let tag = tag.map(|version| version.tag).unwrap_or_default();
        Ok(self.entry(&tag))
    }

    /// Of pieces, which stay.
    pub(super) async fn of_pieces(
        &self,
        pieces: Vec<Piece>,
        folder: &str,
        budget: &Budget,
    ) -> Result<Entry> {
        let inner = self.inner;
        let headers = self.headers()?;
        let whole = Whole {
            key: self.key.as_str(),
            headers: &headers,
            condition: self.guard.header(inner),
            crc64: self.facts.crc64,
            folder,
        };
        self.guard.look_before(inner, self.key).await?;
        let mut tries = 0;
        let outcome = loop {
            tries += 1;
            let outcome = inner.compose(&whole, pieces.clone(), budget).await;
            match self.settle(outcome.as_ref().err()).await? {
                Settled::Anew if tries < TRIES => {}
                Settled::Ours(seen) => return Ok(seen.entry(self.key)),
                Settled::Anew | Settled::AsTold => break outcome,
            }
        };
        let tag = outcome.map_err(|fault| self.fail(fault))?;
        self.guard.look_after(inner, self.key, self.attempt).await?;
        // What the store made of it, and when, no answer has said.
        match look(inner, self.key, "put").await? {
            Some(seen) if seen.attempt() == Some(self.attempt) => Ok(seen.entry(self.key)),
            _ => Ok(self.entry(&tag.unwrap_or_default())),
        }
    }

    fn headers(&self) -> Result<HeaderMap> {
        let dialect = self.inner.place.dialect;
        to_headers(dialect, self.facts, self.properties, self.attempt)
    }

    /// What is there, as far as the answer to what made it tells.
    fn entry(&self, tag: &str) -> Entry {
        let version = version(self.inner.place.dialect, tag, self.attempt);
        let now = OffsetDateTime::now_utc() + self.inner.skew();
        let now = now.replace_nanosecond(0).unwrap_or(now);
        self.facts.entry(self.key, self.properties, version, now)
    }

    /// Whether the store has the bytes, as far as it lets anybody know. If not, the object goes.
    async fn see(&self, heard: Echo) -> Result<()> {
        let (inner, key) = (self.inner, self.key);
        let seen = inner.see(key.as_str(), heard, self.facts.size).await;
        if seen.is_err()
            && let Some(now) = look(inner, key, "put").await?
            && now.attempt() == Some(self.attempt)
            && let Err(fault) = inner.delete_one(key.as_str(), "").await
        {
            tracing::warn!(%key, %fault, "an object with damaged bytes is left");
        }
        seen
    }

    /// What the outcome of a write means, where that takes a look: something is there, or nobody knows.
    async fn settle(&self, fault: Option<&Fault>) -> Result<Settled<Box<Seen>>> {
        let Some(fault) = fault.filter(|fault| fault.leaves_in_doubt()) else {
            return Ok(Settled::AsTold);
        };
        match look(self.inner, self.key, "put").await? {
            Some(seen) if seen.attempt() == Some(self.attempt) => Ok(Settled::Ours(Box::new(seen))),
            // Another write lost, too, or was deleted meanwhile.
            None if fault.is_taken() && self.guard.is_absent() => Ok(Settled::Anew),
            _ if fault.is_taken() && !self.guard.is_none() => Err(unfulfilled(self.key)),
            _ => Ok(Settled::AsTold),
        }
    }

    fn fail(&self, fault: Fault) -> crate::Error {
        self.inner.fail(fault, "put", self.key.as_str())
    }
}

/// As many pieces as one object may be made of: where there are more, those of each part become one first.
pub(super) async fn few_enough(
    inner: &Inner,
    folder: &str,
    parts: Vec<Vec<Piece>>,
    budget: &Budget,
) -> Result<Vec<Piece>> {
    if !are_too_many(&parts, MAX_PARTS as usize) {
        return Ok(parts.into_iter().flatten().collect());
    }
    let mut few = Vec::with_capacity(parts.len());
    for (at, pieces) in parts.into_iter().enumerate() {
        if pieces.len() < 2 {
            few.extend(pieces);
            continue;
        }
        let size = pieces.iter().map(Piece::size).sum();
        let key = format!("{folder}joined-{at:05}");
        let whole = Whole {
            key: &key,
            headers: &HeaderMap::new(),
            condition: None,
            crc64: None,
            folder,
        };
        let made = inner.compose(&whole, pieces, budget).await;
        made.map_err(|fault| inner.fail(fault, "complete", &key))?;
        few.push(Piece::whole(key, size));
    }
    Ok(few)
}

fn are_too_many(parts: &[Vec<Piece>], most: usize) -> bool {
    parts.iter().map(Vec::len).sum::<usize>() > most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined_only_where_an_object_cannot_have_as_many() {
        let part = |pieces| vec![Piece::whole("p".to_owned(), 1); pieces];
        assert!(!are_too_many(&[part(5), part(5)], 10));
        assert!(are_too_many(&[part(5), part(6)], 10));
        assert!(!are_too_many(&[], 10));
    }
}
