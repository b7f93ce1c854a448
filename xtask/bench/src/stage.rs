//! The rounds: every case on every peer in turn, and what it took.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fake_azure::fill_pattern;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::cases::{CONNECTIONS, Case, KIB, MIB, SMALL};
use crate::growth::Curves;
use crate::holding::{Left, Slow};
use crate::latency::Waits;
use crate::load::{self, Load, Wants};
use crate::local;
use crate::many::Cold;
use crate::plan::{Part, Plan};
use crate::process::Process;
use crate::s3::{AccessKey, Uploads};
use crate::world::{CONTAINER, Peer, World};
use crate::{Outcome, Places};

/// One round of one case on one peer.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub cpu: f64,
    pub wall: f64,
    pub requests: u64,
}

impl fmt::Display for Sample {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cpu,
            wall,
            requests,
        } = self;
        write!(out, "{cpu:.2} s CPU, {wall:.2} s for {requests} requests")
    }
}

/// Everything that was measured.
#[derive(Default)]
pub struct Results {
    pub samples: HashMap<(Case, Peer), Vec<Sample>>,
    /// Seconds from the start of the program to the last byte of its first answer.
    pub cold: HashMap<Peer, Vec<f64>>,
    /// Resident bytes after the first answer, and some time after all loads.
    pub idle: HashMap<Peer, u64>,
    /// The part of the same that is no file's.
    pub idle_private: HashMap<Peer, u64>,
    pub after: HashMap<Peer, u64>,
    pub peak: HashMap<Peer, u64>,
    pub slow: HashMap<Peer, Slow>,
    pub left: HashMap<Peer, Left>,
    pub uploads: HashMap<Peer, Uploads>,
    pub many: Cold,
    pub waits: Waits,
    pub curves: Curves,
    /// Who did not get through a round.
    pub broken: Vec<(Case, Peer)>,
    pub seconds: f64,
}

/// Names of what was stored through one attache.
#[derive(Clone, Default)]
pub struct Stored {
    pub small: Arc<Vec<String>>,
    pub by_size: HashMap<u64, String>,
}

/// A server, and where it listens.
pub struct Running {
    pub process: Process,
    pub address: SocketAddr,
    /// For those that speak S3.
    pub key: Option<AccessKey>,
}

const SERVERS: [Peer; 16] = [
    Peer::Attache,
    Peer::AttacheBefore,
    Peer::AttacheWithoutMd5,
    Peer::AttacheLocal,
    Peer::AttacheLocalBefore,
    Peer::Nginx,
    Peer::NginxLarge,
    Peer::NginxH2,
    Peer::NginxLocal,
    Peer::Rclone,
    Peer::NodeSingleton,
    Peer::NodeRequest,
    Peer::AttacheS3,
    Peer::AttacheS3Before,
    Peer::AttacheS3Azure,
    Peer::RcloneS3,
];

