//! A loopback stand-in for Azure Blob Storage and Entra ID.
//!
//! It keeps state, checks every signature, counts every call, and breaks on order: what the product
//! has to survive can be arranged in a test and observed from the other side of the wire.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use fake_azure::{FakeAzure, Op};
//!
//! let fake = FakeAzure::builder().container("files").start().await?;
//! fake.faults(|f| f.fail_next(Op::PutBlock, 2, 503, "ServerBusy"));
//! // … point a client at fake.blob_endpoint() and fake.authority_host(), trusting fake.ca_pem() …
//! assert_eq!(fake.counts().token_requests, 1);
//! # Ok(()) }
//! ```
//!
//! What it shares with other stand-ins is the crate `stand-in`. Modules, in the order in which they use each other:
//! `op`, `faults`, `counts`, `state` (plain data), `core` (all of it, shared), `respond` (errors), `auth`, `sas` (who
//! asks), `blob`, `entra` (services), `inventory` (what assertions look at), `admin`, `server` (listeners), `builder`.

mod admin;
mod auth;
mod blob;
mod builder;
mod core;
mod counts;
mod entra;
mod faults;
mod inventory;
mod op;
mod respond;
mod sas;
mod server;
mod state;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stand_in::content::{Content, Piece};
use stand_in::tls::Identity;
use stand_in::wire;
use tokio::task::JoinSet;

pub use crate::builder::Builder;
pub use crate::counts::{CallInfo, Counts, SecretUse};
pub use crate::faults::{AnswerFault, BodyFault, Entra, Faults, Service};
pub use crate::inventory::BlobInfo;
pub use crate::op::Op;
pub use crate::state::{BlobKind, Guard};
pub use stand_in::content::{Retention, fill_pattern};
pub use stand_in::faults::{Action, BodyFaultKind, Stage};

use crate::core::Core;
use crate::state::Blob;

/// A running account with its directory. Dropping it closes every connection.
#[derive(Debug)]
pub struct FakeAzure {
    core: Arc<Core>,
    identity: Identity,
    blob_address: SocketAddr,
    plain_address: Option<SocketAddr>,
    entra_address: SocketAddr,
    admin_address: Option<SocketAddr>,
    account_key: String,
    listeners: JoinSet<()>,
}

impl FakeAzure {
    /// Starts to describe one.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// `https://127.0.0.1:PORT/account`.
    pub fn blob_endpoint(&self) -> String {
        format!("https://{}/{}", self.blob_address, self.core.account)
    }

    /// `http://127.0.0.1:PORT/account`, if plain HTTP was asked for.
    pub fn plain_blob_endpoint(&self) -> Option<String> {
        let address = self.plain_address?;
        Some(format!("http://{address}/{}", self.core.account))
    }

    /// `https://127.0.0.1:PORT` of Entra.
    pub fn authority_host(&self) -> String {
        format!("https://{}", self.entra_address)
    }

    /// `http://127.0.0.1:PORT` of counts and faults, if asked for: `GET /_counts`, `POST /_reset`,
    /// `GET` and `POST /_faults` (fields of [`Faults`]; those not given stay, `"clear":true` resets
    /// them first), `POST /_secrets` (a list), `POST /_revoke`, `GET /_blobs`.
    pub fn admin_endpoint(&self) -> Option<String> {
        self.admin_address
            .map(|address| format!("http://{address}"))
    }

    /// The certificate that the HTTPS listeners show and that clients have to trust.
    pub fn ca_pem(&self) -> &str {
        &self.identity.certificate_pem
    }

    /// The private key of that certificate, for another loopback server that shall show the same.
    pub fn key_pem(&self) -> &str {
        &self.identity.key_pem
    }

    /// The account's name.
    pub fn account(&self) -> &str {
        &self.core.account
    }

    /// The account key, base64.
    pub fn account_key(&self) -> &str {
        &self.account_key
    }

    /// A connection string of the account key.
    pub fn connection_string(&self) -> String {
        format!(
            "DefaultEndpointsProtocol=https;AccountName={};AccountKey={};BlobEndpoint={};",
            self.core.account,
            self.account_key,
            self.blob_endpoint()
        )
    }

    /// The tenant.
    pub fn tenant_id(&self) -> &str {
        &self.core.tenant_id
    }

    /// The application.
    pub fn client_id(&self) -> &str {
        &self.core.client_id
    }

    /// A token of the fake, as Entra would give it out, without a call.
    pub fn issue_token(&self) -> String {
        self.core.issue_token(core::STORAGE_AUDIENCE).0
    }

    /// Issues this, from now on, for a PostgreSQL database: the password of its role. Until then nothing is issued for one.
    pub fn set_database_token(&self, token: impl Into<String>) {
        let token = token.into();
        self.core.directory(|d| d.database_token = Some(token));
    }

