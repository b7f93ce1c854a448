//! Signing in on the page: a token is exchanged for a cookie that scripts cannot read and other sites cannot send.
//!
//! The cookie names the token and an end, with a proof by the server's own key. It holds no secret of the token, ends
//! with it when it is revoked, and survives a restart.

use std::time::Duration;

use attache::access::links::LinkKey;
use attache::access::tokens::TokenId;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

/// Longest session: a working day.
const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

const NAME: &str = "attache_session";

/// Over https. Browsers take a cookie of this name from the host itself alone, and not from a neighbour of the same domain
/// (RFC 6265bis section 4.1.3.2).
const SECURE_NAME: &str = "__Host-attache_session";

const PURPOSE: &str = "session v2";

/// A session that was ended before its time: a hash of the cookie, and when it would have ended by itself.
pub(crate) type Ended = ([u8; 32], i64);

/// The value of `Set-Cookie` for somebody who proved this token (RFC 6265).
pub(crate) fn cookie(key: &LinkKey, id: &TokenId, secure: bool) -> String {
    let expires = (OffsetDateTime::now_utc() + LIFETIME).unix_timestamp();
    // So that no two sessions are the same, and one ends without the other.
    let nonce = u64::from_le_bytes(rand::random());
    let text = format!("{id}.{nonce:016x}.{expires}");
    let proof = key.prove(PURPOSE, &text);
    format!(
        "{}={text}.{proof}; {}; Max-Age={}",
        name(secure),
        attributes(secure),
        LIFETIME.as_secs()
    )
}

/// The value of `Set-Cookie` that ends a session.
pub(crate) fn no_cookie(secure: bool) -> String {
    format!("{}=; {}; Max-Age=0", name(secure), attributes(secure))
}

const fn name(secure: bool) -> &'static str {
    match secure {
        true => SECURE_NAME,
        false => NAME,
    }
}

fn attributes(secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("Path=/; HttpOnly; SameSite=Strict{secure}")
}

/// The session among the cookies of a request. Over https only the cookie that no neighbour can have set.
pub(super) fn find<'a>(lines: impl Iterator<Item = &'a str>, secure: bool) -> Option<&'a str> {
    let mut plain = None;
    for (name, value) in lines
        .flat_map(|line| line.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
    {
        match name {
            SECURE_NAME => return Some(value),
            NAME if !secure => plain = plain.or(Some(value)),
            _ => {}
        }
    }
    plain
}

/// The token that a session stands for, if the proof is ours and it has not come to its end; and what would end it.
pub(super) fn open(key: &LinkKey, session: &str) -> Option<(TokenId, Ended)> {
    let (text, proof) = session.rsplit_once('.')?;
    if !key.proves(PURPOSE, text, proof) {
        return None;
    }
    let (rest, expires) = text.rsplit_once('.')?;
    let (id, _nonce) = rest.split_once('.')?;
    let expires: i64 = expires.parse().ok()?;
    if expires <= OffsetDateTime::now_utc().unix_timestamp() {
        return None;
    }
    Some((id.parse().ok()?, (Sha256::digest(session).into(), expires)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_opens_with_its_key_and_as_it_was_made_only() {
        let key = LinkKey::new(attache::access::keys::generate());
        let id = TokenId::generate();
        let set = cookie(&key, &id, true);
        let value = set.split(';').next().expect("a cookie");
        let found =
            find([format!("a=b; {value}; c=d").as_str()].into_iter(), true).map(str::to_owned);
        let session = found.expect("found");
        assert_eq!(open(&key, &session).map(|(id, _)| id), Some(id));
        assert!(value.starts_with("__Host-") && set.contains("; Secure"));
        assert!(cookie(&key, &TokenId::generate(), false).starts_with("attache_session="));
        for n in 0..session.len() {
            let mut changed = session.clone().into_bytes();
            changed[n] = if changed[n] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(open(&key, &changed), None, "byte {n}");
        }
        let other = LinkKey::new(attache::access::keys::generate());
        assert_eq!(open(&other, &session), None);
        let past = format!("{}.0.1", TokenId::generate());
        let proof = key.prove(PURPOSE, &past);
        assert_eq!(open(&key, &format!("{past}.{proof}")), None, "it has ended");
    }
}
