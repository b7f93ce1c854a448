//! What all connections share.

use std::sync::{Arc, Mutex, OnceLock};

use stand_in::content::Retention;
use stand_in::scene::Scene;
use stand_in::wire::{hmac_sha256, iso_seconds};
use time::OffsetDateTime;

use crate::counts::Tally;
use crate::faults::Service;
use crate::op::Op;
use crate::state::Store;

/// The account, its directory, and the books.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) account: String,
    pub(crate) account_key: Vec<u8>,
    pub(crate) tenant_id: String,
    pub(crate) client_id: String,
    pub(crate) object_id: String,
    pub(crate) retention: Retention,
    pub(crate) store: Mutex<Store>,
    pub(crate) scene: Arc<Scene<Op, Service>>,
    pub(crate) tally: Tally,
    pub(crate) directory: Mutex<Directory>,
    pub(crate) authority_host: OnceLock<String>,
    pub(crate) signing_key: [u8; 32],
}

/// Who may have tokens, and which tokens still count.
#[derive(Debug)]
pub(crate) struct Directory {
    /// Every secret that was ever valid.
    pub(crate) secrets: Vec<String>,
    pub(crate) last_serial: u64,
    /// Tokens up to this serial number are refused.
    pub(crate) revoked_through: u64,
    /// What is issued for a PostgreSQL database, if anything is.
    pub(crate) database_token: Option<String>,
    /// Delegation keys of earlier generations sign nothing any more.
    pub(crate) key_generation: u64,
}

impl Core {
    pub(crate) fn store<T>(&self, with: impl FnOnce(&mut Store) -> T) -> T {
        with(&mut self.store.lock().expect("no holder of this lock panics"))
    }

    pub(crate) fn directory<T>(&self, with: impl FnOnce(&mut Directory) -> T) -> T {
        with(
            &mut self
                .directory
                .lock()
                .expect("no holder of this lock panics"),
        )
    }

    /// The secret of a user delegation key. It follows from the key's own fields, so nothing is stored
    /// and a key that was never asked for cannot be told from one that was, as with the service.
    pub(crate) fn delegation_key(&self, key: &KeyFields<'_>) -> Vec<u8> {
        let generation = self.directory(|d| d.key_generation);
        let text = format!(
            "{generation}\n{}\n{}\n{}\n{}\n{}\n{}",
            key.oid, key.tid, key.start, key.expiry, key.service, key.version
        );
        hmac_sha256(&self.signing_key, &text)
    }

    /// A token of the directory, good from now for `lifetime`; its serial number is in `uti`.
    pub(crate) fn issue_token(self: &Arc<Self>, audience: &str) -> (String, u64, OffsetDateTime) {
        let lifetime = self.scene.faults(|f| f.token_lifetime);
        let now = OffsetDateTime::now_utc();
        let expiry = now + lifetime;
        let serial = self.directory(|d| {
            d.last_serial += 1;
            d.last_serial
        });
        self.tally.note(|c| c.tokens_issued += 1);
        let claims = serde_json::json!({
            "aud": audience,
            "iss": self.issuer(),
            // Entra backdates too, so that a receiver whose clock is a little behind takes the token.
            "nbf": now.unix_timestamp() - 300,
            "iat": now.unix_timestamp() - 300,
            "exp": expiry.unix_timestamp(),
            "appid": self.client_id,
            "idtyp": "app",
            "oid": self.object_id,
            "sub": self.object_id,
            "tid": self.tenant_id,
            "uti": serial.to_string(),
            "ver": "1.0",
        });
        (
            crate::auth::sign_token(&self.signing_key, &claims),
            serial,
            expiry,
        )
    }

    pub(crate) fn issuer(&self) -> String {
        format!("https://sts.windows.net/{}/", self.tenant_id)
    }

    /// The time that error messages carry.
    pub(crate) fn now_text(&self) -> String {
        iso_seconds(self.scene.now())
    }
}

/// The fields of a delegation key that its secret and a signature are made of, as text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyFields<'a> {
    pub(crate) oid: &'a str,
    pub(crate) tid: &'a str,
    pub(crate) start: &'a str,
    pub(crate) expiry: &'a str,
    pub(crate) service: &'a str,
    pub(crate) version: &'a str,
}

/// What a storage token is issued for.
pub(crate) const STORAGE_AUDIENCE: &str = "https://storage.azure.com";

/// What a token for a PostgreSQL database is issued for.
pub(crate) const DATABASE_AUDIENCE: &str = "https://ossrdbms-aad.database.windows.net";
