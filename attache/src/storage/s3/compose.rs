//! One object of pieces, made by the store: a multipart upload of copies (S3), or a composition (Google). It is there whole, with all its
//! metadata, or not at all.

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

use super::ask::{Answered, Ask, header, path_of};
use super::dialect::{CRC64, Dialect, bare};
use super::echo::{self, Echo, echo};
use super::inner::Inner;
use super::plan::{Made, parts};
use super::refusal::{Fault, Refusal};
use super::staging::Piece;
use super::xml::{Element, escaped};
use crate::error::{Error, ErrorKind};
use crate::transfer::budget::Budget;
use crate::transfer::digests::crc64;

/// How many parts are made at a time.
const CONCURRENCY: usize = 4;

/// How long the store may take to copy a part, or to put them together
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>: several minutes).
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// Most parts of one upload (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
pub(super) const MAX_PARTS: u32 = 10_000;

/// Most components of one composition (<https://cloud.google.com/storage/docs/composing-objects>).
const MAX_COMPONENTS: usize = 32;

/// What an object is to be.
pub(super) struct Whole<'a> {
    pub(super) key: &'a str,
    /// Its type, name and metadata.
    pub(super) headers: &'a HeaderMap,
    /// Under which it is made: that there is none, or that it is still the same.
    pub(super) condition: Option<&'a (HeaderName, HeaderValue)>,
    /// Of all bytes, for a store that compares.
    pub(super) crc64: Option<u64>,
    /// Where intermediate objects may be.
    pub(super) folder: &'a str,
}

impl Inner {
    /// Makes the object; its tag, as far as the answer has it. After an error nothing is left but an outcome that may be unknown.
    pub(super) async fn compose(
        &self,
        whole: &Whole<'_>,
        pieces: Vec<Piece>,
        budget: &Budget,
    ) -> Result<Option<String>, Fault> {
        match self.place.dialect {
            Dialect::S3 => self.compose_parts(whole, pieces, budget).await,
            Dialect::Gcs => self.compose_components(whole, pieces).await,
        }
    }

    async fn compose_parts(
        &self,
        whole: &Whole<'_>,
        pieces: Vec<Piece>,
        budget: &Budget,
    ) -> Result<Option<String>, Fault> {
        let parts = parts(pieces, self.min_part);
        if parts.len() > MAX_PARTS as usize {
            return Err(Fault::Ours(Error::new(
                ErrorKind::TooLarge,
                format!("the file needs more than {MAX_PARTS} parts; raise upload.block_bytes"),
            )));
        }
        let upload = self.begin_upload(whole).await?;
        let made = stream::iter(parts.into_iter().zip(1..))
            .map(|(part, number)| self.make_part(whole.key, &upload, number, part, budget))
            .buffered(CONCURRENCY)
            .try_collect::<Vec<String>>();
        let outcome = match made.await {
            Ok(tags) => self.complete_upload(whole, &upload, &tags).await,
            Err(fault) => Err(fault),
        };
        if outcome.is_err()
            && let Err(fault) = self.abort_upload(whole.key, &upload).await
        {
            tracing::warn!(key = whole.key, %fault, "parts of an upload are left at the store until a sweep or a rule of the bucket (AbortIncompleteMultipartUpload) removes them");
        }
        outcome
    }

    /// CreateMultipartUpload (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html>)
    async fn begin_upload(&self, whole: &Whole<'_>) -> Result<String, Fault> {
        let mut ask = Ask::new(Method::POST, whole.key).query("uploads", "");
        ask.headers = whole.headers.clone();
        ask = ask
            .header((ALGORITHM, HeaderValue::from_static("CRC64NVME")))
            .header((CHECKSUM_TYPE, FULL_OBJECT));
        let document = self.ask(&ask).await?.document().await?;
        let id =
            Element::read(&document).and_then(|root| Some(root.text_of("UploadId")?.to_owned()));
        id.ok_or_else(|| strange("no UploadId"))
    }

