//! One stand-in for Azure, and every peer in front of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use sha2::Sha256;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::local;
use crate::process::{Process, free_address};
use crate::stage::Running;
use crate::{Outcome, Places};

pub const CONTAINER: &str = "files";

/// Somebody who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    Attache,
    AttacheBefore,
    AttacheWithoutMd5,
    AttacheLocal,
    AttacheLocalBefore,
    Nginx,
    NginxLarge,
    NginxH2,
    NginxLocal,
    Rclone,
    AttacheS3,
    AttacheS3Before,
    AttacheS3Azure,
    RcloneS3,
    NodeSingleton,
    NodeRequest,
    NodePiped,
    Hyper,
    HyperMd5,
    HyperSocket,
    HyperSocketMd5,
    FileSocket,
    FileSocketMd5,
    ObjectStore,
}

impl Peer {
    pub const fn is_s3(self) -> bool {
        matches!(
            self,
            Self::AttacheS3 | Self::AttacheS3Before | Self::AttacheS3Azure | Self::RcloneS3
        )
    }

    /// Whether it is the attache that `--before` names.
    pub const fn is_before(self) -> bool {
        matches!(
            self,
            Self::AttacheBefore | Self::AttacheLocalBefore | Self::AttacheS3Before
        )
    }

    /// Whether it is an attache that keeps files on local disk, and serves attachments.
    pub const fn is_local(self) -> bool {
        matches!(self, Self::AttacheLocal | Self::AttacheLocalBefore)
    }

    /// Whether it speaks the API of attache.
    pub const fn is_attache(self) -> bool {
        matches!(
            self,
            Self::Attache | Self::AttacheBefore | Self::AttacheWithoutMd5
        ) || self.is_local()
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Attache => "attache",
            Self::AttacheBefore => "attache, before the change",
            Self::AttacheWithoutMd5 => "attache, `upload.md5 = false`",
            Self::AttacheLocal => "attache, local disk",
            Self::AttacheLocalBefore => "attache, local disk, before the change",
            Self::Nginx => "nginx",
            Self::NginxLarge => "nginx, 64 KiB buffers",
            Self::NginxH2 => "nginx, 64 KiB buffers, HTTP/2",
            Self::NginxLocal => "nginx, local disk",
            Self::Rclone => "rclone serve http",
            Self::AttacheS3 => "attache, S3",
            Self::AttacheS3Before => "attache, S3, before the change",
            Self::AttacheS3Azure => "attache, S3 before the stand-in",
            Self::RcloneS3 => "rclone serve s3",
            Self::NodeSingleton => "Node, singleton",
            Self::NodeRequest => "Node, client per request",
            Self::NodePiped => "Node, singleton with pipeline()",
            Self::Hyper => "hyper in a loop",
            Self::HyperMd5 => "hyper in a loop, with MD5",
            Self::HyperSocket => "hyper in a loop, fed by a socket",
            Self::HyperSocketMd5 => "hyper in a loop, fed by a socket, with MD5",
            Self::FileSocket => "a loop, from a socket into files",
            Self::FileSocketMd5 => "a loop, from a socket into files, with MD5",
            Self::ObjectStore => "object_store in a loop",
        }
    }
}

/// The stand-in, a folder for everything, and what the peers need to reach it.
pub struct World {
    pub folder: PathBuf,
    _fake: Process,
    told: Value,
    admin: SocketAddr,
    pub sas: String,
    before: Option<PathBuf>,
}

