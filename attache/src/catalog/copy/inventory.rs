//! What is in a catalog: counts, sums, and digests over all of it.

use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::progress::Progress;
use super::walk::{PAGE, Walk};
use crate::access::access_keys::SealedAccessKey;
use crate::attachment::Hex;
use crate::catalog::bulk::{Bulk, Progress as BulkProgress, Row, State};
use crate::catalog::{Totals, millis};
use crate::error::{Error, ErrorKind, Result};

/// What is in a catalog. Two that are equal hold the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// Ready attachments.
    pub attachments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Uploads in parts that wait for their next request.
    pub uploads: u64,
    /// Bytes that these have reserved.
    pub reserved_bytes: u64,
    /// API tokens.
    pub tokens: u64,
    /// Access keys.
    pub access_keys: u64,
    /// Sessions that were ended and would not have ended by themselves yet.
    pub ended_sessions: u64,
    /// Sealed keys that sign.
    pub keys: u64,
    /// SHA-256 over all that is said of attachments and uploads, in the order of their ids.
    pub rows_sha256: Hex<32>,
    /// SHA-256 over tokens, access keys, ended sessions and sealed keys, in their order.
    pub access_sha256: Hex<32>,
}

/// Reads both sides again; what is in them.
///
/// # Errors
///
/// [`Conflict`](crate::ErrorKind::Conflict) if they differ, saying in what.
pub(super) async fn compare(
    source: &dyn Bulk,
    target: &dyn Bulk,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Inventory> {
    // One moment for both: what has ended by itself counts on neither side.
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let of = source.totals().await?.attachments.saturating_mul(2);
    let mut rows = 0;
    let mut read = |more: u64| {
        rows += more;
        progress(Progress::Comparing { rows, of });
    };
    let ours = take(source, now, &mut read).await?;
    let theirs = take(target, now, &mut read).await?;
    if ours != theirs {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "source and target differ after the copy: {}. Was something written to one of them? Run the copy once more",
                differences(&ours, &theirs)
            ),
        ));
    }
    let counted = Totals {
        attachments: theirs.attachments,
        bytes: theirs.bytes,
        reserved_bytes: theirs.reserved_bytes,
    };
    let totals = target.totals().await?;
    if totals != counted {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "the counters of the target are not what its rows say ({totals:?} and {counted:?}); begin again with an empty database"
            ),
        ));
    }
    Ok(ours)
}

async fn take(
    catalog: &dyn Bulk,
    now: i64,
    read: &mut (dyn FnMut(u64) + Send),
) -> Result<Inventory> {
    let mut found = Inventory {
        attachments: 0,
        bytes: 0,
        uploads: 0,
        reserved_bytes: 0,
        tokens: 0,
        access_keys: 0,
        ended_sessions: 0,
        keys: 0,
        rows_sha256: Hex([0; 32]),
        access_sha256: Hex([0; 32]),
    };
    let mut walk = Walk::new(catalog);
    let mut rows = Fields(Sha256::new());
    let mut number = 0_u64;
    loop {
        walk.fill().await?;
        let Some(row) = walk.take() else { break };
        rows.row(&row);
        match row.is_ready() {
            true => {
                found.attachments += 1;
                found.bytes += row.charged_bytes();
            }
            false => {
                found.uploads += 1;
                found.reserved_bytes += row.charged_bytes();
            }
        }
        number += 1;
        if number.is_multiple_of(PAGE as u64) {
            read(PAGE as u64);
        }
    }
    found.rows_sha256 = rows.digest();

    let mut access = Fields(Sha256::new());
    let mut tokens = catalog.tokens().await?;
    tokens.sort_by(|a, b| a.token.id.cmp(&b.token.id));
    for stored in &tokens {
        let token = &stored.token;
        let patterns = token.owners.patterns().iter();
        let owners: Vec<String> = patterns.map(ToString::to_string).collect();
        access.field(token.id.as_str());
        access.field(stored.hash);
        access.field(&token.name);
        access.field(token.scopes.to_string());
        access.field(owners.join(" "));
        access.number(token.created_at.unix_timestamp());
        for at in [token.expires_at, token.last_used] {
            access.optional(at.map(|at| at.unix_timestamp().to_be_bytes()));
        }
    }
    let mut access_keys = catalog.access_keys().await?;
    access_keys.sort_by(|a, b| a.key.id.cmp(&b.key.id));
    for kept in &access_keys {
        access.access_key(kept);
    }
    let mut sessions = catalog.session_ends().await?;
    sessions.retain(|(_, end)| *end > now);
    sessions.sort_unstable();
    for (hash, end) in &sessions {
        access.field(hash);
        access.number(*end);
    }
    let mut keys = catalog.all().await?;
    keys.sort_unstable();
    for (name, key) in &keys {
        access.field(name);
        access.field(key);
    }
    found.tokens = tokens.len() as u64;
    found.access_keys = access_keys.len() as u64;
    found.ended_sessions = sessions.len() as u64;
    found.keys = keys.len() as u64;
    found.access_sha256 = access.digest();
    Ok(found)
}

