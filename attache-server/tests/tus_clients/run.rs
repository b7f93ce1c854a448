//! Runs a client, as its users install it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::rust;

/// Chunks of clients that are told a size.
pub(crate) const CHUNK: usize = 300_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "a crate is called so")]
pub(crate) enum Client {
    /// tus-js-client 4.3.1 in Node
    TusJs,
    /// 1.1.0
    Tuspy,
    /// 1.1.0
    Aiotus,
    /// 0.1.1
    TusClient,
    /// 0.1.0
    TusUploader,
}

/// How it uploads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// As it does by default: the whole file in one request, or chunks of several MiB.
    Whole,
    /// In chunks of 300,000 bytes.
    Chunked,
    /// A stream, whose length is said with its last chunk.
    Deferred,
    /// The first bytes come with the creation.
    WithCreation,
    /// The same, of no bytes at all.
    NothingWithCreation,
    /// By POSTs that name another method.
    Override,
    /// Given up after the first chunk.
    Cancelled,
}

impl How {
    fn word(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Chunked => "chunked",
            Self::Deferred => "deferred",
            Self::WithCreation => "with creation",
            Self::NothingWithCreation => "nothing",
            Self::Override => "override",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A file that a client is to upload.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) endpoint: String,
    pub(crate) file: PathBuf,
    /// The name that is told of it.
    pub(crate) name: &'static str,
    pub(crate) how: How,
}

/// A client at work.
pub(crate) struct Running {
    /// Of a program of its own.
    child: Arc<Mutex<Option<Child>>>,
    ends: JoinHandle<Result<String, String>>,
}

impl Client {
    /// Whether it is on this machine.
    pub(crate) fn is_here(self) -> bool {
        matches!(self, Self::TusClient | Self::TusUploader) || self.command().is_some()
    }

    fn command(self) -> Option<Command> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tus_clients");
        if self == Self::TusJs {
            let packages = test_support::tus_node()?;
            let mut command = Command::new(test_support::node()?);
            command
                .arg(folder.join("node.mjs"))
                .env("TUS_PACKAGES", packages.ancestors().nth(3)?);
            return Some(command);
        }
        let packages = test_support::tus_python()?;
        let mut command = Command::new(test_support::python()?);
        let word = if self == Self::Tuspy {
            "tuspy"
        } else {
            "aiotus"
        };
        // No folder of compiled files beside the script.
        command
            .arg("-B")
            .arg(folder.join("client.py"))
            .arg(word)
            .env("PYTHONPATH", packages.ancestors().nth(2)?);
        Some(command)
    }

    pub(crate) fn start(self, job: &Job) -> Running {
        let child = Arc::<Mutex<Option<Child>>>::default();
        let (kept, job) = (child.clone(), job.clone());
        let ends = match self {
            Self::TusClient => std::thread::spawn(move || rust::tus_client(&job)),
            Self::TusUploader => std::thread::spawn(move || rust::tus_uploader(&job)),
            _ => {
                let mut command = self.command().expect("it was there before");
                // Beside the file: where the client remembers its uploads, and what it says.
                let (store, out, log) = (
                    job.file.with_extension("store"),
                    job.file.with_extension("out"),
                    job.file.with_extension("log"),
                );
                command
                    .env("TUS_ENDPOINT", &job.endpoint)
                    .env("TUS_FILE", &job.file)
                    .env("TUS_HOW", job.how.word())
                    .env("TUS_NAME", job.name)
                    .env("TUS_STORE", store)
                    .stdin(Stdio::null())
                    .stdout(std::fs::File::create(&out).unwrap())
                    .stderr(std::fs::File::create(&log).unwrap());
                for inherited in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
                    command.env_remove(inherited);
                }
                *kept.lock().unwrap() = Some(command.spawn().expect("it starts"));
                std::thread::spawn(move || {
                    let status = await_end(&kept)?;
                    let read = |file| std::fs::read_to_string(file).unwrap();
                    match status {
                        true => Ok(read(out).trim().to_owned()),
                        false => Err(read(log)),
                    }
                })
            }
        };
        Running { child, ends }
    }
}

impl Running {
    /// SIGKILL; returns when it is gone.
    pub(crate) fn kill(self) {
        if let Some(child) = self.child.lock().unwrap().as_mut() {
            child.kill().unwrap();
        }
        let _ = self.ends.join();
    }

    /// The URL of the upload, or what the client says is wrong.
    pub(crate) fn end(self) -> Result<String, String> {
        self.ends
            .join()
            .unwrap_or_else(|_| Err("it panicked".to_owned()))
    }
}

/// Waits until a program ends; whether it ended well.
fn await_end(child: &Mutex<Option<Child>>) -> Result<bool, String> {
    let start = Instant::now();
    loop {
        if let Some(child) = child.lock().unwrap().as_mut() {
            if let Some(status) = child.try_wait().unwrap() {
                return Ok(status.success());
            }
            if start.elapsed() > PATIENCE {
                child.kill().unwrap();
                return Err(format!("it still ran after {PATIENCE:?}"));
            }
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Slower than any of them was seen to be.
const PATIENCE: Duration = Duration::from_secs(90);
