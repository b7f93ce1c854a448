#![doc = include_str!("../../ARCHITECTURE.md")]

mod base64;

pub mod error;
pub mod secret;
pub mod attachment;
pub mod filename;
pub mod media;
pub mod body;
pub mod budget;
pub mod lease;
pub mod upload;
pub mod storage;
pub mod catalog;
pub mod config;
pub mod delivery;
pub mod links;
pub mod metrics;
mod service;

pub use attachment::{Attachment, AttachmentId, NewAttachment};
pub use config::Config;
pub use delivery::{Ask, Delivery};
pub use error::{Error, ErrorKind, Result};
pub use filename::{Disposition, Filename};
pub use service::*;
