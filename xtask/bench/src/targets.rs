//! Promises in figures, and what became of them.

use std::fmt::Write as _;

use crate::cases::{Case, KIB, MIB};
use crate::figures::{cost, kib, mib};
use crate::growth::{Growth, MILLION};
use crate::holding::STANDING;
use crate::plan::Plan;
use crate::stage::Results;
use crate::world::Peer;
use crate::{Outcome, Places};

/// A promise in figures, and what became of it.
struct Target {
    /// A word, and the name of the remark in `notes` if it is missed.
    word: &'static str,
    what: String,
    bound: String,
    measured: String,
    met: bool,
}

/// The table of all of them, and remarks on those that are missed.
pub fn targets(text: &mut String, plan: &Plan, places: &Places, results: &Results) -> Outcome<()> {
    let targets = all_targets(plan, results);
    text.push_str("## Targets\n\n| what | target | measured | |\n| --- | --- | --- | --- |\n");
    for target in &targets {
        let met = if target.met { "met" } else { "**not met**" };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {met} |",
            target.what, target.bound, target.measured
        );
    }
    text.push('\n');
    for target in targets.iter().filter(|target| !target.met) {
        let note = std::fs::read_to_string(places.notes.join(format!("{}.md", target.word)));
        let note = note.unwrap_or_else(|_| "Not explained yet.\n".to_owned());
        let _ = writeln!(text, "**{}**: {}", target.what, note.trim_end());
        text.push('\n');
    }
    Ok(())
}

fn all_targets(plan: &Plan, results: &Results) -> Vec<Target> {
    let mut targets = Vec::new();
    let cost = |case, peer| {
        results
            .samples
            .get(&(case, peer))
            .map(|samples| cost(samples))
    };
    let mut times = |word, case: Case, peer: Peer, least: f64| {
        if let (Some(ours), Some(theirs)) = (cost(case, Peer::Attache), cost(case, peer)) {
            let ratio = theirs.median / ours.median;
            targets.push(Target {
                word,
                what: format!("redirects per CPU second, against {}", peer.name()),
                bound: format!("at least {least:.0} times"),
                measured: format!("{ratio:.0} times"),
                met: ratio >= least,
            });
        }
    };
    times("redirect", Case::Redirect, Peer::NodeSingleton, 40.0);
    times("redirect", Case::Redirect, Peer::NodeRequest, 100.0);
    let mut ratio = |word, case: Case, ours: Peer, peer: Peer, most: f64| {
        if let (Some(our), Some(theirs)) = (cost(case, ours), cost(case, peer)) {
            let ratio = our.median / theirs.median;
            let who = if ours == case.ours() {
                String::new()
            } else {
                format!("{}: ", ours.name())
            };
            targets.push(Target {
                word,
                what: format!("{who}CPU of {}, against {}", case.title(plan), peer.name()),
                bound: format!("at most {most} times"),
                measured: format!("{ratio:.2} times"),
                met: ratio <= most,
            });
        }
    };
    for (case, most) in [
        (Case::Relay4K, 1.4),
        (Case::Relay64K, 1.1),
        (Case::Relay1M, 0.9),
        (Case::RelayLarge, 0.9),
    ] {
        ratio(case.word(), case, Peer::Attache, Peer::NginxLarge, most);
    }
    for (word, case, most) in [
        ("upload-64k", Case::Upload64K, 1.2),
        ("upload-large-nginx", Case::UploadLarge, 1.5),
    ] {
        ratio(word, case, Peer::Attache, Peer::Nginx, most);
    }
    for (case, most) in [
        (Case::LocalRelay4K, 1.8),
        (Case::LocalRelay64K, 1.8),
        (Case::LocalRelay1M, 2.0),
        (Case::LocalRelay64M, 2.0),
    ] {
        ratio(
            case.word(),
            case,
            Peer::AttacheLocal,
            Peer::NginxLocal,
            most,
        );
    }
    // Told where `--before` names a build to compare with.
    for (word, case, before, most) in [
        ("redirect-before", Case::Redirect, Peer::AttacheBefore, 0.7),
        (
            "local-upload-64k",
            Case::LocalUpload64K,
            Peer::AttacheLocalBefore,
            0.4,
        ),
        (
            "local-upload-large",
            Case::LocalUploadLarge,
            Peer::AttacheLocalBefore,
            0.35,
        ),
    ] {
        ratio(word, case, case.ours(), before, most);
    }
    ratio(
        "upload-large",
        Case::UploadLarge,
        Peer::Attache,
        Peer::HyperMd5,
        1.2,
    );
    ratio(
        "upload-large-without-md5",
        Case::UploadLarge,
        Peer::AttacheWithoutMd5,
        Peer::Hyper,
        1.2,
    );
    ratio(
        "upload-large-socket",
        Case::UploadLarge,
        Peer::Attache,
        Peer::HyperSocketMd5,
        1.2,
    );
    s3_targets(&mut targets, plan, results);
    if let Some(slow) = results.slow.get(&Peer::Attache) {
        targets.push(Target {
            word: "slow-readers",
            what: format!("resident memory for each of {} slow readers", slow.readers),
            bound: "at most 48 KiB".to_owned(),
            measured: kib(slow.bytes_each),
            met: slow.bytes_each <= 48 * KIB,
        });
        targets.push(Target {
            word: "slow-readers-later",
            what: format!("the same, {} s later", STANDING.as_secs()),
            bound: "at most 48 KiB".to_owned(),
            measured: kib(slow.bytes_each_later),
            met: slow.bytes_each_later <= 48 * KIB,
        });
    }
    let listing = results.curves.get(&(Growth::Listing, Peer::Attache));
    if let Some(samples) = listing.and_then(|curve| curve.get(&MILLION)) {
        let page = Growth::Listing.value(samples);
        targets.push(Target {
            word: "listing",
            what: "CPU of a page of 100 of a million attachments".to_owned(),
            bound: "at most 150 µs".to_owned(),
            measured: format!("{page:.0} µs"),
            met: page <= 150.0,
        });
    }
    if let Some(private) = results.idle_private.get(&Peer::Attache) {
        targets.push(Target {
            word: "idle-private",
            what: "private memory of an idle server".to_owned(),
            bound: "at most 4 MiB".to_owned(),
            measured: mib(*private),
            met: *private <= 4 * MIB,
        });
    }
    if let Some(idle) = results.idle.get(&Peer::Attache) {
        targets.push(Target {
            word: "idle",
            what: "resident memory of an idle server".to_owned(),
            bound: "under 15 MiB".to_owned(),
            measured: mib(*idle),
            met: *idle < 15 * MIB,
        });
    }
    if let Some(left) = results.left.get(&Peer::Attache) {
        targets.push(Target {
            word: "leavers",
            what: format!(
                "kept after {} clients have left: descriptors, reads of the store, bytes for each",
                left.leavers
            ),
            bound: "0, 0, 0".to_owned(),
            measured: format!("{}, {}, {}", left.descriptors, left.reads, left.bytes_each),
            met: left.descriptors == 0 && left.reads == 0 && left.bytes_each == 0,
        });
    }
    targets
}

