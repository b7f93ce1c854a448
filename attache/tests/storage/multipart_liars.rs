//! The suite of uploads in parts, tested: stores that lie in one way each, and the promise that catches each of them.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use attache::attachment::{ByteRange, ObjectKey};
use attache::storage::memory::MemoryStorage;
use attache::storage::multipart::{Multipart, Part, PartLimits, PartReceipt, UploadRef};
use attache::storage::{Blocks, Content, Object, ObjectInfo, Probe, Storage, Stored};
use attache::testing::objects::{Store, content, facts};
use attache::testing::storage::multipart;
use attache::transfer::body::{Body, Digests};
use attache::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures::stream::BoxStream;

/// One way to lie.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    ShowsParts,
    LosesTheLastPart,
    ForgetsTheCrc,
    ForgetsWhatIsKnown,
    MiscountsBytes,
    RefusesToBeEmpty,
    ForgetsWhatItGave,
    KeepsTheFirstWrite,
    KeepsFailedParts,
    RewordsBodyErrors,
    TrustsTheLength,
    HoldsMemory,
    CompletesOnce,
    Overwrites,
    AbortsNothing,
    AbortsTwiceIsAnError,
    AbortsObjects,
    TidiesUploads,
    SortsParts,
}

#[derive(Debug)]
struct Liar {
    lie: Lie,
    honest: MemoryStorage,
    begun: Mutex<Vec<UploadRef>>,
    aborted: Mutex<Vec<UploadRef>>,
    written: Mutex<Vec<PartReceipt>>,
    memory: Mutex<Vec<attache::transfer::budget::Permit>>,
}

impl Liar {
    fn new(lie: Lie) -> Self {
        Self {
            lie,
            honest: MemoryStorage::new(),
            begun: Mutex::default(),
            aborted: Mutex::default(),
            written: Mutex::default(),
            memory: Mutex::default(),
        }
    }

    fn lies(&self, lie: Lie) -> bool {
        self.lie == lie
    }
}

#[async_trait]
impl Multipart for Liar {
    fn limits(&self) -> PartLimits {
        self.honest.limits()
    }

    async fn begin(&self, key: &ObjectKey, content: &Content) -> Result<UploadRef> {
        let upload = self.honest.begin(key, content).await?;
        let begun = || self.begun.lock().expect("not poisoned");
        begun().push(upload.clone());
        if self.lies(Lie::ForgetsWhatItGave) {
            // Known to this process by another name than the one that it gave.
            return UploadRef::new(key.clone(), format!("{}-{}", upload.token(), begun().len()));
        }
        Ok(upload)
    }

