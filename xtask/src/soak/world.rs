//! attache and its Azure, as processes; what breaks, and what is configured anew.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::{Client, Send};
use crate::command::Failure;

/// Both processes, killed when dropped.
pub(crate) struct World {
    azure: Running,
    server: Running,
    pub(crate) address: SocketAddr,
    admin: Client,
    /// Asks the server itself; a connection of its own, so that it is always one more descriptor.
    ask: Client,
    folder: PathBuf,
    ready: Value,
    secrets: u32,
}

/// What attache says of itself, and the system of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Vitals {
    pub(crate) heap: f64,
    pub(crate) resident: f64,
    pub(crate) descriptors: f64,
    pub(crate) streams: f64,
    pub(crate) connections: f64,
    pub(crate) transfer: f64,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl World {
    /// Starts the two programs of `binaries`, with everything that they write in `folder`.
    pub(crate) fn start(binaries: &Path, folder: &Path) -> Result<Self, Failure> {
        let ca = folder.join("ca.pem");
        let (azure, line) = launch(
            Command::new(binaries.join("fake-azure"))
                .args(["--secret", "secret-0", "--ca-out"])
                .arg(&ca)
                .stdin(Stdio::piped()),
        )?;
        let ready: Value = serde_json::from_str(&line)
            .map_err(|error| Failure::new(format!("soak: fake-azure said {line:?}: {error}")))?;
        fs::write(folder.join("secret"), "secret-0").map_err(failed)?;
        fs::write(folder.join("attache.toml"), configuration(&ready, 60)).map_err(failed)?;
        let log = fs::File::create(folder.join("attache.log")).map_err(failed)?;
        let (server, line) = launch(
            Command::new(binaries.join("attache"))
                .args([
                    "serve",
                    "--config",
                    "attache.toml",
                    "--listen",
                    "127.0.0.1:0",
                ])
                .current_dir(folder)
                .env_clear()
                .env("ATTACHE_LOG", "warn,attache=error,attache_server=error")
                .stdin(Stdio::null())
                .stderr(log),
        )?;
        let address = line.trim().rsplit("://").next().unwrap_or_default().parse();
        let address = address.map_err(|_| {
            let log = fs::read_to_string(folder.join("attache.log")).unwrap_or_default();
            Failure::new(format!("soak: attache did not start: {line:?}\n{log}"))
        })?;
        let admin = ready["admin_endpoint"].as_str().unwrap_or_default();
        let admin = admin
            .trim_start_matches("http://")
            .trim_end_matches('/')
            .parse()
            .map_err(|_| Failure::new(format!("soak: no admin endpoint in {ready}")))?;
        Ok(Self {
            azure,
            server,
            address,
            admin: Client::new(admin),
            ask: Client::new(address),
            folder: folder.to_owned(),
            ready,
            secrets: 0,
        })
    }

    pub(crate) fn vitals(&mut self) -> Result<Vitals, Failure> {
        let answer = self
            .ask
            .exchange("GET", "/metrics", "", Send::Whole(&[]))
            .map_err(|error| Failure::new(format!("soak: attache does not answer: {error}")))?;
        let text = String::from_utf8_lossy(&answer.body);
        let figure = |name: &str| -> f64 {
            let lines = text.lines().filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with([' ', '{']))
            });
            let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            values.sum()
        };
        let connections = "attache_upstream_connections{state=\"open\"}";
        let pid = self.server.0.id();
        Ok(Vitals {
            heap: figure("attache_heap_allocated_bytes"),
            resident: figure("attache_process_resident_bytes"),
            streams: figure("attache_streams_open"),
            transfer: figure("attache_transfer_memory_bytes"),
            connections: figure(connections),
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))
                .map_err(failed)?
                .count() as f64,
        })
    }

    /// Something breaks, another thing each time.
    pub(crate) fn storm(&mut self, number: usize) -> Result<&'static str, Failure> {
        let busy = json!({"answer": {"status": 503, "code": "ServerBusy"}});
        let (name, faults) = match number % 10 {
            0 => (
                "503 for 1 of 10 calls",
                json!({"answers": [{"rate": 0.1, "action": busy}]}),
            ),
            1 => (
                "1 of 5 downloads cut",
                json!({"responses": [{"rate": 0.2, "after_bytes": 20_000, "kind": "cut"}]}),
            ),
            2 => (
                "1 of 20 downloads silent",
                json!({"responses": [{"rate": 0.05, "after_bytes": 10_000, "kind": "silence"}]}),
            ),
            3 => ("tokens revoked", json!({})),
            4 => (
                "connections lost",
                json!({"answers": [{"rate": 0.05, "action": "disconnect"}]}),
            ),
            5 => (
                "Entra down, tokens revoked",
                json!({"entra": "unavailable"}),
            ),
            6 => (
                "1 of 10 uploads cut",
                json!({"requests": [{"rate": 0.1, "after_bytes": 30_000, "kind": "cut"}]}),
            ),
            7 => (
                "answers lost",
                json!({"answers": [{"rate": 0.05, "stage": "after_commit", "action": "disconnect"}]}),
            ),
            8 => (
                "calls that hang",
                json!({"answers": [{"rate": 0.01, "action": "hang"}]}),
            ),
            _ => (
                "a slow store",
                json!({"latency": 30, "download_bytes_per_second": 300_000}),
            ),
        };
        self.tell("/_faults", &faults)?;
        if matches!(number % 10, 3 | 5) {
            self.tell("/_revoke", &json!({}))?;
        }
        Ok(name)
    }

    /// Everything works again.
    pub(crate) fn calm(&mut self) -> Result<(), Failure> {
        self.tell("/_faults", &json!({"clear": true}))
    }

    /// Writes another configuration and has it loaded; now and then a fresh secret, or a configuration that is refused.
    pub(crate) fn reload(&mut self, number: u32) -> Result<(), Failure> {
        let path = self.folder.join("attache.toml");
        let good = configuration(&self.ready, 60 + number % 2);
        match number % 5 {
            2 => {
                fs::write(&path, format!("{good}\n[nonsense")).map_err(failed)?;
                self.load(422)?;
                fs::write(&path, &good).map_err(failed)?;
                self.load(200)
            }
            4 => {
                let old = format!("secret-{}", self.secrets);
                self.secrets += 1;
                let new = format!("secret-{}", self.secrets);
                self.tell("/_secrets", &json!([old, new]))?;
                // By a rename, as mounted secrets are replaced.
                let next = self.folder.join("secret.next");
                fs::write(&next, &new).map_err(failed)?;
                fs::rename(&next, self.folder.join("secret")).map_err(failed)?;
                self.load(200)?;
                self.tell("/_secrets", &json!([new]))
            }
            _ => {
                fs::write(&path, &good).map_err(failed)?;
                self.load(200)
            }
        }
    }

    /// SIGTERM; whether it ended well within this time.
    pub(crate) fn stop(mut self, patience: Duration) -> Result<(), Failure> {
        let child = &mut self.server.0;
        let pid = child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        sent.map_err(failed)?;
        let start = Instant::now();
        while start.elapsed() < patience {
            match child.try_wait().map_err(failed)? {
                Some(status) if status.success() => {
                    // It ends with its input.
                    drop(self.azure.0.stdin.take());
                    return Ok(());
                }
                Some(status) => return Err(Failure::new(format!("soak: attache ended: {status}"))),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        Err(Failure::new("soak: attache does not end on SIGTERM"))
    }

    fn tell(&mut self, path: &str, what: &Value) -> Result<(), Failure> {
        let body = what.to_string();
        let told = self
            .admin
            .exchange("POST", path, "", Send::Whole(body.as_bytes()));
        match told {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(Failure::new(format!(
                "soak: fake-azure {path} {body}: {other:?}"
            ))),
        }
    }

    fn load(&mut self, expected: u16) -> Result<(), Failure> {
        let answer = self
            .ask
            .exchange("POST", "/v1/admin/reload", "", Send::Whole(&[]))
            .map_err(|error| Failure::new(format!("soak: reload: {error}")))?;
        match answer.status == expected {
            true => Ok(()),
            false => Err(Failure::new(format!(
                "soak: a reload was answered {}, not {expected}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            ))),
        }
    }
}

/// Small blocks and short limits, so that everything happens often; idle connections go fast, so that a rest is one.
fn configuration(ready: &Value, url_lifetime_s: u32) -> String {
    let text = |key: &str| ready[key].to_string();
    format!(
        "[server]\nshutdown_grace = \"10s\"\n\
         [storage]\nbackend = \"azure\"\n\
         [storage.azure]\naccount = {account}\ncontainer = \"files\"\nendpoint = {endpoint}\nauthority_host = {authority}\n\
         tenant_id = {tenant}\nclient_id = {client}\ncredential = \"client_secret\"\nclient_secret_file = \"secret\"\n\
         ca_file = \"ca.pem\"\n\
         [delivery]\nurl_lifetime = \"{url_lifetime_s}s\"\n\
         [upload]\nblock_bytes = \"1MiB\"\nidle_timeout = \"5s\"\n\
         [download]\nidle_timeout = \"4s\"\n\
         [memory]\ntransfer_bytes = \"64MiB\"\n\
         [clients]\nidle_after = \"1s\"\n",
        account = text("account"),
        endpoint = text("blob_endpoint"),
        authority = text("authority_host"),
        tenant = text("tenant_id"),
        client = text("client_id"),
    )
}

/// Starts it, and reads the first line that it prints.
fn launch(command: &mut Command) -> Result<(Running, String), Failure> {
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = Running(child.map_err(|error| {
        let program = command.get_program().display().to_string();
        Failure::new(format!("soak: {program}: {error}"))
    })?);
    let mut line = String::new();
    if let Some(stdout) = child.0.stdout.take() {
        BufReader::new(stdout)
            .read_line(&mut line)
            .map_err(failed)?;
    }
    Ok((child, line))
}

fn failed(error: std::io::Error) -> Failure {
    Failure::new(format!("soak: {error}"))
}
