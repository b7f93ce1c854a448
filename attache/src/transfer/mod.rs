//! Bytes on their way: counted, hashed, checked, cut, and bounded in memory and time, for every store alike.

mod block_sizes;
pub mod blocks;
pub mod body;
pub mod budget;
pub mod checksum;
pub mod config;
pub mod deadline;
pub mod digests;
pub(crate) mod gather;
pub mod handover;
pub mod ranges;
pub mod running;
mod utf8;
