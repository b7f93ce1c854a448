//! A loopback stand-in for Amazon S3 and for the XML API of Google Cloud Storage.
//!
//! It keeps state, checks every signature, digest and condition, counts every call, and breaks on order. Its checks are written
//! from the documentation of the services, apart from attache's own endpoint: two that share a mistake find none.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use fake_s3::{FakeS3, Op};
//!
//! let fake = FakeS3::builder().bucket("files").min_part_bytes(16).start().await?;
//! fake.faults(|f| f.fail_next(Op::UploadPart, 2, 503, "SlowDown"));
//! // … point a client at fake.endpoint(), trusting fake.ca_pem() …
//! assert_eq!(fake.counts().of(Op::UploadPart), 3);
//! # Ok(()) }
//! ```
//!
//! What it shares with other stand-ins is the crate `stand-in`. Modules, in the order in which they use each other:
//! `op`, `faults`, `counts`, `digest`, `state` (plain data), `account` (Google's tokens), `core` (all of it, shared), `respond`
//! (errors), `signature`, `google`, `auth` (who asks), `service` (a file a verb), `inventory` (what assertions look at),
//! `server` (the listener), `builder`.
//!
//! It does not know: lists of version 1, access control lists, tags, policies, forms of browsers, signatures of chunks
//! (`STREAMING-AWS4-HMAC-SHA256-PAYLOAD`), keys that clients bring. They are answered 501.

mod account;
mod auth;
mod builder;
mod core;
mod counts;
mod digest;
mod faults;
mod google;
mod inventory;
mod op;
mod respond;
mod server;
mod service;
mod signature;
mod state;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use stand_in::content::Content;
use stand_in::tls::Identity;
use stand_in::wire::hex;
use tokio::task::JoinSet;

pub use stand_in::content::{Retention, fill_pattern};
pub use stand_in::faults::{Action, BodyFaultKind, Stage};

pub use crate::builder::Builder;
pub use crate::core::Dialect;
pub use crate::counts::{CallInfo, Counts};
pub use crate::faults::{AnswerFault, BodyFault, Faults, Service};
pub use crate::inventory::{ObjectInfo, UploadInfo};
pub use crate::op::Op;
pub use crate::state::Versioning;

use crate::core::Core;
use crate::service::read;
use crate::state::{Bucket, Object, Version};

/// A running store. Dropping it closes every connection.
#[derive(Debug)]
pub struct FakeS3 {
    core: Arc<Core>,
    identity: Identity,
    address: SocketAddr,
    plain_address: SocketAddr,
    listeners: JoinSet<()>,
}

impl FakeS3 {
    /// Starts to describe one.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// `https://127.0.0.1:PORT`, for buckets in the path.
    pub fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    /// `http://127.0.0.1:PORT`. Google's bearer tokens are refused there.
    pub fn plain_endpoint(&self) -> String {
        format!("http://{}", self.plain_address)
    }

    /// `https://BUCKET.localhost:PORT`, for a bucket in the name of the host.
    pub fn virtual_endpoint(&self, bucket: &str) -> String {
        format!("https://{bucket}.localhost:{}", self.address.port())
    }

    /// The certificate that clients have to trust.
    pub fn ca_pem(&self) -> &str {
        &self.identity.certificate_pem
    }

    /// The private key of that certificate, for another loopback server that shall show the same.
    pub fn key_pem(&self) -> &str {
        &self.identity.key_pem
    }

    /// Who signs.
    pub fn access_key_id(&self) -> &str {
        &self.core.access_key_id
    }

    /// With what.
    pub fn secret_access_key(&self) -> &str {
        &self.core.secret_access_key
    }

    /// The region that signatures must name.
    pub fn region(&self) -> &str {
        &self.core.region
    }

    /// The file of a service account at Google: its `token_uri` is this stand-in.
    pub fn service_account_json(&self) -> String {
        self.core.account.json(&self.endpoint())
    }

    /// A token of the account, good for an hour, without a call.
    pub fn issue_token(&self) -> String {
        let until = time::OffsetDateTime::now_utc() + time::Duration::hours(1);
        self.core.account.issue(until)
    }

