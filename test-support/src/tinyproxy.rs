//! A proxy between a test and its stand-ins, which are called by names that only the proxy knows.

use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::child::Guarded;
use crate::tool::{nss_wrapper, tinyproxy};

/// How long it may take until it listens.
const START: Duration = Duration::from_secs(10);

/// A running [tinyproxy](https://tinyproxy.github.io), of this test alone. Dropping it ends it.
///
/// What listens on loopback is never reached through a proxy, so a test has to call its stand-ins by names. With `CONNECT`
/// it is the proxy that looks a name up; this one is told by [nss_wrapper](https://cwrap.org/nss_wrapper.html), which answers
/// in place of the system's resolver, that the names mean loopback. Nothing else on the machine knows them.
#[derive(Debug)]
pub struct Tinyproxy {
    port: u16,
    folder: tempfile::TempDir,
    _child: Guarded,
}

impl Tinyproxy {
    /// Starts one that knows `names`; `more` are further lines of its configuration. `None` if it is not on this machine.
    ///
    /// Panics if it does not start.
    pub async fn start(names: &[&str], more: &str) -> Option<Self> {
        let (tinyproxy, wrapper) = (tinyproxy()?, nss_wrapper()?);
        let folder = tempfile::tempdir().expect("a folder");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let port = free.expect("a free port").port();
        let (config, log) = (folder.path().join("conf"), folder.path().join("log"));
        let hosts = folder.path().join("hosts");
        let lines = format!(
            "Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 60\nMaxClients 100\nLogLevel Connect\nLogFile \"{}\"\n{more}\n",
            log.display()
        );
        std::fs::write(&config, lines).expect("written");
        std::fs::write(&hosts, format!("127.0.0.1 {}\n", names.join(" "))).expect("written");
        std::fs::write(&log, "").expect("written");
        // It does not look at its stdin, so the shell does.
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg("LD_PRELOAD=\"$1\" NSS_WRAPPER_HOSTS=\"$2\" \"$0\" -d -c \"$3\" >/dev/null & echo started; cat >/dev/null; kill $!")
            .args([&tinyproxy, &wrapper, &hosts, &config]);
        let (child, ()) = Guarded::start(command, |line| (line == "started").then_some(())).await;
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < START, "tinyproxy does not listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Some(Self {
            port,
            folder,
            _child: child,
        })
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Everything that it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("its log")
    }

    /// How often it has connected somebody to `host`.
    pub fn connected(&self, host: &str) -> usize {
        let wanted = format!("CONNECT {host}:");
        let log = self.log();
        log.lines().filter(|line| line.contains(&wanted)).count()
    }
}