pub async fn measure(plan: &Plan, places: &Places) -> Outcome<Results> {
    let begun = Instant::now();
    let world = World::start(places, plan.before.clone())?;
    let mut results = Results::default();
    let mut running = HashMap::new();
    let mut stored = HashMap::new();
    for peer in SERVERS {
        // What these have stored is read by what is measured besides the rounds, too.
        let used = matches!(peer, Peer::Attache | Peer::AttacheBefore)
            || plan.cases.iter().any(|case| case.peers().contains(&peer));
        if !used || !plan.takes_part(peer) {
            continue;
        }
        let server = world.serve(peer, places, &format!("{peer:?}"))?;
        match peer {
            Peer::Attache | Peer::AttacheBefore => {
                let sizes = [64 * KIB, MIB, 100 * MIB, plan.large()];
                stored.insert(peer, store(server.address, &sizes).await?);
            }
            Peer::AttacheLocal | Peer::AttacheLocalBefore => {
                stored.insert(peer, store(server.address, &local::SIZES).await?);
            }
            Peer::NginxLocal => {
                let folder = world.folder.join(format!("{peer:?}"));
                local::lay_out(&folder, &stored[&Peer::AttacheLocal])?;
            }
            _ => {}
        }
        running.insert(peer, server);
    }
    let stage = Stage {
        plan,
        world: &world,
        places,
        stored,
    };
    for server in running.values().filter(|server| server.key.is_some()) {
        stage.s3_store(server).await?;
    }
    for round in 0..plan.rounds {
        for case in &plan.cases {
            let mut peers: Vec<Peer> = case
                .peers()
                .iter()
                .copied()
                .filter(|peer| plan.takes_part(*peer))
                .collect();
            // Nobody is always first, or always behind the same one.
            let turn = round % peers.len();
            peers.rotate_left(turn);
            if round % 2 == 1 {
                peers.reverse();
            }
            for peer in peers {
                let outcome = match running.get(&peer) {
                    Some(server) => stage.load(*case, peer, server, round).await,
                    None => stage.run_loop(*case, peer).await,
                };
                let what = case.word();
                let Some(sample) = unless_broken(what, peer, outcome)? else {
                    results.broken.push((*case, peer));
                    continue;
                };
                let (round, peer_name) = (round + 1, peer.name());
                eprintln!("bench: round {round}, {what}, {peer_name}: {sample}");
                results
                    .samples
                    .entry((*case, peer))
                    .or_default()
                    .push(sample);
            }
        }
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    for (peer, server) in running.drain() {
        results.peak.insert(peer, server.process.peak());
        results.after.insert(peer, server.process.resident());
    }
    if plan.does(Part::Rest) {
        stage.rest(&mut results).await?;
    }
    if plan.does(Part::S3Uploads) {
        stage.s3_uploads(&mut results).await?;
    }
    if plan.does(Part::Many) {
        stage.many(&mut results.many).await?;
    }
    if plan.does(Part::Latency) {
        stage.latency(&mut results.waits).await?;
    }
    stage.growth(&mut results).await?;
    results.seconds = begun.elapsed().as_secs_f64();
    Ok(results)
}

/// A peer that breaks is a finding, told on stderr, and no reason not to measure the others; attache must not.
pub fn unless_broken<T>(what: &str, peer: Peer, outcome: Outcome<T>) -> Outcome<Option<T>> {
    match outcome {
        Err(error) if peer != Peer::Attache => {
            eprintln!("bench: {what}, {}: {error}", peer.name());
            Ok(None)
        }
        Err(error) => Err(format!("{what}, {}: {error}", peer.name()).into()),
        Ok(value) => Ok(Some(value)),
    }
}

/// Stores what is read later.
async fn store(address: SocketAddr, sizes: &[u64]) -> Outcome<Stored> {
    let mut stored = Stored::default();
    let mut small = Vec::new();
    for _ in 0..SMALL {
        small.push(store_one(address, 4 * KIB).await?);
    }
    stored.small = Arc::new(small);
    for size in sizes {
        let name = store_one(address, *size).await?;
        stored.by_size.insert(*size, name);
    }
    Ok(stored)
}

pub async fn store_one(address: SocketAddr, size: u64) -> Outcome<String> {
    store_on(&mut load::Connection::open(address).await?, size).await
}

/// Stores an attachment of `size` bytes of the pattern. Its id.
pub async fn store_on(connection: &mut load::Connection, size: u64) -> Outcome<String> {
    connection.send(UPLOAD, size).await?;
    let body = connection.receive_body(201).await?;
    let attachment: Value = serde_json::from_slice(&body)?;
    let id = attachment["id"]
        .as_str()
        .ok_or("an attachment without an id")?;
    Ok(id.to_owned())
}

const UPLOAD: &str = "POST /v1/attachments?filename=a.bin HTTP/1.1\r\nhost: a\r\ncontent-type: application/octet-stream\r\n";

/// What every case needs.
pub struct Stage<'a> {
    pub plan: &'a Plan,
    pub world: &'a World,
    pub places: &'a Places,
    stored: HashMap<Peer, Stored>,
}

