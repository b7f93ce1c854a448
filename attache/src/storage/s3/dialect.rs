//! In what S3's protocol and the XML API of Google Cloud Storage differ: names of headers, conditions, and what is said of a version.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html>,
//! <https://cloud.google.com/storage/docs/xml-api/reference-headers>

use http::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};

use crate::attachment::Hex;

/// Which protocol a store speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Amazon S3, and what is compatible with it.
    S3,
    /// Google Cloud Storage's XML API.
    Gcs,
}

/// What pins requests to one version of an object, and is its tag for people who compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// The condition under which another request is about this version.
    pub(super) condition: (HeaderName, HeaderValue),
    /// See [`ObjectInfo::store_tag`](crate::storage::ObjectInfo::store_tag).
    pub(super) tag: String,
}

const GENERATION: HeaderName = HeaderName::from_static("x-goog-generation");
const METAGENERATION: HeaderName = HeaderName::from_static("x-goog-metageneration");
const IF_GENERATION_MATCH: HeaderName = HeaderName::from_static("x-goog-if-generation-match");

impl Dialect {
    /// Its word in configuration, metrics and messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gcs",
        }
    }

    /// Its section of the configuration.
    pub(super) const fn section(self) -> &'static str {
        match self {
            Self::S3 => "storage.s3",
            Self::Gcs => "storage.gcs",
        }
    }

    /// What names of metadata begin with on the wire.
    pub(super) const fn metadata_prefix(self) -> &'static str {
        match self {
            Self::S3 => "x-amz-meta-",
            Self::Gcs => "x-goog-meta-",
        }
    }

    /// Most bytes of names and values of metadata together
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html#UserMetadata>,
    /// <https://cloud.google.com/storage/quotas#objects>).
    pub(super) const fn metadata_bytes(self) -> usize {
        match self {
            Self::S3 => 2 * 1024,
            Self::Gcs => 8 * 1024,
        }
    }

    /// Holds where there is no object.
    pub(super) const fn create_only(self) -> (HeaderName, HeaderValue) {
        match self {
            Self::S3 => (IF_NONE_MATCH, HeaderValue::from_static("*")),
            Self::Gcs => (IF_GENERATION_MATCH, HeaderValue::from_static("0")),
        }
    }

    /// Which version the answer about an object is of. Copies, since clones would keep the whole buffer that the head was read into for
    /// as long as a download lasts.
    pub(super) fn version(self, headers: &HeaderMap) -> Option<Version> {
        let copy = |name: HeaderName| HeaderValue::from_bytes(headers.get(name)?.as_bytes()).ok();
        match self {
            Self::S3 => {
                let etag = copy(ETAG)?;
                Some(Version {
                    tag: bare(etag.to_str().ok()?),
                    condition: (IF_MATCH, etag),
                })
            }
            Self::Gcs => {
                let generation = copy(GENERATION)?;
                let meta = headers
                    .get(METAGENERATION)
                    .and_then(|meta| meta.to_str().ok());
                Some(Version {
                    // Metadata that changes makes no generation, but a metageneration.
                    tag: format!("{}.{}", generation.to_str().ok()?, meta.unwrap_or("1")),
                    condition: (IF_GENERATION_MATCH, generation),
                })
            }
        }
    }

    /// The name of a header that both have, each with a beginning of its own.
    pub(super) const fn copy_source(self) -> HeaderName {
        match self {
            Self::S3 => HeaderName::from_static("x-amz-copy-source"),
            Self::Gcs => HeaderName::from_static("x-goog-copy-source"),
        }
    }

    /// Whether a copy takes the metadata of its source, or new ones.
    pub(super) const fn metadata_directive(self) -> HeaderName {
        match self {
            Self::S3 => HeaderName::from_static("x-amz-metadata-directive"),
            Self::Gcs => HeaderName::from_static("x-goog-metadata-directive"),
        }
    }

    /// Holds if the source of a copy is still this version.
    pub(super) fn copy_source_is(self, version: &Version) -> (HeaderName, HeaderValue) {
        let name = match self {
            Self::S3 => HeaderName::from_static("x-amz-copy-source-if-match"),
            Self::Gcs => HeaderName::from_static("x-goog-copy-source-if-generation-match"),
        };
        (name, version.condition.1.clone())
    }

    /// The class that an object is stored in.
    pub(super) const fn storage_class(self) -> HeaderName {
        match self {
            Self::S3 => HeaderName::from_static("x-amz-storage-class"),
            Self::Gcs => HeaderName::from_static("x-goog-storage-class"),
        }
    }

    /// Names one of several versions in a query.
    pub(super) const fn version_parameter(self) -> &'static str {
        match self {
            Self::S3 => "versionId",
            Self::Gcs => "generation",
        }
    }

    /// What has the store verify the bytes of a request: CRC-64 of S3, and MD5 of Google, which knows no CRC-64
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>).
    pub(super) fn checksum(
        self,
        crc64: impl FnOnce() -> u64,
        md5: impl FnOnce() -> Hex<16>,
    ) -> (HeaderName, String) {
        match self {
            Self::S3 => (CRC64, crate::base64::encode(crc64().to_be_bytes())),
            Self::Gcs => (CONTENT_MD5, crate::base64::encode(md5().0)),
        }
    }
}

/// CRC-64/NVME, as base64 of its bytes, the highest first.
pub(super) const CRC64: HeaderName = HeaderName::from_static("x-amz-checksum-crc64nvme");

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// An entity tag without its quotes.
pub(super) fn bare(tag: &str) -> String {
    tag.trim_start_matches("W/").trim_matches('"').to_owned()
}
