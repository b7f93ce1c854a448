//! Uploads in parts of which nobody keeps a record, as a store on a network has no place for one: what names one says what it becomes,
//! and its parts are numbered so that each process can tell which try at one counts.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::facts::Facts;
use super::kept::Form;
use super::{Entry, NamedPart, PartOf, Properties, etag_of_parts, no_upload};
use crate::error::{Error, Result};

/// Most bytes of what names an upload ([`Bucket::begin`](crate::storage::bucket::Bucket::begin)).
const MAX_UPLOAD_BYTES: usize = 8 * 1024;

/// What names an upload: all that is known of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ticket {
    nonce: u64,
    pub(crate) properties: Properties,
}

impl Ticket {
    /// One for a new upload.
    pub(crate) fn new(properties: &Properties) -> Self {
        Self {
            nonce: rand::random(),
            properties: properties.clone(),
        }
    }

    /// Refuses properties that could not be kept at the end.
    ///
    /// # Errors
    ///
    /// [`BadRequest`](crate::ErrorKind::BadRequest) if they are more than the store keeps, or than may name an upload.
    pub(crate) fn checked(self, form: &Form) -> Result<Self> {
        let most = Facts::largest();
        most.metadata(form, &self.properties, None, &self.mark())?;
        match self.to_text()?.len() <= MAX_UPLOAD_BYTES {
            true => Ok(self),
            false => Err(Error::bad_request(
                "the metadata, tags and headers of the object are too long for an upload in parts",
            )),
        }
    }

    /// What clients get, sealed.
    pub(crate) fn to_text(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|error| Error::internal("an upload cannot be named").with_source(error))
    }

    /// # Errors
    ///
    /// [`UploadNotFound`](crate::ErrorKind::UploadNotFound) if it was made by another store.
    pub(crate) fn read(upload: &PartOf<'_>) -> Result<Self> {
        serde_json::from_str(upload.upload)
            .map_err(|error| no_upload(upload.key).with_source(error))
    }

    /// What tells what belongs to this upload from what belongs to others.
    pub(crate) fn nonce(&self) -> [u8; 8] {
        self.nonce.to_be_bytes()
    }

    /// `entry`, which `attempt` wrote last, if it is what this upload became, of these parts.
    pub(crate) fn became(
        &self,
        attempt: Option<&str>,
        entry: Entry,
        named: &[NamedPart],
    ) -> Option<Entry> {
        let etag = etag_of_parts(named.iter().map(|part| part.etag.as_str()));
        let is_ours = attempt == Some(&self.mark());
        (is_ours && Some(&entry.etag) == etag.as_ref()).then_some(entry)
    }

    /// The same as text: which call made an object, in its metadata.
    pub(crate) fn mark(&self) -> String {
        format!("{:016x}", self.nonce)
    }
}

/// Low bits of a serial, which are random: tries that begin in the same microsecond differ.
const RANDOM_BITS: u32 = 12;

/// Numbers tries at parts in the order in which they begin, by the clocks of the machines on which they do.
pub(crate) fn serial() -> u64 {
    let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1000;
    let now = u64::try_from(now).unwrap_or_default();
    (now << RANDOM_BITS) | u64::from(rand::random::<u16>() >> (u16::BITS - RANDOM_BITS))
}

/// When the try of this number began.
pub(crate) fn begun(serial: u64) -> Option<OffsetDateTime> {
    let micros = i128::from(serial >> RANDOM_BITS);
    OffsetDateTime::from_unix_timestamp_nanos(micros * 1000).ok()
}
