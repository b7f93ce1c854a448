//! What the document says of starting and of memory.

use std::fmt::Write as _;
use std::path::Path;

use crate::Outcome;
use crate::cases::{MIB, size_word};
use crate::figures::{kib, median, mib, name_of, tenths_of_kib};
use crate::holding::STANDING;
use crate::plan::Plan;
use crate::plot::{Bar, bars};
use crate::stage::Results;
use crate::world::Peer;

pub fn memory(text: &mut String, plan: &Plan, results: &Results, folder: &Path) -> Outcome<()> {
    let mut peers: Vec<Peer> = results
        .idle
        .keys()
        .chain(results.slow.keys())
        .chain(results.peak.keys())
        .copied()
        .collect();
    peers.sort_by_key(|peer| *peer as usize);
    peers.dedup();
    if peers.is_empty() {
        return Ok(());
    }
    let _ = writeln!(
        text,
        "## Starting and memory\n\n\
         *Cold start* is from the start of the program to the last byte of its first response, a relay of 4 KiB: for attache and \
         Node with a token. *Idle* is half a second later, of a fresh process; \
         *private* is the part of it that is not pages of the program's file and of libraries. *Peak* is the most that was resident at once \
         during all the loads above, *after* what is resident five seconds after them.\n\n\
         | | cold start ms | idle | private | peak | after |\n| --- | --- | --- | --- | --- | --- |"
    );
    for peer in peers.iter().filter(|peer| **peer != Peer::NodePiped) {
        let cold = results.cold.get(peer).map(|cold| {
            let mut cold = cold.clone();
            cold.sort_by(f64::total_cmp);
            format!("{:.0}", median(&cold) * 1e3)
        });
        let cell = |bytes: Option<&u64>| bytes.map_or("–".to_owned(), |bytes| mib(*bytes));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            peer.name(),
            cold.unwrap_or("–".to_owned()),
            cell(results.idle.get(peer)),
            cell(results.idle_private.get(peer)),
            cell(results.peak.get(peer)),
            cell(results.after.get(peer)),
        );
    }
    if results.slow.is_empty() {
        return Ok(());
    }
    let _ = writeln!(
        text,
        "\n## Slow readers and leavers\n\n\
         *Slow readers* ask for {}, take a little and then nothing until every buffer on the way is full; the figures are resident \
         memory above the idle process, then and {} seconds later. *Leavers* take a little and close; five times {} of them, and the figure is what each \
         further time added, so what a server keeps for ever and not what its allocator keeps for later.\n\n\
         | | slow readers | resident for each | later | kept for each leaver | descriptors kept | reads of the store still open |\n\
         | --- | --- | --- | --- | --- | --- | --- |",
        size_word(100 * MIB),
        STANDING.as_secs(),
        plan.leavers()
    );
    let mut plotted = Vec::new();
    for peer in &peers {
        let slow = results.slow.get(peer);
        let left = results.left.get(peer);
        if *peer == Peer::AttacheWithoutMd5 || peer.is_s3() {
            continue;
        }
        let each = slow.map_or("–".to_owned(), |slow| kib(slow.bytes_each));
        let later = slow.map_or("–".to_owned(), |slow| kib(slow.bytes_each_later));
        let readers = slow.map_or("broke off".to_owned(), |slow| slow.readers.to_string());
        let kept = left.map_or("broke off | – | –".to_owned(), |left| {
            let kept = tenths_of_kib(left.bytes_each);
            format!("{kept} | {} | {}", left.descriptors, left.reads)
        });
        let _ = writeln!(
            text,
            "| {} | {readers} | {each} | {later} | {kept} |",
            peer.name()
        );
        if let Some(slow) = slow {
            plotted.push(Bar {
                name: peer.name().to_owned(),
                value: slow.bytes_each as f64,
                shown: each,
                ours: peer.name().starts_with("attache"),
            });
        }
    }
    plotted.sort_by(|a, b| a.value.total_cmp(&b.value));
    let title = "Resident memory for each slow reader";
    std::fs::write(folder.join("slow-readers.svg"), bars(title, &plotted))?;
    let _ = writeln!(text, "\n![{title}]({}/slow-readers.svg)\n", name_of(folder));
    Ok(())
}
