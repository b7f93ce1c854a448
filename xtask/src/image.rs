//! `cargo xtask image`: the container image as an OCI image layout (<https://github.com/opencontainers/image-spec>), made without a
//! container engine and without another image below it.
//!
//! Equal files give an equal image, to the byte: entries are sorted, and every time is that of the last commit, or `SOURCE_DATE_EPOCH`
//! (<https://reproducible-builds.org/specs/source-date-epoch/>).

mod content;
mod layer;
mod layout;

use std::env;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Failure, cargo, run, say, text_of};
use crate::tools::target;
use layout::{About, Layout};

/// What the image is made of, and where it is put.
#[derive(Debug)]
pub(crate) struct Options {
    /// `None`: a release is built.
    binary: Option<PathBuf>,
    out: PathBuf,
}

impl Options {
    /// `[--binary FILE] OUT`.
    pub(crate) fn parse(arguments: &[&str]) -> Option<Self> {
        let (binary, out) = match arguments {
            ["--binary", binary, out] => (Some(PathBuf::from(binary)), out),
            [out] => (None, out),
            _ => return None,
        };
        (!out.starts_with('-')).then(|| Self {
            binary,
            out: PathBuf::from(out),
        })
    }
}

/// Writes the layout into the folder `out`, which is made, or has to be empty.
pub(crate) fn image(root: &Path, options: &Options) -> Result<(), Failure> {
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => release(root)?,
    };
    let architecture = architecture(&binary)?;
    let epoch = epoch(root)?;
    let created = text_of(Command::new("date").args([
        "-u",
        "-d",
        &format!("@{epoch}"),
        "+%Y-%m-%dT%H:%M:%SZ",
    ]))?;
    let layers = [
        ("what attache needs of Debian", content::base(&binary)?),
        ("attache", content::own(root, &binary)?),
    ];
    let layout = Layout::create(&options.out)?;
    layout.write(
        &layers,
        &About {
            architecture,
            created: &created,
            epoch,
        },
    )?;
    say(&format!(
        "xtask: {} is an image for linux/{architecture} of attache {}",
        options.out.display(),
        env!("CARGO_PKG_VERSION")
    ));
    Ok(())
}

/// What is shipped, built now.
pub(crate) fn release(root: &Path) -> Result<PathBuf, Failure> {
    run(cargo(root).args([
        "build",
        "--profile",
        "dist",
        "--locked",
        "--package",
        "attache-server",
        "--bin",
        "attache",
    ]))?;
    Ok(target(root).join("dist").join("attache"))
}

/// The time of everything in the image, in seconds since 1970.
pub(crate) fn epoch(root: &Path) -> Result<u64, Failure> {
    let (said, whose) = match env::var("SOURCE_DATE_EPOCH") {
        Ok(said) => (said, "SOURCE_DATE_EPOCH"),
        Err(_) => {
            let log = Command::new("git")
                .current_dir(root)
                .args(["log", "-1", "--format=%ct"])
                .output();
            match log {
                Ok(output) if output.status.success() => (
                    String::from_utf8_lossy(&output.stdout).into_owned(),
                    "the time of the last commit",
                ),
                // Sources without their history.
                _ => ("0".to_owned(), "the beginning of time"),
            }
        }
    };
    said.trim().parse().map_err(|_| {
        Failure::usage(format!(
            "xtask: {whose} is {said:?}, not seconds since 1970"
        ))
    })
}

/// Which machines run it, in the words of images (those of Go), from its ELF header: `e_machine` is at byte 18.
fn architecture(binary: &Path) -> Result<&'static str, Failure> {
    let mut head = [0; 20];
    File::open(binary)
        .and_then(|mut file| file.read_exact(&mut head))
        .map_err(|error| Failure::new(format!("xtask: read {}: {error}", binary.display())))?;
    match head {
        [0x7f, b'E', b'L', b'F', .., 0x3e, 0] => Ok("amd64"),
        [0x7f, b'E', b'L', b'F', .., 0xb7, 0] => Ok("arm64"),
        _ => Err(Failure::new(format!(
            "xtask: {} is no program for Linux on x86-64 or arm64",
            binary.display()
        ))),
    }
}