    /// Makes a part; its entity tag.
    async fn make_part(
        &self,
        key: &str,
        upload: &str,
        number: u32,
        part: Made,
        budget: &Budget,
    ) -> Result<String, Fault> {
        let memory = part.memory();
        let ask = Ask::new(Method::PUT, key)
            .query("partNumber", &number.to_string())
            .query("uploadId", upload);
        match part {
            Made::Copy(piece) => self.copy_part(ask, &piece).await,
            Made::Join(pieces) => {
                let _permit = budget.acquire(memory).await?;
                let mut bytes = Vec::with_capacity(usize::try_from(memory).unwrap_or_default());
                for piece in &pieces {
                    bytes.extend_from_slice(&self.read_piece(piece).await?);
                }
                self.put_part_bytes(ask, bytes.into()).await
            }
        }
    }

    /// UploadPartCopy (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html>)
    async fn copy_part(&self, ask: Ask<'_>, piece: &Piece) -> Result<String, Fault> {
        let source = path_of(&format!("/{}", self.place.bucket), &piece.key);
        let mut ask = ask.header(header(self.place.dialect.copy_source(), source)?);
        if !piece.is_whole {
            let range = format!("bytes={}-{}", piece.range.start, piece.range.end - 1);
            ask = ask.header(header(COPY_RANGE, range)?);
        }
        ask.patience = PATIENCE;
        let answered = match self.ask(&ask).await {
            // Some stores do not say what it is that is not there.
            Err(Fault::Refused(refusal))
                if refusal.status == 404 && self.head(&piece.key).await?.is_none() =>
            {
                let code = "NoSuchKey".to_owned();
                return Err(Fault::Refused(Refusal { code, ..refusal }));
            }
            outcome => outcome?,
        };
        let root = self.success(answered).await?;
        let tag = root.text_of("ETag").map(str::to_owned);
        tag.ok_or_else(|| strange("no ETag of a part"))
    }

    async fn put_part_bytes(&self, ask: Ask<'_>, bytes: Bytes) -> Result<String, Fault> {
        let crc = crc64(&bytes);
        let (checksum, value) = self.place.dialect.checksum(|| crc, || echo::md5(&bytes));
        let ask = ask.header(header(checksum, value)?).body(bytes.clone());
        let headers = self.ask(&ask).await?.headers;
        if echo(self.place.dialect, &headers, &bytes, crc) == Echo::Wrong {
            return Err(Fault::Refused(Refusal {
                status: 400,
                code: "BadDigest".to_owned(),
                ..Refusal::default()
            }));
        }
        let tag = headers
            .get(http::header::ETAG)
            .and_then(|tag| tag.to_str().ok());
        tag.map(str::to_owned)
            .ok_or_else(|| strange("no ETag of a part"))
    }

    async fn read_piece(&self, piece: &Piece) -> Result<Bytes, Fault> {
        let range = format!("bytes={}-{}", piece.range.start, piece.range.end - 1);
        let ask = Ask::new(Method::GET, &piece.key).header(header(http::header::RANGE, range)?);
        let body = self.ask(&ask).await?.body;
        let size = usize::try_from(piece.size()).unwrap_or(usize::MAX);
        let bytes = body.whole(size).await?;
        match bytes.len() == size {
            true => Ok(bytes),
            false => Err(strange("a piece of another length")),
        }
    }

    /// CompleteMultipartUpload (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>)
    async fn complete_upload(
        &self,
        whole: &Whole<'_>,
        upload: &str,
        tags: &[String],
    ) -> Result<Option<String>, Fault> {
        let mut document =
            "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                .to_owned();
        for (tag, number) in tags.iter().zip(1..) {
            let tag = escaped(tag);
            document.push_str(&format!(
                "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
            ));
        }
        document.push_str("</CompleteMultipartUpload>");
        let mut ask = Ask::new(Method::POST, whole.key)
            .query("uploadId", upload)
            .body(document);
        if let Some(crc) = whole.crc64 {
            let crc = crate::base64::encode(crc.to_be_bytes());
            ask = ask
                .header(header(CRC64, crc)?)
                .header((CHECKSUM_TYPE, FULL_OBJECT));
        }
        if let Some(condition) = whole.condition {
            ask = ask.header(condition.clone());
        }
        ask.patience = PATIENCE;
        let root = self.success(self.ask(&ask).await?).await?;
        Ok(root.text_of("ETag").map(bare))
    }

