//! The S3 endpoint beside `rclone serve s3`, both on local disk, and its redirects beside those of attachments.
//!
//! Requests are presigned, with a payload that is not, ahead of what is measured: the same bytes for everybody.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::cases::{CONNECTIONS, Case, KIB, MIB, SMALL};
use crate::load::{self, Load, Wants};
use crate::plan::Plan;
use crate::process::{Process, free_address};
use crate::stage::{Results, Running, Stage, unless_broken};
use crate::world::{CONTAINER, Peer, World};
use crate::{Outcome, Places};

/// Names of the bucket, and of its folder.
const BUCKET: &str = CONTAINER;

/// Objects that large requests are spread over.
const LARGE: u64 = 4;

/// An id, and the secret that requests are signed with.
#[derive(Clone, Debug)]
pub struct AccessKey {
    id: String,
    secret: String,
}

/// What many large uploads at once made a server hold: resident bytes after a first small one, and the most that ever were.
#[derive(Clone, Copy, Debug)]
pub struct Uploads {
    pub count: u64,
    pub idle: u64,
    pub peak: u64,
}

impl World {
    /// Starts a server with an S3 endpoint, and makes a key for it.
    pub fn serve_s3(&self, peer: Peer, places: &Places, at: &str) -> Outcome<Running> {
        let folder = self.folder.join(at);
        std::fs::create_dir_all(&folder)?;
        match peer {
            Peer::RcloneS3 => rclone(places, &folder),
            _ => self.attache_s3(peer, places, &folder),
        }
    }

    fn attache_s3(&self, peer: Peer, places: &Places, folder: &Path) -> Outcome<Running> {
        let address = free_address()?;
        let (backend, delivery) = match peer {
            Peer::AttacheS3Azure => ("azure", "redirect"),
            _ => ("local", "relay"),
        };
        std::fs::write(
            folder.join("attache.toml"),
            format!(
                "[s3]\nlisten = \"{address}\"\n[s3.buckets.{BUCKET}]\ncontainer = \"{BUCKET}\"\ndelivery = \"{delivery}\"\n"
            ),
        )?;
        let command = || {
            let mut command = self.attache_command(peer, places, folder);
            command
                .env("ATTACHE_CONFIG", folder.join("attache.toml"))
                .env("ATTACHE_STORAGE__BACKEND", backend);
            command
        };
        // Before the server starts: it knows the key from the beginning.
        let made = command()
            .args([
                "key", "create", "--name", "bench", "--json", "--bucket", BUCKET,
            ])
            .output()?;
        let key: Value = serde_json::from_slice(&made.stdout)
            .map_err(|_| String::from_utf8_lossy(&made.stderr).into_owned())?;
        let word = |name: &str| key[name].as_str().unwrap_or_default().to_owned();
        let mut process = Process::start("attache", command().arg("serve"))?;
        process.await_listening(address)?;
        Ok(Running {
            process,
            address,
            key: Some(AccessKey {
                id: word("access_key_id"),
                secret: word("secret_access_key"),
            }),
        })
    }
}

fn rclone(places: &Places, folder: &Path) -> Outcome<Running> {
    std::fs::create_dir_all(folder.join(BUCKET))?;
    let address = free_address()?;
    let key = AccessKey {
        id: "BENCHBENCHBENCHBENCH".to_owned(),
        secret: "benchbenchbenchbenchbenchbenchbenchbench".to_owned(),
    };
    let mut command = Command::new(&places.rclone_s3);
    command
        .args(["serve", "s3", "--config", "/dev/null"])
        .args(["--addr", &address.to_string()])
        .args(["--auth-key", &format!("{},{}", key.id, key.secret)])
        .arg(folder);
    let mut process = Process::start("rclone", &mut command)?;
    process.await_listening(address)?;
    Ok(Running {
        process,
        address,
        key: Some(key),
    })
}