impl Stage<'_> {
    /// One round of a case.
    pub async fn load(
        &self,
        case: Case,
        peer: Peer,
        server: &Running,
        round: usize,
    ) -> Outcome<Sample> {
        let requests = case.requests(peer, self.plan);
        let load = if server.key.is_some() {
            self.s3_load(case, server, requests)?
        } else {
            self.load_of(case, peer, server, round)
        };
        // Connections and code are warm; what is measured is the steady state.
        let warm = if case.is_large() { 0 } else { 200 };
        measured(server, &load, warm).await
    }

    /// The load of a case that speaks no S3.
    pub fn load_of(&self, case: Case, peer: Peer, server: &Running, round: usize) -> Load {
        let size = case.size(self.plan);
        Load {
            address: server.address,
            h2: case.is_h2(),
            connections: case.connections(),
            requests: case.requests(peer, self.plan),
            head: self.head(case, peer, round),
            sends: if case.is_upload() { size } else { 0 },
            wants: match case.like() {
                Case::Redirect | Case::S3Redirect => Wants::Status(302),
                Case::Url => Wants::Status(200),
                Case::Range64K => Wants::Bytes {
                    status: 206,
                    offset: self.plan.large() / 2,
                    length: size,
                },
                _ if case.is_upload() => Wants::Status(201),
                _ => Wants::whole(size),
            },
        }
    }

    pub fn stored(&self, peer: Peer) -> &Stored {
        let by = match peer {
            Peer::NginxLocal => Peer::AttacheLocal,
            peer if self.stored.contains_key(&peer) => peer,
            _ => Peer::Attache,
        };
        &self.stored[&by]
    }

    pub fn head(
        &self,
        case: Case,
        peer: Peer,
        round: usize,
    ) -> Arc<dyn Fn(u64) -> String + Send + Sync> {
        let stored = self.stored(peer);
        let case = case.like();
        let names = match case {
            Case::Redirect | Case::S3Redirect | Case::Url | Case::Relay4K => stored.small.clone(),
            _ if case.is_upload() => Arc::default(),
            Case::Range64K => Arc::new(vec![stored.by_size[&self.plan.large()].clone()]),
            _ => Arc::new(vec![stored.by_size[&case.size(self.plan)].clone()]),
        };
        let range = match case {
            Case::Range64K => {
                let first = self.plan.large() / 2;
                format!(
                    "range: bytes={first}-{}\r\n",
                    first + case.size(self.plan) - 1
                )
            }
            _ => String::new(),
        };
        let ours = peer.is_attache();
        Arc::new(move |turn| {
            if case.is_upload() {
                return match ours {
                    true => UPLOAD.to_owned(),
                    false => format!(
                        "POST /upload/up/{peer:?}-{}-{round}-{turn} HTTP/1.1\r\nhost: a\r\ncontent-type: application/octet-stream\r\n",
                        case.word()
                    ),
                };
            }
            let name = &names[usize::try_from(turn).unwrap_or(0) % names.len()];
            let start = match (case, ours) {
                (Case::Redirect | Case::S3Redirect, true) => format!("GET /attachment/{name}"),
                (Case::Url, true) => format!("POST /v1/attachments/{name}/url"),
                (Case::Redirect, ..) => format!("GET /redirect/user/{name}.bin"),
                (Case::Url, ..) => format!("POST /url/user/{name}.bin"),
                _ => format!("GET {}", relay_path(peer, name)),
            };
            format!("{start} HTTP/1.1\r\nhost: a\r\n{range}")
        })
    }

    /// A loop in a process of its own.
    async fn run_loop(&self, case: Case, peer: Peer) -> Outcome<Sample> {
        let (size, requests) = (case.size(self.plan), case.requests(peer, self.plan));
        let client = match peer {
            Peer::ObjectStore => "object_store",
            Peer::FileSocket | Peer::FileSocketMd5 => "file",
            _ => "hyper",
        };
        let stored = self.stored(peer);
        let name = match case {
            Case::Relay4K => &stored.small[0],
            _ => stored.by_size.get(&size).unwrap_or(&stored.small[0]),
        };
        let mut job = json!({
            "client": client,
            "account": self.world.word("account"),
            "ca": self.world.folder.join("ca.pem"),
            "connections": if case.is_upload() { CONNECTIONS.min(requests.try_into()?) } else { CONNECTIONS },
            "container": CONTAINER,
            "crc": crc_of(size),
            "endpoint": self.world.word("blob_endpoint"),
            "key": self.world.word("account_key"),
            "md5": matches!(peer, Peer::HyperMd5 | Peer::HyperSocketMd5 | Peer::FileSocketMd5),
            "path": self.world.folder.join("loop"),
            "name": format!("user/{name}.bin"),
            "requests": requests,
            "sas": self.world.sas,
            "size": size,
            "upload": case.is_upload(),
        });
        if matches!(peer, Peer::HyperSocket | Peer::HyperSocketMd5) {
            job["from"] = feed(size).await?.to_string().into();
        }
        if client == "file" {
            job["from"] = feed(size * requests).await?.to_string().into();
        }
        let output = Command::new(std::env::current_exe()?)
            .arg("client")
            .arg(job.to_string())
            .output()
            .await?;
        let told: Value = serde_json::from_slice(&output.stdout).map_err(|_| {
            format!(
                "{}, {}: {}",
                case.word(),
                peer.name(),
                String::from_utf8_lossy(&output.stderr)
            )
        })?;
        let number = |name: &str| told[name].as_f64().unwrap_or_default();
        Ok(Sample {
            cpu: number("cpu"),
            wall: number("wall"),
            requests,
        })
    }
}