    /// The document of an answer that may say in it that it is no success after all: the head was sent before the work was done.
    pub(super) async fn success(&self, answered: Answered) -> Result<Element, Fault> {
        let document = answered.document().await?;
        match Element::read(&document) {
            Some(root) if root.name != "Error" => Ok(root),
            Some(_) => {
                let refusal = Refusal::of_document(200, &document);
                let status = match refusal.code.as_str() {
                    "InternalError" | "SlowDown" | "ServiceUnavailable" => 503,
                    "PreconditionFailed" => 412,
                    "NoSuchKey" | "NoSuchUpload" | "NoSuchBucket" => 404,
                    _ => 400,
                };
                Err(Fault::Refused(Refusal { status, ..refusal }))
            }
            None => Err(strange("no document")),
        }
    }

    /// Ends an upload at the store. One that is over is success.
    pub(super) async fn abort_upload(&self, key: &str, upload: &str) -> Result<(), Fault> {
        let ask = Ask::new(Method::DELETE, key).query("uploadId", upload);
        match self.ask(&ask).await {
            Ok(_) => Ok(()),
            Err(fault) if fault.is_upload_missing() || fault.is_absent() => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// By as many compositions as it takes: of more components than one may have, intermediate objects are made first.
    async fn compose_components(
        &self,
        whole: &Whole<'_>,
        pieces: Vec<Piece>,
    ) -> Result<Option<String>, Fault> {
        let mut keys: Vec<String> = pieces
            .into_iter()
            .filter(|piece| piece.size() > 0)
            .map(|piece| piece.key)
            .collect();
        let mut level = 0;
        while keys.len() > MAX_COMPONENTS {
            level += 1;
            let few: Vec<Vec<String>> = keys.chunks(MAX_COMPONENTS).map(<[_]>::to_vec).collect();
            let made = stream::iter(few.into_iter().enumerate())
                .map(|(at, components)| async move {
                    let key = format!("{}composed-{level}-{at:05}", whole.folder);
                    self.compose_once(&key, &HeaderMap::new(), None, &components)
                        .await?;
                    Ok::<_, Fault>(key)
                })
                .buffered(CONCURRENCY)
                .try_collect()
                .await?;
            keys = made;
        }
        self.compose_once(whole.key, whole.headers, whole.condition, &keys)
            .await
    }

    async fn compose_once(
        &self,
        key: &str,
        headers: &HeaderMap,
        condition: Option<&(HeaderName, HeaderValue)>,
        components: &[String],
    ) -> Result<Option<String>, Fault> {
        let mut document = "<ComposeRequest>".to_owned();
        for component in components {
            let name = escaped(component);
            document.push_str(&format!("<Component><Name>{name}</Name></Component>"));
        }
        document.push_str("</ComposeRequest>");
        let mut ask = Ask::new(Method::PUT, key)
            .query("compose", "")
            .body(document);
        ask.headers = headers.clone();
        if let Some(condition) = condition {
            ask = ask.header(condition.clone());
        }
        ask.patience = PATIENCE;
        let headers = self.ask(&ask).await?.headers;
        let version = self.place.dialect.version(&headers);
        Ok(version.map(|version| version.tag))
    }
}

/// An answer of success that has not what it must have.
fn strange(what: &'static str) -> Fault {
    Fault::Ours(Error::internal(format!(
        "the store's response has {what}, which is not how S3 responds"
    )))
}

const ALGORITHM: HeaderName = HeaderName::from_static("x-amz-checksum-algorithm");
const CHECKSUM_TYPE: HeaderName = HeaderName::from_static("x-amz-checksum-type");
const FULL_OBJECT: HeaderValue = HeaderValue::from_static("FULL_OBJECT");
const COPY_RANGE: HeaderName = HeaderName::from_static("x-amz-copy-source-range");
