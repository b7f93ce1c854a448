//! What the loopback stand-ins for object stores have in common.
//!
//! A stand-in is a service with its own words, signatures and rules; connections, certificates, what breaks on
//! order, bodies on their way in and out, and the forms in which values travel are the same in all, and lie here.
//!
//! Modules, in the order in which they use each other: `wire`, `xml` (forms), `operation`, `faults`, `desk`, `scene`
//! (what all connections of one stand-in share), `content` (bytes that are kept, or not), `answer`, `outgoing`,
//! `incoming`, `tls`, `listen`.

pub mod answer;
pub mod content;
mod desk;
pub mod faults;
pub mod incoming;
pub mod listen;
pub mod operation;
pub mod outgoing;
pub mod scene;
pub mod tls;
pub mod wire;
pub mod xml;
