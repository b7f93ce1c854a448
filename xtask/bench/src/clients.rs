//! Clients in a loop, without a server around them: what the same bytes cost at least.
//!
//! They run in a process of their own (`attache-bench client …`) and print one line of JSON. What is checked and hashed is
//! what attache checks and hashes: CRC-64 of downloads; SHA-256 and CRC-64 of uploads, CRC-64 of each block, MD5 if asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest as Crc};
use fake_azure::fill_pattern;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Response, body::Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use object_store::azure::{MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::{Certificate, ClientOptions, ObjectStoreExt as _, WriteMultipart};
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::Outcome;
use crate::process::{own_cpu, own_peak};

/// As attache's defaults: `upload.block_bytes`, `upload.concurrency`.
const BLOCK: usize = 8 * 1024 * 1024;
const CONCURRENCY: usize = 2;

/// Of bytes on their way into a file.
const PIECE: usize = 64 * 1024;

/// What a loop does, as JSON on the command line.
pub struct Job(pub Value);

impl Job {
    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or_default()
    }

    fn is_set(&self, name: &str) -> bool {
        self.0[name].as_bool().unwrap_or_default()
    }

    fn ca(&self) -> Outcome<Vec<u8>> {
        Ok(std::fs::read(self.text("ca"))?)
    }
}

/// Runs a job, and tells what it took.
pub async fn run(job: Job) -> Outcome<Value> {
    if job.text("client") == "file" {
        return files(&job);
    }
    let store = Arc::new(match job.text("client") {
        "hyper" => Store::Hyper(Box::new(Raw::new(&job)?)),
        _ => Store::Object(object_store(&job)?),
    });
    let job = Arc::new(job);
    let (cpu, start) = (own_cpu(), Instant::now());
    let next = Arc::new(AtomicU64::new(0));
    let mut loops = tokio::task::JoinSet::new();
    for _ in 0..job.number("connections").min(job.number("requests")) {
        let (store, job, next) = (store.clone(), job.clone(), next.clone());
        loops.spawn(async move {
            loop {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                if turn >= job.number("requests") {
                    return Outcome::Ok(());
                }
                match job.is_set("upload") {
                    true => upload(&store, &job, turn).await?,
                    false => download(&store, &job).await?,
                }
            }
        });
    }
    while let Some(ended) = loops.join_next().await {
        ended??;
    }
    Ok(json!({
        "cpu": own_cpu() - cpu,
        "wall": start.elapsed().as_secs_f64(),
        "peak": own_peak(),
    }))
}

/// What an upload to local disk costs at least: bytes from a socket into files, which are on disk before the next one begins.
fn files(job: &Job) -> Outcome<Value> {
    use std::io::{Read as _, Write as _};
    let (cpu, start) = (own_cpu(), Instant::now());
    let mut source = std::net::TcpStream::connect(job.text("from"))?;
    let mut piece = vec![0; PIECE];
    for turn in 0..job.number("requests") {
        let mut file = std::fs::File::create(format!("{}-{}", job.text("path"), turn % 4))?;
        let mut md5 = job.is_set("md5").then(md5::Md5::new);
        let mut left = job.number("size");
        while left > 0 {
            let take = PIECE.min(left.try_into()?);
            source.read_exact(&mut piece[..take])?;
            if let Some(md5) = &mut md5 {
                md5.update(&piece[..take]);
            }
            file.write_all(&piece[..take])?;
            left -= take as u64;
        }
        std::hint::black_box(md5.map(|md5| md5.finalize()));
        file.sync_all()?;
    }
    Ok(json!({
        "cpu": own_cpu() - cpu,
        "wall": start.elapsed().as_secs_f64(),
        "peak": own_peak(),
    }))
}

async fn download(store: &Store, job: &Job) -> Outcome<()> {
    let (name, size) = (job.text("name"), job.number("size"));
    let mut crc = Crc::new(CrcAlgorithm::Crc64Nvme);
    let mut received = 0;
    match store {
        Store::Hyper(raw) => {
            let mut body = raw
                .ask(Method::GET, name, "", Bytes::new())
                .await?
                .into_body();
            while let Some(frame) = body.frame().await {
                if let Ok(chunk) = frame?.into_data() {
                    received += chunk.len() as u64;
                    crc.update(&chunk);
                }
            }
        }
        Store::Object(store) => {
            let mut chunks = store.get(&name.into()).await?.into_stream();
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk?;
                received += chunk.len() as u64;
                crc.update(&chunk);
            }
        }
    }
    match received == size && crc.finalize() == job.number("crc") {
        true => Ok(()),
        false => Err(format!("{received} bytes, or others than were stored").into()),
    }
}

