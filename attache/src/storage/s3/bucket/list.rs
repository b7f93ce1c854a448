//! Listings: the store's pages become ours, without the pieces of uploads.
//!
//! Pages go on by their last key, which every store takes (`start-after`). What a page does not tell, the entity tag of an object that was
//! made of parts, takes a request for each such object.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::super::inner::Inner;
use super::super::list::CONCURRENCY;
use super::name::UPLOADS;
use super::page::{Asked, Listed, page};
use super::seen::look;
use crate::attachment::Hex;
use crate::error::Result;
use crate::storage::bucket::{After, Entry, Key, ListPage, ListRequest, Properties, Version};

/// Greater than every character that a key may go on with.
const LAST: char = char::MAX;

pub(super) async fn list(inner: &Inner, request: &ListRequest) -> Result<ListPage> {
    let fail = |fault| inner.fail(fault, "list", &inner.place.bucket);
    let mut found: Vec<Found> = Vec::new();
    let mut after = start(request);
    let mut token: Option<String> = None;
    let more = 'pages: loop {
        let asked = Asked {
            prefix: &request.prefix,
            delimiter: request.delimiter.as_deref(),
            after: after.as_deref(),
            token: token.as_deref(),
            most: request.limit - found.len(),
        };
        let listed = page(inner, &asked).await.map_err(fail)?;
        let mut names: Vec<Found> = listed.objects.into_iter().map(Found::Object).collect();
        names.extend(listed.prefixes.into_iter().map(Found::Prefix));
        names.sort_unstable_by(|one, next| one.text().cmp(next.text()));
        // A page that goes on among pieces, and not behind them.
        let among = names
            .last()
            .is_some_and(|last| last.text().starts_with(UPLOADS));
        for name in names {
            if name.text().starts_with(UPLOADS) {
                continue;
            }
            if !is_wanted(request, &name) || !is_there(inner, request, &name).await? {
                continue;
            }
            if found.len() == request.limit {
                break 'pages true;
            }
            found.push(name);
        }
        token = listed.next;
        if token.is_none() {
            break false;
        }
        if found.len() == request.limit {
            break goes_on(inner, request, &found).await?;
        }
        if among {
            // As many as there may be of them, in one step.
            (after, token) = (Some(format!("{UPLOADS}{LAST}")), None);
        }
    };
    let last = found.last().map(|last| last.text().to_owned());
    let next = last.filter(|_| more).map(|key| After { key, token: None });
    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
    for name in found {
        match name {
            Found::Object(object) => objects.push(object),
            Found::Prefix(prefix) => prefixes.push(prefix),
        }
    }
    let entries: Vec<Option<Entry>> = stream::iter(objects)
        .map(|object| entry(inner, object))
        .buffered(CONCURRENCY)
        .try_collect()
        .await?;
    Ok(ListPage {
        entries: entries.into_iter().flatten().collect(),
        prefixes,
        next,
    })
}

/// What a page has under a name.
enum Found {
    Object(Listed),
    Prefix(String),
}

impl Found {
    fn text(&self) -> &str {
        match self {
            Self::Object(object) => &object.key,
            Self::Prefix(prefix) => prefix,
        }
    }
}

/// Behind which the store begins: all that a common prefix stands for is behind it.
fn start(request: &ListRequest) -> Option<String> {
    let after = &request.after.as_ref()?.key;
    match request.common_prefix(after) == Some(after) {
        true => Some(format!("{after}{LAST}")),
        false => Some(after.clone()),
    }
}

/// Whether a name follows what was listed before: some stores ignore where a list is to begin.
fn is_wanted(request: &ListRequest, name: &Found) -> bool {
    match name {
        Found::Object(object) => object.key.parse().is_ok_and(|key| request.wants(&key)),
        Found::Prefix(prefix) => request.after.as_ref().is_none_or(|after| {
            // Of what the last key is below, some may follow.
            *prefix > after.key || (after.key.starts_with(prefix) && after.key != *prefix)
        }),
    }
}

/// Whether a common prefix stands for anything but pieces of uploads.
async fn is_there(inner: &Inner, request: &ListRequest, name: &Found) -> Result<bool> {
    match name {
        Found::Prefix(prefix) if UPLOADS.starts_with(prefix.as_str()) => {
            is_any(inner, prefix, request.after.clone()).await
        }
        _ => Ok(true),
    }
}

/// Whether anything for clients follows a full page, of which the store says that it is not the last.
async fn goes_on(inner: &Inner, request: &ListRequest, found: &[Found]) -> Result<bool> {
    let last = found.last().map(Found::text).unwrap_or_default();
    let prefix = request.prefix.as_str();
    let among = UPLOADS.starts_with(prefix) || prefix.starts_with(UPLOADS);
    if !among || last > UPLOADS {
        return Ok(true);
    }
    let mut key = last.to_owned();
    if request.common_prefix(last) == Some(last) {
        key.push(LAST);
    }
    is_any(inner, prefix, Some(After { key, token: None })).await
}

/// Whether anything that clients see has this prefix. Boxed, since a listing may look into one.
fn is_any<'a>(inner: &'a Inner, prefix: &str, after: Option<After>) -> BoxFuture<'a, Result<bool>> {
    let request = ListRequest {
        prefix: prefix.to_owned(),
        delimiter: None,
        after,
        limit: 1,
    };
    let listed = async move { list(inner, &request).await };
    listed.map(|page| Ok(!page?.entries.is_empty())).boxed()
}

/// The object; `None` if it is gone meanwhile.
async fn entry(inner: &Inner, object: Listed) -> Result<Option<Entry>> {
    let Ok(key) = object.key.parse::<Key>() else {
        return Ok(None);
    };
    // The tag of bytes that came at once is their MD5, and attache's is the same. No bytes may have come in parts.
    let is_md5 = object.tag.parse::<Hex<16>>().is_ok();
    let archived = matches!(object.class.as_str(), "GLACIER" | "DEEP_ARCHIVE");
    if !is_md5 || object.size == 0 || archived {
        let seen = look(inner, &key, "list").await?;
        return Ok(seen.map(|seen| seen.entry(&key)));
    }
    Ok(Some(Entry {
        key,
        size: object.size,
        etag: object.tag,
        modified: object.modified,
        properties: Properties::default(),
        checksum: None,
        crc64: None,
        version: Version(String::new()),
        archived: false,
    }))
}
