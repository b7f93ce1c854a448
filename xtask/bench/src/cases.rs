//! What is measured, on whom, and how often.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fake_azure::fill_pattern;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::load::{self, Load, Wants};
use crate::process::Process;
use crate::world::{CONTAINER, Peer, World};
use crate::{Outcome, Places};

pub const KIB: u64 = 1024;
pub const MIB: u64 = 1024 * KIB;

/// Connections of every load.
pub const CONNECTIONS: usize = 16;

/// Attachments that small requests are spread over.
pub const SMALL: u64 = 256;

/// A load that is repeated in every round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Case {
    Redirect,
    Url,
    Relay4K,
    Relay64K,
    Relay1M,
    RelayLarge,
    Range64K,
    Upload64K,
    Upload1M,
    UploadLarge,
}

impl Case {
    pub const ALL: [Self; 10] = [
        Self::Redirect,
        Self::Url,
        Self::Relay4K,
        Self::Relay64K,
        Self::Relay1M,
        Self::RelayLarge,
        Self::Range64K,
        Self::Upload64K,
        Self::Upload1M,
        Self::UploadLarge,
    ];

    /// A word for flags and file names.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Redirect => "redirect",
            Self::Url => "url",
            Self::Relay4K => "relay-4k",
            Self::Relay64K => "relay-64k",
            Self::Relay1M => "relay-1m",
            Self::RelayLarge => "relay-large",
            Self::Range64K => "range-64k",
            Self::Upload64K => "upload-64k",
            Self::Upload1M => "upload-1m",
            Self::UploadLarge => "upload-large",
        }
    }

    pub fn title(self, plan: &Plan) -> String {
        match self {
            Self::Redirect => "redirect to a signed URL".to_owned(),
            Self::Url => "temporary URL as JSON".to_owned(),
            Self::Relay4K => "relay of 4 KiB".to_owned(),
            Self::Relay64K => "relay of 64 KiB".to_owned(),
            Self::Relay1M => "relay of 1 MiB".to_owned(),
            Self::RelayLarge => format!("relay of {}", size_word(plan.large())),
            Self::Range64K => format!("64 KiB from the middle of {}", size_word(plan.large())),
            Self::Upload64K => "upload of 64 KiB".to_owned(),
            Self::Upload1M => "upload of 1 MiB".to_owned(),
            Self::UploadLarge => format!("upload of {}", size_word(plan.large())),
        }
    }

    /// Bytes of one request.
    pub fn size(self, plan: &Plan) -> u64 {
        match self {
            Self::Redirect | Self::Url => 0,
            Self::Relay4K => 4 * KIB,
            Self::Relay64K | Self::Range64K | Self::Upload64K => 64 * KIB,
            Self::Relay1M | Self::Upload1M => MIB,
            Self::RelayLarge | Self::UploadLarge => plan.large(),
        }
    }

    pub const fn is_upload(self) -> bool {
        matches!(self, Self::Upload64K | Self::Upload1M | Self::UploadLarge)
    }

    pub const fn is_large(self) -> bool {
        matches!(self, Self::RelayLarge | Self::UploadLarge)
    }

    /// Requests of one round: enough for a second of CPU or so, whose clock has steps of 10 ms.
    fn requests(self, peer: Peer, plan: &Plan) -> u64 {
        let slow = matches!(
            peer,
            Peer::NodeSingleton | Peer::NodeRequest | Peer::NodePiped
        );
        let full = match (self, slow) {
            (Self::Redirect | Self::Url, false) => 40_000,
            (Self::Redirect | Self::Url, true) => 400,
            (Self::Relay4K, false) => 20_000,
            (Self::Relay64K | Self::Range64K, false) => 8000,
            (Self::Relay4K | Self::Relay64K | Self::Range64K, true) => 400,
            (Self::Relay1M, true) => 100,
            (Self::Upload64K, true) => 200,
            (Self::Upload1M, true) => 50,
            (Self::Relay1M, _) => 400,
            (Self::Upload64K, _) => 1000,
            (Self::Upload1M, _) => 200,
            (Self::RelayLarge | Self::UploadLarge, _) => 1,
        };
        let full = match (self, peer) {
            // It reads ahead, megabytes for each.
            (Self::Range64K, Peer::Rclone) => 100,
            (_, Peer::Rclone) => (full / 4).max(1),
            _ => full,
        };
        if plan.quick { (full / 4).max(1) } else { full }
    }

    /// Who takes part.
    fn peers(self) -> &'static [Peer] {
        use Peer::{
            Attache, AttacheBefore, AttacheWithoutMd5, Hyper, HyperMd5, HyperSocket,
            HyperSocketMd5, Nginx, NginxLarge, NodeRequest, NodeSingleton, ObjectStore, Rclone,
        };
        match self {
            Self::Redirect | Self::Url => &[Attache, AttacheBefore, NodeSingleton, NodeRequest],
            Self::Range64K => &[
                Attache,
                AttacheBefore,
                Nginx,
                NginxLarge,
                Rclone,
                NodeSingleton,
                NodeRequest,
            ],
            Self::Relay4K | Self::Relay64K | Self::Relay1M | Self::RelayLarge => &[
                Attache,
                AttacheBefore,
                Nginx,
                NginxLarge,
                Rclone,
                NodeSingleton,
                NodeRequest,
                Hyper,
                ObjectStore,
            ],
            Self::Upload64K | Self::Upload1M => &[
                Attache,
                AttacheWithoutMd5,
                AttacheBefore,
                Nginx,
                NodeSingleton,
                NodeRequest,
                Hyper,
                HyperMd5,
                ObjectStore,
            ],
            Self::UploadLarge => &[
                Attache,
                AttacheWithoutMd5,
                AttacheBefore,
                Nginx,
                NodeSingleton,
                NodeRequest,
                Hyper,
                HyperMd5,
                HyperSocket,
                HyperSocketMd5,
                ObjectStore,
            ],
        }
    }
}

