//! `cargo xtask soak`: everything that users, stores and operators do to a server, all at once, for minutes; then whether
//! memory, descriptors and streams are where they were.
//!
//! The load rests every few seconds until nothing runs and no connection is open. Memory is compared between those rests:
//! under load, buffers of running transfers come and go by megabytes, and would hide a leak of several bytes an operation.
//! See [`decide`] for the statistics.

mod decide;
mod dice;
mod http;
mod load;
mod plot;
mod world;

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::command::{Failure, cargo, run, say};
use crate::tools::target;
use decide::{Fit, LIMIT, fit};
use load::Load;
use world::{Vitals, World};

/// Users at a time.
const WORKERS: u64 = 12;

/// How long something is broken, how long nothing is, and how long the load may take to come to rest.
const STORM: Duration = Duration::from_secs(3);
const CALM: Duration = Duration::from_secs(4);
const REST: Duration = Duration::from_secs(60);

/// How often the figures are read under load.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// Options of the command.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Options {
    minutes: f64,
    release: bool,
}

impl Options {
    /// `None` if they are none. Less than two minutes have too few rests to draw a line through.
    pub(crate) fn parse(mut arguments: &[&str]) -> Option<Self> {
        let mut options = Self {
            minutes: 10.0,
            release: true,
        };
        loop {
            arguments = match arguments {
                [] => return Some(options),
                ["--debug", rest @ ..] => {
                    options.release = false;
                    rest
                }
                ["--minutes", minutes, rest @ ..] => {
                    let minutes = minutes.parse().ok();
                    options.minutes =
                        minutes.filter(|minutes| (2.0..=10_000.0).contains(minutes))?;
                    rest
                }
                _ => return None,
            }
        }
    }
}

/// The figures at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at_s: f64,
    pub(crate) operations: f64,
    pub(crate) vitals: Vitals,
}

/// What a run saw.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Every second.
    pub(crate) samples: Vec<Sample>,
    /// While nothing ran.
    pub(crate) rests: Vec<Sample>,
    /// What was broken, and how long it took from its mending, or from the end of the load, until nothing ran.
    pub(crate) storms: Vec<(&'static str, f64)>,
    pub(crate) reloads: u32,
}

/// Runs it.
pub(crate) fn soak(root: &Path, options: Options) -> Result<(), Failure> {
    let profile = if options.release { "release" } else { "debug" };
    let mut build = cargo(root);
    build.args([
        "build",
        "--locked",
        "-p",
        "attache-server",
        "-p",
        "fake-azure",
    ]);
    if options.release {
        build.arg("--release");
    }
    run(&mut build)?;
    let out = target(root).join("soak");
    let work = out.join("work");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).map_err(|error| Failure::new(format!("soak: {error}")))?;

    let world = Mutex::new(World::start(&target(root).join(profile), &work)?);
    let load = Load::new(lock(&world).address);
    let record = Mutex::new(Record::default());
    let length = Duration::from_secs_f64(options.minutes * 60.0);
    say(&format!(
        "soak: {profile}, {} minutes, {WORKERS} users",
        options.minutes
    ));
    let outcome = std::thread::scope(|scope| {
        for seed in 1..=WORKERS {
            let load = &load;
            scope.spawn(move || load.work(seed));
        }
        let outcome = drive(&world, &load, &record, length);
        load.end();
        outcome
    });
    let world = world.into_inner().unwrap_or_else(|held| held.into_inner());
    outcome?;
    world.stop(Duration::from_secs(20))?;
    let record = record.into_inner().unwrap_or_else(|held| held.into_inner());
    conclude(&out, profile, options, &load, &record)
}

