//! Runs the stand-in as a process of its own, for tests and benchmarks that must not share one with it.
//!
//! Prints one line of JSON with everything a client needs, and ends with its standard input.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use fake_azure::{Builder, FakeAzure, Retention};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            let _ = writeln!(io::stderr(), "fake-azure: {why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(io::stderr(), "fake-azure: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(options));
    // Standard input is read on a thread that nothing can interrupt; waiting for it would hold the process.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "fake-azure: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> io::Result<()> {
    let secret = options.secrets.first().cloned();
    let mut builder = options.builder;
    for secret in options.secrets {
        builder = builder.secret(secret);
    }
    let fake = builder.start().await?;
    if let Some(path) = options.ca_out {
        fs::write(path, fake.ca_pem())?;
    }
    if let Some(path) = options.key_out {
        fs::write(path, fake.key_pem())?;
    }
    let ready = json!({
        "blob_endpoint": fake.blob_endpoint(),
        "plain_blob_endpoint": fake.plain_blob_endpoint(),
        "authority_host": fake.authority_host(),
        "admin_endpoint": fake.admin_endpoint(),
        "account": fake.account(),
        "account_key": fake.account_key(),
        "connection_string": fake.connection_string(),
        "tenant_id": fake.tenant_id(),
        "client_id": fake.client_id(),
        "client_secret": secret.as_deref().unwrap_or("s3cret"),
        "pid": std::process::id(),
    });
    let mut out = io::stdout().lock();
    writeln!(out, "{ready}")?;
    out.flush()?;
    drop(out);
    wait_for_the_end(options.keep_running).await?;
    fake.shutdown().await;
    Ok(())
}

/// Ends with SIGTERM, SIGINT, or the end of standard input, so that a parent that dies takes this with it.
async fn wait_for_the_end(keep_running: bool) -> io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let input_ends = async {
        let mut input = tokio::io::stdin();
        let mut buffer = [0; 256];
        while !keep_running && input.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
        if keep_running {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
        () = input_ends => {}
    }
    Ok(())
}

struct Options {
    builder: Builder,
    secrets: Vec<String>,
    ca_out: Option<PathBuf>,
    key_out: Option<PathBuf>,
    keep_running: bool,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            builder: FakeAzure::builder().plain_http(true).admin(true),
            secrets: Vec::new(),
            ca_out: None,
            key_out: None,
            keep_running: false,
        };
        let mut containers = Vec::new();
        while let Some(flag) = args.next() {
            if flag == "--keep-running" {
                options.keep_running = true;
                continue;
            }
            let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--account" => options.builder = options.builder.account(value),
                "--container" => containers.push(value),
                "--secret" => options.secrets.push(value),
                "--ca-out" => options.ca_out = Some(value.into()),
                "--key-out" => options.key_out = Some(value.into()),
                "--retention" => {
                    options.builder = options.builder.retention(match value.as_str() {
                        "keep" => Retention::Keep,
                        "discard" => Retention::Discard,
                        "pattern" => Retention::DiscardPattern,
                        other => return Err(format!("no retention is called {other:?}")),
                    });
                }
                other => return Err(format!("unknown flag {other:?}")),
            }
        }
        if containers.is_empty() {
            containers.push("files".to_owned());
        }
        for name in containers {
            options.builder = options.builder.container(name);
        }
        Ok(options)
    }
}

const USAGE: &str = "usage: fake-azure [FLAG VALUE]...
  --account NAME       account (acme)
  --container NAME     container to make; may be repeated (files)
  --secret TEXT        client secret that Entra takes; may be repeated (s3cret)
  --retention WHAT     keep | discard | pattern: what becomes of uploaded bytes (keep)
  --ca-out FILE        where to write the certificate to trust
  --key-out FILE       where to write its private key
  --keep-running       do not end with standard input";
