//! What the document says of costs that grow: a table and a plot each.

use std::fmt::Write as _;
use std::path::Path;

use crate::Outcome;
use crate::cases::size_word;
use crate::figures::{cost, name_of};
use crate::growth::{Curves, Growth, ROUNDS, STREAM};
use crate::plan::Plan;
use crate::plot::{Line, lines};
use crate::stage::Sample;
use crate::world::Peer;

/// The sections, and their plots in `folder`.
pub fn curves(text: &mut String, plan: &Plan, curves: &Curves, folder: &Path) -> Outcome<()> {
    for growth in [
        Growth::Streams,
        Growth::Sizes,
        Growth::Listing,
        Growth::Redirects,
    ] {
        let mut peers: Vec<Peer> = curves
            .keys()
            .filter(|(of, _)| *of == growth)
            .map(|(_, peer)| *peer)
            .collect();
        peers.sort();
        let Some(first) = peers.first() else { continue };
        let (title, unit) = (growth.title(), growth.unit());
        let _ = writeln!(
            text,
            "## {title}\n\n{} Medians of {} rounds, in {unit}.\n",
            growth.remark(),
            plan.rounds.min(ROUNDS)
        );
        let _ = write!(text, "| {}", growth.axis());
        for peer in &peers {
            let _ = write!(text, " | {}", peer.name());
        }
        let _ = writeln!(text, " |\n|{}", " --- |".repeat(peers.len() + 1));
        for at in curves[&(growth, *first)].keys() {
            let _ = write!(text, "| {}", growth.shown(*at));
            for peer in &peers {
                let cell = curves[&(growth, *peer)].get(at).map(|samples| {
                    let value = growth.value(samples);
                    format!("{value:.*}", digits(value))
                });
                let _ = write!(text, " | {}", cell.as_deref().unwrap_or("–"));
            }
            text.push_str(" |\n");
        }
        let plotted: Vec<Line> = peers
            .iter()
            .map(|peer| Line {
                name: peer.name().to_owned(),
                points: curves[&(growth, *peer)]
                    .iter()
                    .map(|(at, samples)| (*at as f64, growth.value(samples)))
                    .collect(),
                ours: *peer == Peer::Attache,
            })
            .collect();
        let ticks: Vec<(f64, String)> = curves[&(growth, *first)]
            .keys()
            .map(|at| (*at as f64, growth.shown(*at)))
            .collect();
        let file = format!("growth-{}.svg", growth.word());
        std::fs::write(
            folder.join(&file),
            lines(&format!("{title}: {unit}"), growth.axis(), &ticks, &plotted),
        )?;
        let _ = writeln!(text, "\n![{title}]({}/{file})\n", name_of(folder));
    }
    Ok(())
}

impl Growth {
    const fn word(self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::Sizes => "sizes",
            Self::Listing => "listing",
            Self::Redirects => "redirects",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Streams => "Relays at the same time",
            Self::Sizes => "Relays from 1 KiB on",
            Self::Listing => "A page of a listing, and the rows behind it",
            Self::Redirects => "A redirect, and the rows behind it",
        }
    }

    const fn axis(self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::Sizes => "size",
            Self::Listing | Self::Redirects => "rows",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Streams => "CPU s per GB (10⁹ bytes)",
            Self::Sizes | Self::Redirects => "CPU µs per request",
            Self::Listing => "CPU µs per page",
        }
    }

    const fn remark(self) -> &'static str {
        match self {
            Self::Streams => {
                "As many connections as streams, each with one relay of 16 MiB after another; the bytes of all together are the same at \
                 each number of streams."
            }
            Self::Sizes => {
                "Over 16 connections, or as many as there are requests where large ones are fewer."
            }
            Self::Listing => {
                "The newest 100 attachments (`GET /v1/attachments?limit=100`). Rows are copies of one that attache wrote, put into the \
                 catalog while it was stopped; each response is compared with the first, and that with the rows."
            }
            Self::Redirects => {
                "As above, of attachments at random. The catalog is in the system's page cache as far as it was written there; the \
                 database's own cache is as warm as so many requests at random make it."
            }
        }
    }

    fn shown(self, at: u64) -> String {
        match self {
            Self::Streams => at.to_string(),
            Self::Sizes => size_word(at),
            Self::Listing | Self::Redirects => match at {
                0..1000 => at.to_string(),
                1000..1_000_000 => format!("{} k", at / 1000),
                _ => format!("{} M", at / 1_000_000),
            },
        }
    }

    /// The median, in the unit.
    pub fn value(self, samples: &[Sample]) -> f64 {
        let seconds = cost(samples).median;
        match self {
            Self::Streams => seconds * 1e9 / STREAM as f64,
            _ => seconds * 1e6,
        }
    }
}

/// Three that count.
fn digits(value: f64) -> usize {
    match value {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    }
}