/// Storms, calms, reloads and rests, until the time is over.
fn drive(
    world: &Mutex<World>,
    load: &Load,
    record: &Mutex<Record>,
    length: Duration,
) -> Result<(), Failure> {
    let start = Instant::now();
    let sample = |vitals| Sample {
        at_s: start.elapsed().as_secs_f64(),
        operations: load.operations() as f64,
        vitals,
    };
    let under_load = |time: Duration| -> Result<(), Failure> {
        let end = Instant::now() + time;
        loop {
            let vitals = lock(world).vitals()?;
            lock(record).samples.push(sample(vitals));
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(SAMPLE_EVERY));
        }
    };
    let mut number = 0;
    loop {
        // The first round is without faults: what comes after it is compared with the rest at its end.
        let mut broken = "nothing";
        if number > 0 {
            broken = lock(world).storm(number)?;
            under_load(STORM)?;
            lock(world).calm()?;
            lock(world).reload(number as u32)?;
            lock(record).reloads += 1;
        }
        under_load(CALM)?;
        let stopped = Instant::now();
        while !load.rest(SAMPLE_EVERY) {
            if stopped.elapsed() > REST {
                return Err(Failure::new(format!(
                    "soak: this runs a minute after everything was mended: {}; before, {broken}",
                    load.running()
                )));
            }
            under_load(Duration::ZERO)?;
        }
        let waited = stopped.elapsed().as_secs_f64();
        lock(record).storms.push((broken, waited));
        let vitals = rested(world)?;
        let rest = sample(vitals);
        lock(record).samples.push(rest);
        lock(record).rests.push(rest);
        if let Some(wrong) = load.first_wrong() {
            return Err(Failure::new(format!("soak: {wrong}")));
        }
        if number % 10 == 0 {
            say(&format!(
                "soak: {:>5.0} s  {:>8.0} operations  heap {:>7.0} KiB  resident {:>6.1} MiB  {:>3.0} descriptors",
                rest.at_s,
                rest.operations,
                vitals.heap / 1024.0,
                vitals.resident / 1024.0 / 1024.0,
                vitals.descriptors,
            ));
        }
        if start.elapsed() >= length {
            return Ok(());
        }
        load.go_on();
        number += 1;
    }
}

/// Waits until nothing is open, or nothing more closes; the figures with the smallest heap of some that follow.
fn rested(world: &Mutex<World>) -> Result<Vitals, Failure> {
    let patience = Instant::now() + Duration::from_secs(15);
    loop {
        let vitals = lock(world).vitals()?;
        let quiet = vitals.streams == 0.0 && vitals.connections == 0.0 && vitals.transfer == 0.0;
        if quiet || Instant::now() > patience {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut least: Option<Vitals> = None;
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(50));
        let vitals = lock(world).vitals()?;
        let smaller = least.is_none_or(|least| vitals.heap < least.heap);
        least = if smaller { Some(vitals) } else { least };
    }
    least.ok_or_else(|| Failure::new("soak: no figures"))
}

/// Judges, writes what was seen, and tells.
fn conclude(
    out: &Path,
    profile: &str,
    options: Options,
    load: &Load,
    record: &Record,
) -> Result<(), Failure> {
    let later = &record.rests[record.rests.len() / 2..];
    let points: Vec<_> = later
        .iter()
        .map(|rest| (rest.operations, rest.vitals.heap))
        .collect();
    let line = fit(&points);
    let (Some(first), Some(last)) = (record.rests.first(), record.rests.last()) else {
        return Err(Failure::new("soak: it never came to rest"));
    };
    let faults = faults(line.as_ref(), &first.vitals, &last.vitals);
    let tallies = load.tallies();
    let failed: u64 = tallies.iter().map(|tally| tally.failed).sum();
    let summary = json!({
        "passed": faults.is_empty(),
        "faults": faults,
        "profile": profile,
        "minutes": options.minutes,
        "operations": last.operations,
        "failed_on_purpose": failed,
        "storms": record.storms.iter().map(|(broken, waited)| json!({
            "broken": broken, "seconds_until_nothing_ran": waited,
        })).collect::<Vec<_>>(),
        "reloads": record.reloads,
        "by_kind": tallies.iter().map(|tally| json!({
            "kind": tally.kind, "done": tally.done, "failed": tally.failed, "wrong": tally.wrong,
        })).collect::<Vec<_>>(),
        "slope_bytes_per_operation": line.map(|line| line.slope),
        "slope_95": line.map(|line| [line.low, line.high]),
        "limit": LIMIT,
        "points": line.map(|line| line.points),
        "blocks": line.map(|line| line.blocks),
        "resemblance": line.map(|line| line.resemblance),
        "first_rest": vitals_json(&first.vitals),
        "last_rest": vitals_json(&last.vitals),
        "peak": vitals_json(&peak(&record.samples)),
    });
    let write = |name: &str, text: String| {
        fs::write(out.join(name), text).map_err(|error| Failure::new(format!("soak: {error}")))
    };
    write("soak.json", format!("{summary:#}\n"))?;
    write("soak.svg", plot::svg(record, line.as_ref()))?;
    for tally in &tallies {
        say(&format!(
            "soak: {:<25} {:>8} done {:>7} failed {:>3} wrong",
            tally.kind, tally.done, tally.failed, tally.wrong
        ));
    }
    if let Some(line) = &line {
        say(&format!(
            "soak: {:.3} bytes an operation, 95 % within {:.3} to {:.3} ({} rests in {} blocks, resemblance {:.2})",
            line.slope, line.low, line.high, line.points, line.blocks, line.resemblance
        ));
        if !line.would_have_seen() {
            say("soak: the interval is wide; let it run longer to be sure of less");
        }
    }
    say(&format!(
        "soak: {} and soak.json",
        out.join("soak.svg").display()
    ));
    match faults.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(format!("soak: FAILED: {}", faults.join("; ")))),
    }
}

