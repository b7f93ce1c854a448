//! `docs/performance.md` and its plots, from one run.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use time::OffsetDateTime;

use crate::cases::{CONNECTIONS, Case, KIB, MIB, Plan, SMALL, size_word};
use crate::plot::{Bar, bars};
use crate::s3;
use crate::stage::{Results, Sample};
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

/// Writes the document and its plots.
pub fn write(plan: &Plan, places: &Places, results: &Results) -> Outcome<()> {
    let folder = places.out.with_extension("");
    std::fs::create_dir_all(&folder)?;
    let mut text = String::new();
    head(&mut text, plan, results);
    targets(&mut text, plan, places, results)?;
    for case in Case::ALL {
        if let Some(section) = case_section(plan, results, case, &folder)? {
            text.push_str(&section);
        }
    }
    s3::uploads(&mut text, plan, results);
    memory(&mut text, plan, results, &folder)?;
    machine(&mut text, places)?;
    std::fs::write(&places.out, text)?;
    eprintln!("bench: wrote {}", places.out.display());
    if let Some(readme) = &places.readme {
        let text = std::fs::read_to_string(readme)?;
        std::fs::write(readme, with_table(&text, &short_table(plan, results))?)?;
        eprintln!("bench: wrote the table of {}", readme.display());
    }
    Ok(())
}

/// Around the table in the README.
const TABLE_BEGINS: &str = "<!-- written by cargo xtask bench -->\n";
const TABLE_ENDS: &str = "<!-- to here -->\n";

fn with_table(text: &str, table: &str) -> Outcome<String> {
    let (before, rest) = text
        .split_once(TABLE_BEGINS)
        .ok_or("the README has no place for the table")?;
    let (_, after) = rest
        .split_once(TABLE_ENDS)
        .ok_or("the table of the README has no end")?;
    Ok(format!("{before}{TABLE_BEGINS}{table}{TABLE_ENDS}{after}"))
}

/// What of the document the README shows.
fn short_table(plan: &Plan, results: &Results) -> String {
    const COSTS: [Case; 3] = [Case::Redirect, Case::Relay64K, Case::RelayLarge];
    let mut text = String::from("|");
    for case in COSTS {
        let unit = if case.is_large() { "s per GB" } else { "µs" };
        let _ = write!(text, " | {}, {unit}", case.title(plan));
    }
    text.push_str(" | memory of a slow reader | memory kept per abandoned download |\n| --- | --- | --- | --- | --- | --- |\n");
    // Node as an application would write it, and as the same with `pipeline()` where the first hangs.
    for peer in [
        Peer::Attache,
        Peer::Nginx,
        Peer::Rclone,
        Peer::NodeSingleton,
        Peer::NodePiped,
        Peer::NodeRequest,
    ] {
        let _ = write!(text, "| {}", peer.name());
        for case in COSTS {
            let samples = results.samples.get(&(case, peer));
            let cell = samples.map(|samples| figure(plan, case, cost(samples).median));
            let _ = write!(text, " | {}", cell.as_deref().unwrap_or("–"));
        }
        let (slow, left) = (results.slow.get(&peer), results.left.get(&peer));
        let slow = slow.map_or("–".to_owned(), |slow| kib(slow.bytes_each));
        let left = left.map_or("–".to_owned(), |left| tenths_of_kib(left.bytes_each));
        let _ = writeln!(text, " | {slow} | {left} |");
    }
    text
}

/// A cost in the unit of its case.
fn figure(plan: &Plan, case: Case, cost: f64) -> String {
    let (scale, digits) = match case.is_large() {
        true => (1e9 / case.size(plan) as f64, 2),
        false => (1e6, 0),
    };
    let value = cost * scale;
    format!("{value:.*}", digits.max(usize::from(value < 20.0)))
}

