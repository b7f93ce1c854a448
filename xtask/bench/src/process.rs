//! Processes that are measured: started, read about in `/proc`, and ended.
//!
//! CPU seconds and memory come from the operating system and never from what a program says of itself. A server's children
//! count with it: nginx works in them.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;

/// Clock ticks a second in `/proc/PID/stat`. Linux fixes them at 100 for what user programs see, whatever its own are
/// (`man 5 proc`, `man 7 time`).
const TICKS: f64 = 100.0;

/// How long a program may take to listen, or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program that runs until it is dropped.
pub struct Process {
    name: String,
    child: Child,
    /// Ends programs that live as long as their standard input.
    _input: Option<std::process::ChildStdin>,
}

impl Process {
    /// Starts `command`. What it logs goes nowhere, unless `ATTACHE_BENCH_LOGS` is set: then to stderr, and what it writes to
    /// files stays.
    pub fn start(name: &str, command: &mut Command) -> Outcome<Self> {
        Self::spawn(name, command.stdout(Stdio::null()))
    }

    /// Starts `command`, and waits for the first line on its standard output that `read` understands.
    pub fn start_and_read<T>(
        name: &str,
        command: &mut Command,
        read: impl Fn(&str) -> Option<T>,
    ) -> Outcome<(Self, T)> {
        let mut process = Self::spawn(name, command.stdout(Stdio::piped()))?;
        let stdout = process.child.stdout.take().ok_or("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let found = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| read(&line));
        let found = found.ok_or_else(|| format!("{name} ended before it listened"))?;
        // Read on, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Ok((process, found))
    }

    fn spawn(name: &str, command: &mut Command) -> Outcome<Self> {
        let log = match std::env::var_os("ATTACHE_BENCH_LOGS") {
            Some(_) => Stdio::inherit(),
            None => Stdio::null(),
        };
        let mut child = command
            .stdin(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{name}: {error}"))?;
        let input = child.stdin.take();
        Ok(Self {
            name: name.to_owned(),
            child,
            _input: input,
        })
    }

    /// Waits until something listens at `address`.
    pub fn await_listening(&mut self, address: SocketAddr) -> Outcome<()> {
        let start = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("{} ended: {status}", self.name).into());
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("{} does not listen", self.name).into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// User and system seconds so far, of the process, its children, and theirs.
    pub fn cpu(&self) -> f64 {
        self.family().iter().filter_map(|pid| cpu_of(*pid)).sum()
    }

    /// Resident bytes now.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// Resident bytes now that are not pages of a file, which the system may share and drop.
    pub fn private(&self) -> u64 {
        self.memory("RssAnon:")
    }

    /// The most bytes that were resident at once, each process by itself.
    pub fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> u64 {
        let count = |pid: &u32| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        self.family().iter().map(|pid| count(pid) as u64).sum()
    }

    fn memory(&self, figure: &str) -> u64 {
        self.family()
            .iter()
            .filter_map(|pid| memory_of(*pid, figure))
            .sum()
    }

    fn family(&self) -> Vec<u32> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let Some(pid) = pid else { continue };
            if let Some(parent) = stat(pid).and_then(|fields| fields.get(1)?.parse().ok()) {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut family = vec![self.child.id()];
        let mut next = 0;
        while next < family.len() {
            family.extend(children.remove(&family[next]).unwrap_or_default());
            next += 1;
        }
        family
    }
}

impl Drop for Process {
    /// SIGTERM first: a master that is killed leaves its workers.
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system seconds of this process so far.
pub fn own_cpu() -> f64 {
    cpu_of(std::process::id()).unwrap_or_default()
}

/// The most bytes of this process that were resident at once.
pub fn own_peak() -> u64 {
    memory_of(std::process::id(), "VmHWM:").unwrap_or_default()
}

/// The fields of `/proc/PID/stat` behind the name, which may hold anything.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

fn cpu_of(pid: u32) -> Option<f64> {
    let fields = stat(pid)?;
    // utime, stime, and the same of children that have ended: fields 14 to 17 of all, counted from 1.
    let ticks = fields
        .get(11..15)?
        .iter()
        .map(|field| field.parse::<f64>().ok());
    Some(ticks.sum::<Option<f64>>()? / TICKS)
}

fn memory_of(pid: u32, figure: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with(figure))?;
    let kib: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// A port of loopback that nothing listens on.
pub fn free_address() -> Outcome<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?)
}
