//! Objects as files in a folder.
//!
//! An object is two files: its bytes under its key, where a web server can serve them, and its facts in
//! `.facts/` beside them. An object *exists* when its bytes do; they appear by a rename after they and the
//! facts were flushed to disk, so a crash leaves either the whole object or litter that [`Storage::remove_temporary_files`] removes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;

use super::bucket::{Bucket, BucketPlace};
use super::multipart::Multipart;
use super::{
    Content, Grant, ListedObject, Object, ObjectInfo, Offer, Opened, Probe, Storage, Stored,
    resolve_range,
};
use crate::attachment::{ByteRange, ObjectKey};
use crate::config::value::FilePath;
use crate::error::{Error, ErrorKind, Result};
use crate::section;
use crate::transfer::body::Body;

mod bucket;
mod list;
mod multipart;
mod place;
mod read;
mod sidecar;
mod sorted;
mod spool;
mod tidy;
mod walk;
mod write;

use bucket::LocalBucket;
use multipart::Uploads;
use place::{FACTS, Place, blocking, make_folders, sync_folder, writable, write_error};
use write::Claims;

section! {
    /// `[storage.local]`
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct LocalConfig in "storage.local" {
        /// The folder that holds the files.
        root: PathBuf = PathBuf::from("attache-data/objects") => FilePath,
    }
}

/// Keeps objects as files in a folder.
#[derive(Debug)]
pub struct LocalStorage {
    place: Place,
    claims: Claims,
    uploads: Uploads,
}

impl LocalStorage {
    /// Opens the folder, and makes it if it does not exist.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] if the folder can be neither made nor written.
    pub fn open(config: &LocalConfig) -> Result<Self> {
        let wrong = |error: io::Error| {
            Error::new(
                ErrorKind::Misconfigured,
                format!(
                    "cannot use the folder {}: {error}; fix its permissions or set storage.local.root",
                    config.root.display()
                ),
            )
            .during("open", "local storage")
        };
        make_folders(&config.root).map_err(wrong)?;
        let root = config.root.canonicalize().map_err(wrong)?;
        for made in [root.join(FACTS), root.clone()] {
            sync_folder(&made).map_err(wrong)?;
        }
        let (place, claims) = (Place(root), Claims::default());
        Ok(Self {
            uploads: Uploads::new(place.clone(), claims.clone()),
            place,
            claims,
        })
    }
}

#[async_trait]
impl Storage for LocalStorage {
    fn name(&self) -> &'static str {
        "local"
    }

    async fn put(&self, key: &ObjectKey, content: &Content, body: Body) -> Result<Stored> {
        write::put(&self.place, &self.claims, key, content, body).await
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object> {
        read::get(&self.place, key, range).await
    }

    async fn open(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Opened> {
        let file = read::open(&self.place, key).await?;
        resolve_range(range, file.size())?;
        Ok(Opened::File(file))
    }

    async fn write_facts(
        &self,
        key: &ObjectKey,
        content: &Content,
        stored: &Stored,
    ) -> Result<Option<String>> {
        write::write_facts(&self.place, &self.claims, key, content, stored).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        write::delete(&self.place, key).await
    }

    fn list(&self, after: Option<ObjectKey>) -> BoxStream<'_, Result<ObjectInfo>> {
        list::list(&self.place, after)
    }

    fn list_all(&self, prefix: &str) -> Option<BoxStream<'_, Result<ListedObject>>> {
        Some(walk::list_all(&self.place, prefix))
    }

    async fn offer(&self, key: &ObjectKey, _grant: &Grant) -> Result<Option<Offer>> {
        Ok(Some(Offer::InternalPath(key.to_string())))
    }

    fn multipart(&self) -> Option<&dyn Multipart> {
        Some(&self.uploads)
    }

    async fn probe(&self) -> Result<Probe> {
        let temp = self.place.temp();
        // Asks instead of writing: strangers may make us look as often as once a second.
        blocking(move || writable(&temp))
            .await
            .map_err(|error| write_error(error, "probe").during("probe", "local storage"))?;
        Ok(Probe {
            summary: "local storage can be written".to_owned(),
            clock_skew_s: None,
        })
    }

    fn bucket(&self, place: &BucketPlace) -> Result<Option<Arc<dyn Bucket>>> {
        let folder = bucket::folder(&self.place.0, &place.container)?;
        Ok(Some(Arc::new(LocalBucket::new(folder, &place.container))))
    }

    async fn is_in_place(&self, begin: bool) -> Result<bool> {
        tidy::is_in_place(&self.place, begin).await
    }

    async fn remove_temporary_files(&self) -> Result<u64> {
        tidy::tidy(&self.place).await
    }
}