async fn upload(store: &Arc<Store>, job: &Job, turn: u64) -> Outcome<()> {
    let (size, name) = (
        job.number("size"),
        format!("loop/{}-{turn}", std::process::id()),
    );
    let mut source = Source::open(job).await?;
    let mut hashes = Hashes::new(job.is_set("md5"));
    if size <= BLOCK as u64 {
        let bytes = source.take(size.try_into()?).await?;
        hashes.update(&bytes);
        match &**store {
            Store::Hyper(raw) => drop(raw.ask(Method::PUT, &name, "", bytes).await?),
            Store::Object(store) => drop(store.put(&name.as_str().into(), bytes.into()).await?),
        }
        hashes.finish();
        return Ok(());
    }
    let blocks = size.div_ceil(BLOCK as u64);
    match &**store {
        Store::Hyper(_) => {
            let mut sending = tokio::task::JoinSet::new();
            for block in 0..blocks {
                if sending.len() == CONCURRENCY {
                    sending.join_next().await.ok_or("nothing is sent")???;
                }
                let bytes = source
                    .take(BLOCK.min((size - block * BLOCK as u64).try_into()?))
                    .await?;
                hashes.update(&bytes);
                let (store, name) = (store.clone(), name.clone());
                sending.spawn(async move {
                    let Store::Hyper(raw) = &*store else {
                        return Outcome::Ok(());
                    };
                    std::hint::black_box(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &bytes));
                    let query = format!("&comp=block&blockid={}", block_id(block));
                    raw.ask(Method::PUT, &name, &query, bytes).await?;
                    Ok(())
                });
            }
            while let Some(sent) = sending.join_next().await {
                sent??;
            }
            let ids = (0..blocks).map(|block| format!("<Latest>{}</Latest>", block_id(block)));
            let list = format!("<BlockList>{}</BlockList>", ids.collect::<String>());
            let Store::Hyper(raw) = &**store else {
                return Ok(());
            };
            raw.ask(Method::PUT, &name, "&comp=blocklist", list.into())
                .await?;
        }
        Store::Object(store) => {
            let parts = store.put_multipart(&name.as_str().into()).await?;
            let mut writer = WriteMultipart::new_with_chunk_size(parts, BLOCK);
            for block in 0..blocks {
                writer.wait_for_capacity(CONCURRENCY).await?;
                let bytes = source
                    .take(BLOCK.min((size - block * BLOCK as u64).try_into()?))
                    .await?;
                hashes.update(&bytes);
                std::hint::black_box(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &bytes));
                writer.put(bytes);
            }
            writer.finish().await?;
        }
    }
    hashes.finish();
    Ok(())
}

/// Ids have one length, are base64, and need no encoding in a query: six digits are both.
fn block_id(block: u64) -> String {
    format!("{block:08}")
}

struct Hashes {
    sha256: Sha256,
    crc: Crc,
    md5: Option<md5::Md5>,
}

impl Hashes {
    fn new(md5: bool) -> Self {
        Self {
            sha256: Sha256::new(),
            crc: Crc::new(CrcAlgorithm::Crc64Nvme),
            md5: md5.then(md5::Md5::new),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.crc.update(bytes);
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
    }

    fn finish(self) {
        let digests = (
            self.sha256.finalize(),
            self.crc.finalize(),
            self.md5.map(|md5| md5.finalize()),
        );
        std::hint::black_box(digests);
    }
}

/// Where the bytes of an upload come from: memory, or, as in a server, a socket.
enum Source {
    Memory { piece: Bytes },
    Socket(TcpStream),
}

impl Source {
    async fn open(job: &Job) -> Outcome<Self> {
        match job.0["from"].as_str() {
            Some(address) => Ok(Self::Socket(TcpStream::connect(address).await?)),
            None => {
                let mut piece = vec![0; BLOCK.min(job.number("size").try_into()?)];
                fill_pattern(0, &mut piece);
                Ok(Self::Memory {
                    piece: piece.into(),
                })
            }
        }
    }

    async fn take(&mut self, length: usize) -> Outcome<Bytes> {
        match self {
            Self::Memory { piece } => Ok(piece.slice(..length)),
            Self::Socket(stream) => {
                let mut bytes = BytesMut::with_capacity(length);
                while bytes.len() < length {
                    let mut rest = stream.take((length - bytes.len()) as u64);
                    if rest.read_buf(&mut bytes).await? == 0 {
                        return Err("the source ended early".into());
                    }
                }
                Ok(bytes.freeze())
            }
        }
    }
}

enum Store {
    Hyper(Box<Raw>),
    Object(MicrosoftAzure),
}

struct Raw {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    container: String,
    sas: String,
}

impl Raw {
    fn new(job: &Job) -> Outcome<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in rustls::pki_types::CertificateDer::pem_slice_iter(&job.ca()?) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            container: format!("{}/{}", job.text("endpoint"), job.text("container")),
            sas: job.text("sas").to_owned(),
        })
    }

    async fn ask(
        &self,
        method: Method,
        name: &str,
        query: &str,
        body: Bytes,
    ) -> Outcome<Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/{name}?{}{query}", self.container, self.sas))
            .header("x-ms-version", "2021-12-02")
            .header("x-ms-blob-type", "BlockBlob")
            .body(Full::new(body))?;
        let answer = self.client.request(request).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let text = answer.into_body().collect().await?.to_bytes();
        Err(format!("{status}: {}", String::from_utf8_lossy(&text)).into())
    }
}

fn object_store(job: &Job) -> Outcome<MicrosoftAzure> {
    let options = ClientOptions::new().with_root_certificate(Certificate::from_pem(&job.ca()?)?);
    Ok(MicrosoftAzureBuilder::new()
        .with_account(job.text("account"))
        .with_access_key(job.text("key"))
        .with_container_name(job.text("container"))
        .with_endpoint(job.text("endpoint").to_owned())
        .with_client_options(options)
        .build()?)
}
