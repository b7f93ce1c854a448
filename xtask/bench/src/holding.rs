//! What servers hold: at rest, for readers that are slow, and for those who have left.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::cases::{Case, KIB, MIB};
use crate::load::{self, Load, Wants};
use crate::stage::{Results, Running, Stage, relay_path, unless_broken};
use crate::world::Peer;

/// What slow readers made a server hold.
#[derive(Clone, Copy, Debug)]
pub struct Slow {
    pub readers: usize,
    /// When every buffer on the way is full.
    pub bytes_each: u64,
    /// Behind [`STANDING`].
    pub bytes_each_later: u64,
}

/// How long slow readers take nothing before it is seen what is still held for them.
pub const STANDING: Duration = Duration::from_secs(15);

/// What those who left have left behind.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    pub leavers: usize,
    pub descriptors: u64,
    pub bytes_each: u64,
    pub reads: u64,
}

impl Stage<'_> {
    /// Starting, idling, slow readers and leavers, each in a process that did nothing else before.
    pub async fn rest(&self, results: &mut Results) -> Outcome<()> {
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
            let slow = self.slow_readers_again(peer).await;
            let Some(slow) = unless_broken("slow readers", peer, slow)? else {
                continue;
            };
            eprintln!(
                "bench: {} slow readers, {}: {} KiB each, {} later",
                slow.readers,
                peer.name(),
                slow.bytes_each / KIB,
                slow.bytes_each_later / KIB
            );
            results.slow.insert(peer, slow);
            sockets_are_empty().await;
            let left = self.leavers(peer).await;
            let Some(left) = unless_broken("leavers", peer, left)? else {
                continue;
            };
            eprintln!("bench: leavers, {}: {left:?}", peer.name());
            results.left.insert(peer, left);
        }
        Ok(())
    }

    fn serve(&self, peer: Peer) -> Outcome<Running> {
        self.world.serve(peer, self.places, &format!("{peer:?}"))
    }

    async fn first_answer(&self, peer: Peer, address: SocketAddr) -> Outcome<()> {
        load::run(&Load {
            address,
            h2: false,
            connections: 1,
            requests: 1,
            head: self.head(Case::Relay4K, peer, 0),
            sends: 0,
            wants: Wants::whole(4 * KIB),
        })
        .await?;
        Ok(())
    }

    /// The request for the attachment of 100 MiB.
    fn long(&self, peer: Peer) -> String {
        let name = &self.stored(peer).by_size[&(100 * MIB)];
        let path = relay_path(peer, name);
        format!("GET {path} HTTP/1.1\r\nhost: a\r\n")
    }

    /// As [`Self::slow_readers`], and begun again if it broke: what thousands of readers leave in the buffers of the kernel can
    /// be more than all its sockets may hold, and then it resets some of them, whoever serves.
    async fn slow_readers_again(&self, peer: Peer) -> Outcome<Slow> {
        let mut tries = 3;
        loop {
            sockets_are_empty().await;
            tries -= 1;
            match self.slow_readers(peer).await {
                Err(error) if tries > 0 => {
                    eprintln!("bench: slow readers, {}: {error}; once more", peer.name());
                }
                outcome => return outcome,
            }
        }
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
        let each = || server.process.resident().saturating_sub(before) / readers as u64;
        let bytes_each = each();
        tokio::time::sleep(STANDING).await;
        let bytes_each_later = each();
        drop(streams);
        Ok(Slow {
            readers,
            bytes_each,
            bytes_each_later,
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
