#![doc = include_str!("../../ARCHITECTURE.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod base64;
mod bounded;

pub mod access;
pub mod attachment;
pub mod catalog;
pub mod config;
pub mod delivery;
mod error;
pub mod http;
pub mod inspect;
pub mod lease;
pub mod observe;
#[doc(hidden)]
pub mod private;
pub mod secret;
pub mod service;
pub mod storage;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
pub mod transfer;

pub use attachment::Attachment;
pub use config::Config;
pub use error::{Error, ErrorKind, Result};
pub use service::Attache;