fn differences(ours: &Inventory, theirs: &Inventory) -> String {
    let counts = [
        ("attachments", ours.attachments, theirs.attachments),
        ("bytes", ours.bytes, theirs.bytes),
        ("uploads in parts", ours.uploads, theirs.uploads),
        ("reserved bytes", ours.reserved_bytes, theirs.reserved_bytes),
        ("tokens", ours.tokens, theirs.tokens),
        ("access keys", ours.access_keys, theirs.access_keys),
        ("ended sessions", ours.ended_sessions, theirs.ended_sessions),
        ("keys", ours.keys, theirs.keys),
    ];
    let mut said: Vec<String> = counts
        .into_iter()
        .filter(|(_, ours, theirs)| ours != theirs)
        .map(|(what, ours, theirs)| format!("{ours} and {theirs} {what}"))
        .collect();
    if said.is_empty() {
        said.push(match ours.rows_sha256 == theirs.rows_sha256 {
            true => "as many tokens, access keys, ended sessions and keys, with other contents"
                .to_owned(),
            false => "as many attachments and uploads, with other contents".to_owned(),
        });
    }
    said.join(", ")
}

/// A digest over fields, each after its length, so that none runs into the next.
struct Fields(Sha256);

impl Fields {
    fn field(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn number(&mut self, number: i64) {
        self.field(number.to_be_bytes());
    }

    /// Nothing is not the same as an empty text.
    fn optional(&mut self, bytes: Option<impl AsRef<[u8]>>) {
        match bytes {
            Some(bytes) => {
                self.0.update([1]);
                self.field(bytes);
            }
            None => self.0.update([0]),
        }
    }

    fn row(&mut self, row: &Row) {
        self.field(row.id.as_str());
        self.field(row.key.as_str());
        self.field(row.filename.as_str());
        self.field(&row.content_type);
        self.number(millis(row.created_at));
        self.optional(row.owner.as_ref().map(|owner| owner.as_str()));
        self.optional(row.created_by.as_ref().map(|author| author.as_str()));
        self.optional(row.idempotency_key.as_ref().map(|key| key.as_str()));
        self.field(row.state.to_string());
        self.field(row.charged_bytes().to_be_bytes());
        match &row.state {
            State::Ready {
                sha256,
                md5,
                crc64,
                store_tag,
                ..
            } => {
                self.field(sha256.0);
                self.optional(md5.map(|hex| hex.0));
                self.optional(crc64.map(u64::to_be_bytes));
                self.optional(store_tag.as_deref());
            }
            State::Partial {
                upload,
                expires_at,
                progress,
                ..
            } => {
                self.field(upload.to_string());
                self.number(millis(*expires_at));
                self.progress(progress.as_deref());
            }
        }
    }

    fn progress(&mut self, progress: Option<&BulkProgress>) {
        let Some(progress) = progress else {
            self.0.update([0]);
            return;
        };
        self.0.update([1]);
        self.field(progress.offset.to_be_bytes());
        self.optional(progress.length.map(u64::to_be_bytes));
        self.field((progress.receipts.len() as u64).to_be_bytes());
        for receipt in &progress.receipts {
            self.number(receipt.number.into());
            self.field(receipt.size.to_be_bytes());
            self.field(receipt.crc64.to_be_bytes());
            self.field(&receipt.tag);
        }
        self.field(&progress.first);
        self.field(&progress.digests);
        self.field([u8::from(progress.direct)]);
        self.field(&progress.metadata);
        self.optional(progress.claim.as_deref());
        self.field(&progress.caller);
    }

    fn access_key(&mut self, SealedAccessKey { key, sealed }: &SealedAccessKey) {
        self.field(key.id.as_str());
        self.field(&key.name);
        self.field(key.buckets.join(" "));
        self.field(&key.prefix);
        self.field(key.scopes.to_string());
        self.number(key.created_at.unix_timestamp());
        let end = key.expires_at.map(OffsetDateTime::unix_timestamp);
        self.optional(end.map(i64::to_be_bytes));
        self.field(sealed);
    }

    fn digest(self) -> Hex<32> {
        Hex(self.0.finalize().into())
    }
}
