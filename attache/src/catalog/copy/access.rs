//! Who may do what: keys, tokens, access keys and ended sessions go over whole; there are few of them.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use crate::access::access_keys::{AccessKeyId, SealedAccessKey};
use crate::access::tokens::{StoredToken, TokenId};
use crate::catalog::bulk::Bulk;
use crate::error::{Error, ErrorKind, Result};

/// Nothing is written into a target that holds something else than a copy of this source.
pub(super) async fn refuse_foreign(source: &dyn Bulk, target: &dyn Bulk) -> Result<()> {
    if let Some(id) = target.row_of_its_own().await? {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "the target has attachments or uploads of its own, such as \"{id}\": a server has worked on it. Nothing was changed; \
             name an empty database"
            ),
        ));
    }
    let ours: BTreeMap<String, Vec<u8>> = source.all().await?.into_iter().collect();
    let theirs = target.all().await?;
    let differs = theirs.iter().any(|(name, key)| ours.get(name) != Some(key));
    let is_copy = !theirs.is_empty() && !differs;
    // A key alone is what a server or `attache check` makes that has looked at an empty database.
    let holds_something = !target.tokens().await?.is_empty()
        || !target.access_keys().await?.is_empty()
        || !target.rows(None, 1).await?.is_empty();
    if holds_something && !is_copy {
        return Err(Error::new(
            ErrorKind::Conflict,
            "the target has tokens, access keys or attachments, and its keys are not those of the source: it is another catalog, or the copy of \
             another one, or the source has got new keys since. Nothing was changed; name an empty database",
        ));
    }
    Ok(())
}

/// Sealed as they are: whoever opens the target needs the same key file.
pub(super) async fn keys(source: &dyn Bulk, target: &dyn Bulk) -> Result<()> {
    let mut theirs: BTreeMap<String, Vec<u8>> = target.all().await?.into_iter().collect();
    for (name, key) in source.all().await? {
        let old = theirs.remove(&name);
        if old.as_ref() != Some(&key) {
            target.swap(&name, old, key).await?;
        }
    }
    Ok(())
}

pub(super) async fn tokens(source: &dyn Bulk, target: &dyn Bulk) -> Result<()> {
    let mut theirs = by_id(target.tokens().await?);
    let mut used = Vec::new();
    let mut missing = Vec::new();
    for ours in source.tokens().await? {
        let last_used = ours.token.last_used;
        let known = theirs.remove(&ours.token.id);
        if let Some(known) = &known
            && is_same(known, &ours)
        {
            if let Some(at) = last_used.filter(|_| known.token.last_used != last_used) {
                used.push((ours.token.id, at.unix_timestamp()));
            }
            continue;
        }
        if known.is_some() {
            target.revoke(&ours.token.id).await?;
        }
        missing.push(ours);
    }
    // Those that were revoked at the source, and first, because there is a limit to how many there are.
    for id in theirs.keys() {
        target.revoke(id).await?;
    }
    for token in &missing {
        target.insert(token).await?;
    }
    target.note_used(used).await
}

/// With their secrets as sealed as they are.
pub(super) async fn access_keys(source: &dyn Bulk, target: &dyn Bulk) -> Result<()> {
    let theirs = target.access_keys().await?.into_iter();
    let mut theirs: BTreeMap<AccessKeyId, SealedAccessKey> =
        theirs.map(|kept| (kept.key.id.clone(), kept)).collect();
    let mut missing = Vec::new();
    for ours in source.access_keys().await? {
        match theirs.remove(&ours.key.id) {
            Some(known) if known == ours => {}
            Some(_) => {
                target.revoke_access_key(&ours.key.id).await?;
                missing.push(ours);
            }
            None => missing.push(ours),
        }
    }
    // Those that were revoked at the source, and first: there is a limit to how many have one name.
    for id in theirs.keys() {
        target.revoke_access_key(id).await?;
    }
    for key in &missing {
        target.insert_access_key(key).await?;
    }
    Ok(())
}

pub(super) async fn sessions(source: &dyn Bulk, target: &dyn Bulk) -> Result<()> {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let known = target.session_ends().await?;
    let mut ended = source.session_ends().await?;
    ended.retain(|session| session.1 > now && !known.contains(session));
    match ended.is_empty() {
        true => Ok(()),
        false => target.end_sessions(ended).await,
    }
}

fn by_id(tokens: Vec<StoredToken>) -> BTreeMap<TokenId, StoredToken> {
    let each = tokens.into_iter();
    each.map(|stored| (stored.token.id.clone(), stored))
        .collect()
}

/// Whether two say the same apart from their last use.
fn is_same(one: &StoredToken, other: &StoredToken) -> bool {
    let mut one = one.clone();
    one.token.last_used = other.token.last_used;
    one == *other
}
