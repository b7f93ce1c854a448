//! Signing in on the page: a token is exchanged for a cookie that scripts cannot read and other sites cannot send.
//!
//! The cookie names the token and an end, with a proof by the server's own key. It holds no secret of the token, ends
//! with it when it is revoked, and survives a restart.

use std::time::Duration;

use attache::links::LinkKey;
use time::OffsetDateTime;

use super::tokens::TokenId;

/// Longest session: a working day.
const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

const NAME: &str = "attache_session";

const PURPOSE: &str = "session v1";

/// The value of `Set-Cookie` for somebody who proved this token (RFC 6265).
pub(crate) fn cookie(key: &LinkKey, id: &TokenId, secure: bool) -> String {
    let expires = (OffsetDateTime::now_utc() + LIFETIME).unix_timestamp();
    let text = format!("{id}.{expires}");
    let proof = key.prove(PURPOSE, &text);
    format!(
        "{NAME}={text}.{proof}; {}; Max-Age={}",
        attributes(secure),
        LIFETIME.as_secs()
    )
}

/// The value of `Set-Cookie` that ends a session.
pub(crate) fn no_cookie(secure: bool) -> String {
    format!("{NAME}=; {}; Max-Age=0", attributes(secure))
}

fn attributes(secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("Path=/; HttpOnly; SameSite=Strict{secure}")
}

/// The session among the cookies of a request.
pub(super) fn find<'a>(lines: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    lines
        .flat_map(|line| line.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(name, _)| *name == NAME)
        .map(|(_, value)| value)
}

/// The token that a session stands for, if the proof is ours and it has not ended.
pub(super) fn open(key: &LinkKey, session: &str) -> Option<TokenId> {
    let (text, proof) = session.rsplit_once('.')?;
    if !key.proves(PURPOSE, text, proof) {
        return None;
    }
    let (id, expires) = text.split_once('.')?;
    let expires: i64 = expires.parse().ok()?;
    (expires > OffsetDateTime::now_utc().unix_timestamp())
        .then(|| id.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_opens_with_its_key_and_as_it_was_made_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = LinkKey::open(folder.path()).expect("a key");
        let id = TokenId::generate();
        let set = cookie(&key, &id, true);
        let value = set.split(';').next().expect("a cookie");
        let found = find([format!("a=b; {value}; c=d").as_str()].into_iter()).map(str::to_owned);
        let session = found.expect("found");
        assert_eq!(open(&key, &session), Some(id));
        for n in 0..session.len() {
            let mut changed = session.clone().into_bytes();
            changed[n] = if changed[n] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(open(&key, &changed), None, "byte {n}");
        }
        let elsewhere = tempfile::tempdir().expect("a folder");
        let other = LinkKey::open(elsewhere.path()).expect("a key");
        assert_eq!(open(&other, &session), None);
        let past = format!("{}.1", TokenId::generate());
        let proof = key.prove(PURPOSE, &past);
        assert_eq!(open(&key, &format!("{past}.{proof}")), None, "it has ended");
    }
}
