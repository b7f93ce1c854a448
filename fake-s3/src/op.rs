//! The operations that are told apart: the unit of counting, of breaking and of rights.

use http::{HeaderMap, Method};
use stand_in::operations;
use stand_in::wire::Query;

operations! {
    /// One operation of the service, named as Amazon's API reference names it; Google's XML API has the same.
    busy = "SlowDown";
    /// `GET /`.
    ListBuckets,
    /// `HEAD bucket`.
    HeadBucket,
    /// `GET bucket?location`.
    GetBucketLocation,
    /// `GET bucket?versioning`.
    GetBucketVersioning,
    /// `GET bucket?cors`.
    GetBucketCors,
    /// `GET bucket?list-type=2`.
    ListObjectsV2,
    /// `GET bucket?versions`.
    ListObjectVersions,
    /// `GET bucket?uploads`.
    ListMultipartUploads,
    /// `POST bucket?delete`.
    DeleteObjects,
    /// `PUT key`.
    PutObject,
    /// `PUT key` with a copy source.
    CopyObject,
    /// Google: `PUT key?compose`.
    ComposeObject,
    /// `GET key`.
    GetObject,
    /// `HEAD key`.
    HeadObject,
    /// `DELETE key`.
    DeleteObject,
    /// `POST key?uploads`.
    CreateMultipartUpload,
    /// `PUT key?partNumber&uploadId`.
    UploadPart,
    /// The same with a copy source.
    UploadPartCopy,
    /// `POST key?uploadId`.
    CompleteMultipartUpload,
    /// `DELETE key?uploadId`.
    AbortMultipartUpload,
    /// `GET key?uploadId`.
    ListParts,
    /// `OPTIONS`, as browsers ask before they send.
    Preflight,
    /// Google: an assertion of a service account exchanged for a token.
    Token,
    /// Anything that this stand-in does not know.
    Unknown,
}

impl Op {
    /// What a request asks for, from its method, query and depth of path.
    pub(crate) fn of(
        method: &Method,
        bucket: bool,
        key: bool,
        query: &Query,
        headers: &HeaderMap,
    ) -> Self {
        let asked = |name: &str| query.value(name).is_some();
        let copies =
            headers.contains_key("x-amz-copy-source") || headers.contains_key("x-goog-copy-source");
        let other = OTHER.iter().any(|name| asked(name));
        match (method.as_str(), key) {
            ("OPTIONS", _) => Self::Preflight,
            _ if other => Self::Unknown,
            ("PUT", true) if asked("uploadId") && copies => Self::UploadPartCopy,
            ("PUT", true) if asked("uploadId") => Self::UploadPart,
            ("PUT", true) if asked("compose") => Self::ComposeObject,
            ("PUT", true) if copies => Self::CopyObject,
            ("PUT", true) => Self::PutObject,
            ("GET", true) if asked("uploadId") => Self::ListParts,
            ("GET", true) => Self::GetObject,
            ("HEAD", true) => Self::HeadObject,
            ("POST", true) if asked("uploads") => Self::CreateMultipartUpload,
            ("POST", true) if asked("uploadId") => Self::CompleteMultipartUpload,
            ("DELETE", true) if asked("uploadId") => Self::AbortMultipartUpload,
            ("DELETE", true) => Self::DeleteObject,
            ("GET", false) if !bucket => Self::ListBuckets,
            ("HEAD", false) if bucket => Self::HeadBucket,
            ("POST", false) if asked("delete") => Self::DeleteObjects,
            ("GET", false) if asked("location") => Self::GetBucketLocation,
            ("GET", false) if asked("versioning") => Self::GetBucketVersioning,
            ("GET", false) if asked("cors") => Self::GetBucketCors,
            ("GET", false) if asked("versions") => Self::ListObjectVersions,
            ("GET", false) if asked("uploads") => Self::ListMultipartUploads,
            ("GET", false) if query.value("list-type") == Some("2") => Self::ListObjectsV2,
            _ => Self::Unknown,
        }
    }
}

/// Parts of an object or bucket that are not here.
const OTHER: [&str; 8] = [
    "acl",
    "attributes",
    "legal-hold",
    "lifecycle",
    "object-lock",
    "policy",
    "retention",
    "tagging",
];