    async fn put_part(
        &self,
        upload: &UploadRef,
        part: Part,
        blocks: &Blocks,
        mut body: Body,
    ) -> Result<PartReceipt> {
        if self.lies(Lie::HoldsMemory) {
            let permit = blocks.budget.acquire(1).await?;
            self.memory.lock().expect("not poisoned").push(permit);
        }
        let mut chunks: Vec<Bytes> = Vec::new();
        while let Some(chunk) = body.next().await {
            match chunk {
                Ok(chunk) => chunks.push(chunk),
                Err(_) if self.lies(Lie::RewordsBodyErrors) => {
                    return Err(Error::internal("reading failed"));
                }
                Err(error) if self.lies(Lie::KeepsFailedParts) => {
                    let body = Body::from_bytes(chunks.concat());
                    self.honest.put_part(upload, part, blocks, body).await?;
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
        }
        let bytes = Bytes::from(chunks.concat());
        let written = || self.written.lock().expect("not poisoned");
        if self.lies(Lie::KeepsTheFirstWrite)
            && let Some(first) = written().iter().find(|known| known.number == part.number)
        {
            // With a receipt for the new bytes, and the old ones in their place.
            return Ok(PartReceipt {
                size: bytes.len() as u64,
                ..first.clone()
            });
        }
        if self.lies(Lie::ShowsParts) {
            let content = content(facts(upload.key()));
            let body = Body::from_bytes(bytes.clone());
            let _ = self.honest.put(upload.key(), &content, body).await;
        }
        let size = match self.lies(Lie::TrustsTheLength) {
            true => bytes.len() as u64,
            false => part.size,
        };
        let part = Part { size, ..part };
        let body = Body::from_bytes(bytes);
        let receipt = self.honest.put_part(upload, part, blocks, body).await?;
        written().push(receipt.clone());
        Ok(receipt)
    }

    async fn put_bytes(&self, upload: &UploadRef, part: Part, bytes: Bytes) -> Result<PartReceipt> {
        let size = match self.lies(Lie::MiscountsBytes) {
            true => bytes.len() as u64,
            false => part.size,
        };
        let part = Part { size, ..part };
        self.honest.put_bytes(upload, part, bytes).await
    }

    async fn complete(
        &self,
        upload: &UploadRef,
        content: &Content,
        parts: &[PartReceipt],
        known: &Digests,
    ) -> Result<Stored> {
        let key = upload.key();
        let mut parts = parts.to_vec();
        match self.lie {
            Lie::LosesTheLastPart => drop(parts.pop()),
            Lie::SortsParts => parts.sort_by_key(|part| part.number),
            Lie::Overwrites => self.honest.delete(key).await?,
            Lie::RefusesToBeEmpty if parts.is_empty() => return Err(Error::bad_request("empty")),
            Lie::CompletesOnce if self.honest.head(key).await?.is_some() => {
                return Err(Error::new(ErrorKind::NotFound, "no such upload"));
            }
            Lie::KeepsTheFirstWrite => {
                let written = self.written.lock().expect("not poisoned");
                for part in &mut parts {
                    let first = written.iter().find(|known| known.number == part.number);
                    part.clone_from(first.expect("it was written"));
                }
            }
            _ => {}
        }
        let nothing = Digests::default();
        let known = match self.lies(Lie::ForgetsWhatIsKnown) {
            true => &nothing,
            false => known,
        };
        let mut stored = self.honest.complete(upload, content, &parts, known).await?;
        if self.lies(Lie::ForgetsTheCrc) {
            stored.crc64 = None;
        }
        Ok(stored)
    }

    async fn abort(&self, upload: &UploadRef) -> Result<()> {
        let again = {
            let mut aborted = self.aborted.lock().expect("not poisoned");
            aborted.push(upload.clone());
            aborted.iter().filter(|known| *known == upload).count() > 1
        };
        match self.lie {
            Lie::AbortsNothing => Ok(()),
            Lie::AbortsTwiceIsAnError if again => {
                Err(Error::new(ErrorKind::NotFound, "no such upload"))
            }
            Lie::AbortsObjects => self.honest.delete(upload.key()).await,
            _ => self.honest.abort(upload).await,
        }
    }
}

#[async_trait]
impl Storage for Liar {
    fn name(&self) -> &'static str {
        "liar"
    }

    async fn put(&self, key: &ObjectKey, content: &Content, body: Body) -> Result<Stored> {
        self.honest.put(key, content, body).await
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object> {
        self.honest.get(key, range).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.honest.delete(key).await
    }

    fn list(&self, after: Option<ObjectKey>) -> BoxStream<'_, Result<ObjectInfo>> {
        self.honest.list(after)
    }

    fn multipart(&self) -> Option<&dyn Multipart> {
        Some(self)
    }

    async fn remove_temporary_files(&self) -> Result<u64> {
        if self.lies(Lie::TidiesUploads) {
            let begun = std::mem::take(&mut *self.begun.lock().expect("not poisoned"));
            for upload in begun {
                self.honest.abort(&upload).await?;
            }
        }
        Ok(0)
    }

    async fn probe(&self) -> Result<Probe> {
        self.honest.probe().await
    }
}

/// `$lie` breaks `$promise`, and its test says so.
macro_rules! caught {
    ($($lie:ident by $about:ident::$promise:ident;)*) => {$(
        #[tokio::test]
        #[allow(non_snake_case, reason = "the test is named as the lie")]
        async fn $lie() {
            let liar: Store = Arc::new(Liar::new(Lie::$lie));
            let judged = tokio::spawn(async move { attache::testing::storage::$about::$promise(&liar).await });
            let verdict = judged.await.expect_err("the lie goes through");
            assert!(verdict.is_panic());
        }
    )*};
}

caught! {
    ShowsParts by multipart::parts_that_came_in_any_order_become_one_object;
    LosesTheLastPart by multipart::parts_that_came_in_any_order_become_one_object;
    ForgetsTheCrc by multipart::parts_that_came_in_any_order_become_one_object;
    HoldsMemory by multipart::parts_that_came_in_any_order_become_one_object;
    MiscountsBytes by multipart::bytes_in_memory_are_a_part_as_those_of_a_body_are;
    ForgetsWhatIsKnown by multipart::what_is_known_of_the_whole_is_kept_with_it;
    RefusesToBeEmpty by multipart::an_upload_without_parts_is_an_empty_object;
    ForgetsWhatItGave by multipart::what_names_an_upload_and_its_parts_survives_as_text;
    KeepsTheFirstWrite by multipart::a_part_that_is_put_again_replaces_the_first;
    KeepsFailedParts by multipart::a_part_whose_body_fails_or_has_another_length_is_not_there;
    RewordsBodyErrors by multipart::a_part_whose_body_fails_or_has_another_length_is_not_there;
    TrustsTheLength by multipart::a_part_whose_body_fails_or_has_another_length_is_not_there;
    CompletesOnce by multipart::what_was_completed_can_be_completed_again;
    Overwrites by multipart::completing_leaves_an_object_alone_that_is_there_already;
    AbortsNothing by multipart::an_aborted_upload_is_gone_and_its_key_free;
    AbortsTwiceIsAnError by multipart::an_aborted_upload_is_gone_and_its_key_free;
    AbortsObjects by multipart::aborting_what_was_completed_leaves_the_object;
    TidiesUploads by multipart::tidy_leaves_an_upload_alone;
    SortsParts by multipart::numbers_that_do_not_ascend_are_refused;
}

/// The wrapper itself breaks nothing: what is caught is the lie.
#[tokio::test]
async fn a_liar_without_a_chance_to_lie_passes() {
    let store = || -> Store { Arc::new(Liar::new(Lie::TidiesUploads)) };
    multipart::parts_that_came_in_any_order_become_one_object(&store()).await;
    multipart::a_part_that_is_put_again_replaces_the_first(&store()).await;
    multipart::a_part_whose_body_fails_or_has_another_length_is_not_there(&store()).await;
    multipart::an_aborted_upload_is_gone_and_its_key_free(&store()).await;
}