impl Stage<'_> {
    /// A load of presigned requests.
    pub fn s3_load(&self, case: Case, server: &Running, requests: u64) -> Outcome<Load> {
        let size = case.size(self.plan);
        let large = case.is_large();
        let method = if case.is_upload() { "PUT" } else { "GET" };
        // What is read is what was stored ahead.
        let stored = if large { 64 * MIB } else { 64 * KIB };
        let heads = signed(server, method, stored, if large { LARGE } else { SMALL })?;
        Ok(Load {
            address: server.address,
            h2: false,
            connections: CONNECTIONS,
            requests,
            head: Arc::new(move |turn| {
                heads[usize::try_from(turn).unwrap_or(0) % heads.len()].clone()
            }),
            sends: if case.is_upload() { size } else { 0 },
            wants: match case {
                Case::S3Redirect => Wants::Status(302),
                _ if case.is_upload() => Wants::Status(200),
                _ => Wants::whole(size),
            },
        })
    }

    /// Stores what is read later.
    pub async fn s3_store(&self, server: &Running) -> Outcome<()> {
        for (case, count) in [(Case::S3Put64K, SMALL), (Case::S3Put64M, LARGE)] {
            load::run(&self.s3_load(case, server, count)?).await?;
        }
        Ok(())
    }

    /// Many large uploads at once, to a process that did little before.
    pub async fn s3_uploads(&self, results: &mut Results) -> Outcome<()> {
        for peer in [Peer::AttacheS3, Peer::AttacheS3Before, Peer::RcloneS3] {
            if !self.plan.takes_part(peer) {
                continue;
            }
            let held = self.s3_uploads_of(peer).await;
            if let Some(held) = unless_broken("uploads at once", peer, held)? {
                eprintln!("bench: uploads at once, {}: {held:?}", peer.name());
                results.uploads.insert(peer, held);
            }
        }
        Ok(())
    }

    async fn s3_uploads_of(&self, peer: Peer) -> Outcome<Uploads> {
        let server = self
            .world
            .serve_s3(peer, self.places, &format!("{peer:?}-uploads"))?;
        load::run(&self.s3_load(Case::S3Put64K, &server, 16)?).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let idle = server.process.resident();
        let count = self.plan.uploads_at_once();
        let heads = signed(&server, "PUT", 100 * MIB, count)?;
        load::run(&Load {
            address: server.address,
            h2: false,
            connections: usize::try_from(count)?,
            requests: count,
            head: Arc::new(move |turn| heads[usize::try_from(turn).unwrap_or(0)].clone()),
            sends: 100 * MIB,
            wants: Wants::Status(200),
        })
        .await?;
        Ok(Uploads {
            count,
            idle,
            peak: server.process.peak(),
        })
    }
}

/// What the document says of them.
pub fn uploads(text: &mut String, plan: &Plan, results: &Results) {
    if results.uploads.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "## S3 uploads at once\n\n\
         {} PUTs of 100 MiB at the same time, to a fresh process. *Before* is what is resident after 16 PUTs of 64 KiB, *peak* the \
         most that was resident at once.\n\n\
         | | before | peak | growth | growth for each upload |\n| --- | --- | --- | --- | --- |",
        plan.uploads_at_once()
    );
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / MIB as f64);
    for peer in [Peer::AttacheS3, Peer::AttacheS3Before, Peer::RcloneS3] {
        let Some(held) = results.uploads.get(&peer) else {
            continue;
        };
        let growth = held.peak.saturating_sub(held.idle);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} KiB |",
            peer.name(),
            mib(held.idle),
            mib(held.peak),
            mib(growth),
            growth / held.count / KIB
        );
    }
    text.push('\n');
}

/// Heads of `count` requests, for a key each.
fn signed(server: &Running, method: &str, size: u64, count: u64) -> Outcome<Vec<String>> {
    let key = server.key.as_ref().ok_or("a server without a key")?;
    let at = OffsetDateTime::now_utc();
    (0..count)
        .map(|number| {
            let path = format!("/{BUCKET}/bench/{size}/{number}");
            let target = presigned(method, server.address, &path, key, at)?;
            let host = server.address;
            Ok(format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n"))
        })
        .collect()
}

/// Path and query of a presigned URL
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>). `path` needs no escapes.
fn presigned(
    method: &str,
    host: SocketAddr,
    path: &str,
    key: &AccessKey,
    at: OffsetDateTime,
) -> Outcome<String> {
    const REGION: &str = "us-east-1";
    const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    let date = at.format(format_description!("[year][month][day]"))?;
    let time = at.format(format_description!(
        "[year][month][day]T[hour][minute][second]Z"
    ))?;
    let scope = format!("{date}/{REGION}/s3/aws4_request");
    let credential = format!("{}/{scope}", key.id);
    let query = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}&X-Amz-Date={time}&X-Amz-Expires=86400&X-Amz-SignedHeaders=host",
        utf8_percent_encode(&credential, UNRESERVED)
    );
    let request = format!("{method}\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD");
    let digest = hex(&Sha256::digest(request));
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
    let mut signing = format!("AWS4{}", key.secret).into_bytes();
    for part in [date.as_str(), REGION, "s3", "aws4_request", text.as_str()] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&signing)?;
        mac.update(part.as_bytes());
        signing = mac.finalize().into_bytes().to_vec();
    }
    Ok(format!("{path}?{query}&X-Amz-Signature={}", hex(&signing)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
