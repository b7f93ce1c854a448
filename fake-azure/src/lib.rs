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
//! Modules, in the order in which they use each other: `wire`, `xml` (forms), `op`, `faults`, `counts`,
//! `state` (plain data), `core` (all of it, shared), `respond` (answers), `auth`, `sas` (who asks),
//! `blob`, `entra`, `admin` (services), `server` (listeners).

mod admin;
mod auth;
mod blob;
mod core;
mod counts;
mod entra;
mod faults;
mod op;
mod respond;
mod sas;
mod server;
mod state;
mod wire;
mod xml;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use crate::counts::{CallInfo, Counts, SecretUse};
pub use crate::faults::{Action, AnswerFault, BodyFault, BodyFaultKind, Entra, Faults, Stage};
pub use crate::op::Op;
pub use crate::state::{Retention, fill_pattern};

use crate::core::{Core, Directory};
use crate::counts::Tally;
use crate::faults::Desk;
use crate::server::{Identity, Service, listen};
use crate::state::{Blob, Content, Piece, Store};

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

/// What a [`FakeAzure`] starts with.
#[derive(Clone, Debug)]
pub struct Builder {
    account: String,
    containers: Vec<String>,
    secrets: Vec<String>,
    tenant_id: String,
    client_id: String,
    account_key: Option<Vec<u8>>,
    retention: Retention,
    plain_http: bool,
    admin: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            account: "acme".to_owned(),
            containers: Vec::new(),
            secrets: Vec::new(),
            tenant_id: "72f988bf-0000-4000-8000-0000000fa4e0".to_owned(),
            client_id: "6731de76-0000-4000-8000-0000000fa4e0".to_owned(),
            account_key: None,
            retention: Retention::Keep,
            plain_http: false,
            admin: false,
        }
    }
}

impl Builder {
    /// Names the account; `acme` otherwise.
    pub fn account(mut self, name: impl Into<String>) -> Self {
        self.account = name.into();
        self
    }

    /// Makes a container; none exists otherwise.
    pub fn container(mut self, name: impl Into<String>) -> Self {
        self.containers.push(name.into());
        self
    }