/// What is not as it should be.
fn faults(line: Option<&Fit>, first: &Vitals, last: &Vitals) -> Vec<String> {
    let mut faults = Vec::new();
    match line {
        Some(line) if line.leaks() => faults.push(format!(
            "memory grows by {:.2} bytes an operation ({:.2} to {:.2}), more than {LIMIT}",
            line.slope, line.low, line.high
        )),
        Some(_) => {}
        None => {
            faults.push("too few rests to tell whether memory grows; let it run longer".to_owned())
        }
    }
    for (what, first, last) in [
        ("descriptors", first.descriptors, last.descriptors),
        ("streams", first.streams, last.streams),
        (
            "connections to the store",
            first.connections,
            last.connections,
        ),
        ("bytes in transfer buffers", first.transfer, last.transfer),
    ] {
        if last > first {
            faults.push(format!(
                "{what}: {last} at rest at the end, {first} at the start"
            ));
        }
    }
    faults
}

fn peak(samples: &[Sample]) -> Vitals {
    samples.iter().fold(Vitals::default(), |peak, sample| {
        let now = &sample.vitals;
        Vitals {
            heap: peak.heap.max(now.heap),
            resident: peak.resident.max(now.resident),
            descriptors: peak.descriptors.max(now.descriptors),
            streams: peak.streams.max(now.streams),
            connections: peak.connections.max(now.connections),
            transfer: peak.transfer.max(now.transfer),
        }
    })
}

fn vitals_json(vitals: &Vitals) -> serde_json::Value {
    json!({
        "heap_bytes": vitals.heap,
        "resident_bytes": vitals.resident,
        "descriptors": vitals.descriptors,
        "streams": vitals.streams,
        "upstream_connections": vitals.connections,
        "transfer_bytes": vitals.transfer,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_return_to_its_start_is_a_fault() {
        let points: Vec<_> = (0..12).map(|x| (f64::from(x), 7.0)).collect();
        let flat = fit(&points).expect("a line");
        let start = Vitals {
            descriptors: 20.0,
            ..Vitals::default()
        };
        assert_eq!(faults(Some(&flat), &start, &start), Vec::<String>::new());
        let worse = Vitals {
            descriptors: 21.0,
            streams: 1.0,
            ..start
        };
        let told = faults(Some(&flat), &start, &worse);
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(faults(None, &start, &start).len(), 1);
        let points: Vec<_> = (0..12)
            .map(|x| (f64::from(x), 2.0 * f64::from(x)))
            .collect();
        let steep = fit(&points).expect("a line");
        assert_eq!(faults(Some(&steep), &start, &start).len(), 1);
    }

    #[test]
    fn options_are_read() {
        let options = Options::parse(&["--debug", "--minutes", "2"]).expect("valid");
        assert!(!options.release && options.minutes == 2.0);
        for bad in [&["--minutes"][..], &["--minutes", "1"], &["--hours", "1"]] {
            assert_eq!(Options::parse(bad), None, "{bad:?}");
        }
    }
}