    /// Refuses (401) every token issued so far.
    pub fn revoke_tokens(&self) {
        self.core.account.revoke();
    }

    /// Takes the right to do this away from the key: 403 `AccessDenied`. Without the right to list, keys that are missing are
    /// answered so, too.
    pub fn deny(&self, ops: impl IntoIterator<Item = Op>) {
        self.core.denied(|denied| denied.extend(ops));
    }

    /// Gives the key every right again.
    pub fn allow_all(&self) {
        self.core.denied(std::collections::BTreeSet::clear);
    }

    /// Changes what is broken. The change holds from the next request, or frame of a body, on.
    pub fn faults<T>(&self, change: impl FnOnce(&mut Faults) -> T) -> T {
        self.core.scene.change(change)
    }

    /// Closes every connection, idle or busy, without a word. New ones are accepted.
    pub fn drop_connections(&self) {
        self.core.scene.hang_up();
    }

    /// What happened since the start or the last reset.
    pub fn counts(&self) -> Counts {
        let mut counts = self.core.tally.snapshot(&self.core.scene.traffic);
        (counts.objects, counts.uploads) =
            self.core.store(|store| (store.objects(), store.uploads()));
        counts
    }

    /// The calls in the order in which their heads were answered, the latest 10,000 since the start or the last reset.
    pub fn calls(&self) -> Vec<CallInfo> {
        self.core.tally.calls()
    }

    /// Counts from zero again and forgets the calls; gauges stay.
    pub fn reset_counts(&self) {
        self.core.tally.reset(&self.core.scene.traffic);
    }

    /// Every object that a read finds, in the order of buckets and keys.
    pub fn objects(&self) -> Vec<ObjectInfo> {
        let all = self.versions().into_iter();
        all.filter(|info| info.is_latest && !info.is_delete_marker)
            .collect()
    }

    /// The same with older versions and delete markers, the newest of a key first.
    pub fn versions(&self) -> Vec<ObjectInfo> {
        inventory::versions_of(&self.core)
    }

    /// One object.
    pub fn object(&self, bucket: &str, key: &str) -> Option<ObjectInfo> {
        let mut all = self.objects().into_iter();
        all.find(|info| info.bucket == bucket && info.key == key)
    }

    /// The bytes of one object, if they were kept.
    pub fn object_bytes(&self, bucket: &str, key: &str) -> Option<Bytes> {
        self.core
            .store(|store| store.buckets.get(bucket)?.current(key)?.content.bytes())
    }

    /// Uploads in parts that are neither completed nor aborted.
    pub fn uploads(&self) -> Vec<UploadInfo> {
        inventory::uploads_of(&self.core)
    }

    /// Makes a bucket, if there is none of that name.
    pub fn create_bucket(&self, name: &str) {
        let bucket = Bucket::new(&self.core.region, self.core.scene.now());
        self.core.store(|store| {
            store
                .buckets
                .entry(name.to_owned())
                .or_insert(bucket)
                .created
        });
    }

    /// Removes a bucket with all it holds.
    pub fn delete_bucket(&self, name: &str) {
        self.core.store(|store| store.buckets.remove(name));
    }

    /// Whether a bucket keeps what is replaced.
    ///
    /// # Panics
    ///
    /// If there is no such bucket.
    pub fn set_versioning(&self, bucket: &str, versioning: Versioning) {
        self.change_bucket(bucket, |bucket| bucket.versioning = versioning);
    }

