//! What must hold of an object for a write, in the store's words.

use http::header::{HeaderName, HeaderValue};

use super::super::inner::Inner;
use super::seen::look;
use crate::error::{Error, Result};
use crate::storage::bucket::{Condition, Key, absent, unfulfilled};

/// Under which an object is made.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard {
    condition: Condition,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Guard {
    /// Looks at the object where the condition is about an entity tag of ours, which the store does not know.
    ///
    /// # Errors
    ///
    /// Those of [`Bucket::put`](crate::storage::bucket::Bucket::put), if it does not hold now.
    pub(super) async fn of(
        inner: &Inner,
        key: &Key,
        condition: &Condition,
        operation: &'static str,
    ) -> Result<Self> {
        let header = match condition {
            Condition::None => None,
            Condition::Absent => Some(inner.place.dialect.create_only()),
            Condition::Matches(etag) => {
                let seen = look(inner, key, operation).await?;
                let seen = seen.ok_or_else(|| absent(key))?;
                if seen.entry(key).etag != *etag {
                    return Err(unfulfilled(key));
                }
                let pinned = seen.pinned().cloned();
                let pinned = pinned.ok_or_else(|| Error::internal("the object has no version"))?;
                Some(pinned.condition)
            }
        };
        Ok(Self {
            condition: condition.clone(),
            header,
        })
    }

    /// Whether anything goes.
    pub(super) fn is_none(&self) -> bool {
        self.header.is_none()
    }

    /// Whether there must be no object.
    pub(super) fn is_absent(&self) -> bool {
        self.condition == Condition::Absent
    }

    /// What the request has, for a store that heeds it.
    pub(super) fn header(&self, inner: &Inner) -> Option<&(HeaderName, HeaderValue)> {
        self.header
            .as_ref()
            .filter(|_| inner.place.conditional_writes)
    }

    /// For a store that writes whatever it is told to: whether it holds now.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of); [`PreconditionFailed`](crate::ErrorKind::PreconditionFailed) if something is there.
    pub(super) async fn look_before(&self, inner: &Inner, key: &Key) -> Result<()> {
        if inner.place.conditional_writes || self.is_none() {
            return Ok(());
        }
        if self.is_absent() {
            let found = look(inner, key, "put").await?;
            return found.map_or(Ok(()), |_| Err(unfulfilled(key)));
        }
        Self::of(inner, key, &self.condition, "put").await.map(drop)
    }

    /// For such a store: whether what is there now is what `attempt` wrote.
    ///
    /// # Errors
    ///
    /// [`PreconditionFailed`](crate::ErrorKind::PreconditionFailed) if it is not.
    pub(super) async fn look_after(&self, inner: &Inner, key: &Key, attempt: &str) -> Result<()> {
        if inner.place.conditional_writes || self.is_none() {
            return Ok(());
        }
        match look(inner, key, "put").await? {
            Some(seen) if seen.attempt() == Some(attempt) => Ok(()),
            _ => Err(unfulfilled(key)),
        }
    }
}
