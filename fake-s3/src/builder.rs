//! What a stand-in starts with, and the start.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use stand_in::content::Retention;
use stand_in::listen::listen;
use stand_in::scene::Scene;
use stand_in::tls::Identity;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::FakeS3;
use crate::account::ServiceAccount;
use crate::core::{Core, Dialect, Manners};
use crate::counts::Tally;
use crate::server::Door;
use crate::state::{Bucket, Store};

/// What a [`FakeS3`] starts with.
#[derive(Clone, Debug)]
pub struct Builder {
    dialect: Dialect,
    region: String,
    access_key_id: String,
    secret_access_key: String,
    buckets: Vec<(String, Option<String>)>,
    retention: Retention,
    manners: Manners,
    host_names: Vec<String>,
    certificate_days: (i64, i64),
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            dialect: Dialect::S3,
            region: "us-east-1".to_owned(),
            access_key_id: "AKIAFAKES30000000001".to_owned(),
            secret_access_key: "fake/secret+of/the+stand/in+for+S3+0000".to_owned(),
            buckets: Vec::new(),
            retention: Retention::Keep,
            manners: Manners {
                conditions: true,
                checksums: true,
                md5_etags: true,
                remembers_completed: false,
                min_part_bytes: MIN_PART_BYTES,
            },
            host_names: Vec::new(),
            certificate_days: (-1, 3650),
        }
    }
}

impl Builder {
    /// Whose words it speaks; Amazon's otherwise.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// Names the region; `us-east-1` otherwise.
    pub fn region(mut self, name: impl Into<String>) -> Self {
        self.region = name.into();
        self
    }

    /// Sets the access key; one of the stand-in's own otherwise.
    pub fn access_key(mut self, id: impl Into<String>, secret: impl Into<String>) -> Self {
        self.access_key_id = id.into();
        self.secret_access_key = secret.into();
        self
    }

    /// Makes a bucket; none exists otherwise.
    pub fn bucket(mut self, name: impl Into<String>) -> Self {
        self.buckets.push((name.into(), None));
        self
    }

    /// Makes a bucket of another region: calls for it are answered 301 `PermanentRedirect`.
    pub fn bucket_elsewhere(mut self, name: impl Into<String>, region: impl Into<String>) -> Self {
        self.buckets.push((name.into(), Some(region.into())));
        self
    }

    /// Says what becomes of uploaded bytes; they are kept otherwise.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Least bytes of every part but the last; 5 MiB otherwise, as at both services.
    pub fn min_part_bytes(mut self, bytes: u64) -> Self {
        self.manners.min_part_bytes = bytes;
        self
    }

    /// Ignores conditions of writes, as many compatible stores do: whoever relies on them overwrites.
    pub fn without_conditions(mut self) -> Self {
        self.manners.conditions = false;
        self
    }

    /// Neither compares nor keeps digests and checksums that clients state, as some compatible stores do. The signed SHA-256 of the
    /// body is compared all the same.
    pub fn without_checksums(mut self) -> Self {
        self.manners.checksums = false;
        self
    }

    /// Makes entity tags that are no MD5 sums, as those of objects under a key of KMS.
    pub fn without_md5_etags(mut self) -> Self {
        self.manners.md5_etags = false;
        self
    }

    /// Answers the second completion of an upload as it did the first, instead of 404 `NoSuchUpload`.
    pub fn remembers_completed_uploads(mut self) -> Self {
        self.manners.remembers_completed = true;
        self
    }

    /// Makes the certificate good for another name, too, under which something else leads clients to loopback.
    pub fn host_name(mut self, name: impl Into<String>) -> Self {
        self.host_names.push(name.into());
        self
    }

    /// When the certificate is valid, in days from now; from yesterday on otherwise.
    pub fn certificate_days(mut self, from: i64, to: i64) -> Self {
        self.certificate_days = (from, to);
        self
    }

    /// Binds ports of 127.0.0.1, one with TLS and one without, and serves until the result is dropped.
    ///
    /// # Errors
    ///
    /// If no port can be bound, or no certificate made.
    pub async fn start(self) -> io::Result<FakeS3> {
        let scene = Arc::new(Scene::new());
        let mut store = Store::default();
        let mut names = self.host_names;
        for (name, region) in self.buckets {
            let region = region.as_deref().unwrap_or(&self.region);
            names.push(format!("{name}.localhost"));
            store.buckets.insert(name, Bucket::new(region, scene.now()));
        }
        let core = Arc::new(Core {
            dialect: self.dialect,
            region: self.region,
            access_key_id: self.access_key_id,
            secret_access_key: self.secret_access_key,
            retention: self.retention,
            manners: self.manners,
            store: Mutex::new(store),
            denied: Mutex::new(BTreeSet::new()),
            scene,
            tally: Tally::default(),
            account: ServiceAccount::new(),
        });
        let identity = Identity::new("fake-s3", &names, self.certificate_days)?;
        let mut listeners = JoinSet::new();
        let secure = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let plain = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, plain_address) = (secure.local_addr()?, plain.local_addr()?);
        core.account.set_origin(format!("https://{address}"));
        let door = Arc::new(Door(Arc::clone(&core)));
        listeners.spawn(listen(Arc::clone(&door), secure, Some(identity.acceptor())));
        listeners.spawn(listen(door, plain, None));
        Ok(FakeS3 {
            core,
            identity,
            address,
            plain_address,
            listeners,
        })
    }
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>,
/// <https://cloud.google.com/storage/quotas>
const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;
