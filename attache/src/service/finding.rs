//! What a verification finds.

use serde::{Serialize, Serializer};

use crate::attachment::{AttachmentId, Hex, ObjectKey};

/// How thorough a verification is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Read all bytes and hash them, instead of believing what the store says of them.
    pub deep: bool,
    /// Bring back rows that the catalog lost, from the facts that lie with the objects, and facts that the objects lost, from
    /// the rows. Nothing is ever deleted.
    pub repair: bool,
}

/// What was looked at: an attachment, an object, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Of which attachment, as the row says, or else the name of the object.
    pub id: AttachmentId,
    /// Under which key.
    pub key: ObjectKey,
    /// Its length in bytes, as the store has it, or the catalog if the store has nothing.
    pub size: u64,
    /// What is wrong with it.
    pub finding: Option<Finding>,
}

/// How store and catalog disagree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finding {
    /// An attachment without bytes: they were lost, or removed past attache.
    Missing,
    /// Bytes that no row names.
    Unknown {
        /// Whether facts lie with them, from which the row can be restored.
        restorable: bool,
    },
    /// Bytes of an upload that a process that is dead did not finish: a sweep makes it an attachment.
    Interrupted,
    /// There were bytes that no row named; their row is back.
    Restored,
    /// The bytes have another length than the catalog says.
    WrongSize {
        /// The catalog's.
        expected: u64,
        /// The store's.
        actual: u64,
    },
    /// The bytes have another SHA-256 than the catalog says, or for bytes without a row, than their facts say.
    WrongDigest {
        /// What it should be.
        #[serde(serialize_with = "as_text")]
        expected: Hex<32>,
        /// What the store says, or what the bytes that were read have.
        #[serde(serialize_with = "as_text")]
        actual: Hex<32>,
    },
    /// Another tool has put the object in its place: the store calls it another version than the one that was committed, or
    /// has another MD5 of it, although its length is the same.
    Replaced,
    /// The object has lost the facts from which its row could be rebuilt: another tool has copied it without its metadata.
    NoFacts,
    /// The object had lost its facts; they are written again.
    FactsWritten,
    /// The store keeps it in an archive tier, where readers cannot have it.
    Archived,
    /// The bytes cannot be read to their end.
    Unreadable {
        /// The [code](crate::ErrorKind::code) of the error.
        code: &'static str,
    },
}

impl Finding {
    /// Whether somebody has to do something about it.
    pub fn remains(&self) -> bool {
        !matches!(self, Self::Restored | Self::FactsWritten)
    }
}

pub(super) fn wrong_digest(expected: Hex<32>, actual: Option<Hex<32>>) -> Option<Finding> {
    let actual = actual.filter(|actual| *actual != expected)?;
    Some(Finding::WrongDigest { expected, actual })
}

fn as_text<S: Serializer>(hex: &Hex<32>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(hex)
}
