//! However a body is split into chunks, the same attachment comes of it; wherever it fails, its error and nothing else.
//! The block upload has the same properties beside it, in `src/upload.rs`.

use std::sync::Arc;

use attache::attachment::NewAttachment;
use attache::catalog::config::{CatalogConfig, CatalogUrl};
use attache::catalog::sqlite::SqliteCatalog;
use attache::catalog::{Catalog, Totals};
use attache::storage::Storage;
use attache::storage::local::{LocalConfig, LocalStorage};
use attache::storage::memory::MemoryStorage;
use attache::{Attache, Attachment, Config, Error, ErrorKind};
use bytes::Bytes;
use futures::StreamExt as _;
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::runtime::Runtime;

struct Place {
    runtime: Runtime,
    service: Attache,
    storage: Arc<dyn Storage>,
    catalog: Arc<SqliteCatalog>,
    folder: tempfile::TempDir,
}

impl Place {
    fn memory() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::over(Arc::new(MemoryStorage::new()), folder)
    }

    fn local() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("objects");
        let storage = LocalStorage::open(&LocalConfig { root }).expect("a writable folder");
        Self::over(Arc::new(storage), folder)
    }

    fn over(storage: Arc<dyn Storage>, folder: tempfile::TempDir) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let url = folder.path().join("attache.db");
        let catalog = Arc::new(SqliteCatalog::open(&url).expect("a catalog"));
        let config = Config {
            catalog: CatalogConfig::of(CatalogUrl::Sqlite(url)),
            ..Config::default()
        };
        let opened = Attache::with(config, storage.clone(), catalog.clone());
        let service = runtime.block_on(opened).expect("a service");
        Self {
            runtime,
            service,
            storage,
            catalog,
            folder,
        }
    }

    fn upload(
        &self,
        size: Option<u64>,
        chunks: Vec<Result<Bytes, Error>>,
    ) -> Result<Attachment, Error> {
        let new = NewAttachment {
            size,
            ..NewAttachment::default()
        };
        let upload = self.service.upload(new, futures::stream::iter(chunks));
        Ok(self.runtime.block_on(upload)?.attachment)
    }

    fn bytes_of(&self, attachment: &Attachment) -> Bytes {
        self.runtime.block_on(async {
            let object = self.storage.get(&attachment.key, None).await;
            let body = object.expect("its bytes").body;
            body.collect(usize::MAX).await.expect("all of them")
        })
    }

    fn delete(&self, attachment: &Attachment) {
        let deleted = self.runtime.block_on(self.service.delete(&attachment.id));
        deleted.expect("deleted");
    }

    fn assert_empty(&self) {
        let totals = self.runtime.block_on(self.catalog.totals());
        assert_eq!(totals.expect("totals"), Totals::default());
        let rows = self.runtime.block_on(self.catalog.unfinished(None, 10));
        assert_eq!(rows.expect("rows"), []);
        assert_eq!(self.runtime.block_on(self.storage.list(None).count()), 0);
        let temporary = self.folder.path().join("objects/.tmp");
        let files = std::fs::read_dir(temporary).into_iter().flatten().count();
        assert_eq!(files, 0, "temporary files");
    }

    /// The promise, for one body that is split at `cuts` and fails before chunk number `failure`.
    fn keeps_it(&self, bytes: &Bytes, known: bool, cuts: &[Index], failure: Option<Index>) {
        let size = known.then_some(bytes.len() as u64);
        let mut chunks: Vec<Result<Bytes, Error>> =
            split(bytes, cuts).into_iter().map(Ok).collect();
        if let Some(failure) = failure {
            let at = failure.index(chunks.len() + 1);
            chunks.insert(at, Err(Error::new(ErrorKind::ClientGone, "here")));
            let error = self.upload(size, chunks).expect_err("the body fails");
            assert_eq!(
                (error.kind(), error.detail()),
                (ErrorKind::ClientGone, "here")
            );
        } else {
            let plain = self.upload(size, vec![Ok(bytes.clone())]).expect("stored");
            let split = self.upload(size, chunks).expect("stored");
            assert_eq!(&self.bytes_of(&split), bytes);
            let expected = Attachment {
                id: split.id.clone(),
                key: split.key.clone(),
                store_tag: split.store_tag.clone(),
                created_at: split.created_at,
                ..plain.clone()
            };
            assert_eq!(split, expected);
            self.delete(&plain);
            self.delete(&split);
        }
        self.assert_empty();
    }
}

/// Pieces of `bytes`; two cuts at one place make an empty one.
fn split(bytes: &Bytes, cuts: &[Index]) -> Vec<Bytes> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    let pairs = places.windows(2);
    pairs.map(|pair| bytes.slice(pair[0]..pair[1])).collect()
}

/// Around the 8 KiB from which the type is told, and of types that are told.
fn any_body() -> impl Strategy<Value = Bytes> {
    let start = prop_oneof![
        Just(&b""[..]),
        Just(&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..]),
        Just(&b"<!DOCTYPE html>"[..]),
        Just(&b"%PDF-1.7"[..]),
    ];
    (start, proptest::collection::vec(any::<u8>(), 0..20_000))
        .prop_map(|(start, rest)| [start, &rest].concat().into())
}

macro_rules! splits {
    ($($name:ident: $place:ident, $cases:literal;)*) => {$(
        #[test]
        fn $name() {
            let place = Place::$place();
            let cuts = proptest::collection::vec(any::<Index>(), 0..20);
            let failure = proptest::option::of(any::<Index>());
            proptest!(ProptestConfig::with_cases($cases), |(
                bytes in any_body(), known: bool, cuts in cuts, failure in failure
            )| {
                place.keeps_it(&bytes, known, &cuts, failure);
            });
        }
    )*};
}

splits! {
    any_split_and_any_failure_over_memory: memory, 128;
    any_split_and_any_failure_over_local: local, 64;
}
