//! Listings: the service's pages become ours.
//!
//! The order is that of the names of blobs, byte by byte: that of the keys, but for keys with escapes (see `name`). Accounts with a
//! hierarchical namespace list folder by folder, where `a/b` comes before `a-b`; their pages go on by the service's marker all the same.

use std::sync::{Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::super::inner::Inner;
use super::name::{decode, encode, encode_prefix, key_of};
use super::page::{Ask, MOST_NAMES, Name, Page, page};
use crate::bounded::Bounded;
use crate::error::Result;
use crate::storage::bucket::{After, Entry, ListPage, ListRequest};

/// Ends of pages that are remembered, of about three kilobytes each at most.
const REMEMBERED: usize = 1024;

/// Where pages ended that were given out, by prefix, delimiter and last key: some clients name that key alone, and the service must then
/// list again all that is before it.
pub(super) struct Ends(Mutex<Bounded<End, String>>);

/// Prefix, delimiter, and the last key of a page.
type End = (String, Option<String>, String);

impl Ends {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Bounded::new(REMEMBERED)))
    }

    fn at(&self, request: &ListRequest, key: &str) -> Option<String> {
        let at = (
            request.prefix.clone(),
            request.delimiter.clone(),
            key.to_owned(),
        );
        let ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ends.get(&at).cloned()
    }

    fn note(&self, request: &ListRequest, end: &After) {
        if let Some(token) = &end.token {
            let at = (
                request.prefix.clone(),
                request.delimiter.clone(),
                end.key.clone(),
            );
            let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            ends.insert(at, token.clone());
        }
    }
}

pub(super) async fn list(inner: &Inner, ends: &Ends, request: &ListRequest) -> Result<ListPage> {
    let mut listing = Listing::of(request);
    let known = request.after.as_ref().and_then(|after| {
        let token = after.token.clone();
        token.or_else(|| ends.at(request, &after.key))
    });
    // Without the service's marker, all that is before is read and left out.
    let mut skipping = request.after.is_some() && known.is_none();
    let mut marker = known;
    loop {
        let left = request.limit.saturating_sub(listing.count());
        let most = if skipping { MOST_NAMES } else { left };
        let ask = listing.ask(marker.as_deref(), most);
        let read = page(inner, &ask).await?;
        let (all, next) = (read.names.len(), read.next);
        let mut taken = 0;
        for name in read.names {
            let behind = !skipping || listing.is_behind(inner, ends, &name).await?;
            if behind && !listing.take(name) {
                break;
            }
            taken += 1;
        }
        if taken < all {
            // Only a page that skipped may have more than was wanted: asked for what was taken of it alone, the service says where
            // that ends.
            let end = page(inner, &listing.ask(marker.as_deref(), taken)).await?;
            return Ok(listing.end(ends, end.next, true));
        }
        if let Some(next) = &next
            && listing.count() >= request.limit
        {
            let more = !listing.is_loose() || listing.goes_on(inner, next).await?;
            return Ok(listing.end(ends, Some(next.clone()), more));
        }
        if next.is_none() {
            return Ok(listing.end(ends, None, false));
        }
        skipping = skipping && listing.count() == 0;
        marker = next;
    }
}

/// Whether a listing has anything. Boxed, since a listing may look into one.
fn is_any<'a>(
    inner: &'a Inner,
    ends: &'a Ends,
    request: ListRequest,
) -> BoxFuture<'a, Result<bool>> {
    let listed = async move { list(inner, ends, &request).await };
    listed.map(|page| Ok(!page?.entries.is_empty())).boxed()
}

/// A page of ours as it fills.
struct Listing<'a> {
    request: &'a ListRequest,
    prefix: String,
    /// What the service folds by: other delimiters than `/` may be in escapes of names.
    delimiter: Option<&'a str>,
    /// The name of what was listed before.
    after: Option<String>,
    /// What was listed last.
    last: Option<String>,
    page: ListPage,
}

