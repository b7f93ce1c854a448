//! Requests over many attachments, when nothing of them is cached.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Advice, fadvise};
use tokio::task::JoinSet;

use crate::Outcome;
use crate::cases::{CONNECTIONS, KIB};
use crate::catalog::mixed;
use crate::figures::{cost, median, sentence};
use crate::growth::get;
use crate::load::Wants;
use crate::plan::Plan;
use crate::stage::{Sample, Stage, measured, relay_path, store_on, unless_broken};
use crate::world::Peer;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    Redirect,
    Relay4K,
}

/// What was measured of it.
pub type Cold = BTreeMap<(Asked, Peer), Vec<Sample>>;

/// What is in each attachment.
const BYTES: u64 = 4 * KIB;

/// Somebody who takes part.
struct Holder {
    peer: Peer,
    /// Where it keeps what it keeps.
    at: String,
    ids: Arc<Vec<String>>,
    /// Not of nginx.
    catalog: Option<PathBuf>,
}

impl Stage<'_> {
    /// Every round has a fresh process for each, and a catalog that the system has dropped from its page cache.
    pub async fn many(&self, cold: &mut Cold) -> Outcome<()> {
        let mut holders: Vec<Holder> = Vec::new();
        // nginx relays what the first has stored.
        for peer in [Peer::Attache, Peer::AttacheBefore, Peer::NginxLarge] {
            if self.plan.takes_part(peer) {
                let holder = match holders.first() {
                    Some(first) if !peer.is_attache() => Holder {
                        peer,
                        at: format!("{peer:?}"),
                        ids: first.ids.clone(),
                        catalog: None,
                    },
                    _ => self.hold(peer).await?,
                };
                holders.push(holder);
            }
        }
        for round in 0..self.plan.rounds {
            let turn = round % holders.len();
            for holder in holders[turn..].iter().chain(&holders[..turn]) {
                for asked in [Asked::Redirect, Asked::Relay4K] {
                    // nginx signs nothing.
                    if asked == Asked::Redirect && !holder.peer.is_attache() {
                        continue;
                    }
                    let outcome = self.cold_round(holder, asked, round).await;
                    let what = format!("many attachments, {asked:?}");
                    if let Some(sample) = unless_broken(&what, holder.peer, outcome)? {
                        let (round, name) = (round + 1, holder.peer.name());
                        eprintln!("bench: round {round}, {what}, {name}: {sample}");
                        cold.entry((asked, holder.peer)).or_default().push(sample);
                    }
                }
            }
        }
        Ok(())
    }

    async fn cold_round(&self, holder: &Holder, asked: Asked, round: usize) -> Outcome<Sample> {
        if let Some(catalog) = &holder.catalog {
            let catalog = File::open(catalog)?;
            // What is not on disk cannot be dropped.
            catalog.sync_all()?;
            fadvise(&catalog, 0, None, Advice::DontNeed)?;
        }
        let server = self.world.serve(holder.peer, self.places, &holder.at)?;
        let (peer, ids) = (holder.peer, holder.ids.clone());
        let head = move |turn| {
            // Others in each round.
            let draw = mixed(mixed(round as u64) ^ turn) % ids.len() as u64;
            let id = &ids[usize::try_from(draw).unwrap_or_default()];
            let path = match asked {
                Asked::Redirect => format!("/attachment/{id}"),
                Asked::Relay4K => relay_path(peer, id),
            };
            format!("GET {path} HTTP/1.1\r\nhost: a\r\n")
        };
        let wants = match asked {
            Asked::Redirect => Wants::Status(302),
            Asked::Relay4K => Wants::whole(BYTES),
        };
        let load = get(&server, self.plan.many_requests(), wants, Arc::new(head));
        // Nothing is sent ahead: that all is cold is what is measured.
        measured(&server, &load, 0).await
    }

    /// Stores the attachments through `peer`, which ends afterwards, and closes its catalog.
    async fn hold(&self, peer: Peer) -> Outcome<Holder> {
        let at = format!("{peer:?}-many");
        let server = self.world.serve(peer, self.places, &at)?;
        let ids = store_all(server.address, self.plan.many()).await?;
        Ok(Holder {
            peer,
            catalog: Some(self.world.folder.join(&at).join("attache-data/attache.db")),
            at,
            ids: Arc::new(ids),
        })
    }
}

/// Uploads `count` attachments. Their ids.
async fn store_all(address: SocketAddr, count: u64) -> Outcome<Vec<String>> {
    let next = Arc::new(AtomicU64::new(0));
    let mut senders = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let next = next.clone();
        senders.spawn(async move {
            let mut connection = crate::load::Connection::open(address).await?;
            let mut ids = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < count {
                ids.push(store_on(&mut connection, BYTES).await?);
            }
            Outcome::Ok(ids)
        });
    }
    let mut all = Vec::new();
    while let Some(ids) = senders.join_next().await {
        all.extend(ids??);
    }
    Ok(all)
}

/// What the document says of it.
pub fn many(text: &mut String, plan: &Plan, cold: &Cold) {
    if cold.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "## {} attachments, and nothing cached\n\n\
         {} requests at random over {} attachments of 4 KiB before the stand-in, all stored through attache, to a process that was started \
         just before, after the system was told to drop the catalog from its page cache (`posix_fadvise`, `POSIX_FADV_DONTNEED`). \
         The first requests open connections to the store, and get a token; they count.\n\n\
         | | CPU µs per request | wall-clock s per round |\n| --- | --- | --- |",
        thousands(plan.many()),
        thousands(plan.many_requests()),
        thousands(plan.many()),
    );
    for ((asked, peer), samples) in cold {
        let what = match asked {
            Asked::Redirect => "redirect",
            Asked::Relay4K => "relay of 4 KiB",
        };
        let cost = cost(samples);
        let mut walls: Vec<f64> = samples.iter().map(|sample| sample.wall).collect();
        walls.sort_by(f64::total_cmp);
        let _ = writeln!(
            text,
            "| {}, {} | {:.0} ({:.0} to {:.0}) | {:.2} |",
            sentence(what),
            peer.name(),
            cost.median * 1e6,
            cost.least * 1e6,
            cost.most * 1e6,
            median(&walls),
        );
    }
    text.push('\n');
}

fn thousands(number: u64) -> String {
    format!("{},{:03}", number / 1000, number % 1000)
}
