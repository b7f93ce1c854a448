//! The documents of an image and its blobs, each under its digest.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::content::{DATA, ROOTS, USER};
use super::layer::Layer;
use crate::command::Failure;
use crate::tools::failed;

/// An image layout in a folder.
#[derive(Debug)]
pub(super) struct Layout {
    folder: PathBuf,
}

/// What the documents say besides what is in the layers.
#[derive(Debug)]
pub(super) struct About<'a> {
    pub(super) architecture: &'a str,
    /// RFC 3339.
    pub(super) created: &'a str,
    /// The same, in seconds since 1970.
    pub(super) epoch: u64,
}

/// A blob, as other documents name it.
#[derive(Debug)]
struct Blob {
    digest: String,
    size: u64,
}

impl Layout {
    /// An empty one. A folder that has something in it is left as it is.
    pub(super) fn create(folder: &Path) -> Result<Self, Failure> {
        if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Failure::usage(format!(
                "xtask: {} is not empty; remove it, or name another folder",
                folder.display()
            )));
        }
        let blobs = folder.join(BLOBS);
        fs::create_dir_all(&blobs).map_err(failed("create", &blobs))?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Writes an image of these layers, the lowest first, each with what it is.
    pub(super) fn write(&self, layers: &[(&str, Layer)], about: &About<'_>) -> Result<(), Failure> {
        let mut blobs = Vec::new();
        for (_, layer) in layers {
            blobs.push(self.blob(|file| layer.write(file, about.epoch))?);
        }
        let whats = layers.iter().map(|(what, _)| *what);
        let config = self.document(&config(whats, &blobs, about))?;
        let layers: Vec<Value> = blobs.iter().map(|blob| blob.named(LAYER)).collect();
        let manifest = self.document(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.named(CONFIG),
            "layers": layers,
        }))?;
        let mut named = manifest.named(MANIFEST);
        named["annotations"] = json!({ "org.opencontainers.image.ref.name": VERSION });
        named["platform"] = json!({ "architecture": about.architecture, "os": "linux" });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [named] });
        self.file("index.json", &index)?;
        // Last: before it is there, this is no image.
        self.file("oci-layout", &json!({ "imageLayoutVersion": "1.0.0" }))
    }

    fn file(&self, name: &str, document: &Value) -> Result<(), Failure> {
        let path = self.folder.join(name);
        fs::write(&path, document.to_string()).map_err(failed("write", &path))
    }

    fn document(&self, document: &Value) -> Result<Blob, Failure> {
        self.blob(|file| file.write_all(document.to_string().as_bytes()))
    }

    /// What `write` writes, under its digest.
    fn blob(
        &self,
        write: impl FnOnce(&mut Hashed<BufWriter<File>>) -> io::Result<()>,
    ) -> Result<Blob, Failure> {
        let blobs = self.folder.join(BLOBS);
        let begun = blobs.join("begun");
        let file = File::create(&begun).map_err(failed("create", &begun))?;
        let mut hashed = Hashed {
            inner: BufWriter::new(file),
            digest: Sha256::new(),
            size: 0,
        };
        write(&mut hashed)
            .and_then(|()| hashed.flush())
            .map_err(failed("write", &begun))?;
        let digest = hashed.digest.finalize();
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = blobs.join(&digest);
        fs::rename(&begun, &path).map_err(failed("write", &path))?;
        Ok(Blob {
            digest: format!("sha256:{digest}"),
            size: hashed.size,
        })
    }
}

impl Blob {
    fn named(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": self.digest, "size": self.size })
    }
}

/// How it is run, unless who runs it says otherwise.
fn config<'a>(whats: impl Iterator<Item = &'a str>, blobs: &[Blob], about: &About<'_>) -> Value {
    // Layers are not compressed, so what unpacking gives has the same digest.
    let unpacked: Vec<&str> = blobs.iter().map(|blob| blob.digest.as_str()).collect();
    let history: Vec<Value> = whats
        .map(|what| json!({ "created": about.created, "created_by": format!("cargo xtask image: {what}") }))
        .collect();
    json!({
        "created": about.created,
        "architecture": about.architecture,
        "os": "linux",
        "config": {
            "User": format!("{USER}:{USER}"),
            "Entrypoint": ["/attache"],
            "Cmd": ["serve"],
            "Env": [
                "PATH=/",
                // All addresses, as ports are published from outside; so it needs an auth.mode other than "open".
                "ATTACHE_SERVER__LISTEN=0.0.0.0:8080",
                format!("SSL_CERT_FILE={ROOTS}"),
            ],
            "ExposedPorts": { "8080/tcp": {} },
            "Volumes": { DATA: {} },
            "WorkingDir": DATA,
            "StopSignal": "SIGTERM",
            "Labels": {
                "org.opencontainers.image.title": "attache",
                "org.opencontainers.image.description": "An attachment store for web applications",
                "org.opencontainers.image.version": VERSION,
                "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
                "org.opencontainers.image.created": about.created,
            },
        },
        "rootfs": { "type": "layers", "diff_ids": unpacked },
        "history": history,
    })
}

/// Counts and hashes what passes.
struct Hashed<W> {
    inner: W,
    digest: Sha256,
    size: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

const BLOBS: &str = "blobs/sha256";
const VERSION: &str = env!("CARGO_PKG_VERSION");

// <https://github.com/opencontainers/image-spec/blob/v1.1.1/media-types.md>
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Not compressed: what sends an image to a registry does that, and the fewer crates the better.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
