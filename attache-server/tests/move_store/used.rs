//! What a command takes of the machine.

use std::process::Child;
use std::time::{Duration, Instant};

use crate::support::cpu_of;

/// What a process has used by its end, as far as that was seen a moment before.
pub(crate) struct Used {
    pub(crate) cpu: Duration,
    pub(crate) peak_bytes: u64,
    pub(crate) took: Duration,
}

/// Waits until a command has succeeded.
pub(crate) fn used(mut child: Child) -> Used {
    let (pid, began) = (child.id(), Instant::now());
    let (mut cpu, mut peak_bytes) = (Duration::ZERO, 0);
    loop {
        if let Some(now) = cpu_of(pid) {
            cpu = now;
        }
        peak_bytes = peak_of(pid).unwrap_or(peak_bytes);
        if let Some(ended) = child.try_wait().unwrap() {
            assert!(ended.success(), "{ended}");
            let took = began.elapsed();
            return Used {
                cpu,
                peak_bytes,
                took,
            };
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn peak_of(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = peak.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}
