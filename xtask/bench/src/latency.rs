//! How long requests take at half of the most that a peer can do.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::Outcome;
use crate::cases::{CONNECTIONS, Case};
use crate::figures::{median, sentence};
use crate::load::Load;
use crate::load_open;
use crate::plan::Plan;
use crate::stage::{Running, Stage, unless_broken};
use crate::world::Peer;

/// What a round told.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// Requests a second that were due: half of what the peer answered just before, asked as fast as it could.
    pub rate: f64,
    /// Half of the requests took no longer, and
    pub p50: Duration,
    /// 99 of 100.
    pub p99: Duration,
}

/// By the place of the case in what is measured here, and peer.
pub type Waits = BTreeMap<(usize, Peer), Vec<Wait>>;

/// What is measured, and on whom.
const MEASURED: [(Case, &[Peer]); 2] = [
    (
        Case::Redirect,
        &[Peer::Attache, Peer::AttacheBefore, Peer::NodeSingleton],
    ),
    (
        Case::Relay64K,
        &[
            Peer::Attache,
            Peer::AttacheBefore,
            Peer::Nginx,
            Peer::NginxLarge,
        ],
    ),
];

impl Stage<'_> {
    /// Fresh servers, one after the other in every round; two of them would not share two cores without telling in the waits.
    pub async fn latency(&self, waits: &mut Waits) -> Outcome<()> {
        for (place, (case, peers)) in MEASURED.into_iter().enumerate() {
            let mut servers = Vec::new();
            for peer in peers {
                if self.plan.takes_part(*peer) {
                    let server = self.world.serve(*peer, self.places, &format!("{peer:?}"))?;
                    servers.push((*peer, server));
                }
            }
            for round in 0..self.plan.rounds {
                let turn = round % servers.len();
                for (peer, server) in servers[turn..].iter().chain(&servers[..turn]) {
                    let outcome = self.wait(case, *peer, server, round).await;
                    let what = format!("latency, {}", case.word());
                    let Some(wait) = unless_broken(&what, *peer, outcome)? else {
                        continue;
                    };
                    eprintln!(
                        "bench: round {}, {what}, {}: {wait:?}",
                        round + 1,
                        peer.name()
                    );
                    waits.entry((place, *peer)).or_default().push(wait);
                }
            }
        }
        Ok(())
    }

    async fn wait(&self, case: Case, peer: Peer, server: &Running, round: usize) -> Outcome<Wait> {
        let most = self.load(case, peer, server, round).await?;
        let rate = most.requests as f64 / most.wall / 2.0;
        let load = Load {
            requests: (rate * self.plan.latency_seconds()).ceil() as u64,
            ..self.load_of(case, peer, server, round)
        };
        let mut took = load_open::run(&load, rate).await?;
        took.sort_unstable();
        let part = |part: f64| took[((took.len() as f64 * part) as usize).min(took.len() - 1)];
        Ok(Wait {
            rate,
            p50: part(0.5),
            p99: part(0.99),
        })
    }
}

/// What the document says of it.
pub fn latency(text: &mut String, plan: &Plan, waits: &Waits) {
    if waits.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "## Waiting at half load\n\n\
         Each round has {:.0} s of requests at half of the rate that the same peer reached just before over {CONNECTIONS} connections that \
         were never idle. Requests are sent when they are due, over {} connections, and their time counts from then, whether or not those \
         before them were answered; so it holds the load's own way of being late, some 0.1 ms. Medians of rounds, in brackets the smallest \
         and largest.\n\n\
         | | requests per s | half within ms | 99 of 100 within ms |\n| --- | --- | --- | --- |",
        plan.latency_seconds(),
        load_open::CONNECTIONS,
    );
    for ((place, peer), waits) in waits {
        let figure = |of: &dyn Fn(&Wait) -> f64, digits: usize| {
            let mut all: Vec<f64> = waits.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            let (least, most) = (all[0], all[all.len() - 1]);
            let median = median(&all);
            format!("{median:.digits$} ({least:.digits$} to {most:.digits$})")
        };
        let _ = writeln!(
            text,
            "| {}, {} | {} | {} | {} |",
            sentence(&MEASURED[*place].0.title(plan)),
            peer.name(),
            figure(&|wait| wait.rate, 0),
            figure(&|wait| wait.p50.as_secs_f64() * 1e3, 2),
            figure(&|wait| wait.p99.as_secs_f64() * 1e3, 2),
        );
    }
    text.push('\n');
}
