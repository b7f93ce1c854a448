//! The HTTP client of everything that attache asks: the store, a webhook, the application, a collector; and the networks and
//! proxies on the way.

mod answer;
pub mod client;
mod connection;
mod counts;
pub mod network;
mod pool;
pub(crate) mod reach;
pub mod retry;
pub mod roots;

pub use answer::{Answer, Broken};
pub use client::{Client, ClientConfig, NoAnswer};
pub use counts::Counts;
pub use pool::keep_connections_apart;
pub use roots::Trust;
