//! The tokens that a server holds in memory, so that a request costs no I/O.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;

use super::caller::Caller;
use super::session::Ended;
use super::token::{Token, TokenId, hash};

/// A token and the hash of its whole text.
pub(super) struct Kept {
    pub(super) hash: [u8; 32],
    pub(super) token: Token,
    pub(super) caller: Caller,
}

/// What was last loaded, and what was used since.
#[derive(Default)]
pub(super) struct Known {
    tokens: ArcSwap<HashMap<TokenId, Kept>>,
    /// Sessions that somebody signed out of, until they would have ended by themselves.
    ended: ArcSwap<HashSet<[u8; 32]>>,
    /// Those used since it was last noted.
    used: Mutex<HashMap<TokenId, i64>>,
}

impl Known {
    /// Puts what was loaded in the place of what was known.
    pub(super) fn replace(&self, tokens: HashMap<TokenId, Kept>, ended: HashSet<[u8; 32]>) {
        self.ended.store(Arc::new(ended));
        self.tokens.store(Arc::new(tokens));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.load().is_empty()
    }

    /// Oldest first.
    pub(super) fn list(&self) -> Vec<Token> {
        let known = self.tokens.load();
        let mut tokens: Vec<Token> = known.values().map(|kept| kept.token.clone()).collect();
        tokens.sort_by(|a, b| (a.created_at, &a.id.0).cmp(&(b.created_at, &b.id.0)));
        tokens
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

    /// Whether any was used since the last [`take_used`](Self::take_used).
    pub(super) fn has_used(&self) -> bool {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        !used.is_empty()
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
