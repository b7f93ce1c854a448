//! Buckets in a folder: an object lies in the file that its key names, as far as a key can name one, so that files that are there
//! already are objects, and other programs find ours.
//!
//! What is known beside the bytes lies in `.attache/about`, by a hash of the key, and names the version it is about by the time and
//! length of the file: so both change with one rename. Keys that no file can have (`a//b`, `..`, `a` beside `a/b`, names of more than
//! 255 bytes) lie in `.attache/odd`.

use std::fmt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::place::{blocking, read_error, writable, write_error};
use crate::attachment::ByteRange;
use crate::error::{Error, ErrorKind, Result};
use crate::private;
use crate::storage::bucket::{
    Bucket, ChecksumPlan, Condition, Entry, Key, ListPage, ListRequest, NamedPart, NewObject,
    NewPart, Opened, Part, PartOf, Properties, Upload, Version, WholeChecksum, absent, unfulfilled,
};
use crate::storage::{Grant, Offer, Probe, resolve_range};
use crate::transfer::body::Body;
use crate::transfer::budget::Budget;
use found::find;
use layout::Layout;
use write::{Fresh, publish, spool};

mod about;
mod complete;
mod found;
mod layout;
mod list;
mod parts;
mod sweep;
mod write;

/// A bucket in a folder.
#[derive(Clone)]
pub(super) struct LocalBucket {
    layout: Layout,
    /// Its name in the folder of buckets, if it is there.
    name: Option<String>,
}

impl LocalBucket {
    /// The bucket in this folder, which is made with the first object.
    pub(super) fn new(folder: PathBuf, container: &str) -> Self {
        let elsewhere = Path::new(container).is_absolute();
        Self {
            layout: Layout::new(folder),
            name: (!elsewhere).then(|| container.to_owned()),
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        key: &Key,
        work: impl FnOnce(&Layout, &Key) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (layout, subject) = (self.layout.clone(), key.clone());
        let outcome = blocking(move || Ok(work(&layout, &subject))).await;
        outcome
            .map_err(read_error)
            .flatten()
            .map_err(|error| error.during(operation, key.as_str()))
    }
}

/// As a path of a URL has it: the web server undoes it.
fn escape(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Where buckets lie, beside the folder of attachments.
pub(super) fn folder(root: &Path, container: &str) -> Result<PathBuf> {
    let name = Path::new(container);
    let plain = name.components().count() == 1
        && matches!(
            name.components().next(),
            Some(std::path::Component::Normal(_))
        );
    match root.parent() {
        _ if name.is_absolute() => Ok(name.to_owned()),
        Some(parent) if plain => Ok(parent.join("buckets").join(name)),
        _ => Err(Error::new(
            ErrorKind::Misconfigured,
            format!(
                "\"{container}\" cannot be the folder of a bucket: give the name of a folder below \"buckets\", which is beside \
                 storage.local.root, or a whole path"
            ),
        )),
    }
}

#[async_trait]
impl Bucket for LocalBucket {
    fn name(&self) -> &'static str {
        "local"
    }

    async fn put(&self, key: &Key, new: &NewObject, mut body: Body) -> Result<Entry> {
        let spooled = spool(&self.layout, &new.blocks, &mut body)
            .await
            .map_err(|error| error.during("put", key.as_str()))?;
        let (properties, condition) = (new.properties.clone(), new.condition.clone());
        // From here on it runs to its end, even if the caller leaves.
        self.run("put", key, move |layout, key| {
            let fresh = Fresh::of(spooled, properties)?;
            publish(layout, key, fresh, &condition)
        })
        .await
    }

    async fn get(
        &self,
        key: &Key,
        range: Option<ByteRange>,
        version: Option<&Version>,
    ) -> Result<Opened> {
        let found = self
            .run("get", key, find)
            .await?
            .ok_or_else(|| absent(key))?;
        let entry = found.entry(key);
        if version.is_some_and(|version| *version != entry.version) {
            return Err(unfulfilled(key));
        }
        let range = resolve_range(range, entry.size)?;
        Ok(Opened {
            body: Body::new(crate::storage::file::read(found.file.into(), range)),
            entry,
            range,
        })
    }

    async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        let found = self.run("head", key, find).await?;
        Ok(found.map(|found| found.entry(key)))
    }

    async fn set_properties(
        &self,
        key: &Key,
        version: &Version,
        properties: &Properties,
    ) -> Result<Entry> {
        let (version, properties) = (version.clone(), properties.clone());
        self.run("set_properties", key, move |layout, key| {
            write::set_properties(layout, key, &version, properties)
        })
        .await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.run("delete", key, write::delete).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        let (layout, request) = (self.layout.clone(), request.clone());
        // Ends soon after this future is dropped.
        let wanted = std::sync::Arc::new(());
        let dropped = std::sync::Arc::downgrade(&wanted);
        let page = blocking(move || list::page(&layout, &request, &|| dropped.strong_count() == 0))
            .await
            .map_err(list::list_error)
            .flatten()
            .map_err(|error| error.during("list", "the bucket"));
        drop(wanted);
        page
    }

