//! What attache says of the bytes that it put, in the metadata of an object on a network.

use std::collections::{BTreeMap, HashMap};

use time::OffsetDateTime;

use super::kept::{self, Form, Headers};
use super::{Entry, KeptChecksum, Key, Properties, Version};
use crate::attachment::Hex;
use crate::error::{Error, Result};
use crate::transfer::body::Digests;
use crate::transfer::checksum::{Checksum, ChecksumKind};

const ETAG: &str = "etag";
const SIZE: &str = "size";
const CHECKSUM: &str = "checksum";
const CRC64: &str = "crc64";
/// Which call wrote the object last: a repetition that finds it there can tell its own work from somebody else's.
const ATTEMPT: &str = "attempt";

/// What attache says of the bytes that it put.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Facts {
    pub(crate) size: u64,
    pub(crate) etag: String,
    pub(crate) checksum: Option<KeptChecksum>,
    pub(crate) crc64: Option<u64>,
}

impl Facts {
    /// As long as they may become: what is kept beside them is refused early if it does not fit.
    pub(crate) fn largest() -> Self {
        Self {
            size: u64::MAX,
            etag: "0".repeat(38),
            checksum: Some(KeptChecksum {
                checksum: Checksum::Sha256([0; 32]),
                parts: Some(u16::MAX),
            }),
            crc64: Some(0),
        }
    }

    /// Those of bytes that came at once: their entity tag is their MD5.
    ///
    /// # Errors
    ///
    /// [`Internal`](crate::ErrorKind::Internal) if that was not computed.
    pub(crate) fn of_digests(digests: &Digests) -> Result<Self> {
        let md5 = digests
            .md5
            .ok_or_else(|| Error::internal("a body without MD5"))?;
        Ok(Self {
            size: digests.size,
            etag: md5.to_string(),
            checksum: digests.checksum.map(|checksum| KeptChecksum {
                checksum,
                parts: None,
            }),
            crc64: digests.crc64,
        })
    }

    /// Those of an entry.
    pub(crate) fn of(entry: &Entry) -> Self {
        Self {
            size: entry.size,
            etag: entry.etag.clone(),
            checksum: entry.checksum,
            crc64: entry.crc64,
        }
    }

    /// What is kept of these facts and properties in metadata.
    ///
    /// # Errors
    ///
    /// If it is more than the store keeps.
    pub(crate) fn metadata(
        &self,
        form: &Form,
        properties: &Properties,
        before: Option<Headers>,
        attempt: &str,
    ) -> Result<HashMap<String, String>> {
        let checksum = self.checksum.map(|kept| {
            let (kind, sum) = (kept.checksum.kind().as_str(), kept.checksum);
            match kept.parts {
                Some(parts) => format!("{kind}:{sum}:{parts}"),
                None => format!("{kind}:{sum}"),
            }
        });
        let crc64 = self.crc64.map(|crc| Hex(crc.to_be_bytes()).to_string());
        let fields = [
            (ETAG, Some(self.etag.clone())),
            (SIZE, Some(self.size.to_string())),
            (CHECKSUM, checksum),
            (CRC64, crc64),
            (ATTEMPT, Some(attempt.to_owned())),
        ];
        let mut metadata: HashMap<String, String> = fields
            .into_iter()
            .filter_map(|(name, value)| Some((form.name(name), value?)))
            .collect();
        kept::write(form, properties, before, &mut metadata)?;
        Ok(metadata)
    }

    /// What metadata, whose names are in lower case, says of an object of `size` bytes: nothing if another program has put other bytes
    /// since, and kept the metadata. `md5`: what the store says that the MD5 of the bytes is.
    pub(crate) fn read(
        form: &Form,
        metadata: &BTreeMap<String, String>,
        size: u64,
        md5: Option<Hex<16>>,
    ) -> Option<Self> {
        let text = |name: &str| metadata.get(&form.name(name)).map(String::as_str);
        let (etag, told) = (text(ETAG)?, text(SIZE)?.parse::<u64>().ok()?);
        let same = md5.is_none_or(|md5| md5.to_string() == etag);
        (same && told == size).then(|| Self {
            size,
            etag: etag.to_owned(),
            checksum: text(CHECKSUM).and_then(checksum_of),
            crc64: text(CRC64)
                .and_then(|hex| hex.parse::<Hex<8>>().ok())
                .map(|hex| u64::from_be_bytes(hex.0)),
        })
    }

    /// Which call wrote it last, if attache did.
    pub(crate) fn attempt<'a>(
        form: &Form,
        metadata: &'a BTreeMap<String, String>,
    ) -> Option<&'a str> {
        metadata.get(&form.name(ATTEMPT)).map(String::as_str)
    }

    /// The entity tag that metadata tells, whatever it is about.
    pub(crate) fn told_etag<'a>(
        form: &Form,
        metadata: &'a BTreeMap<String, String>,
    ) -> Option<&'a str> {
        metadata.get(&form.name(ETAG)).map(String::as_str)
    }

    /// The entry of an object of these facts, which was written just now.
    pub(crate) fn entry(
        &self,
        key: &Key,
        properties: &Properties,
        version: Version,
        modified: OffsetDateTime,
    ) -> Entry {
        Entry {
            key: key.clone(),
            size: self.size,
            etag: self.etag.clone(),
            modified,
            properties: properties.clone(),
            checksum: self.checksum,
            crc64: self.crc64,
            version,
            archived: false,
        }
    }
}

fn checksum_of(text: &str) -> Option<KeptChecksum> {
    let mut words = text.split(':');
    let kind = ChecksumKind::of(words.next()?)?;
    Some(KeptChecksum {
        checksum: Checksum::from_base64(kind, words.next()?)?,
        parts: match words.next() {
            Some(parts) => Some(parts.parse().ok()?),
            None => None,
        },
    })
}