/// The S3 endpoint beside `rclone serve s3`, and its redirects beside those of attachments.
fn s3_targets(targets: &mut Vec<Target>, plan: &Plan, results: &Results) {
    for (case, peer, most, bound) in [
        (Case::S3Put64K, Peer::RcloneS3, 1.0 / 3.0, "at most a third"),
        (Case::S3Get64K, Peer::RcloneS3, 1.0 / 3.0, "at most a third"),
        (Case::S3Put64M, Peer::RcloneS3, 1.0 / 3.0, "at most a third"),
        (Case::S3Get64M, Peer::RcloneS3, 1.0 / 3.0, "at most a third"),
        (Case::S3Redirect, Peer::Attache, 3.0, "at most 3 times"),
    ] {
        let samples = |peer| results.samples.get(&(case, peer));
        if let (Some(ours), Some(theirs)) = (samples(case.ours()), samples(peer)) {
            let ratio = cost(ours).median / cost(theirs).median;
            let theirs = match peer {
                Peer::Attache => "the redirect of an attachment",
                peer => peer.name(),
            };
            targets.push(Target {
                word: case.word(),
                what: format!("CPU of {}, against {theirs}", case.title(plan)),
                bound: bound.to_owned(),
                measured: format!("{ratio:.2} times"),
                met: ratio <= most,
            });
        }
    }
    let uploads = |peer| results.uploads.get(&peer);
    if let (Some(ours), Some(theirs)) = (uploads(Peer::AttacheS3), uploads(Peer::RcloneS3)) {
        targets.push(Target {
            word: "s3-uploads",
            what: format!(
                "memory at {} S3 uploads of 100 MiB at once, against {}",
                ours.count,
                Peer::RcloneS3.name()
            ),
            bound: "at most a tenth".to_owned(),
            measured: format!("{:.2} times", ours.peak as f64 / theirs.peak as f64),
            met: ours.peak * 10 <= theirs.peak,
        });
    }
}
