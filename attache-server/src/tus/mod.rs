//! tus 1.0 (<https://tus.io/protocols/resumable-upload>): what its requests say, and the words that its clients understand.
//!
//! Clients take much for granted that the protocol does not say. Some begin again at the first byte on nearly every status, some
//! give up on nearly every one. What each rule here is for, is said where it is.

mod metadata;
mod protocol;
mod request;
mod response;
mod words;

pub(crate) use request::{Creation, Part, body_size, is_bytes, supported, understand};
pub(crate) use response::{
    capabilities, created, limit, progress, stored, unsupported_media_type, unsupported_version,
    wrong_offset,
};
pub(crate) use words::{About, in_its_words, meant};
