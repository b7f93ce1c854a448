//! The HTTP client of everything that attache asks: the store, a webhook, the application, a collector.

mod answer;
pub mod client;
pub(crate) mod connection;
mod counts;
pub mod retry;
pub mod roots;

pub use answer::{Answer, Broken};
pub use client::{Client, ClientConfig, NoAnswer};
pub use counts::Counts;
pub use roots::Trust;
