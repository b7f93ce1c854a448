#![doc = include_str!("../../ARCHITECTURE.md")]

mod base64;
mod bounded;
mod utf8;

pub mod access;
pub mod attachment;
pub mod body;
pub mod budget;
pub mod catalog;
pub mod config;
pub mod delivery;
pub mod embedding;
pub mod error;
pub mod filename;
pub mod health;
pub mod history;
pub mod inspect;
pub mod latency;
pub mod lease;
pub mod lifetime;
pub mod links;
pub mod media;
pub mod metrics;
pub mod network;
pub mod private;
pub mod ranges;
pub mod secret;
mod service;
pub mod status;
pub mod storage;
pub mod trace;
pub mod upload;
pub mod verify;

pub use attachment::{Attachment, AttachmentId, NewAttachment};
pub use config::Config;
pub use delivery::{Ask, Delivery};
pub use error::{Error, ErrorKind, Result};
pub use filename::{Disposition, Filename};
pub use service::*;
pub use status::{LastReload, ReloadReport, Status, SweepReport};
