//! Sealing: what is secret in the catalog can be read with `secrets.key_file` only, wherever the catalog or a copy of it goes.

use std::fmt;
use std::path::PathBuf;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::keys::SigningKey;
use crate::error::{Error, ErrorKind, Result};

/// Seals values, and opens them, with the key of `secrets.key_file`: AES-256-GCM. Does not print, and its memory is cleared
/// when it is dropped.
pub struct Sealer {
    key: SigningKey,
    file: PathBuf,
}

impl Sealer {
    /// Seals with `key`, which is that of `file`: errors name it.
    pub fn new(key: SigningKey, file: PathBuf) -> Self {
        Self { key, file }
    }

    /// Seals `plain`. `name` says what it is, with its kind: `signing_key:links`. The value opens under this name only, so that
    /// nobody who writes to the catalog puts it in another's place.
    ///
    /// What comes out is [`OVERHEAD`] bytes longer, and another one each time: a version, a random nonce of 96 bits, the
    /// ciphertext, a tag of 128 bits. Random nonces are good for 2³² values of one key (NIST SP 800-38D, section 8.3).
    pub fn seal(&self, name: &str, plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut text = Zeroizing::new(plain.to_vec());
        let tag = self
            .cipher()
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(name.as_bytes()),
                &mut text,
            )
            .expect("AES-GCM takes texts of 64 GiB, and a secret is shorter");
        let mut sealed = Vec::with_capacity(OVERHEAD + plain.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&text);
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Opens what was sealed under `name`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`], naming `secrets.key_file`: it was sealed with the key of another file, or under another
    /// name, or is damaged, which look alike; or it is of a newer version of attache.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        match sealed.split_first() {
            Some((&VERSION, rest)) => self.open_first(name, rest),
            Some((version, _)) if *version > VERSION => Err(Error::new(
                ErrorKind::Misconfigured,
                format!(
                    "{name} in the catalog was sealed by a newer version of attache (version {version}, and this one knows \
                     {VERSION}); use that one"
                ),
            )),
            _ => Err(self.sealed_otherwise(name)),
        }
    }

    fn open_first(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let parts = sealed.split_first_chunk::<NONCE_LEN>();
        let (nonce, text) = parts.ok_or_else(|| self.sealed_otherwise(name))?;
        let mut text = Zeroizing::new(text.to_vec());
        let length = self
            .cipher()
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(name.as_bytes()),
                &mut text,
            )
            .map_err(|_| self.sealed_otherwise(name))?
            .len();
        text.truncate(length);
        Ok(text)
    }

    /// Made each time: ring's keys stay in memory that is not cleared.
    fn cipher(&self) -> LessSafeKey {
        let key = UnboundKey::new(&AES_256_GCM, &*self.key).expect("a key of 32 bytes");
        LessSafeKey::new(key)
    }

    fn sealed_otherwise(&self, name: &str) -> Error {
        Error::new(
            ErrorKind::Misconfigured,
            format!(
                "{name} in the catalog was sealed with another secrets.key_file than {}; all processes of one catalog need the \
                 same file: copy it from where the others have it, or from a backup",
                self.file.display()
            ),
        )
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer([redacted])")
    }
}

/// Bytes that a sealed value is longer than the value.
pub const OVERHEAD: usize = 1 + NONCE_LEN + 16;

/// The first byte of what is sealed.
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(byte: u8) -> Sealer {
        Sealer::new(Zeroizing::new([byte; 32]), PathBuf::from("a/secrets.key"))
    }

    #[test]
    fn what_is_sealed_opens_under_its_name_and_with_its_key_only() {
        for plain in [&b""[..], b"hunter2", &[7; 4096]] {
            let sealed = sealer(1).seal("signing_key:links", plain);
            assert_eq!(sealed.len(), plain.len() + OVERHEAD);
            let opened = sealer(1).open("signing_key:links", &sealed);
            assert_eq!(opened.expect("opens").as_slice(), plain);
            for (byte, name) in [(2, "signing_key:links"), (1, "signing_key:other"), (1, "")] {
                let error = sealer(byte).open(name, &sealed).expect_err("another");
                assert_eq!(error.kind(), ErrorKind::Misconfigured);
                for word in ["secrets.key_file", "a/secrets.key"] {
                    assert!(error.to_string().contains(word), "{error}");
                }
            }
        }
    }

    #[test]
    fn what_was_changed_or_cut_or_is_newer_is_refused() {
        let sealer = sealer(1);
        let sealed = sealer.seal("a", b"hunter2");
        for place in 1..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(sealer.open("a", &changed).is_err(), "{place}");
            assert!(sealer.open("a", &sealed[..place]).is_err(), "{place}");
        }
        assert!(sealer.open("a", &[]).is_err());
        let mut newer = sealed;
        newer[0] = 2;
        let error = sealer.open("a", &newer).expect_err("newer").to_string();
        assert!(error.contains("newer version"), "{error}");
    }

    #[test]
    fn no_two_sealed_values_are_alike_and_none_shows_what_is_in_it() {
        let (sealer, plain) = (sealer(1), [9; 32]);
        let (one, two) = (sealer.seal("a", &plain), sealer.seal("a", &plain));
        assert_ne!(one, two);
        assert!(!one.windows(4).any(|part| part == &plain[..4]));
    }

    #[test]
    fn a_sealer_does_not_print() {
        assert_eq!(format!("{:?}", sealer(171)), "Sealer([redacted])");
    }
}
