//! Connections of clients: what they speak, what they may ask for, and whether they take what they asked for.

pub(crate) mod connection;
pub(crate) mod limits;
pub(crate) mod outgoing;
pub(crate) mod peer;
mod rates;
pub(crate) mod refusal;
mod sign_ins;
mod socket;
mod stall;
mod streams;
pub(crate) mod tls;
pub(crate) mod valve;
mod version;
