//! How costs grow with the work: streams at once, bytes of a response, rows of the catalog.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use crate::Outcome;
use crate::cases::{CONNECTIONS, KIB, MIB};
use crate::catalog::{Catalog, id_of, mixed};
use crate::load::{self, Load, Wants};
use crate::plan::Part;
use crate::stage::{
    Results, Running, Sample, Stage, measured, relay_path, store_one, unless_broken,
};
use crate::world::Peer;

/// Something that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Growth {
    /// Relays at the same time.
    Streams,
    /// Bytes of one relay.
    Sizes,
    /// Rows of the catalog behind a page of a listing,
    Listing,
    /// and behind a redirect.
    Redirects,
}

/// Samples at each amount of work.
pub type Curves = BTreeMap<(Growth, Peer), BTreeMap<u64, Vec<Sample>>>;

/// Rounds at each amount; a curve has many points that keep each other honest, so that fewer will do than for a single figure.
pub const ROUNDS: usize = 3;

/// Streams at once. Only a whole run has the last two.
const STREAMS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];

/// What each of them moves, again and again: large enough that the price of a request is less than a hundredth of it.
pub const STREAM: u64 = 16 * MIB;

/// Sizes of a relay: powers of 8, and the largest that anybody has asked for. Only a whole run has the last two.
const SIZES: [u64; 9] = [
    KIB,
    8 * KIB,
    64 * KIB,
    512 * KIB,
    4 * MIB,
    32 * MIB,
    256 * MIB,
    2048 * MIB,
    10_240 * MIB,
];

/// Rows of the catalog. Only a whole run has the last.
const ROWS: [u64; 5] = [1000, 10_000, 100_000, 1_000_000, 5_000_000];

/// The row count of which a target speaks.
pub const MILLION: u64 = ROWS[3];

/// Attachments of a page, as many as the API gives without being asked for another number.
const PAGE: u64 = 100;

impl Stage<'_> {
    /// All that the plan has of it.
    pub async fn growth(&self, results: &mut Results) -> Outcome<()> {
        if self.plan.does(Part::Streams) {
            self.streams(&mut results.curves).await?;
        }
        if self.plan.does(Part::Sizes) {
            self.sizes(&mut results.curves).await?;
        }
        if self.plan.does(Part::Rows) {
            self.rows(&mut results.curves).await?;
        }
        Ok(())
    }

    /// The same bytes, in more and more streams at once.
    async fn streams(&self, curves: &mut Curves) -> Outcome<()> {
        let relays = self.relays(&[STREAM]).await?;
        let few = if self.plan.quick { 2 } else { 0 };
        let requests = if self.plan.quick { 32 } else { 64 };
        for streams in STREAMS[..STREAMS.len() - few].iter().copied() {
            for round in 0..self.rounds_of_growth() {
                for relay in in_turn(&relays, round) {
                    let load = Load {
                        connections: streams.try_into()?,
                        ..relay.load(STREAM, requests)
                    };
                    let outcome = measured(&relay.server, &load, 0).await;
                    note(curves, Growth::Streams, relay.peer, streams, outcome)?;
                }
            }
        }
        Ok(())
    }

    /// A relay, of more and more bytes.
    async fn sizes(&self, curves: &mut Curves) -> Outcome<()> {
        let sizes = &SIZES[..SIZES.len() - if self.plan.quick { 2 } else { 0 }];
        let relays = self.relays(sizes).await?;
        for size in sizes {
            for round in 0..self.rounds_of_growth() {
                for relay in in_turn(&relays, round) {
                    let load = relay.load(*size, requests_of(*size, self.plan.quick));
                    let warm = if *size < MIB { 200 } else { 0 };
                    let outcome = measured(&relay.server, &load, warm).await;
                    note(curves, Growth::Sizes, relay.peer, *size, outcome)?;
                }
            }
        }
        Ok(())
    }

    /// A page of a listing and a redirect, over more and more rows.
    async fn rows(&self, curves: &mut Curves) -> Outcome<()> {
        let mut catalogs = Vec::new();
        for peer in [Peer::Attache, Peer::AttacheBefore] {
            if self.plan.takes_part(peer) {
                let at = format!("{peer:?}-rows");
                let server = self.world.serve(peer, self.places, &at)?;
                let model = store_one(server.address, 4 * KIB).await?;
                let catalog = Catalog::of(&self.world.folder.join(&at), model);
                catalogs.push((peer, at, catalog));
            }
        }
        for rows in &ROWS[..ROWS.len() - usize::from(self.plan.quick)] {
            let mut servers = Vec::new();
            for (peer, at, catalog) in &mut catalogs {
                catalog.fill(*rows)?;
                let server = self.world.serve(*peer, self.places, at)?;
                let page = first_page(&server, catalog).await?;
                servers.push((*peer, server, page));
            }
            for round in 0..self.rounds_of_growth() {
                for (peer, server, page) in in_turn(&servers, round) {
                    let load = listing(server, page.clone(), self.plan.quick);
                    let outcome = measured(server, &load, 200).await;
                    note(curves, Growth::Listing, *peer, *rows, outcome)?;
                    let load = redirects(server, *rows, round, self.plan.quick);
                    let outcome = measured(server, &load, 200).await;
                    note(curves, Growth::Redirects, *peer, *rows, outcome)?;
                }
            }
        }
        Ok(())
    }

    fn rounds_of_growth(&self) -> usize {
        self.plan.rounds.min(ROUNDS)
    }

    /// Fresh servers that relay, and what of `sizes` is stored for them.
    async fn relays(&self, sizes: &[u64]) -> Outcome<Vec<Relay>> {
        let mut relays: Vec<Relay> = Vec::new();
        // nginx relays what the first has stored.
        for peer in [Peer::Attache, Peer::AttacheBefore, Peer::NginxLarge] {
            if !self.plan.takes_part(peer) {
                continue;
            }
            let server = self.world.serve(peer, self.places, &format!("{peer:?}"))?;
            let mut names = HashMap::new();
            for size in sizes {
                let name = match (peer.is_attache(), relays.first()) {
                    (false, Some(first)) => first.names[size].clone(),
                    _ => store_one(server.address, *size).await?,
                };
                names.insert(*size, name);
            }
            relays.push(Relay {
                peer,
                server,
                names,
            });
        }
        Ok(relays)
    }
}

