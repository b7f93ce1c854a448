//! Put Blob (<https://learn.microsoft.com/rest/api/storageservices/put-blob>): all of a blob in one request, as every small upload is.

use std::collections::HashMap;

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};

use super::authority::value;
use super::inner::Inner;
use super::metadata::METADATA;
use crate::attachment::Hex;

/// By what the service verifies the bytes of a Put Blob. It takes one checksum and refuses two (400
/// `BothCrc64AndMd5HeaderPresent`).
pub(super) enum Verified {
    /// Kept with the blob, too
    /// (<https://learn.microsoft.com/archive/blogs/windowsazurestorage/windows-azure-blob-md5-overview>).
    Md5(Hex<16>),
    /// The service computes the MD5 that it keeps by itself then, and tells it.
    Crc64(u64),
}

/// A blob to be put.
pub(super) struct Whole<'a> {
    pub(super) name: &'a str,
    pub(super) bytes: Bytes,
    /// Conditions and properties, those that have a value.
    pub(super) headers: Vec<(&'static str, Option<String>)>,
    pub(super) metadata: HashMap<String, String>,
    pub(super) verified: Verified,
}

impl Whole<'_> {
    /// Puts it, and returns what the service says of it.
    ///
    /// # Errors
    ///
    /// What the service said. After the retries that every request gets, "it exists" may mean an earlier try of this one.
    pub(super) async fn put(self, inner: &Inner) -> azure_core::Result<HeaderMap> {
        let headers = self.headers()?;
        let make = || {
            let mut request = inner.request(Method::PUT, self.name, self.bytes.clone())?;
            let own = headers.iter();
            request
                .headers_mut()
                .extend(own.map(|(name, value)| (name.clone(), value.clone())));
            Ok(request)
        };
        let (head, body) = inner.ask(self.name, make).await?;
        // Nothing is in it. What is read to its end leaves a connection that serves others; what it is was settled by its head.
        let _ = body.whole(1024).await;
        Ok(head.headers)
    }

    fn headers(&self) -> azure_core::Result<HeaderMap> {
        let mut headers = HeaderMap::with_capacity(24);
        // The service wants it of an empty blob, too, where hyper leaves it out (411).
        headers.insert(CONTENT_LENGTH, self.bytes.len().into());
        headers.insert("x-ms-blob-type", HeaderValue::from_static("BlockBlob"));
        for (name, text) in &self.headers {
            if let Some(text) = text {
                headers.insert(*name, value(text.clone())?);
            }
        }
        let (name, checksum) = match self.verified {
            Verified::Md5(md5) => ("x-ms-blob-content-md5", crate::base64::encode(md5.0)),
            Verified::Crc64(crc) => (
                "x-ms-content-crc64",
                crate::base64::encode(crc.to_le_bytes()),
            ),
        };
        headers.insert(name, value(checksum)?);
        for (name, text) in &self.metadata {
            let name = HeaderName::try_from(format!("{METADATA}{name}"));
            let name = name.map_err(|error| {
                azure_core::Error::new(azure_core::error::ErrorKind::DataConversion, error)
            })?;
            headers.insert(name, value(text.clone())?);
        }
        Ok(headers)
    }
}
