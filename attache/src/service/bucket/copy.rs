//! An object of one that is there: its bytes pass through us, checked, with bounded memory.

use super::BucketHandle;
use super::put::{Incoming, ObjectDigests};
use crate::attachment::ByteRange;
use crate::error::Result;
use crate::storage::bucket::{
    Condition, Entry, Key, NewObject, NewPart, Part, PartOf, Properties, unfulfilled,
};

impl BucketHandle {
    /// Copies `entry` of `source` to `key`, with other properties if there are any, if `condition` holds of what is there. Onto itself it
    /// changes its properties alone.
    ///
    /// Runs to its end in a task of its own, as [`put`](Self::put) does.
    ///
    /// # Errors
    ///
    /// [`PreconditionFailed`](crate::ErrorKind::PreconditionFailed) if the condition does not hold, or the source is another version by now;
    /// those of reading and [`put`](Self::put).
    pub async fn copy(
        &self,
        source: &Self,
        entry: &Entry,
        key: &Key,
        properties: Option<Properties>,
        condition: Condition,
    ) -> Result<Entry> {
        let properties = properties.unwrap_or_else(|| entry.properties.clone());
        if source.place == self.place && source.inner(&entry.key)? == self.inner(key)? {
            let holds = match &condition {
                Condition::None => true,
                Condition::Absent => false,
                Condition::Matches(etag) => *etag == entry.etag,
            };
            if !holds {
                return Err(unfulfilled(key));
            }
            return self.set_properties(key, &entry.version, &properties).await;
        }
        let (source, entry, key) = (source.clone(), entry.clone(), key.clone());
        self.received(move |this, passed| async move {
            let inner = this.inner(&key)?;
            let body = source.source(&entry.key, None, &entry.version).await?;
            let kind = entry.checksum.filter(|kept| kept.parts.is_none());
            let incoming = Incoming {
                size: Some(entry.size),
                digests: ObjectDigests {
                    checksum: kind.map(|kept| (kept.checksum.kind(), None)),
                    ..ObjectDigests::default()
                },
                inspected: None,
            };
            let body = this.incoming(body, incoming, passed)?;
            let new = NewObject {
                properties,
                size: Some(entry.size),
                blocks: this.parts.blocks(),
                condition,
            };
            let made = this.store.put(&inner, &new, body).await?;
            Ok(this.outer(made))
        })
        .await
    }

    /// Stores a range of `entry` of `source` as a part.
    ///
    /// # Errors
    ///
    /// As [`copy`](Self::copy).
    pub(super) async fn copy_part(
        &self,
        source: &Self,
        entry: &Entry,
        range: Option<ByteRange>,
        (key, state, number): (Key, String, u16),
        digests: ObjectDigests,
    ) -> Result<Part> {
        let (source, entry) = (source.clone(), entry.clone());
        self.received(move |this, passed| async move {
            let size = range.map_or(entry.size, |range| range.len());
            let body = source.source(&entry.key, range, &entry.version).await?;
            let incoming = Incoming {
                size: Some(size),
                digests,
                inspected: None,
            };
            let body = this.incoming(body, incoming, passed)?;
            let part = NewPart {
                number,
                size: Some(size),
                blocks: this.parts.blocks(),
            };
            let upload = PartOf {
                key: &key,
                upload: &state,
            };
            this.store.put_part(&upload, part, body).await
        })
        .await
    }
}