/// What a name of the service is to us.
enum Found {
    Object(Box<Entry>),
    Prefix(String),
}

impl<'a> Listing<'a> {
    fn of(request: &'a ListRequest) -> Self {
        Self {
            prefix: encode_prefix(&request.prefix),
            delimiter: request.delimiter.as_deref().filter(|text| *text == "/"),
            after: request.after.as_ref().map(|after| encode(&after.key)),
            last: request.after.as_ref().map(|after| after.key.clone()),
            page: ListPage::default(),
            request,
        }
    }

    fn ask<'b>(&'b self, marker: Option<&'b str>, most: usize) -> Ask<'b> {
        Ask {
            prefix: &self.prefix,
            delimiter: self.delimiter,
            marker,
            most,
        }
    }

    fn count(&self) -> usize {
        self.page.entries.len() + self.page.prefixes.len()
    }

    /// Whether the service may have names that are nothing to us.
    fn is_loose(&self) -> bool {
        self.request.delimiter.as_deref() != self.delimiter
            || self.prefix != encode(&self.request.prefix)
    }

    /// Whether a name follows what was listed before.
    async fn is_behind(&self, inner: &Inner, ends: &Ends, name: &Name) -> Result<bool> {
        let Some(after) = &self.after else {
            return Ok(true);
        };
        match name {
            Name::Blob(name, _) => Ok(name > after),
            Name::Prefix(name) if after == name => Ok(false),
            // Some of what it stands for may be behind.
            Name::Prefix(name) if after.starts_with(name) => {
                let below = ListRequest {
                    prefix: decode(name),
                    delimiter: None,
                    after: self.request.after.clone(),
                    limit: 1,
                };
                is_any(inner, ends, below).await
            }
            Name::Prefix(name) => Ok(name > after),
        }
    }

    /// What a name is to us, if anything, and was not listed.
    fn find(&self, name: Name) -> Option<Found> {
        let found = match name {
            Name::Prefix(name) => Found::Prefix(decode(&name)),
            Name::Blob(name, seen) => {
                // The name of another program may be one that no key has.
                let key = key_of(&name).filter(|key| encode(key.as_str()) == name)?;
                match self.request.common_prefix(key.as_str()) {
                    Some(prefix) => Found::Prefix(prefix.to_owned()),
                    None => Found::Object(Box::new(seen.entry(&key))),
                }
            }
        };
        let text = match &found {
            Found::Prefix(prefix) => prefix,
            Found::Object(entry) => entry.key.as_str(),
        };
        let is_new = self.last.as_deref() != Some(text);
        (is_new && text.starts_with(self.request.prefix.as_str())).then_some(found)
    }

    /// Takes a name up. `false` if the page is full, and it is not on it.
    fn take(&mut self, name: Name) -> bool {
        let Some(found) = self.find(name) else {
            return true;
        };
        if self.count() >= self.request.limit {
            return false;
        }
        match found {
            Found::Prefix(prefix) => {
                self.last = Some(prefix.clone());
                self.page.prefixes.push(prefix);
            }
            Found::Object(entry) => {
                self.last = Some(entry.key.to_string());
                self.page.entries.push(*entry);
            }
        }
        true
    }

    /// Whether anything for us follows.
    async fn goes_on(&self, inner: &Inner, marker: &str) -> Result<bool> {
        let mut marker = Some(marker.to_owned());
        while let Some(from) = marker {
            let Page { names, next } = page(inner, &self.ask(Some(&from), MOST_NAMES)).await?;
            if names.into_iter().any(|name| self.find(name).is_some()) {
                return Ok(true);
            }
            marker = next;
        }
        Ok(false)
    }

    /// The page, which ends at the service's `token`.
    fn end(mut self, ends: &Ends, token: Option<String>, more: bool) -> ListPage {
        if let Some(key) = self.last.take().filter(|_| more && self.count() > 0) {
            let end = After { key, token };
            ends.note(self.request, &end);
            self.page.next = Some(end);
        }
        self.page
    }
}
