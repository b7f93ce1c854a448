//! What attache says of itself: metrics, its state and health, what it remembers of its last hours, and which request a piece
//! of work is for.

pub mod health;
pub mod history;
mod labels;
pub mod latency;
pub mod metrics;
mod reading;
pub mod status;
pub mod trace;