/// What to run.
pub struct Plan {
    pub quick: bool,
    pub rounds: usize,
    cases: Vec<Case>,
    /// Words of peers that take part besides attache; all if there are none.
    peers: Vec<String>,
    /// Whether the cases of memory and of starting run, too.
    rest: bool,
    /// Another attache, measured beside this one: a change is judged in one run.
    pub before: Option<PathBuf>,
    /// As it was asked for, to be repeated.
    pub command: String,
}

impl Plan {
    pub fn parse(flags: &[&str]) -> Outcome<Self> {
        let mut plan = Self {
            quick: false,
            rounds: 0,
            cases: Case::ALL.to_vec(),
            peers: Vec::new(),
            rest: true,
            before: None,
            command: ["cargo xtask bench"]
                .iter()
                .chain(flags)
                .copied()
                .collect::<Vec<_>>()
                .join(" "),
        };
        let mut flags = flags.iter();
        while let Some(flag) = flags.next() {
            if *flag == "--quick" {
                plan.quick = true;
                continue;
            }
            let value = flags
                .next()
                .ok_or_else(|| format!("{flag} needs a value"))?;
            match *flag {
                "--rounds" => plan.rounds = value.parse()?,
                "--before" => {
                    plan.before = Some(value.into());
                }
                "--peers" => plan.peers = value.split(',').map(str::to_owned).collect(),
                "--cases" => {
                    let wanted: Vec<&str> = value.split(',').collect();
                    plan.cases.retain(|case| wanted.contains(&case.word()));
                    plan.rest = wanted.contains(&"rest");
                }
                _ => return Err(format!("unknown flag {flag:?}").into()),
            }
        }
        if plan.rounds == 0 {
            plan.rounds = if plan.quick { 3 } else { 5 };
        }
        Ok(plan)
    }

    /// The large attachment.
    pub fn large(&self) -> u64 {
        if self.quick { 128 * MIB } else { 1024 * MIB }
    }

    /// Those who read slowly, and those who leave. rclone gets a tenth: each costs it megabytes.
    pub fn slow_readers(&self, peer: Peer) -> usize {
        let all = if self.quick { 500 } else { 2000 };
        if peer == Peer::Rclone { all / 10 } else { all }
    }

    pub fn leavers(&self) -> usize {
        if self.quick { 200 } else { 1000 }
    }

    fn takes_part(&self, peer: Peer) -> bool {
        match peer {
            Peer::Attache => true,
            Peer::AttacheBefore => self.before.is_some(),
            _ => {
                self.peers.is_empty()
                    || self
                        .peers
                        .iter()
                        .any(|word| format!("{peer:?}").eq_ignore_ascii_case(word))
            }
        }
    }
}

pub fn size_word(bytes: u64) -> String {
    match bytes {
        0..MIB => format!("{} KiB", bytes / KIB),
        _ if bytes % (1024 * MIB) == 0 => format!("{} GiB", bytes / (1024 * MIB)),
        _ => format!("{} MiB", bytes / MIB),
    }
}