fn head(text: &mut String, plan: &Plan, results: &Results) {
    let now = OffsetDateTime::now_utc();
    let quick = if plan.quick {
        " (quick run: smaller, and less sure)"
    } else {
        ""
    };
    let _ = writeln!(
        text,
        "# Performance{quick}\n\n\
         Written by `{}` on {}; never edited by hand. The run took {:.0} minutes.\n\n\
         attache and its peers, in one run, before the same stand-in for Azure Blob Storage and Entra ID over HTTPS on \
         loopback. {} alternating rounds over {CONNECTIONS} connections that are kept; figures are medians of rounds, in \
         brackets the smallest and largest. CPU seconds (user and system, with children) and memory come from `/proc`. Every \
         byte of every response is compared. The machine was shared with other work, and the load, the stand-in and the peers \
         shared its cores: trust CPU and ratios more than wall-clock.\n\n\
         Small requests are spread over {SMALL} attachments. *nginx* is `proxy_pass` with kept, verified TLS connections, the \
         floor of a relay: it checks no permission, knows no catalog and no checksum. *Node* is `xtask/bench/node/server.js` on \
         Microsoft's SDK; the *singleton* builds credential and client once, and asks for a delegation key for each URL, as \
         the SDK's samples do. The *loops* are clients without a server: what the same bytes cost at least, checked and hashed \
         as attache does (CRC-64 of downloads; SHA-256 and CRC-64 of uploads, MD5 where it says so).\n",
        plan.command,
        now.date(),
        results.seconds / 60.0,
        plan.rounds,
    );
}

