//! attache
pub mod attachment;
mod base64;
pub mod body;
pub mod budget;
pub mod catalog;
pub mod config;
pub mod error;
pub mod filename;
pub mod lease;
pub mod secret;
pub mod storage;
pub mod upload;
pub use error::{Error, ErrorKind, Result};