    /// The origins whose pages may read and write; `*` for all.
    ///
    /// # Panics
    ///
    /// If there is no such bucket.
    pub fn set_cors_origins<'a>(&self, bucket: &str, origins: impl IntoIterator<Item = &'a str>) {
        let origins = origins.into_iter().map(str::to_owned).collect();
        self.change_bucket(bucket, |bucket| bucket.cors_origins = origins);
    }

    /// Puts an object in place, as somebody else would: with headers that are stored beside it, and metadata
    /// (`x-amz-meta-` and `x-goog-meta-` left out).
    ///
    /// # Panics
    ///
    /// If there is no such bucket, or a header that no object has.
    pub fn put_object_with(
        &self,
        bucket: &str,
        key: &str,
        bytes: impl Into<Bytes>,
        headers: &[(&'static str, &str)],
        metadata: &[(&str, &str)],
    ) {
        let bytes = bytes.into();
        let owned = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let pairs = pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            pairs.collect()
        };
        let mut digester = digest::Digester::new();
        digester.update(&bytes);
        let digests = digester.finish();
        let piece = stand_in::content::Piece::new(
            digests.len,
            digests.crc64,
            Some(digests.md5),
            Some(bytes),
        );
        let serial = self.core.store(state::Store::next_serial);
        let object = Object {
            content: Content::new(vec![piece], self.core.retention),
            etag: format!("\"{}\"", hex(digests.md5)),
            modified: self.core.scene.now(),
            generation: serial,
            metadata: owned(metadata),
            headers: headers
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            storage_class: "STANDARD".to_owned(),
            md5: Some(digests.md5),
            crc32c: digests.crc32c,
            checksum: None,
        };
        self.change_bucket(bucket, |bucket| {
            bucket.insert(key, Arc::new(object), serial)
        });
    }

    /// The same with nothing beside the bytes.
    ///
    /// # Panics
    ///
    /// If there is no such bucket.
    pub fn put_object(&self, bucket: &str, key: &str, bytes: impl Into<Bytes>) {
        self.put_object_with(
            bucket,
            key,
            bytes,
            &[("content-type", "binary/octet-stream")],
            &[],
        );
    }

    /// Removes an object with all its versions, as somebody else would.
    pub fn delete_object(&self, bucket: &str, key: &str) {
        self.core.store(|store| {
            if let Some(bucket) = store.buckets.get_mut(bucket) {
                bucket.entries.remove(key);
                bucket.disturb(key);
            }
        });
    }

    /// Moves an object to another storage class, as a lifecycle rule does: `GLACIER` cannot be read at Amazon.
    ///
    /// # Panics
    ///
    /// If there is no such object.
    pub fn set_storage_class(&self, bucket: &str, key: &str, class: &str) {
        self.change_latest(bucket, key, |held| {
            let object = held.object.as_mut().expect("the object exists");
            Arc::make_mut(object).storage_class = class.to_owned();
        });
    }

    /// Encrypts an object with a key of its writer's own (SSE-C, CSEK), which nobody else has: it is listed, and cannot be read.
    ///
    /// # Panics
    ///
    /// If there is no such object.
    pub fn encrypt_with_customer_key(&self, bucket: &str, key: &str) {
        let header = match self.core.is_google() {
            true => read::GOOGLE_KEY,
            false => read::AMAZON_KEY,
        };
        self.change_latest(bucket, key, |held| {
            let object = held.object.as_mut().expect("the object exists");
            let headers = &mut Arc::make_mut(object).headers;
            headers.insert(header, "AES256".to_owned());
        });
    }

    /// Locks the newest version of an object, as a legal hold or a retention does, or takes the lock away.
    ///
    /// # Panics
    ///
    /// If there is no such object.
    pub fn lock_object(&self, bucket: &str, key: &str, on: bool) {
        self.change_latest(bucket, key, |held| held.locked = on);
    }

    fn change_latest(&self, bucket: &str, key: &str, change: impl FnOnce(&mut Version)) {
        self.change_bucket(bucket, |bucket| {
            let entry = bucket.entries.get_mut(key);
            change(
                entry
                    .and_then(|entry| entry.versions.last_mut())
                    .expect("the object exists"),
            );
        });
    }

    fn change_bucket<T>(&self, name: &str, change: impl FnOnce(&mut Bucket) -> T) -> T {
        self.core
            .store(|store| change(store.buckets.get_mut(name).expect("the bucket exists")))
    }

    /// Stops listening, closes every connection, and waits until that is done.
    pub async fn shutdown(mut self) {
        self.listeners.shutdown().await;
    }
}