impl World {
    pub fn start(places: &Places, before: Option<PathBuf>) -> Outcome<Self> {
        let folder = std::env::temp_dir().join(format!("attache-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let mut command = Command::new(&places.fake_azure);
        command
            .args([
                "--retention",
                "pattern",
                "--container",
                CONTAINER,
                "--ca-out",
            ])
            .arg(folder.join("ca.pem"));
        let (fake, told) = Process::start_and_read("fake-azure", &mut command, |line| {
            serde_json::from_str::<Value>(line).ok()
        })?;
        let admin = told["admin_endpoint"].as_str().unwrap_or_default();
        let admin = admin.trim_start_matches("http://").parse()?;
        let key = told["account_key"].as_str().unwrap_or_default();
        let sas = container_sas(told["account"].as_str().unwrap_or_default(), key)?;
        Ok(Self {
            folder,
            _fake: fake,
            told,
            admin,
            sas,
            before,
        })
    }

    /// A word of the stand-in about itself.
    pub fn word(&self, name: &str) -> &str {
        self.told[name].as_str().unwrap_or_default()
    }

    /// A count of the stand-in.
    pub fn count(&self, name: &str) -> Outcome<u64> {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(self.admin)?;
        stream.write_all(b"GET /_counts HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (_, body) = text.split_once("\r\n\r\n").ok_or("no counts")?;
        let counts: Value = serde_json::from_str(body)?;
        counts[name]
            .as_u64()
            .ok_or_else(|| format!("{name} is not counted").into())
    }

    /// Starts a server, and waits until it listens. `at` is where it keeps what it keeps.
    pub fn serve(&self, peer: Peer, places: &Places, at: &str) -> Outcome<Running> {
        if peer.is_s3() {
            return self.serve_s3(peer, places, at);
        }
        let (process, address) = self.serve_http(peer, places, at)?;
        Ok(Running {
            process,
            address,
            key: None,
        })
    }

    fn serve_http(&self, peer: Peer, places: &Places, at: &str) -> Outcome<(Process, SocketAddr)> {
        let folder = self.folder.join(at);
        std::fs::create_dir_all(&folder)?;
        match peer {
            _ if peer.is_attache() => self.attache(peer, places, &folder),
            Peer::Nginx => self.nginx(places, &folder, "", ""),
            Peer::NginxLarge => self.nginx(places, &folder, "", LARGE_BUFFERS),
            // Deprecated since nginx 1.25.1, and understood by those before and after it, unlike `http2 on`.
            Peer::NginxH2 => self.nginx(places, &folder, "http2", LARGE_BUFFERS),
            Peer::NginxLocal => local::nginx(places, &folder),
            Peer::Rclone => self.rclone(places),
            Peer::NodeSingleton => self.node(places, "singleton"),
            Peer::NodeRequest => self.node(places, "request"),
            Peer::NodePiped => self.node(places, "piped"),
            _ => Err("a loop is no server".into()),
        }
    }

    fn attache(
        &self,
        peer: Peer,
        places: &Places,
        folder: &Path,
    ) -> Outcome<(Process, SocketAddr)> {
        let mut command = self.attache_command(peer, places, folder);
        Process::start_and_read("attache", command.arg("serve"), |line| {
            line.split_once("listening on http://")?
                .1
                .trim()
                .parse()
                .ok()
        })
    }

    /// An attache before the stand-in; what it does is still to be said.
    pub fn attache_command(&self, peer: Peer, places: &Places, folder: &Path) -> Command {
        let mut command = Command::new(match &self.before {
            Some(before) if peer.is_before() => before,
            _ => &places.attache,
        });
        command
            .current_dir(folder)
            .env_clear()
            .env("ATTACHE_SERVER__LISTEN", "127.0.0.1:0")
            .env("ATTACHE_STORAGE__BACKEND", "azure")
            .env(
                "ATTACHE_STORAGE__AZURE__ENDPOINT",
                self.word("blob_endpoint"),
            )
            .env(
                "ATTACHE_STORAGE__AZURE__CA_FILE",
                self.folder.join("ca.pem"),
            )
            .env("AZURE_STORAGE_ACCOUNT_NAME", self.word("account"))
            .env("AZURE_STORAGE_CONTAINER_NAME", CONTAINER)
            .env("AZURE_AUTHORITY_HOST", self.word("authority_host"))
            .env("AZURE_TENANT_ID", self.word("tenant_id"))
            .env("AZURE_CLIENT_ID", self.word("client_id"))
            .env("AZURE_CLIENT_SECRET", self.word("client_secret"));
        if peer.is_local() {
            command.env("ATTACHE_STORAGE__BACKEND", "local");
        }
        if peer == Peer::AttacheWithoutMd5 {
            command.env("ATTACHE_UPLOAD__MD5", "false");
        }
        command
    }

    fn nginx(
        &self,
        places: &Places,
        folder: &Path,
        protocol: &str,
        buffers: &str,
    ) -> Outcome<(Process, SocketAddr)> {
        let address = free_address()?;
        let endpoint = self.word("blob_endpoint");
        let (host, account) = endpoint
            .trim_start_matches("https://")
            .split_once('/')
            .ok_or("an endpoint without its account")?;
        let config = NGINX
            .replace("@BUFFERS@", buffers)
            .replace("@CA@", &self.folder.join("ca.pem").display().to_string())
            .replace("@HOST@", host)
            .replace("@LISTEN@", &format!("{address} {protocol}"))
            .replace("@PATH@", &format!("{account}/{CONTAINER}"))
            .replace("@SAS@", &self.sas);
        let process = start_nginx(places, folder, &config, address)?;
        Ok((process, address))
    }

    fn rclone(&self, places: &Places) -> Outcome<(Process, SocketAddr)> {
        let address = free_address()?;
        let mut command = Command::new(&places.rclone);
        command
            .args([
                "serve",
                "http",
                "--read-only",
                "--config",
                "/dev/null",
                "--addr",
                &address.to_string(),
            ])
            .arg("--ca-cert")
            .arg(self.folder.join("ca.pem"))
            .arg("--azureblob-sas-url")
            .arg(format!(
                "{}/{CONTAINER}?{}",
                self.word("blob_endpoint"),
                self.sas
            ))
            .arg(format!(":azureblob:{CONTAINER}"));
        let mut process = Process::start("rclone", &mut command)?;
        process.await_listening(address)?;
        Ok((process, address))
    }

    fn node(&self, places: &Places, mode: &str) -> Outcome<(Process, SocketAddr)> {
        let mut command = Command::new(&places.node);
        command
            .arg("server.js")
            .current_dir(&places.node_server)
            .env("MODE", mode)
            .env("NODE_ENV", "production")
            .env("NODE_EXTRA_CA_CERTS", self.folder.join("ca.pem"))
            .env("ACCOUNT", self.word("account"))
            .env("AUTHORITY_HOST", self.word("authority_host"))
            .env("BLOB_ENDPOINT", self.word("blob_endpoint"))
            .env("CLIENT_ID", self.word("client_id"))
            .env("CLIENT_SECRET", self.word("client_secret"))
            .env("CONTAINER", CONTAINER)
            .env("TENANT_ID", self.word("tenant_id"));
        let (process, port) = Process::start_and_read("node", &mut command, |line| {
            line.strip_prefix("listening on ")?.trim().parse().ok()
        })?;
        Ok((process, SocketAddr::from(([127, 0, 0, 1], port))))
    }
}

/// Starts an nginx in `folder` with these servers, and waits until it listens.
pub fn start_nginx(
    places: &Places,
    folder: &Path,
    servers: &str,
    address: SocketAddr,
) -> Outcome<Process> {
    let config = format!("{NGINX_BEGINS}{servers}}}\n");
    std::fs::write(folder.join("nginx.conf"), config)?;
    let mut command = Command::new(&places.nginx);
    command
        .arg("-p")
        .arg(folder)
        .args(["-c", "nginx.conf", "-e", "error.log"]);
    let mut process = Process::start("nginx", &mut command)?;
    process.await_listening(address)?;
    Ok(process)
}

impl Drop for World {
    fn drop(&mut self) {
        if std::env::var_os("ATTACHE_BENCH_LOGS").is_none() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// A whole response of 64 KiB fits into the first of them.
const LARGE_BUFFERS: &str =
    "proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k;";

/// What every nginx has: room for as many connections as any case makes, and nothing outside of its folder.
const NGINX_BEGINS: &str = "\
daemon off;
worker_processes auto;
worker_rlimit_nofile 16384;
pid nginx.pid;
error_log error.log;
events { worker_connections 8192; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 1000000;
";

/// nginx as a relay: as many kept connections to the store as any case has clients; connections to the store are kept and verified, nothing goes to disk, uploads are streamed.
const NGINX: &str = "\
    upstream store { server @HOST@; keepalive 256; keepalive_requests 1000000; }
    server {
        listen @LISTEN@ backlog=4096;
        client_max_body_size 0;
        proxy_http_version 1.1;
        proxy_set_header Connection \"\";
        proxy_set_header Host @HOST@;
        proxy_ssl_trusted_certificate @CA@;
        proxy_ssl_verify on;
        proxy_ssl_name localhost;
        proxy_max_temp_file_size 0;
        proxy_request_buffering off;
        @BUFFERS@
        location /relay/ {
            rewrite ^/relay/(.*)$ /@PATH@/$1?@SAS@ break;
            proxy_pass https://store;
        }
        location /upload/ {
            rewrite ^/upload/(.*)$ /@PATH@/$1?@SAS@ break;
            proxy_method PUT;
            proxy_set_header x-ms-blob-type BlockBlob;
            proxy_set_header x-ms-version 2021-12-02;
            proxy_pass https://store;
        }
    }
";

/// What lets nginx, rclone and a plain HTTP client in: a signature of the account key for the container, for a day
/// (<https://learn.microsoft.com/rest/api/storageservices/create-service-sas#version-2020-12-06-and-later>).
fn container_sas(account: &str, key: &str) -> Outcome<String> {
    const VERSION: &str = "2021-12-02";
    let now: i64 = SystemTime::now()
        .duration_since(UNIX_EPOCH)?
        .as_secs()
        .try_into()?;
    let expiry = OffsetDateTime::from_unix_timestamp(now + 24 * 60 * 60)?.format(&Rfc3339)?;
    let resource = format!("/blob/{account}/{CONTAINER}");
    let text = [
        "rcwl", "", &expiry, &resource, "", "", "https", VERSION, "c", "", "", "", "", "", "", "",
    ]
    .join("\n");
    let base64 = base64::engine::general_purpose::STANDARD;
    let mut mac = Hmac::<Sha256>::new_from_slice(&base64.decode(key)?)?;
    mac.update(text.as_bytes());
    let signature = base64.encode(mac.finalize().into_bytes());
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    Ok(format!(
        "sv={VERSION}&sr=c&sp=rcwl&spr=https&se={}&sig={}",
        encode(&expiry),
        encode(&signature)
    ))
}
