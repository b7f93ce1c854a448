//! The words of the protocol.

/// The endpoint, and what is below it.
pub(super) const UPLOADS: &str = "/v1/uploads";

/// The version of the protocol.
pub(super) const VERSION: &str = "1.0.0";

/// What of it is supported. Not `concatenation`: one file is one upload here. Not `checksum`: clients would end an upload for good
/// on a mismatch.
pub(super) const EXTENSIONS: &str =
    "creation,creation-with-upload,creation-defer-length,expiration,termination";

/// The media type of bytes on their way.
pub(super) const BYTES: &str = "application/offset+octet-stream";
