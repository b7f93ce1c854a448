//! `docs/performance.md` and its plots, from one run.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use time::OffsetDateTime;

use crate::cases::{CONNECTIONS, Case, SMALL};
use crate::curves::curves;
use crate::figures::{Cost, cost, kib, median, name_of, sentence, tenths_of_kib};
use crate::latency::latency;
use crate::many::many;
use crate::memory::memory;
use crate::plan::Plan;
use crate::plot::{Bar, bars};
use crate::s3;
use crate::stage::{Results, Sample};
use crate::targets::targets;
use crate::world::Peer;
use crate::{Outcome, Places};

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
    many(&mut text, plan, &results.many);
    latency(&mut text, plan, &results.waits);
    curves(&mut text, plan, &results.curves, &folder)?;
    first_build(&mut text, places)?;
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

/// A build takes longer than the rounds may be disturbed: it is measured apart, and told as it was.
fn first_build(text: &mut String, places: &Places) -> Outcome<()> {
    let told = std::fs::read_to_string(places.notes.join("first-build.md"))?;
    let _ = writeln!(text, "## The first build\n\n{}\n", told.trim_end());
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
         choose (the name of a plot is that of its case; a first word such as `relay`, `local`, `wide` or `h2` is all of its family; `rest` is starting, \
         memory and slow readers, `s3-uploads` S3 uploads at once, `many` many attachments, `latency` the time of requests, and `streams`, \
         `sizes` and `rows` are costs that grow); `--before PATH` measures another binary of attache beside this one, which is how changes are judged."
    );
    Ok(())
}