/// Sends a load, and `warm` requests of it ahead, and tells what it cost `server`.
pub async fn measured(server: &Running, load: &Load, warm: u64) -> Outcome<Sample> {
    if warm > 0 {
        let warm = Load {
            requests: load.requests.min(warm),
            ..load.clone()
        };
        load::run(&warm).await?;
    }
    let before = server.process.cpu();
    let took = load::run(load).await?;
    Ok(Sample {
        cpu: server.process.cpu() - before,
        wall: took.wall.as_secs_f64(),
        requests: load.requests,
    })
}

/// Where a peer relays what attache has stored as `name`.
pub fn relay_path(peer: Peer, name: &str) -> String {
    match peer {
        _ if peer.is_attache() => format!("/attachment/{name}?via=relay"),
        Peer::NginxLocal => format!("/local/user/{name}.bin"),
        Peer::Rclone => format!("/user/{name}.bin"),
        _ => format!("/relay/user/{name}.bin"),
    }
}

fn crc_of(size: u64) -> u64 {
    let mut crc = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
    let mut piece = vec![0; 256 * 1024];
    let mut done = 0;
    while done < size {
        let take = piece
            .len()
            .min(usize::try_from(size - done).unwrap_or(usize::MAX));
        fill_pattern(done, &mut piece[..take]);
        crc.update(&piece[..take]);
        done += take as u64;
    }
    crc.finalize()
}

/// Sends `size` bytes to the first that connects, as a client of a server would.
async fn feed(size: u64) -> Outcome<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        let (mut stream, _) = listener.accept().await?;
        let mut piece = vec![0; 256 * 1024];
        let mut sent = 0;
        while sent < size {
            fill_pattern(sent, &mut piece);
            stream.write_all(&piece).await?;
            sent += piece.len() as u64;
        }
        stream.shutdown().await?;
        Outcome::Ok(())
    });
    Ok(address)
}