    /// Changes what is broken. The change holds from the next request, or frame of a body, on.
    pub fn faults<T>(&self, change: impl FnOnce(&mut Faults) -> T) -> T {
        self.core.scene.change(change)
    }

    /// Closes every connection, idle or busy, without a word. New ones are accepted.
    pub fn drop_connections(&self) {
        self.core.scene.hang_up();
    }

    /// Makes these the only secrets that Entra takes. Tokens given out stay good.
    pub fn set_secrets<'a>(&self, secrets: impl IntoIterator<Item = &'a str>) {
        set_secrets(&self.core, secrets);
    }

    /// Makes the blob service refuse (401) every token issued so far.
    pub fn revoke_tokens(&self) {
        revoke_tokens(&self.core);
    }

    /// Makes the blob service refuse (403) everything signed by the delegation keys given out so far.
    pub fn revoke_delegation_keys(&self) {
        self.core.directory(|d| d.key_generation += 1);
    }

    /// What happened since the start or the last reset.
    pub fn counts(&self) -> Counts {
        counts_of(&self.core)
    }

    /// The calls of the blob service in the order in which their heads were answered, the latest 10,000
    /// since the start or the last reset.
    pub fn calls(&self) -> Vec<CallInfo> {
        self.core.tally.calls()
    }

    /// Counts from zero again and forgets the calls; gauges stay.
    pub fn reset_counts(&self) {
        self.core.tally.reset(&self.core.scene.traffic);
    }

    /// Time since the start, the scale of [`SecretUse::last_presented_ms`].
    pub fn elapsed(&self) -> Duration {
        self.core.tally.elapsed()
    }

    /// Every blob, snapshot and name with nothing but staged blocks, in the order of their names.
    pub fn blobs(&self) -> Vec<BlobInfo> {
        inventory::blobs_of(&self.core)
    }

    /// One blob.
    pub fn blob(&self, container: &str, name: &str) -> Option<BlobInfo> {
        self.blobs()
            .into_iter()
            .find(|b| b.container == container && b.name == name && b.snapshot.is_none())
    }

    /// The bytes of one blob, if they were kept.
    pub fn blob_bytes(&self, container: &str, name: &str) -> Option<Bytes> {
        self.core.store(|store| {
            let entry = store.containers.get(container)?.entries.get(name)?;
            entry.current.as_ref()?.content.bytes()
        })
    }

    /// Makes a container, if there is none of that name.
    pub fn create_container(&self, name: &str) {
        create_container(&self.core, name);
    }

    /// What Get Blob Service Properties answers from now on, as XML.
    pub fn set_service_properties(&self, xml: &str) {
        let xml = xml.to_owned();
        self.core
            .store(|store| store.service_properties = Some(xml));
    }

    /// Whether answers about blobs name a version, as in an account with versioning. Versions themselves are not kept.
    pub fn set_versioning(&self, on: bool) {
        self.core.store(|store| store.versioning = on);
    }

    /// Removes a container with all it holds.
    pub fn delete_container(&self, name: &str) {
        self.core.store(|store| store.containers.remove(name));
    }

    /// Puts a blob in place, as somebody else would: a new entity tag, whatever was there is replaced.
    ///
    /// # Panics
    ///
    /// If there is no such container.
    pub fn put_blob(&self, container: &str, name: &str, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        let now = self.core.scene.now();
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &bytes);
        let piece = Piece::new(bytes.len() as u64, crc, None, Some(bytes));
        self.core.store(|store| {
            let etag = store.next_etag();
            let blob = Blob {
                content: Content::new(vec![piece], self.core.retention),
                etag,
                created: now,
                modified: now,
                metadata: BTreeMap::new(),
                properties: state::Properties::default(),
                tier: None,
                kind: BlobKind::Block,
                of_blocks: false,
            };
            let container = store.containers.get_mut(container);
            let entries = &mut container.expect("the container exists").entries;
            let entry = entries.entry(name.to_owned()).or_default();
            entry.current = Some(Arc::new(blob));
            entry.staged.clear();
        });
    }

    /// Guards a blob, or takes its guard away.
    ///
    /// # Panics
    ///
    /// If there is no such blob.
    pub fn guard_blob(&self, container: &str, name: &str, guard: Option<Guard>) {
        self.change_entry(container, name, |entry| entry.guard = guard);
    }

    /// Guards every blob of a container, as a policy on the container does, or takes that guard away.
    ///
    /// # Panics
    ///
    /// If there is no such container.
    pub fn guard_container(&self, container: &str, guard: Option<Guard>) {
        self.core.store(|store| {
            let container = store.containers.get_mut(container);
            container.expect("the container exists").guard = guard;
        });
    }

    /// Moves a blob to another tier at once, as a lifecycle rule does: `Archive` cannot be read.
    ///
    /// # Panics
    ///
    /// If there is no such blob.
    pub fn set_tier(&self, container: &str, name: &str, tier: &str) {
        self.change_entry(container, name, |entry| {
            let blob = entry.current.as_mut().expect("the blob exists");
            Arc::make_mut(blob).tier = Some(tier.to_owned());
        });
    }

    /// Makes a blob one of another kind, as if it had been written so.
    ///
    /// # Panics
    ///
    /// If there is no such blob.
    pub fn set_kind(&self, container: &str, name: &str, kind: BlobKind) {
        self.change_entry(container, name, |entry| {
            let blob = entry.current.as_mut().expect("the blob exists");
            Arc::make_mut(blob).kind = kind;
        });
    }

    /// Sets the stored headers of a blob, as another tool would: `Content-Type`, `Content-Disposition`, `Content-Encoding`.
    ///
    /// # Panics
    ///
    /// If there is no such blob.
    pub fn set_headers(&self, container: &str, name: &str, headers: [Option<&str>; 3]) {
        let [content_type, disposition, encoding] = headers.map(|value| value.map(str::to_owned));
        self.change_entry(container, name, |entry| {
            let blob = Arc::make_mut(entry.current.as_mut().expect("the blob exists"));
            blob.properties.content_type = content_type;
            blob.properties.content_disposition = disposition;
            blob.properties.content_encoding = encoding;
        });
    }

    /// Changes what is stored beside a blob's bytes, as another tool would: a new entity tag, the same bytes.
    ///
    /// # Panics
    ///
    /// If there is no such blob.
    pub fn set_metadata(&self, container: &str, name: &str, metadata: &[(&str, &str)]) {
        let metadata = metadata
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let metadata: BTreeMap<String, String> = metadata.collect();
        let etag = self.core.store(|store| store.next_etag());
        self.change_entry(container, name, |entry| {
            let blob = Arc::make_mut(entry.current.as_mut().expect("the blob exists"));
            blob.metadata = metadata;
            blob.etag = etag;
        });
    }

    fn change_entry(&self, container: &str, name: &str, change: impl FnOnce(&mut state::Entry)) {
        self.core.store(|store| {
            let container = store.containers.get_mut(container);
            let entry = container.and_then(|container| container.entries.get_mut(name));
            change(entry.expect("the blob exists"));
        });
    }

    /// Makes a snapshot of a blob, as somebody else would, and returns its name; `None` without a blob.
    pub fn put_snapshot(&self, container: &str, name: &str) -> Option<String> {
        let now = self.core.scene.now();
        self.core.store(|store| {
            let snapshot = wire::snapshot_time(store.next_snapshot_time(now));
            let entry = store.containers.get_mut(container)?.entries.get_mut(name)?;
            let copy = Arc::clone(entry.current.as_ref()?);
            entry.snapshots.insert(snapshot.clone(), copy);
            Some(snapshot)
        })
    }

    /// Removes a blob with its snapshots and staged blocks, as somebody else would.
    pub fn delete_blob(&self, container: &str, name: &str) {
        self.core.store(|store| {
            if let Some(container) = store.containers.get_mut(container) {
                container.entries.remove(name);
            }
        });
    }

    /// Stops listening, closes every connection, and waits until that is done.
    pub async fn shutdown(mut self) {
        self.listeners.shutdown().await;
    }
}

fn counts_of(core: &Core) -> Counts {
    let mut counts = core.tally.snapshot(&core.scene.traffic);
    (counts.uncommitted_blocks, counts.blobs) =
        core.store(|store| (store.uncommitted_blocks(), store.blobs()));
    counts
}

fn create_container(core: &Core, name: &str) {
    core.store(|store| blob::insert_container(core, store, name));
}

fn set_secrets<'a>(core: &Core, secrets: impl IntoIterator<Item = &'a str>) {
    let wanted: Vec<&str> = secrets.into_iter().collect();
    let known = core.directory(|directory| {
        for secret in &wanted {
            if !directory.secrets.iter().any(|known| known == secret) {
                directory.secrets.push((*secret).to_owned());
            }
        }
        directory.secrets.clone()
    });
    core.tally.note(|counts| {
        counts.secrets.resize(known.len(), SecretUse::default());
        for (secret, used) in known.iter().zip(&mut counts.secrets) {
            used.valid = wanted.contains(&secret.as_str());
        }
    });
}

fn revoke_tokens(core: &Core) {
    core.directory(|directory| directory.revoked_through = directory.last_serial);
}
