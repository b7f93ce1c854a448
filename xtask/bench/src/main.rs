//! attache beside its peers, in one run: `cargo xtask bench` builds what this needs, and runs it.
//!
//! Modules:
//!
//! - what there is: `plan` (what a run does), `cases` (what is measured in every round), `world` (the stand-in for Azure, and every
//!   peer in front of it), `local` (files on disk), `catalog` (very many rows)
//! - what is done: `load`, `load_h2`, `load_open` (requests over connections that are kept, over HTTP/2, and when they are due),
//!   `clients` (loops without a server), `process` (what the operating system says of programs)
//! - what is measured: `stage` (the rounds), `holding` (memory, descriptors), `s3` (the S3 endpoint and its peer), `many` (many
//!   attachments, nothing cached), `latency` (waiting at half load), `growth` (costs that grow)
//! - what is told: `document`, `targets`, `memory`, `curves`, `figures`, `plot`

mod cases;
mod catalog;
mod clients;
mod curves;
mod document;
mod figures;
mod growth;
mod holding;
mod latency;
mod load;
mod load_h2;
mod load_open;
mod local;
mod many;
mod memory;
mod plan;
mod plot;
mod process;
mod s3;
mod stage;
mod targets;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

/// Nothing here can go on after an error: it is told, and the run ends.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Where things are: set by `cargo xtask bench`.
pub struct Places {
    pub attache: PathBuf,
    pub fake_azure: PathBuf,
    pub nginx: PathBuf,
    pub rclone: PathBuf,
    /// A newer one: that of Debian serves no S3.
    pub rclone_s3: PathBuf,
    pub node: PathBuf,
    /// The folder of the Node server, with its packages.
    pub node_server: PathBuf,
    /// Remarks on targets that are missed.
    pub notes: PathBuf,
    /// The document to write; its plots go into a folder beside it.
    pub out: PathBuf,
    /// Whose table is written, too.
    pub readme: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new();
    let outcome = runtime.map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            match arguments
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .as_slice()
            {
                ["client", job] => {
                    let job = clients::Job(serde_json::from_str(job)?);
                    println!("{}", clients::run(job).await?);
                    Ok(())
                }
                ["run", flags @ ..] => bench(flags).await,
                _ => Err("this is for `cargo xtask bench`".into()),
            }
        })
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(flags: &[&str]) -> Outcome<()> {
    let plan = plan::Plan::parse(flags)?;
    let places = Places::from_environment()?;
    let results = stage::measure(&plan, &places).await?;
    document::write(&plan, &places, &results)
}

impl Places {
    fn from_environment() -> Outcome<Self> {
        let place = |name: &str| {
            std::env::var_os(format!("ATTACHE_BENCH_{name}"))
                .map(PathBuf::from)
                .ok_or_else(|| format!("ATTACHE_BENCH_{name} is not set"))
        };
        Ok(Self {
            attache: place("ATTACHE")?,
            fake_azure: place("FAKE_AZURE")?,
            nginx: place("NGINX")?,
            rclone: place("RCLONE")?,
            rclone_s3: place("RCLONE_S3")?,
            node: place("NODE")?,
            node_server: place("NODE_SERVER")?,
            notes: place("NOTES")?,
            out: place("OUT")?,
            readme: place("README").ok(),
        })
    }
}