/// One round of one case on one peer.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub cpu: f64,
    pub wall: f64,
    pub requests: u64,
}

/// What slow readers made a server hold.
#[derive(Clone, Copy, Debug)]
pub struct Slow {
    pub readers: usize,
    pub bytes_each: u64,
}

/// What those who left have left behind.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    pub leavers: usize,
    pub descriptors: u64,
    pub bytes_each: u64,
    pub reads: u64,
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
    /// Who did not get through a round.
    pub broken: Vec<(Case, Peer)>,
    pub seconds: f64,
}

/// Names of what was stored through one attache.
#[derive(Clone, Default)]
struct Stored {
    small: Arc<Vec<String>>,
    by_size: HashMap<u64, String>,
}

struct Running {
    process: Process,
    address: SocketAddr,
}

const SERVERS: [Peer; 8] = [
    Peer::Attache,
    Peer::AttacheBefore,
    Peer::AttacheWithoutMd5,
    Peer::Nginx,
    Peer::NginxLarge,
    Peer::Rclone,
    Peer::NodeSingleton,
    Peer::NodeRequest,
];

pub async fn measure(plan: &Plan, places: &Places) -> Outcome<Results> {
    let begun = Instant::now();
    let world = World::start(places, plan.before.clone())?;
    let mut results = Results::default();
    let mut running = HashMap::new();
    let mut stored = HashMap::new();
    for peer in SERVERS {
        let used =
            plan.cases.iter().any(|case| case.peers().contains(&peer)) || peer == Peer::Attache;
        if !used || !plan.takes_part(peer) {
            continue;
        }
        let (process, address) = world.serve(peer, places, &format!("{peer:?}"))?;
        if matches!(peer, Peer::Attache | Peer::AttacheBefore) {
            stored.insert(peer, store(address, plan).await?);
        }
        running.insert(peer, Running { process, address });
    }
    let stage = Stage {
        plan,
        world: &world,
        places,
        stored,
    };
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
                let sample = match outcome {
                    Ok(sample) => sample,
                    Err(error) if peer == Peer::Attache => return Err(error),
                    // A peer that breaks is a finding, and no reason not to measure the others.
                    Err(error) => {
                        eprintln!("bench: {}, {}: {error}", case.word(), peer.name());
                        results.broken.push((*case, peer));
                        continue;
                    }
                };
                eprintln!(
                    "bench: round {}, {}, {}: {:.2} s CPU, {:.2} s for {} requests",
                    round + 1,
                    case.word(),
                    peer.name(),
                    sample.cpu,
                    sample.wall,
                    sample.requests
                );
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
    if plan.rest {
        stage.rest(&mut results).await?;
    }
    results.seconds = begun.elapsed().as_secs_f64();
    Ok(results)
}

/// Stores what is read later.
async fn store(address: SocketAddr, plan: &Plan) -> Outcome<Stored> {
    let mut stored = Stored::default();
    let mut small = Vec::new();
    for _ in 0..SMALL {
        small.push(store_one(address, 4 * KIB).await?);
    }
    stored.small = Arc::new(small);
    for size in [64 * KIB, MIB, 100 * MIB, plan.large()] {
        stored.by_size.insert(size, store_one(address, size).await?);
    }
    Ok(stored)
}

async fn store_one(address: SocketAddr, size: u64) -> Outcome<String> {
    let mut connection = load::Connection::open(address).await?;
    connection.send(UPLOAD, size).await?;
    let body = connection.receive_body(201).await?;
    let attachment: Value = serde_json::from_slice(&body)?;
    let id = attachment["id"]
        .as_str()
        .ok_or("an attachment without an id")?;
    Ok(id.to_owned())
}

const UPLOAD: &str = "POST /v1/attachments?filename=a.bin HTTP/1.1\r\nhost: a\r\ncontent-type: application/octet-stream\r\n";

struct Stage<'a> {
    plan: &'a Plan,
    world: &'a World,
    places: &'a Places,
    stored: HashMap<Peer, Stored>,
}