    /// For the web server in front, which has the folder of buckets at `buckets/` of its internal location.
    async fn offer(&self, key: &Key, _grant: &Grant) -> Result<Option<Offer>> {
        let Some(name) = &self.name else {
            return Ok(None);
        };
        let plain = self.layout.plain(key);
        let found = self.run("offer", key, find).await?;
        // What lies elsewhere than its key says passes through us.
        let is_plain = found.is_none_or(|found| Some(&found.path) == plain.as_ref());
        let path: Vec<String> = key.as_str().split('/').map(escape).collect();
        let path = format!("buckets/{name}/{}", path.join("/"));
        Ok((is_plain && plain.is_some()).then_some(Offer::InternalPath(path)))
    }

    async fn probe(&self) -> Result<Probe> {
        let folder = self.layout.root().to_owned();
        let probed = blocking(move || writable(&folder)).await;
        match probed {
            Ok(()) => Ok(Probe {
                summary: "the folder of the bucket can be written".to_owned(),
                clock_skew_s: None,
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Error::new(
                ErrorKind::ContainerNotFound,
                "the folder of the bucket does not exist; it is made when the bucket is created or its first object is stored",
            )),
            Err(error) => Err(write_error(error, "probe").during("probe", "the bucket")),
        }
    }

    async fn create(&self) -> Result<()> {
        let folder = self.layout.root().to_owned();
        blocking(move || private::make_folder(&folder))
            .await
            .map_err(|error| write_error(error, "create").during("create", "the bucket"))
    }

    async fn begin(
        &self,
        key: &Key,
        properties: &Properties,
        checksum: Option<ChecksumPlan>,
    ) -> Result<String> {
        let properties = properties.clone();
        self.run("begin", key, move |layout, key| {
            parts::begin(layout, key, properties, checksum)
        })
        .await
    }

    async fn put_part(&self, upload: &PartOf<'_>, part: NewPart, body: Body) -> Result<Part> {
        let (key, id) = (upload.key, parts::id(upload)?);
        let begun = parts::Try::begin(part.number);
        // Before the bytes come: for one that is gone they would come for nothing.
        let check = id.clone();
        self.run("put_part", key, move |layout, key| {
            parts::open(layout, key, &check).map(drop)
        })
        .await?;
        let spooled = spool(&self.layout, &part.blocks, &mut body.with_crc64())
            .await
            .map_err(|error| error.during("put_part", key.as_str()))?;
        self.run("put_part", key, move |layout, key| {
            parts::keep(layout, key, &id, &begun, spooled)
        })
        .await
    }

    async fn parts(&self, upload: &PartOf<'_>, after: u16, limit: usize) -> Result<Vec<Part>> {
        let id = parts::id(upload)?;
        self.run("parts", upload.key, move |layout, key| {
            parts::open(layout, key, &id)?;
            let all = parts::read(layout, key, &id)?;
            let wanted = all.into_iter().map(|kept| kept.part);
            Ok(wanted
                .filter(|part| part.number > after)
                .take(limit)
                .collect())
        })
        .await
    }

    async fn uploads(
        &self,
        prefix: &str,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<Upload>> {
        let (layout, prefix) = (self.layout.clone(), prefix.to_owned());
        let after = after.map(|(key, upload)| (key.to_owned(), upload.to_owned()));
        blocking(move || parts::uploads(&layout, &prefix, after.as_ref(), limit))
            .await
            .map_err(|error| read_error(error).during("uploads", "the bucket"))
    }

    async fn complete(
        &self,
        upload: &PartOf<'_>,
        parts: &[NamedPart],
        checksum: Option<WholeChecksum>,
        condition: &Condition,
        _: &Budget,
    ) -> Result<Entry> {
        let id = parts::id(upload)?;
        let (parts, condition) = (parts.to_vec(), condition.clone());
        self.run("complete", upload.key, move |layout, key| {
            complete::complete(layout, key, &id, &parts, checksum, &condition)
        })
        .await
    }

    async fn abort(&self, upload: &PartOf<'_>) -> Result<()> {
        let id = parts::id(upload)?;
        self.run("abort", upload.key, move |layout, _| {
            parts::give_up(layout, &id)
        })
        .await
    }

    async fn sweep(&self) -> Result<u64> {
        let layout = self.layout.clone();
        blocking(move || sweep::sweep(&layout))
            .await
            .map_err(|error| write_error(error, "sweep").during("sweep", "the bucket"))
    }
}

impl fmt::Debug for LocalBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalBucket").finish_non_exhaustive()
    }
}
