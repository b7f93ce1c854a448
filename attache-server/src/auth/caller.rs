//! Somebody who is known, and what they may do.

use std::sync::Arc;

use attache::access::{Owners, Scope, Scopes};
use attache::attachment::{Hex, IdempotencyKey, Owner};
use attache::{Attachment, Error, ErrorKind, Result};
use sha2::{Digest as _, Sha256};

/// Somebody who is known.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// For people and logs: `token:ci`, `jwt:user-7`, `open`.
    pub(crate) name: Arc<str>,
    pub(crate) scopes: Scopes,
    pub(crate) owners: Owners,
}

/// The name of a caller that nobody asked for one.
const OPEN: &str = "open";

impl Caller {
    pub(super) fn anybody() -> Self {
        Self {
            name: OPEN.into(),
            scopes: Scopes::all(),
            owners: Owners::all(),
        }
    }

    /// Whether nobody proved anything, and nothing had to be proved.
    pub(crate) fn is_anybody(&self) -> bool {
        &*self.name == OPEN
    }

    /// # Errors
    ///
    /// [`ErrorKind::Forbidden`], naming the scope.
    pub(crate) fn need(&self, scope: Scope) -> Result<()> {
        if self.scopes.contain(scope) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Forbidden,
            format!("this needs the scope \"{}\"", scope.as_str()),
        ))
    }

    /// Whether it may know of what hangs on `owner`.
    pub(crate) fn sees(&self, owner: Option<&Owner>) -> bool {
        self.owners.contain(owner)
    }

    /// `found`, if it may know of it; otherwise the very error for what is not there.
    pub(crate) fn visible(&self, found: Result<Attachment>) -> Result<Attachment> {
        found.and_then(|attachment| match self.sees(attachment.owner.as_ref()) {
            true => Ok(attachment),
            false => Err(Error::not_found(attachment.id.as_str())),
        })
    }

    /// An idempotency key of this caller: what somebody else uploaded under the same words is none of its business.
    ///
    /// # Errors
    ///
    /// None, in truth: digits are a key.
    pub(crate) fn own(&self, key: &IdempotencyKey) -> Result<IdempotencyKey> {
        if self.is_anybody() {
            return Ok(key.clone());
        }
        let mut hash = Sha256::new();
        hash.update(self.name.as_bytes());
        hash.update([0]);
        hash.update(key.as_str().as_bytes());
        Hex::<32>(hash.finalize().into()).to_string().parse()
    }

    /// Whether it may hang an upload on `owner`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Forbidden`].
    pub(crate) fn may_write(&self, owner: Option<&Owner>) -> Result<()> {
        if self.sees(owner) {
            return Ok(());
        }
        let patterns: Vec<String> = self
            .owners
            .patterns()
            .iter()
            .map(ToString::to_string)
            .collect();
        Err(Error::new(
            ErrorKind::Forbidden,
            format!(
                "this token may not upload with this owner, or without one; it may for {}",
                match patterns.is_empty() {
                    true => "none".to_owned(),
                    false => patterns.join(", "),
                }
            ),
        ))
    }
}

/// Says no more than that: not whether it expired, was revoked, or never was.
pub(super) fn unknown() -> Error {
    Error::new(
        ErrorKind::Unauthorized,
        "this token is not known here, has expired, or was revoked; `attache token create` makes a new one",
    )
}