impl Stage<'_> {
    async fn load(
        &self,
        case: Case,
        peer: Peer,
        server: &Running,
        round: usize,
    ) -> Outcome<Sample> {
        let size = case.size(self.plan);
        let load = Load {
            address: server.address,
            connections: CONNECTIONS,
            requests: case.requests(peer, self.plan),
            head: self.head(case, peer, round),
            sends: if case.is_upload() { size } else { 0 },
            wants: match case {
                Case::Redirect => Wants::Status(302),
                Case::Url => Wants::Status(200),
                Case::Range64K => Wants::Bytes {
                    status: 206,
                    offset: self.plan.large() / 2,
                    length: size,
                },
                _ if case.is_upload() => Wants::Status(201),
                _ => Wants::Bytes {
                    status: 200,
                    offset: 0,
                    length: size,
                },
            },
        };
        // Connections and code are warm; what is measured is the steady state.
        let warm = Load {
            requests: load.requests.min(200),
            ..load.clone()
        };
        if !case.is_large() {
            load::run(&warm).await?;
        }
        let before = server.process.cpu();
        let took = load::run(&load)
            .await
            .map_err(|error| format!("{}, {}: {error}", case.word(), peer.name()))?;
        Ok(Sample {
            cpu: server.process.cpu() - before,
            wall: took.wall.as_secs_f64(),
            requests: load.requests,
        })
    }

    fn stored(&self, peer: Peer) -> &Stored {
        self.stored
            .get(&peer)
            .unwrap_or(&self.stored[&Peer::Attache])
    }

    fn head(
        &self,
        case: Case,
        peer: Peer,
        round: usize,
    ) -> Arc<dyn Fn(u64) -> String + Send + Sync> {
        let stored = self.stored(peer);
        let names = match case {
            Case::Redirect | Case::Url | Case::Relay4K => stored.small.clone(),
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
        let ours = matches!(
            peer,
            Peer::Attache | Peer::AttacheBefore | Peer::AttacheWithoutMd5
        );
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
            let start = match (case, ours, peer) {
                (Case::Redirect, true, _) => format!("GET /attachment/{name}"),
                (Case::Url, true, _) => format!("POST /v1/attachments/{name}/url"),
                (_, true, _) => format!("GET /attachment/{name}?via=relay"),
                (Case::Redirect, ..) => format!("GET /redirect/user/{name}.bin"),
                (Case::Url, ..) => format!("POST /url/user/{name}.bin"),
                (_, _, Peer::Rclone) => format!("GET /user/{name}.bin"),
                _ => format!("GET /relay/user/{name}.bin"),
            };
            format!("{start} HTTP/1.1\r\nhost: a\r\n{range}")
        })
    }

    /// A loop in a process of its own.
    async fn run_loop(&self, case: Case, peer: Peer) -> Outcome<Sample> {
        let (size, requests) = (case.size(self.plan), case.requests(peer, self.plan));
        let client = if peer == Peer::ObjectStore {
            "object_store"
        } else {
            "hyper"
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
            "md5": matches!(peer, Peer::HyperMd5 | Peer::HyperSocketMd5),
            "name": format!("user/{name}.bin"),
            "requests": requests,
            "sas": self.world.sas,
            "size": size,
            "upload": case.is_upload(),
        });
        if matches!(peer, Peer::HyperSocket | Peer::HyperSocketMd5) {
            job["from"] = feed(size).await?.to_string().into();
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

    /// Starting, idling, slow readers and leavers, each in a process that did nothing else before.
    async fn rest(&self, results: &mut Results) -> Outcome<()> {
        let peers = [
            Peer::Attache,
            Peer::AttacheBefore,
            Peer::Nginx,
            Peer::NginxLarge,
            Peer::Rclone,
            Peer::NodeSingleton,
            Peer::NodeRequest,
            Peer::NodePiped,
        ];
        let peers: Vec<Peer> = peers
            .into_iter()
            .filter(|peer| self.plan.takes_part(*peer))
            .collect();
        for _ in 0..self.plan.rounds {
            for peer in peers
                .iter()
                .copied()
                .filter(|peer| *peer != Peer::NodePiped)
            {
                let start = Instant::now();
                let server = self.serve(peer)?;
                self.first_answer(peer, server.address).await?;
                results
                    .cold
                    .entry(peer)
                    .or_default()
                    .push(start.elapsed().as_secs_f64());
                tokio::time::sleep(Duration::from_millis(500)).await;
                let idle = results.idle.entry(peer).or_insert(u64::MAX);
                *idle = server.process.resident().min(*idle);
                let private = results.idle_private.entry(peer).or_insert(u64::MAX);
                *private = server.process.private().min(*private);
            }
        }
        for peer in peers {
            sockets_are_empty().await;
            let slow = match self.slow_readers(peer).await {
                Err(error) if peer != Peer::Attache => {
                    eprintln!("bench: slow readers, {}: {error}", peer.name());
                    continue;
                }
                slow => slow?,
            };
            eprintln!(
                "bench: {} slow readers, {}: {} KiB each",
                slow.readers,
                peer.name(),
                slow.bytes_each / KIB
            );
            results.slow.insert(peer, slow);
            sockets_are_empty().await;
            let left = match self.leavers(peer).await {
                Err(error) if peer != Peer::Attache => {
                    eprintln!("bench: leavers, {}: {error}", peer.name());
                    continue;
                }
                left => left?,
            };
            eprintln!("bench: leavers, {}: {left:?}", peer.name());
            results.left.insert(peer, left);
        }
        Ok(())
    }

    fn serve(&self, peer: Peer) -> Outcome<Running> {
        let (process, address) = self.world.serve(peer, self.places, &format!("{peer:?}"))?;
        Ok(Running { process, address })
    }

    async fn first_answer(&self, peer: Peer, address: SocketAddr) -> Outcome<()> {
        load::run(&Load {
            address,
            connections: 1,
            requests: 1,
            head: self.head(Case::Relay4K, peer, 0),
            sends: 0,
            wants: Wants::Bytes {
                status: 200,
                offset: 0,
                length: 4 * KIB,
            },
        })
        .await?;
        Ok(())
    }

    /// The request for the attachment of 100 MiB.
    fn long(&self, peer: Peer) -> String {
        let name = &self.stored(peer).by_size[&(100 * MIB)];
        let path = match peer {
            Peer::Attache | Peer::AttacheBefore => format!("/attachment/{name}?via=relay"),
            Peer::Rclone => format!("/user/{name}.bin"),
            _ => format!("/relay/user/{name}.bin"),
        };
        format!("GET {path} HTTP/1.1\r\nhost: a\r\n")
    }

    /// Clients that take a little and then nothing, until every buffer on the way is full.
    async fn slow_readers(&self, peer: Peer) -> Outcome<Slow> {
        let server = self.serve(peer)?;
        self.first_answer(peer, server.address).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = server.process.resident();
        let readers = self.plan.slow_readers(peer);
        let streams = load::begin_downloads(server.address, &self.long(peer), readers, 50).await?;
        let mut moved = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = self.world.count("bytes_out")?;
            if now == moved {
                break;
            }
            moved = now;
        }
        let held = server.process.resident().saturating_sub(before);
        drop(streams);
        Ok(Slow {
            readers,
            bytes_each: held / readers as u64,
        })
    }

    /// Clients that take a little and leave, five times over; what every time but the first adds at least is kept for ever.
    async fn leavers(&self, peer: Peer) -> Outcome<Left> {
        let server = self.serve(peer)?;
        self.first_answer(peer, server.address).await?;
        let leavers = self.plan.leavers();
        let mut kept = (u64::MAX, u64::MAX, u64::MAX);
        let mut had = (0, 0, 0);
        for pass in 0..5 {
            for _ in 0..leavers / 50 {
                let open = self.world.count("open_reads")?;
                drop(load::begin_downloads(server.address, &self.long(peer), 50, 50).await?);
                self.await_reads(open, Duration::from_millis(500)).await?;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            let now = (
                server.process.descriptors(),
                server.process.resident(),
                self.world.count("open_reads")?,
            );
            if pass > 0 {
                kept.0 = kept.0.min(now.0.saturating_sub(had.0));
                kept.1 = kept.1.min(now.1.saturating_sub(had.1));
                kept.2 = kept.2.min(now.2.saturating_sub(had.2));
            }
            had = now;
        }
        drop(server);
        self.await_reads(0, Duration::from_secs(10)).await?;
        Ok(Left {
            leavers,
            descriptors: kept.0,
            bytes_each: kept.1 / leavers as u64,
            reads: kept.2,
        })
    }

    async fn await_reads(&self, open: u64, patience: Duration) -> Outcome<()> {
        let start = Instant::now();
        while self.world.count("open_reads")? > open && start.elapsed() < patience {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// Waits until the kernel holds little for sockets: what a case before has left in them is not the next one's.
async fn sockets_are_empty() {
    let start = Instant::now();
    while socket_pages() > 16 * MIB / 4096 && start.elapsed() < Duration::from_secs(60) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Pages of 4 KiB that TCP holds (`man 5 proc`, `/proc/net/sockstat`).
fn socket_pages() -> u64 {
    let text = std::fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("TCP:"));
    line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok())
        .unwrap_or(0)
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
