//! The tokens that a server holds in memory, so that a request costs no I/O.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use attache::access::tokens::{StoredToken, Token, TokenId, hash};
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;

use super::caller::Caller;
use super::session::Ended;

/// A token, and the caller that it stands for.
#[derive(Debug)]
struct Kept {
    hash: [u8; 32],
    token: Token,
    caller: Caller,
}

/// What was last loaded, and what was used since.
#[derive(Debug, Default)]
pub(super) struct Known {
    tokens: ArcSwap<HashMap<TokenId, Kept>>,
    /// Sessions that somebody signed out of, until they would have ended by themselves.
    ended: ArcSwap<HashSet<[u8; 32]>>,
    /// Those used since it was last noted.
    used: Mutex<HashMap<TokenId, i64>>,
}

impl Known {
    /// Puts what was loaded in the place of what was known.
    pub(super) fn replace(&self, tokens: Vec<StoredToken>, ended: HashSet<[u8; 32]>) {
        let tokens = tokens.into_iter().map(|StoredToken { token, hash }| {
            let caller = Caller {
                name: format!("token:{}", token.name).into(),
                scopes: token.scopes,
                owners: token.owners.clone(),
            };
            let kept = Kept {
                hash,
                caller,
                token,
            };
            (kept.token.id.clone(), kept)
        });
        let tokens: HashMap<TokenId, Kept> = tokens.collect();
        self.ended.store(Arc::new(ended));
        self.tokens.store(Arc::new(tokens));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.load().is_empty()
    }

    /// Whether somebody signed out of this session.
    pub(super) fn has_ended(&self, (hash, _): &Ended) -> bool {
        self.ended.load().contains(hash)
    }

    /// Whose token this is. Takes as long for a wrong one as for a right one.
    pub(super) fn check(&self, text: &str) -> Option<Caller> {
        let id = TokenId::of(text)?;
        let given = hash(text);
        let known = self.tokens.load();
        let kept = known.get(&id);
        // An id that is not known is compared as well, with what no text hashes to.
        let expected = kept.map_or([0; 32], |kept| kept.hash);
        let equal: bool = expected.ct_eq(&given).into();
        kept.filter(|_| equal)?;
        self.find(&id)
    }

    /// The caller of a token that has not ended.
    pub(super) fn find(&self, id: &TokenId) -> Option<Caller> {
        let known = self.tokens.load();
        let kept = known.get(id)?;
        let now = OffsetDateTime::now_utc();
        if kept.token.expires_at.is_some_and(|end| end <= now) {
            return None;
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.insert(id.clone(), now.unix_timestamp());
        Some(kept.caller.clone())
    }

    /// Those used since the last time, and when.
    pub(super) fn take_used(&self) -> HashMap<TokenId, i64> {
        std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    /// A clock would show it only after thousands of tries, and differently on every machine; the source shows it at
    /// once.
    #[test]
    fn hashes_are_compared_in_constant_time_and_also_for_ids_that_are_not_known() {
        let source = include_str!("known.rs");
        let check = source.split("fn check(").nth(1).expect("there is one");
        let check = check.split("fn find(").next().expect("it ends");
        let compared = check.find("ct_eq(").expect("in constant time");
        let decided = check.find("filter(|_| equal)").expect("once");
        assert!(compared < decided && !check.contains("=="), "{check}");
        assert!(check[..compared].matches('?').count() <= 1);
    }
}
