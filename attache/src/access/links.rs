//! attache's own temporary links, for stores that cannot sign URLs.
//!
//! A link is a path, an expiry and an HMAC-SHA256 over id, expiry and disposition.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use time::OffsetDateTime;

use super::keys::SigningKey;
use crate::attachment::AttachmentId;
use crate::attachment::filename::Disposition;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::SignedUrl;

/// Signs and checks links.
pub struct LinkKey(SigningKey);

/// A link's query: until when, and the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkProof {
    /// Seconds since 1970.
    pub expires: i64,
    /// HMAC, base64 for URLs.
    pub sig: String,
}

impl FromStr for LinkProof {
    type Err = Error;

    /// Reads the proof of a whole link.
    fn from_str(link: &str) -> Result<Self> {
        let wrong = || Error::bad_request("not a temporary link of attache");
        let (_, query) = link.split_once("?expires=").ok_or_else(wrong)?;
        let (expires, sig) = query.split_once("&sig=").ok_or_else(wrong)?;
        Ok(Self {
            expires: expires.parse().map_err(|_| wrong())?,
            sig: sig.to_owned(),
        })
    }
}

impl LinkKey {
    /// Signs with this key.
    pub fn new(key: SigningKey) -> Self {
        Self(key)
    }

    /// A link below `base` that works until `lifetime` from `now`, at most; the same for everybody who asks within
    /// half a lifetime.
    pub fn sign(
        &self,
        base: &str,
        id: &AttachmentId,
        disposition: Disposition,
        now: OffsetDateTime,
        lifetime: Duration,
    ) -> (SignedUrl, OffsetDateTime) {
        let expires_at = quantised_expiry(now, lifetime, lifetime / 2);
        let expires = expires_at.unix_timestamp();
        let sig =
            crate::base64::encode_url(self.mac(id, disposition, expires).finalize().into_bytes());
        let folder = match disposition {
            Disposition::Inline => "attachment",
            Disposition::Attachment => "download",
        };
        let url = format!("{base}/{folder}/{id}?expires={expires}&sig={sig}");
        (SignedUrl::new(url), expires_at)
    }

    /// Checks a link; in constant time where it matters.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Forbidden`] if it expired or was not made with this key for this attachment.
    pub fn check(
        &self,
        id: &AttachmentId,
        disposition: Disposition,
        proof: &LinkProof,
        now: OffsetDateTime,
    ) -> Result<()> {
        let refused = |what| Err(Error::new(ErrorKind::Forbidden, what));
        let Some(sig) = crate::base64::decode_url(&proof.sig) else {
            return refused("this link was changed; ask for a new one");
        };
        if self
            .mac(id, disposition, proof.expires)
            .verify_slice(&sig)
            .is_err()
        {
            return refused("this link was changed; ask for a new one");
        }
        if proof.expires <= now.unix_timestamp() {
            return refused("this link has expired; ask for a new one");
        }
        Ok(())
    }

    /// A proof over `text` that only this key can make. `purpose` keeps a proof of one kind from passing for another.
    pub fn prove(&self, purpose: &str, text: &str) -> String {
        crate::base64::encode_url(self.proof(purpose, text).finalize().into_bytes())
    }

    /// Whether `proof` is what [`prove`](Self::prove) made of the same; in constant time.
    pub fn proves(&self, purpose: &str, text: &str, proof: &str) -> bool {
        crate::base64::decode_url(proof)
            .is_some_and(|proof| self.proof(purpose, text).verify_slice(&proof).is_ok())
    }

    fn proof(&self, purpose: &str, text: &str) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&*self.0).expect("HMAC takes keys of any length");
        // Links are proofs of the purpose "link v1".
        mac.update(format!("attache {purpose}\n{text}").as_bytes());
        mac
    }

    fn mac(&self, id: &AttachmentId, disposition: Disposition, expires: i64) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&*self.0).expect("HMAC takes keys of any length");
        // An id holds no line end, so the fields cannot run into each other.
        mac.update(
            format!("attache link v1\n{id}\n{expires}\n{}", disposition.as_str()).as_bytes(),
        );
        mac
    }
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKey([redacted])")
    }
}

/// The end of a temporary URL's life: at most `lifetime` from now, more than `lifetime - step`, and the same moment for
/// everybody who asks within one step, so that the URL is the same to the byte and browsers can cache what it names.
pub(crate) fn quantised_expiry(
    now: OffsetDateTime,
    lifetime: Duration,
    step: Duration,
) -> OffsetDateTime {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 4);
    let (lifetime, step) = (seconds(lifetime), seconds(step).max(1));
    let latest = now.unix_timestamp() + lifetime;
    OffsetDateTime::from_unix_timestamp(latest - latest.rem_euclid(step)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-23 20:00:00 UTC);
    const LIFE: Duration = Duration::from_secs(120);

    #[test]
    fn a_link_opens_one_attachment_one_way_until_it_expires() {
        let key = LinkKey::new(crate::access::keys::generate());
        let id = AttachmentId::generate();
        let (url, expires_at) = key.sign("http://h", &id, Disposition::Inline, NOW, LIFE);
        let good: LinkProof = url.expose().parse().expect("a link");
        let check = |id: &AttachmentId, disposition, proof: &LinkProof, now| {
            key.check(id, disposition, proof, now)
                .map_err(|error| error.kind())
        };
        assert_eq!(check(&id, Disposition::Inline, &good, NOW), Ok(()));
        let refused = Err(ErrorKind::Forbidden);
        assert_eq!(
            check(&AttachmentId::generate(), Disposition::Inline, &good, NOW),
            refused
        );
        assert_eq!(check(&id, Disposition::Attachment, &good, NOW), refused);
        assert_eq!(check(&id, Disposition::Inline, &good, expires_at), refused);
        let later = LinkProof {
            expires: good.expires + 1,
            ..good.clone()
        };
        assert_eq!(check(&id, Disposition::Inline, &later, NOW), refused);
        for sig in ["", "AAAA", "not base64!"] {
            let forged = LinkProof {
                sig: sig.to_owned(),
                ..good.clone()
            };
            assert_eq!(
                check(&id, Disposition::Inline, &forged, NOW),
                refused,
                "{sig:?}"
            );
        }
    }

    #[test]
    fn expiry_is_the_same_within_half_a_lifetime_and_never_later_than_asked() {
        let mut distinct = std::collections::BTreeSet::new();
        for second in 0..600 {
            let now = NOW + Duration::from_secs(second);
            let life = quantised_expiry(now, LIFE, LIFE / 2) - now;
            assert!(life > LIFE / 2 && life <= LIFE, "{life} at {second}");
            distinct.insert(quantised_expiry(now, LIFE, LIFE / 2));
        }
        assert_eq!(distinct.len(), 10, "one URL per half lifetime");
    }
}