    /// Adds a client secret that Entra takes; `s3cret` is the only one if this is never called.
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.secrets.push(secret.into());
        self
    }

    /// Names the tenant.
    pub fn tenant_id(mut self, id: impl Into<String>) -> Self {
        self.tenant_id = id.into();
        self
    }

    /// Names the application.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = id.into();
        self
    }

    /// Sets the account key; a random one otherwise.
    pub fn account_key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.account_key = Some(key.into());
        self
    }

    /// Says what becomes of uploaded bytes; they are kept otherwise.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Also serves blobs over plain HTTP, where bearer tokens and https-only signatures are refused.
    pub fn plain_http(mut self, on: bool) -> Self {
        self.plain_http = on;
        self
    }

    /// Also serves counts and faults to other processes, see [`FakeAzure::admin_endpoint`].
    pub fn admin(mut self, on: bool) -> Self {
        self.admin = on;
        self
    }

    /// Binds ports of 127.0.0.1 and serves until the result is dropped.
    ///
    /// # Errors
    ///
    /// If no port can be bound, or no certificate made.
    pub async fn start(mut self) -> io::Result<FakeAzure> {
        if self.secrets.is_empty() {
            self.secrets.push("s3cret".to_owned());
        }
        let account_key = match self.account_key {
            Some(key) => key,
            None => random::<64>()?.to_vec(),
        };
        let core = Arc::new(Core {
            account: self.account,
            account_key: account_key.clone(),
            tenant_id: self.tenant_id,
            client_id: self.client_id,
            object_id: "0b1ec700-0000-4000-8000-0000000fa4e0".to_owned(),
            retention: self.retention,
            store: Mutex::new(Store::default()),
            desk: Mutex::new(Desk::new()),
            tally: Tally::new(self.secrets.len()),
            directory: Mutex::new(Directory {
                secrets: self.secrets,
                last_serial: 0,
                revoked_through: 0,
                key_generation: 0,
            }),
            authority_host: OnceLock::new(),
            signing_key: random()?,
            hang_up: watch::Sender::new(()),
        });
        for name in &self.containers {
            create_container(&core, name);
        }
        let identity = Identity::new()?;
        let mut listeners = JoinSet::new();
        let mut open = async |service: Service, secure: bool| -> io::Result<SocketAddr> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let address = listener.local_addr()?;
            let tls = secure.then(|| identity.acceptor());
            listeners.spawn(listen(Arc::clone(&core), listener, service, tls));
            Ok(address)
        };
        let blob_address = open(Service::Blob, true).await?;
        let entra_address = open(Service::Entra, true).await?;
        let plain_address = match self.plain_http {
            true => Some(open(Service::Blob, false).await?),
            false => None,
        };
        let admin_address = match self.admin {
            true => Some(open(Service::Admin, false).await?),
            false => None,
        };
        core.authority_host
            .set(format!("https://{entra_address}"))
            .expect("set once, here");
        Ok(FakeAzure {
            core,
            identity,
            blob_address,
            plain_address,
            entra_address,
            admin_address,
            account_key: wire::base64_encode(account_key),
            listeners,
        })
    }
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

    /// Changes what is broken. The change holds from the next request, or frame of a body, on.
    pub fn faults<T>(&self, change: impl FnOnce(&mut Faults) -> T) -> T {
        self.core.desk(|desk| desk.change(change))
    }

    /// Closes every connection, idle or busy, without a word. New ones are accepted.
    pub fn drop_connections(&self) {
        self.core.hang_up.send_replace(());
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
        self.core.tally.reset();
    }

    /// Time since the start, the scale of [`SecretUse::last_presented_ms`].
    pub fn elapsed(&self) -> Duration {
        self.core.tally.elapsed()
    }

    /// Every blob, snapshot and name with nothing but staged blocks, in the order of their names.
    pub fn blobs(&self) -> Vec<BlobInfo> {
        blobs_of(&self.core)
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
        let now = self.core.now();
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
                of_blocks: false,
            };
            let container = store.containers.get_mut(container);
            let entries = &mut container.expect("the container exists").entries;
            let entry = entries.entry(name.to_owned()).or_default();
            entry.current = Some(Arc::new(blob));
            entry.staged.clear();
        });
    }

    /// Makes a snapshot of a blob, as somebody else would, and returns its name; `None` without a blob.
    pub fn put_snapshot(&self, container: &str, name: &str) -> Option<String> {
        let now = self.core.now();
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

/// One blob, snapshot, or name with staged blocks, for assertions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BlobInfo {
    /// Its container.
    pub container: String,
    /// Its name, decoded.
    pub name: String,
    /// The name of the snapshot, for one.
    pub snapshot: Option<String>,
    /// Whether there is a committed blob; if not, the fields of one are empty.
    pub committed: bool,
    /// Length in bytes.
    pub len: u64,
    /// Entity tag, quoted.
    pub etag: String,
    /// Stored metadata; names in lower case, as the headers bring them.
    pub metadata: BTreeMap<String, String>,
    /// Stored `Content-Type`.
    pub content_type: Option<String>,
    /// Stored `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// Stored `Cache-Control`.
    pub cache_control: Option<String>,
    /// Stored `Content-MD5`, base64.
    pub content_md5: Option<String>,
    /// CRC-64/NVME of what was uploaded.
    pub crc64: u64,
    /// SHA-256 in lower-case hexadecimal, if the bytes were kept.
    pub sha256: Option<String>,
    /// Blocks that it is made of.
    pub blocks: usize,
    /// Blocks staged under its name and not committed.
    pub uncommitted_blocks: usize,
}

impl BlobInfo {
    fn new(container: &str, name: &str, snapshot: Option<&str>, blob: Option<&Blob>) -> Self {
        let properties = blob.map(|b| b.properties.clone()).unwrap_or_default();
        Self {
            container: container.to_owned(),
            name: name.to_owned(),
            snapshot: snapshot.map(str::to_owned),
            committed: blob.is_some(),
            len: blob.map_or(0, |b| b.content.len),
            etag: blob.map(|b| b.etag.clone()).unwrap_or_default(),
            metadata: blob.map(|b| b.metadata.clone()).unwrap_or_default(),
            content_type: properties.content_type,
            content_disposition: properties.content_disposition,
            cache_control: properties.cache_control,
            content_md5: properties.content_md5,
            crc64: blob.map_or(0, |b| b.content.crc64()),
            sha256: blob.and_then(|b| b.content.sha256()).map(wire::hex),
            blocks: blob.map_or(0, |b| b.content.pieces.len()),
            uncommitted_blocks: 0,
        }
    }
}

fn counts_of(core: &Core) -> Counts {
    let mut counts = core.tally.snapshot();
    (counts.uncommitted_blocks, counts.blobs) =
        core.store(|store| (store.uncommitted_blocks(), store.blobs()));
    counts
}

fn blobs_of(core: &Core) -> Vec<BlobInfo> {
    core.store(|store| {
        let mut found = Vec::new();
        for (container, held) in &store.containers {
            for (name, entry) in &held.entries {
                for (snapshot, blob) in &entry.snapshots {
                    found.push(BlobInfo::new(container, name, Some(snapshot), Some(blob)));
                }
                if entry.current.is_some() || !entry.staged.is_empty() {
                    let mut info = BlobInfo::new(container, name, None, entry.current.as_deref());
                    info.uncommitted_blocks = entry.staged.len();
                    found.push(info);
                }
            }
        }
        found
    })
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

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("no random numbers"))?;
    Ok(bytes)
}