fn targets(text: &mut String, plan: &Plan, places: &Places, results: &Results) -> Outcome<()> {
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
            let who = if ours == Peer::Attache {
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
    ratio("relay-4k", Case::Relay4K, Peer::Attache, Peer::Nginx, 1.5);
    ratio("relay-64k", Case::Relay64K, Peer::Attache, Peer::Nginx, 1.5);
    ratio(
        "relay-large",
        Case::RelayLarge,
        Peer::Attache,
        Peer::Nginx,
        1.25,
    );
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
            bound: "at most 96 KiB".to_owned(),
            measured: kib(slow.bytes_each),
            met: slow.bytes_each <= 96 * KIB,
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

/// CPU seconds a request.
#[derive(Clone, Copy)]
struct Cost {
    median: f64,
    least: f64,
    most: f64,
}

fn cost(samples: &[Sample]) -> Cost {
    let mut each: Vec<f64> = samples
        .iter()
        .map(|sample| sample.cpu / sample.requests as f64)
        .collect();
    each.sort_by(f64::total_cmp);
    Cost {
        median: median(&each),
        least: each[0],
        most: each[each.len() - 1],
    }
}

/// Of values that are sorted.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

fn case_section(
    plan: &Plan,
    results: &Results,
    case: Case,
    folder: &Path,
) -> Outcome<Option<String>> {
    let mut rows: Vec<(Peer, &Vec<Sample>, Cost)> = results
        .samples
        .iter()
        .filter(|((of, _), _)| *of == case)
        .map(|((_, peer), samples)| (*peer, samples, cost(samples)))
        .collect();
    if rows.is_empty() {
        return Ok(None);
    }
    rows.sort_by(|a, b| a.2.median.total_cmp(&b.2.median));
    let ours = rows
        .iter()
        .find(|row| row.0 == case.ours())
        .map(|row| row.2.median);
    let unit = match case.is_large() {
        true => "CPU s per GB (10⁹ bytes)",
        false => "CPU µs per request",
    };
    let title = case.title(plan);
    let mut text = format!("## {}\n\n", sentence(&title));
    if let Some(remark) = case.remark() {
        let _ = writeln!(text, "{remark}\n");
    }
    let _ = writeln!(
        text,
        "| | {unit} | attache = 1 | requests per CPU s | wall-clock s per round |\n| --- | --- | --- | --- | --- |"
    );
    let mut plotted = Vec::new();
    for (peer, samples, cost) in &rows {
        let figure = |value| figure(plan, case, value);
        let mut walls: Vec<f64> = samples.iter().map(|sample| sample.wall).collect();
        walls.sort_by(f64::total_cmp);
        let against = ours.map_or(String::new(), |ours| format!("{:.2}", cost.median / ours));
        let rate = if case.is_large() {
            format!("{:.2}", 1.0 / cost.median)
        } else {
            format!("{:.0}", 1.0 / cost.median)
        };
        let _ = writeln!(
            text,
            "| {} | {} ({} to {}) | {against} | {rate} | {:.2} for {} |",
            peer.name(),
            figure(cost.median),
            figure(cost.least),
            figure(cost.most),
            median(&walls),
            samples[0].requests,
        );
        plotted.push(Bar {
            name: peer.name().to_owned(),
            value: cost.median,
            shown: figure(cost.median),
            ours: peer.name().starts_with("attache"),
        });
    }
    for peer in case.peers() {
        let broken = results
            .broken
            .iter()
            .filter(|broken| **broken == (case, *peer))
            .count();
        if broken > 0 {
            let _ = writeln!(
                text,
                "\n{} broke off in {broken} of {} rounds.",
                peer.name(),
                plan.rounds
            );
        }
    }
    let file = format!("{}.svg", case.word());
    std::fs::write(
        folder.join(&file),
        bars(&format!("{}: {unit}", sentence(&title)), &plotted),
    )?;
    let _ = writeln!(
        text,
        "\n![{}]({}/{file})\n",
        sentence(&title),
        name_of(folder)
    );
    Ok(Some(text))
}

fn memory(text: &mut String, plan: &Plan, results: &Results, folder: &Path) -> Outcome<()> {
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
         *Slow readers* ask for {}, take a little and then nothing until every buffer on the way is full; the figure is resident \
         memory above the idle process. *Leavers* take a little and close; five times {} of them, and the figure is what each \
         further time added, so what a server keeps for ever and not what its allocator keeps for later.\n\n\
         | | slow readers | resident for each | kept for each leaver | descriptors kept | reads of the store still open |\n\
         | --- | --- | --- | --- | --- | --- |",
        size_word(100 * MIB),
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
        let readers = slow.map_or("broke off".to_owned(), |slow| slow.readers.to_string());
        let kept = left.map_or("broke off | – | –".to_owned(), |left| {
            let kept = tenths_of_kib(left.bytes_each);
            format!("{kept} | {} | {}", left.descriptors, left.reads)
        });
        let _ = writeln!(text, "| {} | {readers} | {each} | {kept} |", peer.name());
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

fn machine(text: &mut String, places: &Places) -> Outcome<()> {
    let read = |path: &str, name: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .map(str::to_owned);
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
            .unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory: u64 = read("/proc/meminfo", "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or(0);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let _ = writeln!(
        text,
        "## Versions and machine\n\n\
         {}, {cores} cores, {:.0} GiB of memory, Linux {}.\n",
        read("/proc/cpuinfo", "model name"),
        memory as f64 / (1024.0 * 1024.0),
        kernel.trim(),
    );
    let version = |program: &Path, argument: &str| {
        let output = Command::new(program).arg(argument).output().ok()?;
        let said = if output.stdout.is_empty() {
            output.stderr
        } else {
            output.stdout
        };
        Some(
            String::from_utf8_lossy(&said)
                .lines()
                .next()?
                .trim()
                .to_owned(),
        )
    };
    let package = |name: &str| {
        let file = places
            .node_server
            .join("node_modules")
            .join(name)
            .join("package.json");
        let package: Option<serde_json::Value> = std::fs::read(file)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        let version = package.and_then(|package| Some(package["version"].as_str()?.to_owned()));
        format!("{name} {}", version.unwrap_or_default())
    };
    let lock = include_str!("../Cargo.lock");
    let locked = |name: &str| {
        let version = lock
            .split("[[package]]")
            .find(|entry| entry.contains(&format!("name = \"{name}\"\n")));
        let version =
            version.and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next());
        format!("{name} {}", version.unwrap_or_default())
    };
    let versions = [
        version(&places.attache, "--version").unwrap_or_default(),
        version(&places.nginx, "-v").unwrap_or_default(),
        version(&places.rclone, "version").unwrap_or_default(),
        format!(
            "{} (serve s3)",
            version(&places.rclone_s3, "version").unwrap_or_default()
        ),
        format!(
            "Node {}",
            version(&places.node, "--version").unwrap_or_default()
        ),
        package("@azure/storage-blob"),
        package("@azure/identity"),
        package("express"),
        locked("hyper"),
        locked("object_store"),
    ];
    for version in versions {
        let _ = writeln!(text, "- {version}");
    }
    let _ = writeln!(
        text,
        "\n## How to repeat it\n\n\
         `cargo xtask bench` installs what is missing after saying so (nginx, rclone; Node.js has to be there), builds attache as \
         it is released, runs everything, and writes this file. `--quick` is smaller and writes to \
         `target/bench/performance.md`; `--out FILE` writes elsewhere; `--cases redirect,relay-4k` and `--peers nginx,hyper` \
         choose (`rest` is starting, memory and slow readers, `s3-uploads` S3 uploads at once); `--before PATH` measures another binary of attache beside this one, which is how changes are judged."
    );
    Ok(())
}

fn kib(bytes: u64) -> String {
    format!("{} KiB", bytes / KIB)
}

fn tenths_of_kib(bytes: u64) -> String {
    format!("{:.1} KiB", bytes as f64 / KIB as f64)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / MIB as f64)
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn name_of(folder: &Path) -> String {
    folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
