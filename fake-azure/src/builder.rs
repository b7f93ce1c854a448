//! What a stand-in starts with, and the start.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock};

use stand_in::content::Retention;
use stand_in::listen::listen;
use stand_in::scene::Scene;
use stand_in::tls::Identity;
use stand_in::wire;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::core::{Core, Directory};
use crate::counts::Tally;
use crate::server::{Door, Service};
use crate::state::Store;
use crate::{FakeAzure, create_container};

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
    host_names: Vec<String>,
    certificate_days: (i64, i64),
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
            host_names: Vec::new(),
            certificate_days: (-1, 3650),
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
            scene: Arc::new(Scene::new()),
            tally: Tally::new(self.secrets.len()),
            directory: Mutex::new(Directory {
                secrets: self.secrets,
                last_serial: 0,
                revoked_through: 0,
                database_token: None,
                key_generation: 0,
            }),
            authority_host: OnceLock::new(),
            signing_key: random()?,
        });
        for name in &self.containers {
            create_container(&core, name);
        }
        let identity = Identity::new("fake-azure", &self.host_names, self.certificate_days)?;
        let mut listeners = JoinSet::new();
        let mut open = async |service: Service, secure: bool| -> io::Result<SocketAddr> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let address = listener.local_addr()?;
            let tls = secure.then(|| identity.acceptor());
            let door = Door {
                core: Arc::clone(&core),
                service,
            };
            listeners.spawn(listen(Arc::new(door), listener, tls));
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

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("no random numbers"))?;
    Ok(bytes)
}
