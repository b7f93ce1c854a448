//! What is sent of an attachment besides its bytes.

use std::time::Duration;

use time::OffsetDateTime;

use super::lifetime::Lifetime;
use crate::attachment::Attachment;
use crate::attachment::filename::Disposition;
use crate::attachment::media::{self, Guarded};
use crate::storage::Grant;

/// What is sent of an attachment besides its bytes; the same in all ways of delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Representation {
    /// Length of the whole.
    pub size: u64,
    /// `Content-Type`
    pub content_type: String,
    /// `Content-Disposition`
    pub disposition: String,
    /// `ETag`
    pub entity_tag: String,
    /// `Last-Modified`
    pub last_modified: OffsetDateTime,
    /// `Content-Security-Policy`
    pub policy: &'static str,
}

impl Representation {
    /// How `attachment` is presented to somebody who asks for `asked`.
    pub fn new(
        attachment: &Attachment,
        asked: Disposition,
        inline_types: &[String],
        guarded: Guarded,
    ) -> Self {
        let served = media::serve(&attachment.content_type, asked, inline_types, guarded);
        Self {
            size: attachment.size,
            content_type: served.content_type,
            disposition: served.disposition.header(&attachment.filename),
            entity_tag: attachment.entity_tag(),
            last_modified: attachment.created_at,
            policy: served.policy,
        }
    }

    /// A grant for reading it elsewhere.
    pub(crate) fn grant(&self, lifetime: Lifetime) -> Grant {
        let Lifetime { longest, step, .. } = lifetime;
        Grant {
            lifetime: longest,
            step,
            disposition: self.disposition.clone(),
            content_type: self.content_type.clone(),
            // The whole lifetime and not what is left of it, so that the URL stays the same for whoever asks again.
            cache_control: Some(cache_control(Some(longest))),
        }
    }
}

/// The value of `Cache-Control` of an attachment, of its 304, and of nothing else.
///
/// `right_left` is how long the right by which somebody reads lasts, if it ends by itself: a temporary link's. An
/// attachment never changes under its id, so besides that it need never be asked for again (RFC 8246).
///
/// Always `private`: what one person may read is not for the next one who comes through the same cache. That holds for
/// `auth.mode = "open"` too, which listens on loopback only: whoever comes from outside comes through a web server that
/// may have asked who is there, and what it keeps for one it would give to all.
pub fn cache_control(right_left: Option<Duration>) -> String {
    let seconds = right_left.map_or(A_YEAR, |left| left.min(A_YEAR)).as_secs();
    format!("private, max-age={seconds}, immutable")
}

/// The longest `max-age` that means anything (RFC 9111 section 1.2.2 allows more; caches do not keep it).
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_of_one_person_keep_a_year_and_never_longer_than_the_right() {
        assert_eq!(cache_control(None), "private, max-age=31536000, immutable");
        let minute = Some(Duration::from_secs(60));
        assert_eq!(cache_control(minute), "private, max-age=60, immutable");
    }
}