/// A server that relays, and the names of what is stored by size.
struct Relay {
    peer: Peer,
    server: Running,
    names: HashMap<u64, String>,
}

impl Relay {
    fn load(&self, size: u64, requests: u64) -> Load {
        let path = relay_path(self.peer, &self.names[&size]);
        get(
            &self.server,
            requests,
            Wants::whole(size),
            Arc::new(move |_| format!("GET {path} HTTP/1.1\r\nhost: a\r\n")),
        )
    }
}

/// A load of requests without a body.
pub fn get(
    server: &Running,
    requests: u64,
    wants: Wants,
    head: Arc<dyn Fn(u64) -> String + Send + Sync>,
) -> Load {
    Load {
        address: server.address,
        h2: false,
        connections: CONNECTIONS,
        requests,
        head,
        sends: 0,
        wants,
    }
}

/// Asks for the newest attachments, and makes sure that they are those. The body of the response.
async fn first_page(server: &Running, catalog: &Catalog) -> Outcome<Vec<u8>> {
    let mut connection = load::Connection::open(server.address).await?;
    connection.send(LISTING, 0).await?;
    let body = connection.receive_body(200).await?;
    let page: Value = serde_json::from_slice(&body)?;
    let ids = page["items"].as_array().ok_or("a page without items")?;
    let ids: Vec<&str> = ids.iter().filter_map(|item| item["id"].as_str()).collect();
    // The model is newer than its copies, and those are in the order of their numbers.
    let copies = (catalog.rows - PAGE..catalog.rows - 1).rev().map(id_of);
    let want: Vec<String> = std::iter::once(catalog.model.clone())
        .chain(copies)
        .collect();
    match ids == want {
        true => Ok(body),
        false => Err(format!("not the newest {PAGE} of {} attachments", catalog.rows).into()),
    }
}

const LISTING: &str = "GET /v1/attachments?limit=100 HTTP/1.1\r\nhost: a\r\n";

fn listing(server: &Running, page: Vec<u8>, quick: bool) -> Load {
    let requests = if quick { 2000 } else { 4000 };
    let wants = Wants::Body(Arc::new(page));
    get(server, requests, wants, Arc::new(|_| LISTING.to_owned()))
}

/// Redirects of attachments at random, others in each round.
fn redirects(server: &Running, rows: u64, round: usize, quick: bool) -> Load {
    let requests = if quick { 10_000 } else { 40_000 };
    let head = move |turn| {
        let id = Catalog::any(rows, mixed(round as u64) ^ turn);
        format!("GET /attachment/{id} HTTP/1.1\r\nhost: a\r\n")
    };
    get(server, requests, Wants::Status(302), Arc::new(head))
}

/// Enough for half a second of CPU or more, if a relay costs 60 µs and 0.8 s per GB, as that of attache does.
fn requests_of(size: u64, quick: bool) -> u64 {
    let seconds = if quick { 0.2 } else { 0.8 };
    ((seconds / (60e-6 + size as f64 * 0.8e-9)) as u64).max(1)
}

/// Nobody is always first.
fn in_turn<T>(all: &[T], round: usize) -> impl Iterator<Item = &T> {
    let (behind, first) = all.split_at(round % all.len().max(1));
    first.iter().chain(behind)
}

fn note(
    curves: &mut Curves,
    growth: Growth,
    peer: Peer,
    at: u64,
    outcome: Outcome<Sample>,
) -> Outcome<()> {
    let what = format!("{growth:?} at {at}");
    let Some(sample) = unless_broken(&what, peer, outcome)? else {
        return Ok(());
    };
    eprintln!("bench: {what}, {}: {sample}", peer.name());
    let curve = curves.entry((growth, peer)).or_default();
    curve.entry(at).or_default().push(sample);
    Ok(())
}
